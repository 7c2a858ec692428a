/* authorization{} and accounts{}: who may connect, and what they may do. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/config/take_internal.h"
#include "core/subject/subject.h"

/* --- permissions and users --- */

static void add_rule(struct context *c, const struct conf_member *at, struct bytes text,
                     struct permission_rules *rules)
{
    struct bytes rest = text;
    struct bytes subject;
    (void)bytes_token(&rest, ' ', &subject);
    while (rest.len > 0 && rest.ptr[0] == ' ') {
        rest = bytes_skip(rest, 1);
    }
    if (!subject_is_valid(subject) || memchr(rest.ptr == NULL ? "" : rest.ptr, ' ', rest.len)) {
        complain(c, at, "subject \"%.*s\" is not a valid subject", BYTES_ARG(text));
        return;
    }
    VEC_RESERVE(rules->rules, rules->cap, rules->count);
    rules->rules[rules->count++] = (struct permission_rule){
        mem_dup(subject.ptr, subject.len), rest.len > 0 ? mem_dup(rest.ptr, rest.len) : NULL};
}

static void take_rules(struct context *c, const struct conf_member *m,
                       struct permission_rules *rules)
{
    if (m->value.type == CONF_STRING) {
        add_rule(c, m, m->value.text, rules);
        return;
    }
    if (m->value.type != CONF_ARRAY) {
        complain(c, m, "Expected subject permissions to be a subject, or array of subjects, got %s",
                 conf_type_name(m->value.type));
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_value *v = &m->value.members[i].value;
        if (v->type != CONF_STRING) {
            complain(c, m, "Subject in permissions array cannot be cast to string");
        } else {
            add_rule(c, m, v->text, rules);
        }
    }
}

static void take_side(struct context *c, const struct conf_member *m, bool *allow_set,
                      struct permission_rules *allow, struct permission_rules *deny)
{
    if (m->value.type != CONF_MAP) {
        *allow_set = true;
        take_rules(c, m, allow);
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *side = &m->value.members[i];
        if (bytes_eq_nocase(side->key, BYTES_LIT("allow"))) {
            *allow_set = true;
            take_rules(c, side, allow);
        } else if (bytes_eq_nocase(side->key, BYTES_LIT("deny"))) {
            take_rules(c, side, deny);
        } else {
            complain(c, side,
                     "Unknown field name \"%.*s\" parsing subject permissions, only 'allow' or "
                     "'deny' are permitted",
                     BYTES_ARG(side->key));
        }
    }
}

static void take_permissions(struct context *c, const struct conf_member *m,
                             struct permission_options *p)
{
    static const char *const publish[] = {"publish", "pub", "import", NULL};
    static const char *const subscribe[] = {"subscribe", "sub", "export", NULL};
    static const char *const responses[] = {"allow_responses", "publish_allow_responses", NULL};
    if (m->value.type != CONF_MAP) {
        complain(c, m, "Expected permissions to be a map/struct, got %s",
                 conf_type_name(m->value.type));
        return;
    }
    p->set = true;
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *side = &m->value.members[i];
        if (key_in(side->key, publish)) {
            take_side(c, side, &p->publish_allow_set, &p->publish_allow, &p->publish_deny);
        } else if (key_in(side->key, subscribe)) {
            take_side(c, side, &p->subscribe_allow_set, &p->subscribe_allow, &p->subscribe_deny);
        } else if (key_in(side->key, responses)) {
            complain(c, side,
                     "\"%.*s\" is not supported in this version yet: refusing to run with "
                     "other permissions than configured",
                     BYTES_ARG(side->key));
        } else {
            complain(c, side, "Unknown field \"%.*s\" parsing permissions", BYTES_ARG(side->key));
        }
    }
}

static void take_user(struct context *c, const struct conf_member *entry,
                      struct account_options *account)
{
    static const char *const name[] = {"user", "username", NULL};
    static const char *const pass[] = {"pass", "password", NULL};
    static const char *const permissions[] = {"permissions", "permission", "authorization", NULL};
    struct user_options user = {0};
    for (uint32_t i = 0; i < entry->value.count; i++) {
        const struct conf_member *m = &entry->value.members[i];
        if (key_in(m->key, name)) {
            take_text(c, m, &user.user);
        } else if (key_in(m->key, pass)) {
            take_text(c, m, &user.password);
        } else if (key_in(m->key, permissions)) {
            take_permissions(c, m, &user.permissions);
        } else if (bytes_eq_nocase(m->key, BYTES_LIT("nkey")) ||
                   bytes_eq_nocase(m->key, BYTES_LIT("proxy_required")) ||
                   bytes_eq_nocase(m->key, BYTES_LIT("allowed_connection_types")) ||
                   bytes_eq_nocase(m->key, BYTES_LIT("connection_types"))) {
            complain(c, m, "\"%.*s\" is not supported in this version yet", BYTES_ARG(m->key));
        } else {
            complain(c, m, "unknown field \"%.*s\"", BYTES_ARG(m->key));
        }
    }
    if (user.user == NULL) {
        complain(c, entry, "User entry requires a user");
        free(user.password);
        permission_options_free(&user.permissions);
        return;
    }
    for (uint32_t a = 0; a < c->o->account_count; a++) {
        for (uint32_t i = 0; i < c->o->accounts[a].user_count; i++) {
            if (strcmp(c->o->accounts[a].users[i].user, user.user) == 0) {
                complain(c, entry, "Duplicate user \"%s\" detected", user.user);
            }
        }
    }
    if (user.password == NULL) {
        user.password = mem_strdup("");
    }
    VEC_RESERVE(account->users, account->user_cap, account->user_count);
    account->users[account->user_count++] = user;
}

