/* API requests of one stream and its consumers; on its loop, its leader only. What changes
 * something is proposed, and answered when it has been applied. JetStream API reference §4. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "jetstream/asset_internal.h"
#include "jetstream/state/request_fields.h"

struct api_waiter { /* a request that waits for its entry */
    char *reply;
    const char *type;
    char *consumer;
    uint64_t hold; /* of the consumer that is changed; 0: it is new */
};

static struct api_waiter *api_waiter_new(const struct asset_request *q, const char *type)
{
    struct api_waiter *w = NEW(struct api_waiter);
    w->reply = q->reply == NULL ? NULL : mem_strdup(q->reply);
    w->type = type;
    return w;
}

static void api_waiter_free(struct api_waiter *w)
{
    free(w->reply);
    free(w->consumer);
    free(w);
}

static void reply_error(struct asset *a, const struct asset_request *q, const char *type,
                        const struct js_error *error)
{
    js_reply_error(a->js, a->account, bytes_of(q->reply), type, error);
}

static bool propose_api(struct asset *a, struct buffer *entry, waiter_cb cb, struct api_waiter *w)
{
    bool proposed = asset_propose(a, buffer_bytes(entry), cb, w);
    if (!proposed) {
        cb(a, w, false, NULL); /* leadership is going: the next leader will be asked again */
    }
    buffer_deinit(entry);
    return proposed;
}

/* --- what waits --- */

static void list_add(struct request_list *list, struct asset_request *q)
{
    if (list->end == NULL) {
        list->end = &list->first;
    }
    q->next = NULL;
    *list->end = q;
    list->end = &q->next;
}

static struct asset_request *list_take(struct request_list *list)
{
    struct asset_request *q = list->first;
    if (q != NULL) {
        list->first = q->next;
        list->end = list->first == NULL ? NULL : list->end;
    }
    return q;
}

/* What was asked for has not been done. A next leader will be asked again; for a stream that is
 * deleted there is none. */
static void not_done(struct asset *a, const char *reply, const char *type)
{
    struct js_error error;
    (void)js_fail(&error, JS_STREAM_NOT_FOUND);
    if (a->deleted && reply != NULL) {
        js_reply_error(a->js, a->account, bytes_of(reply), type, &error);
    }
}

static const char *response_type(enum asset_verb verb)
{
    return verb == ASSET_PURGE             ? "stream_purge_response"
           : verb == ASSET_MSG_DELETE      ? "stream_msg_delete_response"
           : verb == ASSET_CONSUMER_DELETE ? "consumer_delete_response"
                                           : "consumer_create_response";
}

static void list_answer(struct asset *a, struct request_list list)
{
    struct asset_request *q;
    while ((q = list_take(&list)) != NULL) {
        if (a->leading) {
            asset_answer(a, q); /* or it waits for what the one before has begun */
        } else {
            not_done(a, q->reply, response_type(q->verb));
            asset_request_free(q);
        }
    }
}

/* Changes of one consumer come one after the other, and what its configuration may not allow any
 * more does not overtake that. */
static bool must_wait(struct asset *a, struct asset_request *q)
{
    bool consumer = q->verb == ASSET_CONSUMER_CREATE || q->verb == ASSET_CONSUMER_DELETE;
    bool changes = consumer || q->verb == ASSET_PURGE || q->verb == ASSET_MSG_DELETE;
    struct request_list *list = changes && a->config_under_way > 0 ? &a->after_config
                                : consumer && q->consumer != NULL
                                    ? map_get(&a->changing, bytes_of(q->consumer))
                                    : NULL;
    if (list != NULL) {
        list_add(list, q);
    }
    return list != NULL;
}

void asset_config_proposed(struct asset *a)
{
    a->config_under_way++;
}

void asset_config_settled(struct asset *a)
{
    CHECK(a->config_under_way > 0);
    if (--a->config_under_way == 0) {
        struct request_list list = a->after_config;
        a->after_config = (struct request_list){0};
        list_answer(a, list);
    }
}

static void begin_change(struct asset *a, const char *consumer)
{
    if (map_get(&a->changing, bytes_of(consumer)) == NULL) {
        (void)map_put(&a->changing, bytes_of(consumer), NEW(struct request_list));
    }
}

static void end_change(struct asset *a, const char *consumer)
{
    struct request_list *waited = map_remove(&a->changing, bytes_of(consumer));
    if (waited != NULL) {
        struct request_list list = *waited;
        free(waited);
        list_answer(a, list);
    }
}

