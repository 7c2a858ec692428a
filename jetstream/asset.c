/* One stream on this server.
 *
 * A publish, on the stream's leader:
 *   inbound batch → publisher_decide → builder → propose → (fsync here, and at a quorum) → apply →
 * PubAck
 *
 * (1) A PubAck leaves only from apply of the entry that holds the message, in the term it was
 * proposed. (2) Subscriptions exist exactly while this replica leads; without a leader publishers
 * get 503. (3) A waiter is called exactly once: when its entry is applied, or when leadership is
 * lost. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "jetstream/jetstream_internal.h"

#define BATCH_BYTES_MAX (64u * 1024) /* of one entry; it never waits to fill */
#define IN_FLIGHT_BYTES_MAX                                                                        \
    (128u << 20) /* proposed and not applied: then 429 (max_buffered_size) */

struct waiter {
    uint64_t term;
    waiter_cb cb;
    void *arg;
};

struct dup_wait { /* a duplicate of a message under way */
    uint64_t seq;
    char *reply;
};

/* Acknowledgements of one MESSAGES entry. */
struct pub_waiter {
    uint64_t first_seq;
    struct buffer replies;
    size_t bytes;
};

/* Assets of this loop's thread. */
static _Thread_local struct asset *assets_here;

struct loop *asset_loop(const struct asset *a)
{
    return shard_loop(a->shard);
}

int64_t asset_now_ns(void)
{
    return clock_now_ns();
}

static void break_asset(struct asset *a, const char *why)
{
    if (!a->broken) {
        a->broken = true;
        log_error("JetStream stream '%s > %s' stops on this server: %s", a->account->name, a->name,
                  why);
    }
}

/* --- proposing and waiting --- */

bool asset_propose(struct asset *a, struct bytes entry, waiter_cb cb, void *arg)
{
    uint64_t index, term;
    if (!a->leading || a->broken || group_propose_bytes(a->group, entry, &index, &term) != OK) {
        return false;
    }
    if (cb != NULL) {
        struct waiter *w = NEW(struct waiter);
        *w = (struct waiter){term, cb, arg};
        CHECK(map_put_u64(&a->waiting, index, w) == NULL);
    }
    return true;
}

static void call_waiter(struct asset *a, struct waiter *w, bool applied,
                        const struct apply_result *result)
{
    w->cb(a, w->arg, applied, result);
    free(w);
}

static void drop_waiters(struct asset *a)
{
    struct map old = a->waiting;
    a->waiting = (struct map){0};
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&old, &i)) != NULL;) {
        call_waiter(a, e->value, false, NULL);
    }
    map_deinit(&old);
}

/* --- publishing --- */

static void send_ack(struct asset *a, struct bytes reply, uint64_t seq, bool duplicate)
{
    char text[JS_NAME_MAX + 80];
    int n = snprintf(text, sizeof text, "{\"stream\":\"%s\",\"seq\":%llu%s}", a->name,
                     (unsigned long long)seq, duplicate ? ",\"duplicate\": true" : "");
    js_publish(a->js, a->account, reply, BYTES_NONE, BYTES_NONE, bytes_make(text, (size_t)n));
}

static void send_refusal(struct asset *a, struct bytes reply, const struct js_error *error)
{
    if (reply.ptr == NULL || a->stream->config.no_ack) {
        return;
    }
    json_t *o = json_object();
    json_put(o, "error", js_error_json(error));
    json_put_text(o, "stream", a->name);
    json_put_int(o, "seq", 0);
    struct buffer text = {0};
    json_write(&text, o, 0);
    json_decref(o);
    js_publish(a->js, a->account, reply, BYTES_NONE,
               error->err == JS_TOO_MANY ? BYTES_LIT("NATS/1.0 429 Too Many Requests\r\n\r\n")
                                         : BYTES_NONE,
               buffer_bytes(&text));
    buffer_deinit(&text);
}

static void on_published(struct asset *a, void *arg, bool applied,
                         const struct apply_result *result)
{
    (void)result;
    struct pub_waiter *w = arg;
    struct reader r = reader_make(buffer_bytes(&w->replies));
    a->in_flight -= w->bytes;
    for (uint64_t seq = w->first_seq; applied && r.at < r.end; seq++) {
        struct bytes reply = reader_bytes(&r);
        if (reply.len > 0 && !a->stream->config.no_ack) {
            send_ack(a, reply, seq, false);
        }
    }
    buffer_deinit(&w->replies);
    free(w);
}

/* Hands the batch in the builder to consensus. */
static void propose_batch(struct asset *a)
{
    if (a->builder.count == 0) {
        return;
    }
    struct pub_waiter *w = NEW(struct pub_waiter);
    w->first_seq = a->builder.first_seq;
    w->replies = a->builder_replies;
    a->builder_replies = (struct buffer){0};
    struct blob *entry = messages_finish(&a->builder);
    w->bytes = entry->len;
    a->in_flight += w->bytes;
    uint64_t index, term;
    if (group_propose(a->group, entry, &index, &term) != OK) {
        /* Leadership went between the batch's arrival and here: nothing was promised to anybody. */
        blob_release(entry);
        on_published(a, w, false, NULL);
        publisher_reset(&a->publisher);
        return;
    }
    struct waiter *waiter = NEW(struct waiter);
    *waiter = (struct waiter){term, on_published, w};
    CHECK(map_put_u64(&a->waiting, index, waiter) == NULL);
}

static void on_duplicate(struct asset *a, uint64_t seq, struct bytes reply)
{
    if (reply.ptr == NULL || a->stream->config.no_ack) {
        return;
    }
    if (seq <= a->stream->totals.last_seq) {
        send_ack(a, reply, seq, true);
        return;
    }
    VEC_RESERVE(a->dups, a->dup_cap, a->dup_count);
    a->dups[a->dup_count++] = (struct dup_wait){seq, mem_dup(reply.ptr, reply.len)};
}

static void answer_duplicates(struct asset *a, bool applied)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < a->dup_count; i++) {
        struct dup_wait *d = &a->dups[i];
        if (applied && d->seq > a->stream->totals.last_seq) {
            a->dups[kept++] = *d;
            continue;
        }
        if (applied) {
            send_ack(a, bytes_of(d->reply), d->seq, true);
        }
        free(d->reply);
    }
    a->dup_count = kept;
}

