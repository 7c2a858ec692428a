/* From the configuration tree to struct options. Every option that nats-server 2.15 knows is either
 * implemented, or accepted with one warning, or, when nobody knows it, refused with its position.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/config/options_internal.h"
#include "core/subject/subject.h"

struct context {
    struct options *o;
    struct option_report *report;
};

typedef void (*option_handler)(struct context *c, const struct conf_member *m);

struct option_row {
    const char *name;
    option_handler apply;
};

static void PRINTF_LIKE(3, 4)
    complain(struct context *c, const struct conf_member *m, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buffer_printf(&c->report->errors, "%s:%d:%d: %s\n", m->file, m->line, m->column, text);
}

static void warn_no_effect(struct context *c, const struct conf_member *m)
{
    buffer_printf(&c->report->warnings,
                  "%s:%d:%d: option \"%.*s\" is known but has no effect in this version yet\n",
                  m->file, m->line, m->column, BYTES_ARG(m->key));
}

static bool expect_type(struct context *c, const struct conf_member *m, enum conf_type type)
{
    if (m->value.type == type) {
        return true;
    }
    complain(c, m, "interface conversion: interface {} is %s, not %s",
             conf_type_name(m->value.type), conf_type_name(type));
    return false;
}

static void take_text(struct context *c, const struct conf_member *m, char **field)
{
    if (expect_type(c, m, CONF_STRING)) {
        option_set(field, m->value.text.ptr);
    }
}

static void take_bool(struct context *c, const struct conf_member *m, bool *field)
{
    if (expect_type(c, m, CONF_BOOL)) {
        *field = m->value.integer != 0;
    }
}

static void take_int(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (expect_type(c, m, CONF_INT)) {
        *field = m->value.integer;
    }
}

static void take_int32(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (expect_type(c, m, CONF_INT)) {
        if (m->value.integer > INT32_MAX) {
            complain(c, m, "%.*s value is too big", BYTES_ARG(m->key));
            return;
        }
        *field = m->value.integer;
    }
}

static void take_duration(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (m->value.type == CONF_INT || m->value.type == CONF_FLOAT) {
        *field = m->value.type == CONF_INT ? m->value.integer * NS_PER_SEC
                                           : (int64_t)(m->value.real * 1e9);
        buffer_printf(&c->report->warnings,
                      "%s:%d:%d: invalid use of field \"%.*s\": %.*s should be converted to a "
                      "duration\n",
                      m->file, m->line, m->column, BYTES_ARG(m->key), BYTES_ARG(m->key));
    } else if (expect_type(c, m, CONF_STRING) && !clock_parse_duration(m->value.text, field)) {
        complain(c, m, "error parsing %.*s: time: invalid duration \"%.*s\"", BYTES_ARG(m->key),
                 BYTES_ARG(m->value.text));
    }
}

/* 4222 or "host:port" */
static void take_listen(struct context *c, const struct conf_member *m, char **host, int *port)
{
    if (m->value.type == CONF_INT) {
        *port = (int)m->value.integer;
        return;
    }
    if (!expect_type(c, m, CONF_STRING)) {
        return;
    }
    char *user, *password, *name;
    if (option_parse_url(m->value.text.ptr, &user, &password, &name, port) != OK) {
        complain(c, m, "could not parse address string \"%.*s\"", BYTES_ARG(m->value.text));
    } else {
        option_set(host, name);
    }
    free(user);
    free(password);
    free(name);
}

static void take_port(struct context *c, const struct conf_member *m, int *port)
{
    int64_t value = *port;
    take_int(c, m, &value);
    if (value < -1 || value > 65535) {
        complain(c, m, "port %lld is out of range", (long long)value);
    } else {
        *port = (int)value;
    }
}

