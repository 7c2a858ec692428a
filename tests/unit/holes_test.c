/* The set of deleted sequences, beside a plain array. */
#include <criterion/criterion.h>

#include "core/base/random.h"
#include "jetstream/state/holes.h"

#define SEQS 4000

static void agree(const struct holes *h, const bool *deleted)
{
    uint64_t below = 0;
    uint64_t ranges = 0;
    for (uint64_t seq = 1; seq < SEQS; seq++) {
        cr_assert_eq(holes_has(h, seq), deleted[seq]);
        if (seq % 97 == 0) {
            cr_assert_eq(holes_below(h, seq), below);
        }
        below += deleted[seq];
        ranges += deleted[seq] && !deleted[seq - 1];
    }
    cr_assert_eq(h->total, below);
    struct hole hole = {0};
    while (holes_next(h, hole.to + 1, &hole)) {
        cr_assert_not(deleted[hole.from - 1]);
        cr_assert_not(hole.to + 1 < SEQS && deleted[hole.to + 1]);
        ranges--;
    }
    cr_assert_eq(ranges, 0);
}

Test(holes, they_are_what_was_deleted)
{
    struct random random;
    random_seed(&random, 7);
    for (int round = 0; round < 20; round++) {
        static bool deleted[SEQS + 100];
        struct holes h = {0};
        uint64_t first = 1;
        memset(deleted, 0, sizeof deleted);
        for (int i = 0; i < 3000; i++) {
            uint64_t from = 1 + random_below(&random, SEQS - 60);
            uint64_t to = from + (random_below(&random, 4) == 0 ? random_below(&random, 50) : 0);
            if (round % 2 == 0) { /* every second one: many ranges, which never touch */
                from |= 1;
                to = from;
            }
            if (from >= first) {
                holes_add(&h, from, to);
                memset(deleted + from, true, to - from + 1);
            }
            if (random_below(&random, 500) == 0) {
                first += random_below(&random, 200);
                holes_forget_below(&h, first);
                memset(deleted, false, first);
            }
            if (i % 500 == 0) {
                agree(&h, deleted);
            }
        }
        agree(&h, deleted);
        holes_forget_below(&h, SEQS + 1000);
        cr_assert_eq(h.total, 0);
        holes_clear(&h);
    }
}

Test(holes, one_that_grows_stays_one)
{
    struct holes h = {0};
    struct hole hole;
    for (uint64_t seq = 1; seq <= 100000; seq++) {
        holes_add(&h, seq, seq);
    }
    cr_assert_eq(h.chunk_count, 1);
    cr_assert(holes_next(&h, 0, &hole));
    cr_assert_eq(hole.from, 1);
    cr_assert_eq(hole.to, 100000);
    holes_clear(&h);
}
