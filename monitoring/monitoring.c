#include "monitoring/monitoring.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "monitoring/http.h"

/* request → endpoint table → (gather from the loops) → JSON. Fields and their order: NATS
 * monitoring reference. */

struct monitoring {
    struct broker *broker;
    struct routes *routes;
    struct jetstream *js;
    struct http_server *http;
    int port;
    json_t *requests; /* path → count: http_req_stats */
};

/* NULL without JetStream; also in lame duck mode, which ends it before the clients have gone. */
static struct jetstream *live_jetstream(const struct monitoring *m)
{
    return broker_is_lame_duck(m->broker) ? NULL : m->js;
}

/* One scrape that waits for the loops. */
struct scrape {
    struct monitoring *m;
    struct http_request *request;
    json_t *body;
    json_t *list;
    struct connz_options connz;
    uint64_t cid;
    int64_t offset, limit;
    bool has_cid;
    bool accounts, streams, consumers, config;
    char *account;
    bool details;
};

static void reply_json(struct http_request *q, int status, json_t *body, int indent)
{
    struct buffer text = {0};
    json_write(&text, body, indent);
    http_reply(q, status, "application/json", buffer_bytes(&text));
    buffer_deinit(&text);
    json_decref(body);
}

static void reply_bad(struct http_request *q, const char *text)
{
    http_reply(q, 400, "text/plain; charset=utf-8", bytes_of(text));
}

/* --- parameters --- */

/* False after a 400 has been sent. */
static bool query_bool(struct http_request *q, const char *name, bool *value)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True", NULL};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False", "", NULL};
    const char *text = http_query(q, name);
    *value = false;
    if (text == NULL) {
        return true;
    }
    for (int i = 0; yes[i] != NULL; i++) {
        if (strcmp(text, yes[i]) == 0) {
            *value = true;
            return true;
        }
    }
    for (int i = 0; no[i] != NULL; i++) {
        if (strcmp(text, no[i]) == 0) {
            return true;
        }
    }
    char message[256];
    (void)snprintf(message, sizeof message,
                   "Error decoding boolean for '%s': strconv.ParseBool: parsing \"%.100s\": "
                   "invalid syntax",
                   name, text);
    reply_bad(q, message);
    return false;
}

static bool query_int(struct http_request *q, const char *name, int64_t *value)
{
    const char *text = http_query(q, name);
    if (text == NULL || *text == '\0') {
        return true;
    }
    char *rest;
    *value = strtoll(text, &rest, 10);
    if (*rest == '\0') {
        return true;
    }
    char message[256];
    (void)snprintf(message, sizeof message,
                   "Error decoding int for '%s': strconv.Atoi: parsing \"%.100s\": invalid syntax",
                   name, text);
    reply_bad(q, message);
    return false;
}

/* --- process figures --- */

static int64_t resident_bytes(void)
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

static double cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* --- /varz --- */

static json_t *js_config_json(const struct monitoring *m)
{
    struct jetstream_totals t = jetstream_totals(m->js);
    json_t *config = json_object();
    json_put_int(config, "max_memory", t.max_memory);
    json_put_int(config, "max_storage", t.max_file);
    json_put_text(config, "store_dir", t.store_dir);
    json_put_bool(config, "sync_always", true);
    return config;
}

static json_t *js_api_json(const struct monitoring *m)
{
    struct jetstream_totals t = jetstream_totals(m->js);
    json_t *api = json_object();
    json_put_int(api, "level", JETSTREAM_API_LEVEL);
    json_put_u64(api, "total", t.api_total);
    json_put_u64(api, "errors", t.api_errors);
    return api;
}

struct js_totals {
    int64_t bytes, messages, consumers, ha_assets;
};

/* Over the streams as jetstream_describe() hands them out. */
static struct js_totals sum_streams(const json_t *streams)
{
    struct js_totals t = {0};
    size_t i;
    const json_t *stream;
    json_array_foreach(streams, i, stream)
    {
        const json_t *state = json_object_get(json_object_get(stream, "info"), "state");
        t.bytes += json_int(state, "bytes");
        t.messages += json_int(state, "messages");
        t.consumers += json_int(state, "consumer_count");
        t.ha_assets += json_int(stream, "replicas") > 1;
    }
    return t;
}