static void on_publish(void *arg, struct inbound_batch *batch)
{
    struct asset *a = arg;
    struct inbound m;
    int64_t now = clock_now_ns();
    while (inbound_next(batch, &m)) {
        if (!a->leading || a->broken) {
            continue;
        }
        if (a->in_flight > IN_FLIGHT_BYTES_MAX) {
            struct js_error error;
            (void)js_fail(&error, JS_TOO_MANY);
            send_refusal(a, m.reply, &error);
            continue;
        }
        struct bytes header = bytes_make(m.payload.ptr, m.header_len);
        struct bytes body = bytes_skip(m.payload, m.header_len);
        if (UNLIKELY(store_is_full(a->js->store))) {
            struct js_error full;
            (void)js_fail(&full, JS_INSUFFICIENT_RESOURCES);
            send_refusal(a, m.reply, &full);
            continue;
        }
        struct publish_decision d = publisher_decide(&a->publisher, m.subject, header, body, now);
        if (d.action == PUBLISH_REFUSED) {
            send_refusal(a, m.reply, &d.error);
            continue;
        }
        if (d.action == PUBLISH_DUPLICATE) {
            on_duplicate(a, d.seq, m.reply);
            continue;
        }
        if (a->builder.count == 0) {
            messages_begin(&a->builder, d.seq, now);
        }
        messages_add(&a->builder, now, m.subject, header, body);
        buffer_put_bytes(&a->builder_replies, m.reply);
        if (a->builder.data.len >= BATCH_BYTES_MAX) {
            propose_batch(a);
        }
    }
    propose_batch(a);
}

/* --- acknowledgements of consumers --- */

/* Tokens of $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>,
 * or of the longer form with domain and account. */
static bool parse_ack_subject(struct bytes subject, struct bytes *consumer, uint64_t *stream_seq)
{
    struct bytes tokens[12];
    unsigned count = 0;
    while (count < 12 && bytes_token(&subject, '.', &tokens[count])) {
        count++;
    }
    unsigned at = count == 9 ? 3 : count >= 11 ? 5 : 0;
    if (at == 0) {
        return false;
    }
    *consumer = tokens[at];
    return bytes_to_u64(tokens[at + 2], stream_seq);
}

static bool parse_ack_body(struct bytes body, enum ack_op *op, uint64_t *arg)
{
    *arg = 0;
    if (body.len == 0 || bytes_is(body, "+ACK") || bytes_is(body, "+OK")) {
        *op = ACK_OP_ACK;
        return true;
    }
    if (bytes_starts(body, BYTES_LIT("-NAK"))) {
        *op = ACK_OP_NAK;
        struct bytes rest = bytes_skip(body, 4);
        while (rest.len > 0 && rest.ptr[0] == ' ') {
            rest = bytes_skip(rest, 1);
        }
        int64_t delay = 0;
        if (rest.len > 0 && rest.ptr[0] == '{') {
            json_error_t reason;
            json_t *o = json_parse(rest, &reason);
            delay = json_int(o, "delay");
            json_decref(o);
        } else if (rest.len == 0 || !clock_parse_duration(rest, &delay)) {
            delay = 0; /* a bad value is a plain NAK */
        }
        *arg = delay > 0 ? (uint64_t)delay : 0;
        return true;
    }
    if (bytes_is(body, "+WPI")) {
        *op = ACK_OP_PROGRESS;
        return true;
    }
    if (bytes_starts(body, BYTES_LIT("+TERM"))) {
        *op = ACK_OP_TERM;
        return true;
    }
    return false;
}

/* Acks of one consumer that came in one batch. */
struct ack_waiter {
    struct buffer replies; /* varint length and reply subject, of those that want confirmation */
};

static void on_acked(struct asset *a, void *arg, bool applied, const struct apply_result *result)
{
    struct ack_waiter *w = arg;
    struct reader r = reader_make(buffer_bytes(&w->replies));
    while (applied && r.at < r.end) {
        js_publish(a->js, a->account, reader_bytes(&r), BYTES_NONE, BYTES_NONE, BYTES_NONE);
    }
    if (applied && result->consumer != NULL && result->consumer->leader != NULL) {
        pulls_pump(result->consumer->leader);
    }
    buffer_deinit(&w->replies);
    free(w);
}

struct ack_group {
    struct consumer *consumer;
    struct buffer ops;
    uint32_t count;
    struct ack_waiter *waiter;
};

static void propose_acks(struct asset *a, struct ack_group *g)
{
    struct buffer entry = {0};
    buffer_put_u8(&entry, ENTRY_ACKS);
    buffer_put_bytes(&entry, bytes_of(g->consumer->config.name));
    buffer_put_u64(&entry, (uint64_t)clock_now_ns());
    buffer_put_varint(&entry, g->count);
    buffer_append_bytes(&entry, buffer_bytes(&g->ops));
    if (!asset_propose(a, buffer_bytes(&entry), on_acked, g->waiter)) {
        on_acked(a, g->waiter, false, NULL);
    }
    buffer_deinit(&entry);
    buffer_deinit(&g->ops);
}

static void nak_advisory(struct asset *a, const struct consumer *c, uint64_t seq);