/* Calls `apply` for each member found in `rows`; a row without handler warns; others are errors. */
static void apply_table(struct context *c, const struct conf_value *map,
                        const struct option_row *rows)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct conf_member *m = &map->members[i];
        const struct option_row *row = rows;
        while (row->name != NULL && !bytes_eq_nocase(m->key, bytes_of(row->name))) {
            row++;
        }
        if (row->name == NULL) {
            if (!m->used_as_variable) {
                complain(c, m, "unknown field \"%.*s\"", BYTES_ARG(m->key));
            }
        } else if (row->apply == NULL) {
            warn_no_effect(c, m);
        } else {
            row->apply(c, m);
        }
    }
}

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

static bool key_in(struct bytes key, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (bytes_eq_nocase(key, bytes_of(*names))) {
            return true;
        }
    }
    return false;
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

static void on_authorization(struct context *c, const struct conf_member *m)
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

static void on_accounts(struct context *c, const struct conf_member *m)
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

static void on_cluster_name(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->cluster_name);
}
static void on_cluster_listen(struct context *c, const struct conf_member *m)
{
    take_listen(c, m, &c->o->cluster_host, &c->o->cluster_port);
}
static void on_cluster_host(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->cluster_host);
}
static void on_cluster_port(struct context *c, const struct conf_member *m)
{
    take_port(c, m, &c->o->cluster_port);
}
static void on_routes(struct context *c, const struct conf_member *m)
{
    if (m->value.type == CONF_STRING) {
        text_list_add(&c->o->routes, m->value.text);
        return;
    }
    if (!expect_type(c, m, CONF_ARRAY)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_value *v = &m->value.members[i].value;
        char *user, *password, *host;
        int port;
        if (v->type != CONF_STRING ||
            option_parse_url(v->text.ptr, &user, &password, &host, &port) != OK) {
            complain(c, m, "error parsing route url [\"%.*s\"]", BYTES_ARG(v->text));
            continue;
        }
        free(user);
        free(password);
        free(host);
        text_list_add(&c->o->routes, v->text);
    }
}
static void on_cluster_authorization(struct context *c, const struct conf_member *m)
{
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (bytes_eq_nocase(f->key, BYTES_LIT("user")) ||
            bytes_eq_nocase(f->key, BYTES_LIT("username"))) {
            take_text(c, f, &c->o->cluster_user);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("pass")) ||
                   bytes_eq_nocase(f->key, BYTES_LIT("password"))) {
            take_text(c, f, &c->o->cluster_password);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("timeout"))) {
            warn_no_effect(c, f);
        } else {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
}
static void on_no_advertise(struct context *c, const struct conf_member *m)
{
    take_bool(c, m, &c->o->no_advertise);
}
static void on_cluster_advertise(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->cluster_advertise);
}
static void on_connect_retries(struct context *c, const struct conf_member *m)
{
    take_int(c, m, &c->o->connect_retries);
}

/* Security must not silently be weaker than what the file asks for. */
static void refuse(struct context *c, const struct conf_member *m)
{
    complain(c, m, "\"%.*s\" is not supported in this version yet", BYTES_ARG(m->key));
}

static const struct option_row cluster_rows[] = {{"name", on_cluster_name},
                                                 {"listen", on_cluster_listen},
                                                 {"host", on_cluster_host},
                                                 {"net", on_cluster_host},
                                                 {"port", on_cluster_port},
                                                 {"routes", on_routes},
                                                 {"authorization", on_cluster_authorization},
                                                 {"no_advertise", on_no_advertise},
                                                 {"advertise", on_cluster_advertise},
                                                 {"cluster_advertise", on_cluster_advertise},
                                                 {"connect_retries", on_connect_retries},
                                                 {"tls", refuse},
                                                 {"permissions", refuse},
                                                 {"accounts", NULL},
                                                 {"connect_backoff", NULL},
                                                 {"pool_size", NULL},
                                                 {"compression", NULL},
                                                 {"ping_interval", NULL},
                                                 {"ping_max", NULL},
                                                 {"write_deadline", NULL},
                                                 {"write_timeout", NULL},
                                                 {NULL, NULL}};

