#include "core/config/options.h"

#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/config/options_internal.h"

void option_set(char **field, const char *value)
{
    char *copy = value == NULL ? NULL : mem_strdup(value);
    mem_free_secret(*field);
    *field = copy;
}

static void rules_free(struct permission_rules *rules)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        free(rules->rules[i].subject);
        free(rules->rules[i].queue);
    }
    free(rules->rules);
}

void permissions_free(struct permissions *p)
{
    rules_free(&p->publish_allow);
    rules_free(&p->publish_deny);
    rules_free(&p->subscribe_allow);
    rules_free(&p->subscribe_deny);
}

const char *const compression_mode_names[] = {[COMPRESSION_NOT_SUPPORTED] = "not supported",
                                              [COMPRESSION_OFF] = "off",
                                              [COMPRESSION_ACCEPT] = "accept",
                                              [COMPRESSION_S2_AUTO] = "s2_auto",
                                              [COMPRESSION_S2_UNCOMPRESSED] = "s2_uncompressed",
                                              [COMPRESSION_S2_FAST] = "s2_fast",
                                              [COMPRESSION_S2_BETTER] = "s2_better",
                                              [COMPRESSION_S2_BEST] = "s2_best",
                                              NULL};

static struct cluster_options cluster_options_default(void)
{
    return (struct cluster_options){
        .host = mem_strdup("0.0.0.0"),
        .pool_size = 3,
        .tls = tls_options_default(),
        .compression = COMPRESSION_ACCEPT,
        .rtt_thresholds_ns = {10 * NS_PER_MS, 50 * NS_PER_MS, 100 * NS_PER_MS},
        .write_deadline_ns = 10 * NS_PER_SEC};
}

static void cluster_options_deinit(struct cluster_options *c)
{
    free(c->name);
    free(c->host);
    free(c->user);
    mem_free_secret(c->password);
    free(c->advertise);
    text_list_clear(&c->routes);
    text_list_clear(&c->accounts);
    permissions_free(&c->permissions);
    tls_options_deinit(&c->tls);
}

struct options *options_new(void)
{
    struct options *o = NEW(struct options);
    o->host = mem_strdup("0.0.0.0");
    o->port = 4222;
    o->tls = tls_options_default();
    o->logtime = true;
    o->max_payload = 1 << 20;
    o->max_control_line = 4096;
    o->max_pending = 64 << 20;
    o->max_connections = 65536;
    o->max_closed_clients = 10000;
    o->ping_interval_ns = 120 * NS_PER_SEC;
    o->ping_max = 2;
    o->write_deadline_ns = 10 * NS_PER_SEC;
    o->lame_duck_duration_ns = 120 * NS_PER_SEC;
    o->lame_duck_grace_ns = 10 * NS_PER_SEC;
    o->connect_error_reports = 3600;
    o->reconnect_error_reports = 1;
    o->cluster = cluster_options_default();
    o->jetstream_max_file = -1;
    o->jetstream_max_memory = -1;
    o->scrub_rate = 1 << 20;
    o->scrub_interval_ns = 24 * 3600 * NS_PER_SEC;
    VEC_RESERVE(o->accounts, o->account_cap, o->account_count);
    o->accounts[o->account_count++] =
        (struct account_options){.name = mem_strdup("$G"), .limits = {-1, -1, -1}};
    return o;
}

void options_free(struct options *o)
{
    if (o == NULL) {
        return;
    }
    char **strings[] = {
        &o->config_file,       &o->server_name,    &o->host,      &o->client_advertise,
        &o->http_host,         &o->http_base_path, &o->pid_file,  &o->ports_file_dir,
        &o->log_file,          &o->user,           &o->password,  &o->token,
        &o->system_account,    &o->no_auth_user,   &o->store_dir, &o->jetstream_key,
        &o->jetstream_prev_key};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        mem_free_secret(*strings[i]);
    }
    for (uint32_t i = 0; i < o->account_count; i++) {
        struct account_options *a = &o->accounts[i];
        for (uint32_t k = 0; k < a->user_count; k++) {
            free(a->users[k].user);
            mem_free_secret(a->users[k].password);
            permissions_free(&a->users[k].permissions);
        }
        permissions_free(&a->default_permissions);
        account_exchange_free(a);
        free(a->users);
        free(a->name);
    }
    free(o->accounts);
    cluster_options_deinit(&o->cluster);
    text_list_clear(&o->callout_users);
    text_list_clear(&o->force_recovery);
    text_list_clear(&o->tags);
    text_list_clear(&o->metadata_keys);
    text_list_clear(&o->metadata_values);
    tls_options_deinit(&o->tls);
    free(o);
}

