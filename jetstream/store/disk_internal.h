/* What the parts of the store on RocksDB share:
 *
 *   disk.c          opening, the commit thread, space
 *   disk_records.c  keys, checksums, encryption; writing records and reading them
 *   disk_floors.c   what compactions leave out
 *   disk_cursor.c   reading past damage
 *   disk_scrub.c    looking for it
 *   disk_salvage.c  rebuilding a store that is damaged
 */
#ifndef JETSTREAM_STORE_DISK_INTERNAL_H
#define JETSTREAM_STORE_DISK_INTERNAL_H

#include <pthread.h>

#include "jetstream/store/mark.h"
#include "jetstream/store/rocksdb_library.h"
#include "jetstream/store/store_internal.h"

/* What is put as a state lies in CF_STATE and once more in CF_COPIES, in other files: a group that
 * has lost its state has lost much more than the one block that is damaged. */
enum column_family { CF_DEFAULT, CF_LOG, CF_STATE, CF_COPIES, CF_COUNT };
extern const char *const disk_families[CF_COUNT]; /* their names */

/* Below `index` the group has nothing that is not deleted. */
struct floor {
    uint64_t group;
    raft_index index;
};

struct disk {
    struct store store; /* first */
    rocksdb_t *db;
    rocksdb_options_t *options, *log_options; /* the second: of CF_LOG */
    rocksdb_column_family_handle_t *cf[CF_COUNT];
    rocksdb_writeoptions_t *synced, *unsynced;
    rocksdb_readoptions_t *reads;
    pthread_t thread;
    pthread_mutex_t lock; /* leaf; guards waiting, stopping */
    pthread_cond_t more;
    struct queue waiting;
    atomic_bool arrived; /* something has been put there; without the lock */
    bool stopping;
    bool may_be_eager;    /* read-only: there are processors for both sides */
    struct mark mark;     /* commit thread */
    uint64_t commits;     /* the same: how many there have been */
    size_t unflushed;     /* the same: bytes written since the memtables were flushed */
    struct floor *floors; /* the same, under floor_lock when changing; ascending by group */
    uint32_t floor_count, floor_cap;
    pthread_mutex_t floor_lock; /* leaf */
    char *folder;               /* owned; read-only */
    struct seal *seal;          /* owned; read-only; NULL: records are written as they are */
    atomic_bool damaged;        /* a file of it cannot be read: noted */
    struct store_damage *lost;  /* when it was rebuilt; owned; read-only */
    uint32_t lost_count;
    atomic_bool full;
    atomic_uint_fast64_t space_left;      /* bytes */
    atomic_int_fast64_t space_checked_ns; /* monotonic */
};

static inline struct disk *disk_of(struct store *store)
{
    return (struct disk *)store;
}

static inline void put_be64(char *out, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        out[i] = (char)(v >> (56 - 8 * i));
    }
}

static inline uint64_t get_be64(const char *in)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v = v << 8 | (uint8_t)in[i];
    }
    return v;
}

#define DISK_LOG_KEY_LEN 16
void disk_log_key(char key[DISK_LOG_KEY_LEN], uint64_t group, uint64_t index);
/* group · name */
void disk_state_key(struct buffer *key, uint64_t group, const char *name);
/* Is what lies there what was written there? */
bool disk_entry_is_whole(uint64_t group, raft_index index, struct bytes value);
bool disk_state_is_whole(struct bytes key, struct bytes value);

/* What `op` asks for, into a batch. `scratch` is the caller's, for reuse. */
void disk_add_op(struct disk *s, rocksdb_writebatch_t *w, const struct op *op,
                 struct buffer *scratch);

/* For struct store_operations. */
enum err disk_get_entry(struct store *store, uint64_t group, raft_index index, struct raft_entry *e,
                        bool *kept);
uint32_t disk_get_entries(struct store *store, uint64_t group, raft_index index,
                          struct raft_entry *entries, uint32_t cap, size_t bytes);
enum err disk_get_state(struct store *store, uint64_t group, const char *name, struct blob **out);
enum err disk_each_row(struct store *store, uint64_t group, store_row_cb cb, void *arg);
uint64_t *disk_groups(struct store *store, const char *name, uint32_t *count);
/* A step of a walk through CF_LOG, CF_STATE or CF_COPIES, like store_scrub(). `on_record` (may be
 * NULL) is called with all that can be read, as it lies there. */
typedef void (*disk_record_cb)(void *arg, struct bytes key, struct bytes value);
bool disk_walk(struct disk *s, enum column_family family, struct store_place *at, size_t bytes,
               struct store_damage *found, uint32_t cap, uint32_t *count, disk_record_cb on_record,
               void *arg);
bool disk_scrub(struct store *store, struct store_place *at, size_t bytes,
                struct store_damage *found, uint32_t cap, uint32_t *count);

/* --- disk_cursor.c --- */

struct disk_cursor {
    struct disk *disk;
    enum column_family family;
    const rocksdb_readoptions_t *options; /* borrowed */
    rocksdb_iterator_t *it;
    char *failure; /* why it cannot be read where the iterator has come to; NULL: it can */
};

void disk_cursor_init(struct disk_cursor *c, struct disk *s, enum column_family family,
                      const rocksdb_readoptions_t *options);
void disk_cursor_deinit(struct disk_cursor *c);
/* False: `failure` says why. */
bool disk_cursor_seek(struct disk_cursor *c, const char *key, size_t len);
bool disk_cursor_next(struct disk_cursor *c);
/* The first number above `bad`, at which it does not hold, from which on `readable` holds;
 * UINT64_MAX when there is none. */
uint64_t disk_search(uint64_t bad, bool (*readable)(void *arg, uint64_t number), void *arg);

/* --- disk.c --- */

rocksdb_options_t *disk_options(void);
/* Never NULL; db is NULL, and *text says why (malloc'ed), when it cannot be opened. */
struct disk *disk_open_database(const char *folder, bool read_only, char **text);
void disk_close_database(struct disk *s);
/* The store's own numbers: be64 and a checksum, in the default column family. 0 when it is not
 * there. */
enum err disk_get_number(struct disk *s, const char *name, uint64_t *number);
void disk_put_number(struct disk *s, rocksdb_writebatch_t *w, const char *name, uint64_t number);

/* --- disk_floors.c --- */

/* On the commit thread, for every operation: before it is written, and when it is on disk. */
void disk_floors_before(struct disk *s, const struct op *op);
void disk_floors_after(struct disk *s, const struct op *op);
/* `log_options`: of a store that is about to be opened. */
void disk_floors_open(struct disk *s, rocksdb_options_t *log_options);
/* After the database has been closed. */
void disk_floors_close(struct disk *s);

/* --- disk_salvage.c --- */

/* Any thread: RocksDB says that something of the store is corrupt. The next start rebuilds it. */
void disk_note_unreadable(struct disk *s);
/* Before the store is opened: rebuilds it if that was noted. */
enum err disk_salvage(const char *folder, struct error *error);
/* What was lost then, into s->lost. */
enum err disk_load_lost(struct disk *s);

#endif
