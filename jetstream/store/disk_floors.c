/* What limits have passed is deleted as one range per checkpoint. The tombstone takes the records
 * along when both meet in a compaction, and until then they are copied from level to level like all
 * the others. So compactions are told below which index a group has nothing any more, and leave out
 * what lies there (20 streams of 10 MB: a quarter less on disk).
 *
 * (1) Below its floor a group has no record that is not deleted: a floor rises only when the
 *     deletion is on disk, and sinks before a record below it is written.
 * (2) A compaction works with the floors of its beginning. Those that have sunk since did so for
 *     records that are not in its files.
 *
 * Floors are not kept: after a start the first checkpoint of a group deletes from 0 again.
 *
 * Threads: only the commit thread changes them; RocksDB's background threads make copies. */
#include <stdlib.h>

#include "jetstream/store/disk_internal.h"

struct floors { /* a compaction's copy */
    struct floor *list;
    uint32_t count, at;
};

#define FILTER_NAME "trireme.floors"

/* The first of them that is not below `group`. */
static uint32_t place_of(const struct floor *list, uint32_t count, uint64_t group)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (list[middle].group < group) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct floor *find(struct disk *s, uint64_t group)
{
    uint32_t at = place_of(s->floors, s->floor_count, group);
    return at < s->floor_count && s->floors[at].group == group ? &s->floors[at] : NULL;
}

static void insert(struct disk *s, uint64_t group, raft_index index)
{
    uint32_t at = place_of(s->floors, s->floor_count, group);
    VEC_RESERVE(s->floors, s->floor_cap, s->floor_count);
    memmove(&s->floors[at + 1], &s->floors[at], (s->floor_count - at) * sizeof *s->floors);
    s->floors[at] = (struct floor){group, index};
    s->floor_count++;
}

static void remove_floor(struct disk *s, struct floor *f)
{
    size_t behind = s->floor_count - (size_t)(f - s->floors) - 1;
    memmove(f, f + 1, behind * sizeof *f);
    s->floor_count--;
}

void disk_floors_before(struct disk *s, const struct op *op)
{
    struct floor *f = op->kind == OP_PUT_ENTRY ? find(s, op->group) : NULL;
    if (f != NULL && op->index < f->index) {
        pthread_mutex_lock(&s->floor_lock);
        f->index = op->index;
        pthread_mutex_unlock(&s->floor_lock);
    }
}

void disk_floors_after(struct disk *s, const struct op *op)
{
    if (op->kind != OP_DELETE_RANGE && op->kind != OP_DELETE_GROUP) {
        return;
    }
    pthread_mutex_lock(&s->floor_lock);
    struct floor *f = find(s, op->group);
    if (op->kind == OP_DELETE_GROUP && f != NULL) {
        remove_floor(s, f);
    } else if (f != NULL && op->index <= f->index && op->to > f->index) {
        f->index = op->to;
    } else if (f == NULL && op->kind == OP_DELETE_RANGE && op->index == 0) {
        insert(s, op->group, op->to);
    }
    pthread_mutex_unlock(&s->floor_lock);
}

/* --- what RocksDB calls --- */

static void destroy(void *arg)
{
    struct floors *c = arg;
    free(c->list);
    free(c);
}

/* 1: left out. */
static unsigned char is_below(void *arg, int level, const char *key, size_t key_len,
                              const char *value, size_t value_len, char **new_value,
                              size_t *new_value_len, unsigned char *changed)
{
    (void)level, (void)value, (void)value_len, (void)new_value, (void)new_value_len, (void)changed;
    struct floors *c = arg;
    if (key_len != DISK_LOG_KEY_LEN) {
        return 0;
    }
    uint64_t group = get_be64(key);
    if (c->at >= c->count || c->list[c->at].group != group) { /* they come group by group */
        c->at = place_of(c->list, c->count, group);
    }
    return c->at < c->count && c->list[c->at].group == group &&
           get_be64(key + 8) < c->list[c->at].index;
}

static const char *name_of(void *arg)
{
    (void)arg;
    return FILTER_NAME;
}

static void nothing(void *arg)
{
    (void)arg;
}

static rocksdb_compactionfilter_t *begin(void *arg, rocksdb_compactionfiltercontext_t *context)
{
    (void)context;
    struct disk *s = arg;
    struct floors *c = NEW(struct floors);
    pthread_mutex_lock(&s->floor_lock);
    c->count = s->floor_count;
    c->list = mem_alloc((c->count + 1) * sizeof *c->list);
    for (uint32_t i = 0; i < c->count; i++) {
        c->list[i] = s->floors[i];
    }
    pthread_mutex_unlock(&s->floor_lock);
    return rocksdb.compactionfilter_create(c, destroy, is_below, name_of);
}

void disk_floors_open(struct disk *s, rocksdb_options_t *log_options)
{
    pthread_mutex_init(&s->floor_lock, NULL);
    rocksdb.options_set_compaction_filter_factory(
        log_options, rocksdb.compactionfilterfactory_create(s, nothing, begin, name_of));
}

void disk_floors_close(struct disk *s)
{
    pthread_mutex_destroy(&s->floor_lock);
    free(s->floors);
}
