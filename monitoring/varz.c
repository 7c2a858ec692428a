/* /varz, and the figures of JetStream that /jsz shows as well. */
#include <sys/resource.h>
#include <unistd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "monitoring/monitoring_internal.h"

/* --- process figures --- */

int64_t resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%*s %ld", &pages) != 1) {
            pages = 0;
        }
        (void)fclose(f);
    }
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

double cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

json_t *js_config_json(const struct monitoring *m)
{
    struct jetstream_totals t = jetstream_totals(m->js);
    json_t *config = json_object();
    json_put_int(config, "max_memory", t.max_memory);
    json_put_int(config, "max_storage", t.max_file);
    json_put_text(config, "store_dir", t.store_dir);
    json_put_bool(config, "sync_always", true);
    return config;
}

json_t *js_api_json(const struct monitoring *m)
{
    struct jetstream_totals t = jetstream_totals(m->js);
    json_t *api = json_object();
    json_put_int(api, "level", JETSTREAM_API_LEVEL);
    json_put_u64(api, "total", t.api_total);
    json_put_u64(api, "errors", t.api_errors);
    return api;
}

void sum_stream(struct js_totals *t, const struct stream_figures *f)
{
    *(f->memory ? &t->memory_bytes : &t->bytes) += (int64_t)f->bytes;
    t->messages += (int64_t)f->messages;
    t->consumers += f->consumers;
    t->streams++;
    t->ha_assets += f->replicas > 1;
}

static bool walk_slice(void *arg, struct loop *loop)
{
    (void)loop;
    struct scrape *s = arg;
    return jetstream_walk_streams(&s->streams_walk);
}

void walk_streams(struct scrape *s,
                  struct buffer *(*on_stream)(void *arg, const struct stream_figures *figures),
                  void (*done)(void *arg))
{
    s->streams_walk.on_stream = on_stream;
    s->streams_walk.arg = s;
    broker_gather_in_slices(s->m->broker, walk_slice, done, s);
}

uint32_t count_js_accounts(const struct monitoring *m)
{
    struct account **list = accounts_list(broker_accounts(m->broker));
    uint32_t count = 0;
    for (uint32_t i = 0; list[i] != NULL; i++) {
        count += atomic_load(&list[i]->jetstream);
    }
    free(list);
    return count;
}

/* What /varz has as jetstream.stats and /jsz at its top. */
json_t *js_stats_json(const struct monitoring *m, const struct js_totals *t)
{
    json_t *o = json_object();
    json_put_int(o, "memory", t->memory_bytes);
    json_put_int(o, "storage", t->bytes);
    json_put_int(o, "reserved_memory", 0);
    json_put_int(o, "reserved_storage", 0);
    json_put_int(o, "accounts", count_js_accounts(m));
    json_put_int(o, "ha_assets", t->ha_assets);
    json_put(o, "api", js_api_json(m));
    return o;
}

static void put_if(json_t *o, const char *key, bool value)
{
    if (value) {
        json_put_bool(o, key, true);
    }
}

static void put_seconds(json_t *o, const char *key, int64_t ns)
{
    json_put(o, key, json_real((double)ns / 1e9));
}

static void add_route_url(json_t *urls, const char *url)
{
    struct url parts;
    if (url_parse(bytes_of(url), &parts) == OK) {
        (void)json_array_append_new(
            urls, json_bytes(bytes_of(address_text(parts.host, parts.port).text)));
        url_deinit(&parts);
    }
}

