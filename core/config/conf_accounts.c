/* authorization{} and accounts{}: who may connect, and what they may do. */
#include <stdlib.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/nkey.h"
#include "core/config/take_internal.h"
#include "core/subject/subject.h"

/* --- permissions and users --- */

/* The next of the words that blanks separate, off the rest; false at its end. */
static bool next_word(struct bytes *rest, struct bytes *word)
{
    static const char blanks[] = " \t\r\n";
    do {
        if (rest->len == 0) {
            return false;
        }
        *word = (struct bytes){rest->ptr, 0};
        while (word->len < rest->len && strchr(blanks, rest->ptr[word->len]) == NULL) {
            word->len++;
        }
        *rest = bytes_skip(*rest, word->len < rest->len ? word->len + 1 : word->len);
    } while (word->len == 0);
    return true;
}

/* "subject", or where queues may be named "subject queue". */
static void add_rule(struct context *c, const struct conf_member *at, struct bytes text,
                     bool queues, struct permission_rules *rules)
{
    struct bytes rest = text;
    struct bytes subject;
    struct bytes queue;
    bool any = next_word(&rest, &subject);
    bool has_queue = next_word(&rest, &queue);
    bool more = next_word(&rest, &(struct bytes){0});
    if (!any || !subject_is_valid(subject) || more ||
        (has_queue ? !queues : subject.len != text.len)) {
        complain(c, at, "subject \"%.*s\" is not a valid subject", BYTES_ARG(text));
        return;
    }
    if (has_queue && !subject_is_valid(queue)) {
        complain(c, at, "queue \"%.*s\" is not a valid queue", BYTES_ARG(queue));
        return;
    }
    VEC_RESERVE(rules->rules, rules->cap, rules->count);
    rules->rules[rules->count++] = (struct permission_rule){
        mem_dup(subject.ptr, subject.len), has_queue ? mem_dup(queue.ptr, queue.len) : NULL};
}

static void take_rules(struct context *c, const struct conf_member *m, bool queues,
                       struct permission_rules *rules)
{
    if (m->value.type == CONF_STRING) {
        add_rule(c, m, m->value.text, queues, rules);
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
            add_rule(c, m, v->text, queues, rules);
        }
    }
}

static void take_side(struct context *c, const struct conf_member *m, bool queues, bool *allow_set,
                      struct permission_rules *allow, struct permission_rules *deny)
{
    if (m->value.type != CONF_MAP) {
        *allow_set = true;
        take_rules(c, m, queues, allow);
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *side = &m->value.members[i];
        if (bytes_eq_nocase(side->key, BYTES_LIT("allow"))) {
            *allow_set = true;
            take_rules(c, side, queues, allow);
        } else if (bytes_eq_nocase(side->key, BYTES_LIT("deny"))) {
            take_rules(c, side, queues, deny);
        } else {
            complain(c, side,
                     "Unknown field name \"%.*s\" parsing subject permissions, only 'allow' or "
                     "'deny' are permitted",
                     BYTES_ARG(side->key));
        }
    }
}

#define RESPONSES_MAX        1
#define RESPONSES_EXPIRES_NS (120 * NS_PER_SEC)

/* true, or { max, expires }; 0 stands for the default, below zero for no limit. */
static void take_responses(struct context *c, const struct conf_member *m, struct permissions *p)
{
    static const char *const max[] = {"max", "max_msgs", "max_messages", "max_responses", NULL};
    static const char *const expires[] = {"expires", "expiration", "ttl", NULL};
    p->responses_max = RESPONSES_MAX;
    p->responses_expires_ns = RESPONSES_EXPIRES_NS;
    if (m->value.type == CONF_BOOL) {
        p->responses_set = m->value.integer != 0;
        return;
    }
    if (m->value.type != CONF_MAP) {
        complain(c, m, "error parsing response permissions, expected a boolean or a map");
        return;
    }
    p->responses_set = true;
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (key_in(f->key, max)) {
            take_int(c, f, &p->responses_max);
        } else if (!key_in(f->key, expires)) {
            complain(c, f, "Unknown field \"%.*s\" parsing permissions", BYTES_ARG(f->key));
        } else if (f->value.type != CONF_STRING) {
            complain(c, f, "error parsing expires, not a duration string");
        } else {
            take_duration(c, f, &p->responses_expires_ns);
        }
    }
    if (p->responses_max == 0) {
        p->responses_max = RESPONSES_MAX;
    }
    if (p->responses_expires_ns == 0) {
        p->responses_expires_ns = RESPONSES_EXPIRES_NS;
    }
}