const struct account_options *options_find_account(const struct options *o, struct bytes name)
{
    for (uint32_t i = 0; i < o->account_count; i++) {
        if (bytes_is(name, o->accounts[i].name)) {
            return &o->accounts[i];
        }
    }
    return NULL;
}

void option_report_deinit(struct option_report *report)
{
    buffer_deinit(&report->errors);
    buffer_deinit(&report->warnings);
    buffer_deinit(&report->notes);
}

/* Limits and intervals of which zero is the default, as for nats-server; and below zero where that
 * would let nobody in, or end every connection at once. */
static const struct {
    size_t offset;
    bool below;
} defaulted[] = {{offsetof(struct options, max_payload), false},
                 {offsetof(struct options, max_pending), false},
                 {offsetof(struct options, max_control_line), true},
                 {offsetof(struct options, max_closed_clients), true},
                 {offsetof(struct options, ping_interval_ns), true},
                 {offsetof(struct options, ping_max), false},
                 {offsetof(struct options, write_deadline_ns), true},
                 {offsetof(struct options, lame_duck_duration_ns), false},
                 {offsetof(struct options, lame_duck_grace_ns), false},
                 {offsetof(struct options, connect_error_reports), false},
                 {offsetof(struct options, reconnect_error_reports), false},
                 {offsetof(struct options, tls.timeout_ns), true},
                 {offsetof(struct options, cluster.tls.timeout_ns), true},
                 {offsetof(struct options, cluster.pool_size), false},
                 {offsetof(struct options, cluster.write_deadline_ns), true}};

/* A login waits for the handshake, and a second longer. */
static void default_auth_timeout(int64_t *timeout_ns, const struct tls_options *tls)
{
    if (*timeout_ns <= 0 && !tls->set) {
        *timeout_ns = 2 * NS_PER_SEC;
    } else if (*timeout_ns <= 0 &&
               __builtin_add_overflow(tls->timeout_ns, NS_PER_SEC, timeout_ns)) {
        *timeout_ns = tls->timeout_ns;
    }
}

static void fill_in_defaults(struct options *o)
{
    struct options *defaults = options_new();
    for (size_t i = 0; i < sizeof defaulted / sizeof defaulted[0]; i++) {
        int64_t *value = (void *)((char *)o + defaulted[i].offset);
        if (*value == 0 || (*value < 0 && defaulted[i].below)) {
            *value = *(const int64_t *)(const void *)((char *)defaults + defaulted[i].offset);
        }
    }
    options_free(defaults);
    default_auth_timeout(&o->auth_timeout_ns, &o->tls);
    default_auth_timeout(&o->cluster.auth_timeout_ns, &o->cluster.tls);
}

/* A secret or a name that says nothing is one that was not given. */
static void clear_when_empty(char **text)
{
    if (*text != NULL && **text == '\0') {
        option_set(text, NULL);
    }
}

/* No host means all addresses. Shown, as by nats-server, as the one of IPv4. */
static void listen_everywhere(char **host)
{
    if (*host == NULL || **host == '\0') {
        option_set(host, "0.0.0.0");
    }
}

bool option_is_advertisable(const char *text)
{
    char *host = NULL;
    int port;
    const char *colon = strchr(text, ':');
    bool has_port = colon != NULL && (text[0] == '[' || strchr(colon + 1, ':') == NULL);
    bool good = !has_port || (address_parse(bytes_of(text), &host, &port) == OK && port >= 0);
    free(host);
    return good || (text[0] == '[' && text[strlen(text) - 1] == ']');
}

