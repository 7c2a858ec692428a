/* store: what a node keeps of its groups. Two kinds: on disk, one RocksDB for everything, with
 * group commit, in `folder`, and beside it, in `folder`.mark, the mark; and in memory.
 *
 * Loops hand over batches; the commit thread merges all that wait into one write and one fsync, and
 * posts the completions back to the loops they came from. Order within a loop is kept.
 *
 * Column families:  log    (group, index) → crc32c · term · kind · data
 *                   state  (group, name)  → what a group has to remember: hard state, checkpoint
 *                          (group, row)   → numbered parts of the checkpoint
 *                   copies (group, name)  → the same once more
 * Keys are big-endian, so that iteration is index order.
 *
 * While the disk is nearly full nothing new may begin (store_is_full()). After a failed write or
 * sync the store is poisoned: it refuses writes
 * until the process restarts (Linux may have dropped the dirty pages) and goes on reading.
 *
 * Threads: store_submit() and reads from any loop. */
#ifndef JETSTREAM_STORE_STORE_H
#define JETSTREAM_STORE_STORE_H

#include "core/base/blob.h"
#include "core/base/err.h"
#include "core/runtime/loop.h"
#include "jetstream/store/seal.h"
#include "raft/raft.h"

struct store;
struct store_batch;

/* Encryption at rest: seal.h. */
struct store_keys {
    const char *key, *previous; /* NULL: none */
    enum seal_cipher cipher;    /* of a store that is encrypted from now on */
};
/* Creates the folder when it is missing. NULL with *error filled. What was written before there was
 * a key stays as it is; a store that is encrypted does not open without. */
struct store *store_open(const char *folder, const struct store_keys *keys, struct error *error);
/* In memory, up to `max` bytes (-1: no limit), then it is full. */
struct store *store_open_memory(int64_t max);
/* How often the store has been found with less than it had acknowledged (mark.h): what a group has
 * proven counts only when it was in the doubt of now. */
uint64_t store_doubt(const struct store *store);
/* Writes what waits, then closes. The loops have stopped. */
void store_close(struct store *store);

/* --- writing --- */

/* On the loop that submitted, in order. OK, or why nothing of the batch was written. */
typedef void (*store_done)(void *arg, enum err err);

struct store_batch *store_batch_new(void);
/* `kept`: a record of a snapshot under way, which store_get_entry() tells apart. */
void store_put_entry(struct store_batch *b, uint64_t group, const struct raft_entry *e, bool kept);
/* Entries from <= index < to. */
void store_delete_entries(struct store_batch *b, uint64_t group, raft_index from, raft_index to);
void store_delete_entry(struct store_batch *b, uint64_t group, raft_index index);
/* Values up to some tens of MB; a checksum is added. */
void store_put_state(struct store_batch *b, uint64_t group, const char *name, struct bytes value);
/* A part of the state, and parts from <= … < to. */
void store_put_row(struct store_batch *b, uint64_t group, uint64_t row, struct bytes value);
void store_delete_rows(struct store_batch *b, uint64_t group, uint64_t from, uint64_t to);
/* Everything of a group. */
void store_delete_group(struct store_batch *b, uint64_t group);
/* Takes the batch. `sync`: the completion means durable. Calls `done` (may be NULL) later, never
 * from within. */
void store_submit(struct store *store, struct store_batch *batch, bool sync, store_done done,
                  void *arg);
/* Bytes submitted and not yet written; loops slow their producers by it. */
size_t store_backlog(const struct store *store);
bool store_is_poisoned(const struct store *store);
/* Is so little space left that no new messages may come? What is under way still fits, and what
 * frees space; so the disk is never really full, which RocksDB would not recover from. False again
 * by itself. Looks at the file system twice a second at most. */
bool store_is_full(struct store *store);
/* Is there not even room for what comes from a leader that has space? */
bool store_is_out_of_space(struct store *store);

/* --- reading: blocking, from the block cache or the disk --- */

/* ERR_NOT_FOUND, ERR_CORRUPT (checksum), ERR_IO. The reference is the caller's. */
enum err store_get_entry(struct store *store, uint64_t group, raft_index index,
                         struct raft_entry *e, bool *kept);
/* The entries from `index` on that are there, in order, at most `cap` of them and not many more
 * than `bytes`; it ends in front of a damaged one, and leaves out nothing else. Returns how many;
 * the references are the caller's. Much cheaper than one by one. */
uint32_t store_get_entries(struct store *store, uint64_t group, raft_index index,
                           struct raft_entry *entries, uint32_t cap, size_t bytes);
/* *value is a counted blob. */
enum err store_get_state(struct store *store, uint64_t group, const char *name,
                         struct blob **value);
/* All rows of a group that can be read, ascending, until `cb` gives something else than OK, which
 * is returned then; ERR_CORRUPT, ERR_IO: some could not be read. */
typedef enum err (*store_row_cb)(void *arg, uint64_t row, struct bytes value);
MUST_USE enum err store_each_row(struct store *store, uint64_t group, store_row_cb cb, void *arg);
/* Ids of all groups that have a state called `name`, ascending. Heap array, *count long. */
uint64_t *store_groups(struct store *store, const char *name, uint32_t *count);

/* --- looking for damage: any thread, one at a time --- */

/* In the order in which entries are kept. */
struct store_place {
    uint64_t group;
    raft_index index;
};
/* What cannot be read: entries from <= … < to, if there are any; or states of the groups. */
struct store_damage {
    struct store_place from, to;
    bool states;
};
/* Reads about `bytes` more from *at on (zero: the beginning), and says what of it is damaged: `cap`
 * ranges at most. True: that was the end, and *at is the beginning again. */
bool store_scrub(struct store *store, struct store_place *at, size_t bytes,
                 struct store_damage *found, uint32_t cap, uint32_t *count);
/* What could not be read when the store was rebuilt after damage: it is not there any more. */
const struct store_damage *store_lost(struct store *store, uint32_t *count);
/* A part of it cannot be read; the next start rebuilds it. */
bool store_is_damaged(struct store *store);

#endif
