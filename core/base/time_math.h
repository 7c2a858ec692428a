/* time_math: points in time and durations that somebody else chose, calculated with: a client, a
 * configuration, a clock that is wrong, an entry of another server's log. Any int64 is taken, and
 * what would not fit ends at the end of the range instead of wrapping. All in ns.
 *
 * A bare +, - or * on such a number is a bug. */
#ifndef CORE_BASE_TIME_MATH_H
#define CORE_BASE_TIME_MATH_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SEC INT64_C(1000000000)
#define NS_PER_MS  INT64_C(1000000)

/* The last point in time that data may name (in 2116): "never" for what is waited for. What is left
 * of int64 is room. */
#define TIME_MAX_NS (INT64_MAX / 2)

static inline int64_t time_add(int64_t a, int64_t b)
{
    int64_t sum;
    return !__builtin_add_overflow(a, b, &sum) ? sum : b > 0 ? INT64_MAX : INT64_MIN;
}

static inline int64_t time_sub(int64_t a, int64_t b)
{
    int64_t difference;
    return !__builtin_sub_overflow(a, b, &difference) ? difference : b < 0 ? INT64_MAX : INT64_MIN;
}

/* `count` of something, seconds or milliseconds or intervals, each `unit` > 0 long. */
static inline int64_t time_scale(int64_t count, int64_t unit)
{
    int64_t product;
    return !__builtin_mul_overflow(count, unit, &product) ? product
           : count > 0                                    ? INT64_MAX
                                                          : INT64_MIN;
}

/* The nearest point in time that data may name: from 1970 on, up to TIME_MAX_NS. */
static inline int64_t time_clamp(int64_t ns)
{
    return ns < 0 ? 0 : ns > TIME_MAX_NS ? TIME_MAX_NS : ns;
}

/* May data name it? A clock that says something else is wrong: nothing is written by it. */
static inline bool time_is_storable(int64_t ns)
{
    return ns > 0 && ns < TIME_MAX_NS;
}

/* When a wait is over that begins at `now`: at most TIME_MAX_NS, and no wait below zero. */
static inline int64_t time_after(int64_t now, int64_t wait)
{
    int64_t end = time_add(now, wait < 0 ? 0 : wait);
    return end > TIME_MAX_NS ? TIME_MAX_NS : end;
}

/* How long there is to wait for `due`; 0: it is past. */
static inline int64_t time_until(int64_t due, int64_t now)
{
    int64_t wait = time_sub(due, now);
    return wait < 0 ? 0 : wait;
}

/* For timers that count in ms: never too early. */
static inline uint64_t time_ms_up(int64_t wait)
{
    return wait <= 0 ? 0 : (uint64_t)wait / NS_PER_MS + ((uint64_t)wait % NS_PER_MS != 0);
}

#endif
