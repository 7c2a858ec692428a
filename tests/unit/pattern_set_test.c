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
        }
        pattern_set_free(set);
    }
}
