/* The store of streams that live in memory: the same interface, nothing on disk. What a restart
 * takes is for the groups what a wiped disk is: the replica is unproven and fetches everything
 * anew.
 *
 *   group  (log, rows: sorted by index, with a free front; states by name)
 *
 * Writes happen at the end of the turn that submitted them; completions come in the next one. */
#include <pthread.h>
#include <stdlib.h>

#include "core/base/map.h"
#include "jetstream/store/store_internal.h"

struct record {
    raft_index index;
    raft_term term;
    uint8_t kind;
    struct blob *data; /* counted */
};

struct records {
    struct record *list; /* [from, count) ascend by index */
    uint32_t from, count, cap;
};

struct group {
    struct records log, rows;
    struct map states; /* name → struct blob */
};

struct memory {
    struct store store;   /* first */
    pthread_mutex_t lock; /* leaf; guards groups */
    struct map groups;    /* id → struct group */
    atomic_int_fast64_t used;
    int64_t max; /* bytes, like `used`; -1: no limit; read-only */
};

static struct memory *memory_of(struct store *store)
{
    return (struct memory *)store;
}

static int64_t cost(const struct blob *data)
{
    return 64 + (data == NULL ? 0 : (int64_t)data->len);
}

/* First position whose index is not below `index`. */
static uint32_t position(const struct records *l, raft_index index)
{
    uint32_t low = l->from;
    uint32_t high = l->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->list[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool has(const struct records *l, uint32_t at, raft_index index)
{
    return at < l->count && l->list[at].index == index;
}

static void release(struct memory *m, struct record *r)
{
    m->used -= cost(r->data);
    blob_release(r->data);
}

static void put(struct memory *m, struct records *l, const struct op *op)
{
    struct record r = {op->index, op->term, op->entry_kind,
                       op->data == NULL ? NULL : blob_retain(op->data)};
    uint32_t at = position(l, op->index);
    m->used += cost(r.data);
    if (has(l, at, op->index)) {
        release(m, &l->list[at]);
        l->list[at] = r;
        return;
    }
    if (l->count == l->cap && l->from > l->count / 2) {
        l->count -= l->from;
        at -= l->from;
        memmove(l->list, l->list + l->from, l->count * sizeof *l->list);
        l->from = 0;
    }
    VEC_RESERVE(l->list, l->cap, l->count);
    memmove(l->list + at + 1, l->list + at, (l->count - at) * sizeof *l->list);
    l->list[at] = r;
    l->count++;
}

/* from <= index < to */
static void delete_range(struct memory *m, struct records *l, raft_index from, raft_index to)
{
    uint32_t a = position(l, from);
    uint32_t z = position(l, to);
    for (uint32_t i = a; i < z; i++) {
        release(m, &l->list[i]);
    }
    if (a == l->from) {
        l->from = z;
    } else {
        memmove(l->list + a, l->list + z, (l->count - z) * sizeof *l->list);
        l->count -= z - a;
    }
    if (l->from == l->count) {
        free(l->list);
        l->list = NULL;
        l->from = l->count = l->cap = 0;
    }
}

static void delete_states(struct memory *m, struct group *g)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&g->states, &i)) != NULL;) {
        m->used -= cost(e->value);
        blob_release(e->value);
    }
    map_deinit(&g->states);
}

static void group_free(struct memory *m, struct group *g)
{
    delete_range(m, &g->log, 0, UINT64_MAX);
    delete_range(m, &g->rows, 0, UINT64_MAX);
    delete_states(m, g);
    free(g);
}

static void delete_group(struct memory *m, uint64_t id)
{
    struct group *g = map_remove_u64(&m->groups, id);
    if (g != NULL) {
        group_free(m, g);
    }
}

static void apply(struct memory *m, const struct op *op)
{
    if (op->kind == OP_DELETE_GROUP) {
        delete_group(m, op->group);
        return;
    }
    struct group *g = map_get_u64(&m->groups, op->group);
    if (g == NULL) {
        g = NEW(struct group);
        (void)map_put_u64(&m->groups, op->group, g);
    }
    switch (op->kind) {
    case OP_PUT_ENTRY:
        put(m, &g->log, op);
        return;
    case OP_DELETE_RANGE:
        delete_range(m, &g->log, op->index, op->to);
        return;
    case OP_DELETE:
        delete_range(m, &g->log, op->index, op->index + 1);
        return;
    case OP_PUT_ROW:
        put(m, &g->rows, op);
        return;
    case OP_DELETE_ROWS:
        delete_range(m, &g->rows, op->index, op->to);
        return;
    default: {
        struct blob *old = map_put(&g->states, bytes_of(op->name), blob_retain(op->data));
        m->used += cost(op->data) - (old == NULL ? 0 : cost(old));
        blob_release(old);
        return;
    }
    }
}

