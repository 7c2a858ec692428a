/* The stream's state machine, entry by entry. */
#include <criterion/criterion.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/random.h"
#include "core/subject/subject.h"
#include "jetstream/state/publish.h"
#include "unit/stream_fixture.h"

static void deliver(struct stream *s, uint64_t seq)
{
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_DELIVER);
    buffer_put_bytes(&b, BYTES_LIT("C"));
    buffer_put_u64(&b, 1000);
    buffer_put_varint(&b, 1);
    buffer_put_varint(&b, seq);
    (void)apply_buffer(s, &b);
}

static void ack(struct stream *s, enum ack_op op, uint64_t seq)
{
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_ACKS);
    buffer_put_bytes(&b, BYTES_LIT("C"));
    buffer_put_u64(&b, 2000);
    buffer_put_varint(&b, 1);
    buffer_put_u8(&b, (uint8_t)op);
    buffer_put_varint(&b, seq);
    buffer_put_varint(&b, 0);
    (void)apply_buffer(s, &b);
}

#define CONSUMER "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}"

Test(stream, limits_remove_from_the_front_and_count_to_the_byte)
{
    struct stream *s = make("{\"name\":\"S\",\"max_msgs\":3}");
    for (int i = 0; i < 5; i++) {
        store(s, "S", "12345", i + 1);
    }
    cr_assert_eq(s->totals.first_seq, 3);
    cr_assert_eq(s->totals.messages, 3);
    cr_assert_eq(s->totals.bytes, 3 * (30 + 1 + 5));
    cr_assert_eq(s->totals.first_ns, 3);
    stream_free(s);
}

Test(stream, a_message_larger_than_max_bytes_leaves_an_empty_stream)
{
    struct stream *s = make("{\"name\":\"S\",\"max_bytes\":40}");
    store(s, "S", "a", 1);
    store(s, "S", "a much longer message than fits", 2);
    cr_assert_eq(s->totals.messages, 0);
    cr_assert_eq(s->totals.last_seq, 2);
    cr_assert_eq(s->totals.first_seq, 3);
    stream_free(s);
}

Test(stream, purge_by_subject_keep_and_sequence)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a\",\"b\"]}");
    for (int i = 0; i < 10; i++) {
        store(s, i % 2 == 0 ? "a" : "b", "x", i + 1);
    }
    cr_assert_eq(purge(s, 0, 2, "a").count, 3); /* a: 1 3 5 7 9 → 7 9 */
    cr_assert_eq(s->totals.messages, 7);
    cr_assert_eq(s->totals.first_seq, 2);
    cr_assert(stream_is_deleted(s, 3));
    struct stored_message m;
    cr_assert_eq(stream_read(s, 5, &m), ERR_NOT_FOUND);
    cr_assert_eq(purge(s, 7, 0, "").count, 3); /* 2 4 6 */
    cr_assert_eq(s->totals.first_seq, 7);
    cr_assert_eq(s->deleted.total, 0);
    cr_assert_eq(purge(s, 100, 0, "").count, 4);
    cr_assert_eq(s->totals.first_seq, 100);
    cr_assert_eq(s->totals.last_seq, 99);
    stream_free(s);
}

Test(stream, last_by_subject_after_the_last_one_is_deleted)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a\",\"b\"]}");
    store(s, "a", "1", 1);
    store(s, "a", "2", 2);
    store(s, "b", "3", 3);
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_DELETE);
    buffer_put_varint(&b, 2);
    (void)apply_buffer(s, &b);
    cr_assert_eq(stream_subject_last(s, BYTES_LIT("a")), 1);
    struct stored_message m;
    cr_assert_eq(stream_last_by_subject(s, BYTES_LIT("*"), &m), OK);
    cr_assert_eq(m.seq, 3);
    stream_free(s);
}