static void on_acks(void *arg, struct inbound_batch *batch)
{
    struct asset *a = arg;
    struct inbound m;
    struct ack_group *groups = NULL;
    uint32_t count = 0, cap = 0;
    while (a->leading && inbound_next(batch, &m)) {
        struct bytes name;
        uint64_t seq, extra;
        enum ack_op op;
        struct bytes body = bytes_skip(m.payload, m.header_len);
        if (!parse_ack_subject(m.subject, &name, &seq) || !parse_ack_body(body, &op, &extra)) {
            continue;
        }
        struct consumer *c = map_get(&a->stream->consumers, name);
        if (c == NULL || seq > c->delivered_stream_seq) {
            continue; /* beyond what was delivered: ignored and not confirmed */
        }
        uint32_t i = 0;
        while (i < count && groups[i].consumer != c) {
            i++;
        }
        if (i == count) {
            VEC_RESERVE(groups, cap, count);
            groups[count++] = (struct ack_group){.consumer = c, .waiter = NEW(struct ack_waiter)};
        }
        buffer_put_u8(&groups[i].ops, (uint8_t)op);
        buffer_put_varint(&groups[i].ops, seq);
        buffer_put_varint(&groups[i].ops, extra);
        groups[i].count++;
        if (m.reply.len > 0) {
            buffer_put_bytes(&groups[i].waiter->replies, m.reply);
        }
        if (op == ACK_OP_NAK) {
            nak_advisory(a, c, seq);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        propose_acks(a, &groups[i]);
    }
    free(groups);
}

static void nak_advisory(struct asset *a, const struct consumer *c, uint64_t seq)
{
    struct buffer subject = {0};
    buffer_printf(&subject, "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.%s.%s", a->name, c->config.name);
    if (broker_has_interest(a->account, buffer_bytes(&subject))) {
        struct pending_message *p = consumer_pending((struct consumer *)(uintptr_t)c, seq);
        json_t *o = json_object();
        char id[23];
        random_base62(id, 22);
        json_put_text(o, "type", "io.nats.jetstream.advisory.v1.nak");
        json_put_text(o, "id", id);
        json_put_time(o, "timestamp", clock_now_ns());
        json_put_text(o, "stream", a->name);
        json_put_text(o, "consumer", c->config.name);
        json_put_u64(o, "consumer_seq", p == NULL ? 0 : p->consumer_seq);
        json_put_u64(o, "stream_seq", seq);
        json_put_u64(o, "deliveries", p == NULL ? 0 : p->deliveries);
        struct buffer text = {0};
        json_write(&text, o, 0);
        json_decref(o);
        js_publish(a->js, a->account, buffer_bytes(&subject), BYTES_NONE, BYTES_NONE,
                   buffer_bytes(&text));
        buffer_deinit(&text);
    }
    buffer_deinit(&subject);
}

/* $JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer> */
static void on_pulls(void *arg, struct inbound_batch *batch)
{
    struct asset *a = arg;
    struct inbound m;
    while (a->leading && inbound_next(batch, &m)) {
        const char *dot = memrchr(m.subject.ptr, '.', m.subject.len);
        struct bytes name = bytes_skip(m.subject, (size_t)(dot - m.subject.ptr) + 1);
        struct consumer *c = map_get(&a->stream->consumers, name);
        if (c != NULL && m.reply.len > 0) {
            pulls_request(c->leader, m.reply, bytes_make(m.payload.ptr, m.header_len),
                          bytes_skip(m.payload, m.header_len));
        }
    }
}

/* --- expiry --- */

static void on_expiry(void *arg);

static void arm_expiry(struct asset *a)
{
    const struct stream *s = a->stream;
    if (!a->leading || s->config.max_age_ns == 0 || s->totals.messages == 0 ||
        loop_timer_armed(&a->expiry)) {
        return;
    }
    int64_t due = s->totals.first_ns + s->config.max_age_ns - clock_now_ns();
    due = due < 50 * NS_PER_MS ? 50 * NS_PER_MS : due; /* a batch of expiries, not one at a time */
    loop_timer_arm(asset_loop(a), &a->expiry, clock_mono_ns() + due, on_expiry, a);
}

static void on_expiry(void *arg)
{
    struct asset *a = arg;
    uint64_t through = stream_expired_through(a->stream, clock_now_ns());
    if (through > 0) {
        struct buffer entry = {0};
        buffer_put_u8(&entry, ENTRY_EXPIRE);
        buffer_put_varint(&entry, through);
        (void)asset_propose(a, buffer_bytes(&entry), NULL, NULL);
        buffer_deinit(&entry);
    }
    arm_expiry(a);
}

/* --- applying --- */

static void free_leader_side(void *arg, struct consumer *c)
{
    (void)arg;
    if (c->leader != NULL) {
        pulls_free(c->leader, "409 Consumer Deleted");
        c->leader = NULL;
    }
}

static void pump_all(struct asset *a)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->stream->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        if (c->leader != NULL) {
            pulls_pump(c->leader);
        }
    }
}

static void propose_wanted_config(struct asset *a);

static void apply(void *owner, uint64_t index, uint64_t term, struct bytes entry)
{
    struct asset *a = owner;
    struct apply_result result;
    if (a->broken) {
        return;
    }
    uint8_t kind = entry.len == 0 ? 0 : (uint8_t)entry.ptr[0];
    if (stream_apply(a->stream, index, entry, &result, free_leader_side, a) != OK) {
        break_asset(a, "an entry of its log cannot be applied");
        return;
    }
    if (a->leading) {
        publisher_applied(&a->publisher, a->stream->totals.last_seq);
        if (kind != ENTRY_MESSAGES) {
            publisher_recount(&a->publisher);
        }
        if (result.consumer != NULL && result.consumer->leader == NULL) {
            result.consumer->leader = pulls_new(a, result.consumer);
        }
    }
    struct waiter *w = map_remove_u64(&a->waiting, index);
    if (w != NULL) {
        call_waiter(a, w, w->term == term, &result);
    }
    if (a->leading) {
        answer_duplicates(a, true);
        if (kind == ENTRY_MESSAGES) {
            pump_all(a);
        }
        arm_expiry(a);
    }
}

static void encode(void *owner, struct buffer *out)
{
    struct asset *a = owner;
    stream_encode(a->stream, out);
}

static struct blob *read_entry(void *arg, uint64_t index)
{
    struct asset *a = arg;
    return group_read(a->group, index);
}

static enum err decode(void *owner, struct bytes state)
{
    struct asset *a = owner;
    struct stream_config config = {.name = mem_strdup(a->name)};
    struct stream *fresh = stream_new(&config, 0, read_entry, a);
    if (stream_decode(fresh, state) != OK) {
        stream_free(fresh);
        return ERR_CORRUPT;
    }
    stream_free(a->stream);
    a->stream = fresh;
    publisher_deinit(&a->publisher);
    publisher_init(&a->publisher, a->stream);
    return OK;
}

static uint64_t next_kept(void *owner, uint64_t index)
{
    struct asset *a = owner;
    return stream_next_kept_index(a->stream, index);
}

/* --- leadership --- */

static void add_sub(struct asset *a, struct bytes subject, internal_cb cb)
{
    a->subs = mem_realloc(a->subs, (a->sub_count + 1) * sizeof(struct internal_sub *));
    a->subs[a->sub_count++] =
        broker_subscribe(a->js->broker, a->account, subject, BYTES_NONE, asset_loop(a), cb, a);
}

