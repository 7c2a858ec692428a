/* What the store's implementations share: batches, and how they come and go. */
#ifndef JETSTREAM_STORE_STORE_INTERNAL_H
#define JETSTREAM_STORE_STORE_INTERNAL_H

#include <stdatomic.h>

#include "core/base/mem.h"
#include "jetstream/store/store.h"

#define KIND_KEPT   0x80 /* with the kind of an entry: of a snapshot, not of the log */
#define KIND_SEALED 0x40 /* the data are encrypted */

enum op_kind {
    OP_PUT_ENTRY,
    OP_DELETE_RANGE,
    OP_DELETE,
    OP_PUT_STATE,
    OP_PUT_ROW, /* its number is `index` */
    OP_DELETE_ROWS,
    OP_DELETE_GROUP
};

struct op {
    enum op_kind kind;
    uint64_t group, index, to;
    raft_term term;
    uint8_t entry_kind;
    struct blob *data; /* counted */
    char name[16];
};

struct store_batch {
    struct store_batch *next;
    struct loop *loop; /* where `done` runs */
    bool sync;
    size_t bytes;
    store_done done;
    void *arg;
    enum err result;
    struct op *ops;
    uint32_t op_count, op_cap;
};

struct queue {
    struct store_batch *first, **last;
};

/* What a loop has submitted in this turn. */
struct turn {
    struct store *store;
    struct turn_task task;
    struct queue batches;
};

struct store_operations {
    /* On the loop, at the end of a turn: takes all of its batches. Ends, perhaps elsewhere, in
     * store_complete(). */
    void (*hand_over)(struct store *store, struct queue *batches);
    enum err (*get_entry)(struct store *store, uint64_t group, raft_index index,
                          struct raft_entry *e, bool *kept);
    uint32_t (*get_entries)(struct store *store, uint64_t group, raft_index index,
                            struct raft_entry *entries, uint32_t cap, size_t bytes);
    enum err (*get_state)(struct store *store, uint64_t group, const char *name,
                          struct blob **value);
    enum err (*each_row)(struct store *store, uint64_t group, store_row_cb cb, void *arg);
    uint64_t *(*groups)(struct store *store, const char *name, uint32_t *count);
    /* NULL: nothing can be damaged. */
    bool (*scrub)(struct store *store, struct store_place *at, size_t bytes,
                  struct store_damage *found, uint32_t cap, uint32_t *count);
    /* NULL with `scrub`. */
    const struct store_damage *(*lost)(struct store *store, uint32_t *count);
    bool (*is_damaged)(struct store *store);
    bool (*is_full)(struct store *store);
    bool (*is_out_of_space)(struct store *store);
    /* What is left in the turns has been handed over. */
    void (*close)(struct store *store);
};

/* Begins every implementation's own. */
struct store {
    const struct store_operations *operations;
    struct turn turns[LOOPS_MAX]; /* each its loop's */
    atomic_size_t backlog;
    atomic_bool poisoned;
    uint64_t doubt; /* read-only */
};

void store_init(struct store *store, const struct store_operations *operations);
void queue_clear(struct queue *queue);
/* Empties `from`. */
void queue_join(struct queue *to, struct queue *from);
/* Any thread. Gives the batches of the list back to their loops, those that follow each other in
 * one go. */
void store_complete(struct store *store, struct store_batch *list, enum err result);

#endif
