/* A committed entry never breaks a stream: entries of all kinds that can be decoded, with numbers
 * that nobody should send, come to the same on two replicas, of which one is restarted again and
 * again. */
#include <criterion/criterion.h>

#include "core/base/time_math.h"
#include "core/base/random.h"
#include "unit/stream_fixture.h"

static struct random random_state;

static uint64_t below(uint64_t bound)
{
    return random_below(&random_state, bound);
}

/* Near what is there, mostly; else near where something could wrap. */
static uint64_t number(const struct stream *s)
{
    static const uint64_t edges[] = {
        0, 1, UINT32_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, SEQ_LAST, SEQ_LAST + 1, UINT64_MAX};
    uint64_t span = s->totals.last_seq - s->totals.first_seq + 5;
    return below(3) > 0 ? s->totals.first_seq + below(span == 0 ? 1 : span)
                        : edges[below(sizeof edges / sizeof edges[0])] + below(3) - 1;
}

static uint64_t moment(void)
{
    static const uint64_t edges[] = {0, 1, (uint64_t)TIME_MAX_NS - 1, (uint64_t)TIME_MAX_NS};
    return below(3) > 0 ? 1 + below(1000) : edges[below(4)];
}

static const char *pick(const char *const *list, uint64_t count)
{
    return list[below(count)];
}

static const char *const names[] = {"C", "D", "E", "nobody"};
static const char *const subjects[] = {"a.1", "a.2", "b.1", "a", ">", "*", "..", " "};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* Sequences that follow the last one, mostly. */
static void put_messages(const struct stream *s, struct buffer *b)
{
    struct messages_builder m = {0};
    char header[64];
    uint64_t first = below(5) > 0   ? s->totals.last_seq + 1
                     : below(9) > 0 ? s->totals.last_seq + below(9)
                                    : number(s);
    messages_begin(&m, first == 0 ? 1 : first, (int64_t)moment());
    for (uint64_t i = 0, count = 1 + below(6); i < count; i++) {
        const char *subject = pick(subjects, COUNT(subjects));
        int n = snprintf(header, sizeof header, "NATS/1.0\r\nNats-Msg-Id: %u\r\n\r\n",
                         (unsigned)below(20));
        messages_add(&m, (int64_t)moment(), bytes_of(subject),
                     bytes_make(header, below(2) == 0 ? (size_t)n : 0), BYTES_LIT("body"));
    }
    struct blob *entry = messages_finish(&m);
    buffer_append_bytes(b, blob_bytes(entry));
    blob_release(entry);
    buffer_deinit(&m.data);
}

static void put_config(struct buffer *b)
{
    static const char *const configs[] = {
        "{\"name\":\"S\",\"subjects\":[\"a.>\",\"b.*\"]}",
        "{\"name\":\"S\",\"subjects\":[\"a.>\"],\"max_msgs\":9,\"max_consumers\":2}",
        "{\"name\":\"S\",\"subjects\":[\"b.1\"],\"max_bytes\":300,\"max_msgs\":"
        "9223372036854775807}",
        "{\"name\":\"S\",\"max_bytes\":9223372036854775807,\"max_consumers\":1}",
        "{\"name\":\"S\",\"subjects\":[\"a.1\"],\"duplicate_window\":9223372036854775807}",
        "{\"name\":\"S\",\"storage\":\"memory\"}",
        "{\"name\":\"T\"}",
        "{\"name\":\"S\",\"deny_delete\":true}",
        "{\"name\":\"S\",\"deny_purge\":true}"};
    uint64_t count = below(20) == 0 ? COUNT(configs) : COUNT(configs) - 2; /* those are for good */
    buffer_put_u8(b, ENTRY_CONFIG);
    buffer_put_bytes(b, bytes_of(pick(configs, count)));
}

static void put_consumer(const struct stream *s, struct buffer *b)
{
    static const char *const rest[] = {
        "",
        ",\"filter_subject\":\"a.1\"",
        ",\"filter_subjects\":[\"a.*\",\"b.>\"],\"deliver_policy\":\"last\"",
        ",\"filter_subject\":\"nothing\",\"deliver_policy\":\"new\"",
        ",\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"1970-01-01T00:00:00.0000005Z\"",
        ",\"max_deliver\":1,\"max_ack_pending\":1,\"max_waiting\":9223372036854775807"};
    struct buffer text = {0};
    buffer_printf(&text, "{\"durable_name\":\"%s\",\"ack_policy\":\"%s\"", pick(names, 3),
                  below(4) == 0 ? "none" : "explicit");
    if (below(3) == 0) {
        buffer_printf(&text, ",\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%llu",
                      (unsigned long long)(1 + (number(s) >> 2)));
    } else {
        buffer_append_text(&text, pick(rest, COUNT(rest)));
    }
    buffer_append_text(&text, "}");
    buffer_put_u8(b, ENTRY_CONSUMER);
    buffer_put_u64(b, moment());
    buffer_put_bytes(b, buffer_bytes(&text));
    buffer_deinit(&text);
}

