/* Consumers inside their stream's state machine. Consumers reference §3 to §5. */
#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/check.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/time_math.h"
#include "core/subject/pattern_set.h"
#include "core/subject/subject.h"
#include "jetstream/state/stream.h"
#include "jetstream/state/stream_internal.h"

/* (1) floor_stream_seq <= delivered_stream_seq.
 * (2) pending is ascending in stream_seq over its live ones; ack_pending is their number.
 * (3) With has_filter, filtered_left = live messages behind delivered_stream_seq that match. That
 * rests on DELIVER entries that leave out none of them and name no others, as leaders propose; it
 * would take reading the messages to see, so nothing is CHECKed that builds on it. */

void consumer_free(struct consumer *c)
{
    consumer_config_deinit(&c->config);
    free(c->pending);
    free(c);
}

static bool wants(const struct consumer *c, struct bytes subject)
{
    return filters_match(consumer_filters(&c->config), subject);
}

static bool filters_cover_stream(const struct stream *s, const struct consumer *c)
{
    const struct pattern_set *set = c->config.filter_set;
    for (uint32_t i = 0; i < s->config.subject_count; i++) {
        struct bytes subject = bytes_of(s->config.subjects[i]);
        bool covered = set != NULL && pattern_set_covering(set, subject, 1) > 0;
        for (uint32_t k = 0; set == NULL && k < c->config.filter_count && !covered; k++) {
            covered = subject_covers(bytes_of(c->config.filters[k]), subject);
        }
        if (!covered) {
            return false;
        }
    }
    return true;
}

void consumer_refilter(struct stream *s, struct consumer *c)
{
    c->has_filter = c->config.filter_count > 0 && !filters_cover_stream(s, c);
    c->filtered_left = !c->has_filter ? 0
                                      : stream_count_matching(s, c->delivered_stream_seq + 1,
                                                              consumer_filters(&c->config));
}

uint64_t consumer_left(const struct stream *s, const struct consumer *c)
{
    return c->has_filter ? c->filtered_left
                         : stream_count_between(s, c->delivered_stream_seq + 1, UINT64_MAX);
}

/* --- pending --- */

#define GONE (UINT64_C(1) << 63) /* with this bit a hole keeps its place in the order */

