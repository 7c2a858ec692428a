/* A store one of whose files is damaged serves what can be read, until RocksDB comes to merge that
 * file with others: then it accepts no more writes. So it is rebuilt at the next start, before that
 * or after it, from all that can be read; what cannot is noted in it, and for its groups to fetch
 * from other replicas. The damaged one is kept beside it.
 *
 *   <folder>.damaged    the marker: "damaged", then "rebuilt" once the copy is whole
 *   <folder>.rebuilt    the copy, until it takes the place
 *   <folder>.old-<time> what was there before
 *
 * It may end at any point: the next start goes on from what the marker says. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "jetstream/store/disk_internal.h"

#define PATH_LEN    4096
#define COPY_BYTES  (4u << 20)
#define LOST_MAX    4096
#define LOST_NAME   "lost"
#define LOST_RECORD 33 /* bytes of one range */

static const char DAMAGED[] = "damaged\n";
static const char REBUILT[] = "rebuilt\n";

static void path_of(char path[PATH_LEN], const char *folder, const char *suffix)
{
    (void)snprintf(path, PATH_LEN, "%s.%s", folder, suffix);
}

static bool sync_parent(const char *folder)
{
    char *copy = mem_strdup(folder);
    char *slash = strrchr(copy, '/');
    if (slash != NULL) {
        slash[slash == copy ? 1 : 0] = '\0';
    }
    int fd = open(slash == NULL ? "." : copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return synced;
}

static bool set_marker(const char *folder, const char *text)
{
    char path[PATH_LEN];
    path_of(path, folder, "damaged");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written =
        fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fsync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return written && sync_parent(folder);
}

void disk_note_unreadable(struct disk *s)
{
    if (atomic_exchange(&s->damaged, true)) {
        return;
    }
    log_error("JetStream store \"%s\": a file of it is damaged. What can be read is served; at the "
              "next start the store is rebuilt from that%s",
              s->folder, set_marker(s->folder, DAMAGED) ? "" : " (but that could not be noted)");
}

/* --- what was lost --- */

static void put_place(struct buffer *b, struct store_place p)
{
    buffer_put_u64(b, p.group);
    buffer_put_u64(b, p.index);
}

static struct store_place take_place(struct reader *r)
{
    struct store_place p;
    p.group = reader_u64(r);
    p.index = reader_u64(r);
    return p;
}

static void put_lost(struct disk *s, rocksdb_writebatch_t *w, const struct store_damage *lost,
                     uint32_t count)
{
    struct buffer b = {0};
    for (uint32_t i = 0; i < count; i++) {
        buffer_put_u8(&b, lost[i].states);
        put_place(&b, lost[i].from);
        put_place(&b, lost[i].to);
    }
    uint32_t crc = hash_crc32c(0, b.data, b.len);
    buffer_append(&b, &crc, sizeof crc);
    rocksdb.writebatch_put_cf(w, s->cf[CF_DEFAULT], LOST_NAME, strlen(LOST_NAME), b.data, b.len);
    buffer_deinit(&b);
}

enum err disk_load_lost(struct disk *s)
{
    char *text = NULL;
    size_t len;
    char *value = rocksdb.get_cf(s->db, s->reads, s->cf[CF_DEFAULT], LOST_NAME, strlen(LOST_NAME),
                                 &len, &text);
    enum err err = text == NULL ? OK : ERR_CORRUPT;
    free(text);
    if (value != NULL) {
        uint32_t crc = 0;
        size_t body = len >= sizeof crc ? len - sizeof crc : 0;
        if (len >= sizeof crc) {
            memcpy(&crc, value + body, sizeof crc);
        }
        if (len < sizeof crc || body % LOST_RECORD != 0 || crc != hash_crc32c(0, value, body)) {
            err = ERR_CORRUPT;
        } else {
            s->lost_count = (uint32_t)(body / LOST_RECORD);
            s->lost = mem_zalloc((s->lost_count + 1) * sizeof *s->lost);
            struct reader r = reader_make(bytes_make(value, body));
            for (uint32_t i = 0; i < s->lost_count; i++) {
                s->lost[i].states = reader_u8(&r) != 0;
                s->lost[i].from = take_place(&r);
                s->lost[i].to = take_place(&r);
            }
        }
    }
    free(value);
    return err;
}

/* --- the copy --- */

struct copy {
    struct disk *from, *to;
    enum column_family family;
    rocksdb_writebatch_t *batch;
    size_t bytes;
    char *error; /* NULL: none */
};

static void flush(struct copy *c, bool sync)
{
    if (c->error == NULL) {
        rocksdb.write(c->to->db, sync ? c->to->synced : c->to->unsynced, c->batch, &c->error);
    }
    rocksdb.writebatch_clear(c->batch);
    c->bytes = 0;
}

static void copy_record(void *arg, struct bytes key, struct bytes value)
{
    struct copy *c = arg;
    rocksdb.writebatch_put_cf(c->batch, c->to->cf[c->family], key.ptr, key.len, value.ptr,
                              value.len);
    c->bytes += key.len + value.len;
    if (c->bytes > COPY_BYTES) {
        flush(c, false);
    }
}

/* The store's own numbers and its key: without them it is none. */
static void copy_own(struct copy *c)
{
    rocksdb_iterator_t *it =
        rocksdb.create_iterator_cf(c->from->db, c->from->reads, c->from->cf[CF_DEFAULT]);
    for (rocksdb.iter_seek_to_first(it); rocksdb.iter_valid(it); rocksdb.iter_next(it)) {
        size_t key_len, value_len;
        const char *key = rocksdb.iter_key(it, &key_len);
        const char *value = rocksdb.iter_value(it, &value_len);
        c->family = CF_DEFAULT;
        copy_record(c, bytes_make(key, key_len), bytes_make(value, value_len));
    }
    if (c->error == NULL) {
        rocksdb.iter_get_error(it, &c->error);
    }
    rocksdb.iter_destroy(it);
}

/* Everything of a column family that can be read; the rest is added to `lost`. */
static void copy_family(struct copy *c, enum column_family family, struct store_damage *lost,
                        uint32_t *count)
{
    struct store_place at = {0, 0};
    bool end = false;
    c->family = family;
    while (!end && c->error == NULL && *count < LOST_MAX) {
        uint32_t found;
        end = disk_walk(c->from, family, &at, COPY_BYTES, lost + *count, LOST_MAX - *count, &found,
                        copy_record, c);
        *count += found;
    }
}

static enum err copy_all(struct disk *from, struct disk *to, struct error *error)
{
    struct copy c = {.from = from, .to = to, .batch = rocksdb.writebatch_create()};
    struct store_damage *lost = mem_zalloc(LOST_MAX * sizeof *lost);
    uint32_t count = 0;
    enum err err = disk_load_lost(from);
    for (; count < from->lost_count && count < LOST_MAX / 2; count++) {
        lost[count] = from->lost[count];
    }
    copy_own(&c);
    copy_family(&c, CF_LOG, lost, &count);
    copy_family(&c, CF_STATE, lost, &count);
    copy_family(&c, CF_COPIES, lost, &count);
    if (count == LOST_MAX || err != OK) {
        err = error_set(error, ERR_CORRUPT, "there is too much damage");
    }
    if (err == OK) {
        uint64_t doubt;
        err = disk_get_number(from, "doubt", &doubt);
        disk_put_number(to, c.batch, "doubt", doubt + 1); /* logs may end early now */
        put_lost(to, c.batch, lost, count);
        flush(&c, true);
    }
    if (c.error != NULL) {
        err = error_set(error, ERR_IO, "%s", c.error);
        free(c.error);
    }
    rocksdb.writebatch_destroy(c.batch);
    free(lost);
    return err;
}

static enum err rebuild(const char *folder, struct error *error)
{
    char copy_path[PATH_LEN];
    path_of(copy_path, folder, "rebuilt");
    char *text = NULL;
    rocksdb_options_t *options = disk_options();
    rocksdb.destroy_db(options, copy_path, &text); /* of an attempt that did not come to its end */
    rocksdb.options_destroy(options);
    free(text);
    text = NULL;
    struct disk *from = disk_open_database(folder, true, &text);
    struct disk *to = text == NULL ? disk_open_database(copy_path, false, &text) : NULL;
    atomic_store(&from->damaged, true); /* which is known */
    enum err err = text == NULL ? copy_all(from, to, error) : error_set(error, ERR_IO, "%s", text);
    free(text);
    disk_close_database(from);
    if (to != NULL) {
        disk_close_database(to);
    }
    return err;
}

/* The copy takes the place, unless the store was put aside: then the marker only goes. Each step
 * may have been done before. */
static enum err take_place_of(const char *folder, bool put_aside, struct error *error)
{
    char copy_path[PATH_LEN], old[PATH_LEN], marker[PATH_LEN], suffix[64];
    path_of(copy_path, folder, "rebuilt");
    path_of(marker, folder, "damaged");
    (void)snprintf(suffix, sizeof suffix, "old-%lld", (long long)(clock_now_ns() / NS_PER_SEC));
    path_of(old, folder, suffix);
    if (access(copy_path, F_OK) == 0 && !put_aside) {
        bool moved = access(folder, F_OK) != 0 || rename(folder, old) == 0;
        if (!moved || rename(copy_path, folder) != 0) {
            return error_set(error, ERR_IO, "%s", strerror(errno));
        }
        log_warn("JetStream store \"%s\" was rebuilt from what could be read of it; the damaged "
                 "one is kept as \"%s\" and can be deleted when it is not missed",
                 folder, old);
    }
    if (!sync_parent(folder) || unlink(marker) != 0 || !sync_parent(folder)) {
        return error_set(error, ERR_IO, "%s", strerror(errno));
    }
    return OK;
}

enum err disk_salvage(const char *folder, struct error *error)
{
    char marker[PATH_LEN], text[16] = "";
    struct error reason = {0};
    path_of(marker, folder, "damaged");
    int fd = open(marker, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return OK;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    enum err err = OK;
    bool put_aside = access(folder, F_OK) != 0 && strcmp(text, REBUILT) != 0; /* by a human */
    if (!put_aside && (n < 0 || strcmp(text, REBUILT) != 0)) {
        log_warn("JetStream store \"%s\" is damaged: rebuilding it from what can be read", folder);
        err = rebuild(folder, &reason);
        if (err == OK && !set_marker(folder, REBUILT)) {
            err = error_set(&reason, ERR_IO, "%s", strerror(errno));
        }
    }
    err = err == OK ? take_place_of(folder, put_aside, &reason) : err;
    return err == OK ? OK
                     : error_set(error, err,
                                 "JetStream store \"%s\" is damaged and could not be rebuilt: %s. "
                                 "Nothing was removed",
                                 folder, reason.message);
}
