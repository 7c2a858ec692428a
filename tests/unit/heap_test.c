#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/heap.h"
#include "core/base/random.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Of any number of items, whatever the limit and the slices: the first ones, in order, as qsort()
 * has them. */
Test(heap, keeps_the_first_ones_and_sorts_them)
{
    struct random random;
    random_seed(&random, 3);
    for (size_t round = 0; round < 400; round++) {
        uint64_t all[200];
        size_t count = random_below(&random, 200);
        size_t limit = 1 + random_below(&random, 250);
        struct heap h = {.item_bytes = sizeof all[0], .compare = compare};
        for (size_t i = 0; i < count; i++) {
            all[i] = random_below(&random, 100);
            heap_offer(&h, &all[i], limit);
        }
        qsort(all, count, sizeof all[0], compare);
        size_t kept = count < limit ? count : limit;
        while (!heap_sort(&h, 1 + round % 7)) {
            cr_assert_lt(h.sorted, kept);
        }
        cr_assert_eq(h.count, kept);
        cr_assert_eq(memcmp(h.items == NULL ? all : h.items, all, kept * sizeof all[0]), 0);
        free(h.items);
    }
}