static void subscribe(struct asset *a)
{
    for (uint32_t i = 0; i < a->stream->config.subject_count; i++) {
        add_sub(a, bytes_of(a->stream->config.subjects[i]), on_publish);
    }
    struct buffer subject = {0};
    buffer_printf(&subject, "$JS.ACK.%s.>", a->name);
    add_sub(a, buffer_bytes(&subject), on_acks);
    buffer_clear(&subject);
    buffer_printf(&subject, "$JS.API.CONSUMER.MSG.NEXT.%s.*", a->name);
    add_sub(a, buffer_bytes(&subject), on_pulls);
    buffer_deinit(&subject);
}

static void unsubscribe(struct asset *a)
{
    for (uint32_t i = 0; i < a->sub_count; i++) {
        broker_unsubscribe(a->js->broker, a->subs[i]);
    }
    free(a->subs);
    a->subs = NULL;
    a->sub_count = 0;
}

static void answer_create(struct asset *a)
{
    if (a->create_reply != NULL) {
        asset_echo(a, a->create_reply);
        free(a->create_reply);
        a->create_reply = NULL;
    }
}

static void leader_advisory(struct asset *a);

static void lead(struct asset *a)
{
    a->leading = true;
    a->leader_since_ns = clock_now_ns();
    publisher_reset(&a->publisher);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->stream->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        c->leader = pulls_new(a, c);
    }
    subscribe(a);
    log_info("JetStream cluster new stream leader for '%s > %s'", a->account->name, a->name);
    if (a->peer_count > 1) {
        leader_advisory(a);
    }
    propose_wanted_config(a);
    answer_create(a);
    arm_expiry(a);
}

/* `status`: what waiting pull requests are told. */
static void step_down(struct asset *a, const char *status)
{
    a->leading = false;
    unsubscribe(a);
    loop_timer_cancel(asset_loop(a), &a->expiry);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->stream->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        if (c->leader != NULL) {
            pulls_free(c->leader, status);
            c->leader = NULL;
        }
    }
    drop_waiters(a);
    answer_duplicates(a, false);
    a->builder.count = 0;
    buffer_clear(&a->builder_replies);
    publisher_reset(&a->publisher);
    CHECK(a->in_flight == 0);
}

static void on_leader(void *owner, bool leader)
{
    struct asset *a = owner;
    if (leader && !a->leading) {
        lead(a);
    } else if (!leader && a->leading) {
        step_down(a, "409 Leadership Change");
    }
}

static const struct group_ops asset_ops = {apply, encode, decode, on_leader, next_kept};

/* --- descriptions --- */

static json_t *cluster_json(struct asset *a)
{
    json_t *o = json_object();
    struct group_status status = group_status(a->group);
    const struct options *options = broker_options(a->js->broker);
    if (js_is_clustered(a->js)) {
        json_put_text(o, "name", options->cluster.name == NULL ? "" : options->cluster.name);
        char group[64];
        (void)snprintf(group, sizeof group, "S-R%uF-%llu", a->peer_count,
                       (unsigned long long)group_id(a->group));
        json_put_text(o, "raft_group", group);
    }
    const char *leader = js_node_name(a->js, status.leader_node);
    if (leader != NULL) {
        json_put_text(o, "leader", leader);
    }
    if (js_is_clustered(a->js) && a->leading) {
        json_put_time(o, "leader_since", a->leader_since_ns);
    }
    if (a->peer_count > 1) {
        json_t *replicas = json_array();
        for (unsigned i = 0; i < a->peer_count; i++) {
            if (a->peers[i] == status.leader_node) {
                continue;
            }
            struct raft_peer_state p = raft_peer_state(group_raft(a->group), a->peers[i]);
            bool up = peers_is_up(a->js->peers, a->peers[i]);
            const char *name = js_node_name(a->js, a->peers[i]);
            char id[9];
            js_node_id8(a->js, a->peers[i], id);
            json_t *r = json_object();
            json_put_text(r, "name", name == NULL ? id : name);
            json_put_bool(r, "current", status.leader ? p.current : up);
            if (!up) {
                json_put_bool(r, "offline", true);
            }
            json_put_int(r, "active", p.silent_ticks * RAFT_TICK_MS * NS_PER_MS);
            if (status.leader && p.match < status.commit) {
                json_put_u64(r, "lag", status.commit - p.match);
            }
            json_put_text(r, "peer", id);
            (void)json_array_append_new(replicas, r);
        }
        json_put(o, "replicas", replicas);
    }
    return o;
}

static json_t *state_json(struct asset *a, bool deleted, const char *filter)
{
    const struct stream *s = a->stream;
    json_t *o = json_object();
    json_put_u64(o, "messages", s->totals.messages);
    json_put_u64(o, "bytes", s->totals.bytes);
    json_put_u64(o, "first_seq", s->totals.last_seq == 0 ? 0 : s->totals.first_seq);
    json_put_time(o, "first_ts", s->totals.first_ns);
    json_put_u64(o, "last_seq", s->totals.last_seq);
    json_put_time(o, "last_ts", s->totals.last_ns);
    if (s->subjects.count > 0) {
        json_put_int(o, "num_subjects", s->subjects.count);
    }
    if (filter != NULL) {
        json_t *subjects = json_object();
        struct map_entry **sorted = map_sorted(&s->subjects);
        for (uint32_t i = 0; sorted[i] != NULL; i++) {
            if (subject_matches(bytes_of(filter), sorted[i]->key)) {
                char *key = mem_dup(sorted[i]->key.ptr, sorted[i]->key.len);
                const struct subject_state *state = sorted[i]->value;
                json_put_u64(subjects, key, state->count);
                free(key);
            }
        }
        free(sorted);
        json_put(o, "subjects", subjects);
    }
    if (s->deleted_count > 0) {
        json_put_int(o, "num_deleted", s->deleted_count);
        if (deleted) {
            json_t *list = json_array();
            for (uint32_t i = 0; i < s->deleted_count; i++) {
                (void)json_array_append_new(list, json_integer((json_int_t)s->deleted[i]));
            }
            json_put(o, "deleted", list);
        }
    }
    json_put_int(o, "consumer_count", s->consumers.count);
    return o;
}

