#include "jetstream/collect.h"

#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "jetstream/asset_internal.h"

/* question → ask each server that is up (and ourselves) → answers, or COLLECT_MS → reply */
#define COLLECT_MS 4000 /* JetStream API reference §3 */

struct question {
    struct jetstream *js;
    uint64_t id;
    struct account *account;
    char *reply;
    json_t *response; /* STREAM.LIST: begun; NULL: account info */
    json_t *names;
    json_t *streams;                /* what has come in */
    uint64_t api_total, api_errors; /* the same of the others */
    unsigned missing;               /* answers not yet here: ours, … */
    uint64_t *asked;                /* … and those of these nodes; owned */
    unsigned asked_count;
    struct loop_timer timer;
};

/* --- this server --- */

struct here {
    struct jetstream *js;
    bool only_leader, summary, named;
    char *account;    /* NULL: of all */
    struct map names; /* if `named`: these */
    struct asset_walk walk;
    json_t *streams;
    void (*done)(void *arg, json_t *streams);
    void *arg;
};

static bool is_wanted(const struct here *h, const struct asset *a)
{
    return (!h->only_leader || a->leading) &&
           (h->account == NULL || strcmp(h->account, a->account->name) == 0) &&
           (!h->named || map_get(&h->names, bytes_of(a->name)) != NULL);
}

static bool gather(void *arg, struct loop *loop)
{
    (void)loop;
    struct here *h = arg;
    int64_t until = clock_mono_ns() + ASSET_WALK_SLICE_NS;
    for (struct asset *a; (a = asset_walk_at(&h->walk)) != NULL; asset_walk_next(&h->walk)) {
        if (clock_mono_ns() >= until) {
            return false;
        }
        if (is_wanted(h, a)) {
            json_t *o = h->summary ? asset_summary(a) : asset_describe(a);
            (void)json_array_append_new(h->streams, o);
        }
    }
    return true;
}

static void gathered(void *arg)
{
    struct here *h = arg;
    h->done(h->arg, h->streams);
    json_decref(h->streams);
    map_deinit(&h->names);
    free(h->account);
    free(h);
}

void collect_here(struct jetstream *js, const struct collect_wanted *wanted,
                  void (*done)(void *arg, json_t *streams), void *arg)
{
    struct here *h = NEW(struct here);
    *h = (struct here){.js = js,
                       .only_leader = wanted->only_leader,
                       .summary = wanted->summary,
                       .named = wanted->names != NULL,
                       .streams = json_array(),
                       .done = done,
                       .arg = arg};
    h->account = wanted->account == NULL ? NULL : mem_strdup(wanted->account);
    size_t i;
    json_t *name;
    json_array_foreach(wanted->names, i, name)
    {
        if (json_is_string(name)) {
            (void)map_put(&h->names, bytes_of(json_string_value(name)), h);
        }
    }
    broker_gather_in_slices(js->broker, gather, gathered, h);
}

/* --- questions --- */

static void reply_list(struct question *q)
{
    json_t *streams = json_array();
    json_t *missing = json_array();
    size_t i;
    json_t *name;
    json_array_foreach(q->names, i, name)
    {
        json_t *found = NULL;
        size_t k;
        json_t *s;
        json_array_foreach(q->streams, k, s)
        {
            if (strcmp(json_text(s, "name"), json_string_value(name)) == 0) {
                found = json_object_get(s, "info");
            }
        }
        if (found != NULL && !js_is_clustered(q->js)) {
            (void)json_object_del(found, "cluster"); /* /jsz has it */
        }
        (void)json_array_append(found != NULL ? streams : missing, found != NULL ? found : name);
    }
    json_put(q->response, "streams", streams);
    if (json_array_size(missing) > 0) {
        json_put(q->response, "missing", json_incref(missing));
    }
    json_decref(missing);
    js_reply(q->js, q->account, bytes_of(q->reply), q->response);
    q->response = NULL;
}

