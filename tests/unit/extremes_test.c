/* Whatever numbers clients, configurations and clocks come up with: what may be proposed can be
 * applied, and the state it leads to is the same when it has been written and read. */
#include <criterion/criterion.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/random.h"
#include "core/base/time_math.h"
#include "jetstream/state/meta.h"
#include "unit/checkpoint_fixture.h"
#include "unit/stream_fixture.h"

#define ENTRIES_MAX 60 /* of a history */

static struct random dice;

static int64_t any(void)
{
    static const int64_t ends[] = {INT64_MIN,
                                   -TIME_MAX_NS,
                                   -1,
                                   0,
                                   1,
                                   2,
                                   100,
                                   NS_PER_SEC,
                                   INT64_C(1) << 31,
                                   INT64_C(1) << 32,
                                   TIME_MAX_NS - 1,
                                   TIME_MAX_NS,
                                   TIME_MAX_NS + 1,
                                   INT64_MAX - 1,
                                   INT64_MAX};
    uint64_t pick = random_below(&dice, 2 * sizeof ends / sizeof ends[0]);
    return pick < sizeof ends / sizeof ends[0]
               ? ends[pick]
               : (int64_t)(random_next(&dice) >> random_below(&dice, 64));
}

static bool one_in(uint64_t count)
{
    return random_below(&dice, count) == 0;
}

/* A time that an entry may have, mostly one that a clock would say. */
static int64_t any_time(void)
{
    return one_in(3) ? any() : (int64_t)random_below(&dice, 5 * (uint64_t)NS_PER_SEC) + NS_PER_SEC;
}

static void put_any(json_t *o, const char *key)
{
    if (one_in(2)) {
        json_put_int(o, key, any());
    }
}

static void put_text(json_t *o, const char *key)
{
    static const char *const texts[] = {
        "", "<&>\"\\", "\x01\x7f", "\xf0\x9f\x90\x9f", "0001-01-01T00:00:00Z", "plain"};
    json_put_text(o, key, texts[random_below(&dice, sizeof texts / sizeof texts[0])]);
}

static json_t *any_stream(const char *name)
{
    static const char *const numbers[] = {"max_consumers", "max_msgs",     "max_bytes",
                                          "max_age",       "max_msg_size", "duplicate_window"};
    json_t *o = json_object();
    json_put_text(o, "name", name);
    json_put(o, "subjects", json_pack("[s,s]", "a.*", "b"));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        put_any(o, numbers[i]);
    }
    put_text(o, "description");
    json_t *metadata = json_object();
    put_text(metadata, "k");
    json_put(o, "metadata", metadata);
    if (one_in(2)) {
        json_put_text(o, "discard", "new");
    }
    return o;
}

static json_t *any_consumer(const char *name)
{
    static const char *const numbers[] = {"ack_wait",        "max_deliver", "max_waiting",
                                          "max_ack_pending", "max_batch",   "max_expires",
                                          "max_bytes"};
    static const char *const policies[] = {"all", "last", "new", "by_start_sequence",
                                           "by_start_time"};
    static const char *const times[] = {"9999-12-31T23:59:59Z", "0002-01-01T00:00:00Z",
                                        "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:03Z",
                                        "2262-04-11T23:47:16.854775807Z"};
    json_t *o = json_object();
    uint64_t policy = random_below(&dice, 5);
    json_put_text(o, "durable_name", name);
    json_put_text(o, "ack_policy", one_in(5) ? "none" : "explicit");
    json_put_text(o, "deliver_policy", policies[policy]);
    if (policy == 3) {
        json_put_int(o, "opt_start_seq", any());
    } else if (policy == 4) {
        json_put_text(o, "opt_start_time",
                      times[random_below(&dice, sizeof times / sizeof times[0])]);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        put_any(o, numbers[i]);
    }
    if (one_in(3)) {
        json_t *backoff = json_array();
        for (uint64_t i = random_below(&dice, 4); i > 0; i--) {
            (void)json_array_append_new(backoff, json_integer(any()));
        }
        json_put(o, "backoff", backoff);
    }
    if (one_in(3)) {
        json_put_text(o, "filter_subject", one_in(2) ? "a.1" : "b");
    }
    put_text(o, "description");
    return o;
}

/* As servers do it: what a client wants is read, and what was understood of it is written. */
static bool put_stream(struct buffer *b, json_t *wanted)
{
    struct stream_config config;
    struct js_error error;
    struct buffer text = {0};
    bool ok = stream_config_parse(wanted, true, &config, &error);
    json_decref(wanted);
    if (ok) {
        json_t *o = stream_config_json(&config, false);
        json_write(&text, o, 0);
        json_decref(o);
        buffer_put_bytes(b, buffer_bytes(&text));
        stream_config_deinit(&config);
    }
    buffer_deinit(&text);
    return ok;
}

