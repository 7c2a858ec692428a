#include "core/base/table.h"

#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/mem.h"

/* Open addressing with linear probing. Removing moves later items of the same run back, so there
 * are no marks of removed items, and a lookup ends at the first free slot.
 *
 * (1) count <= 3/4 slot_count; a table of which less than an eighth is used gets smaller. */
#define SLOTS_MIN 2

static uint32_t home_of(const struct table *t, struct bytes key)
{
    return (uint32_t)hash_bytes(key) & (t->slot_count - 1);
}

static uint32_t next_slot(const struct table *t, uint32_t at)
{
    return (at + 1) & (t->slot_count - 1);
}

void **table_find(const struct table *t, struct bytes key, table_key key_of, uint32_t context)
{
    if (t->count == 0) {
        return NULL;
    }
    for (uint32_t at = home_of(t, key); t->slots[at] != NULL; at = next_slot(t, at)) {
        if (bytes_eq(key_of(t->slots[at], context), key)) {
            return &t->slots[at];
        }
    }
    return NULL;
}

void *table_get(const struct table *t, struct bytes key, table_key key_of, uint32_t context)
{
    void **found = table_find(t, key, key_of, context);
    return found == NULL ? NULL : *found;
}

static void place(struct table *t, void *item, table_key key_of, uint32_t context)
{
    uint32_t at = home_of(t, key_of(item, context));
    while (t->slots[at] != NULL) {
        at = next_slot(t, at);
    }
    t->slots[at] = item;
}

static void resize(struct table *t, uint32_t slot_count, table_key key_of, uint32_t context)
{
    struct table old = *t;
    t->slots = mem_zalloc(slot_count * sizeof *t->slots);
    t->slot_count = slot_count;
    void *item;
    for (uint32_t i = 0; (item = table_next(&old, &i)) != NULL;) {
        place(t, item, key_of, context);
    }
    free(old.slots);
}

void table_add(struct table *t, void *item, table_key key_of, uint32_t context)
{
    if (t->slot_count == 0) {
        resize(t, SLOTS_MIN, key_of, context);
    } else if ((uint64_t)(t->count + 1) * 4 > (uint64_t)t->slot_count * 3) {
        CHECK(t->slot_count <= UINT32_MAX / 2);
        resize(t, t->slot_count * 2, key_of, context);
    }
    place(t, item, key_of, context);
    t->count++;
}

void *table_remove(struct table *t, struct bytes key, table_key key_of, uint32_t context)
{
    void **found = table_find(t, key, key_of, context);
    if (found == NULL) {
        return NULL;
    }
    void *item = *found;
    uint32_t hole = (uint32_t)(found - t->slots);
    uint32_t mask = t->slot_count - 1;
    for (uint32_t at = next_slot(t, hole); t->slots[at] != NULL; at = next_slot(t, at)) {
        uint32_t home = home_of(t, key_of(t->slots[at], context));
        if (((at - home) & mask) >= ((at - hole) & mask)) { /* its run reaches over the hole */
            t->slots[hole] = t->slots[at];
            hole = at;
        }
    }
    t->slots[hole] = NULL;
    if (--t->count == 0) {
        table_clear(t);
    } else if (t->count < t->slot_count / 8) {
        resize(t, t->slot_count / 2, key_of, context);
    }
    return item;
}

void table_clear(struct table *t)
{
    free(t->slots);
    *t = (struct table){0};
}

void *table_next(const struct table *t, uint32_t *position)
{
    while (*position < t->slot_count) {
        void *item = t->slots[(*position)++];
        if (item != NULL) {
            return item;
        }
    }
    return NULL;
}