static void take_users(struct context *c, const struct conf_member *m,
                       struct account_options *account)
{
    if (m->value.type != CONF_ARRAY) {
        complain(c, m, "Expected users field to be an array, got %s",
                 conf_type_name(m->value.type));
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        struct conf_member entry = m->value.members[i];
        entry.column = m->column;
        if (entry.value.type != CONF_MAP) {
            complain(c, m, "Expected user entry to be a map/struct, got %s",
                     conf_type_name(entry.value.type));
        } else {
            take_user(c, &entry, account);
        }
    }
}

/* --- blocks --- */

struct account_options *options_account(struct options *o, struct bytes name)
{
    for (uint32_t i = 0; i < o->account_count; i++) {
        if (bytes_is(name, o->accounts[i].name)) {
            return &o->accounts[i];
        }
    }
    VEC_RESERVE(o->accounts, o->account_cap, o->account_count);
    struct account_options *a = &o->accounts[o->account_count++];
    *a = (struct account_options){.name = mem_dup(name.ptr, name.len)};
    return a;
}

void on_authorization(struct context *c, const struct conf_member *m)
{
    static const char *const user[] = {"user", "username", NULL};
    static const char *const pass[] = {"pass", "password", NULL};
    static const char *const defaults[] = {"default_permissions", "default_permission",
                                           "permissions", NULL};
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    bool users = false;
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        struct account_options *global = options_account(c->o, BYTES_LIT("$G"));
        if (key_in(f->key, user)) {
            take_text(c, f, &c->o->user);
        } else if (key_in(f->key, pass)) {
            take_text(c, f, &c->o->password);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("token"))) {
            take_text(c, f, &c->o->token);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("timeout"))) {
            if (f->value.type == CONF_INT || f->value.type == CONF_FLOAT) {
                c->o->auth_timeout_ns = f->value.type == CONF_INT ? f->value.integer * NS_PER_SEC
                                                                  : (int64_t)(f->value.real * 1e9);
            } else {
                take_duration(c, f, &c->o->auth_timeout_ns);
            }
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("users"))) {
            users = true;
            take_users(c, f, global);
        } else if (key_in(f->key, defaults)) {
            take_permissions(c, f, &global->default_permissions);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("auth_callout")) ||
                   bytes_eq_nocase(f->key, BYTES_LIT("auth_hook")) ||
                   bytes_eq_nocase(f->key, BYTES_LIT("proxy_required"))) {
            complain(c, f, "\"%.*s\" is not supported in this version yet", BYTES_ARG(f->key));
        } else if (!f->used_as_variable) {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
    if (c->o->token != NULL && c->o->user != NULL) {
        complain(c, m, "Cannot have a user/pass and token");
    }
    if (users && c->o->user != NULL) {
        complain(c, m, "Can not have a single user/pass and a users array");
    }
    if (users && c->o->token != NULL) {
        complain(c, m, "Can not have a token and a users array");
    }
}

static void account_jetstream(struct context *c, const struct conf_member *m,
                              struct account_options *account)
{
    if (m->value.type == CONF_BOOL) {
        account->jetstream = m->value.integer != 0;
    } else if (m->value.type == CONF_STRING) {
        account->jetstream = bytes_eq_nocase(m->value.text, BYTES_LIT("enabled")) ||
                             bytes_eq_nocase(m->value.text, BYTES_LIT("enable"));
    } else if (m->value.type == CONF_MAP) {
        account->jetstream = true;
        for (uint32_t i = 0; i < m->value.count; i++) {
            warn_no_effect(c, &m->value.members[i]);
        }
    } else {
        complain(c, m, "Expected jetstream of an account to be a bool, a word or a map");
    }
}

void on_accounts(struct context *c, const struct conf_member *m)
{
    if (m->value.type == CONF_ARRAY) {
        for (uint32_t i = 0; i < m->value.count; i++) {
            if (m->value.members[i].value.type == CONF_STRING) {
                (void)options_account(c->o, m->value.members[i].value.text);
            }
        }
        return;
    }
    if (m->value.type != CONF_MAP) {
        complain(c, m, "Expected map entries for accounts");
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *a = &m->value.members[i];
        if (a->value.type != CONF_MAP) {
            if (!a->used_as_variable) {
                complain(c, a, "Expected map entries for accounts");
            }
            continue;
        }
        if (bytes_is(a->key, "$G")) {
            complain(c, a, "\"$G\" is a Reserved Account");
            continue;
        }
        for (uint32_t k = 0; k < a->value.count; k++) {
            const struct conf_member *f = &a->value.members[k];
            struct account_options *account = options_account(c->o, a->key);
            if (bytes_eq_nocase(f->key, BYTES_LIT("users"))) {
                take_users(c, f, account);
            } else if (bytes_eq_nocase(f->key, BYTES_LIT("default_permissions"))) {
                take_permissions(c, f, &account->default_permissions);
            } else if (bytes_eq_nocase(f->key, BYTES_LIT("jetstream"))) {
                account_jetstream(c, f, account);
            } else {
                complain(c, f, "\"%.*s\" of an account is not supported in this version yet",
                         BYTES_ARG(f->key));
            }
        }
        (void)options_account(c->o, a->key);
    }
}