Test(stream, without_replicas_what_cannot_be_read_is_lost_when_limits_come_to_it)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a\",\"b\"],\"max_msgs\":6}");
    struct consumer *c = consume(s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\","
                                    "\"filter_subject\":\"a\"}");
    for (int i = 0; i < 6; i++) {
        store(s, i % 2 == 0 ? "a" : "b", "body", 100 + i);
    }
    rot(2); /* the first message, and the fifth: both on a */
    rot(6);
    store(s, "b", "longer body", 200);
    cr_expect_eq(s->totals.messages, 5);
    cr_expect_eq(s->totals.first_seq, 2);
    counts_are_exact(s);
    cr_expect_eq(consumer_left(s, c), 1);
    store(s, "a", "x", 201);
    store(s, "a", "y", 202);
    cr_expect_eq(s->totals.messages, 6);
    counts_are_exact(s);
    stream_free(s);
}

Test(stream, without_replicas_a_lost_batch_can_be_purged_and_deleted)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a\",\"b\"]}");
    struct messages_builder m = {0};
    struct buffer b = {0};
    store(s, "a", "1", 100);
    messages_begin(&m, 2, 101);
    for (int i = 0; i < 3; i++) {
        messages_add(&m, 101, BYTES_LIT("a"), BYTES_NONE, BYTES_LIT("batch"));
    }
    (void)apply(s, messages_finish(&m));
    buffer_deinit(&m.data);
    store(s, "b", "5", 102);
    rot(2);
    buffer_put_u8(&b, ENTRY_DELETE);
    buffer_put_varint(&b, 3);
    cr_expect_eq(apply_buffer(s, &b).error.err, JS_SEQUENCE_NOT_FOUND);
    cr_expect_eq(s->totals.messages, 2);
    counts_are_exact(s);
    struct buffer p = {0};
    buffer_put_u8(&p, ENTRY_PURGE);
    buffer_put_varint(&p, 0);
    buffer_put_varint(&p, 0);
    buffer_put_bytes(&p, BYTES_LIT("a"));
    cr_expect_eq(apply_buffer(s, &p).count, 1);
    cr_expect_eq(s->totals.first_seq, 5);
    counts_are_exact(s);
    stream_free(s);
}

Test(stream, with_replicas_what_cannot_be_read_stops_the_entry_that_needs_it)
{
    struct stream *s =
        make("{\"name\":\"S\",\"subjects\":[\"a\",\"b\"],\"max_msgs\":2,\"num_replicas\":3}");
    struct messages_builder m = {0};
    struct apply_result result;
    store(s, "a", "1", 100);
    store(s, "a", "2", 101);
    rot(1);
    messages_begin(&m, 3, 102);
    messages_add(&m, 102, BYTES_LIT("a"), BYTES_NONE, BYTES_LIT("3"));
    struct blob *entry = messages_finish(&m);
    entries[3] = entry;
    cr_expect_eq(stream_apply(s, 3, blob_bytes(entry), &result, NULL, NULL), ERR_IO);
    buffer_deinit(&m.data);
    stream_free(s);
}

Test(consumer, the_floor_follows_acks_out_of_order)
{
    struct stream *s = make("{\"name\":\"S\"}");
    for (int i = 0; i < 5; i++) {
        store(s, "S", "x", i + 1);
    }
    struct consumer *c = consume(s, CONSUMER);
    cr_assert_eq(consumer_left(s, c), 5);
    for (uint64_t i = 1; i <= 4; i++) {
        deliver(s, i);
    }
    cr_assert_eq(consumer_left(s, c), 1);
    ack(s, ACK_OP_ACK, 2);
    cr_assert_eq(c->floor_stream_seq, 0);
    ack(s, ACK_OP_ACK, 3);
    ack(s, ACK_OP_ACK, 1);
    cr_assert_eq(c->floor_stream_seq, 3);
    cr_assert_eq(c->ack_pending, 1);
    ack(s, ACK_OP_TERM, 4);
    cr_assert_eq(c->floor_stream_seq, 4);
    cr_assert_eq(c->floor_seq, 4);
    stream_free(s);
}