static bool put_consumer(struct buffer *b, json_t *wanted)
{
    struct consumer_config config;
    struct js_error error;
    struct buffer text = {0};
    bool ok = consumer_config_parse(wanted, &config, &error);
    json_decref(wanted);
    if (ok) {
        json_t *o = consumer_config_json(&config, false);
        json_write(&text, o, 0);
        json_decref(o);
        buffer_put_bytes(b, buffer_bytes(&text));
        consumer_config_deinit(&config);
    }
    buffer_deinit(&text);
    return ok;
}

static const char *any_name(void)
{
    static const char *const names[] = {"c", "d", "e"};
    return names[random_below(&dice, 3)];
}

static uint64_t any_seq(const struct stream *s)
{
    uint64_t near = s->totals.first_seq + random_below(&dice, s->totals.messages + 2);
    return one_in(4) ? (uint64_t)any() : near;
}

static bool put_messages(struct buffer *b, const struct stream *s)
{
    struct messages_builder m = {0};
    int64_t now = any_time();
    messages_begin(&m, s->totals.last_seq + 1, now);
    for (uint64_t i = random_below(&dice, 4); i < 4; i++) {
        char header[80];
        (void)snprintf(header, sizeof header, "NATS/1.0\r\nNats-Msg-Id: %llu\r\n\r\n",
                       (unsigned long long)random_below(&dice, 50));
        messages_add(&m, one_in(2) ? now : any_time(),
                     one_in(2) ? BYTES_LIT("a.1") : BYTES_LIT("b"),
                     one_in(2) ? BYTES_NONE : bytes_of(header), BYTES_LIT("body"));
    }
    struct blob *entry = messages_finish(&m);
    buffer_append_bytes(b, blob_bytes(entry));
    blob_release(entry);
    buffer_deinit(&m.data);
    return true;
}

static void put_named(struct buffer *b, enum entry_kind kind, int64_t time)
{
    buffer_put_u8(b, (uint8_t)kind);
    buffer_put_bytes(b, bytes_of(any_name()));
    buffer_put_u64(b, (uint64_t)time);
}

/* False: nobody would propose it. */
static bool put_entry(struct buffer *b, struct stream *s)
{
    enum entry_kind kind =
        (enum entry_kind)(one_in(2) ? ENTRY_MESSAGES : ENTRY_MESSAGES + random_below(&dice, 9));
    uint64_t count = random_below(&dice, 5);
    switch (kind) {
    case ENTRY_MESSAGES:
        return put_messages(b, s);
    case ENTRY_PURGE:
        buffer_put_u8(b, kind);
        buffer_put_varint(b, any_seq(s) & (SEQ_FIRST_MAX - 1));
        buffer_put_varint(b, one_in(2) ? 0 : (uint64_t)any());
        buffer_put_bytes(b, one_in(2) ? BYTES_NONE : BYTES_LIT("a.*"));
        return true;
    case ENTRY_DELETE:
    case ENTRY_EXPIRE:
        buffer_put_u8(b, kind);
        buffer_put_varint(b, any_seq(s));
        return kind == ENTRY_DELETE || one_in(8);
    case ENTRY_CONFIG:
        buffer_put_u8(b, kind);
        return put_stream(b, any_stream("S"));
    case ENTRY_CONSUMER:
        buffer_put_u8(b, kind);
        buffer_put_u64(b, (uint64_t)any_time());
        return put_consumer(b, any_consumer(any_name()));
    case ENTRY_CONSUMER_DELETE:
        buffer_put_u8(b, kind);
        buffer_put_bytes(b, bytes_of(any_name()));
        return one_in(4);
    case ENTRY_DELIVER:
        put_named(b, kind, any_time());
        buffer_put_varint(b, count);
        while (count-- > 0) {
            buffer_put_varint(b, any_seq(s));
        }
        return true;
    case ENTRY_ACKS:
        put_named(b, kind, any_time());
        buffer_put_varint(b, count);
        while (count-- > 0) {
            buffer_put_u8(b, (uint8_t)random_below(&dice, ACK_OP_EXHAUSTED + 1));
            buffer_put_varint(b, any_seq(s));
            buffer_put_varint(b, (uint64_t)any());
        }
        return true;
    default:
        return false;
    }
}

static struct stream *nothing(void)
{
    struct stream_config config = {.name = mem_strdup("S")};
    return stream_new(&config, 0, read_log, NULL);
}

/* Checkpoints build on those before. */
static void survives_a_round_trip(struct stream *s, struct saved *saved)
{
    struct buffer b = {0};
    struct stream *whole = nothing();
    stream_encode(s, &b);
    cr_assert_eq(stream_decode(whole, buffer_bytes(&b)), OK);
    is_the_same(s, whole);
    stream_free(whole);
    buffer_deinit(&b);
    (void)checkpoint(s, saved);
    loads_as(saved, s);
}