static uint32_t pending_at(const struct consumer *c, uint64_t seq)
{
    uint32_t low = c->pending_from;
    uint32_t high = c->pending_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((c->pending[middle].stream_seq & ~GONE) < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_live(const struct pending_message *p)
{
    return (p->stream_seq & GONE) == 0;
}

struct pending_message *consumer_pending(struct consumer *c, uint64_t stream_seq)
{
    if (stream_seq > SEQ_LAST) {
        return NULL; /* it might be taken for a hole */
    }
    uint32_t at = pending_at(c, stream_seq);
    return at < c->pending_count && c->pending[at].stream_seq == stream_seq ? &c->pending[at]
                                                                            : NULL;
}

static void squeeze(struct consumer *c)
{
    while (c->pending_from < c->pending_count && !is_live(&c->pending[c->pending_from])) {
        c->pending_from++;
    }
    if (c->pending_count - c->pending_from > 2 * c->ack_pending + 64 || c->pending_from > 4096 ||
        c->ack_pending == 0) {
        uint32_t n = 0;
        for (uint32_t i = c->pending_from; i < c->pending_count; i++) {
            if (is_live(&c->pending[i])) {
                c->pending[n++] = c->pending[i];
            }
        }
        c->pending_from = 0;
        c->pending_count = n;
        CHECK(n == c->ack_pending);
    }
}

static void add_pending(struct consumer *c, struct pending_message p)
{
    uint32_t at = pending_at(c, p.stream_seq);
    if (at < c->pending_count && (c->pending[at].stream_seq & ~GONE) == p.stream_seq) {
        c->pending[at] = p; /* its own hole */
    } else {
        VEC_RESERVE(c->pending, c->pending_cap, c->pending_count);
        memmove(c->pending + at + 1, c->pending + at, (c->pending_count - at) * sizeof *c->pending);
        c->pending[at] = p;
        c->pending_count++;
    }
    c->ack_pending++;
}

/* §4.2: the floor follows the lowest pending message. */
static void settle(struct consumer *c, struct pending_message *p)
{
    uint64_t stream_seq = p->stream_seq;
    uint64_t consumer_seq = p->consumer_seq;
    p->stream_seq |= GONE;
    c->ack_pending--;
    squeeze(c);
    if (c->ack_pending == 0) {
        c->floor_seq = c->delivered_seq;
        c->floor_stream_seq = c->delivered_stream_seq;
    } else if (consumer_seq == c->floor_seq + 1) {
        const struct pending_message *lowest = &c->pending[c->pending_from];
        c->floor_seq = consumer_seq;
        c->floor_stream_seq = stream_seq;
        if (lowest->stream_seq > stream_seq) {
            c->floor_stream_seq = lowest->stream_seq - 1;
            if (lowest->consumer_seq > consumer_seq) {
                c->floor_seq = lowest->consumer_seq - 1;
            }
        }
    }
}

int64_t consumer_wait_ns(const struct consumer *c, uint32_t deliveries)
{
    if (c->config.backoff_count == 0) {
        return c->config.ack_wait_ns;
    }
    uint32_t i = deliveries == 0 ? 0 : deliveries - 1;
    uint32_t last = c->config.backoff_count - 1;
    return c->config.backoff_ns[i < last ? i : last];
}

/* Time that has passed between a delivery and its being applied here, or a restart, counts; what
 * the clock was set back or is behind the leader's does not. */
static int64_t wait_left(int64_t due_ns, int64_t logged_ns, int64_t wall_ns)
{
    return time_until(due_ns, wall_ns > logged_ns ? wall_ns : logged_ns);
}

int64_t consumer_due_mono_ns(const struct consumer *c, const struct pending_message *p,
                             int64_t wall_ns, int64_t mono_ns)
{
    int64_t logged =
        c->last_delivered_ns > c->last_acked_ns ? c->last_delivered_ns : c->last_acked_ns;
    return p->due_mono_ns != 0 ? p->due_mono_ns
                               : time_after(mono_ns, wait_left(p->due_ns, logged, wall_ns));
}

/* Its redelivery is due when the entry of `now` is that old. */
static void wait_for(const struct stream *s, struct pending_message *p, int64_t now, int64_t wait)
{
    p->due_ns =
        BUG(BUG_WAIT_WRAPS) ? (int64_t)((uint64_t)now + (uint64_t)wait) : time_after(now, wait);
    p->due_mono_ns = s->here.mono_ns == 0
                         ? 0
                         : time_after(s->here.mono_ns, wait_left(p->due_ns, now, s->here.wall_ns));
}

uint64_t consumer_redelivered(const struct consumer *c)
{
    uint64_t count = 0;
    for (uint32_t i = c->pending_from; i < c->pending_count; i++) {
        count += is_live(&c->pending[i]) && c->pending[i].deliveries > 1;
    }
    return count;
}

/* --- the stream's changes --- */

void consumers_on_store(struct stream *s, const struct stored_message *m)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        if (c->has_filter && m->seq > c->delivered_stream_seq && wants(c, m->subject)) {
            c->filtered_left++;
        }
    }
}

void consumers_on_remove(struct stream *s, uint64_t seq, struct bytes subject)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        struct pending_message *p = consumer_pending(c, seq);
        if (p != NULL) {
            settle(c, p);
        }
        bool counted = c->has_filter && seq > c->delivered_stream_seq && subject.len > 0;
        if (counted && wants(c, subject) && c->filtered_left > 0) {
            c->filtered_left--;
        }
    }
}

