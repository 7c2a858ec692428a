#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "jetstream/store/disk_internal.h"

/* The store on RocksDB.
 *
 * Loop:           batches of a turn → at its end, all at once: queue
 * Commit thread:  wait for batches → take all → merge → write (sync) → post completions → …
 *
 * (1) Completions are posted in the order of submission per loop, those of a turn together: so what
 *     they submit anew goes into one write again, not the first into one and the rest into another.
 * (2) Once poisoned, every batch completes with ERR_IO and nothing is written. */

#define WRITE_BUFFER_BYTES  (8u << 20)
#define BLOCK_CACHE_BYTES   (8u << 20)
#define ROCKSDB_FATAL_LEVEL 4
#define IDLE_FLUSH_BYTES    (1u << 20)
#define IDLE_FLUSH_S        10
#define WAL_BYTES_MAX       (128u << 20)
/* So long the commit thread looks for more before it sleeps, when more has just come within that
 * time: waking it up would take half as long again. */
#define EAGER_NS 20000
#define WAKE_NS  5000
/* RocksDB's memtables come in blocks of 1 MiB. Among ours on the heap, they would leave holes: with
 * a million subjects 23 MB of 133. */
#define BIG_BLOCK_BYTES (512u << 10)

/* --- space --- */

#define SPACE_RESERVE (48ull << 20) /* bytes: for what is under way, flushes and compaction */
#define SPACE_ENOUGH  (64ull << 20) /* so that it is not full and not full by turns */
#define SPACE_CHECK   (500 * NS_PER_MS)

static bool is_full(struct store *store)
{
    struct disk *s = disk_of(store);
    int64_t now = clock_mono_ns();
    int64_t checked = atomic_load_explicit(&s->space_checked_ns, memory_order_relaxed);
    if (now - checked < SPACE_CHECK ||
        !atomic_compare_exchange_strong(&s->space_checked_ns, &checked, now)) {
        return atomic_load_explicit(&s->full, memory_order_relaxed);
    }
    struct statvfs fs;
    if (statvfs(s->folder, &fs) != 0) {
        return atomic_load(&s->full);
    }
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    atomic_store(&s->space_left, left);
    bool was = atomic_load(&s->full);
    bool full = left < (was ? SPACE_ENOUGH : SPACE_RESERVE);
    if (full != was) {
        atomic_store(&s->full, full);
        if (full) {
            log_error(
                "JetStream store \"%s\" is full: %llu MB left. Writes are refused until there "
                "is space; reads go on",
                s->folder, (unsigned long long)(left >> 20));
        } else {
            log_info("JetStream store \"%s\" has space again: writes go on", s->folder);
        }
    }
    return full;
}

static bool is_out_of_space(struct store *store)
{
    struct disk *s = disk_of(store);
    return is_full(store) && atomic_load(&s->space_left) < SPACE_RESERVE / 2;
}

/* --- the commit thread --- */

static uint32_t number_crc(const char *name, const char *value)
{
    return hash_crc32c(hash_crc32c(0, name, strlen(name)), value, 8);
}

void disk_put_number(struct disk *s, rocksdb_writebatch_t *w, const char *name, uint64_t number)
{
    char value[12];
    put_be64(value, number);
    uint32_t crc = number_crc(name, value);
    memcpy(value + 8, &crc, sizeof crc);
    rocksdb.writebatch_put_cf(w, s->cf[CF_DEFAULT], name, strlen(name), value, sizeof value);
}

static void poison(struct disk *s, const char *why)
{
    log_error("JetStream store write failed, the store accepts no more writes until restart: %s",
              why);
    atomic_store(&s->store.poisoned, true);
}

static enum err write_all(struct disk *s, struct store_batch *first, rocksdb_writebatch_t *w,
                          struct buffer *scratch)
{
    if (atomic_load(&s->store.poisoned)) {
        return ERR_IO;
    }
    bool sync = false;
    rocksdb.writebatch_clear(w);
    disk_put_number(s, w, "commits", s->commits + 1);
    for (struct store_batch *b = first; b != NULL; b = b->next) {
        sync = sync || b->sync;
        s->unflushed += b->bytes;
        for (uint32_t i = 0; i < b->op_count; i++) {
            disk_floors_before(s, &b->ops[i]);
            disk_add_op(s, w, &b->ops[i], scratch);
        }
    }
    char *error = NULL;
    rocksdb.write(s->db, sync ? s->synced : s->unsynced, w, &error);
    if (error == NULL) {
        s->commits++;
        for (struct store_batch *b = first; sync && b != NULL; b = b->next) {
            for (uint32_t i = 0; i < b->op_count; i++) {
                disk_floors_after(s, &b->ops[i]);
            }
        }
        return OK;
    }
    if (strncmp(error, "Corruption", 10) == 0) {
        disk_note_unreadable(s);
    }
    poison(s, error);
    free(error);
    return ERR_IO;
}