/* --- changes --- */

static void on_simple_done(struct asset *a, void *arg, bool applied,
                           const struct apply_result *result)
{
    struct api_waiter *w = arg;
    if (applied && result->error.err != JS_OK) {
        js_reply_error(a->js, a->account, bytes_of(w->reply), w->type, &result->error);
    } else if (applied) {
        js_reply_success(a->js, a->account, bytes_of(w->reply), w->type);
    }
    if (applied) {
        asset_pump_all(a);
    } else {
        not_done(a, w->reply, w->type);
    }
    if (w->consumer != NULL) {
        end_change(a, w->consumer);
    }
    api_waiter_free(w);
}

static struct bytes body_of(const struct asset_request *q)
{
    return bytes_make(q->body, q->body_len);
}

static bool read_optional(struct bytes body, const struct fields *table, void *into,
                          struct js_error *error)
{
    return !fields_text_is_json(body) || fields_read(table, FIELDS_REQUEST, body, into, error);
}

static bool read_required(struct bytes body, const struct fields *table, void *into,
                          struct js_error *error)
{
    return fields_text_is_empty(body) ? js_fail(error, JS_BAD_REQUEST)
                                      : fields_read(table, FIELDS_REQUEST, body, into, error);
}

static bool read_purge(struct bytes body, struct purge_request *asked, struct js_error *error)
{
    return read_optional(body, &purge_fields, asked, error) &&
           (asked->seq == 0 || asked->keep == 0 || js_fail(error, JS_BAD_REQUEST));
}

static bool read_get(struct bytes body, struct get_request *asked, struct js_error *error)
{
    const struct get_request *g = asked;
    if (!read_required(body, &get_fields, asked, error)) {
        return false;
    }
    bool last = g->last_by_subject != NULL, next = g->next_by_subject != NULL;
    bool time = g->start_time.set;
    bool bad = (last && (next || g->seq != 0 || time)) || (g->seq != 0 && time) || g->batch > 0 ||
               g->max_bytes > 0 || (!last && !next && !time && g->seq == 0);
    return !bad || js_fail(error, JS_BAD_REQUEST);
}

/* Bodies of requests of streams; what is read is freed. */
static bool is_readable(enum asset_verb verb, struct bytes body, struct js_error *error)
{
    union {
        struct info_request info;
        struct purge_request purge;
        struct get_request get;
        struct delete_request delete;
    } asked = {0};
    bool ok = true;
    if (verb == ASSET_INFO) {
        ok = read_optional(body, &info_fields, &asked.info, error);
        fields_deinit(&info_fields, &asked.info);
    } else if (verb == ASSET_PURGE) {
        ok = read_purge(body, &asked.purge, error);
        fields_deinit(&purge_fields, &asked.purge);
    } else if (verb == ASSET_MSG_GET) {
        ok = read_get(body, &asked.get, error);
        fields_deinit(&get_fields, &asked.get);
    } else if (verb == ASSET_MSG_DELETE) {
        ok = read_required(body, &delete_fields, &asked.delete, error);
        fields_deinit(&delete_fields, &asked.delete);
    }
    return ok;
}

bool asset_check_body(enum asset_verb verb, const struct consumer_subject *subject,
                      struct bytes body, struct js_error *error)
{
    struct consumer_config config;
    enum consumer_action action;
    struct page_request page = {0};
    switch (verb) {
    case ASSET_CONSUMER_CREATE: /* never, without replicas */
        return consumer_config_read(body, subject, &config, &action, error);
    case ASSET_CONSUMER_NAMES:
    case ASSET_CONSUMER_LIST:
        return read_optional(body, &consumer_page_fields, &page, error);
    default:
        return subject->clustered || is_readable(verb, body, error);
    }
}

#define SUBJECTS_PAGE 100000 /* JetStream API reference: paging */

