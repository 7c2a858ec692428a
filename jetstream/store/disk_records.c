/* How records lie in the store on RocksDB. */
#include <stdlib.h>

#include "core/base/hash.h"
#include "core/base/log.h"
#include "jetstream/store/disk_internal.h"

void disk_log_key(char key[DISK_LOG_KEY_LEN], uint64_t group, uint64_t index)
{
    put_be64(key, group);
    put_be64(key + 8, index);
}

#define ENTRY_HEAD_LEN  13 /* crc · term · kind */
#define ENTRY_PLACE_LEN 25
static void entry_place(char place[ENTRY_PLACE_LEN], uint64_t group, uint64_t index, raft_term term,
                        uint8_t kind)
{
    put_be64(place, group);
    put_be64(place + 8, index);
    put_be64(place + 16, term);
    place[24] = (char)kind;
}

/* The checksum covers where the record belongs, so a misdirected write is found, too. */
static uint32_t entry_crc(uint64_t group, uint64_t index, raft_term term, uint8_t kind,
                          struct bytes data)
{
    char head[ENTRY_PLACE_LEN];
    entry_place(head, group, index, term, kind);
    uint32_t crc = hash_crc32c(0, head, sizeof head);
    return data.len == 0 ? crc : hash_crc32c(crc, data.ptr, data.len);
}

void disk_state_key(struct buffer *key, uint64_t group, const char *name)
{
    char id[8];
    put_be64(id, group);
    buffer_clear(key);
    buffer_append(key, id, sizeof id);
    buffer_append_text(key, name);
}

#define ROW_PREFIX  "r"
#define ROW_KEY_LEN 17 /* group · prefix · row */
static void row_key(char key[ROW_KEY_LEN], uint64_t group, uint64_t row)
{
    put_be64(key, group);
    key[8] = *ROW_PREFIX;
    put_be64(key + 9, row);
}

/* The same value, sealed and not, has two checksums: so it is known which it is. */
static uint32_t state_crc(struct bytes key, struct bytes value, bool sealed)
{
    uint32_t crc = hash_crc32c(0, sealed ? "sealed" : "", sealed ? 6 : 0);
    return hash_crc32c(hash_crc32c(crc, key.ptr, key.len), value.ptr, value.len);
}

static void put_state(struct disk *s, rocksdb_writebatch_t *w, enum column_family family,
                      struct bytes key, struct bytes value)
{
    struct buffer sealed = {0};
    if (s->seal != NULL) {
        seal_close(s->seal, key, value, &sealed);
        value = buffer_bytes(&sealed);
    }
    uint32_t crc = state_crc(key, value, s->seal != NULL);
    const char *keys[] = {key.ptr};
    const char *values[] = {(const char *)&crc, value.ptr == NULL ? "" : value.ptr};
    size_t key_sizes[] = {key.len};
    size_t value_sizes[] = {sizeof crc, value.len};
    rocksdb.writebatch_putv_cf(w, s->cf[family], 1, keys, key_sizes, 2, values, value_sizes);
    buffer_deinit(&sealed);
}

/* A range with one row in it is deleted as that row: tombstones of ranges make reading slower. */
static void delete_rows(struct disk *s, rocksdb_writebatch_t *w, const struct op *op)
{
    char from[ROW_KEY_LEN], to[ROW_KEY_LEN];
    row_key(from, op->group, op->index);
    row_key(to, op->group, op->to);
    if (op->to == op->index + 1) {
        rocksdb.writebatch_delete_cf(w, s->cf[CF_STATE], from, sizeof from);
    } else {
        rocksdb.writebatch_delete_range_cf(w, s->cf[CF_STATE], from, sizeof from, to, sizeof to);
    }
}

static void put_range(rocksdb_writebatch_t *w, rocksdb_column_family_handle_t *cf, uint64_t group,
                      uint64_t from, uint64_t to)
{
    char a[DISK_LOG_KEY_LEN], z[DISK_LOG_KEY_LEN];
    disk_log_key(a, group, from);
    disk_log_key(z, group, to);
    rocksdb.writebatch_delete_range_cf(w, cf, a, sizeof a, z, sizeof z);
}

