#include "core/base/map.h"

#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/mem.h"

#define SLOT_REMOVED UINT32_MAX

void map_clear(struct map *m)
{
    for (uint32_t i = 0; i < m->entry_count && !m->borrows_keys; i++) {
        free((char *)m->entries[i].key.ptr);
    }
    free(m->entries);
    free(m->slots);
    *m = (struct map){.borrows_keys = m->borrows_keys};
}

void map_deinit(struct map *m)
{
    map_clear(m);
}

static uint32_t *find_slot(const struct map *m, struct bytes key)
{
    if (m->slot_count == 0) {
        return NULL;
    }
    uint32_t mask = m->slot_count - 1;
    for (uint32_t at = (uint32_t)hash_bytes(key) & mask;; at = (at + 1) & mask) {
        uint32_t slot = m->slots[at];
        if (slot == 0) {
            return NULL;
        }
        if (slot != SLOT_REMOVED && bytes_eq(m->entries[slot - 1].key, key)) {
            return &m->slots[at];
        }
    }
}

void *map_get(const struct map *m, struct bytes key)
{
    uint32_t *slot = find_slot(m, key);
    return slot == NULL ? NULL : m->entries[*slot - 1].value;
}

/* Squeezes the holes out and rebuilds the slots with room for twice the live entries. */
static void rebuild(struct map *m)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i].key.ptr != NULL) {
            m->entries[live++] = m->entries[i];
        }
    }
    CHECK(live == m->count);
    m->entry_count = live;
    uint32_t slots = 8;
    while (slots < live * 3) {
        slots *= 2;
    }
    free(m->slots);
    m->slots = mem_zalloc(slots * sizeof *m->slots);
    m->slot_count = slots;
    m->entry_cap = slots / 2 + 1;
    m->entries = mem_realloc(m->entries, m->entry_cap * sizeof *m->entries);
    for (uint32_t i = 0; i < live; i++) {
        uint32_t at = (uint32_t)hash_bytes(m->entries[i].key) & (slots - 1);
        while (m->slots[at] != 0) {
            at = (at + 1) & (slots - 1);
        }
        m->slots[at] = i + 1;
    }
}

void *map_put(struct map *m, struct bytes key, void *value)
{
    uint32_t *found = find_slot(m, key);
    if (found != NULL) {
        struct map_entry *e = &m->entries[*found - 1];
        void *old = e->value;
        e->value = value;
        return old;
    }
    if (m->entry_count >= m->entry_cap) {
        rebuild(m);
    }
    uint32_t mask = m->slot_count - 1;
    uint32_t at = (uint32_t)hash_bytes(key) & mask;
    while (m->slots[at] != 0 && m->slots[at] != SLOT_REMOVED) {
        at = (at + 1) & mask;
    }
    m->entries[m->entry_count] = (struct map_entry){
        m->borrows_keys ? key : bytes_make(mem_dup(key.ptr, key.len), key.len), value};
    m->slots[at] = ++m->entry_count;
    m->count++;
    return NULL;
}

void *map_remove(struct map *m, struct bytes key)
{
    uint32_t *slot = find_slot(m, key);
    if (slot == NULL) {
        return NULL;
    }
    struct map_entry *e = &m->entries[*slot - 1];
    void *value = e->value;
    if (!m->borrows_keys) {
        free((char *)e->key.ptr);
    }
    *e = (struct map_entry){0};
    *slot = SLOT_REMOVED;
    if (--m->count == 0) {
        map_clear(m);
    }
    return value;
}

struct map_entry *map_next(const struct map *m, uint32_t *position)
{
    while (*position < m->entry_count) {
        struct map_entry *e = &m->entries[(*position)++];
        if (e->key.ptr != NULL) {
            return e;
        }
    }
    return NULL;
}

static int by_key(const void *a, const void *b)
{
    const struct map_entry *const *x = a;
    const struct map_entry *const *y = b;
    return bytes_cmp((*x)->key, (*y)->key);
}

struct map_entry **map_sorted(const struct map *m)
{
    struct map_entry **list = mem_alloc((m->count + 1u) * sizeof *list);
    uint32_t n = 0;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(m, &i)) != NULL;) {
        list[n++] = e;
    }
    list[n] = NULL;
    qsort(list, n, sizeof *list, by_key);
    return list;
}