void consumers_on_first(struct stream *s)
{
    uint64_t gone = s->totals.first_seq - 1;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        while (c->ack_pending > 0 && c->pending[c->pending_from].stream_seq <= gone) {
            settle(c, &c->pending[c->pending_from]);
        }
        if (c->delivered_stream_seq < gone) {
            c->delivered_stream_seq = gone;
        }
        if (c->floor_stream_seq < gone) {
            c->floor_stream_seq = gone;
        }
        if (c->ack_pending == 0) {
            c->floor_seq = c->delivered_seq;
            c->floor_stream_seq = c->delivered_stream_seq;
        }
    }
}

void consumers_on_loss(struct stream *s)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        uint64_t seq = 0;
        for (uint32_t at = 0; (at = pending_at(c, seq)) < c->pending_count;) {
            struct pending_message *p = &c->pending[at];
            seq = (p->stream_seq & ~GONE) + 1;
            if (is_live(p) && stream_count_between(s, p->stream_seq, p->stream_seq) == 0) {
                settle(c, p);
            }
        }
        consumer_refilter(s, c);
    }
    consumers_on_first(s);
}

/* --- entries --- */

/* §3: one below the first sequence to deliver. */
static uint64_t starting_point(struct stream *s, const struct consumer_config *c)
{
    struct stored_message m;
    uint64_t best = 0;
    uint64_t first = s->totals.first_seq > 0 ? s->totals.first_seq : 1;
    switch (c->deliver) {
    case DELIVER_ALL:
        return first - 1;
    case DELIVER_NEW:
        return s->totals.last_seq;
    case DELIVER_LAST:
        if (c->filter_count == 0 && stream_read(s, s->totals.last_seq, &m) == OK) {
            return s->totals.last_seq - 1;
        }
        for (uint32_t i = 0; i < c->filter_count; i++) {
            if (stream_last_by_subject(s, bytes_of(c->filters[i]), &m) == OK && m.seq > best) {
                best = m.seq;
            }
        }
        return best > 0 ? best - 1 : s->totals.last_seq;
    case DELIVER_BY_START_SEQUENCE:
        return c->opt_start_seq < first ? first - 1 : c->opt_start_seq - 1;
    case DELIVER_BY_START_TIME:
        return stream_seq_at(s, c->opt_start_time.ns) - 1;
    }
    return 0;
}

enum err consumer_apply_create(struct stream *s, struct reader *r, struct apply_result *result)
{
    int64_t now = reader_time(r);
    struct bytes text = reader_bytes(r);
    json_t *json = reader_done(r) ? json_read(text) : NULL;
    struct consumer_config config;
    struct js_error error;
    bool ok = json != NULL && consumer_config_parse(json, &config, &error) && config.name != NULL;
    json_decref(json);
    if (!ok) {
        return ERR_CORRUPT;
    }
    struct consumer *c = map_get(&s->consumers, bytes_of(config.name));
    if (c != NULL) { /* an update: the leader has checked it before proposing */
        if (!consumer_config_check_update(&c->config, &config, &result->error)) {
            consumer_config_deinit(&config);
            return OK;
        }
        consumer_config_deinit(&c->config);
        c->config = config;
        consumer_refilter(s, c);
        result->consumer = c;
        return OK;
    }
    int64_t max = s->config.max_consumers;
    if (max > 0 && s->consumers.count >= (uint64_t)max && !BUG(BUG_LIMIT_NOT_CHECKED_AGAIN)) {
        (void)js_fail(&result->error, JS_MAX_CONSUMERS);
        consumer_config_deinit(&config);
        return OK;
    }
    c = NEW(struct consumer);
    c->config = config;
    c->created_ns = now;
    c->delivered_stream_seq = c->floor_stream_seq = starting_point(s, &c->config);
    c->start_seq = c->delivered_stream_seq + 1;
    (void)map_put(&s->consumers, bytes_of(c->config.name), c);
    consumer_refilter(s, c);
    result->consumer = c;
    result->created = true;
    return OK;
}