void take_permissions(struct context *c, const struct conf_member *m, struct permissions *p)
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
            take_side(c, side, false, &p->publish_allow_set, &p->publish_allow, &p->publish_deny);
        } else if (key_in(side->key, subscribe)) {
            take_side(c, side, true, &p->subscribe_allow_set, &p->subscribe_allow,
                      &p->subscribe_deny);
        } else if (key_in(side->key, responses)) {
            take_responses(c, side, p);
        } else {
            complain(c, side, "Unknown field \"%.*s\" parsing permissions", BYTES_ARG(side->key));
        }
    }
}

static void take_connection_types(struct context *c, const struct conf_member *m, uint32_t *types)
{
    static const struct {
        const char *name;
        enum connection_type type;
    } known[] = {{"STANDARD", CONNECTION_STANDARD},
                 {"WEBSOCKET", CONNECTION_WEBSOCKET},
                 {"LEAFNODE", CONNECTION_LEAFNODE},
                 {"LEAFNODE_WS", CONNECTION_LEAFNODE_WS},
                 {"MQTT", CONNECTION_MQTT},
                 {"MQTT_WS", CONNECTION_MQTT_WS},
                 {"IN_PROCESS", CONNECTION_IN_PROCESS}};
    struct text_list names = {0};
    take_texts(c, m, &names);
    for (uint32_t i = 0; i < names.count; i++) {
        uint32_t bit = 0;
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            bit |= strcasecmp(names.items[i], known[k].name) == 0 ? known[k].type : 0;
        }
        if (bit == 0) {
            complain(c, m, "invalid connection types [\"%s\"]", names.items[i]);
        }
        *types |= bit;
    }
    text_list_clear(&names);
}