static void on_cluster(struct context *c, const struct conf_member *m)
{
    if (expect_type(c, m, CONF_MAP)) {
        if (c->o->cluster_port == 0) {
            c->o->cluster_port = 6222;
        }
        apply_table(c, &m->value, cluster_rows);
    }
}

/* Unquoted sizes are integers already; quoted ones end in K, M, G or T, base 1024. */
static void take_size(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (m->value.type == CONF_INT) {
        *field = m->value.integer;
        return;
    }
    if (!expect_type(c, m, CONF_STRING)) {
        return;
    }
    char *rest;
    long long value = strtoll(m->value.text.ptr, &rest, 10);
    const char *units = "KMGT";
    const char *unit = rest[0] == '\0' ? NULL : strchr(units, rest[0]);
    if (m->value.text.len == 0) {
        *field = 0;
    } else if (unit == NULL || rest[1] != '\0' || rest == m->value.text.ptr) {
        complain(c, m, "%.*s sizes defined as strings must end in K, M, G, T", BYTES_ARG(m->key));
    } else {
        *field = value << (10 * (unit - units + 1));
    }
}

static void on_js_max_file(struct context *c, const struct conf_member *m)
{
    take_size(c, m, &c->o->jetstream_max_file);
}
static void on_js_max_mem(struct context *c, const struct conf_member *m)
{
    take_size(c, m, &c->o->jetstream_max_memory);
}
static void on_store_dir(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->store_dir);
}
static void on_js_enabled(struct context *c, const struct conf_member *m)
{
    take_bool(c, m, &c->o->jetstream);
}
static void on_js_sync(struct context *c, const struct conf_member *m)
{
    if (m->value.type != CONF_STRING || !bytes_is(m->value.text, "always")) {
        buffer_printf(&c->report->warnings,
                      "%s:%d:%d: every acknowledged write is synced; a longer \"%.*s\" has no "
                      "effect in this version yet\n",
                      m->file, m->line, m->column, BYTES_ARG(m->key));
    }
}

static const struct option_row jetstream_rows[] = {{"enabled", on_js_enabled},
                                                   {"enable", on_js_enabled},
                                                   {"store_dir", on_store_dir},
                                                   {"store", on_store_dir},
                                                   {"storedir", on_store_dir},
                                                   {"max_file", on_js_max_file},
                                                   {"max_file_store", on_js_max_file},
                                                   {"max_mem", on_js_max_mem},
                                                   {"max_mem_store", on_js_max_mem},
                                                   {"max_memory_store", on_js_max_mem},
                                                   {"sync_interval", on_js_sync},
                                                   {"sync", on_js_sync},
                                                   {"domain", refuse},
                                                   {"key", refuse},
                                                   {"ek", refuse},
                                                   {"encryption_key", refuse},
                                                   {"prev_key", refuse},
                                                   {"cipher", refuse},
                                                   {"tpm", refuse},
                                                   {"strict", NULL},
                                                   {"unique_tag", NULL},
                                                   {"extension_hint", NULL},
                                                   {"limits", NULL},
                                                   {"max_outstanding_catchup", NULL},
                                                   {"max_buffered_msgs", NULL},
                                                   {"max_buffered_size", NULL},
                                                   {"request_queue_limit", NULL},
                                                   {"info_queue_limit", NULL},
                                                   {"meta_compact", NULL},
                                                   {"meta_compact_size", NULL},
                                                   {"meta_compact_sync", NULL},
                                                   {"max_concurrent_io", NULL},
                                                   {NULL, NULL}};

static void on_jetstream(struct context *c, const struct conf_member *m)
{
    if (m->value.type == CONF_BOOL) {
        c->o->jetstream = m->value.integer != 0;
    } else if (m->value.type == CONF_STRING) {
        c->o->jetstream = bytes_eq_nocase(m->value.text, BYTES_LIT("enabled")) ||
                          bytes_eq_nocase(m->value.text, BYTES_LIT("enable"));
    } else if (expect_type(c, m, CONF_MAP)) {
        c->o->jetstream = true;
        apply_table(c, &m->value, jetstream_rows);
    }
}