static void reply_account_info(struct question *q)
{
    int64_t used[2] = {0}, reserved[2] = {0}; /* on disk, in memory */
    int64_t streams = 0;
    int64_t consumers = 0;
    size_t i;
    json_t *s;
    json_array_foreach(q->streams, i, s)
    {
        const json_t *info = json_object_get(s, "info");
        int64_t replicas = json_int(s, "replicas");
        int64_t max_bytes = json_int(json_object_get(info, "config"), "max_bytes");
        bool memory = strcmp(json_text(json_object_get(info, "config"), "storage"), "memory") == 0;
        const json_t *state = json_object_get(info, "state");
        used[memory] += replicas * json_int(state, "bytes");
        reserved[memory] += max_bytes > 0 ? replicas * max_bytes : 0;
        consumers += json_int(state, "consumer_count");
        streams++;
    }
    json_t *o = js_response("account_info_response");
    json_put_int(o, "memory", used[true]);
    json_put_int(o, "storage", used[false]);
    json_put_int(o, "reserved_memory", reserved[true]);
    json_put_int(o, "reserved_storage", reserved[false]);
    json_put_int(o, "streams", streams);
    json_put_int(o, "consumers", consumers);
    json_t *limits = json_object();
    static const char *const unlimited[] = {"max_memory",
                                            "max_storage",
                                            "max_streams",
                                            "max_consumers",
                                            "max_ack_pending",
                                            "memory_max_stream_bytes",
                                            "storage_max_stream_bytes"};
    for (size_t k = 0; k < sizeof unlimited / sizeof unlimited[0]; k++) {
        json_put_int(limits, unlimited[k], -1);
    }
    json_put_bool(limits, "max_bytes_required", false);
    json_put(o, "limits", limits);
    json_t *api = json_object();
    json_put_int(api, "level", JETSTREAM_API_LEVEL);
    /* This request is not among them. */
    json_put_u64(api, "total", q->api_total + atomic_load(&q->account->api_total));
    json_put_u64(api, "errors", q->api_errors + atomic_load(&q->account->api_errors));
    json_put(o, "api", api);
    js_reply(q->js, q->account, bytes_of(q->reply), o);
}

static void question_free(struct question *q)
{
    loop_timer_cancel(loops_at(q->js->loops, 0), &q->timer);
    (void)map_remove_u64(&q->js->questions, q->id);
    json_decref(q->response);
    json_decref(q->names);
    json_decref(q->streams);
    free(q->reply);
    free(q->asked);
    free(q);
}

static void finish(struct question *q)
{
    if (q->response != NULL) {
        reply_list(q);
    } else {
        reply_account_info(q);
    }
    question_free(q);
}

static void on_timeout(void *arg)
{
    finish(arg);
}

static void take_answer(struct question *q, json_t *streams)
{
    (void)json_array_extend(q->streams, streams);
    if (--q->missing == 0) {
        finish(q);
    }
}

/* False: no answer of that node is waited for. */
static bool is_awaited(struct question *q, uint64_t node)
{
    for (unsigned i = 0; i < q->asked_count; i++) {
        if (q->asked[i] == node) {
            q->asked[i] = q->asked[--q->asked_count];
            return true;
        }
    }
    return false;
}

void collect_peer_gone(struct jetstream *js, uint64_t node)
{
    struct map_entry *e;
    json_t *nothing = json_array();
    for (uint32_t i = 0; (e = map_next(&js->questions, &i)) != NULL;) {
        struct question *q = e->value;
        bool last = q->missing == 1;
        if (is_awaited(q, node)) {
            take_answer(q, nothing);
            i = last ? 0 : i; /* it is gone, and others may have its place */
        }
    }
    json_decref(nothing);
}

struct own_answer {
    struct jetstream *js;
    uint64_t question;
};

static void on_own_answer(void *arg, json_t *streams)
{
    struct own_answer *own = arg;
    struct question *q = map_get_u64(&own->js->questions, own->question);
    if (q != NULL) {
        take_answer(q, streams);
    }
    free(own);
}

/* u64 question · bytes account · bytes JSON array of the names to describe; empty: a summary of all
 */
static void put_ask(struct buffer *out, const struct question *q)
{
    struct buffer names = {0};
    if (q->names != NULL) {
        json_write(&names, q->names, 0);
    }
    buffer_put_u64(out, q->id);
    buffer_put_bytes(out, bytes_of(q->account->name));
    buffer_put_bytes(out, buffer_bytes(&names));
    buffer_deinit(&names);
}