static void on_info(struct asset *a, const struct asset_request *q)
{
    struct js_error error;
    struct info_request asked = {0};
    if (!read_optional(body_of(q), &info_fields, &asked, &error)) {
        reply_error(a, q, "stream_info_response", &error);
        fields_deinit(&info_fields, &asked);
        return;
    }
    json_t *o = js_response("stream_info_response");
    int64_t offset = asked.offset < 0 ? 0 : asked.offset;
    json_put_int(o, "total", 0);
    json_put_int(o, "offset", 0);
    json_put_int(o, "limit", 0);
    asset_add_stream_info(a, INFO_ASKED, o);
    if (asked.subjects_filter != NULL || asked.deleted_details) {
        json_t *state = asset_state_json(a, asked.deleted_details);
        uint32_t from = offset > UINT32_MAX ? UINT32_MAX : (uint32_t)offset;
        uint32_t total =
            asked.subjects_filter == NULL
                ? 0
                : asset_add_subjects(a, asked.subjects_filter, from, SUBJECTS_PAGE, state);
        if (total > 0) {
            json_put_int(o, "total", total);
            json_put_int(o, "offset", offset);
            json_put_int(o, "limit", SUBJECTS_PAGE);
        }
        json_put(o, "state", state);
    }
    js_reply(a->js, a->account, bytes_of(q->reply), o);
    fields_deinit(&info_fields, &asked);
}

/* --- purging --- */

static const char purge_type[] = "stream_purge_response";

/* A purge in parts, which looks at all messages of a stream. */
struct purge {
    char *reply; /* NULL: nobody waits */
    char *filter;
    uint64_t keep;
    uint64_t from, end;        /* to do: from <= sequence < end */
    uint64_t purged, matching; /* matching: how many there were */
};

static uint64_t count_matching(struct asset *a, const struct purge *p)
{
    char *filters[] = {p->filter};
    return stream_count_matching(a->stream, 0,
                                 (struct filters){filters, *p->filter == '\0' ? 0 : 1, NULL});
}

static void reply_purged(struct asset *a, const char *reply, uint64_t purged)
{
    json_t *o = js_response(purge_type);
    json_put_bool(o, "success", true);
    json_put_u64(o, "purged", purged);
    js_reply(a->js, a->account, bytes_of(reply), o);
}

static void on_purged(struct asset *a, void *arg, bool applied, const struct apply_result *result)
{
    struct api_waiter *w = arg;
    if (applied && result->error.err != JS_OK) {
        js_reply_error(a->js, a->account, bytes_of(w->reply), w->type, &result->error);
    } else if (applied) {
        reply_purged(a, w->reply, result->count);
        asset_pump_all(a);
    } else {
        not_done(a, w->reply, w->type);
    }
    api_waiter_free(w);
}

static void on_part_purged(struct asset *a, void *arg, bool applied,
                           const struct apply_result *result);

static void purge_free(struct purge *p)
{
    free(p->reply);
    free(p->filter);
    free(p);
}

static void put_purge(struct buffer *entry, uint64_t before, uint64_t keep, const char *filter)
{
    buffer_put_u8(entry, ENTRY_PURGE);
    buffer_put_varint(entry, before);
    buffer_put_varint(entry, keep);
    buffer_put_bytes(entry, bytes_of(filter));
}

/* `keep` counts what is there when a part is applied, so with every part it is what is meant. */
static void purge_part(struct asset *a, struct purge *p)
{
    uint64_t slice = stream_slice(a->stream);
    uint64_t before = p->end - p->from > slice ? p->from + slice : p->end;
    struct buffer entry = {0};
    put_purge(&entry, before, p->keep, p->filter);
    buffer_put_varint(&entry, p->from);
    p->from = before;
    if (!asset_propose(a, buffer_bytes(&entry), on_part_purged, p)) {
        purge_free(p);
    }
    buffer_deinit(&entry);
}

static void on_part_purged(struct asset *a, void *arg, bool applied,
                           const struct apply_result *result)
{
    struct purge *p = arg;
    if (!applied) {
        not_done(a, p->reply, purge_type);
        purge_free(p);
        return;
    }
    if (result->error.err != JS_OK) {
        js_reply_error(a->js, a->account, bytes_of(p->reply), purge_type, &result->error);
        purge_free(p);
        return;
    }
    p->purged += result->count;
    asset_pump_all(a);
    bool more = p->keep == 0 ? p->purged < p->matching : count_matching(a, p) > p->keep;
    if (more && p->from < p->end) {
        purge_part(a, p);
    } else {
        reply_purged(a, p->reply, p->purged);
        purge_free(p);
    }
}

/* Does it have to look at more messages than the loop has time for? */
static bool takes_long(const struct asset *a, uint64_t end, bool all)
{
    const struct stream *s = a->stream;
    return (!all || end <= a->publisher.last_seq) && end > s->totals.first_seq &&
           end - s->totals.first_seq > stream_slice(s);
}