enum err consumer_apply_delete(struct stream *s, struct reader *r, struct apply_result *result,
                               void (*before)(void *arg, struct consumer *c), void *arg)
{
    struct bytes name = reader_bytes(r);
    if (!reader_done(r)) {
        return ERR_CORRUPT;
    }
    struct consumer *c = map_remove(&s->consumers, name);
    if (c == NULL) {
        (void)js_fail(&result->error, JS_CONSUMER_NOT_FOUND);
        return OK;
    }
    if (before != NULL) {
        before(arg, c);
    }
    consumer_free(c);
    return OK;
}

static void deliver_one(struct stream *s, struct consumer *c, uint64_t seq, int64_t now)
{
    c->delivered_seq++;
    c->last_delivered_ns = now;
    struct pending_message *p = consumer_pending(c, seq);
    if (p != NULL) { /* a redelivery: new consumer sequence, the old one stays in pending (§5) */
        p->deliveries++;
        wait_for(s, p, now, consumer_wait_ns(c, p->deliveries));
        return;
    }
    if (seq > c->delivered_stream_seq) {
        c->delivered_stream_seq = seq;
        if (c->has_filter && c->filtered_left > 0 && seq >= s->totals.first_seq &&
            !stream_is_deleted(s, seq)) {
            c->filtered_left--;
        }
    }
    bool stored = seq >= s->totals.first_seq && !stream_is_deleted(s, seq);
    if (c->config.ack == ACK_EXPLICIT && stored) {
        struct pending_message first = {
            .stream_seq = seq, .consumer_seq = c->delivered_seq, .deliveries = 1};
        wait_for(s, &first, now, consumer_wait_ns(c, 1));
        add_pending(c, first);
    } else if (c->ack_pending == 0) {
        c->floor_seq = c->delivered_seq;
        c->floor_stream_seq = c->delivered_stream_seq;
    }
}

enum err consumer_apply_deliver(struct stream *s, struct reader *r, struct apply_result *result)
{
    struct bytes name = reader_bytes(r);
    int64_t now = reader_time(r);
    uint64_t count = reader_varint(r);
    struct consumer *c = map_get(&s->consumers, name);
    result->consumer = c;
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        uint64_t seq = reader_varint(r);
        bool stored = seq > 0 && seq <= s->totals.last_seq; /* once, that is */
        if (!stored) {
            result->warning = "the delivery of a message that is not there yet";
        } else if (c != NULL && !r->bad) {
            deliver_one(s, c, seq, now);
        }
    }
    return reader_done(r) ? OK : ERR_CORRUPT;
}

static void ack_one(const struct stream *s, struct consumer *c, enum ack_op op, uint64_t seq,
                    uint64_t arg, int64_t now)
{
    struct pending_message *p = consumer_pending(c, seq);
    if (p == NULL) {
        return;
    }
    switch (op) {
    case ACK_OP_ACK:
    case ACK_OP_TERM:
        c->last_acked_ns = now;
        settle(c, p);
        return;
    case ACK_OP_EXHAUSTED:
        settle(c, p);
        return;
    case ACK_OP_NAK:
        wait_for(s, p, now, arg > INT64_MAX ? INT64_MAX : (int64_t)arg);
        return;
    case ACK_OP_PROGRESS:
        wait_for(s, p, now, consumer_wait_ns(c, p->deliveries));
        return;
    }
}

enum err consumer_apply_acks(struct stream *s, struct reader *r, struct apply_result *result)
{
    struct bytes name = reader_bytes(r);
    int64_t now = reader_time(r);
    uint64_t count = reader_varint(r);
    struct consumer *c = map_get(&s->consumers, name);
    result->consumer = c;
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        uint8_t op = reader_u8(r);
        uint64_t seq = reader_varint(r);
        uint64_t arg = reader_varint(r);
        if (op > ACK_OP_EXHAUSTED) {
            return ERR_CORRUPT;
        }
        if (c != NULL && !r->bad) {
            ack_one(s, c, (enum ack_op)op, seq, arg, now);
        }
    }
    return reader_done(r) ? OK : ERR_CORRUPT;
}
