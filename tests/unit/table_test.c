#include <criterion/criterion.h>
#include <stdio.h>

#include "core/base/random.h"
#include "core/base/table.h"

struct item {
    char key[8];
    bool present;
};

static struct bytes key_of(const void *item, uint32_t context)
{
    return bytes_skip(bytes_of(((const struct item *)item)->key), context);
}

/* Against a plain array, through growing and shrinking, with keys that begin behind a context. */
Test(table, agrees_with_an_array)
{
    enum { ITEMS = 3000 };
    static struct item items[ITEMS];
    struct table table = {0};
    struct random random;
    random_seed(&random, 7);
    uint32_t count = 0;
    for (int i = 0; i < ITEMS; i++) {
        snprintf(items[i].key, sizeof items[i].key, "x.%d", i);
    }
    for (int round = 0; round < 60000; round++) {
        bool fill = round / 20000 != 1; /* fill, empty, fill again */
        struct item *item = &items[random_below(&random, ITEMS)];
        struct bytes key = bytes_skip(bytes_of(item->key), 2);
        cr_assert_eq(table_get(&table, key, key_of, 2) == item, item->present);
        if (fill && !item->present) {
            table_add(&table, item, key_of, 2);
            item->present = true;
            count++;
        } else if (!fill && item->present) {
            cr_assert_eq(table_remove(&table, key, key_of, 2), item);
            item->present = false;
            count--;
        }
        cr_assert_eq(table.count, count);
    }
    uint32_t seen = 0;
    const struct item *item;
    for (uint32_t i = 0; (item = table_next(&table, &i)) != NULL; seen++) {
        cr_assert(item->present);
    }
    cr_assert_eq(seen, count);
    table_clear(&table);
    cr_assert_null(table_get(&table, BYTES_LIT("1"), key_of, 2));
}