Test(consumer, a_redelivery_takes_a_new_consumer_sequence_and_keeps_the_old_in_pending)
{
    struct stream *s = make("{\"name\":\"S\"}");
    store(s, "S", "x", 1);
    struct consumer *c = consume(s, CONSUMER);
    deliver(s, 1);
    deliver(s, 1);
    cr_assert_eq(c->delivered_seq, 2);
    cr_assert_eq(consumer_pending(c, 1)->consumer_seq, 1);
    cr_assert_eq(consumer_pending(c, 1)->deliveries, 2);
    cr_assert_eq(consumer_redelivered(c), 1);
    stream_free(s);
}

Test(consumer, filters_count_and_purges_advance)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\",\"b\"]}");
    store(s, "a.1", "x", 1);
    store(s, "b", "x", 2);
    store(s, "a.2", "x", 3);
    struct consumer *c = consume(s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\","
                                    "\"filter_subject\":\"a.*\"}");
    cr_assert(c->has_filter);
    cr_assert_eq(consumer_left(s, c), 2);
    deliver(s, 1);
    cr_assert_eq(consumer_left(s, c), 1);
    store(s, "a.3", "x", 4);
    cr_assert_eq(consumer_left(s, c), 2);
    (void)purge(s, 0, 0, "");
    cr_assert_eq(consumer_left(s, c), 0);
    cr_assert_eq(c->ack_pending, 0);
    cr_assert_eq(c->floor_stream_seq, 4);
    stream_free(s);
}

Test(stream, the_state_survives_encoding)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a\",\"b\"],\"max_msgs\":50}");
    for (int i = 0; i < 80; i++) {
        store(s, i % 3 == 0 ? "a" : "b", "body", i + 1);
    }
    (void)consume(s, CONSUMER);
    deliver(s, 31);
    deliver(s, 32);
    ack(s, ACK_OP_ACK, 31);
    (void)purge(s, 40, 0, "a");
    struct buffer first = {0}, second = {0};
    stream_encode_sorted(s, &first);
    struct stream_config empty = {.name = mem_strdup("S")};
    struct stream *t = stream_new(&empty, 0, read_log, NULL);
    cr_assert_eq(stream_decode(t, buffer_bytes(&first)), OK);
    stream_encode_sorted(t, &second);
    cr_assert(bytes_eq(buffer_bytes(&first), buffer_bytes(&second)));
    struct stored_message m;
    cr_assert_eq(stream_read(t, 60, &m), OK);
    cr_assert(bytes_is(m.body, "body"));
    for (size_t cut = 0; cut < first.len; cut += 7) { /* every prefix is refused, none crashes */
        struct stream_config again = {.name = mem_strdup("S")};
        struct stream *u = stream_new(&again, 0, read_log, NULL);
        cr_assert_eq(stream_decode(u, bytes_make(first.data, cut)), ERR_CORRUPT);
        stream_free(u);
    }
    buffer_deinit(&first);
    buffer_deinit(&second);
    stream_free(s);
    stream_free(t);
}

Test(publish, duplicates_are_known_before_and_after_they_are_stored)
{
    struct stream *s = make("{\"name\":\"S\"}");
    struct publisher p;
    publisher_init(&p, s);
    struct bytes h = BYTES_LIT("NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n");
    struct publish_decision d = publisher_decide(&p, BYTES_LIT("S"), h, BYTES_LIT("x"), 100);
    cr_assert_eq(d.action, PUBLISH_STORE);
    cr_assert_eq(d.seq, 1);
    d = publisher_decide(&p, BYTES_LIT("S"), h, BYTES_LIT("x"), 100);
    cr_assert_eq(d.action, PUBLISH_DUPLICATE); /* under way: to be confirmed with it */
    cr_assert_eq(d.seq, 1);
    publisher_reset(&p); /* leadership lost before it was stored: it is no duplicate (PR 6415) */
    d = publisher_decide(&p, BYTES_LIT("S"), h, BYTES_LIT("x"), 100);
    cr_assert_eq(d.action, PUBLISH_STORE);
    struct messages_builder b = {0};
    messages_begin(&b, d.seq, 100);
    messages_add(&b, 100, BYTES_LIT("S"), h, BYTES_LIT("x"));
    (void)apply(s, messages_finish(&b));
    publisher_applied(&p, 1);
    d = publisher_decide(&p, BYTES_LIT("S"), h, BYTES_LIT("x"), 200);
    cr_assert_eq(d.action, PUBLISH_DUPLICATE);
    d = publisher_decide(&p, BYTES_LIT("S"), h, BYTES_LIT("x"), 200 + 121 * NS_PER_SEC);
    cr_assert_eq(d.action, PUBLISH_STORE, "the window is over");
    buffer_deinit(&b.data);
    publisher_deinit(&p);
    stream_free(s);
}