static void put_delivery(const struct stream *s, struct buffer *b, enum entry_kind kind)
{
    uint64_t count = below(5);
    buffer_put_u8(b, (uint8_t)kind);
    buffer_put_bytes(b, bytes_of(pick(names, COUNT(names))));
    buffer_put_u64(b, moment());
    buffer_put_varint(b, count);
    for (uint64_t i = 0; i < count; i++) {
        if (kind == ENTRY_ACKS) {
            buffer_put_u8(b, (uint8_t)below(ACK_OP_EXHAUSTED + 1));
        }
        buffer_put_varint(b, number(s));
        if (kind == ENTRY_ACKS) {
            buffer_put_varint(b, number(s));
        }
    }
}

static struct buffer draw_entry(const struct stream *s)
{
    struct buffer b = {0};
    uint64_t kind = below(24);
    switch (kind) {
    case 0:
        buffer_put_u8(&b, ENTRY_PURGE);
        buffer_put_varint(&b, below(2) == 0 ? number(s) : s->totals.last_seq + below(9));
        buffer_put_varint(&b, below(2) == 0 ? number(s) : 0);
        buffer_put_bytes(&b, bytes_of(below(2) == 0 ? "" : pick(subjects, COUNT(subjects))));
        if (below(3) == 0) {
            buffer_put_varint(&b, number(s));
        }
        break;
    case 1:
    case 2:
        buffer_put_u8(&b, kind == 1 || below(4) > 0 ? ENTRY_DELETE : ENTRY_EXPIRE);
        buffer_put_varint(&b, number(s));
        break;
    case 3:
        put_config(&b);
        break;
    case 4:
    case 5:
        put_consumer(s, &b);
        break;
    case 6:
        buffer_put_u8(&b, ENTRY_CONSUMER_DELETE);
        buffer_put_bytes(&b, bytes_of(pick(names, COUNT(names))));
        break;
    case 7:
    case 8:
    case 9:
    case 10:
        put_delivery(s, &b, ENTRY_DELIVER);
        break;
    case 11:
    case 12:
    case 13:
        put_delivery(s, &b, ENTRY_ACKS);
        break;
    default:
        put_messages(s, &b);
        break;
    }
    return b;
}

static void consumers_are_sound(const struct stream *s)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        const struct consumer *c = e->value;
        uint32_t live = 0;
        uint64_t last = 0;
        for (uint32_t k = c->pending_from; k < c->pending_count; k++) {
            uint64_t seq = c->pending[k].stream_seq;
            if (seq >> 63 == 0) {
                cr_assert(seq > last && seq >= s->totals.first_seq && seq <= s->totals.last_seq);
                last = seq;
                live++;
            }
        }
        cr_assert_eq(live, c->ack_pending);
        cr_assert_leq(c->floor_stream_seq, c->delivered_stream_seq);
    }
}

static struct stream *restarted(struct stream *s)
{
    struct buffer state = {0};
    struct stream *again = make_over_log("{\"name\":\"S\"}");
    stream_encode(s, &state);
    cr_assert_eq(stream_decode(again, buffer_bytes(&state)), OK);
    buffer_deinit(&state);
    stream_free(s);
    return again;
}

static void agree(struct stream *a, struct stream *b)
{
    struct buffer x = {0}, y = {0};
    stream_encode_sorted(a, &x);
    stream_encode_sorted(b, &y);
    cr_assert(bytes_eq(buffer_bytes(&x), buffer_bytes(&y)));
    buffer_deinit(&x);
    buffer_deinit(&y);
}

