/* The state of a stream as bytes: checkpoints on disk, snapshots for replicas that fell behind. */
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "jetstream/state/stream.h"
#include "jetstream/state/stream_internal.h"

enum { STATE_WHOLE = 1, STATE_HEAD = 2 /* the rest is in rows */ };
enum form { WHOLE, SORTED, HEAD };

static void put_json(struct buffer *out, json_t *json)
{
    struct buffer text = {0};
    json_write(&text, json, 0);
    buffer_put_bytes(out, buffer_bytes(&text));
    buffer_deinit(&text);
    json_decref(json);
}

static void put_consumer(struct buffer *out, const struct consumer *c)
{
    put_json(out, consumer_config_json(&c->config, false));
    buffer_put_u64(out, (uint64_t)c->created_ns);
    buffer_put_varint(out, c->delivered_seq);
    buffer_put_varint(out, c->delivered_stream_seq);
    buffer_put_varint(out, c->floor_seq);
    buffer_put_varint(out, c->floor_stream_seq);
    buffer_put_u64(out, (uint64_t)c->last_delivered_ns);
    buffer_put_u64(out, (uint64_t)c->last_acked_ns);
    buffer_put_varint(out, c->filtered_left);
    buffer_put_varint(out, c->start_seq);
    buffer_put_u8(out, c->has_filter);
    buffer_put_varint(out, c->ack_pending);
    for (uint32_t i = c->pending_from; i < c->pending_count; i++) {
        const struct pending_message *p = &c->pending[i];
        if ((p->stream_seq >> 63) == 0) {
            buffer_put_varint(out, p->stream_seq);
            buffer_put_varint(out, p->consumer_seq);
            buffer_put_u64(out, (uint64_t)p->due_ns);
            buffer_put_varint(out, p->deliveries);
        }
    }
}

static uint64_t holes_in(const struct stream *s, const struct stream_entry *e)
{
    return holes_below(&s->deleted, e->first_seq + e->count) -
           holes_below(&s->deleted, e->first_seq);
}

void stream_encode_entries(const struct stream *s, uint32_t from, uint32_t to, struct buffer *out)
{
    uint64_t index = 0;
    uint64_t seq = 0;
    uint64_t live = 0;
    uint64_t holes = 0;
    for (uint32_t i = from; i < to; i++) {
        live += s->entries[i].live > 0;
    }
    buffer_put_varint(out, live);
    for (uint32_t i = from; i < to; i++) {
        const struct stream_entry *e = &s->entries[i];
        if (e->live > 0) {
            buffer_put_varint(out, e->index - index);
            buffer_put_varint(out, e->first_seq - seq);
            buffer_put_varint(out, e->count);
            buffer_put_varint(out, e->live);
            index = e->index;
            seq = e->first_seq;
            holes += holes_in(s, e);
        }
    }
    seq = 0;
    buffer_put_varint(out, holes);
    for (uint32_t i = from; i < to; i++) {
        const struct stream_entry *e = &s->entries[i];
        struct hole hole = {.to = e->first_seq - 1};
        uint64_t end = e->first_seq + e->count;
        while (e->live > 0 && holes_next(&s->deleted, hole.to + 1, &hole) && hole.from < end) {
            uint64_t at = hole.from < e->first_seq ? e->first_seq : hole.from;
            for (; at <= hole.to && at < end; at++) {
                buffer_put_varint(out, at - seq);
                seq = at;
            }
        }
    }
}

static void put_subject(struct buffer *out, const struct subject_state *state, uint64_t last_seq)
{
    buffer_put_bytes(out, bytes_make(state->subject, state->len));
    buffer_put_varint(out, state->count);
    buffer_put_varint(out, last_seq);
}

/* A last sequence that is to be looked for stays so. */
static void put_subjects(struct buffer *out, struct stream *s)
{
    struct map_entry *e;
    buffer_put_varint(out, s->subjects.count);
    for (uint32_t i = 0; (e = map_next(&s->subjects, &i)) != NULL;) {
        const struct subject_state *state = e->value;
        put_subject(out, state, state->last_seq);
    }
}

/* Two replicas may have met the subjects in another order after a restart. */
static void put_subjects_sorted(struct buffer *out, struct stream *s)
{
    struct map_entry **subjects = map_sorted(&s->subjects);
    buffer_put_varint(out, s->subjects.count);
    for (uint32_t i = 0; subjects[i] != NULL; i++) {
        put_subject(out, subjects[i]->value, stream_subject_last(s, subjects[i]->key));
    }
    free(subjects);
}