Test(publish, expectations_count_what_is_under_way)
{
    struct stream *s = make("{\"name\":\"S\",\"discard\":\"new\",\"max_msgs\":2}");
    struct publisher p;
    publisher_init(&p, s);
    struct bytes expect0 = BYTES_LIT("NATS/1.0\r\nNats-Expected-Last-Sequence: 0\r\n\r\n");
    cr_assert_eq(publisher_decide(&p, BYTES_LIT("S"), expect0, BYTES_NONE, 1).action,
                 PUBLISH_STORE);
    struct publish_decision d = publisher_decide(&p, BYTES_LIT("S"), expect0, BYTES_NONE, 1);
    cr_assert_eq(d.error.err, JS_WRONG_LAST_SEQ);
    cr_assert_str_eq(d.error.text, "wrong last sequence: 1");
    cr_assert_eq(publisher_decide(&p, BYTES_LIT("S"), BYTES_NONE, BYTES_NONE, 1).action,
                 PUBLISH_STORE);
    d = publisher_decide(&p, BYTES_LIT("S"), BYTES_NONE, BYTES_NONE, 1);
    cr_assert_eq(d.error.err, JS_STORE_FAILED);
    cr_assert_str_eq(d.error.text, "maximum messages exceeded");
    struct bytes ttl = BYTES_LIT("NATS/1.0\r\nNats-TTL: 5\r\n\r\n");
    cr_assert_eq(publisher_decide(&p, BYTES_LIT("S"), ttl, BYTES_NONE, 1).error.err,
                 JS_TTL_DISABLED);
    publisher_deinit(&p);
    stream_free(s);
}

Test(config, what_asks_for_nothing_is_no_unsupported_option)
{
    json_error_t reason;
    struct js_error error;
    struct consumer_config c;
    json_t *o =
        json_parse(BYTES_LIT("{\"durable_name\":\"C\",\"ack_policy\":\"explicit\","
                             "\"pause_until\":\"0001-01-01T00:00:00Z\",\"priority_groups\":[],"
                             "\"mem_storage\":false}"),
                   &reason);
    cr_assert(consumer_config_parse(o, &c, &error), "%s", error.text);
    consumer_config_deinit(&c);
    json_decref(o);
}

Test(config, unsupported_options_are_refused_by_name)
{
    static const char *const rows[] = {"{\"name\":\"S\",\"retention\":\"workqueue\"}",
                                       "{\"name\":\"S\",\"allow_rollup_hdrs\":true}",
                                       "{\"name\":\"S\",\"mirror\":{\"name\":\"X\"}}",
                                       "{\"name\":\"S\",\"max_msgs_per_subject\":5}"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_error_t reason;
        struct js_error error;
        struct stream_config c;
        json_t *o = json_parse(bytes_of(rows[i]), &reason);
        cr_assert_not(stream_config_parse(o, true, &c, &error), "%s", rows[i]);
        cr_assert_not_null(strstr(error.text, "not supported in this version yet"), "%s",
                           error.text);
        json_decref(o);
    }
}

/* --- finding messages --- */

static const char *const some_filters[][2] = {{"a.1", NULL},  {"a.*", NULL},  {"b.>", NULL},
                                              {"a.2", "b.1"}, {"a.2", "a.2"}, {">", NULL},
                                              {"a.1", "b.*"}, {"c", NULL},    {"*.1", NULL}};