static void ask(struct jetstream *js, struct account *account, struct bytes reply, json_t *response,
                json_t *names)
{
    struct question *q = NEW(struct question);
    q->js = js;
    q->id = ++js->next_question;
    q->account = account;
    q->reply = mem_dup(reply.ptr, reply.len);
    q->response = response;
    q->names = names;
    q->streams = json_array();
    q->missing = 1; /* our own */
    (void)map_put_u64(&js->questions, q->id, q);
    loop_timer_arm(loops_at(js->loops, 0), &q->timer, clock_mono_ns() + COLLECT_MS * NS_PER_MS,
                   on_timeout, q);
    if (js_is_clustered(js)) {
        unsigned count;
        struct peer_node *nodes = peers_nodes(js->peers, &count);
        struct buffer body = {0};
        put_ask(&body, q);
        struct bytes part = buffer_bytes(&body);
        q->asked = mem_alloc((count + 1) * sizeof *q->asked);
        for (unsigned i = 1; i < count; i++) {
            if (nodes[i].up && peers_send(js->peers, nodes[i].id, JS_FRAME_ASK, &part, 1)) {
                q->asked[q->asked_count++] = nodes[i].id;
                q->missing++;
            }
        }
        buffer_deinit(&body);
        free(nodes);
    }
    struct own_answer *own = NEW(struct own_answer);
    *own = (struct own_answer){js, q->id};
    const struct collect_wanted wanted = {
        .only_leader = true, .summary = names == NULL, .account = account->name, .names = names};
    collect_here(js, &wanted, on_own_answer, own);
}

void collect_stream_list(struct jetstream *js, struct account *account, struct bytes reply,
                         json_t *response, json_t *names)
{
    ask(js, account, reply, response, names);
}

void collect_account_info(struct jetstream *js, struct account *account, struct bytes reply)
{
    ask(js, account, reply, NULL, NULL);
}

/* --- other servers --- */

struct asked {
    struct jetstream *js;
    uint64_t node, question;
    struct account *account; /* NULL: unknown here */
};

/* u64 question · u64 answers to the API's requests of the account · u64 of them refusals */
static void send_counts(const struct asked *a)
{
    struct buffer body = {0};
    buffer_put_u64(&body, a->question);
    buffer_put_u64(&body, atomic_load(&a->account->api_total));
    buffer_put_u64(&body, atomic_load(&a->account->api_errors));
    struct bytes part = buffer_bytes(&body);
    (void)peers_send(a->js->peers, a->node, JS_FRAME_COUNTS, &part, 1);
    buffer_deinit(&body);
}

static void send_answer(void *arg, json_t *streams)
{
    struct asked *a = arg;
    struct buffer id = {0};
    struct buffer text = {0};
    if (a->account != NULL) {
        send_counts(a);
    }
    buffer_put_u64(&id, a->question);
    json_write(&text, streams, 0);
    struct bytes parts[] = {buffer_bytes(&id), buffer_bytes(&text)};
    (void)peers_send(a->js->peers, a->node, JS_FRAME_ANSWER, parts, 2);
    buffer_deinit(&id);
    buffer_deinit(&text);
    free(a);
}

void collect_on_ask(struct jetstream *js, uint64_t node, struct bytes body)
{
    struct reader r = reader_make(body);
    uint64_t id = reader_u64(&r);
    struct bytes account = reader_bytes(&r);
    struct bytes text = reader_bytes(&r);
    json_error_t reason;
    json_t *names = reader_done(&r) && text.len > 0 ? json_parse(text, &reason) : NULL;
    if (!reader_done(&r) || (text.len > 0 && names == NULL)) {
        log_error("A question from server \"%s\" is malformed", peers_name(js->peers, node));
        return;
    }
    struct asked *a = NEW(struct asked);
    *a = (struct asked){js, node, id, accounts_find(broker_accounts(js->broker), account)};
    char *name = mem_dup(account.ptr, account.len);
    const struct collect_wanted wanted = {
        .only_leader = true, .summary = names == NULL, .account = name, .names = names};
    collect_here(js, &wanted, send_answer, a);
    free(name);
    json_decref(names);
}

void collect_on_counts(struct jetstream *js, uint64_t node, struct bytes body)
{
    struct reader r = reader_make(body);
    uint64_t id = reader_u64(&r), total = reader_u64(&r), errors = reader_u64(&r);
    struct question *q = r.bad ? NULL : map_get_u64(&js->questions, id);
    for (unsigned i = 0; q != NULL && i < q->asked_count; i++) {
        if (q->asked[i] == node) {
            q->api_total += total;
            q->api_errors += errors;
        }
    }
}

void collect_on_answer(struct jetstream *js, uint64_t node, struct bytes body)
{
    struct reader r = reader_make(body);
    uint64_t id = reader_u64(&r);
    struct question *q = r.bad ? NULL : map_get_u64(&js->questions, id);
    if (q == NULL) {
        return; /* too late */
    }
    json_t *streams = json_loadb((const char *)r.at, (size_t)(r.end - r.at), 0, NULL);
    if (json_is_array(streams) && is_awaited(q, node)) {
        take_answer(q, streams);
    }
    json_decref(streams);
}

void collect_stop(struct jetstream *js)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&js->questions, &i)) != NULL;) {
        question_free(e->value);
        i = 0;
    }
    map_deinit(&js->questions);
}