static void add_stream_info(struct asset *a, json_t *o)
{
    json_put(o, "config", stream_config_json(&a->stream->config, true));
    json_put_time(o, "created", a->stream->created_ns);
    json_put(o, "state", state_json(a, false, NULL));
    json_put(o, "cluster", cluster_json(a));
    json_put_time(o, "ts", clock_now_ns());
}

static json_t *sequence_json(uint64_t consumer, uint64_t stream, int64_t active_ns)
{
    json_t *o = json_object();
    json_put_u64(o, "consumer_seq", consumer);
    json_put_u64(o, "stream_seq", stream);
    if (active_ns != 0) {
        json_put_time(o, "last_active", active_ns);
    }
    return o;
}

static void add_consumer_info(struct asset *a, const struct consumer *c, json_t *o)
{
    json_put_text(o, "stream_name", a->name);
    json_put_text(o, "name", c->config.name);
    json_put_time(o, "created", c->created_ns);
    json_put(o, "config", consumer_config_json(&c->config, true));
    json_put(o, "delivered",
             sequence_json(c->delivered_seq, c->delivered_stream_seq, c->last_delivered_ns));
    json_put(o, "ack_floor", sequence_json(c->floor_seq, c->floor_stream_seq, c->last_acked_ns));
    json_put_int(o, "num_ack_pending", c->ack_pending);
    json_put_u64(o, "num_redelivered", consumer_redelivered(c));
    json_put_int(o, "num_waiting", c->leader == NULL ? 0 : pulls_waiting(c->leader));
    json_put_u64(o, "num_pending", consumer_left(a->stream, c));
    if (js_is_clustered(a->js)) {
        json_put(o, "cluster", cluster_json(a));
    }
    json_put_time(o, "ts", clock_now_ns());
}

json_t *asset_describe(struct asset *a, bool only_leader)
{
    if (only_leader && !a->leading) {
        return NULL;
    }
    json_t *o = json_object();
    json_put_text(o, "name", a->name);
    json_put_text(o, "account", a->account->name);
    json_put_bool(o, "leading", a->leading);
    json_put_int(o, "replicas", a->peer_count);
    char hash[20];
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)a->stream->content_hash);
    json_put_text(o, "content_hash", hash);
    json_t *info = json_object();
    add_stream_info(a, info);
    json_put(o, "info", info);
    json_t *consumers = json_array();
    struct map_entry **sorted = map_sorted(&a->stream->consumers);
    for (uint32_t i = 0; sorted[i] != NULL; i++) {
        json_t *c = json_object();
        add_consumer_info(a, sorted[i]->value, c);
        (void)json_array_append_new(consumers, c);
    }
    free(sorted);
    json_put(o, "consumers", consumers);
    return o;
}

bool asset_is_current(struct asset *a)
{
    return !a->broken && group_status(a->group).current;
}

static void leader_advisory(struct asset *a)
{
    struct buffer subject = {0};
    struct buffer text = {0};
    char id[23];
    random_base62(id, 22);
    buffer_printf(&subject, "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.%s", a->name);
    json_t *o = json_object();
    json_put_text(o, "type", "io.nats.jetstream.advisory.v1.stream_leader_elected");
    json_put_text(o, "id", id);
    json_put_time(o, "timestamp", clock_now_ns());
    json_put_text(o, "stream", a->name);
    json_put_text(o, "leader", broker_server_name(a->js->broker));
    json_t *cluster = cluster_json(a);
    json_put(o, "replicas", json_incref(json_object_get(cluster, "replicas")));
    json_decref(cluster);
    json_write(&text, o, 0);
    json_decref(o);
    js_publish(a->js, a->account, buffer_bytes(&subject), BYTES_NONE, BYTES_NONE,
               buffer_bytes(&text));
    buffer_deinit(&subject);
    buffer_deinit(&text);
}

/* --- API requests of a stream; on its loop, leader only --- */

