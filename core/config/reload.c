#include "core/config/reload.h"

#include <stddef.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/url.h"

enum field_kind {
    FIELD_TEXT,
    FIELD_BOOL,
    FIELD_INT,
    FIELD_INT64,
    FIELD_DURATION,
    FIELD_TEXTS,
    FIELD_URLS
};

struct field {
    const char *name; /* as nats-server's messages have it */
    enum field_kind kind;
    size_t offset;
};

#define FIELD(name, kind, member)                                                                  \
    {                                                                                              \
        name, FIELD_##kind, offsetof(struct options, member)                                       \
    }

static const struct field reloadable[] = {
    FIELD("debug", BOOL, debug),
    FIELD("trace", BOOL, trace),
    FIELD("logtime", BOOL, logtime),
    FIELD("logtime_utc", BOOL, logtime_utc),
    FIELD("log_file", TEXT, log_file),
    FIELD("syslog", BOOL, syslog),
    FIELD("trace_headers", BOOL, trace_headers),
    FIELD("max_traced_msg_len", INT64, max_traced_msg_len),
    FIELD("pid_file", TEXT, pid_file),
    FIELD("ports_file_dir", TEXT, ports_file_dir),
    FIELD("client_advertise", TEXT, client_advertise),
    FIELD("max_connections", INT64, max_connections),
    FIELD("max_control_line", INT64, max_control_line),
    FIELD("max_payload", INT64, max_payload),
    FIELD("ping_interval", DURATION, ping_interval_ns),
    FIELD("ping_max", INT64, ping_max),
    FIELD("write_deadline", DURATION, write_deadline_ns),
    FIELD("authorization timeout", DURATION, auth_timeout_ns),
    FIELD("no_fast_producer_stall", BOOL, no_producer_stall),
    FIELD("metadata keys", TEXTS, metadata_keys),
    FIELD("metadata", TEXTS, metadata_values),
    FIELD("connect_error_reports", INT64, connect_error_reports),
    FIELD("reconnect_error_reports", INT64, reconnect_error_reports),
    FIELD("cluster user", TEXT, cluster.user),
    FIELD("cluster advertise", TEXT, cluster.advertise),
    FIELD("cluster no_advertise", BOOL, cluster.no_advertise),
    FIELD("cluster routes", URLS, cluster.routes),
    FIELD("cluster pool_size", INT64, cluster.pool_size),
    FIELD("cluster accounts", TEXTS, cluster.accounts),
    FIELD("cluster connect_retries", INT64, cluster.connect_retries),
    FIELD("cluster ping_interval", DURATION, cluster.ping_interval_ns),
    FIELD("cluster write_deadline", DURATION, cluster.write_deadline_ns),
    FIELD("tags", TEXTS, tags)};

static const struct field fixed[] = {FIELD("ServerName", TEXT, server_name),
                                     FIELD("LogSizeLimit", INT64, log_size_limit),
                                     FIELD("LogMaxFiles", INT64, log_max_files),
                                     FIELD("Host", TEXT, host),
                                     FIELD("Port", INT, port),
                                     FIELD("HTTPHost", TEXT, http_host),
                                     FIELD("HTTPPort", INT, http_port),
                                     FIELD("HTTPSPort", INT, https_port),
                                     FIELD("HTTPBasePath", TEXT, http_base_path),
                                     FIELD("MaxSubTokens", INT64, max_sub_tokens),
                                     FIELD("NoHeaderSupport", BOOL, no_headers),
                                     FIELD("Loops", INT, loops),
                                     FIELD("TrustedOperators", BOOL, operator_mode),
                                     FIELD("MaxPending", INT64, max_pending),
                                     FIELD("MaxSubs", INT64, max_subscriptions),
                                     FIELD("MaxClosedClients", INT64, max_closed_clients),
                                     FIELD("LameDuckDuration", DURATION, lame_duck_duration_ns),
                                     FIELD("LameDuckGracePeriod", DURATION, lame_duck_grace_ns),
                                     FIELD("SystemAccount", TEXT, system_account),
                                     FIELD("AllowNonTLS", BOOL, allow_non_tls),
                                     FIELD("cluster name", TEXT, cluster.name),
                                     FIELD("cluster host", TEXT, cluster.host),
                                     FIELD("cluster port", INT, cluster.port),
                                     FIELD("ProxyProtocol", BOOL, proxy_protocol),
                                     FIELD("JetStream", BOOL, jetstream),
                                     FIELD("StoreDir", TEXT, store_dir),
                                     FIELD("JetStreamMaxStore", INT64, jetstream_max_file),
                                     FIELD("JetStreamMaxMemory", INT64, jetstream_max_memory),
                                     FIELD("ScrubRate", INT64, scrub_rate),
                                     FIELD("ScrubInterval", DURATION, scrub_interval_ns),
                                     FIELD("ReadLease", DURATION, read_lease_ns)};

