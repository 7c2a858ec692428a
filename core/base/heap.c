#include "core/base/heap.h"

#include <string.h>

#include "core/base/mem.h"

#define ITEM_MAX 64 /* bytes: what is moved is a key, not what it stands for */

static char *at(const struct heap *h, size_t index)
{
    return (char *)h->items + index * h->item_bytes;
}

static void swap(const struct heap *h, size_t a, size_t b)
{
    char kept[ITEM_MAX];
    memcpy(kept, at(h, a), h->item_bytes);
    memcpy(at(h, a), at(h, b), h->item_bytes);
    memcpy(at(h, b), kept, h->item_bytes);
}

static bool is_less(const struct heap *h, size_t a, size_t b)
{
    return h->compare(at(h, a), at(h, b)) < 0;
}

static void rise(const struct heap *h, size_t index)
{
    while (index > 0 && is_less(h, (index - 1) / 2, index)) {
        swap(h, index, (index - 1) / 2);
        index = (index - 1) / 2;
    }
}

static void sink(const struct heap *h, size_t index, size_t count)
{
    for (size_t child; (child = 2 * index + 1) < count; index = child) {
        child += child + 1 < count && is_less(h, child, child + 1);
        if (!is_less(h, index, child)) {
            return;
        }
        swap(h, index, child);
    }
}

void heap_offer(struct heap *h, const void *item, size_t limit)
{
    CHECK(h->item_bytes > 0 && h->item_bytes <= ITEM_MAX);
    CHECK(limit > 0 && h->count <= limit && h->sorted == 0);
    if (h->count == limit) {
        if (h->compare(item, h->items) < 0) {
            memcpy(h->items, item, h->item_bytes);
            sink(h, 0, h->count);
        }
        return;
    }
    if (h->count == h->cap) {
        h->cap = h->cap == 0 ? 16 : h->cap * 2;
        h->items = mem_realloc(h->items, h->cap * h->item_bytes);
    }
    memcpy(at(h, h->count), item, h->item_bytes);
    rise(h, h->count++);
}

bool heap_sort(struct heap *h, size_t count)
{
    CHECK(h->sorted <= h->count);
    for (; count > 0 && h->sorted < h->count; count--) {
        size_t last = h->count - ++h->sorted;
        swap(h, 0, last);
        sink(h, 0, last);
    }
    return h->sorted == h->count;
}