/* Nobody waits for the mark: it may lag behind the store, and never lead. */
static void commit(struct disk *s, struct store_batch *batches, rocksdb_writebatch_t *w,
                   struct buffer *scratch)
{
    enum err err = write_all(s, batches, w, scratch);
    store_complete(&s->store, batches, err);
    if (err == OK && mark_set(&s->mark, s->commits) != OK) {
        poison(s, "the mark");
    }
}

/* What the memtables hold goes to files, and their memory back. In the background. */
static void flush(struct disk *s)
{
    rocksdb_flushoptions_t *options = rocksdb.flushoptions_create();
    rocksdb.flushoptions_set_wait(options, 0);
    for (int i = 0; i < CF_COUNT; i++) {
        char *error = NULL;
        rocksdb.flush_cf(s->db, options, s->cf[i], &error);
        free(error); /* the next write says so, too */
    }
    rocksdb.flushoptions_destroy(options);
    s->unflushed = 0;
}

static void look_for_batches(struct disk *s, int64_t until_ns)
{
    while (!atomic_load_explicit(&s->arrived, memory_order_relaxed) && clock_mono_ns() < until_ns) {
    }
}

/* With the lock. */
static void await_batches(struct disk *s)
{
    while (s->waiting.first == NULL && !s->stopping) {
        if (s->unflushed < IDLE_FLUSH_BYTES) {
            pthread_cond_wait(&s->more, &s->lock);
            continue;
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_FLUSH_S;
        if (pthread_cond_timedwait(&s->more, &s->lock, &until) == ETIMEDOUT &&
            s->waiting.first == NULL && !s->stopping) {
            pthread_mutex_unlock(&s->lock);
            flush(s);
            mem_give_back(); /* what was written has left holes on the heap, too */
            pthread_mutex_lock(&s->lock);
        }
    }
}

static void *commit_thread(void *arg)
{
    struct disk *s = arg;
    rocksdb_writebatch_t *w = rocksdb.writebatch_create();
    struct buffer scratch = {0};
    bool eager = false;
    for (;;) {
        int64_t idle_since = clock_mono_ns();
        if (eager) {
            look_for_batches(s, idle_since + EAGER_NS);
        }
        pthread_mutex_lock(&s->lock);
        await_batches(s);
        struct store_batch *batches = s->waiting.first;
        queue_clear(&s->waiting);
        atomic_store_explicit(&s->arrived, false, memory_order_relaxed);
        pthread_mutex_unlock(&s->lock);
        eager = s->may_be_eager && clock_mono_ns() - idle_since < EAGER_NS + WAKE_NS;
        if (batches == NULL) {
            break; /* stopping, and all is written */
        }
        commit(s, batches, w, &scratch);
    }
    rocksdb.writebatch_destroy(w);
    buffer_deinit(&scratch);
    return NULL;
}

/* --- opening --- */

static enum err make_folders(const char *path, struct error *error)
{
    char *copy = mem_strdup(path);
    enum err err = OK;
    for (char *p = copy + 1; err == OK; p++) {
        if (*p != '/' && *p != '\0') {
            continue;
        }
        char end = *p;
        *p = '\0';
        if (mkdir(copy, 0700) != 0 && errno != EEXIST) {
            err = error_set(error, ERR_IO, "could not create storage directory - mkdir %s: %s",
                            copy, strerror(errno));
        }
        *p = end;
        if (end == '\0') {
            break;
        }
    }
    free(copy);
    return err;
}

const char *const disk_families[CF_COUNT] = {"default", "log", "state", "copies"};

rocksdb_options_t *disk_options(void)
{
    rocksdb_options_t *base = rocksdb.options_create();
    rocksdb_options_t *o = rocksdb.options_create();
    char *error = NULL;
    /* What the C API has no function for. kTolerateCorruptedTailRecords refuses a log with damage
     * in the middle, where the default would silently drop all that follows. A table goes to the
     * disk in pieces as it is written: all of it with the one sync at its end, syncs of the log
     * that come meanwhile would wait behind 8 MB. A first level of 64 MB instead of 256 means less
     * to merge with when what many streams write and delete lies mixed (a quarter of the CPU). No
     * memtable_insert_with_hint_prefix_extractor, though it would insert faster: RocksDB uses one
     * hint for the keys and for the deleted ranges of a prefix, which are two lists. */
    rocksdb.get_options_from_string(base,
                                    "wal_recovery_mode=kTolerateCorruptedTailRecords;"
                                    "track_and_verify_wals_in_manifest=true;"
                                    "paranoid_checks=true;"
                                    "bytes_per_sync=524288;strict_bytes_per_sync=true;"
                                    "max_bytes_for_level_base=67108864",
                                    o, &error);
    CHECK(error == NULL);
    rocksdb.options_destroy(base);
    rocksdb.options_set_create_if_missing(o, 1);
    rocksdb.options_set_create_missing_column_families(o, 1);
    rocksdb.options_set_write_buffer_size(o, WRITE_BUFFER_BYTES);
    rocksdb.options_set_max_write_buffer_number(o, 3);
    rocksdb.options_set_db_write_buffer_size(o, 3 * (size_t)WRITE_BUFFER_BYTES);
    rocksdb.options_set_max_total_wal_size(o, WAL_BYTES_MAX);
    rocksdb.options_set_compression(o, rocksdb_no_compression);
    rocksdb.options_set_max_background_jobs(o, 2);
    rocksdb.options_set_keep_log_file_num(o, 2);
    /* Its own log lies on the disk whose failure it would report, and ends the process when it
     * cannot be written (an assertion in Debian's library). Statuses tell us what we need. */
    rocksdb.options_set_info_log_level(o, ROCKSDB_FATAL_LEVEL);
    rocksdb.options_set_max_open_files(o, 256);
    rocksdb.options_set_stats_dump_period_sec(o, 0);
    rocksdb.options_set_stats_persist_period_sec(o, 0);
    rocksdb.options_set_recycle_log_file_num(o, 0);
    rocksdb_block_based_table_options_t *table = rocksdb.block_based_options_create();
    rocksdb_cache_t *cache = rocksdb.cache_create_lru(BLOCK_CACHE_BYTES);
    rocksdb.block_based_options_set_block_cache(table, cache);
    rocksdb.block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb.block_based_options_set_block_size(table, 16 * 1024);
    rocksdb.options_set_block_based_table_factory(o, table);
    rocksdb.block_based_options_destroy(table);
    rocksdb.cache_destroy(cache);
    return o;
}

enum err disk_get_number(struct disk *s, const char *name, uint64_t *number)
{
    char *text = NULL;
    size_t len;
    *number = 0;
    char *value =
        rocksdb.get_cf(s->db, s->reads, s->cf[CF_DEFAULT], name, strlen(name), &len, &text);
    enum err err = text == NULL ? OK : ERR_CORRUPT;
    if (value != NULL) {
        uint32_t crc = 0;
        err = ERR_CORRUPT;
        if (len == 12) {
            memcpy(&crc, value + 8, sizeof crc);
            err = crc == number_crc(name, value) ? OK : ERR_CORRUPT;
            *number = get_be64(value);
        }
    }
    free(value);
    free(text);
    return err;
}

/* Has the store all that it had acknowledged? If that cannot be shown, a new doubt begins, and no
 * group of before it is proven. */
static enum err settle_doubt(struct disk *s, const char *folder, struct error *error)
{
    char path[4096];
    uint64_t marked;
    bool known;
    (void)snprintf(path, sizeof path, "%s.mark", folder);
    if (disk_get_number(s, "commits", &s->commits) != OK ||
        disk_get_number(s, "doubt", &s->store.doubt) != OK || disk_load_lost(s) != OK) {
        return error_set(error, ERR_CORRUPT, "JetStream store \"%s\": its own numbers are damaged",
                         folder);
    }
    enum err err = mark_open(&s->mark, path, &marked, &known, error);
    if (err != OK || (known ? marked <= s->commits : s->commits == 0)) {
        return err;
    }
    log_error("JetStream store \"%s\" has %llu of %s%llu commits: what it acknowledged may be "
              "lost. Its replicas take no part until they have caught up with the others",
              folder, (unsigned long long)s->commits, known ? "" : "at least ",
              (unsigned long long)(known ? marked : s->commits));
    s->store.doubt++;
    s->commits = marked > s->commits ? marked : s->commits;
    rocksdb_writebatch_t *w = rocksdb.writebatch_create();
    char *text = NULL;
    disk_put_number(s, w, "doubt", s->store.doubt);
    disk_put_number(s, w, "commits", ++s->commits);
    rocksdb.write(s->db, s->synced, w, &text);
    rocksdb.writebatch_destroy(w);
    if (text != NULL) {
        err = error_set(error, ERR_IO, "JetStream store \"%s\": %s", folder, text);
        free(text);
    }
    return err == OK && mark_set(&s->mark, s->commits) != OK
               ? error_set(error, ERR_IO, "JetStream mark \"%s\" cannot be written", path)
               : err;
}

#define SEAL_NAME "seal"

static enum err keep_seal(struct disk *s, const char *key, struct error *error)
{
    struct buffer wrapped = {0};
    char *text = NULL;
    seal_wrap(s->seal, bytes_of(key), &wrapped);
    rocksdb_writebatch_t *w = rocksdb.writebatch_create();
    rocksdb.writebatch_put_cf(w, s->cf[CF_DEFAULT], SEAL_NAME, strlen(SEAL_NAME), wrapped.data,
                              wrapped.len);
    rocksdb.write(s->db, s->synced, w, &text);
    rocksdb.writebatch_destroy(w);
    buffer_deinit(&wrapped);
    enum err err =
        text == NULL ? OK : error_set(error, ERR_IO, "JetStream store: its key: %s", text);
    free(text);
    return err;
}

static enum err open_seal(struct disk *s, const struct store_keys *keys, struct error *error)
{
    char *text = NULL;
    size_t len;
    char *wrapped = rocksdb.get_cf(s->db, s->reads, s->cf[CF_DEFAULT], SEAL_NAME, strlen(SEAL_NAME),
                                   &len, &text);
    enum err err = OK;
    if (text != NULL) {
        err = error_set(error, ERR_CORRUPT, "JetStream store: its key: %s", text);
    } else if (wrapped == NULL && keys->key != NULL) {
        s->seal = seal_new(keys->cipher);
        err = keep_seal(s, keys->key, error);
    } else if (wrapped != NULL && keys->key == NULL) {
        err =
            error_set(error, ERR_INVALID,
                      "JetStream store \"%s\" is encrypted, and there is no key for it", s->folder);
    } else if (wrapped != NULL) {
        s->seal = seal_unwrap(bytes_make(wrapped, len), bytes_of(keys->key));
        if (s->seal == NULL && keys->previous != NULL) {
            s->seal = seal_unwrap(bytes_make(wrapped, len), bytes_of(keys->previous));
            err = s->seal == NULL ? OK : keep_seal(s, keys->key, error);
            log_info("JetStream store \"%s\": %s", s->folder,
                     s->seal == NULL ? "neither key fits" : "kept under the new key from now on");
        }
        if (s->seal == NULL) {
            err = error_set(error, ERR_INVALID,
                            "JetStream store \"%s\" cannot be decrypted: wrong key", s->folder);
        }
    }
    free(wrapped);
    free(text);
    return err;
}

/* Without CF_COPIES before 0.4. */
static int families_in(const char *folder, const rocksdb_options_t *options)
{
    char *text = NULL;
    size_t count = CF_COUNT;
    char **names = rocksdb.list_column_families(options, folder, &count, &text);
    if (text == NULL) {
        rocksdb.list_column_families_destroy(names, count);
    }
    free(text);
    return count < CF_COUNT ? (int)count : CF_COUNT;
}

struct disk *disk_open_database(const char *folder, bool read_only, char **text)
{
    struct disk *s = NEW(struct disk);
    s->options = disk_options();
    s->log_options = disk_options();
    disk_floors_open(s, s->log_options);
    s->folder = mem_strdup(folder);
    s->mark.fd = -1;
    s->synced = rocksdb.writeoptions_create();
    rocksdb.writeoptions_set_sync(s->synced, 1);
    s->unsynced = rocksdb.writeoptions_create();
    s->reads = rocksdb.readoptions_create();
    rocksdb.readoptions_set_verify_checksums(s->reads, 1);
    const rocksdb_options_t *options[CF_COUNT] = {s->options, s->log_options, s->options,
                                                  s->options};
    s->db = read_only
                ? rocksdb.open_for_read_only_column_families(s->options, folder,
                                                             families_in(folder, s->options),
                                                             disk_families, options, s->cf, 0, text)
                : rocksdb.open_column_families(s->options, folder, CF_COUNT, disk_families, options,
                                               s->cf, text);
    return s;
}

void disk_close_database(struct disk *s)
{
    seal_free(s->seal);
    mark_close(&s->mark);
    for (int i = 0; i < CF_COUNT && s->cf[i] != NULL; i++) {
        rocksdb.column_family_handle_destroy(s->cf[i]);
    }
    if (s->db != NULL) {
        rocksdb.close(s->db);
    }
    rocksdb.writeoptions_destroy(s->synced);
    rocksdb.writeoptions_destroy(s->unsynced);
    rocksdb.readoptions_destroy(s->reads);
    rocksdb.options_destroy(s->options);
    rocksdb.options_destroy(s->log_options);
    disk_floors_close(s);
    free(s->folder);
    free(s->lost);
    free(s);
}

/* --- life --- */

static void hand_over(struct store *store, struct queue *batches)
{
    struct disk *s = disk_of(store);
    pthread_mutex_lock(&s->lock);
    bool wake = s->waiting.first == NULL;
    queue_join(&s->waiting, batches);
    atomic_store_explicit(&s->arrived, true, memory_order_relaxed);
    if (wake) {
        pthread_cond_signal(&s->more);
    }
    pthread_mutex_unlock(&s->lock);
}

static void close_store(struct store *store)
{
    struct disk *s = disk_of(store);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->more);
    disk_close_database(s);
}