struct api_waiter { /* a request that waits for its entry */
    char *reply;
    const char *type;
    char *consumer;
    bool is_update;
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

static void propose_api(struct asset *a, struct buffer *entry, waiter_cb cb, struct api_waiter *w)
{
    if (!asset_propose(a, buffer_bytes(entry), cb, w)) {
        api_waiter_free(w); /* leadership is going: the next leader will be asked again */
    }
    buffer_deinit(entry);
}

static void on_simple_done(struct asset *a, void *arg, bool applied,
                           const struct apply_result *result)
{
    struct api_waiter *w = arg;
    if (applied && result->error.err != JS_OK) {
        js_reply_error(a->js, a->account, bytes_of(w->reply), w->type, &result->error);
    } else if (applied) {
        json_t *o = js_response(w->type);
        json_put_bool(o, "success", true);
        if (strcmp(w->type, "stream_purge_response") == 0) {
            json_put_u64(o, "purged", result->count);
        }
        js_reply(a->js, a->account, bytes_of(w->reply), o);
    }
    if (applied) {
        pump_all(a);
    }
    api_waiter_free(w);
}

/* The body as an object; empty bodies give an empty one. NULL with *error. */
static json_t *parse_body(const struct asset_request *q, struct js_error *error)
{
    json_error_t reason;
    if (q->body_len == 0) {
        return json_object();
    }
    json_t *o = json_parse(bytes_make(q->body, q->body_len), &reason);
    if (!json_is_object(o)) {
        json_decref(o);
        (void)js_failf(error, JS_INVALID_JSON, "invalid JSON: %s",
                       o == NULL ? reason.text : "not an object");
        return NULL;
    }
    return o;
}

/* For optional bodies: only what begins like JSON is looked at. */
static bool looks_like_json(const struct asset_request *q)
{
    for (size_t i = 0; i < q->body_len; i++) {
        if (strchr(" \t\r\n", q->body[i]) == NULL) {
            return q->body[i] == '{' || q->body[i] == '[';
        }
    }
    return false;
}

static void on_info(struct asset *a, const struct asset_request *q)
{
    struct js_error error;
    json_t *body = looks_like_json(q) ? parse_body(q, &error) : json_object();
    if (body == NULL) {
        reply_error(a, q, "stream_info_response", &error);
        return;
    }
    json_t *o = js_response("stream_info_response");
    const char *filter = json_text(body, "subjects_filter");
    json_put_int(o, "total", 0);
    json_put_int(o, "offset", json_int(body, "offset"));
    json_put_int(o, "limit", 0);
    add_stream_info(a, o);
    if (*filter != '\0' || json_bool(body, "deleted_details")) {
        json_t *state =
            state_json(a, json_bool(body, "deleted_details"), *filter == '\0' ? NULL : filter);
        size_t total = json_object_size(json_object_get(state, "subjects"));
        if (total > 0) {
            json_put_int(o, "total", (int64_t)total);
            json_put_int(o, "limit", 100000);
        } else {
            (void)json_object_del(state, "subjects");
        }
        json_put(o, "state", state);
    }
    js_reply(a->js, a->account, bytes_of(q->reply), o);
    json_decref(body);
}

static void on_purge(struct asset *a, const struct asset_request *q)
{
    static const char type[] = "stream_purge_response";
    struct js_error error = {0};
    json_t *body = looks_like_json(q) ? parse_body(q, &error) : json_object();
    int64_t seq = json_int(body, "seq");
    int64_t keep = json_int(body, "keep");
    if (body != NULL && a->stream->config.deny_purge) {
        (void)js_fail(&error, JS_PURGE_DENIED);
    } else if (body != NULL && ((seq > 0 && keep > 0) || seq < 0 || keep < 0)) {
        (void)js_fail(&error, JS_BAD_REQUEST);
    }
    if (error.err != JS_OK) {
        reply_error(a, q, type, &error);
    } else {
        struct buffer entry = {0};
        buffer_put_u8(&entry, ENTRY_PURGE);
        buffer_put_varint(&entry, (uint64_t)seq);
        buffer_put_varint(&entry, (uint64_t)keep);
        buffer_put_bytes(&entry, bytes_of(json_text(body, "filter")));
        propose_api(a, &entry, on_simple_done, api_waiter_new(q, type));
    }
    json_decref(body);
}

static char *base64(struct bytes b)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = mem_alloc((b.len + 2) / 3 * 4 + 1);
    size_t n = 0;
    for (size_t i = 0; i < b.len; i += 3) {
        unsigned v = (unsigned)(uint8_t)b.ptr[i] << 16;
        v |= i + 1 < b.len ? (unsigned)(uint8_t)b.ptr[i + 1] << 8 : 0;
        v |= i + 2 < b.len ? (unsigned)(uint8_t)b.ptr[i + 2] : 0;
        out[n++] = digits[v >> 18];
        out[n++] = digits[v >> 12 & 63];
        out[n++] = i + 1 < b.len ? digits[v >> 6 & 63] : '=';
        out[n++] = i + 2 < b.len ? digits[v & 63] : '=';
    }
    out[n] = '\0';
    return out;
}

static void put_base64(json_t *o, const char *key, struct bytes value)
{
    if (value.len > 0) {
        char *text = base64(value);
        json_put_text(o, key, text);
        free(text);
    }
}

/* Which message MSG.GET asks for. JetStream API reference §4.3. */
static enum err find_message(struct asset *a, const json_t *body, struct stored_message *m,
                             struct js_error *error)
{
    int64_t seq = json_int(body, "seq");
    const char *last = json_text(body, "last_by_subj");
    const char *next = json_text(body, "next_by_subj");
    const char *time = json_text(body, "start_time");
    bool bad = (*last != '\0' && (*next != '\0' || seq != 0 || *time != '\0')) ||
               (seq != 0 && *time != '\0') || seq < 0 || json_int(body, "batch") > 0 ||
               (*last == '\0' && *next == '\0' && *time == '\0' && seq == 0);
    int64_t ns = 0;
    if (*time != '\0' && !clock_parse_rfc3339(bytes_of(time), &ns)) {
        bad = true;
    }
    if (bad) {
        (void)js_fail(error, JS_BAD_REQUEST);
        return ERR_INVALID;
    }
    enum err err;
    if (*last != '\0') {
        err = stream_last_by_subject(a->stream, bytes_of(last), m);
    } else if (*next != '\0' || *time != '\0') {
        uint64_t from = *time != '\0' ? stream_seq_at(a->stream, ns) : (uint64_t)seq;
        char *filters[] = {(char *)(uintptr_t)next};
        err = stream_next(a->stream, from, filters, *next != '\0' ? 1 : 0, m);
    } else {
        err = stream_read(a->stream, (uint64_t)seq, m);
    }
    if (err != OK) {
        (void)js_fail(error, JS_NO_MESSAGE);
    }
    return err;
}

static void on_msg_get(struct asset *a, const struct asset_request *q)
{
    static const char type[] = "stream_msg_get_response";
    struct js_error error = {0};
    struct stored_message m;
    json_t *body = NULL;
    if (q->body_len == 0) {
        (void)js_fail(&error, JS_BAD_REQUEST);
    } else {
        body = parse_body(q, &error);
    }
    if (body == NULL || find_message(a, body, &m, &error) != OK) {
        reply_error(a, q, type, &error);
    } else {
        json_t *o = js_response(type);
        json_t *message = json_object();
        json_put_bytes(message, "subject", m.subject);
        json_put_u64(message, "seq", m.seq);
        if (!json_bool(body, "no_hdr")) {
            put_base64(message, "hdrs", m.header);
        }
        put_base64(message, "data", m.body);
        json_put_time(message, "time", m.time_ns);
        json_put(o, "message", message);
        js_reply(a->js, a->account, bytes_of(q->reply), o);
    }
    json_decref(body);
}

static void on_msg_delete(struct asset *a, const struct asset_request *q)
{
    static const char type[] = "stream_msg_delete_response";
    struct js_error error = {0};
    json_t *body = NULL;
    if (q->body_len == 0) {
        (void)js_fail(&error, JS_BAD_REQUEST);
    } else {
        body = parse_body(q, &error);
    }
    int64_t seq = json_int(body, "seq");
    const struct stream_totals *t = &a->stream->totals;
    if (body == NULL) {
        /* reported below */
    } else if (a->stream->config.deny_delete) {
        (void)js_failf(&error, JS_MESSAGE_DELETE, "message delete not permitted");
    } else if (seq <= 0) {
        (void)js_failf(&error, JS_MESSAGE_DELETE, "no message found");
    } else if ((uint64_t)seq > t->last_seq) {
        (void)js_failf(&error, JS_MESSAGE_DELETE, "stream store EOF");
    }
    if (error.err != JS_OK) {
        reply_error(a, q, type, &error);
    } else {
        struct buffer entry = {0};
        buffer_put_u8(&entry, ENTRY_DELETE);
        buffer_put_varint(&entry, (uint64_t)seq);
        propose_api(a, &entry, on_simple_done, api_waiter_new(q, type));
    }
    json_decref(body);
}

