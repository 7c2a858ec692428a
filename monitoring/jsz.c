/* /jsz */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "monitoring/monitoring_internal.h"

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
        int64_t used[2] = {0}; /* on disk, in memory */
        size_t k;
        json_t *stream;
        json_array_foreach(streams, k, stream)
        {
            if (strcmp(json_text(stream, "account"), name) == 0) {
                const json_t *info = json_object_get(stream, "info");
                used[jetstream_is_in_memory(info)] +=
                    json_int(json_object_get(info, "state"), "bytes");
                if (s->streams) {
                    (void)json_array_append_new(list, stream_detail(s, stream));
                }
            }
        }
        json_put_text(d, "name", name);
        json_put_text(d, "id", name);
        json_put_int(d, "memory", used[true]);
        json_put_int(d, "storage", used[false]);
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
    json_put_int(o, "bytes", totals.bytes + totals.memory_bytes);
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

void on_jsz(struct monitoring *m, struct http_request *q)
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
    jetstream_describe(m->js, !s->streams, jsz_done, s);
}