static const struct store_damage *lost(struct store *store, uint32_t *count)
{
    *count = disk_of(store)->lost_count;
    return disk_of(store)->lost;
}

static bool is_damaged(struct store *store)
{
    return atomic_load(&disk_of(store)->damaged);
}

static const struct store_operations operations = {.hand_over = hand_over,
                                                   .get_entry = disk_get_entry,
                                                   .get_entries = disk_get_entries,
                                                   .get_state = disk_get_state,
                                                   .each_row = disk_each_row,
                                                   .groups = disk_groups,
                                                   .scrub = disk_scrub,
                                                   .lost = lost,
                                                   .is_damaged = is_damaged,
                                                   .is_full = is_full,
                                                   .is_out_of_space = is_out_of_space,
                                                   .close = close_store};

struct store *store_open(const char *folder, const struct store_keys *keys, struct error *error)
{
    mem_map_big_blocks(BIG_BLOCK_BYTES);
    if (rocksdb_library_load(error) != OK || disk_salvage(folder, error) != OK ||
        make_folders(folder, error) != OK) {
        return NULL;
    }
    char *text = NULL;
    struct disk *s = disk_open_database(folder, false, &text);
    store_init(&s->store, &operations);
    atomic_init(&s->space_checked_ns, clock_mono_ns() - SPACE_CHECK);
    if (s->db == NULL) {
        (void)error_set(error, ERR_CORRUPT,
                        "JetStream store \"%s\" could not be opened: %s. Nothing was changed. In a "
                        "cluster the folder can be put aside: the server fetches its replicas anew",
                        folder, text == NULL ? "unknown reason" : text);
        free(text);
        disk_close_database(s);
        return NULL;
    }
    if (open_seal(s, keys, error) != OK || settle_doubt(s, folder, error) != OK) {
        disk_close_database(s);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->more, &monotonic);
    pthread_condattr_destroy(&monotonic);
    queue_clear(&s->waiting);
    atomic_init(&s->arrived, false);
    s->may_be_eager = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    CHECK(pthread_create(&s->thread, NULL, commit_thread, s) == 0);
    (void)pthread_setname_np(s->thread, "commit");
    return &s->store;
}