static json_t *cluster_json(const struct monitoring *m)
{
    const struct options *o = broker_options(m->broker);
    json_t *cluster = json_object();
    if (m->routes == NULL) {
        return cluster;
    }
    json_put_text(cluster, "name", broker_cluster_name(m->broker));
    json_put_text(cluster, "addr", o->cluster.host);
    json_put_int(cluster, "cluster_port", routes_port(m->routes));
    put_seconds(cluster, "auth_timeout", o->cluster.auth_timeout_ns);
    json_t *urls = json_array();
    for (uint32_t i = 0; i < o->cluster.routes.count; i++) {
        add_route_url(urls, o->cluster.routes.items[i]);
    }
    if (json_array_size(urls) > 0) {
        json_put(cluster, "urls", urls);
    } else {
        json_decref(urls);
    }
    put_seconds(cluster, "tls_timeout", o->cluster.tls.timeout_ns);
    put_if(cluster, "tls_required", o->cluster.tls.set);
    put_if(cluster, "tls_verify", o->cluster.tls.set);
    json_put_int(cluster, "pool_size", o->cluster.pool_size);
    if (o->cluster.write_deadline_ns != o->write_deadline_ns) {
        json_put_int(cluster, "write_deadline", o->cluster.write_deadline_ns);
    }
    int64_t not_after = routes_tls_not_after_ns(m->routes);
    if (not_after != 0) {
        json_put_time(cluster, "tls_cert_not_after", not_after);
    }
    return cluster;
}

static json_t *kinds_json(uint64_t clients)
{
    json_t *o = json_object();
    json_put_u64(o, "clients", clients);
    json_put_int(o, "routes", 0);
    json_put_int(o, "gateways", 0);
    json_put_int(o, "leafs", 0);
    return o;
}

static void put_digest(json_t *v, const struct options *o)
{
    char text[80] = "";
    if (o->config_digest[0] != '\0') {
        (void)snprintf(text, sizeof text, "sha256:%s", o->config_digest);
    }
    json_put_text(v, "config_digest", text);
}

/* server_tags and server_metadata */
static void put_labels(json_t *v, const struct options *o)
{
    if (o->tags.count > 0) {
        json_t *tags = json_array();
        for (uint32_t i = 0; i < o->tags.count; i++) {
            (void)json_array_append_new(tags, json_string(o->tags.items[i]));
        }
        json_put(v, "tags", tags);
    }
    if (o->metadata_keys.count > 0) {
        json_t *metadata = json_object();
        for (uint32_t i = 0; i < o->metadata_keys.count; i++) {
            json_put_text(metadata, o->metadata_keys.items[i], o->metadata_values.items[i]);
        }
        json_put(v, "metadata", metadata);
    }
}