/* What /varz has as jetstream.stats and /jsz at its top. */
static json_t *js_stats_json(const struct monitoring *m, const struct js_totals *t)
{
    json_t *o = json_object();
    json_put_int(o, "memory", 0);
    json_put_int(o, "storage", t->bytes);
    json_put_int(o, "reserved_memory", 0);
    json_put_int(o, "reserved_storage", 0);
    json_put_int(o, "accounts", 1);
    json_put_int(o, "ha_assets", t->ha_assets);
    json_put(o, "api", js_api_json(m));
    return o;
}

static json_t *cluster_json(const struct monitoring *m)
{
    const struct options *o = broker_options(m->broker);
    json_t *cluster = json_object();
    if (m->routes == NULL) {
        return cluster;
    }
    if (o->cluster_name != NULL) {
        json_put_text(cluster, "name", o->cluster_name);
    }
    json_put_text(cluster, "addr", o->cluster_host);
    json_put_int(cluster, "cluster_port", routes_port(m->routes));
    json_t *urls = json_array();
    for (uint32_t i = 0; i < o->routes.count; i++) {
        char *user, *password, *host;
        int port;
        char text[300];
        if (option_parse_url(o->routes.items[i], &user, &password, &host, &port) == OK) {
            (void)snprintf(text, sizeof text, "%s:%d", host, port);
            (void)json_array_append_new(urls, json_string(text));
        }
        free(user);
        free(password);
        free(host);
    }
    json_put(cluster, "urls", urls);
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

/* Storage and counts of JetStream come with a gathering; see on_varz(). */
static json_t *varz(const struct monitoring *m, json_t *streams)
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
    json_put(v, "connect_urls", broker_own_urls(m->broker));
    json_put_int(v, "max_connections", o->max_connections);
    json_put_int(v, "ping_interval", o->ping_interval_ns);
    json_put_int(v, "ping_max", o->ping_max);
    json_put_text(v, "http_host", o->http_host == NULL ? o->host : o->http_host);
    json_put_int(v, "http_port", m->port);
    json_put_text(v, "http_base_path", "");
    json_put_int(v, "https_port", 0);
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
        struct js_totals totals = sum_streams(streams);
        json_t *stats = js_stats_json(m, &totals);
        json_put(js, "config", js_config_json(m));
        json_put(js, "stats", stats);
        json_t *meta = jetstream_meta_json(m->js);
        if (meta != NULL) {
            json_put(js, "meta", meta);
        }
    }
    json_put(v, "jetstream", js);
    json_put(v, "tls_timeout", json_real(2));
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
    json_put_time(v, "config_load_time", broker_start_ns(m->broker));
    json_put_text(v, "config_digest", "");
    const char *system = o->system_account == NULL ? "$SYS" : o->system_account;
    json_put_text(v, "system_account", system);
    json_put(v, "slow_consumer_stats", kinds_json(s.slow_consumers));
    json_put(v, "stale_connection_stats", kinds_json(s.stale_connections));
    return v;
}

static void scrape_free(struct scrape *s)
{
    json_decref(s->list);
    free(s->account);
    free(s);
}

static struct scrape *scrape_new(struct monitoring *m, struct http_request *q)
{
    struct scrape *s = NEW(struct scrape);
    s->m = m;
    s->request = q;
    s->list = json_array();
    return s;
}

static void varz_done(void *arg, json_t *streams)
{
    struct scrape *s = arg;
    reply_json(s->request, 200, varz(s->m, streams), 2);
    scrape_free(s);
}

static void on_varz(struct monitoring *m, struct http_request *q)
{
    if (live_jetstream(m) == NULL) {
        reply_json(q, 200, varz(m, NULL), 2);
    } else {
        jetstream_describe(m->js, varz_done, scrape_new(m, q));
    }
}

/* --- /connz --- */

static void connz_gather(void *arg, struct loop *loop)
{
    (void)loop;
    struct scrape *s = arg;
    broker_describe_clients(s->m->broker, &s->connz, s->list);
}