void disk_add_op(struct disk *s, rocksdb_writebatch_t *w, const struct op *op,
                 struct buffer *scratch)
{
    char key[DISK_LOG_KEY_LEN];
    struct bytes data = op->data == NULL ? BYTES_NONE : blob_bytes(op->data);
    switch (op->kind) {
    case OP_PUT_ENTRY: {
        char head[ENTRY_HEAD_LEN];
        uint8_t kind = op->entry_kind;
        put_be64(head + 4, op->term);
        disk_log_key(key, op->group, op->index);
        if (s->seal != NULL && data.ptr != NULL) {
            char place[ENTRY_PLACE_LEN];
            entry_place(place, op->group, op->index, op->term, kind);
            buffer_clear(scratch);
            seal_close(s->seal, bytes_make(place, sizeof place), data, scratch);
            data = buffer_bytes(scratch);
            kind |= KIND_SEALED;
        }
        head[12] = (char)kind;
        uint32_t crc = entry_crc(op->group, op->index, op->term, kind, data);
        memcpy(head, &crc, 4);
        const char *keys[] = {key};
        const char *values[] = {head, data.ptr == NULL ? "" : data.ptr};
        size_t key_sizes[] = {sizeof key};
        size_t value_sizes[] = {sizeof head, data.len};
        rocksdb.writebatch_putv_cf(w, s->cf[CF_LOG], 1, keys, key_sizes, 2, values, value_sizes);
        return;
    }
    case OP_DELETE_RANGE:
        put_range(w, s->cf[CF_LOG], op->group, op->index, op->to);
        return;
    case OP_DELETE:
        disk_log_key(key, op->group, op->index);
        rocksdb.writebatch_delete_cf(w, s->cf[CF_LOG], key, sizeof key);
        return;
    case OP_PUT_STATE:
        disk_state_key(scratch, op->group, op->name);
        put_state(s, w, CF_STATE, buffer_bytes(scratch), data);
        put_state(s, w, CF_COPIES, buffer_bytes(scratch), data);
        return;
    case OP_PUT_ROW: {
        char row[ROW_KEY_LEN];
        row_key(row, op->group, op->index);
        put_state(s, w, CF_STATE, bytes_make(row, sizeof row), data);
        return;
    }
    case OP_DELETE_ROWS:
        delete_rows(s, w, op);
        return;
    case OP_DELETE_GROUP:
        put_range(w, s->cf[CF_LOG], op->group, 0, UINT64_MAX);
        put_range(w, s->cf[CF_STATE], op->group, 0, UINT64_MAX);
        put_range(w, s->cf[CF_COPIES], op->group, 0, UINT64_MAX);
        return;
    }
}

/* --- reading --- */

bool disk_state_is_whole(struct bytes key, struct bytes value)
{
    uint32_t crc;
    if (value.len < sizeof crc) {
        return false;
    }
    memcpy(&crc, value.ptr, sizeof crc);
    struct bytes body = bytes_skip(value, sizeof crc);
    return crc == state_crc(key, body, false) || crc == state_crc(key, body, true);
}

static enum err read_failed(struct disk *s, const char *text)
{
    bool corrupt = strncmp(text, "Corruption", 10) == 0;
    if (corrupt) { /* what is in it, whoever knows that reports */
        disk_note_unreadable(s);
    } else {
        log_error("JetStream store read failed: %s", text);
    }
    return corrupt ? ERR_CORRUPT : ERR_IO;
}

/* Clears the flags of the kind, and decrypts. */
static enum err take_data(struct disk *s, uint64_t group, struct raft_entry *e, struct bytes data)
{
    struct buffer plain = {0};
    enum err err = OK;
    bool sealed = (e->kind & KIND_SEALED) != 0;
    e->kind &= (uint8_t)~KIND_SEALED;
    if (sealed) {
        char place[ENTRY_PLACE_LEN];
        entry_place(place, group, e->index, e->term, e->kind);
        err = s->seal == NULL ? ERR_CORRUPT
                              : seal_open(s->seal, bytes_make(place, sizeof place), data, &plain);
        data = buffer_bytes(&plain);
    }
    e->kind &= (uint8_t)~KIND_KEPT;
    e->data = err != OK || e->kind == RAFT_ENTRY_NOOP ? NULL : blob_copy(data);
    buffer_deinit(&plain);
    return err;
}

bool disk_entry_is_whole(uint64_t group, raft_index index, struct bytes value)
{
    uint32_t crc;
    if (value.len < ENTRY_HEAD_LEN) {
        return false;
    }
    memcpy(&crc, value.ptr, 4);
    return crc == entry_crc(group, index, get_be64(value.ptr + 4), (uint8_t)value.ptr[12],
                            bytes_skip(value, ENTRY_HEAD_LEN));
}

