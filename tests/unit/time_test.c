/* Times and durations at the ends of their ranges, and the timers that are given them. */
#include <criterion/criterion.h>

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/random.h"
#include "core/runtime/loop.h"

static const int64_t ends[] = {
    INT64_MIN,   INT64_MIN + 1,   -TIME_MAX_NS,  -1,       0, 1, NS_PER_SEC, TIME_MAX_NS - 1,
    TIME_MAX_NS, TIME_MAX_NS + 1, INT64_MAX - 1, INT64_MAX};
#define ENDS (sizeof ends / sizeof ends[0])

static int64_t nearest(__int128 exact)
{
    return exact > INT64_MAX ? INT64_MAX : exact < INT64_MIN ? INT64_MIN : (int64_t)exact;
}

static void sums_are_right(int64_t a, int64_t b)
{
    int64_t after = time_after(time_clamp(a), b);
    cr_assert_eq(time_add(a, b), nearest((__int128)a + b));
    cr_assert_eq(time_sub(a, b), nearest((__int128)a - b));
    cr_assert_geq(time_until(a, b), 0);
    cr_assert(after >= time_clamp(a) && after <= TIME_MAX_NS);
    cr_assert(time_clamp(a) >= 0 && time_clamp(a) <= TIME_MAX_NS);
    if (b > 0) {
        cr_assert_eq(time_scale(a, b), nearest((__int128)a * b));
    }
    if (a > 0) { /* never too early, nor a whole ms late */
        __int128 late = (__int128)time_ms_up(a) * NS_PER_MS - a;
        cr_assert(late >= 0 && late < NS_PER_MS);
    }
}

Test(time, sums_end_at_the_ends_of_their_range)
{
    struct random r;
    random_seed(&r, 1);
    for (size_t i = 0; i < ENDS; i++) {
        for (size_t k = 0; k < ENDS; k++) {
            sums_are_right(ends[i], ends[k]);
        }
    }
    for (int i = 0; i < 100000; i++) {
        sums_are_right((int64_t)(random_next(&r) >> random_below(&r, 64)),
                       (int64_t)random_next(&r) >> random_below(&r, 64));
    }
    cr_assert_eq(time_ms_up(-5), 0);
    cr_assert_eq(time_ms_up(1), 1);
}

Test(time, what_was_written_by_a_wrong_clock_can_be_read)
{
    for (size_t i = 0; i < ENDS; i++) {
        struct buffer b = {0};
        buffer_put_u64(&b, (uint64_t)ends[i]);
        buffer_put_u64(&b, (uint64_t)ends[i]);
        struct reader r = reader_make(buffer_bytes(&b));
        cr_assert_eq(reader_time(&r), time_clamp(ends[i]));
        cr_assert_eq(reader_deadline(&r), ends[i] < 0 ? TIME_MAX_NS : time_clamp(ends[i]));
        cr_assert(reader_done(&r));
        buffer_deinit(&b);
    }
}

Test(time, dates_outside_of_int64_become_its_ends)
{
    int64_t ns;
    cr_assert(clock_parse_rfc3339(bytes_of("9999-12-31T23:59:59.9Z"), &ns));
    cr_assert_eq(ns, INT64_MAX);
    cr_assert(clock_parse_rfc3339(bytes_of("0002-01-01T00:00:00Z"), &ns));
    cr_assert_eq(ns, INT64_MIN);
    for (size_t i = 0; i < ENDS; i++) {
        char text[CLOCK_RFC3339_MAX];
        (void)clock_format_rfc3339(ends[i], text);
        cr_assert(clock_parse_rfc3339(bytes_of(text), &ns));
        cr_assert_eq(ns, ends[i], "%s", text);
    }
}

Test(time, durations_end_where_sums_of_them_are_safe)
{
    int64_t ns;
    cr_assert(clock_parse_duration(bytes_of("2562047h"), &ns));
    cr_assert_eq(ns, TIME_MAX_NS);
    cr_assert(clock_parse_duration(bytes_of("-2500000h"), &ns));
    cr_assert_eq(ns, -TIME_MAX_NS);
    cr_assert(!clock_parse_duration(bytes_of("9000000h"), &ns));
    cr_assert(clock_parse_duration(bytes_of("1281023h"), &ns));
    cr_assert_eq(ns, INT64_C(1281023) * 3600 * NS_PER_SEC);
}

/* --- timers --- */

struct timers {
    struct loop *loop;
    struct loop_timer timers[ENDS], again, last;
    unsigned fired[ENDS], again_fired;
    uv_sem_t done;
};

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

static void again(void *arg)
{
    struct timers *t = arg;
    if (++t->again_fired < 100) {
        loop_timer_arm(t->loop, &t->again, INT64_MIN, again, t); /* always due */
    }
}

static void last(void *arg)
{
    struct timers *t = arg;
    for (size_t i = 0; i < ENDS; i++) {
        loop_timer_cancel(t->loop, &t->timers[i]);
    }
    uv_sem_post(&t->done);
}

static void arm(void *arg)
{
    struct timers *t = arg;
    int64_t now = clock_mono_ns();
    loop_timer_arm(t->loop, &t->again, now, again, t);
    for (size_t i = 0; i < ENDS; i++) {
        loop_timer_arm(t->loop, &t->timers[i], ends[i], count, &t->fired[i]);
    }
    loop_timer_arm(t->loop, &t->last, now + 20 * NS_PER_MS, last, t);
}

Test(time, a_timer_takes_any_time_and_holds_up_no_other)
{
    struct loops *loops = loops_start(1);
    struct timers *t = calloc(1, sizeof *t);
    t->loop = loops_at(loops, 0);
    cr_assert_eq(uv_sem_init(&t->done, 0), 0);
    loop_post(t->loop, arm, t);
    uv_sem_wait(&t->done);
    loops_stop(loops);
    for (size_t i = 0; i < ENDS; i++) {
        cr_assert_eq(t->fired[i], ends[i] <= NS_PER_SEC ? 1 : 0, "%zu",
                     i); /* since the machine began */
    }
    cr_assert_gt(t->again_fired, 0);
    uv_sem_destroy(&t->done);
    loops_free(loops);
    free(t);
}