/* --- top level --- */

#define TEXT_OPTION(name, field)                                                                   \
    static void name(struct context *c, const struct conf_member *m)                               \
    {                                                                                              \
        take_text(c, m, &c->o->field);                                                             \
    }
#define BOOL_OPTION(name, field)                                                                   \
    static void name(struct context *c, const struct conf_member *m)                               \
    {                                                                                              \
        take_bool(c, m, &c->o->field);                                                             \
    }
#define INT_OPTION(name, field)                                                                    \
    static void name(struct context *c, const struct conf_member *m)                               \
    {                                                                                              \
        take_int32(c, m, &c->o->field);                                                            \
    }
#define DURATION_OPTION(name, field)                                                               \
    static void name(struct context *c, const struct conf_member *m)                               \
    {                                                                                              \
        take_duration(c, m, &c->o->field);                                                         \
    }

TEXT_OPTION(on_host, host)
TEXT_OPTION(on_server_name, server_name)
TEXT_OPTION(on_client_advertise, client_advertise)
TEXT_OPTION(on_log_file, log_file)
TEXT_OPTION(on_pid_file, pid_file)
TEXT_OPTION(on_ports_file_dir, ports_file_dir)
TEXT_OPTION(on_system_account, system_account)
TEXT_OPTION(on_no_auth_user, no_auth_user)
BOOL_OPTION(on_debug, debug)
BOOL_OPTION(on_trace, trace)
BOOL_OPTION(on_logtime, logtime)
BOOL_OPTION(on_logtime_utc, logtime_utc)
INT_OPTION(on_max_payload, max_payload)
INT_OPTION(on_max_control_line, max_control_line)
INT_OPTION(on_max_pending, max_pending)
INT_OPTION(on_max_subscriptions, max_subscriptions)
INT_OPTION(on_ping_max, ping_max)
DURATION_OPTION(on_ping_interval, ping_interval_ns)
DURATION_OPTION(on_write_deadline, write_deadline_ns)
DURATION_OPTION(on_lame_duck_duration, lame_duck_duration_ns)
DURATION_OPTION(on_lame_duck_grace, lame_duck_grace_ns)

static void on_max_connections(struct context *c, const struct conf_member *m)
{
    take_int32(c, m, &c->o->max_connections);
    if (c->o->max_connections == 0) {
        c->o->max_connections = -1; /* a configured 0 refuses every client */
    }
}
static void on_listen(struct context *c, const struct conf_member *m)
{
    take_listen(c, m, &c->o->host, &c->o->port);
}
static void on_port(struct context *c, const struct conf_member *m)
{
    take_port(c, m, &c->o->port);
}
static void on_http(struct context *c, const struct conf_member *m)
{
    take_listen(c, m, &c->o->http_host, &c->o->http_port);
}
static void on_http_port(struct context *c, const struct conf_member *m)
{
    take_port(c, m, &c->o->http_port);
}
static void on_loops(struct context *c, const struct conf_member *m)
{
    int64_t loops = 0;
    take_int(c, m, &loops);
    if (loops < 0 || loops > 64) {
        complain(c, m, "loops must be between 0 (one per core) and 64");
    } else {
        c->o->loops = (int)loops;
    }
}
static void on_tags(struct context *c, const struct conf_member *m)
{
    if (m->value.type == CONF_STRING) {
        text_list_add(&c->o->tags, m->value.text);
    } else if (expect_type(c, m, CONF_ARRAY)) {
        for (uint32_t i = 0; i < m->value.count; i++) {
            if (m->value.members[i].value.type == CONF_STRING) {
                text_list_add(&c->o->tags, m->value.members[i].value.text);
            }
        }
    }
}

