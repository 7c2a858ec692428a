#include "core/broker/login_limits.h"

#include <criterion/criterion.h>

#include "core/base/clock.h"

#define ADDRESS 0x0100007f
#define OTHER   0x0200007f
#define ALICE   BYTES_LIT("alice")
#define BOB     BYTES_LIT("bob")

/* Attempts that are judged when `per_second` are made, for `seconds`. */
static unsigned guess(struct login_limits *l, uint64_t address, struct bytes user, int64_t from,
                      int seconds, int per_second)
{
    unsigned judged = 0;
    for (int i = 0; i < seconds * per_second; i++) {
        int64_t now = from + (int64_t)i * NS_PER_SEC / per_second;
        int64_t wait = login_limits_begin(l, address, user, now);
        cr_assert_leq(wait, LOGIN_WAIT_MAX_NS);
        judged += wait >= 0;
    }
    return judged;
}

Test(login_limits, ten_failures_are_free_then_one_a_second_from_however_many_connections)
{
    struct login_limits *l = login_limits_new();
    unsigned judged = guess(l, ADDRESS, ALICE, NS_PER_SEC, 10, 2000);
    cr_assert(judged >= 18 && judged <= 28, "%u", judged);
    /* under another name as well */
    judged = guess(l, ADDRESS, BOB, 11 * NS_PER_SEC, 10, 2000);
    cr_assert(judged >= 8 && judged <= 12, "%u", judged);
    /* another address is judged at once, the same one again after a quiet minute */
    cr_assert_eq(login_limits_begin(l, OTHER, ALICE, 21 * NS_PER_SEC), 0);
    cr_assert_eq(login_limits_begin(l, ADDRESS, ALICE, 90 * NS_PER_SEC), 0);
    login_limits_free(l);
}

Test(login_limits, successes_cost_nothing)
{
    struct login_limits *l = login_limits_new();
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(login_limits_begin(l, ADDRESS, BOB, NS_PER_SEC + i), 0);
        login_limits_succeeded(l, ADDRESS, BOB, NS_PER_SEC + i);
    }
    login_limits_free(l);
}

Test(login_limits, who_logs_in_from_an_address_is_not_delayed_by_guesses_from_it)
{
    struct login_limits *l = login_limits_new();
    cr_assert_eq(login_limits_begin(l, ADDRESS, BOB, 1), 0);
    login_limits_succeeded(l, ADDRESS, BOB, 1);
    (void)guess(l, ADDRESS, ALICE, NS_PER_SEC, 5, 1000);
    cr_assert_neq(login_limits_begin(l, ADDRESS, ALICE, 6 * NS_PER_SEC), 0);
    cr_assert_eq(login_limits_begin(l, ADDRESS, BOB, 6 * NS_PER_SEC), 0);
    login_limits_succeeded(l, ADDRESS, BOB, 6 * NS_PER_SEC);
    /* guesses at bob's password are limited on their own, and do not buy any at others' */
    unsigned judged = guess(l, ADDRESS, BOB, 7 * NS_PER_SEC, 10, 1000);
    cr_assert_leq(judged, 28, "%u", judged);
    (void)login_limits_begin(l, ADDRESS, ALICE, 17 * NS_PER_SEC);
    cr_assert_neq(login_limits_begin(l, ADDRESS, ALICE, 17 * NS_PER_SEC), 0);
    login_limits_free(l);
}

Test(login_limits, many_addresses_fit_and_the_oldest_are_forgotten)
{
    struct login_limits *l = login_limits_new();
    (void)guess(l, ADDRESS, ALICE, NS_PER_SEC, 1, 1000);
    for (uint64_t i = 0; i < 2000; i++) { /* a quarter of the places */
        cr_assert_geq(login_limits_begin(l, 1000 + i, ALICE, 2 * NS_PER_SEC), 0);
    }
    cr_assert_neq(login_limits_begin(l, ADDRESS, ALICE, 2 * NS_PER_SEC), 0);
    for (uint64_t i = 0; i < 100000; i++) {
        cr_assert_geq(login_limits_begin(l, 10000 + i, ALICE, 3 * NS_PER_SEC), 0);
    }
    login_limits_free(l);
}
