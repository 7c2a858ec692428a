/* A stream whose leader's clock is set back, or is wrong. */
#include <criterion/criterion.h>

#include "core/base/mem.h"
#include "core/base/time_math.h"
#include "jetstream/state/publish.h"
#include "unit/stream_fixture.h"

#define HOUR (3600 * NS_PER_SEC)
#define NOW  (1000000 * HOUR)

Test(clock_step, no_message_goes_before_its_age_is_reached)
{
    struct stream *s = make("{\"name\":\"S\",\"max_age\":60000000000}");
    int64_t now = NOW;
    for (int i = 0; i < 10; i++) {
        store(s, "S", "before", now);
    }
    now -= HOUR; /* and the other way round for whoever looks for the middle */
    for (int i = 0; i < 100; i++) {
        store(s, "S", "after", now + i);
    }
    cr_assert_eq(stream_expired_through(s, now + 59 * NS_PER_SEC), 0);
    cr_assert_eq(stream_expired_through(s, now + 61 * NS_PER_SEC),
                 0); /* in order, as nats-server does it */
    cr_assert_eq(stream_expired_through(s, NOW + 59 * NS_PER_SEC), 0);
    cr_assert_eq(stream_expired_through(s, NOW + 60 * NS_PER_SEC), 110);
    stream_free(s);
}

Test(clock_step, what_is_younger_stays_when_the_clock_was_fast)
{
    struct stream *s = make("{\"name\":\"S\",\"max_age\":60000000000}");
    store(s, "S", "old", NOW - HOUR);
    for (int i = 0; i < 40; i++) { /* one in two was stored while the clock was an hour slow */
        store(s, "S", "x", i % 2 == 0 ? NOW : NOW - HOUR);
    }
    cr_assert_eq(stream_expired_through(s, NOW + NS_PER_SEC), 1);
    rot(1); /* of the only replica */
    cr_assert_eq(stream_expired_through(s, NOW + NS_PER_SEC), 0);
    cr_assert_eq(stream_expired_through(s, NOW + HOUR), 41);
    stream_free(s);
}

Test(clock_step, a_part_at_most_goes_at_once)
{
    struct stream *s = make("{\"name\":\"S\",\"max_age\":1000000000}");
    char *body = mem_zalloc(1 << 20);
    memset(body, 'x', (1 << 20) - 1);
    for (int i = 0; i < 40; i++) {
        store(s, "S", body, NOW);
    }
    cr_assert_eq(stream_expired_through(s, NOW + HOUR), stream_slice(s));
    cr_assert_lt(stream_slice(s), 40);
    stream_free(s);
    free(body);
}

/* --- redeliveries --- */

static void put_times(struct stream *s, int64_t wall, int64_t mono)
{
    s->here.wall_ns = wall;
    s->here.mono_ns = mono;
}

static void deliver(struct stream *s, uint64_t seq, int64_t now)
{
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_DELIVER);
    buffer_put_bytes(&b, BYTES_LIT("C"));
    buffer_put_u64(&b, (uint64_t)now);
    buffer_put_varint(&b, 1);
    buffer_put_varint(&b, seq);
    (void)apply_buffer(s, &b);
}

static void nak(struct stream *s, uint64_t seq, int64_t now, int64_t delay)
{
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_ACKS);
    buffer_put_bytes(&b, BYTES_LIT("C"));
    buffer_put_u64(&b, (uint64_t)now);
    buffer_put_varint(&b, 1);
    buffer_put_u8(&b, ACK_OP_NAK);
    buffer_put_varint(&b, seq);
    buffer_put_varint(&b, (uint64_t)delay);
    (void)apply_buffer(s, &b);
}

#define WAIT (30 * NS_PER_SEC)
#define MONO (5 * NS_PER_SEC)

