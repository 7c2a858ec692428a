/* /jsz */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "monitoring/monitoring_internal.h"

/* accounts on the page → figures of all streams, descriptions of those of the page's → text */

static struct account_listing *listing_of(const struct scrape *s, const char *account)
{
    return map_get(&s->by_account, bytes_of(account));
}

static struct buffer *jsz_stream(void *arg, const struct stream_figures *f)
{
    struct scrape *s = arg;
    struct account_listing *listing = listing_of(s, f->account);
    sum_stream(&s->totals, f);
    if (listing == NULL) {
        return NULL;
    }
    listing->used[f->memory] += f->bytes;
    return s->streams ? &listing->streams : NULL;
}

static void write_listing(struct buffer *out, const struct scrape *s,
                          const struct account_listing *listing)
{
    json_t *o = json_object();
    json_put_text(o, "name", listing->account->name);
    json_put_text(o, "id", listing->account->name);
    json_put_u64(o, "memory", listing->used[true]);
    json_put_u64(o, "storage", listing->used[false]);
    buffer_append_text(out, out->len == 0 ? "    " : ",\n    ");
    json_write_open(out, o, 2, 4);
    json_decref(o);
    if (s->streams) {
        buffer_append_text(out, ",\n      \"stream_detail\": [");
        buffer_append_bytes(out, buffer_bytes(&listing->streams));
        buffer_append_text(out, listing->streams.len > 0 ? "\n      ]" : "]");
    }
    buffer_append_text(out, "\n    }");
}

static void jsz_done(void *arg)
{
    struct scrape *s = arg;
    json_t *o = js_stats_json(s->m, &s->totals);
    json_put_text(o, "server_id", broker_server_id(s->m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put(o, "config", js_config_json(s->m));
    json_put_int(o, "streams", s->totals.streams);
    json_put_int(o, "consumers", s->totals.consumers);
    json_put_int(o, "messages", s->totals.messages);
    json_put_int(o, "bytes", s->totals.bytes + s->totals.memory_bytes);
    json_t *meta = jetstream_meta_json(s->m->js);
    if (meta != NULL) {
        json_put(o, "meta_cluster", meta);
    }
    struct buffer list = {0};
    for (uint32_t i = 0; i < s->listing_count; i++) {
        write_listing(&list, s, &s->listings[i]);
    }
    if (list.len > 0) {
        struct buffer rest = {0};
        buffer_printf(&rest, ",\n  \"total\": %u", s->js_accounts);
        reply_json_list(s->request, o, "account_details", buffer_bytes(&list), buffer_bytes(&rest));
        buffer_deinit(&rest);
    } else {
        json_put_int(o, "total", s->js_accounts);
        reply_json(s->request, 200, o, 2);
    }
    buffer_deinit(&list);
    scrape_free(s);
}

static int compare_listings(const void *a, const void *b)
{
    const struct account_listing *x = a, *y = b;
    return strcmp(x->account->name, y->account->name);
}

/* The account named, or, when there is none of that name and all are asked for, a page of all. */
static void choose_accounts(struct scrape *s, const char *named, bool all)
{
    struct account **accounts = accounts_list(broker_accounts(s->m->broker));
    struct account_listing *list = NULL;
    uint32_t count = 0, cap = 0, first = 0;
    for (uint32_t i = 0; accounts[i] != NULL; i++) {
        if (atomic_load(&accounts[i]->jetstream)) {
            VEC_RESERVE(list, cap, count);
            list[count++] = (struct account_listing){.account = accounts[i]};
        }
    }
    free(accounts);
    s->js_accounts = count;
    while (first < count && (named == NULL || strcmp(list[first].account->name, named) != 0)) {
        first++;
    }
    if (first < count) {
        list[0] = list[first];
        count = 1;
    } else if (all) {
        qsort(list, count, sizeof *list, compare_listings);
        first = (uint32_t)s->offset < count ? (uint32_t)s->offset : count;
        count = count - first < (uint32_t)s->limit ? count - first : (uint32_t)s->limit;
        memmove(list, list + first, count * sizeof *list);
    } else {
        count = 0;
    }
    s->listings = list;
    s->listing_count = count;
    for (uint32_t i = 0; i < count; i++) {
        (void)map_put(&s->by_account, bytes_of(list[i].account->name), &list[i]);
    }
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
    if (!query_page(q, s)) {
        scrape_free(s);
        return;
    }
    const char *account = http_query(q, "acc");
    bool named = account != NULL && *account != '\0';
    s->streams = streams || consumers;
    s->streams_walk.consumers = consumers;
    s->streams_walk.config = config;
    choose_accounts(s, named ? account : NULL, accounts || (s->streams && !named));
    walk_streams(s, jsz_stream, jsz_done);
}