static void hand_over(struct store *store, struct queue *batches)
{
    struct memory *m = memory_of(store);
    pthread_mutex_lock(&m->lock);
    for (struct store_batch *b = batches->first; b != NULL; b = b->next) {
        for (uint32_t i = 0; i < b->op_count; i++) {
            apply(m, &b->ops[i]);
        }
    }
    pthread_mutex_unlock(&m->lock);
    struct store_batch *list = batches->first;
    queue_clear(batches);
    store_complete(store, list, OK);
}

static struct raft_entry entry_of(const struct record *r)
{
    return (struct raft_entry){r->index, r->term, (uint8_t)(r->kind & ~KIND_KEPT),
                               r->data == NULL ? NULL : blob_retain(r->data)};
}

static enum err get_entry(struct store *store, uint64_t group, raft_index index,
                          struct raft_entry *e, bool *kept)
{
    struct memory *m = memory_of(store);
    enum err err = ERR_NOT_FOUND;
    pthread_mutex_lock(&m->lock);
    const struct group *g = map_get_u64(&m->groups, group);
    uint32_t at = g == NULL ? 0 : position(&g->log, index);
    if (g != NULL && has(&g->log, at, index)) {
        *kept = (g->log.list[at].kind & KIND_KEPT) != 0;
        *e = entry_of(&g->log.list[at]);
        err = OK;
    }
    pthread_mutex_unlock(&m->lock);
    return err;
}

static uint32_t get_entries(struct store *store, uint64_t group, raft_index index,
                            struct raft_entry *entries, uint32_t cap, size_t bytes)
{
    struct memory *m = memory_of(store);
    uint32_t count = 0;
    size_t taken = 0;
    pthread_mutex_lock(&m->lock);
    const struct group *g = map_get_u64(&m->groups, group);
    for (uint32_t at = g == NULL ? 0 : position(&g->log, index);
         g != NULL && at < g->log.count && count < cap && taken < bytes; at++) {
        entries[count++] = entry_of(&g->log.list[at]);
        taken += (size_t)cost(g->log.list[at].data);
    }
    pthread_mutex_unlock(&m->lock);
    return count;
}

static enum err get_state(struct store *store, uint64_t group, const char *name,
                          struct blob **value)
{
    struct memory *m = memory_of(store);
    pthread_mutex_lock(&m->lock);
    const struct group *g = map_get_u64(&m->groups, group);
    struct blob *found = g == NULL ? NULL : map_get(&g->states, bytes_of(name));
    *value = found == NULL ? NULL : blob_retain(found);
    pthread_mutex_unlock(&m->lock);
    return found == NULL ? ERR_NOT_FOUND : OK;
}

/* The callback may ask the store, so it is not called under the lock: row by row. */
static enum err each_row(struct store *store, uint64_t group, store_row_cb cb, void *arg)
{
    struct memory *m = memory_of(store);
    enum err err = OK;
    uint64_t next = 0;
    for (bool more = true; more && err == OK;) {
        struct blob *value = NULL;
        pthread_mutex_lock(&m->lock);
        const struct group *g = map_get_u64(&m->groups, group);
        uint32_t at = g == NULL ? 0 : position(&g->rows, next);
        more = g != NULL && at < g->rows.count;
        if (more) {
            next = g->rows.list[at].index + 1;
            value = blob_retain(g->rows.list[at].data);
        }
        pthread_mutex_unlock(&m->lock);
        if (more) {
            err = cb(arg, next - 1, blob_bytes(value));
            blob_release(value);
        }
    }
    return err;
}

static uint64_t *groups(struct store *store, const char *name, uint32_t *count)
{
    struct memory *m = memory_of(store);
    uint64_t *found = NULL;
    uint32_t cap = 0;
    struct map_entry *e;
    *count = 0;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; (e = map_next(&m->groups, &i)) != NULL;) {
        const struct group *g = e->value;
        if (map_get(&g->states, bytes_of(name)) != NULL) {
            VEC_RESERVE(found, cap, *count);
            memcpy(&found[(*count)++], e->key.ptr, sizeof *found);
        }
    }
    pthread_mutex_unlock(&m->lock);
    return found;
}

static bool is_full(struct store *store)
{
    struct memory *m = memory_of(store);
    return m->max >= 0 && atomic_load_explicit(&m->used, memory_order_relaxed) >= m->max;
}

/* What its leader has had room for, a follower takes: memory is a limit, not an end. */
static bool is_out_of_space(struct store *store)
{
    (void)store;
    return false;
}

static void close_store(struct store *store)
{
    struct memory *m = memory_of(store);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&m->groups, &i)) != NULL;) {
        group_free(m, e->value);
    }
    map_deinit(&m->groups);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static const struct store_operations operations = {.hand_over = hand_over,
                                                   .get_entry = get_entry,
                                                   .get_entries = get_entries,
                                                   .get_state = get_state,
                                                   .each_row = each_row,
                                                   .groups = groups,
                                                   .is_full = is_full,
                                                   .is_out_of_space = is_out_of_space,
                                                   .close = close_store};

struct store *store_open_memory(int64_t max)
{
    struct memory *m = NEW(struct memory);
    store_init(&m->store, &operations);
    pthread_mutex_init(&m->lock, NULL);
    m->max = max;
    return &m->store;
}