Test(clock_step, a_redelivery_is_due_when_its_wait_has_passed)
{
    static const struct {
        int64_t logged, wall, later_wall; /* of the entry, as it is applied, as somebody looks */
        int64_t due;                      /* by the monotonic clock */
    } rows[] = {
        {NOW, NOW, NOW + NS_PER_SEC, MONO + WAIT},
        {NOW, NOW, NOW - HOUR, MONO + WAIT},        /* set back */
        {NOW, NOW, NOW + HOUR, MONO + WAIT},        /* set forward */
        {NOW, NOW - HOUR, NOW - HOUR, MONO + WAIT}, /* set back on its way */
        {NOW - HOUR, NOW, NOW, MONO},               /* a log that is applied again after an hour */
        {NOW, NOW + 10 * NS_PER_SEC, NOW, MONO + 20 * NS_PER_SEC},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct stream *s = make("{\"name\":\"S\"}");
        struct consumer *c = consume(s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}");
        store(s, "S", "1", NOW);
        put_times(s, rows[i].wall, MONO);
        deliver(s, 1, rows[i].logged);
        struct pending_message *p = consumer_pending(c, 1);
        cr_assert_eq(p->due_ns, rows[i].logged + WAIT);
        cr_expect_eq(consumer_due_mono_ns(c, p, rows[i].later_wall, 99 * HOUR), rows[i].due, "%zu",
                     i);
        put_times(s, rows[i].wall, 2 * MONO);
        nak(s, 1, rows[i].logged, WAIT);
        cr_expect_eq(consumer_due_mono_ns(c, p, rows[i].later_wall, 99 * HOUR), rows[i].due + MONO,
                     "%zu", i);
        stream_free(s);
    }
}

Test(clock_step, after_a_restart_the_wait_is_what_was_left_of_it)
{
    struct stream *s = make("{\"name\":\"S\"}");
    struct consumer *c = consume(s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}");
    store(s, "S", "1", NOW);
    deliver(s, 1, NOW);
    const struct pending_message *p = consumer_pending(c, 1);
    cr_assert_eq(p->due_mono_ns, 0); /* as one that was read from a checkpoint */
    cr_expect_eq(consumer_due_mono_ns(c, p, NOW + 10 * NS_PER_SEC, MONO), MONO + 20 * NS_PER_SEC);
    cr_expect_eq(consumer_due_mono_ns(c, p, NOW + HOUR, MONO), MONO);
    cr_expect_eq(consumer_due_mono_ns(c, p, NOW - HOUR, MONO),
                 MONO + WAIT); /* the clock was set back */
    stream_free(s);
}

Test(clock_step, a_wait_without_end_ends_with_time_itself)
{
    struct stream *s = make("{\"name\":\"S\"}");
    struct consumer *c = consume(
        s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\",\"ack_wait\":9223372036854775807}");
    store(s, "S", "1", NOW);
    store(s, "S", "2", NOW);
    put_times(s, NOW, MONO);
    deliver(s, 1, NOW);
    deliver(s, 2, NOW);
    nak(s, 2, NOW, INT64_MAX);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        struct pending_message *p = consumer_pending(c, seq);
        cr_expect_eq(p->due_ns, TIME_MAX_NS);
        cr_expect_gt(consumer_due_mono_ns(c, p, NOW, MONO), 30 * 365 * 24 * HOUR);
        cr_expect_leq(consumer_due_mono_ns(c, p, NOW, MONO), TIME_MAX_NS);
    }
    stream_free(s);
}

/* --- ids of messages --- */

static void store_id(struct stream *s, struct publisher *p, const char *id, int64_t now,
                     bool duplicate)
{
    char header[128];
    (void)snprintf(header, sizeof header, "NATS/1.0\r\nNats-Msg-Id: %s\r\n\r\n", id);
    struct publish_decision d =
        publisher_decide(p, BYTES_LIT("S"), bytes_of(header), BYTES_NONE, now);
    cr_assert_eq(d.action, duplicate ? PUBLISH_DUPLICATE : PUBLISH_STORE, "%s", id);
    if (!duplicate) {
        struct messages_builder b = {0};
        messages_begin(&b, d.seq, now);
        messages_add(&b, now, BYTES_LIT("S"), bytes_of(header), BYTES_NONE);
        (void)apply(s, messages_finish(&b));
        buffer_deinit(&b.data);
        publisher_applied(p, s->totals.last_seq);
    }
}

Test(clock_step, ids_are_forgotten_a_window_later_at_the_latest)
{
    struct stream *s = make("{\"name\":\"S\",\"duplicate_window\":60000000000}");
    struct publisher p;
    publisher_init(&p, s);
    store_id(s, &p, "a", NOW, false);
    store_id(s, &p, "b", NOW - HOUR, false);
    store_id(s, &p, "a", NOW - HOUR + NS_PER_SEC, true); /* the clock was set back, not the world */
    store_id(s, &p, "c", NOW - HOUR + 61 * NS_PER_SEC, false);
    cr_assert_eq(s->seen.count, 1);
    store_id(s, &p, "a", NOW - HOUR + 62 * NS_PER_SEC, false);
    publisher_deinit(&p);
    stream_free(s);
}