static void propose_purge(struct asset *a, const struct asset_request *q, uint64_t seq,
                          uint64_t keep, const char *filter)
{
    const struct stream *s = a->stream;
    uint64_t last = a->publisher.last_seq; /* when the purge is applied, that is */
    uint64_t end = seq == 0 || seq > last ? last + 1 : seq;
    bool all = (*filter == '\0' || strcmp(filter, ">") == 0) && keep == 0;
    if (takes_long(a, end, all)) {
        struct purge *p = NEW(struct purge);
        p->reply = q->reply == NULL ? NULL : mem_strdup(q->reply);
        p->filter = mem_strdup(filter);
        p->keep = keep;
        p->from = s->totals.first_seq;
        p->end = end;
        p->matching = count_matching(a, p);
        purge_part(a, p);
        return;
    }
    struct buffer entry = {0};
    put_purge(&entry, seq, keep, filter);
    if (propose_api(a, &entry, on_purged, api_waiter_new(q, purge_type)) && all) {
        publisher_purging(&a->publisher, seq);
    }
}

static void on_purge(struct asset *a, const struct asset_request *q)
{
    struct js_error error = {0};
    struct purge_request asked = {0};
    if (!read_purge(body_of(q), &asked, &error)) {
        /* refused below */
    } else if (a->stream->config.deny_purge) {
        (void)js_fail(&error, JS_PURGE_DENIED);
    } else if (asked.seq > SEQ_FIRST_MAX) {
        (void)js_failf(&error, JS_BAD_REQUEST, "bad request: seq is above %llu",
                       (unsigned long long)SEQ_FIRST_MAX);
    }
    if (error.err != JS_OK) {
        reply_error(a, q, purge_type, &error);
    } else {
        propose_purge(a, q, asked.seq, asked.keep, asked.filter == NULL ? "" : asked.filter);
    }
    fields_deinit(&purge_fields, &asked);
}

static void put_base64(json_t *o, const char *key, struct bytes value)
{
    if (value.len > 0) {
        char *text =
            mem_alloc(sodium_base64_ENCODED_LEN(value.len, sodium_base64_VARIANT_ORIGINAL));
        (void)sodium_bin2base64(
            text, sodium_base64_ENCODED_LEN(value.len, sodium_base64_VARIANT_ORIGINAL),
            (const uint8_t *)value.ptr, value.len, sodium_base64_VARIANT_ORIGINAL);
        json_put_text(o, key, text);
        free(text);
    }
}

/* Which message MSG.GET asks for. JetStream API reference §4.3. ERR_BUSY: not found yet, it is
 * somewhere behind m->seq. */
static enum err find_message(struct asset *a, const struct get_request *g, uint64_t searched,
                             struct stored_message *m, struct js_error *error)
{
    const char *last = g->last_by_subject, *next = g->next_by_subject;
    bool time = g->start_time.set;
    enum err err;
    if (last != NULL) {
        err = stream_last_by_subject(a->stream, bytes_of(last), m);
    } else if (next != NULL || time) {
        uint64_t from = searched != 0 ? searched
                        : time        ? stream_seq_at(a->stream, g->start_time.ns)
                                      : g->seq;
        char *filters[] = {g->next_by_subject};
        size_t budget = SEARCH_BYTES;
        err = stream_search(a->stream, from, (struct filters){filters, next != NULL ? 1 : 0, NULL},
                            &budget, m);
    } else {
        err = stream_read(a->stream, g->seq, m);
    }
    if (err == ERR_CORRUPT) {
        (void)js_failf(error, JS_STORE_FAILED, "message is damaged on this server%s",
                       group_has_others(a->group) ? " and being repaired" : "");
    } else if (err != OK && err != ERR_BUSY) {
        (void)js_fail(error, JS_NO_MESSAGE);
    }
    return err;
}