enum err options_finish(struct options *o, struct error *error)
{
    clear_when_empty(&o->user);
    clear_when_empty(&o->token);
    fill_in_defaults(o);
    clear_when_empty(&o->http_host);
    listen_everywhere(&o->host);
    listen_everywhere(&o->cluster.host);
    if (o->port == 0) {
        o->port = 4222;
    }
    if (o->cluster.routes_by_flags && o->cluster.port == 0) {
        return error_set(error, ERR_INVALID,
                         "solicited routes require cluster capabilities, e.g. --cluster");
    }
    if (o->server_name != NULL && strpbrk(o->server_name, " \t\r\n") != NULL) {
        return error_set(error, ERR_INVALID, "server name cannot contain spaces");
    }
    if (o->cluster.name != NULL && strpbrk(o->cluster.name, " \t\r\n") != NULL) {
        return error_set(error, ERR_INVALID, "cluster name cannot contain spaces or new lines");
    }
    for (uint32_t i = 0; i < o->account_count && o->cluster.port != 0; i++) {
        if (strpbrk(o->accounts[i].name, " \t\r\n") != NULL) { /* a route's lines have words */
            return error_set(error, ERR_INVALID,
                             "account name \"%s\": names cannot contain blanks in a cluster",
                             o->accounts[i].name);
        }
    }
    if (o->cluster.name != NULL && strcmp(o->cluster.name, "_") == 0) {
        return error_set(error, ERR_INVALID, "cluster name is reserved");
    }
    if (o->cluster.pool_size < 0 && o->cluster.accounts.count > 0) {
        return error_set(error, ERR_INVALID,
                         "pool_size cannot be negative if pinned accounts are specified");
    }
    if (o->max_payload > o->max_pending) {
        return error_set(error, ERR_INVALID,
                         "max_payload (%lld) cannot be higher than max_pending "
                         "(%lld)",
                         (long long)o->max_payload, (long long)o->max_pending);
    }
    if (o->jetstream_prev_key != NULL && o->jetstream_key == NULL) {
        return error_set(error, ERR_INVALID, "jetstream prev_key without key");
    }
    if (o->force_recovery.count > 0 &&
        (o->server_name == NULL || !text_list_has(&o->force_recovery, bytes_of(o->server_name)))) {
        return error_set(error, ERR_INVALID,
                         "force_recovery names the servers that are left, this one among them");
    }
    if (o->jetstream && o->cluster.port != 0) {
        if (o->server_name == NULL) {
            return error_set(error, ERR_INVALID,
                             "jetstream cluster requires `server_name` to be set");
        }
        if (o->cluster.name == NULL) {
            return error_set(error, ERR_INVALID,
                             "jetstream cluster requires `cluster.name` to be set");
        }
    }
    if (o->http_port != 0 && o->https_port != 0) {
        return error_set(
            error, ERR_INVALID,
            "Can't start monitoring: can't specify both HTTP (%d) and HTTPs (%d) ports",
            o->http_port, o->https_port);
    }
    if (o->https_port != 0 && !o->tls.set) {
        return error_set(error, ERR_INVALID,
                         "Can't start monitoring: TLS cert and key required for HTTPS");
    }
    if (o->tls.set && o->tls.cert_file == NULL && o->tls.more_certs.count == 0) {
        return error_set(error, ERR_INVALID, "TLS Server certificate must be present and valid");
    }
    if (o->tls.set && o->tls.key_file == NULL && o->tls.more_keys.count == 0) {
        return error_set(error, ERR_INVALID, "TLS Server private key must be present and valid");
    }
    if (o->lame_duck_grace_ns >= o->lame_duck_duration_ns) {
        return error_set(error, ERR_INVALID,
                         "lame duck grace period should be strictly lower than "
                         "lame duck duration");
    }
    if (o->system_account != NULL && !o->operator_mode &&
        options_find_account(o, bytes_of(o->system_account)) == NULL) {
        return error_set(error, ERR_INVALID, "error resolving system account: account missing");
    }
    if (o->no_auth_user != NULL) {
        bool found = false, any = false;
        for (uint32_t i = 0; i < o->account_count; i++) {
            for (uint32_t k = 0; k < o->accounts[i].user_count; k++) {
                any = true;
                found = found || strcmp(o->accounts[i].users[k].user, o->no_auth_user) == 0;
            }
        }
        if (!any) {
            return error_set(error, ERR_INVALID,
                             "no_auth_user: \"%s\" present, but users/nkeys are not defined",
                             o->no_auth_user);
        }
        if (!found) {
            return error_set(error, ERR_INVALID,
                             "no_auth_user: \"%s\" not present as user or nkey in authorization "
                             "block or account configuration",
                             o->no_auth_user);
        }
    }
    bool any_account = false;
    for (uint32_t i = 1; i < o->account_count; i++) {
        any_account = any_account || o->system_account == NULL ||
                      strcmp(o->accounts[i].name, o->system_account) != 0;
    }
    /* Without accounts of one's own, $G has JetStream as soon as the server has. */
    if (!any_account) {
        o->accounts[0].jetstream = true;
    }
    return OK;
}