static bool user_is_known(const struct options *o, const char *name)
{
    for (uint32_t a = 0; a < o->account_count; a++) {
        for (uint32_t i = 0; i < o->accounts[a].user_count; i++) {
            if (strcmp(o->accounts[a].users[i].user, name) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* NULL when the entry is fine. */
static const char *problem_with_user(const struct user_options *user, const char *nkey)
{
    if (nkey == NULL) {
        return user->user == NULL || *user->user == '\0' ? "User entry requires a user" : NULL;
    }
    if (user->user != NULL || user->password != NULL) {
        return "Nkey users do not take usernames or passwords";
    }
    uint8_t key[32];
    return nkey_decode(bytes_of(nkey), NKEY_USER, key) ? NULL
                                                       : "Not a valid public nkey for a user";
}

static void take_user(struct context *c, const struct conf_member *entry,
                      struct account_options *account)
{
    static const char *const name[] = {"user", "username", NULL};
    static const char *const pass[] = {"pass", "password", NULL};
    static const char *const permissions[] = {"permissions", "permission", "authorization", NULL};
    static const char *const types[] = {"allowed_connection_types", "connection_types", "clients",
                                        NULL};
    struct user_options user = {0};
    char *nkey = NULL;
    for (uint32_t i = 0; i < entry->value.count; i++) {
        const struct conf_member *m = &entry->value.members[i];
        if (key_in(m->key, name)) {
            take_text(c, m, &user.user);
        } else if (key_in(m->key, pass)) {
            take_text(c, m, &user.password);
        } else if (bytes_eq_nocase(m->key, BYTES_LIT("nkey"))) {
            take_text(c, m, &nkey);
        } else if (key_in(m->key, permissions)) {
            take_permissions(c, m, &user.permissions);
        } else if (key_in(m->key, types)) {
            take_connection_types(c, m, &user.connection_types);
        } else if (bytes_eq_nocase(m->key, BYTES_LIT("proxy_required"))) {
            take_bool(c, m, &user.proxy_required);
            note_instead(c, m, "no proxy is trusted, and this user cannot log in");
        } else {
            complain(c, m, "unknown field \"%.*s\"", BYTES_ARG(m->key));
        }
    }
    const char *problem = problem_with_user(&user, nkey);
    if (problem != NULL) {
        complain(c, entry, "%s", problem);
        free(user.user);
        free(user.password);
        free(nkey);
        permissions_free(&user.permissions);
        return;
    }
    if (nkey != NULL) {
        user.user = nkey;
        user.nkey = true;
    } else if (user.password == NULL) {
        user.password = mem_strdup("");
    }
    if (user_is_known(c->o, user.user)) {
        complain(c, entry, "Duplicate %s \"%s\" detected", user.nkey ? "nkey" : "user", user.user);
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
    const struct account_options *known = options_find_account(o, name);
    if (known != NULL) {
        return &o->accounts[known - o->accounts];
    }
    VEC_RESERVE(o->accounts, o->account_cap, o->account_count);
    struct account_options *a = &o->accounts[o->account_count++];
    *a = (struct account_options){.name = mem_dup(name.ptr, name.len), .limits = {-1, -1, -1}};
    return a;
}

/* Whom the callout does not concern is kept: everybody else would be its to decide about. */
static void take_callout(struct context *c, const struct conf_member *m)
{
    static const char *const users[] = {"auth_users", "users", NULL};
    static const char *const account[] = {"account", "acc", NULL};
    static const char *const other[] = {"xkey", "key", "allowed_accounts", NULL};
    bool issuer = false;
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        uint8_t key[32];
        if (key_in(f->key, users)) {
            take_texts(c, f, &c->o->callout_users);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("issuer"))) {
            issuer = f->value.type == CONF_STRING;
            if (!issuer || !nkey_decode(f->value.text, NKEY_ACCOUNT, key)) {
                complain(c, f, "Expected callout user to be a valid public account nkey");
            }
        } else if (!key_in(f->key, account) && !key_in(f->key, other)) {
            complain(c, f, "Unknown field \"%.*s\" parsing authorization callout",
                     BYTES_ARG(f->key));
        }
    }
    if (!issuer) {
        complain(c, m, "Authorization callouts require an issuer to be specified");
    }
    if (c->o->callout_users.count == 0) {
        complain(c, m, "Authorization callouts require authorized users to be specified");
    }
    c->o->auth_callout = true;
    note_instead(c, m, "no service is asked, and only its auth_users can log in");
}

void on_authorization(struct context *c, const struct conf_member *m)
{
    static const char *const user[] = {"user", "username", NULL};
    static const char *const pass[] = {"pass", "password", NULL};
    static const char *const defaults[] = {"default_permissions", "default_permission",
                                           "permissions", NULL};
    static const char *const callout[] = {"auth_callout", "auth_hook", NULL};
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    bool users = false;
    c->o->authorization_block = true;
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
            if (!take_seconds(f, &c->o->auth_timeout_ns)) {
                take_duration(c, f, &c->o->auth_timeout_ns);
            }
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("users"))) {
            users = true;
            take_users(c, f, global);
        } else if (key_in(f->key, defaults)) {
            take_permissions(c, f, &global->default_permissions);
        } else if (key_in(f->key, callout)) {
            take_callout(c, f);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("proxy_required"))) {
            take_bool(c, f, &c->o->proxy_required);
            note_instead(c, f, "no proxy is trusted, and no client can log in");
        } else if (!f->used_as_variable) {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
    if (c->o->token != NULL && (c->o->user != NULL || c->o->password != NULL)) {
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
    static const char *const limits[] = {"max_memory",
                                         "max_mem",
                                         "mem",
                                         "memory",
                                         "max_store",
                                         "max_file",
                                         "max_disk",
                                         "store",
                                         "disk",
                                         "max_streams",
                                         "streams",
                                         "max_consumers",
                                         "consumers",
                                         "max_bytes_required",
                                         "max_stream_bytes",
                                         "max_bytes",
                                         "mem_max_stream_bytes",
                                         "memory_max_stream_bytes",
                                         "disk_max_stream_bytes",
                                         "store_max_stream_bytes",
                                         "max_ack_pending",
                                         "cluster_traffic",
                                         NULL};
    if (m->value.type != CONF_MAP) {
        take_switch(c, m, &account->jetstream);
        return;
    }
    account->jetstream = true;
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (key_in(f->key, limits)) {
            note_no_effect(c, f);
        } else if (!f->used_as_variable) {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
}

static void take_limits(struct context *c, const struct conf_member *m,
                        struct account_limits *limits)
{
    static const char *const connections[] = {"max_connections", "max_conn", NULL};
    static const char *const subscriptions[] = {"max_subscriptions", "max_subs", NULL};
    static const char *const payload[] = {"max_payload", "max_pay", NULL};
    static const char *const leafs[] = {"max_leafnodes", "max_leafs", NULL};
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (key_in(f->key, connections)) {
            take_int(c, f, &limits->max_connections);
        } else if (key_in(f->key, subscriptions)) {
            take_int(c, f, &limits->max_subscriptions);
        } else if (key_in(f->key, payload)) {
            take_int(c, f, &limits->max_payload);
        } else if (key_in(f->key, leafs)) {
            note_no_effect(c, f);
        } else {
            complain(c, f, "Unknown field \"%.*s\" parsing account limits", BYTES_ARG(f->key));
        }
    }
}

/* Only checked: it is the key of accounts that JWTs speak of. */
static void take_account_nkey(struct context *c, const struct conf_member *m)
{
    uint8_t key[32];
    if (expect_type(c, m, CONF_STRING) && !nkey_decode(m->value.text, NKEY_ACCOUNT, key)) {
        complain(c, m, "Not a valid public nkey for an account: \"%.*s\"",
                 BYTES_ARG(m->value.text));
    }
}

void on_accounts(struct context *c, const struct conf_member *m)
{
    static const char *const mappings[] = {"mappings", "maps", NULL};
    static const char *const not_yet[] = {"msg_trace", "trace_dest", NULL};
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
            } else if (key_in(f->key, mappings)) {
                take_mappings(c, f, account);
            } else if (bytes_eq_nocase(f->key, BYTES_LIT("exports"))) {
                take_exports(c, f, account);
            } else if (bytes_eq_nocase(f->key, BYTES_LIT("imports"))) {
                take_imports(c, f, account);
            } else if (bytes_eq_nocase(f->key, BYTES_LIT("limits"))) {
                take_limits(c, f, &account->limits);
            } else if (bytes_eq_nocase(f->key, BYTES_LIT("nkey"))) {
                take_account_nkey(c, f);
            } else if (key_in(f->key, not_yet)) {
                note_no_effect(c, f);
            } else if (!f->used_as_variable) {
                complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
            }
        }
        struct account_options *account = options_account(c->o, a->key);
        c->account_users = c->account_users || account->user_count > 0;
    }
}

void check_accounts(struct context *c, const struct conf_member *accounts)
{
    if (c->account_users && c->o->user != NULL) {
        complain(c, accounts, "Can not have a single user/pass and accounts");
    }
    if (c->account_users && c->o->token != NULL) {
        complain(c, accounts, "Can not have a token and accounts");
    }
    if (c->report->errors.len == 0) {
        check_exchange(c, accounts);
    }
}
