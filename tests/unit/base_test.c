#include <criterion/criterion.h>

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/map.h"

Test(base, varints_survive_a_round_trip)
{
    static const uint64_t values[] = {0, 1, 127, 128, 300, 1u << 31, UINT64_MAX};
    struct buffer b = {0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        buffer_put_varint(&b, values[i]);
    }
    struct reader r = reader_make(buffer_bytes(&b));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        cr_assert_eq(reader_varint(&r), values[i]);
    }
    cr_assert(reader_done(&r));
    buffer_deinit(&b);
}

Test(base, a_short_read_marks_the_reader_bad_and_stays_in_bounds)
{
    struct reader r = reader_make(BYTES_LIT("\x05"
                                            "abc"));
    cr_assert_eq(reader_bytes(&r).len, 0);
    cr_assert(r.bad);
    cr_assert_eq(reader_u64(&r), 0);
}

Test(base, crc32c_has_the_published_check_value)
{
    cr_assert_eq(hash_crc32c(0, "123456789", 9), 0xe3069283u);
    uint32_t first = hash_crc32c(0, "1234", 4);
    cr_assert_eq(hash_crc32c(first, "56789", 5), 0xe3069283u);
}

Test(base, names_hash_to_the_ids_that_nats_shows)
{
    char id[9];
    hash_name8(BYTES_LIT("N1"), id); /* observed on nats-server */
    cr_assert_str_eq(id, "xZ93l5JM");
    hash_name8(BYTES_LIT("N2"), id);
    cr_assert_str_eq(id, "gX64jrmD");
    cr_assert_eq(hash_fnv1a(BYTES_LIT("$G")) % 3, 2);
}

Test(base, a_map_keeps_insertion_order_and_survives_removal_while_walking)
{
    struct map m = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        cr_assert_null(map_put_u64(&m, i, (void *)(uintptr_t)(i + 1)));
    }
    uint64_t expected = 0;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&m, &i)) != NULL;) {
        uint64_t key;
        memcpy(&key, e->key.ptr, sizeof key);
        cr_assert_eq(key, expected++);
        if (key % 2 == 0) {
            cr_assert_eq((uintptr_t)map_remove_u64(&m, key), key + 1);
        }
    }
    cr_assert_eq(m.count, 500);
    cr_assert_null(map_get_u64(&m, 10));
    cr_assert_eq((uintptr_t)map_get_u64(&m, 11), 12);
    map_deinit(&m);
}

Test(base, times_read_and_print_as_rfc3339)
{
    static const char *const same[] = {"2026-11-21T06:55:22.023315643Z", "1999-12-31T23:59:59Z",
                                       "2026-01-02T03:04:05.5Z"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        int64_t ns;
        char text[CLOCK_RFC3339_MAX];
        cr_assert(clock_parse_rfc3339(bytes_of(same[i]), &ns));
        clock_format_rfc3339(ns, text);
        cr_assert_str_eq(text, same[i]);
    }
    int64_t a, b;
    cr_assert(clock_parse_rfc3339(BYTES_LIT("2026-11-21T08:00:00+02:00"), &a));
    cr_assert(clock_parse_rfc3339(BYTES_LIT("2026-11-21T06:00:00Z"), &b));
    cr_assert_eq(a, b);
    cr_assert_not(clock_parse_rfc3339(BYTES_LIT("yesterday"), &a));
}

Test(base, durations_follow_gos_notation)
{
    static const struct {
        const char *text;
        int64_t ns;
        bool ok;
    } rows[] = {{"1h30m", 5400 * NS_PER_SEC, true},
                {"250ms", 250 * NS_PER_MS, true},
                {"-1.5s", -1500 * NS_PER_MS, true},
                {"0", 0, true},
                {"5", 0, false},
                {"1x", 0, false},
                {"", 0, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t ns = 0;
        cr_assert_eq(clock_parse_duration(bytes_of(rows[i].text), &ns), rows[i].ok, "%s",
                     rows[i].text);
        cr_assert(!rows[i].ok || ns == rows[i].ns, "%s", rows[i].text);
    }
}

Test(base, uptime_reads_as_nats_prints_it)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } rows[] = {
        {5, "5s"}, {65, "1m5s"}, {7205, "2h0m5s"}, {86400, "1d0h0m0s"}, {31536000, "1y0d0h0m0s"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[48];
        clock_format_uptime(rows[i].seconds * NS_PER_SEC, text);
        cr_assert_str_eq(text, rows[i].text);
    }
}
