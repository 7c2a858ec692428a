/* heap: the first of many items in an order, in memory for those alone; and their sorting, a few at
 * a time. A heap in an array whose greatest item comes first. */
#ifndef CORE_BASE_HEAP_H
#define CORE_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/check.h"

/* The caller fills the first part and zeroes the rest. Items are moved as bytes. */
struct heap {
    size_t item_bytes;
    int (*compare)(const void *a, const void *b); /* as for qsort() */

    void *items;   /* owned by the caller: to be freed */
    size_t count;  /* of items */
    size_t cap;    /* of items */
    size_t sorted; /* how many of the items, the last ones, stand where they belong */
};

/* Adds a copy of the item. When there are `limit` (> 0) already, the greatest of them all goes.
 * Before heap_sort(). */
void heap_offer(struct heap *h, const void *item, size_t limit);
/* Goes on with the sorting by `count` items; true when all `items` are in order. */
bool heap_sort(struct heap *h, size_t count);

#endif
