/* Batches: gathered in a turn of a loop, handed over at its end, given back together. */
#include "jetstream/store/store_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"

struct store_batch *store_batch_new(void)
{
    return NEW(struct store_batch);
}

static struct op *add_op(struct store_batch *b, enum op_kind kind, uint64_t group)
{
    VEC_RESERVE(b->ops, b->op_cap, b->op_count);
    struct op *op = &b->ops[b->op_count++];
    *op = (struct op){.kind = kind, .group = group};
    b->bytes += 64;
    return op;
}

void store_put_entry(struct store_batch *b, uint64_t group, const struct raft_entry *e, bool kept)
{
    struct op *op = add_op(b, OP_PUT_ENTRY, group);
    op->index = e->index;
    op->term = e->term;
    op->entry_kind = (uint8_t)(e->kind | (kept ? KIND_KEPT : 0));
    op->data = e->data == NULL ? NULL : blob_retain(e->data);
    b->bytes += e->data == NULL ? 0 : e->data->len;
}

void store_delete_entries(struct store_batch *b, uint64_t group, raft_index from, raft_index to)
{
    if (from < to) {
        struct op *op = add_op(b, OP_DELETE_RANGE, group);
        op->index = from;
        op->to = to;
    }
}

void store_delete_entry(struct store_batch *b, uint64_t group, raft_index index)
{
    add_op(b, OP_DELETE, group)->index = index;
}

void store_put_state(struct store_batch *b, uint64_t group, const char *name, struct bytes value)
{
    struct op *op = add_op(b, OP_PUT_STATE, group);
    CHECK(strlen(name) < sizeof op->name);
    memcpy(op->name, name, strlen(name) + 1);
    op->data = blob_copy(value);
    b->bytes += value.len;
}

void store_put_row(struct store_batch *b, uint64_t group, uint64_t row, struct bytes value)
{
    struct op *op = add_op(b, OP_PUT_ROW, group);
    op->index = row;
    op->data = blob_copy(value);
    b->bytes += value.len;
}

void store_delete_rows(struct store_batch *b, uint64_t group, uint64_t from, uint64_t to)
{
    if (from < to) {
        struct op *op = add_op(b, OP_DELETE_ROWS, group);
        op->index = from;
        op->to = to;
    }
}

void store_delete_group(struct store_batch *b, uint64_t group)
{
    (void)add_op(b, OP_DELETE_GROUP, group);
}

static void batch_free(struct store_batch *b)
{
    for (uint32_t i = 0; i < b->op_count; i++) {
        blob_release(b->ops[i].data);
    }
    free(b->ops);
    free(b);
}

void queue_clear(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
}

void queue_join(struct queue *to, struct queue *from)
{
    if (from->first != NULL) {
        *to->last = from->first;
        to->last = from->last;
        queue_clear(from);
    }
}

static void on_turn_end(void *arg)
{
    struct turn *t = arg;
    t->store->operations->hand_over(t->store, &t->batches);
}

void store_init(struct store *s, const struct store_operations *operations)
{
    s->operations = operations;
    for (unsigned i = 0; i < LOOPS_MAX; i++) {
        struct turn *t = &s->turns[i];
        t->store = s;
        t->task = (struct turn_task){.run = on_turn_end, .arg = t};
        queue_clear(&t->batches);
    }
}

void store_submit(struct store *s, struct store_batch *b, bool sync, store_done done, void *arg)
{
    b->loop = loop_current();
    CHECK(b->loop != NULL);
    b->sync = sync;
    b->done = done;
    b->arg = arg;
    atomic_fetch_add(&s->backlog, b->bytes);
    struct turn *t = &s->turns[loop_index(b->loop)];
    *t->batches.last = b;
    t->batches.last = &b->next;
    loop_at_turn_end(b->loop, &t->task);
}

/* A list of batches of this loop. */
static void completed(void *arg)
{
    struct store_batch *next;
    for (struct store_batch *b = arg; b != NULL; b = next) {
        next = b->next;
        if (b->done != NULL) {
            b->done(b->arg, b->result);
        }
        batch_free(b);
    }
}

void store_complete(struct store *s, struct store_batch *b, enum err result)
{
    size_t bytes = 0;
    while (b != NULL) {
        struct store_batch *first = b, *last = b;
        for (; b != NULL && b->loop == first->loop; last = b, b = b->next) {
            bytes += b->bytes;
            b->result = result;
        }
        last->next = NULL;
        loop_post(first->loop, completed, first);
    }
    atomic_fetch_sub(&s->backlog, bytes);
}

/* --- for any implementation --- */

size_t store_backlog(const struct store *s)
{
    return atomic_load_explicit(&s->backlog, memory_order_relaxed);
}

bool store_is_poisoned(const struct store *s)
{
    return atomic_load(&s->poisoned);
}

bool store_is_full(struct store *s)
{
    return s->operations->is_full(s);
}

bool store_is_out_of_space(struct store *s)
{
    return s->operations->is_out_of_space(s);
}

uint64_t store_doubt(const struct store *s)
{
    return s->doubt;
}

enum err store_get_entry(struct store *s, uint64_t group, raft_index index, struct raft_entry *e,
                         bool *kept)
{
    return s->operations->get_entry(s, group, index, e, kept);
}

uint32_t store_get_entries(struct store *s, uint64_t group, raft_index index,
                           struct raft_entry *entries, uint32_t cap, size_t bytes)
{
    return s->operations->get_entries(s, group, index, entries, cap, bytes);
}

enum err store_get_state(struct store *s, uint64_t group, const char *name, struct blob **value)
{
    return s->operations->get_state(s, group, name, value);
}

enum err store_each_row(struct store *s, uint64_t group, store_row_cb cb, void *arg)
{
    return s->operations->each_row(s, group, cb, arg);
}

uint64_t *store_groups(struct store *s, const char *name, uint32_t *count)
{
    return s->operations->groups(s, name, count);
}

bool store_scrub(struct store *s, struct store_place *at, size_t bytes, struct store_damage *found,
                 uint32_t cap, uint32_t *count)
{
    *count = 0;
    return s->operations->scrub == NULL || s->operations->scrub(s, at, bytes, found, cap, count);
}

const struct store_damage *store_lost(struct store *s, uint32_t *count)
{
    *count = 0;
    return s->operations->lost == NULL ? NULL : s->operations->lost(s, count);
}

bool store_is_damaged(struct store *s)
{
    return s->operations->is_damaged != NULL && s->operations->is_damaged(s);
}

void store_close(struct store *s)
{
    for (unsigned i = 0; i < LOOPS_MAX; i++) { /* of turns that never came to their end */
        if (s->turns[i].batches.first != NULL) {
            s->operations->hand_over(s, &s->turns[i].batches);
        }
    }
    s->operations->close(s);
}