/* A record as it is stored. */
static enum err parse_entry(struct disk *s, uint64_t group, raft_index index, struct bytes value,
                            struct raft_entry *e, bool *kept)
{
    if (!disk_entry_is_whole(group, index, value)) {
        return ERR_CORRUPT;
    }
    *e = (struct raft_entry){index, get_be64(value.ptr + 4), (uint8_t)value.ptr[12], NULL};
    *kept = (e->kind & KIND_KEPT) != 0;
    return take_data(s, group, e, bytes_skip(value, ENTRY_HEAD_LEN));
}

enum err disk_get_entry(struct store *store, uint64_t group, raft_index index, struct raft_entry *e,
                        bool *kept)
{
    struct disk *s = disk_of(store);
    char key[DISK_LOG_KEY_LEN];
    disk_log_key(key, group, index);
    char *text = NULL;
    rocksdb_pinnableslice_t *slice =
        rocksdb.get_pinned_cf(s->db, s->reads, s->cf[CF_LOG], key, sizeof key, &text);
    if (text != NULL) {
        enum err err = read_failed(s, text);
        free(text);
        return err;
    }
    if (slice == NULL) {
        return ERR_NOT_FOUND;
    }
    size_t len;
    const char *value = rocksdb.pinnableslice_value(slice, &len);
    enum err err = parse_entry(s, group, index, bytes_make(value, len), e, kept);
    rocksdb.pinnableslice_destroy(slice);
    return err;
}

uint32_t disk_get_entries(struct store *store, uint64_t group, raft_index index,
                          struct raft_entry *entries, uint32_t cap, size_t bytes)
{
    struct disk *s = disk_of(store);
    char first[DISK_LOG_KEY_LEN];
    disk_log_key(first, group, index);
    uint32_t count = 0;
    size_t taken = 0;
    rocksdb_iterator_t *it = rocksdb.create_iterator_cf(s->db, s->reads, s->cf[CF_LOG]);
    rocksdb.iter_seek(it, first, sizeof first);
    for (; count < cap && taken < bytes && rocksdb.iter_valid(it); rocksdb.iter_next(it)) {
        size_t key_len, value_len;
        const char *key = rocksdb.iter_key(it, &key_len);
        const char *value = rocksdb.iter_value(it, &value_len);
        bool kept;
        if (key_len != DISK_LOG_KEY_LEN || get_be64(key) != group ||
            parse_entry(s, group, get_be64(key + 8), bytes_make(value, value_len), &entries[count],
                        &kept) != OK) {
            break;
        }
        count++;
        taken += value_len;
    }
    rocksdb.iter_destroy(it);
    return count;
}

/* What a state's value says, which `plain` may have to hold. */
static enum err open_state(struct disk *s, struct bytes key, struct bytes value,
                           struct buffer *plain, struct bytes *out)
{
    uint32_t crc;
    if (value.len < sizeof crc) {
        return ERR_CORRUPT;
    }
    memcpy(&crc, value.ptr, sizeof crc);
    *out = bytes_skip(value, sizeof crc);
    if (crc == state_crc(key, *out, false)) {
        return OK;
    }
    if (s->seal == NULL || crc != state_crc(key, *out, true)) {
        return ERR_CORRUPT;
    }
    buffer_clear(plain);
    enum err err = seal_open(s->seal, key, *out, plain);
    *out = buffer_bytes(plain);
    return err;
}

static enum err get_state(struct disk *s, enum column_family family, struct bytes key,
                          struct blob **out)
{
    char *text = NULL;
    size_t len;
    char *value = rocksdb.get_cf(s->db, s->reads, s->cf[family], key.ptr, key.len, &len, &text);
    if (text != NULL) {
        enum err err = read_failed(s, text);
        free(text);
        return err;
    }
    if (value == NULL) {
        return ERR_NOT_FOUND;
    }
    struct buffer plain = {0};
    struct bytes body;
    enum err err = open_state(s, key, bytes_make(value, len), &plain, &body);
    *out = err == OK ? blob_copy(body) : NULL;
    buffer_deinit(&plain);
    free(value);
    return err;
}

