/* A set of patterns answers what comparing with each of them one by one would. */
#include "core/subject/pattern_set.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/random.h"
#include "core/subject/subject.h"

#define COUNT 40

static void draw(struct random *random, char text[32])
{
    static const char *const tokens[] = {"a", "b", "c", "*", "*"};
    unsigned count = 1 + (unsigned)random_below(random, 4);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        bool last = i + 1 == count && random_below(random, 4) == 0;
        at += (size_t)snprintf(text + at, 32 - at, "%s%s", i == 0 ? "" : ".",
                               last ? ">" : tokens[random_below(random, 5)]);
    }
}

/* As deep as it goes; and what goes deeper is not in it. */
Test(pattern_set, long_subjects_do_not_end_the_stack)
{
    static char text[2000001];
    struct pattern_set *set = pattern_set_new();
    for (size_t i = 0; i < sizeof text - 1; i++) {
        text[i] = i % 2 == 0 ? '*' : '.';
    }
    struct bytes deep = bytes_make(text, PATTERN_BYTES_MAX - 1);
    struct bytes deeper = bytes_make(text, sizeof text - 2);
    pattern_set_add(set, deep);
    pattern_set_add(set, deeper);
    cr_assert(pattern_set_overlaps(set, deep) && pattern_set_has(set, deep));
    cr_assert(!pattern_set_overlaps(set, deeper) && !pattern_set_matches(set, deeper));
    cr_assert_eq(pattern_set_covering(set, deep, 2), 1);
    pattern_set_remove(set, deeper);
    pattern_set_remove(set, deep);
    cr_assert(!pattern_set_has(set, deep));
    pattern_set_free(set);
}

Test(pattern_set, it_agrees_with_comparing_one_by_one)
{
    struct random random;
    random_seed(&random, 3);
    for (unsigned round = 0; round < 200; round++) {
        struct pattern_set *set = pattern_set_new();
        char there[COUNT][32];
        unsigned count = 0;
        for (unsigned step = 0; step < 60; step++) {
            char asked[32];
            bool overlaps = false, has = false;
            uint32_t covering = 0;
            if (count < COUNT && random_below(&random, 3) > 0) {
                draw(&random, there[count]);
                pattern_set_add(set, bytes_of(there[count++]));
            } else if (count > 0) {
                unsigned at = (unsigned)random_below(&random, count);
                pattern_set_remove(set, bytes_of(there[at]));
                memcpy(there[at], there[--count], sizeof there[at]);
            }
            draw(&random, asked);
            for (unsigned i = 0; i < count; i++) {
                overlaps = overlaps || subject_overlaps(bytes_of(there[i]), bytes_of(asked));
                covering += subject_covers(bytes_of(there[i]), bytes_of(asked));
                has = has || strcmp(there[i], asked) == 0;
            }
            cr_assert_eq(pattern_set_overlaps(set, bytes_of(asked)), overlaps, "%s", asked);
            cr_assert_eq(pattern_set_covering(set, bytes_of(asked), UINT32_MAX), covering, "%s",
                         asked);
            cr_assert_eq(pattern_set_covering(set, bytes_of(asked), 1), covering > 0);
            cr_assert_eq(pattern_set_has(set, bytes_of(asked)), has);
            bool matched = false;
            for (unsigned i = 0; i < count; i++) {
                matched = matched || subject_matches(bytes_of(there[i]), bytes_of(asked));
            }
            cr_assert_eq(pattern_set_matches(set, bytes_of(asked)), matched, "%s", asked);
        }
        pattern_set_free(set);
    }
}