struct sort_key {
    const char *option;
    const char *field;
    int direction;
};

static const struct sort_key sort_keys[] = {{"cid", "cid", 1},
                                            {"start", "cid", 1},
                                            {"subs", "subscriptions", -1},
                                            {"pending", "pending_bytes", -1},
                                            {"msgs_to", "out_msgs", -1},
                                            {"msgs_from", "in_msgs", -1},
                                            {"bytes_to", "out_bytes", -1},
                                            {"bytes_from", "in_bytes", -1},
                                            {"uptime", "start", -1},
                                            {"last", "last_activity", -1},
                                            {"idle", "last_activity", 1},
                                            {"rtt", "rtt", -1}};

static const struct sort_key *sorting; /* qsort has no argument; loop 0 only */

static int compare_conns(const void *a, const void *b)
{
    const json_t *x = json_object_get(*(json_t *const *)a, sorting->field);
    const json_t *y = json_object_get(*(json_t *const *)b, sorting->field);
    if (json_is_integer(x) && json_is_integer(y)) {
        json_int_t d = json_integer_value(x) - json_integer_value(y);
        return sorting->direction * (d < 0 ? -1 : d > 0);
    }
    const char *s = json_string_value(x);
    const char *t = json_string_value(y);
    return sorting->direction * strcmp(s == NULL ? "" : s, t == NULL ? "" : t);
}

