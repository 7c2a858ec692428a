/* /metrics: OpenMetrics text */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "monitoring/monitoring_internal.h"

static void metric(struct buffer *out, const char *name, const char *type, const char *help,
                   double value)
{
    buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name,
                  value);
}

/* A label's value. OpenMetrics: backslash, quote and line feed are escaped. */
static void put_label(struct buffer *out, const char *name, const char *value)
{
    buffer_printf(out, "%s=\"", name);
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\n') {
            buffer_append_text(out, "\\n");
            continue;
        }
        if (*p == '\\' || *p == '"') {
            buffer_append_char(out, '\\');
        }
        buffer_append_char(out, *p);
    }
    buffer_append_char(out, '"');
}

static const struct {
    const char *name, *help;
} rows[] = {{"jetstream_stream_messages", "Messages stored."},
            {"jetstream_stream_bytes", "Bytes stored, as max_bytes counts."},
            {"jetstream_stream_last_seq", "Last sequence."},
            {"jetstream_stream_consumers", "Consumers."}};

static struct buffer *metrics_stream(void *arg, const struct stream_figures *f)
{
    struct scrape *s = arg;
    const uint64_t values[] = {f->messages, f->bytes, f->last_seq, f->consumers};
    static_assert(sizeof values / sizeof values[0] == sizeof rows / sizeof rows[0], "one each");
    static_assert(sizeof s->rows / sizeof s->rows[0] == sizeof rows / sizeof rows[0], "one each");
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct buffer *out = &s->rows[r];
        buffer_printf(out, "%s{", rows[r].name);
        put_label(out, "account", f->account);
        buffer_append_char(out, ',');
        put_label(out, "stream", f->name);
        buffer_printf(out, ",leader=\"%d\"} %llu\n", f->leading, (unsigned long long)values[r]);
    }
    return NULL;
}

static void metrics_done(void *arg)
{
    struct scrape *s = arg;
    struct monitoring *m = s->m;
    struct broker_stats b;
    struct buffer out = {0};
    broker_stats(m->broker, &b);
    metric(&out, "nats_connections", "gauge", "Open client connections.", (double)b.connections);
    metric(&out, "nats_connections_total", "counter", "Client connections since start.",
           (double)b.total_connections);
    metric(&out, "nats_subscriptions", "gauge", "Subscriptions, those of neighbours included.",
           (double)b.subscriptions);
    metric(&out, "nats_in_messages_total", "counter", "Messages received.", (double)b.all.in_msgs);
    metric(&out, "nats_in_bytes_total", "counter", "Payload bytes received.",
           (double)b.all.in_bytes);
    metric(&out, "nats_out_messages_total", "counter", "Messages sent.", (double)b.all.out_msgs);
    metric(&out, "nats_out_bytes_total", "counter", "Payload bytes sent.", (double)b.all.out_bytes);
    metric(&out, "nats_slow_consumers_total", "counter", "Clients cut off for being slow.",
           (double)b.slow_consumers);
    metric(&out, "nats_stale_connections_total", "counter", "Clients that answered no PING.",
           (double)b.stale_connections);
    metric(&out, "nats_stalled_total", "counter", "Reads of producers held back.",
           (double)b.stalled);
    metric(&out, "process_cpu_seconds_total", "counter", "CPU time.", cpu_seconds());
    metric(&out, "process_resident_memory_bytes", "gauge", "Resident memory.",
           (double)resident_bytes());
    metric(&out, "process_start_time_seconds", "gauge", "Start of the server, Unix time.",
           (double)broker_start_ns(m->broker) / 1e9);
    if (m->routes != NULL) {
        metric(&out, "nats_routes", "gauge", "Connected neighbours.",
               routes_count(m->routes).remotes);
    }
    if (live_jetstream(m) != NULL) {
        struct jetstream_totals t = jetstream_totals(m->js);
        metric(&out, "jetstream_api_requests_total", "counter", "API requests seen.",
               (double)t.api_total);
        metric(&out, "jetstream_api_errors_total", "counter", "API requests refused.",
               (double)t.api_errors);
        metric(&out, "jetstream_meta_healthy", "gauge",
               "1 when this server has its part in the meta group.",
               jetstream_meta_health(m->js) == NULL);
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
            buffer_printf(&out, "# HELP %s %s\n# TYPE %s gauge\n", rows[r].name, rows[r].help,
                          rows[r].name);
            buffer_append_bytes(&out, buffer_bytes(&s->rows[r]));
        }
    }
    http_reply(s->request, 200, "text/plain; version=0.0.4; charset=utf-8", buffer_bytes(&out));
    buffer_deinit(&out);
    scrape_free(s);
}

void on_metrics(struct monitoring *m, struct http_request *q)
{
    struct scrape *s = scrape_new(m, q);
    if (live_jetstream(m) == NULL) {
        metrics_done(s);
    } else {
        walk_streams(s, metrics_stream, metrics_done);
    }
}
