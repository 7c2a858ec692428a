/* table: hash table of items that hold their own keys. One pointer per slot and nothing else, for
 * what exists by the million; core/base/map.h is for everything smaller.
 *
 * The table does not own its items. It may not change while it is walked, but for table_clear(). */
#ifndef CORE_BASE_TABLE_H
#define CORE_BASE_TABLE_H

#include <stdint.h>

#include "core/base/bytes.h"

/* The key of an item, which stands still while it is in the table. `context` is what the caller of
 * table_… gave; it must be the same in every call on one table. */
typedef struct bytes (*table_key)(const void *item, uint32_t context);

struct table {
    void **slots;        /* owned; NULL: free */
    uint32_t slot_count; /* power of two, 0 while unused */
    uint32_t count;
};

/* NULL when there is none. */
void *table_get(const struct table *t, struct bytes key, table_key key_of, uint32_t context);
/* No item with the same key may be there. */
void table_add(struct table *t, void *item, table_key key_of, uint32_t context);
/* Where the item with that key is: the caller may put another one of the same key there. NULL when
 * there is none. */
void **table_find(const struct table *t, struct bytes key, table_key key_of, uint32_t context);
/* Returns the item removed, or NULL. */
void *table_remove(struct table *t, struct bytes key, table_key key_of, uint32_t context);
/* Forgets all items and gives the memory back. */
void table_clear(struct table *t);
/* for (uint32_t i = 0; (item = table_next(t, &i)) != NULL;) */
void *table_next(const struct table *t, uint32_t *position);

#endif