/* What is asked for, by looking at every message. */
static uint64_t count_by_hand(struct stream *s, uint64_t from, char *const *filters, uint32_t count,
                              uint64_t *first, uint64_t *last)
{
    uint64_t found = 0;
    struct stored_message m;
    *first = *last = 0;
    for (uint64_t seq = from; seq <= s->totals.last_seq; seq++) {
        bool matches = false;
        if (stream_read(s, seq, &m) == OK) {
            for (uint32_t i = 0; i < count; i++) {
                matches = matches || subject_matches(bytes_of(filters[i]), m.subject);
            }
        }
        if (matches) {
            found++;
            *first = *first == 0 ? seq : *first;
            *last = seq;
        }
    }
    return found;
}

static void searches_agree(struct stream *s, uint64_t from, char *const *filters, uint32_t count)
{
    uint64_t first, last;
    struct stored_message m;
    uint64_t found = count_by_hand(s, from, filters, count, &first, &last);
    cr_assert_eq(stream_count_matching(s, from, (struct filters){filters, count, NULL}), found,
                 "%s from %llu", filters[0], (unsigned long long)from);
    size_t budget = 150; /* two messages */
    enum err err;
    while ((err = stream_search(s, from, (struct filters){filters, count, NULL}, &budget, &m)) ==
           ERR_BUSY) {
        cr_assert_gt(m.seq, from);
        from = m.seq;
        budget = 150;
    }
    cr_assert_eq(err, found > 0 ? OK : ERR_NOT_FOUND);
    cr_assert(found == 0 || m.seq == first);
    if (count == 1 && from <= s->totals.first_seq) {
        err = stream_last_by_subject(s, bytes_of(filters[0]), &m);
        cr_assert_eq(err, found > 0 ? OK : ERR_NOT_FOUND);
        cr_assert(found == 0 || m.seq == last);
    }
}

/* Every subject that matches has exactly one of the sequences, its last one up to `up_to`. */
static void last_ones_agree(struct stream *s, uint64_t up_to, char *const *filters, uint32_t count)
{
    uint64_t *seqs;
    uint32_t found, at = 0;
    struct stored_message m;
    cr_assert_eq(
        stream_last_of_each(s, up_to, (struct filters){filters, count, NULL}, 100, &seqs, &found),
        OK);
    for (uint64_t seq = s->totals.first_seq; seq <= up_to && seq <= s->totals.last_seq; seq++) {
        bool last = false;
        for (uint32_t i = 0; i < count && stream_read(s, seq, &m) == OK; i++) {
            last = last || subject_matches(bytes_of(filters[i]), m.subject);
        }
        char *subject = last ? mem_dup(m.subject.ptr, m.subject.len) : NULL;
        for (uint64_t k = seq + 1; last && k <= up_to && k <= s->totals.last_seq; k++) {
            last = stream_read(s, k, &m) != OK || !bytes_is(m.subject, subject);
        }
        cr_assert_eq(last, at < found && seqs[at] == seq);
        at += last;
        free(subject);
    }
    cr_assert_eq(at, found);
    free(seqs);
    if (found > 0) {
        cr_assert_eq(stream_last_of_each(s, up_to, (struct filters){filters, count, NULL},
                                         found - 1, &seqs, &at),
                     ERR_LIMIT);
        free(seqs);
    }
}

Test(stream, searches_find_what_a_look_at_every_message_finds)
{
    struct random random;
    random_seed(&random, 7);
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\",\"b.*\"],\"max_msgs\":60}");
    for (int i = 0; i < 300; i++) {
        char subject[8];
        (void)snprintf(subject, sizeof subject, "%c.%u", random_below(&random, 3) == 0 ? 'a' : 'b',
                       (unsigned)random_below(&random, 9));
        store(s, subject, "x", i + 1);
        uint64_t at = s->totals.first_seq + random_below(&random, 70);
        if (random_below(&random, 3) == 0 && at <= s->totals.last_seq &&
            !stream_is_deleted(s, at)) {
            delete_message(s, at);
        }
        const char *const *filters = some_filters[random_below(&random, 9)];
        searches_agree(s, random_below(&random, s->totals.last_seq + 3), (char *const *)filters,
                       filters[1] == NULL ? 1 : 2);
        searches_agree(s, 0, (char *const *)filters, filters[1] == NULL ? 1 : 2);
        last_ones_agree(s, random_below(&random, 2) == 0 ? UINT64_MAX : at, (char *const *)filters,
                        filters[1] == NULL ? 1 : 2);
    }
    stream_free(s);
}