static void encode(struct stream *s, enum form form, struct buffer *out)
{
    buffer_put_u8(out, form == HEAD ? STATE_HEAD : STATE_WHOLE);
    put_json(out, stream_config_json(&s->config, false));
    buffer_put_u64(out, (uint64_t)s->created_ns);
    const struct stream_totals *t = &s->totals;
    buffer_put_varint(out, t->first_seq);
    buffer_put_varint(out, t->last_seq);
    buffer_put_varint(out, t->messages);
    buffer_put_varint(out, t->bytes);
    buffer_put_u64(out, (uint64_t)t->first_ns);
    buffer_put_u64(out, (uint64_t)t->last_ns);
    buffer_put_u64(out, s->content_hash);
    buffer_put_bytes(out, bytes_of(s->last_msg_id));
    if (form != HEAD) {
        stream_encode_entries(s, s->entries_from, s->entries_count, out);
        (form == SORTED ? put_subjects_sorted : put_subjects)(out, s);
    }
    buffer_put_varint(out, s->seen_count - s->seen_from);
    for (uint32_t i = s->seen_from; i < s->seen_count; i++) {
        const struct seen_order *o = &s->seen_order[i];
        buffer_put_bytes(out, bytes_make(o->id, o->len));
        buffer_put_varint(out, o->seq);
        buffer_put_u64(out, (uint64_t)o->time_ns);
    }
    struct map_entry **consumers = map_sorted(&s->consumers);
    buffer_put_varint(out, s->consumers.count);
    for (uint32_t i = 0; consumers[i] != NULL; i++) {
        put_consumer(out, consumers[i]->value);
    }
    free(consumers);
}

void stream_encode(struct stream *s, struct buffer *out)
{
    encode(s, WHOLE, out);
}

void stream_encode_sorted(struct stream *s, struct buffer *out)
{
    encode(s, SORTED, out);
}

void stream_encode_head(struct stream *s, struct buffer *out)
{
    encode(s, HEAD, out);
}

/* A count is believed only as far as the bytes that are left could hold that many items. */
static uint64_t read_count(struct reader *r, size_t item_min)
{
    uint64_t count = reader_varint(r);
    if (r->bad || count > (uint64_t)(r->end - r->at) / item_min) {
        r->bad = true;
        return 0;
    }
    return count;
}

static json_t *read_json(struct reader *r)
{
    struct bytes text = reader_bytes(r);
    json_t *json = r->bad ? NULL : json_read(text);
    r->bad = r->bad || json == NULL;
    return json;
}

static void read_consumer(struct stream *s, struct reader *r)
{
    struct js_error error;
    struct consumer *c = NEW(struct consumer);
    json_t *json = read_json(r);
    if (r->bad || !consumer_config_parse(json, &c->config, &error) || c->config.name == NULL) {
        r->bad = true;
    }
    json_decref(json);
    c->created_ns = reader_time(r);
    c->delivered_seq = reader_varint(r);
    c->delivered_stream_seq = reader_varint(r);
    c->floor_seq = reader_varint(r);
    c->floor_stream_seq = reader_varint(r);
    c->last_delivered_ns = reader_time(r);
    c->last_acked_ns = reader_time(r);
    c->filtered_left = reader_varint(r);
    c->start_seq = reader_varint(r);
    c->has_filter = reader_u8(r) != 0;
    uint64_t pending = read_count(r, 11);
    for (uint64_t i = 0; i < pending && !r->bad; i++) {
        struct pending_message p;
        p.stream_seq = reader_varint(r);
        p.consumer_seq = reader_varint(r);
        p.due_ns = reader_deadline(r);
        p.due_mono_ns = 0;
        p.deliveries = (uint32_t)reader_varint(r);
        bool ascends =
            c->pending_count == 0 || c->pending[c->pending_count - 1].stream_seq < p.stream_seq;
        r->bad = r->bad || !ascends || (p.stream_seq >> 63) != 0;
        VEC_RESERVE(c->pending, c->pending_cap, c->pending_count);
        c->pending[c->pending_count++] = p;
        c->ack_pending++;
    }
    if (r->bad || map_get(&s->consumers, bytes_of(c->config.name)) != NULL) {
        r->bad = true;
        consumer_free(c);
        return;
    }
    (void)map_put(&s->consumers, bytes_of(c->config.name), c);
}

static const struct stream_entry *last_entry(const struct stream *s)
{
    return s->entries_count == 0 ? NULL : &s->entries[s->entries_count - 1];
}

/* The sequence behind the entries so far, or first_seq. */
static uint64_t end_of_entries(const struct stream *s)
{
    const struct stream_entry *last = last_entry(s);
    return last == NULL ? s->totals.first_seq : last->first_seq + last->count;
}