/* False: the search goes on. */
static bool on_msg_get(struct asset *a, struct asset_request *q)
{
    static const char type[] = "stream_msg_get_response";
    struct js_error error = {0};
    struct stored_message m;
    struct get_request asked = {0};
    enum err err = read_get(body_of(q), &asked, &error)
                       ? find_message(a, &asked, q->searched, &m, &error)
                       : ERR_INVALID;
    if (err == ERR_BUSY) {
        q->searched = m.seq;
    } else if (err != OK) {
        reply_error(a, q, type, &error);
    } else {
        json_t *o = js_response(type);
        json_t *message = json_object();
        json_put_bytes(message, "subject", m.subject);
        json_put_u64(message, "seq", m.seq);
        if (!asked.no_headers) {
            put_base64(message, "hdrs", m.header);
        }
        put_base64(message, "data", m.body);
        json_put_time(message, "time", m.time_ns);
        json_put(o, "message", message);
        js_reply(a->js, a->account, bytes_of(q->reply), o);
    }
    fields_deinit(&get_fields, &asked);
    return err != ERR_BUSY;
}

static void on_msg_delete(struct asset *a, const struct asset_request *q)
{
    static const char type[] = "stream_msg_delete_response";
    struct js_error error = {0};
    struct delete_request asked = {0};
    if (!read_required(body_of(q), &delete_fields, &asked, &error)) {
        /* reported below */
    } else if (a->stream->config.deny_delete) {
        (void)js_failf(&error, JS_MESSAGE_DELETE, "message delete not permitted");
    } else if (asked.seq == 0) {
        (void)js_failf(&error, JS_MESSAGE_DELETE, "no message found");
    } else if (asked.seq > a->stream->totals.last_seq) {
        (void)js_failf(&error, JS_MESSAGE_DELETE, "stream store EOF");
    }
    if (error.err != JS_OK) {
        reply_error(a, q, type, &error);
    } else {
        struct buffer entry = {0};
        buffer_put_u8(&entry, ENTRY_DELETE);
        buffer_put_varint(&entry, asked.seq);
        (void)propose_api(a, &entry, on_simple_done, api_waiter_new(q, type));
    }
    fields_deinit(&delete_fields, &asked);
}

static void on_consumer_created(struct asset *a, void *arg, bool applied,
                                const struct apply_result *result)
{
    struct api_waiter *w = arg;
    struct consumer *c = map_get(&a->stream->consumers, bytes_of(w->consumer));
    if (w->hold != 0 && c != NULL && c->leader != NULL) {
        pulls_release(c->leader, w->hold);
    }
    if (applied && result->error.err != JS_OK) {
        js_reply_error(a->js, a->account, bytes_of(w->reply), w->type, &result->error);
    } else if (applied && result->consumer != NULL) {
        json_t *o = js_response(w->type);
        asset_add_consumer_info(a, INFO_CHANGED, result->consumer, o);
        js_reply(a->js, a->account, bytes_of(w->reply), o);
        pulls_pump(result->consumer->leader);
    } else if (!applied) {
        not_done(a, w->reply, w->type);
    }
    end_change(a, w->consumer);
    api_waiter_free(w);
}

static bool check_consumer_action(struct asset *a, enum consumer_action action,
                                  const struct consumer_config *c, struct js_error *error)
{
    struct consumer *known = map_get(&a->stream->consumers, bytes_of(c->name));
    if (known == NULL) {
        int64_t max = a->stream->config.max_consumers;
        if (action == CONSUMER_UPDATE) {
            return js_fail(error, JS_CONSUMER_MISSING);
        }
        return max <= 0 || a->stream->consumers.count < (uint64_t)max ||
               js_fail(error, JS_MAX_CONSUMERS);
    }
    if (action == CONSUMER_CREATE && !consumer_config_equal(&known->config, c)) {
        return js_fail(error, JS_CONSUMER_EXISTS);
    }
    return consumer_config_check_update(&known->config, c, error);
}

/* 0: there is none. */
static uint64_t hold_consumer(struct asset *a, const char *name)
{
    struct consumer *c = map_get(&a->stream->consumers, bytes_of(name));
    return c == NULL ? 0 : pulls_hold(c->leader);
}