Test(entries, whatever_can_be_decoded_can_be_applied_and_comes_to_the_same)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        random_seed(&random_state, seed);
        struct stream *a =
            make("{\"name\":\"S\",\"subjects\":[\"a.>\",\"b.*\"],\"num_replicas\":3}");
        struct stream *b =
            make_over_log("{\"name\":\"S\",\"subjects\":[\"a.>\",\"b.*\"],\"num_replicas\":3}");
        for (unsigned i = 0; i < 600; i++) {
            struct buffer entry = draw_entry(a);
            struct apply_result here, there;
            entries[++last_index] = blob_copy(buffer_bytes(&entry));
            uint32_t consumers = a->consumers.count;
            enum err err = stream_apply(a, last_index, buffer_bytes(&entry), &here, NULL, NULL);
            cr_assert_eq(err, OK, "seed %u, entry %u of kind %d: %s", (unsigned)seed, i,
                         entry.data[0], err_name(err));
            cr_assert_eq(stream_apply(b, last_index, buffer_bytes(&entry), &there, NULL, NULL), OK);
            cr_assert_eq(here.error.err, there.error.err);
            cr_assert_eq(here.count, there.count);
            cr_assert_leq(a->totals.last_seq, SEQ_LAST);
            cr_assert(a->config.max_consumers <= 0 || a->consumers.count <= consumers ||
                      a->consumers.count <= (uint64_t)a->config.max_consumers);
            consumers_are_sound(a);
            buffer_deinit(&entry);
            if (i % 20 == 0) {
                if (a->totals.last_seq - a->totals.first_seq < 10000) {
                    counts_are_exact(a);
                }
                b = restarted(b);
                agree(a, b);
            }
        }
        agree(a, b);
        stream_free(a);
        stream_free(b);
    }
}

/* Those that make no sense, one by one: what they answer, and that nothing has changed. */
Test(entries, what_makes_no_sense_any_more_does_nothing_and_says_so)
{
    struct stream *s = make("{\"name\":\"S\",\"max_consumers\":1}");
    store(s, "S", "x", 1);
    (void)consume(s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}");
    (void)purge(s, 100, 0, "");
    struct messages_builder m = {0};
    messages_begin(&m, 2, 2); /* proposed before the purge was applied */
    messages_add(&m, 2, BYTES_LIT("S"), BYTES_NONE, BYTES_LIT("late"));
    struct apply_result r = apply(s, messages_finish(&m));
    buffer_deinit(&m.data);
    cr_expect_eq(r.error.err, JS_STORE_FAILED);
    cr_expect_not_null(r.warning);
    cr_expect_eq(s->totals.last_seq, 99);
    messages_begin(&m, 110, 3); /* ahead of a purge that was refused */
    messages_add(&m, 3, BYTES_LIT("S"), BYTES_NONE, BYTES_LIT("ahead"));
    r = apply(s, messages_finish(&m));
    buffer_deinit(&m.data);
    cr_expect(r.error.err == JS_OK && r.warning != NULL);
    cr_expect(s->totals.messages == 1 && s->totals.first_seq == 110 && s->totals.last_seq == 110);
    cr_expect_eq(purge(s, UINT64_MAX, 0, "").error.err, JS_BAD_REQUEST);
    store(s, "S", "y", 3);

    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_CONSUMER);
    buffer_put_u64(&b, 5);
    buffer_put_bytes(&b, BYTES_LIT("{\"durable_name\":\"D\"}"));
    cr_expect_eq(apply_buffer(s, &b).error.err, JS_MAX_CONSUMERS);
    cr_expect_eq(s->consumers.count, 1);

    buffer_put_u8(&b, ENTRY_CONFIG);
    buffer_put_bytes(&b, BYTES_LIT("{\"name\":\"S\",\"deny_delete\":true,\"deny_purge\":true}"));
    cr_expect_eq(apply_buffer(s, &b).error.err, JS_OK);
    buffer_put_u8(&b, ENTRY_CONFIG);
    buffer_put_bytes(&b, BYTES_LIT("{\"name\":\"S\"}"));
    cr_expect_eq(apply_buffer(s, &b).error.err, JS_STREAM_CONFIG);
    cr_expect(s->config.deny_delete && s->config.deny_purge);
    cr_expect_eq(purge(s, 0, 0, "").error.err, JS_PURGE_DENIED);
    buffer_put_u8(&b, ENTRY_DELETE);
    buffer_put_varint(&b, 110);
    cr_expect_eq(apply_buffer(s, &b).error.err, JS_MESSAGE_DELETE);
    cr_expect_eq(s->totals.messages, 2);
    stream_free(s);
}
