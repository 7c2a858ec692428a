/* Reading in order past what cannot be read. A block that RocksDB cannot read takes records with it
 * whose number nobody knows: an iterator stops in front of it, and where it can go on again is
 * found by trying. */
#include <stdlib.h>

#include "jetstream/store/disk_internal.h"

static bool check(struct disk_cursor *c)
{
    if (!rocksdb.iter_valid(c->it)) { /* the end, or a failure */
        rocksdb.iter_get_error(c->it, &c->failure);
    }
    return c->failure == NULL;
}

void disk_cursor_init(struct disk_cursor *c, struct disk *s, enum column_family family,
                      const rocksdb_readoptions_t *options)
{
    *c = (struct disk_cursor){.disk = s, .family = family, .options = options};
    c->it = rocksdb.create_iterator_cf(s->db, options, s->cf[family]);
}

void disk_cursor_deinit(struct disk_cursor *c)
{
    rocksdb.iter_destroy(c->it);
    free(c->failure);
}

bool disk_cursor_seek(struct disk_cursor *c, const char *key, size_t len)
{
    if (c->failure != NULL) { /* the same one may fail at the beginning of the next block, too */
        disk_cursor_deinit(c);
        disk_cursor_init(c, c->disk, c->family, c->options);
    }
    rocksdb.iter_seek(c->it, key, len);
    return check(c);
}

bool disk_cursor_next(struct disk_cursor *c)
{
    rocksdb.iter_next(c->it);
    return check(c);
}

uint64_t disk_search(uint64_t bad, bool (*readable)(void *arg, uint64_t number), void *arg)
{
    uint64_t low = bad; /* unreadable */
    uint64_t high = UINT64_MAX;
    for (uint64_t step = 1; bad + step > low && high == UINT64_MAX; step *= 2) {
        *(readable(arg, bad + step) ? &high : &low) = bad + step;
    }
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        *(readable(arg, middle) ? &high : &low) = middle;
    }
    return high;
}