static void on_consumer_create(struct asset *a, const struct asset_request *q)
{
    static const char type[] = "consumer_create_response";
    const struct consumer_subject subject = {.stream = a->name,
                                             .consumer = q->consumer,
                                             .filter = q->filter,
                                             .durable_form = q->durable_form,
                                             .clustered = js_is_clustered(a->js),
                                             .replicas = a->stream->config.replicas};
    struct js_error error = {0};
    struct consumer_config c;
    enum consumer_action action;
    int64_t now;
    if (!consumer_config_read(body_of(q), &subject, &c, &action, &error) ||
        !check_consumer_action(a, action, &c, &error) ||
        (!asset_clock(&now) &&
         !js_failf(&error, JS_CONSUMER_CREATE, "the clock of the stream's leader is wrong"))) {
        reply_error(a, q, type, &error);
    } else {
        struct buffer text = {0};
        struct buffer entry = {0};
        json_t *final = consumer_config_json(&c, false);
        json_write(&text, final, 0);
        json_decref(final);
        buffer_put_u8(&entry, ENTRY_CONSUMER);
        buffer_put_u64(&entry, (uint64_t)now);
        buffer_put_bytes(&entry, buffer_bytes(&text));
        buffer_deinit(&text);
        struct api_waiter *w = api_waiter_new(q, type);
        w->consumer = mem_strdup(c.name);
        w->hold = hold_consumer(a, c.name);
        begin_change(a, c.name);
        (void)propose_api(a, &entry, on_consumer_created, w);
    }
    consumer_config_deinit(&c);
}

static void on_consumer_delete(struct asset *a, const struct asset_request *q)
{
    struct buffer entry = {0};
    (void)hold_consumer(a, q->consumer); /* whoever is created under its name is not it */
    buffer_put_u8(&entry, ENTRY_CONSUMER_DELETE);
    buffer_put_bytes(&entry, bytes_of(q->consumer));
    struct api_waiter *w = api_waiter_new(q, "consumer_delete_response");
    w->consumer = mem_strdup(q->consumer);
    begin_change(a, q->consumer);
    (void)propose_api(a, &entry, on_simple_done, w);
}

static void on_consumer_info(struct asset *a, const struct asset_request *q)
{
    static const char type[] = "consumer_info_response";
    struct consumer *c = map_get(&a->stream->consumers, bytes_of(q->consumer));
    struct js_error error;
    if (c == NULL) {
        (void)js_fail(&error, JS_CONSUMER_NOT_FOUND);
        reply_error(a, q, type, &error);
        return;
    }
    json_t *o = js_response(type);
    asset_add_consumer_info(a, INFO_ASKED, c, o);
    js_reply(a->js, a->account, bytes_of(q->reply), o);
}

static void on_consumer_page(struct asset *a, const struct asset_request *q, bool names)
{
    struct js_error error = {0};
    const char *type = names ? "consumer_names_response" : "consumer_list_response";
    struct page_request asked = {0};
    if (!read_optional(body_of(q), &consumer_page_fields, &asked, &error)) {
        reply_error(a, q, type, &error);
        return; /* the table owns nothing */
    }
    struct map_entry **sorted = map_sorted(&a->stream->consumers);
    int64_t total = a->stream->consumers.count;
    int64_t limit = names ? 1024 : 256;
    int64_t offset = asked.offset;
    offset = offset < 0 ? 0 : offset > total ? total : offset;
    json_t *list = json_array();
    for (int64_t i = offset; i < total && i < offset + limit; i++) {
        json_t *item;
        if (names) {
            item = json_bytes(sorted[i]->key);
        } else {
            item = json_object();
            asset_add_consumer_info(a, INFO_LISTED, sorted[i]->value, item);
        }
        (void)json_array_append_new(list, item);
    }
    free(sorted);
    json_t *o = js_response(type);
    json_put_int(o, "total", total);
    json_put_int(o, "offset", offset);
    json_put_int(o, "limit", limit);
    json_put(o, "consumers", list);
    js_reply(a->js, a->account, bytes_of(q->reply), o);
}

void asset_answer(struct asset *a, struct asset_request *q)
{
    if (must_wait(a, q)) {
        return;
    }
    switch (q->verb) {
    case ASSET_INFO:
        on_info(a, q);
        break;
    case ASSET_PURGE:
        on_purge(a, q);
        break;
    case ASSET_MSG_GET:
        if (!on_msg_get(a, q)) {
            asset_request(a->shard, q); /* others have their turn first */
            return;
        }
        break;
    case ASSET_MSG_DELETE:
        on_msg_delete(a, q);
        break;
    case ASSET_CONSUMER_CREATE:
        on_consumer_create(a, q);
        break;
    case ASSET_CONSUMER_DELETE:
        on_consumer_delete(a, q);
        break;
    case ASSET_CONSUMER_INFO:
        on_consumer_info(a, q);
        break;
    case ASSET_CONSUMER_NAMES:
        on_consumer_page(a, q, true);
        break;
    case ASSET_CONSUMER_LIST:
        on_consumer_page(a, q, false);
        break;
    }
    asset_request_free(q);
}