static void connz_done(void *arg)
{
    struct scrape *s = arg;
    size_t count = json_array_size(s->list);
    json_t **items = mem_alloc((count + 1) * sizeof *items);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        json_t *c = json_array_get(s->list, i);
        if (!s->has_cid || (uint64_t)json_int(c, "cid") == s->cid) {
            items[kept++] = c;
        }
    }
    qsort(items, kept, sizeof *items, compare_conns);
    json_t *page = json_array();
    for (size_t i = (size_t)s->offset; i < kept && i < (size_t)(s->offset + s->limit); i++) {
        (void)json_array_append(page, items[i]);
    }
    free(items);
    json_t *o = json_object();
    json_put_text(o, "server_id", broker_server_id(s->m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put_int(o, "num_connections", (int64_t)json_array_size(page));
    json_put_int(o, "total", (int64_t)kept);
    json_put_int(o, "offset", s->offset);
    json_put_int(o, "limit", s->limit);
    json_put(o, "connections", page);
    reply_json(s->request, 200, o, 2);
    scrape_free(s);
}

static void on_connz(struct monitoring *m, struct http_request *q)
{
    struct connz_options options = {0};
    int64_t offset = 0, limit = 1024, cid = 0;
    const char *sort = http_query(q, "sort");
    const char *subs = http_query(q, "subs");
    options.detail = subs != NULL && strcasecmp(subs, "detail") == 0;
    if (!options.detail && !query_bool(q, "subs", &options.subscriptions)) {
        return;
    }
    if (!query_bool(q, "auth", &options.auth) || !query_int(q, "offset", &offset) ||
        !query_int(q, "limit", &limit) || !query_int(q, "cid", &cid)) {
        return;
    }
    sorting = &sort_keys[0];
    if (sort != NULL && *sort != '\0') {
        size_t i = 0;
        size_t n = sizeof sort_keys / sizeof sort_keys[0];
        while (i < n && strcmp(sort_keys[i].option, sort) != 0) {
            i++;
        }
        if (i == n) {
            char text[128];
            bool closed_only = strcmp(sort, "stop") == 0 || strcmp(sort, "reason") == 0;
            (void)snprintf(text, sizeof text,
                           closed_only ? "sort by %s only valid on closed connections"
                                       : "invalid sorting option: %.60s",
                           sort);
            reply_bad(q, text);
            return;
        }
        sorting = &sort_keys[i];
    }
    struct scrape *s = scrape_new(m, q);
    s->connz = options;
    s->offset = offset < 0 ? 0 : offset;
    s->limit = limit <= 0 || limit > 65536 ? 1024 : limit;
    s->has_cid = http_query(q, "cid") != NULL;
    s->cid = (uint64_t)cid;
    if (s->has_cid) {
        s->limit = 1;
    }
    broker_gather(m->broker, connz_gather, connz_done, s);
}

/* --- /routez --- */

static void on_routez(struct monitoring *m, struct http_request *q)
{
    json_t *list = json_array();
    if (m->routes != NULL) {
        routes_describe(m->routes, list);
    }
    json_t *o = json_object();
    json_put_text(o, "server_id", broker_server_id(m->broker));
    json_put_text(o, "server_name", broker_server_name(m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put_int(o, "num_routes", (int64_t)json_array_size(list));
    json_put(o, "routes", list);
    reply_json(q, 200, o, 2);
}

/* --- /healthz --- */

static void reply_health(struct http_request *q, bool details, const char *problem)
{
    json_t *o = json_object();
    json_put_text(o, "status", problem == NULL ? "ok" : details ? "error" : "unavailable");
    if (problem != NULL) {
        log_warn("Healthcheck failed: \"%s\"", problem);
    }
    if (problem != NULL && details) {
        json_t *errors = json_array();
        json_t *e = json_object();
        json_put_text(e, "type", "JETSTREAM");
        json_put_text(e, "error", problem);
        (void)json_array_append_new(errors, e);
        json_put(o, "errors", errors);
    } else if (problem != NULL) {
        json_put_text(o, "error", problem);
    }
    reply_json(q, problem == NULL ? 200 : 503, o, 0);
}

static void health_known(void *arg, const char *problem)
{
    struct scrape *s = arg;
    reply_health(s->request, s->details, problem);
    scrape_free(s);
}

static void on_healthz(struct monitoring *m, struct http_request *q)
{
    bool server_only, enabled_only, old_enabled, meta_only, details;
    if (!query_bool(q, "js-server-only", &server_only) ||
        !query_bool(q, "js-enabled-only", &enabled_only) ||
        !query_bool(q, "js-enabled", &old_enabled) || !query_bool(q, "js-meta-only", &meta_only) ||
        !query_bool(q, "details", &details)) {
        return;
    }
    if (broker_is_lame_duck(m->broker)) {
        json_t *o = json_object();
        json_put_text(o, "status", "error");
        json_put_text(o, "error", "failed to be ready for connections after 1ms: server");
        reply_json(q, 500, o, 0);
        return;
    }
    if (server_only || enabled_only || old_enabled || live_jetstream(m) == NULL) {
        reply_health(q, details, NULL);
    } else if (meta_only) {
        reply_health(q, details, jetstream_meta_health(m->js));
    } else {
        struct scrape *s = scrape_new(m, q);
        s->details = details;
        jetstream_health(m->js, health_known, s);
    }
}

/* --- /jsz --- */

static json_t *stream_detail(const struct scrape *s, const json_t *stream)
{
    const json_t *info = json_object_get(stream, "info");
    json_t *d = json_object();
    json_put_text(d, "name", json_text(stream, "name"));
    json_put(d, "created", json_incref(json_object_get(info, "created")));
    json_put(d, "cluster", json_incref(json_object_get(info, "cluster")));
    if (s->config) {
        json_put(d, "config", json_incref(json_object_get(info, "config")));
    }
    json_put(d, "state", json_incref(json_object_get(info, "state")));
    json_put_text(d, "trireme_content_hash", json_text(stream, "content_hash"));
    if (s->consumers) {
        json_t *consumers = json_deep_copy(json_object_get(stream, "consumers"));
        size_t i;
        json_t *c;
        json_array_foreach(consumers, i, c)
        {
            if (!s->config) {
                (void)json_object_del(c, "config");
            }
        }
        json_put(d, "consumer_detail", consumers);
    }
    return d;
}

static json_t *account_details(const struct scrape *s, json_t *streams)
{
    json_t *details = json_array();
    struct account **accounts = accounts_list(broker_accounts(s->m->broker));
    for (uint32_t i = 0; accounts[i] != NULL; i++) {
        const char *name = accounts[i]->name;
        if (!accounts[i]->jetstream || (s->account != NULL && strcmp(s->account, name) != 0)) {
            continue;
        }
        json_t *d = json_object();
        json_t *list = json_array();
        int64_t storage = 0;
        size_t k;
        json_t *stream;
        json_array_foreach(streams, k, stream)
        {
            if (strcmp(json_text(stream, "account"), name) == 0) {
                storage +=
                    json_int(json_object_get(json_object_get(stream, "info"), "state"), "bytes");
                (void)json_array_append_new(list, stream_detail(s, stream));
            }
        }
        json_put_text(d, "name", name);
        json_put_text(d, "id", name);
        json_put_int(d, "memory", 0);
        json_put_int(d, "storage", storage);
        if (s->streams) {
            json_put(d, "stream_detail", json_incref(list));
        }
        json_decref(list);
        (void)json_array_append_new(details, d);
    }
    free(accounts);
    return details;
}

static void jsz_done(void *arg, json_t *streams)
{
    struct scrape *s = arg;
    struct js_totals totals = sum_streams(streams);
    json_t *o = js_stats_json(s->m, &totals);
    json_put_text(o, "server_id", broker_server_id(s->m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put(o, "config", js_config_json(s->m));
    json_put_int(o, "streams", (int64_t)json_array_size(streams));
    json_put_int(o, "consumers", totals.consumers);
    json_put_int(o, "messages", totals.messages);
    json_put_int(o, "bytes", totals.bytes);
    json_t *meta = jetstream_meta_json(s->m->js);
    if (meta != NULL) {
        json_put(o, "meta_cluster", meta);
    }
    if (s->accounts) {
        json_put(o, "account_details", account_details(s, streams));
    }
    json_put_int(o, "total", 1);
    reply_json(s->request, 200, o, 2);
    scrape_free(s);
}

static void on_jsz(struct monitoring *m, struct http_request *q)
{
    bool accounts, streams, consumers, config, ignored;
    if (!query_bool(q, "accounts", &accounts) || !query_bool(q, "streams", &streams) ||
        !query_bool(q, "consumers", &consumers) || !query_bool(q, "config", &config) ||
        !query_bool(q, "raft", &ignored)) {
        return;
    }
    if (live_jetstream(m) == NULL) {
        json_t *o = json_object();
        json_put_int(o, "memory", 0);
        json_put_int(o, "storage", 0);
        json_put_text(o, "server_id", broker_server_id(m->broker));
        json_put_time(o, "now", clock_now_ns());
        json_put_bool(o, "disabled", true);
        json_put(o, "config", json_object());
        json_put_int(o, "streams", 0);
        json_put_int(o, "consumers", 0);
        json_put_int(o, "messages", 0);
        json_put_int(o, "bytes", 0);
        reply_json(q, 200, o, 2);
        return;
    }
    struct scrape *s = scrape_new(m, q);
    const char *account = http_query(q, "acc");
    s->account = account == NULL ? NULL : mem_strdup(account);
    s->consumers = consumers;
    s->streams = streams || consumers;
    s->accounts = accounts || s->streams || s->account != NULL;
    s->config = config;
    jetstream_describe(m->js, jsz_done, s);
}

/* --- /metrics: OpenMetrics text --- */

static void metric(struct buffer *out, const char *name, const char *type, const char *help,
                   double value)
{
    buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name,
                  value);
}

static void metrics_done(void *arg, json_t *streams)
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
        static const struct {
            const char *name, *field, *help;
        } rows[] = {{"jetstream_stream_messages", "messages", "Messages stored."},
                    {"jetstream_stream_bytes", "bytes", "Bytes stored, as max_bytes counts."},
                    {"jetstream_stream_last_seq", "last_seq", "Last sequence."},
                    {"jetstream_stream_consumers", "consumer_count", "Consumers."}};
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
            size_t i;
            json_t *stream;
            buffer_printf(&out, "# HELP %s %s\n# TYPE %s gauge\n", rows[r].name, rows[r].help,
                          rows[r].name);
            json_array_foreach(streams, i, stream)
            {
                const json_t *state = json_object_get(json_object_get(stream, "info"), "state");
                buffer_printf(&out, "%s{account=\"%s\",stream=\"%s\",leader=\"%d\"} %lld\n",
                              rows[r].name, json_text(stream, "account"), json_text(stream, "name"),
                              json_bool(stream, "leading"),
                              (long long)json_int(state, rows[r].field));
            }
        }
    }
    http_reply(s->request, 200, "text/plain; version=0.0.4; charset=utf-8", buffer_bytes(&out));
    buffer_deinit(&out);
    scrape_free(s);
}

static void on_metrics(struct monitoring *m, struct http_request *q)
{
    struct scrape *s = scrape_new(m, q);
    if (live_jetstream(m) == NULL) {
        metrics_done(s, NULL);
    } else {
        jetstream_describe(m->js, metrics_done, s);
    }
}

static void on_root(struct monitoring *m, struct http_request *q)
{
    (void)m;
    static const char page[] =
        "<!DOCTYPE html><html lang=\"en\"><head><title>Trireme</title></head><body>"
        "<h1>Trireme</h1><ul><li><a href=\"./varz\">General</a></li>"
        "<li><a href=\"./jsz\">JetStream</a></li><li><a href=\"./connz\">Connections</a></li>"
        "<li><a href=\"./routez\">Routes</a></li><li><a href=\"./healthz\">Health</a></li>"
        "<li><a href=\"./metrics\">Metrics</a></li></ul></body></html>\n";
    http_reply(q, 200, "text/html; charset=utf-8", bytes_of(page));
}

/* --- dispatch --- */

static const struct {
    const char *path;
    void (*handler)(struct monitoring *m, struct http_request *q);
} endpoints[] = {{"/", on_root},          {"/varz", on_varz},       {"/connz", on_connz},
                 {"/routez", on_routez},  {"/healthz", on_healthz}, {"/jsz", on_jsz},
                 {"/metrics", on_metrics}};

/* "//varz" and "/./varz" are sent to the cleaned path, as some probes ask that way. */
static bool clean_path(const char *path, char *cleaned, size_t size)
{
    size_t n = 0;
    bool changed = false;
    for (const char *p = path; *p != '\0' && n + 1 < size;) {
        if (p[0] == '/' && p[1] == '/') {
            p++;
            changed = true;
        } else if (p[0] == '/' && p[1] == '.' && (p[2] == '/' || p[2] == '\0')) {
            p += 2;
            changed = true;
        } else {
            cleaned[n++] = *p++;
        }
    }
    cleaned[n] = '\0';
    return changed;
}

static void on_request(void *arg, struct http_request *q)
{
    struct monitoring *m = arg;
    const char *path = http_path(q);
    char cleaned[512];
    if (clean_path(path, cleaned, sizeof cleaned)) {
        http_redirect(q, cleaned[0] == '\0' ? "/" : cleaned);
        return;
    }
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        if (strcmp(endpoints[i].path, path) == 0) {
            json_put_int(m->requests, path, json_int(m->requests, path) + 1);
            endpoints[i].handler(m, q);
            return;
        }
    }
    http_reply(q, 404, "text/plain; charset=utf-8", BYTES_LIT("404 page not found\n"));
}

struct monitoring *monitoring_new(struct broker *broker, struct routes *routes,
                                  struct jetstream *js)
{
    struct monitoring *m = NEW(struct monitoring);
    m->broker = broker;
    m->routes = routes;
    m->js = js;
    m->requests = json_object();
    return m;
}

enum err monitoring_listen(struct monitoring *m, struct error *error)
{
    const struct options *o = broker_options(m->broker);
    const char *host = o->http_host == NULL ? o->host : o->http_host;
    m->port = o->http_port;
    m->http = http_listen(m->broker, host, &m->port, on_request, m, error);
    if (m->http == NULL) {
        return ERR_IO;
    }
    log_info("Starting http monitor on %s:%d", host, m->port);
    return OK;
}

void monitoring_shutdown(struct monitoring *m)
{
    if (m->http != NULL) {
        http_shutdown(m->http);
    }
}

void monitoring_free(struct monitoring *m)
{
    http_free(m->http);
    json_decref(m->requests);
    free(m);
}

int monitoring_port(const struct monitoring *m)
{
    return m->port;
}