static const struct option_row top_rows[] = {
    {"listen", on_listen},
    {"host", on_host},
    {"net", on_host},
    {"port", on_port},
    {"server_name", on_server_name},
    {"server_tags", on_tags},
    {"client_advertise", on_client_advertise},
    {"loops", on_loops},
    {"debug", on_debug},
    {"trace", on_trace},
    {"logtime", on_logtime},
    {"logtime_utc", on_logtime_utc},
    {"log_file", on_log_file},
    {"logfile", on_log_file},
    {"pid_file", on_pid_file},
    {"pidfile", on_pid_file},
    {"ports_file_dir", on_ports_file_dir},
    {"http", on_http},
    {"http_port", on_http_port},
    {"monitor_port", on_http_port},
    {"max_payload", on_max_payload},
    {"max_control_line", on_max_control_line},
    {"max_pending", on_max_pending},
    {"max_connections", on_max_connections},
    {"max_conn", on_max_connections},
    {"max_subscriptions", on_max_subscriptions},
    {"max_subs", on_max_subscriptions},
    {"ping_interval", on_ping_interval},
    {"ping_max", on_ping_max},
    {"write_deadline", on_write_deadline},
    {"lame_duck_duration", on_lame_duck_duration},
    {"lame_duck_grace_period", on_lame_duck_grace},
    {"authorization", on_authorization},
    {"accounts", on_accounts},
    {"system_account", on_system_account},
    {"system", on_system_account},
    {"no_auth_user", on_no_auth_user},
    {"cluster", on_cluster},
    {"jetstream", on_jetstream},
    {"store_dir", on_store_dir},
    {"storedir", on_store_dir},
    /* Refused: running without them would be less safe, or another server, than the file says. */
    {"tls", refuse},
    {"https", refuse},
    {"https_port", refuse},
    {"operator", refuse},
    {"operators", refuse},
    {"resolver", refuse},
    {"trusted", refuse},
    {"trusted_keys", refuse},
    {"gateway", refuse},
    {"leafnodes", refuse},
    {"leaf", refuse},
    {"websocket", refuse},
    {"ws", refuse},
    {"mqtt", refuse},
    {"mappings", refuse},
    {"maps", refuse},
    {"proxy_protocol", refuse},
    {"proxies", refuse},
    {"syslog", refuse},
    {"remote_syslog", refuse},
    {"http_base_path", refuse},
    /* Accepted with a warning. */
    {"server_metadata", NULL},
    {"feature_flags", NULL},
    {"trace_verbose", NULL},
    {"trace_headers", NULL},
    {"logfile_size_limit", NULL},
    {"log_size_limit", NULL},
    {"logfile_max_num", NULL},
    {"log_max_num", NULL},
    {"prof_port", NULL},
    {"prof_block_rate", NULL},
    {"max_sub_tokens", NULL},
    {"max_subscription_tokens", NULL},
    {"max_traced_msg_len", NULL},
    {"max_closed_clients", NULL},
    {"write_timeout", NULL},
    {"connect_error_reports", NULL},
    {"reconnect_error_reports", NULL},
    {"no_fast_producer_stall", NULL},
    {"disable_sublist_cache", NULL},
    {"no_sublist_cache", NULL},
    {"no_header_support", NULL},
    {"allow_non_tls", NULL},
    {"ocsp", NULL},
    {"ocsp_cache", NULL},
    {"no_system_account", NULL},
    {"no_system", NULL},
    {"no_sys_acc", NULL},
    {"resolver_tls", NULL},
    {"resolver_preload", NULL},
    {"resolver_pinned_accounts", NULL},
    {"default_sentinel", NULL},
    {"default_js_domain", NULL},
    {"always_enable_nonce", NULL},
    {NULL, NULL}};

enum err options_apply_conf(struct options *o, const struct conf *conf,
                            struct option_report *report)
{
    struct context c = {o, report};
    const struct conf_value *root = conf_root(conf);
    apply_table(&c, root, top_rows);
    if (conf_find(root, "accounts") != NULL && o->system_account == NULL) {
        for (uint32_t i = 0; i < o->account_count; i++) {
            if (strcmp(o->accounts[i].name, "$SYS") == 0) {
                option_set(&o->system_account, "$SYS");
            }
        }
    }
    return report->errors.len == 0 ? OK : ERR_INVALID;
}