static void print_texts(struct buffer *out, const struct text_list *list, bool urls)
{
    buffer_append_char(out, '[');
    for (uint32_t i = 0; i < list->count; i++) {
        buffer_append_text(out, i > 0 ? " " : "");
        if (urls) {
            url_put_public(out, bytes_of(list->items[i]));
        } else {
            buffer_append_text(out, list->items[i]);
        }
    }
    buffer_append_char(out, ']');
}

static void print_field(struct buffer *out, const struct field *f, const struct options *o)
{
    const void *at = (const char *)o + f->offset;
    char text[CLOCK_DURATION_MAX];
    switch (f->kind) {
    case FIELD_TEXT: {
        const char *value = *(char *const *)at;
        buffer_append_text(out, value == NULL ? "" : value);
        break;
    }
    case FIELD_BOOL:
        buffer_append_text(out, *(const bool *)at ? "true" : "false");
        break;
    case FIELD_INT:
        buffer_printf(out, "%d", *(const int *)at);
        break;
    case FIELD_INT64:
        buffer_printf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case FIELD_DURATION:
        clock_format_duration(*(const int64_t *)at, text);
        buffer_append_text(out, text);
        break;
    case FIELD_TEXTS:
    case FIELD_URLS:
        print_texts(out, at, f->kind == FIELD_URLS);
        break;
    }
}

/* True when the two differ; the buffers are filled. */
static bool differs(const struct field *f, const struct options *before,
                    const struct options *after, struct buffer *old, struct buffer *new)
{
    buffer_clear(old);
    buffer_clear(new);
    print_field(old, f, before);
    print_field(new, f, after);
    if (f->kind == FIELD_URLS) { /* what is not shown counts, too */
        const char *a = (const char *)before + f->offset, *b = (const char *)after + f->offset;
        return !text_list_equal((const void *)a, (const void *)b);
    }
    return !bytes_eq(buffer_bytes(old), buffer_bytes(new));
}

/* Not printed. */
static bool same_secret(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

enum err options_compare(const struct options *before, const struct options *after,
                         struct buffer *changes, struct error *error)
{
    struct buffer old = {0}, new = {0};
    enum err err = OK;
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0] && err == OK; i++) {
        if (differs(&fixed[i], before, after, &old, &new)) {
            err = error_set(error, ERR_INVALID,
                            "config reload not supported for %s: old=%.*s, new=%.*s", fixed[i].name,
                            BYTES_ARG(buffer_bytes(&old)), BYTES_ARG(buffer_bytes(&new)));
        }
    }
    if (err == OK && (!same_secret(before->jetstream_key, after->jetstream_key) ||
                      before->jetstream_aes != after->jetstream_aes)) {
        err = error_set(error, ERR_INVALID,
                        "config reload not supported for JetStreamKey and JetStreamCipher");
    }
    for (size_t i = 0; i < sizeof reloadable / sizeof reloadable[0] && err == OK; i++) {
        if (differs(&reloadable[i], before, after, &old, &new)) {
            buffer_printf(changes, "%s = %.*s\n", reloadable[i].name,
                          BYTES_ARG(buffer_bytes(&new)));
        }
    }
    if (err == OK && (before->tls.set || after->tls.set)) { /* the files may have changed */
        buffer_printf(changes, "tls = %s\n", after->tls.set ? "enabled" : "disabled");
    }
    if (err == OK) { /* always said, changed or not, as nats-server does */
        buffer_append_text(changes, "authorization users\naccounts\n");
    }
    buffer_deinit(&old);
    buffer_deinit(&new);
    return err;
}