/* In parts it comes to the same as in one go. */
Test(stream, a_purge_in_parts_is_a_purge)
{
    for (uint64_t keep = 0; keep <= 3; keep += 3) {
        uint64_t purged = 0;
        struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a\",\"b\"]}");
        for (int i = 0; i < 40; i++) {
            store(s, i % 2 == 0 ? "a" : "b", "x", i + 1);
        }
        for (uint64_t from = 1; from < 35; from += 10) {
            struct buffer b = {0};
            buffer_put_u8(&b, ENTRY_PURGE);
            buffer_put_varint(&b, from + 10 < 35 ? from + 10 : 35);
            buffer_put_varint(&b, keep);
            buffer_put_bytes(&b, BYTES_LIT("a"));
            buffer_put_varint(&b, from);
            purged += apply_buffer(s, &b).count;
        }
        cr_expect_eq(purged, 17); /* 1, 3, … 33; 35, 37 and 39 are behind the end */
        char *filter = "a";
        cr_expect_eq(stream_count_matching(s, 0, (struct filters){&filter, 1, NULL}), 3);
        counts_are_exact(s);
        stream_free(s);
    }
}

Test(stream, limits_that_are_lowered_by_far_are_kept_in_parts)
{
    struct stream *s = make("{\"name\":\"S\"}");
    struct messages_builder m = {0};
    for (int batch = 0; batch < 9; batch++) {
        messages_begin(&m, s->totals.last_seq + 1, 1);
        for (int i = 0; i < 10000; i++) {
            messages_add(&m, 1, BYTES_LIT("S"), BYTES_NONE, BYTES_LIT("x"));
        }
        (void)apply(s, messages_finish(&m));
    }
    buffer_deinit(&m.data);
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_CONFIG);
    buffer_put_bytes(&b, BYTES_LIT("{\"name\":\"S\",\"max_msgs\":10}"));
    (void)apply_buffer(s, &b);
    unsigned parts = 1;
    for (; stream_is_over_limits(s); parts++) {
        uint64_t before = s->totals.messages;
        buffer_put_u8(&b, ENTRY_EXPIRE);
        buffer_put_varint(&b, 0);
        (void)apply_buffer(s, &b);
        cr_assert_lt(s->totals.messages, before);
    }
    cr_expect_gt(parts, 1);
    cr_expect_eq(s->totals.messages, 10);
    cr_expect_eq(s->totals.first_seq, 89991);
    stream_free(s);
}

Test(stream, pages_of_subjects_are_those_of_the_sorted_list)
{
    struct random random;
    random_seed(&random, 11);
    for (unsigned round = 0; round < 40; round++) {
        struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\",\"b.*\"]}");
        unsigned messages = (unsigned)random_below(&random, 120);
        for (unsigned i = 0; i < messages; i++) {
            char subject[8];
            (void)snprintf(subject, sizeof subject, "%c.%u", i % 3 == 0 ? 'b' : 'a',
                           (unsigned)random_below(&random, 60));
            store(s, subject, "x", i + 1);
        }
        struct map_entry **sorted = map_sorted(&s->subjects);
        struct subject_state **page;
        uint32_t count, total = 0, offset = 0, limit = 1 + (uint32_t)random_below(&random, 20);
        uint32_t matching = stream_subjects(s, "a.*", 0, 0, &page, &count);
        free(page);
        for (uint32_t i = 0; sorted[i] != NULL; i++) {
            if (sorted[i]->key.ptr[0] != 'a') {
                continue;
            }
            cr_assert_eq(stream_subjects(s, "a.*", offset, limit, &page, &count), matching);
            cr_assert_lt(total - offset, count);
            cr_assert_eq(page[total - offset], sorted[i]->value);
            offset += ++total - offset == count ? count : 0;
            free(page);
        }
        cr_assert_eq(total, matching);
        free(sorted);
        stream_free(s);
    }
}