static void on_consumer_created(struct asset *a, void *arg, bool applied,
                                const struct apply_result *result)
{
    struct api_waiter *w = arg;
    if (applied && result->error.err != JS_OK) {
        js_reply_error(a->js, a->account, bytes_of(w->reply), w->type, &result->error);
    } else if (applied && result->consumer != NULL) {
        json_t *o = js_response(w->type);
        add_consumer_info(a, result->consumer, o);
        js_reply(a->js, a->account, bytes_of(w->reply), o);
        pulls_pump(result->consumer->leader);
    }
    api_waiter_free(w);
}

/* Names and filter: the subject's and the body's must agree. Consumers reference §1.1. */
static bool check_consumer_names(const struct asset *a, const struct asset_request *q,
                                 const json_t *body, struct consumer_config *c,
                                 struct js_error *error)
{
    json_t *config = json_object_get(body, "config");
    if (strcmp(json_text(body, "stream_name"), a->name) != 0) {
        return js_fail(error, JS_NAME_MISMATCH);
    }
    if (q->durable_form && *json_text(config, "durable_name") == '\0') {
        return js_fail(error, JS_CONSUMER_DURABLE_MISSING);
    }
    if (q->consumer != NULL) {
        if (c->durable && strcmp(c->name, q->consumer) != 0) {
            return js_fail(error, JS_CONSUMER_DURABLE_MISMATCH);
        }
        free(c->name);
        c->name = mem_strdup(q->consumer);
    } else if (c->durable) {
        return js_fail(error, JS_EPHEMERAL_WITH_DURABLE);
    }
    if (!c->durable) {
        return js_unsupported(error, "a consumer without durable_name (ephemeral)");
    }
    if (!js_name_is_valid(bytes_of(c->name))) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "consumer durable name can not contain '.', '*', "
                        "'>', '\\', '/'");
    }
    if (strlen(c->name) > JS_NAME_MAX) {
        return js_fail(error, JS_DURABLE_TOO_LONG);
    }
    if (q->filter != NULL && (c->filter_count != 1 || strcmp(c->filters[0], q->filter) != 0)) {
        return js_fail(error, JS_FILTER_MISMATCH);
    }
    return true;
}

static bool check_consumer_action(struct asset *a, const json_t *body,
                                  const struct consumer_config *c, struct js_error *error)
{
    const char *action = json_text(body, "action");
    struct consumer *known = map_get(&a->stream->consumers, bytes_of(c->name));
    if (*action != '\0' && strcmp(action, "create") != 0 && strcmp(action, "update") != 0) {
        return js_failf(error, JS_INVALID_JSON, "invalid JSON: unknown consumer action: \"%s\"",
                        action);
    }
    if (known == NULL) {
        int64_t max = a->stream->config.max_consumers;
        if (strcmp(action, "update") == 0) {
            return js_fail(error, JS_CONSUMER_MISSING);
        }
        return max <= 0 || a->stream->consumers.count < (uint64_t)max ||
               js_fail(error, JS_MAX_CONSUMERS);
    }
    if (strcmp(action, "create") == 0 && !consumer_config_equal(&known->config, c)) {
        return js_fail(error, JS_CONSUMER_EXISTS);
    }
    return consumer_config_check_update(&known->config, c, error);
}

static void on_consumer_create(struct asset *a, const struct asset_request *q)
{
    static const char type[] = "consumer_create_response";
    struct js_error error = {0};
    struct consumer_config c = {0};
    json_t *body = parse_body(q, &error);
    json_t *config = body == NULL ? NULL : json_object_get(body, "config");
    json_t *none = config == NULL ? json_object() : NULL;
    const char *key;
    json_t *value;
    json_object_foreach(body, key, value)
    {
        static const char *const known[] = {"stream_name", "config", "action", "pedantic"};
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            found = found || strcmp(known[i], key) == 0;
        }
        if (!found && error.err == JS_OK) {
            (void)js_failf(&error, JS_INVALID_JSON, "invalid JSON: json: unknown field \"%s\"",
                           key);
        }
    }
    bool ok = error.err == JS_OK && body != NULL &&
              consumer_config_parse(config == NULL ? none : config, &c, &error) &&
              check_consumer_names(a, q, body, &c, &error) &&
              check_consumer_action(a, body, &c, &error);
    if (!ok) {
        reply_error(a, q, type, &error);
    } else {
        struct buffer text = {0};
        struct buffer entry = {0};
        json_t *final = consumer_config_json(&c, false);
        json_write(&text, final, 0);
        json_decref(final);
        buffer_put_u8(&entry, ENTRY_CONSUMER);
        buffer_put_u64(&entry, (uint64_t)clock_now_ns());
        buffer_put_bytes(&entry, buffer_bytes(&text));
        buffer_deinit(&text);
        propose_api(a, &entry, on_consumer_created, api_waiter_new(q, type));
    }
    consumer_config_deinit(&c);
    json_decref(none);
    json_decref(body);
}

static void on_consumer_delete(struct asset *a, const struct asset_request *q)
{
    struct buffer entry = {0};
    buffer_put_u8(&entry, ENTRY_CONSUMER_DELETE);
    buffer_put_bytes(&entry, bytes_of(q->consumer));
    propose_api(a, &entry, on_simple_done, api_waiter_new(q, "consumer_delete_response"));
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
    add_consumer_info(a, c, o);
    js_reply(a->js, a->account, bytes_of(q->reply), o);
}