enum err disk_get_state(struct store *store, uint64_t group, const char *name, struct blob **out)
{
    struct disk *s = disk_of(store);
    struct buffer key = {0};
    disk_state_key(&key, group, name);
    enum err err = get_state(s, CF_STATE, buffer_bytes(&key), out);
    if (err == ERR_CORRUPT || err == ERR_NOT_FOUND) {
        bool copied = get_state(s, CF_COPIES, buffer_bytes(&key), out) == OK;
        if (copied || err == ERR_CORRUPT) {
            log_error("JetStream state \"%s\" of group %llu is damaged%s", name,
                      (unsigned long long)group,
                      copied ? ": its copy is used" : ", as is its copy");
        }
        err = copied ? OK : err;
    }
    buffer_deinit(&key);
    return err;
}

/* Rows of a group, in order. */
struct row_cursor {
    struct disk_cursor cursor;
    uint64_t group;
};

static bool seek_row(void *arg, uint64_t row)
{
    struct row_cursor *c = arg;
    char key[ROW_KEY_LEN];
    row_key(key, c->group, row);
    return disk_cursor_seek(&c->cursor, key, sizeof key);
}

/* The row under the cursor, whose number is *row then; ERR_NOT_FOUND: it is none of the group. */
static enum err take_row(struct row_cursor *c, uint64_t *row, struct buffer *plain,
                         struct bytes *value)
{
    char first[ROW_KEY_LEN];
    row_key(first, c->group, 0);
    if (!rocksdb.iter_valid(c->cursor.it)) {
        return ERR_NOT_FOUND;
    }
    size_t key_len, value_len;
    const char *key = rocksdb.iter_key(c->cursor.it, &key_len);
    const char *sealed = rocksdb.iter_value(c->cursor.it, &value_len);
    if (key_len != ROW_KEY_LEN || memcmp(key, first, 9) != 0) {
        return ERR_NOT_FOUND;
    }
    *row = get_be64(key + 9);
    return open_state(c->cursor.disk, bytes_make(key, key_len), bytes_make(sealed, value_len),
                      plain, value);
}

enum err disk_each_row(struct store *store, uint64_t group, store_row_cb cb, void *arg)
{
    struct disk *s = disk_of(store);
    struct row_cursor c = {.group = group};
    struct buffer plain = {0};
    enum err damage = OK;
    enum err err = OK;
    uint64_t row = 0;
    disk_cursor_init(&c.cursor, s, CF_STATE, s->reads);
    bool readable = seek_row(&c, 0);
    while (err == OK) {
        if (!readable) {
            damage = read_failed(s, c.cursor.failure);
            log_error("JetStream state of group %llu is damaged from row %llu on",
                      (unsigned long long)group, (unsigned long long)row);
            row = disk_search(row, seek_row, &c);
            if (!seek_row(&c, row)) {
                break;
            }
        }
        struct bytes value;
        err = take_row(&c, &row, &plain, &value);
        if (err == ERR_CORRUPT) {
            log_error("JetStream state, row %llu of group %llu is damaged", (unsigned long long)row,
                      (unsigned long long)group);
            damage = ERR_CORRUPT;
            err = OK;
        } else if (err == OK) {
            err = cb(arg, row, value);
        }
        if (err == OK) {
            row++;
            readable = disk_cursor_next(&c.cursor);
        }
    }
    disk_cursor_deinit(&c.cursor);
    buffer_deinit(&plain);
    return err == OK || err == ERR_NOT_FOUND ? damage : err;
}

uint64_t *disk_groups(struct store *store, const char *name, uint32_t *count)
{
    struct disk *s = disk_of(store);
    uint64_t *found = NULL;
    uint32_t cap = 0;
    size_t name_len = strlen(name);
    *count = 0;
    rocksdb_iterator_t *it = rocksdb.create_iterator_cf(s->db, s->reads, s->cf[CF_STATE]);
    rocksdb.iter_seek_to_first(it);
    while (rocksdb.iter_valid(it)) {
        size_t len;
        const char *key = rocksdb.iter_key(it, &len);
        if (len == ROW_KEY_LEN && key[8] == *ROW_PREFIX) { /* there may be millions */
            char behind[9];
            memcpy(behind, key, 8);
            behind[8] = *ROW_PREFIX + 1;
            rocksdb.iter_seek(it, behind, sizeof behind);
            continue;
        }
        if (len == 8 + name_len && memcmp(key + 8, name, name_len) == 0) {
            VEC_RESERVE(found, cap, *count);
            found[(*count)++] = get_be64(key);
        }
        rocksdb.iter_next(it);
    }
    rocksdb.iter_destroy(it);
    return found;
}
