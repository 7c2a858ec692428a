#include "jetstream/state/publish.h"

#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/time_math.h"

struct proposed_message {
    uint64_t seq;
    uint64_t bytes;
    char *subject; /* owned */
    char *id;      /* owned; NULL none */
};

void publisher_init(struct publisher *p, struct stream *stream)
{
    *p = (struct publisher){.stream = stream};
    publisher_reset(p);
}

static void forget(struct proposed_message *m)
{
    free(m->subject);
    free(m->id);
}

static void clear(struct publisher *p)
{
    for (uint32_t i = p->queue_from; i < p->queue_count; i++) {
        forget(&p->queue[i]);
    }
    p->queue_from = p->queue_count = 0;
    map_clear(&p->ids);
    map_clear(&p->subjects);
    free(p->last_msg_id);
    p->last_msg_id = NULL;
}

void publisher_reset(struct publisher *p)
{
    if (BUG(BUG_PUBLISHER_KEEPS_VIEW) && p->last_seq > 0) {
        return;
    }
    clear(p);
    p->last_seq = p->stream->totals.last_seq;
    publisher_recount(p);
}

void publisher_deinit(struct publisher *p)
{
    clear(p);
    free(p->queue);
    p->queue = NULL;
}

void publisher_recount(struct publisher *p)
{
    p->messages = p->stream->totals.messages;
    p->bytes = p->stream->totals.bytes;
    for (uint32_t i = p->queue_from; i < p->queue_count; i++) {
        p->messages++;
        p->bytes += p->queue[i].bytes;
    }
    if (p->queue_from == p->queue_count && p->stream->totals.last_seq > p->last_seq) {
        p->last_seq = p->stream->totals.last_seq; /* a purge may jump forward */
    }
}

static void *seq_value(uint64_t seq)
{
    return (void *)(uintptr_t)seq;
}

static bool busy(const struct publisher *p)
{
    return p->queue_from < p->queue_count;
}

static struct publish_decision refuse(enum js_err err)
{
    struct publish_decision d = {.action = PUBLISH_REFUSED};
    (void)js_fail(&d.error, err);
    return d;
}

/* Numbers that do not parse count as the largest: they never match (API reference §6.2). */
static uint64_t header_number(struct bytes text)
{
    uint64_t v;
    return bytes_to_u64(text, &v) ? v : UINT64_MAX;
}

static struct publish_decision wrong_last(uint64_t actual)
{
    struct publish_decision d = {.action = PUBLISH_REFUSED};
    (void)js_failf(&d.error, JS_WRONG_LAST_SEQ, "wrong last sequence: %llu",
                   (unsigned long long)actual);
    return d;
}

static bool check_expected(struct publisher *p, struct bytes subject, struct bytes header,
                           struct publish_decision *d)
{
    struct bytes v;
    if (header_find(header, "Nats-Expected-Last-Sequence", &v) && header_number(v) != p->last_seq) {
        *d = wrong_last(p->last_seq);
        return false;
    }
    if (header_find(header, "Nats-Expected-Last-Subject-Sequence", &v)) {
        struct bytes other;
        if (header_find(header, "Nats-Expected-Last-Subject-Sequence-Subject", &other)) {
            *d = refuse(JS_STREAM_CONFIG);
            (void)js_unsupported(&d->error, "Nats-Expected-Last-Subject-Sequence-Subject");
            return false;
        }
        void *under_way = map_get(&p->subjects, subject);
        uint64_t actual = under_way != NULL ? (uint64_t)(uintptr_t)under_way
                                            : stream_subject_last(p->stream, subject);
        if (header_number(v) != actual) {
            *d = wrong_last(actual);
            return false;
        }
    }
    if (header_find(header, "Nats-Expected-Last-Msg-Id", &v)) {
        const char *last = busy(p) ? p->last_msg_id : p->stream->last_msg_id;
        struct bytes actual = bytes_of(last == NULL ? "" : last);
        if (!bytes_eq(v, actual)) {
            *d = (struct publish_decision){.action = PUBLISH_REFUSED};
            (void)js_failf(&d->error, JS_WRONG_LAST_MSG_ID, "wrong last msg ID: %.*s",
                           BYTES_ARG(actual));
            return false;
        }
    }
    return true;
}

/* Headers of features that streams of this version cannot have switched on. */
static bool check_features(struct bytes header, struct publish_decision *d)
{
    static const struct {
        const char *header;
        enum js_err err;
    } features[] = {{"Nats-TTL", JS_TTL_DISABLED},
                    {"Nats-Rollup", JS_ROLLUP},
                    {"Nats-Incr", JS_COUNTER_DISABLED},
                    {"Nats-Batch-Id", JS_ATOMIC_DISABLED},
                    {"Nats-Schedule", JS_SCHEDULES_DISABLED}};
    struct bytes v;
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (header_find(header, features[i].header, &v)) {
            *d = refuse(features[i].err);
            return false;
        }
    }
    return true;
}