/* Storage and counts of JetStream come with a gathering; see on_varz(). */
static json_t *varz(const struct monitoring *m, const struct js_totals *totals)
{
    const struct options *o = broker_options(m->broker);
    struct broker_stats s;
    broker_stats(m->broker, &s);
    int64_t now = clock_now_ns();
    json_t *v = json_object();
    json_put_text(v, "server_id", broker_server_id(m->broker));
    json_put_text(v, "server_name", broker_server_name(m->broker));
    json_put_text(v, "version", NATS_PROTOCOL_VERSION);
    json_put_int(v, "proto", 1);
    json_put_text(v, "go", "none: trireme " TRIREME_VERSION);
    json_put_text(v, "host", o->host);
    json_put_int(v, "port", broker_client_port(m->broker));
    put_if(v, "auth_required", broker_auth_required(m->broker));
    put_if(v, "tls_required", o->tls.set && !o->allow_non_tls);
    put_if(v, "tls_verify", o->tls.verify);
    if (m->routes != NULL && !o->cluster.no_advertise && routes_count(m->routes).remotes > 0) {
        json_put(v, "connect_urls", broker_connect_urls(m->broker));
    }
    json_put_int(v, "max_connections", o->max_connections);
    if (o->max_subscriptions > 0) {
        json_put_int(v, "max_subscriptions", o->max_subscriptions);
    }
    json_put_int(v, "ping_interval", o->ping_interval_ns);
    json_put_int(v, "ping_max", o->ping_max);
    json_put_text(v, "http_host", o->http_host == NULL ? o->host : o->http_host);
    json_put_int(v, "http_port", o->https_port == 0 ? m->port : 0);
    json_put_text(v, "http_base_path", o->http_base_path == NULL ? "" : o->http_base_path);
    json_put_int(v, "https_port", o->https_port == 0 ? 0 : m->port);
    json_put(v, "auth_timeout", json_real((double)o->auth_timeout_ns / 1e9));
    json_put_int(v, "max_control_line", o->max_control_line);
    json_put_int(v, "max_payload", o->max_payload);
    json_put_int(v, "max_pending", o->max_pending);
    json_put(v, "cluster", cluster_json(m));
    json_put(v, "gateway", json_object());
    json_put(v, "leaf", json_object());
    json_put(v, "mqtt", json_object());
    json_put(v, "websocket", json_object());
    json_t *js = json_object();
    if (live_jetstream(m) != NULL) {
        json_t *stats = js_stats_json(m, totals);
        json_put(js, "config", js_config_json(m));
        json_put(js, "stats", stats);
        json_t *meta = jetstream_meta_json(m->js);
        if (meta != NULL) {
            json_put(js, "meta", meta);
        }
    }
    json_put(v, "jetstream", js);
    json_put(v, "tls_timeout", json_real((double)o->tls.timeout_ns / 1e9));
    json_put_int(v, "write_deadline", o->write_deadline_ns);
    json_put_time(v, "start", broker_start_ns(m->broker));
    json_put_time(v, "now", now);
    char uptime[48];
    clock_format_uptime(now - broker_start_ns(m->broker), uptime);
    json_put_text(v, "uptime", uptime);
    json_put_int(v, "mem", resident_bytes());
    json_put_int(v, "cores", sysconf(_SC_NPROCESSORS_ONLN));
    json_put_int(v, "gomaxprocs", loops_count(broker_loops(m->broker)));
    double seconds = (double)(now - broker_start_ns(m->broker)) / 1e9;
    json_put(v, "cpu", json_real(seconds > 0 ? 100 * cpu_seconds() / seconds : 0));
    json_put_u64(v, "connections", s.connections);
    json_put_u64(v, "total_connections", s.total_connections);
    struct routes_counts routes = {0, 0};
    if (m->routes != NULL) {
        routes = routes_count(m->routes);
    }
    json_put_int(v, "routes", routes.routes);
    json_put_int(v, "remotes", routes.remotes);
    json_put_int(v, "leafnodes", 0);
    json_put_u64(v, "in_msgs", s.all.in_msgs);
    json_put_u64(v, "in_bytes", s.all.in_bytes);
    json_put_u64(v, "in_client_msgs", s.client.in_msgs);
    json_put_u64(v, "in_client_bytes", s.client.in_bytes);
    json_put_u64(v, "out_msgs", s.all.out_msgs);
    json_put_u64(v, "out_bytes", s.all.out_bytes);
    json_put_u64(v, "out_client_msgs", s.client.out_msgs);
    json_put_u64(v, "out_client_bytes", s.client.out_bytes);
    json_put_u64(v, "slow_consumers", s.slow_consumers);
    json_put_u64(v, "stale_connections", s.stale_connections);
    json_put_u64(v, "stalled_clients", s.stalled);
    json_put_u64(v, "subscriptions", s.subscriptions);
    json_put(v, "http_req_stats", json_deep_copy(m->requests));
    json_put_time(v, "config_load_time", broker_config_time_ns(m->broker));
    put_digest(v, o);
    put_labels(v, o);
    const char *system = o->system_account == NULL ? "$SYS" : o->system_account;
    json_put_text(v, "system_account", system);
    json_put(v, "slow_consumer_stats", kinds_json(s.slow_consumers));
    json_put(v, "stale_connection_stats", kinds_json(s.stale_connections));
    int64_t not_after = broker_tls_not_after_ns(m->broker);
    if (not_after != 0) {
        json_put_time(v, "tls_cert_not_after", not_after);
    }
    return v;
}

static struct buffer *varz_stream(void *arg, const struct stream_figures *figures)
{
    struct scrape *s = arg;
    sum_stream(&s->totals, figures);
    return NULL;
}

static void varz_done(void *arg)
{
    struct scrape *s = arg;
    reply_json(s->request, 200, varz(s->m, &s->totals), 2);
    scrape_free(s);
}

void on_varz(struct monitoring *m, struct http_request *q)
{
    if (live_jetstream(m) == NULL) {
        reply_json(q, 200, varz(m, &(struct js_totals){0}), 2);
    } else {
        walk_streams(scrape_new(m, q), varz_stream, varz_done);
    }
}
