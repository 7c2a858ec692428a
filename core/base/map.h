/* map: hash table from bytes to a pointer. Keys are copied. Iteration follows insertion slots, not
 * addresses, so two runs over the same inserts see the same order (the simulator relies on it). */
#ifndef CORE_BASE_MAP_H
#define CORE_BASE_MAP_H

#include "core/base/bytes.h"

struct map_entry {
    struct bytes key; /* owned by the map unless it borrows; ptr NULL marks a free slot */
    void *value;      /* borrowed */
};

struct map {
    struct map_entry *entries; /* dense, in insertion order, holes where key.ptr == NULL */
    uint32_t *slots;           /* entry number + 1, 0 = empty, UINT32_MAX = removed */
    uint32_t slot_count;       /* power of two, 0 while unused */
    uint32_t entry_count;      /* used part of entries, holes included */
    uint32_t entry_cap;
    uint32_t count;
    bool borrows_keys; /* set before the first put: keys are not copied, and live as long as their
                          entries do */
};

void map_deinit(struct map *m);
/* Removes all keys; values are the caller's. */
void map_clear(struct map *m);
void *map_get(const struct map *m, struct bytes key);
/* Sets or replaces; returns the value replaced or NULL. */
void *map_put(struct map *m, struct bytes key, void *value);
/* Returns the value removed or NULL. */
void *map_remove(struct map *m, struct bytes key);
/* for (uint32_t i = 0; (e = map_next(m, &i)) != NULL;) — removing the entry just seen is allowed.
 */
struct map_entry *map_next(const struct map *m, uint32_t *position);
/* Entries sorted by key; a heap array of count pointers, to be freed by the caller. */
struct map_entry **map_sorted(const struct map *m);

/* The same table keyed by a number. */
static inline struct bytes map_u64_key(const uint64_t *id)
{
    return bytes_make(id, sizeof *id);
}
static inline void *map_get_u64(const struct map *m, uint64_t id)
{
    return map_get(m, map_u64_key(&id));
}
static inline void *map_put_u64(struct map *m, uint64_t id, void *value)
{
    return map_put(m, map_u64_key(&id), value);
}
static inline void *map_remove_u64(struct map *m, uint64_t id)
{
    return map_remove(m, map_u64_key(&id));
}

#endif
