/* From the configuration tree to struct options. Every option that nats-server 2.15 knows is either
 * implemented, or accepted with one note that it has no effect, or, when nobody knows it, refused
 * with its position. Where safety hangs on what is missing, doors stay shut instead.
 */
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/config/take_internal.h"

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
    if (c->store_dir_set) { /* at the top and in jetstream{}: which of them? */
        complain(c, m, "Duplicate 'store_dir' configuration");
        return;
    }
    c->store_dir_set = true;
    take_text(c, m, &c->o->store_dir);
}
static void on_js_scrub_rate(struct context *c, const struct conf_member *m)
{
    take_size(c, m, &c->o->scrub_rate);
}
static void on_js_scrub_interval(struct context *c, const struct conf_member *m)
{
    take_duration(c, m, &c->o->scrub_interval_ns);
    if (c->o->scrub_interval_ns < NS_PER_SEC) {
        complain(c, m, "scrub_interval must be a second at least");
    }
}
static void on_js_read_lease(struct context *c, const struct conf_member *m)
{
    take_duration(c, m, &c->o->read_lease_ns);
    if (c->o->read_lease_ns < 0 || c->o->read_lease_ns > 250 * NS_PER_MS) {
        complain(c, m, "read_lease must be between 0 and 250ms");
    }
}
static void on_js_key(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->jetstream_key);
}
static void on_js_prev_key(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->jetstream_prev_key);
}
static void on_js_cipher(struct context *c, const struct conf_member *m)
{
    static const char *const chacha[] = {"chacha", "chachapoly", NULL};
    static const char *const aes[] = {"aes", NULL};
    if (m->value.type != CONF_STRING ||
        (!key_in(m->value.text, chacha) && !key_in(m->value.text, aes))) {
        complain(c, m, "Unknown cipher type: \"%.*s\"", BYTES_ARG(m->value.text));
    } else {
        c->o->jetstream_aes = key_in(m->value.text, aes);
    }
}
static void on_js_tpm(struct context *c, const struct conf_member *m)
{
    complain(c, m, "TPM functionality is not supported on this platform");
}
static void on_js_enabled(struct context *c, const struct conf_member *m)
{
    take_bool(c, m, &c->o->jetstream);
}
static void on_js_sync(struct context *c, const struct conf_member *m)
{
    if (m->value.type != CONF_STRING || !bytes_is(m->value.text, "always")) {
        note_instead(c, m, "every acknowledged write is synced");
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
                                                   {"scrub_rate", on_js_scrub_rate},
                                                   {"scrub_interval", on_js_scrub_interval},
                                                   {"read_lease", on_js_read_lease},
                                                   {"domain", NULL},
                                                   {"key", on_js_key},
                                                   {"ek", on_js_key},
                                                   {"encryption_key", on_js_key},
                                                   {"prev_key", on_js_prev_key},
                                                   {"prev_ek", on_js_prev_key},
                                                   {"prev_encryption_key", on_js_prev_key},
                                                   {"cipher", on_js_cipher},
                                                   {"tpm", on_js_tpm},
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
    if (m->value.type == CONF_MAP) {
        c->o->jetstream = true;
        apply_table(c, &m->value, jetstream_rows);
    } else {
        take_switch(c, m, &c->o->jetstream);
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
static void on_server_name(struct context *c, const struct conf_member *m)
{
    take_name(c, m, "server name", &c->o->server_name);
}
TEXT_OPTION(on_log_file, log_file)
TEXT_OPTION(on_pid_file, pid_file)
TEXT_OPTION(on_ports_file_dir, ports_file_dir)
TEXT_OPTION(on_system_account, system_account)
TEXT_OPTION(on_no_auth_user, no_auth_user)
BOOL_OPTION(on_allow_non_tls, allow_non_tls)
BOOL_OPTION(on_no_headers, no_headers)
INT_OPTION(on_connect_error_reports, connect_error_reports)
INT_OPTION(on_reconnect_error_reports, reconnect_error_reports)
BOOL_OPTION(on_proxy_protocol, proxy_protocol)
BOOL_OPTION(on_no_producer_stall, no_producer_stall)
BOOL_OPTION(on_debug, debug)
BOOL_OPTION(on_syslog, syslog)
BOOL_OPTION(on_trace, trace)
BOOL_OPTION(on_logtime, logtime)
BOOL_OPTION(on_logtime_utc, logtime_utc)
INT_OPTION(on_log_max_files, log_max_files)
INT_OPTION(on_max_traced, max_traced_msg_len)
INT_OPTION(on_max_payload, max_payload)
INT_OPTION(on_max_control_line, max_control_line)
INT_OPTION(on_max_pending, max_pending)
INT_OPTION(on_max_subscriptions, max_subscriptions)
INT_OPTION(on_max_closed_clients, max_closed_clients)
INT_OPTION(on_ping_max, ping_max)
DURATION_OPTION(on_ping_interval, ping_interval_ns)
DURATION_OPTION(on_write_deadline, write_deadline_ns)

static void on_client_advertise(struct context *c, const struct conf_member *m)
{
    take_advertise(c, m, &c->o->client_advertise);
}
static void on_lame_duck_duration(struct context *c, const struct conf_member *m)
{
    take_duration(c, m, &c->o->lame_duck_duration_ns);
    if (c->o->lame_duck_duration_ns < 30 * NS_PER_SEC) {
        complain(c, m, "invalid lame_duck_duration of %.*s, minimum is 30 seconds",
                 BYTES_ARG(m->value.text));
    }
}
static void on_lame_duck_grace(struct context *c, const struct conf_member *m)
{
    take_duration(c, m, &c->o->lame_duck_grace_ns);
    if (c->o->lame_duck_grace_ns < 0) {
        complain(c, m, "invalid lame_duck_grace_period, needs to be positive");
    }
}
static void on_operator(struct context *c, const struct conf_member *m)
{
    c->o->operator_mode = true;
    note_instead(c, m, "JWTs are not read, and no client can log in");
}
static void on_proxies(struct context *c, const struct conf_member *m)
{
    note_instead(c, m, "no proxy is trusted, and users that require one cannot log in");
}

static void on_log_size_limit(struct context *c, const struct conf_member *m)
{
    take_int(c, m, &c->o->log_size_limit);
}
static void on_trace_headers(struct context *c, const struct conf_member *m)
{
    take_bool(c, m, &c->o->trace_headers);
    c->o->trace = c->o->trace_headers;
}
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
static void on_https(struct context *c, const struct conf_member *m)
{
    take_listen(c, m, &c->o->http_host, &c->o->https_port);
}
static void on_https_port(struct context *c, const struct conf_member *m)
{
    take_port(c, m, &c->o->https_port);
}
/* With a leading '/' and without one at the end. */
static void on_http_base_path(struct context *c, const struct conf_member *m)
{
    if (!expect_type(c, m, CONF_STRING)) {
        return;
    }
    struct buffer path = {0};
    struct bytes rest = m->value.text, part;
    while (bytes_token(&rest, '/', &part)) {
        if (part.len > 0) {
            buffer_printf(&path, "/%.*s", BYTES_ARG(part));
        }
    }
    buffer_append_char(&path, '\0');
    option_set(&c->o->http_base_path, path.data);
    buffer_deinit(&path);
}
static void on_max_sub_tokens(struct context *c, const struct conf_member *m)
{
    take_int(c, m, &c->o->max_sub_tokens);
    if (c->o->max_sub_tokens > 255) {
        complain(c, m, "%.*s value is too big", BYTES_ARG(m->key));
    } else if (c->o->max_sub_tokens <= 0) {
        complain(c, m, "%.*s value can not be negative", BYTES_ARG(m->key));
    }
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
static void on_mappings(struct context *c, const struct conf_member *m)
{
    take_mappings(c, m, options_account(c->o, BYTES_LIT("$G")));
}
static void on_tls(struct context *c, const struct conf_member *m)
{
    take_tls(c, m, &c->o->tls);
    if (c->o->tls.check_known_urls) {
        complain(c, m, "verify_cert_and_check_known_urls not supported in this context");
    }
}
static void on_tags(struct context *c, const struct conf_member *m)
{
    take_texts(c, m, &c->o->tags);
    for (uint32_t i = 0; i < c->o->tags.count; i++) {
        for (char *p = c->o->tags.items[i]; *p != '\0'; p++) {
            *p = (char)tolower((unsigned char)*p);
        }
    }
}

static void on_metadata(struct context *c, const struct conf_member *m)
{
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    text_list_clear(&c->o->metadata_keys);
    text_list_clear(&c->o->metadata_values);
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *pair = &m->value.members[i];
        if (expect_type(c, pair, CONF_STRING)) {
            text_list_add(&c->o->metadata_keys, pair->key);
            text_list_add(&c->o->metadata_values, pair->value.text);
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
    {"server_metadata", on_metadata},
    {"client_advertise", on_client_advertise},
    {"loops", on_loops},
    {"debug", on_debug},
    {"trace", on_trace},
    {"logtime", on_logtime},
    {"logtime_utc", on_logtime_utc},
    {"log_file", on_log_file},
    {"logfile", on_log_file},
    {"syslog", on_syslog},
    {"logfile_size_limit", on_log_size_limit},
    {"log_size_limit", on_log_size_limit},
    {"logfile_max_num", on_log_max_files},
    {"log_max_num", on_log_max_files},
    {"trace_verbose", on_trace},
    {"trace_headers", on_trace_headers},
    {"max_traced_msg_len", on_max_traced},
    {"pid_file", on_pid_file},
    {"pidfile", on_pid_file},
    {"ports_file_dir", on_ports_file_dir},
    {"http", on_http},
    {"http_port", on_http_port},
    {"monitor_port", on_http_port},
    {"https", on_https},
    {"https_port", on_https_port},
    {"http_base_path", on_http_base_path},
    {"max_sub_tokens", on_max_sub_tokens},
    {"max_subscription_tokens", on_max_sub_tokens},
    {"no_header_support", on_no_headers},
    {"max_payload", on_max_payload},
    {"max_control_line", on_max_control_line},
    {"max_pending", on_max_pending},
    {"max_connections", on_max_connections},
    {"max_conn", on_max_connections},
    {"max_subscriptions", on_max_subscriptions},
    {"max_subs", on_max_subscriptions},
    {"max_closed_clients", on_max_closed_clients},
    {"ping_interval", on_ping_interval},
    {"ping_max", on_ping_max},
    {"write_deadline", on_write_deadline},
    {"proxy_protocol", on_proxy_protocol},
    {"no_fast_producer_stall", on_no_producer_stall},
    {"connect_error_reports", on_connect_error_reports},
    {"reconnect_error_reports", on_reconnect_error_reports},
    {"lame_duck_duration", on_lame_duck_duration},
    {"lame_duck_grace_period", on_lame_duck_grace},
    {"authorization", on_authorization},
    {"accounts", on_accounts},
    {"system_account", on_system_account},
    {"system", on_system_account},
    {"no_auth_user", on_no_auth_user},
    {"tls", on_tls},
    {"mappings", on_mappings},
    {"maps", on_mappings},
    {"allow_non_tls", on_allow_non_tls},
    {"cluster", on_cluster},
    {"jetstream", on_jetstream},
    {"store_dir", on_store_dir},
    {"storedir", on_store_dir},
    {"operator", on_operator},
    {"operators", on_operator},
    {"root", on_operator},
    {"roots", on_operator},
    {"root_operator", on_operator},
    {"root_operators", on_operator},
    {"trusted", on_operator},
    {"trusted_keys", on_operator},
    {"proxies", on_proxies},
    /* Known; without their listeners less is let in, not more. */
    {"gateway", on_gateway},
    {"leafnodes", on_leafnodes},
    {"leaf", on_leafnodes},
    {"websocket", NULL},
    {"ws", NULL},
    {"mqtt", NULL},
    {"remote_syslog", NULL},
    {"feature_flags", NULL},
    {"prof_port", NULL},
    {"prof_block_rate", NULL},
    {"write_timeout", NULL},
    {"disable_sublist_cache", NULL},
    {"no_sublist_cache", NULL},
    {"ocsp", NULL},
    {"ocsp_cache", NULL},
    {"no_system_account", NULL},
    {"no_system", NULL},
    {"no_sys_acc", NULL},
    {"resolver", NULL},
    {"account_resolver", NULL},
    {"accounts_resolver", NULL},
    {"resolver_tls", NULL},
    {"resolver_preload", NULL},
    {"resolver_pinned_accounts", NULL},
    {"default_sentinel", NULL},
    {"default_js_domain", NULL},
    {NULL, NULL}};

enum err options_apply_conf(struct options *o, const struct conf *conf,
                            struct option_report *report)
{
    struct context c = {.o = o, .report = report};
    const struct conf_value *root = conf_root(conf);
    apply_table(&c, root, top_rows);
    const struct conf_member *accounts = conf_find(root, "accounts");
    if (accounts != NULL) {
        check_accounts(&c, accounts);
    }
    if (accounts != NULL && o->system_account == NULL) {
        for (uint32_t i = 0; i < o->account_count; i++) {
            if (strcmp(o->accounts[i].name, "$SYS") == 0) {
                option_set(&o->system_account, "$SYS");
            }
        }
    }
    return report->errors.len == 0 ? OK : ERR_INVALID;
}