static void on_consumer_page(struct asset *a, const struct asset_request *q, bool names)
{
    struct js_error error = {0};
    const char *type = names ? "consumer_names_response" : "consumer_list_response";
    json_t *body = looks_like_json(q) ? parse_body(q, &error) : json_object();
    if (body == NULL) {
        reply_error(a, q, type, &error);
        return;
    }
    struct map_entry **sorted = map_sorted(&a->stream->consumers);
    int64_t total = a->stream->consumers.count;
    int64_t limit = names ? 1024 : 256;
    int64_t offset = json_int(body, "offset");
    offset = offset < 0 ? 0 : offset > total ? total : offset;
    json_t *list = json_array();
    for (int64_t i = offset; i < total && i < offset + limit; i++) {
        json_t *item;
        if (names) {
            item = json_stringn(sorted[i]->key.ptr, sorted[i]->key.len);
        } else {
            item = json_object();
            add_consumer_info(a, sorted[i]->value, item);
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
    json_decref(body);
}

void asset_request_free(struct asset_request *q)
{
    free(q->consumer);
    free(q->filter);
    free(q->body);
    free(q->reply);
    free(q);
}

static void run_request(void *arg)
{
    struct asset_request *q = arg;
    struct asset *a = assets_here;
    while (a != NULL && a != q->asset) { /* it may have been deleted while the request travelled */
        a = a->next;
    }
    if (a != NULL && a->leading && !a->broken) {
        switch (q->verb) {
        case ASSET_INFO:
            on_info(a, q);
            break;
        case ASSET_PURGE:
            on_purge(a, q);
            break;
        case ASSET_MSG_GET:
            on_msg_get(a, q);
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
    }
    asset_request_free(q);
}

void asset_request(struct shard *shard, struct asset_request *request)
{
    loop_post(shard_loop(shard), run_request, request);
}

/* --- the meta group's wishes --- */

void asset_echo(struct asset *a, const char *reply)
{
    if (a->leading) {
        json_t *o = js_response("stream_create_response");
        add_stream_info(a, o);
        json_put_bool(o, "did_create", true);
        js_reply(a->js, a->account, bytes_of(reply), o);
    }
}

static void on_updated(struct asset *a, void *arg, bool applied, const struct apply_result *result)
{
    (void)result;
    struct api_waiter *w = arg;
    if (applied) {
        unsubscribe(a); /* the subjects may be others now */
        subscribe(a);
        publisher_recount(&a->publisher);
        if (w->reply != NULL) {
            json_t *o = js_response("stream_update_response");
            add_stream_info(a, o);
            js_reply(a->js, a->account, bytes_of(w->reply), o);
        }
    }
    api_waiter_free(w);
}

static void propose_wanted_config(struct asset *a)
{
    if (a->wanted_config == NULL || !a->leading) {
        return;
    }
    struct buffer text = {0};
    struct buffer entry = {0};
    json_write(&text, a->wanted_config, 0);
    buffer_put_u8(&entry, ENTRY_CONFIG);
    buffer_put_bytes(&entry, buffer_bytes(&text));
    struct api_waiter *w = NEW(struct api_waiter);
    w->reply = a->update_reply;
    a->update_reply = NULL;
    propose_api(a, &entry, on_updated, w);
    buffer_deinit(&text);
    json_decref(a->wanted_config);
    a->wanted_config = NULL;
}

void asset_config_changed(struct asset *a, json_t *config, const char *reply)
{
    json_decref(a->wanted_config);
    a->wanted_config = json_incref(config);
    option_set(&a->update_reply, reply);
    propose_wanted_config(a);
}

/* --- life --- */

struct asset *asset_next(struct asset *after)
{
    return after == NULL ? assets_here : after->next;
}

struct asset *asset_open(struct jetstream *js, struct shard *shard, const struct assignment *as,
                         bool fresh, const char *reply, struct error *error)
{
    struct asset *a = NEW(struct asset);
    a->js = js;
    a->shard = shard;
    a->name = mem_strdup(as->stream);
    a->account = accounts_get(broker_accounts(js->broker), bytes_of(as->account));
    memcpy(a->peers, as->peers, sizeof a->peers);
    a->peer_count = as->peer_count;
    struct stream_config config;
    struct js_error js_error;
    if (!stream_config_parse(as->first_config, true, &config, &js_error)) {
        (void)error_set(error, ERR_CORRUPT, "its configuration is not understood: %s",
                        js_error.text);
        free(a->name);
        free(a);
        return NULL;
    }
    a->stream = stream_new(&config, as->created_ns, read_entry, a);
    publisher_init(&a->publisher, a->stream);
    a->create_reply = reply == NULL ? NULL : mem_strdup(reply);
    if (!json_equal(as->first_config, as->config)) {
        json_t *now = stream_config_json(&a->stream->config, false);
        a->wanted_config = json_equal(now, as->config) ? NULL : json_incref(as->config);
        json_decref(now);
    }
    a->group = group_open(shard, as->group, as->peers, as->peer_count, fresh, &asset_ops, a, error);
    if (a->group == NULL) {
        publisher_deinit(&a->publisher);
        stream_free(a->stream);
        json_decref(a->wanted_config);
        free(a->create_reply);
        free(a->name);
        free(a);
        return NULL;
    }
    a->next = assets_here;
    assets_here = a;
    return a;
}

static void asset_free(struct asset *a)
{
    for (struct asset **at = &assets_here; *at != NULL; at = &(*at)->next) {
        if (*at == a) {
            *at = a->next;
            break;
        }
    }
    stream_free(a->stream);
    publisher_deinit(&a->publisher);
    buffer_deinit(&a->builder.data);
    buffer_deinit(&a->builder_replies);
    map_deinit(&a->waiting);
    free(a->dups);
    json_decref(a->wanted_config);
    free(a->update_reply);
    free(a->create_reply);
    free(a->name);
    free(a);
}

void asset_delete(struct asset *a, const char *reply)
{
    bool answers = a->leading;
    if (a->leading) {
        step_down(a, "409 Consumer Deleted");
    }
    if (answers && reply != NULL) {
        json_t *o = js_response("stream_delete_response");
        json_put_bool(o, "success", true);
        js_reply(a->js, a->account, bytes_of(reply), o);
    }
    group_destroy(a->group);
    asset_free(a);
}

void asset_close(struct asset *a)
{
    if (a->leading) {
        step_down(a, "409 Server Shutdown");
    }
    group_close(a->group, true);
    asset_free(a);
}