static bool add_entry(struct stream *s, const struct stream_entry *e)
{
    const struct stream_entry *before = last_entry(s);
    uint64_t end = end_of_entries(s);
    uint64_t from = e->first_seq < s->totals.first_seq ? s->totals.first_seq : e->first_seq;
    if (e->live > e->count || from < end || e->first_seq > s->totals.last_seq ||
        e->count > s->totals.last_seq + 1 - e->first_seq ||
        (before != NULL && before->index >= e->index)) {
        return false;
    }
    if (from > end) {
        holes_add(&s->deleted, end, from - 1);
    }
    VEC_RESERVE(s->entries, s->entries_cap, s->entries_count);
    s->entries[s->entries_count++] = *e;
    return true;
}

void stream_decode_entries(struct stream *s, struct reader *r)
{
    struct stream_entry e = {0};
    for (uint64_t left = read_count(r, 4); left > 0 && !r->bad; left--) {
        e.index += reader_varint(r);
        e.first_seq += reader_varint(r);
        e.count = (uint32_t)reader_varint(r);
        e.live = (uint32_t)reader_varint(r);
        bool gone = e.first_seq < s->totals.first_seq &&
                    e.count <= s->totals.first_seq - e.first_seq; /* below first_seq */
        bool there = e.live > 0 && !gone;
        r->bad = r->bad || (there && !add_entry(s, &e));
    }
    uint64_t seq = 0;
    for (uint64_t left = read_count(r, 1); left > 0 && !r->bad; left--) {
        seq += reader_varint(r);
        r->bad = r->bad || seq > s->totals.last_seq;
        if (!r->bad && seq >= s->totals.first_seq) {
            holes_add(&s->deleted, seq, seq);
        }
    }
}

bool stream_decode_settle(struct stream *s)
{
    const struct stream_totals *t = &s->totals;
    uint64_t end = end_of_entries(s);
    uint64_t live = 0;
    uint64_t counted = 0;
    struct map_entry *e;
    if (end <= t->last_seq) {
        holes_add(&s->deleted, end, t->last_seq);
    }
    for (uint32_t i = 0; i < s->entries_count; i++) {
        live += s->entries[i].live;
        if (s->entries[i].live <= s->entries[i].count / 2) {
            stream_note_sparse(s, &s->entries[i]);
        }
    }
    for (uint32_t i = 0; (e = map_next(&s->subjects, &i)) != NULL;) {
        const struct subject_state *subject = e->value;
        counted += subject->count;
    }
    return live == t->messages && counted == t->messages &&
           t->first_seq + t->messages + s->deleted.total == t->last_seq + 1;
}

static void read_subjects(struct stream *s, struct reader *r)
{
    uint64_t subjects = read_count(r, 3);
    for (uint64_t i = 0; i < subjects && !r->bad; i++) {
        struct bytes subject = reader_bytes(r);
        if (r->bad || map_get(&s->subjects, subject) != NULL) {
            r->bad = true;
            break;
        }
        struct subject_state *st = stream_add_subject(s, subject);
        st->count = reader_varint(r);
        st->last_seq = reader_varint(r);
    }
}

enum err stream_decode(struct stream *s, struct bytes state)
{
    struct reader r = reader_make(state);
    struct js_error error;
    uint8_t version = reader_u8(&r);
    if (version != STATE_WHOLE && version != STATE_HEAD) {
        return ERR_CORRUPT;
    }
    json_t *json = read_json(&r);
    struct stream_config config;
    bool ok = json != NULL && stream_config_parse(json, true, &config, &error);
    json_decref(json);
    if (!ok) {
        return ERR_CORRUPT;
    }
    stream_config_deinit(&s->config);
    s->config = config;
    s->created_ns = reader_time(&r);
    s->totals.first_seq = reader_varint(&r);
    s->totals.last_seq = reader_varint(&r);
    s->totals.messages = reader_varint(&r);
    s->totals.bytes = reader_varint(&r);
    s->totals.first_ns = reader_time(&r);
    s->totals.last_ns = reader_time(&r);
    s->content_hash = reader_u64(&r);
    struct bytes last_id = reader_bytes(&r);
    s->last_msg_id = last_id.len == 0 ? NULL : mem_dup(last_id.ptr, last_id.len);
    s->changes.all = version == STATE_WHOLE;
    if (version == STATE_WHOLE) {
        stream_decode_entries(s, &r);
        read_subjects(s, &r);
        r.bad = r.bad || !stream_decode_settle(s);
    }
    uint64_t ids = read_count(&r, 10);
    for (uint64_t i = 0; i < ids && !r.bad; i++) {
        struct bytes id = reader_bytes(&r);
        uint64_t seq = reader_varint(&r);
        int64_t time_ns = reader_time(&r);
        if (!r.bad) {
            stream_remember_id(s, id, seq, time_ns);
        }
    }
    uint64_t consumers = read_count(&r, 20);
    for (uint64_t i = 0; i < consumers && !r.bad; i++) {
        read_consumer(s, &r);
    }
    return reader_done(&r) ? OK : ERR_CORRUPT;
}