static bool check_limits(const struct publisher *p, uint64_t bytes, struct publish_decision *d)
{
    const struct stream_config *c = &p->stream->config;
    if (c->discard != DISCARD_NEW) {
        return true;
    }
    const char *text =
        c->max_msgs > 0 && p->messages >= (uint64_t)c->max_msgs ? "maximum messages exceeded"
        : c->max_bytes > 0 && p->bytes + bytes > (uint64_t)c->max_bytes ? "maximum bytes exceeded"
                                                                        : NULL;
    if (text != NULL) {
        *d = (struct publish_decision){.action = PUBLISH_REFUSED};
        (void)js_failf(&d->error, JS_STORE_FAILED, "%s", text);
    }
    return text == NULL;
}

static bool is_duplicate(struct publisher *p, struct bytes id, int64_t now_ns, uint64_t *seq)
{
    void *under_way = map_get(&p->ids, id);
    if (under_way != NULL) {
        *seq = (uint64_t)(uintptr_t)under_way;
        return true;
    }
    const struct seen_id *seen = map_get(&p->stream->seen, id);
    if (seen == NULL || seen->time_ns <= time_sub(now_ns, p->stream->config.duplicate_window_ns)) {
        return false;
    }
    *seq = seen->seq;
    return true;
}

struct publish_decision publisher_decide(struct publisher *p, struct bytes subject,
                                         struct bytes header, struct bytes body, int64_t now_ns)
{
    struct publish_decision d = {0};
    const struct stream_config *c = &p->stream->config;
    struct bytes id = BYTES_NONE;
    struct bytes v;
    if ((c->max_msg_size > 0 && header.len + body.len > (uint64_t)c->max_msg_size) ||
        header.len + body.len > PUBLISH_BYTES_MAX) {
        return refuse(JS_MESSAGE_TOO_BIG);
    }
    uint64_t bytes = message_bytes(subject.len, header.len, body.len);
    if (header.len > 0) {
        if (header.len > 65535) {
            return refuse(JS_HEADER_TOO_LARGE);
        }
        if (header_find(header, "Nats-Expected-Stream", &v) && !bytes_is(v, c->name)) {
            return refuse(JS_EXPECTED_STREAM);
        }
        if (!check_features(header, &d)) {
            return d;
        }
        if (header_find(header, "Nats-Msg-Id", &id) && is_duplicate(p, id, now_ns, &d.seq)) {
            d.action = PUBLISH_DUPLICATE;
            return d;
        }
        if (!check_expected(p, subject, header, &d)) {
            return d;
        }
    }
    if (!check_limits(p, bytes, &d)) {
        return d;
    }
    if (p->last_seq >= SEQ_LAST) {
        d.action = PUBLISH_REFUSED;
        (void)js_failf(&d.error, JS_STORE_FAILED, "no sequence is left");
        return d;
    }
    d.action = PUBLISH_STORE;
    d.seq = ++p->last_seq;
    p->messages++;
    p->bytes += bytes;
    VEC_RESERVE(p->queue, p->queue_cap, p->queue_count);
    struct proposed_message *m = &p->queue[p->queue_count++];
    *m = (struct proposed_message){d.seq, bytes, NULL, NULL};
    /* Subjects matter only to those who ask for them; ids always. */
    m->subject = mem_dup(subject.ptr, subject.len);
    (void)map_put(&p->subjects, subject, seq_value(d.seq));
    free(p->last_msg_id);
    p->last_msg_id = id.len == 0 ? NULL : mem_dup(id.ptr, id.len);
    if (id.len > 0) {
        m->id = mem_dup(id.ptr, id.len);
        (void)map_put(&p->ids, id, seq_value(d.seq));
    }
    return d;
}

void publisher_purging(struct publisher *p, uint64_t before)
{
    if (before > p->last_seq + 1 && before <= SEQ_LAST + 1 && !BUG(BUG_PURGE_UNSEEN)) {
        p->last_seq = before - 1;
    }
}

void publisher_applied(struct publisher *p, uint64_t seq)
{
    while (busy(p) && p->queue[p->queue_from].seq <= seq) {
        struct proposed_message *m = &p->queue[p->queue_from++];
        if (map_get(&p->subjects, bytes_of(m->subject)) == seq_value(m->seq)) {
            (void)map_remove(&p->subjects, bytes_of(m->subject));
        }
        if (m->id != NULL && map_get(&p->ids, bytes_of(m->id)) == seq_value(m->seq)) {
            (void)map_remove(&p->ids, bytes_of(m->id));
        }
        forget(m);
    }
    if (!busy(p)) {
        p->queue_from = p->queue_count = 0;
    } else if (p->queue_from > 1024 && p->queue_from > p->queue_count / 2) {
        p->queue_count -= p->queue_from;
        memmove(p->queue, p->queue + p->queue_from, p->queue_count * sizeof *p->queue);
        p->queue_from = 0;
    }
    p->messages = p->stream->totals.messages + (p->queue_count - p->queue_from);
    if (p->stream->config.discard == DISCARD_NEW) {
        publisher_recount(p);
    }
}