Test(extremes, what_may_be_proposed_can_be_applied_and_its_state_survives, .timeout = 60)
{
    unsigned applied = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        random_seed(&dice, seed);
        struct saved saved = {0};
        struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\",\"b\"]}");
        s->here.wall_ns = any();
        s->here.mono_ns = 5 * NS_PER_SEC;
        while (last_index < ENTRIES_MAX) {
            struct buffer b = {0};
            struct apply_result result;
            if (put_entry(&b, s) && entry_is_understood(buffer_bytes(&b))) {
                entries[++last_index] = blob_copy(buffer_bytes(&b));
                cr_assert_eq(stream_apply(s, last_index, buffer_bytes(&b), &result, NULL, NULL), OK,
                             "seed %llu, entry %llu, kind %d", (unsigned long long)seed,
                             (unsigned long long)last_index, b.data[0]);
                applied++;
            } else {
                refused++;
            }
            buffer_deinit(&b);
            if (one_in(8)) {
                survives_a_round_trip(s, &saved);
            }
        }
        survives_a_round_trip(s, &saved);
        saved_deinit(&saved);
        stream_free(s);
    }
    cr_assert(applied > 5000 && refused > 500, "%u, %u", applied, refused);
}

/* --- the meta group --- */

static bool put_meta_entry(struct buffer *b)
{
    static const char *const ops[] = {"create", "create", "update", "delete", "echo", "polish", ""};
    const char *name = any_name();
    json_t *o = json_object();
    json_put_text(o, "op", ops[random_below(&dice, sizeof ops / sizeof ops[0])]);
    json_put_text(o, "account", one_in(20) ? "" : "$G");
    json_put_text(o, "stream", name);
    json_put_int(o, "time", any_time());
    struct stream_config config;
    struct js_error error;
    json_t *wanted = any_stream(name);
    if (stream_config_parse(wanted, true, &config, &error)) {
        json_put(o, "config", stream_config_json(&config, false));
        stream_config_deinit(&config);
    }
    json_decref(wanted);
    json_t *peers = json_array();
    for (uint64_t i = random_below(&dice, META_PEERS_MAX + 2); i > 0; i--) {
        (void)json_array_append_new(peers, json_string("00000000000000ff"));
    }
    json_put(o, "peers", peers);
    json_write(b, o, 0);
    json_decref(o);
    return meta_entry_is_understood(buffer_bytes(b));
}

static void meta_survives_a_round_trip(const struct meta *meta)
{
    struct buffer a = {0}, b = {0};
    struct meta again;
    meta_init(&again);
    meta_encode(meta, &a);
    cr_assert_eq(meta_decode(&again, buffer_bytes(&a)), OK);
    meta_encode(&again, &b);
    cr_assert(bytes_eq(buffer_bytes(&a), buffer_bytes(&b)));
    meta_deinit(&again);
    buffer_deinit(&a);
    buffer_deinit(&b);
}

Test(extremes, what_the_meta_group_is_asked_for_can_be_applied_and_survives, .timeout = 60)
{
    unsigned applied = 0, refused = 0;
    struct meta meta;
    random_seed(&dice, 1);
    meta_init(&meta);
    for (uint64_t index = 1; index < 3000; index++) {
        struct buffer b = {0};
        struct meta_change change;
        if (put_meta_entry(&b)) {
            cr_assert_eq(meta_apply(&meta, index, buffer_bytes(&b), &change), OK);
            if (change.kind == META_DELETED) {
                assignment_free(change.assignment);
            }
            free(change.account);
            free(change.reply);
            meta_survives_a_round_trip(&meta);
            applied++;
        } else {
            refused++;
        }
        buffer_deinit(&b);
    }
    meta_deinit(&meta);
    cr_assert(applied > 500 && refused > 500, "%u, %u", applied, refused);
}

Test(extremes, entries_of_a_newer_version_are_not_understood)
{
    static const char *const texts[] = {"",
                                        "{}",
                                        "[]",
                                        "null",
                                        "{\"op\":\"polish\",\"account\":\"A\",\"stream\":\"S\"}",
                                        "{\"op\":\"create\",\"account\":\"A\",\"stream\":\"S\"}",
                                        "\x0bnewer"};
    struct stream *s = make("{\"name\":\"S\"}");
    struct meta meta;
    meta_init(&meta);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct apply_result result;
        struct meta_change change;
        struct bytes text = bytes_of(texts[i]);
        cr_expect_neq(meta_apply(&meta, 1, text, &change), OK, "%s", texts[i]);
        free(change.account);
        free(change.reply);
        cr_expect(!meta_entry_is_understood(text) && !entry_is_understood(text) &&
                  !entry_is_known(text));
        cr_expect_neq(stream_apply(s, 1, text, &result, NULL, NULL), OK);
    }
    meta_deinit(&meta);
    stream_free(s);
}
