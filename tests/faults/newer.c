/* newer: makes of what a stopped server has stored what a newer version might have stored: whole,
 * with right checksums, and not to be understood.
 *
 *   newer STORE WHAT [undo]: what it did before is taken back, and nothing else changes
 *
 *   newer STORE state   the checkpoints of streams are of an unknown version
 *   newer STORE row     so is a row of each
 *   newer STORE hard    the hard states of streams say more
 *   newer STORE entry   their logs end with an entry of an unknown kind
 *   newer STORE meta    so does the meta group's
 *   newer STORE voters  the list of the meta group's voters says more
 *   newer STORE due     the checkpoints' redeliveries are due at a time that has wrapped: 0.3 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/runtime/loop.h"
#include "jetstream/state/meta.h"
#include "jetstream/store/store.h"

static const char *folder, *what;
static uv_sem_t written;
static struct store_batch *batch;
static struct store *store;
static unsigned changed;
static bool undo;

static struct buffer state_of(uint64_t group, const char *name)
{
    struct buffer b = {0};
    struct blob *blob;
    if (store_get_state(store, group, name, &blob) == OK) {
        buffer_append_bytes(&b, blob_bytes(blob));
        blob_release(blob);
    }
    return b;
}

static void put(uint64_t group, const char *name, struct buffer *b)
{
    store_put_state(batch, group, name, buffer_bytes(b));
    changed++;
}

/* Where the owner's state begins in a checkpoint: index, first, runs, bytes. */
static size_t state_at(const struct buffer *b)
{
    struct reader r = reader_make(buffer_bytes(b));
    (void)reader_varint(&r);
    (void)reader_varint(&r);
    for (uint64_t runs = reader_varint(&r); runs > 0; runs--) {
        (void)reader_varint(&r);
        (void)reader_varint(&r);
    }
    struct bytes state = reader_bytes(&r);
    return r.bad || state.len == 0 ? 0 : (size_t)(state.ptr - b->data);
}

/* Behind the last one of a short log. Taken back it is one that says nothing, for others have come
 * behind it. */
static void put_entry(uint64_t group, struct bytes data)
{
    struct raft_entry e = {.kind = RAFT_ENTRY_DATA}, at;
    struct blob *blob = blob_copy(data);
    bool kept;
    bool found = false;
    for (raft_index i = 1; i < 100000 && !found; i++) {
        if (store_get_entry(store, group, i, &at, &kept) == OK) {
            e.index = i;
            e.term = at.term;
            found = undo && at.data != NULL && bytes_eq(blob_bytes(at.data), data);
            blob_release(at.data);
        }
    }
    e.index += !undo;
    e.kind = undo ? RAFT_ENTRY_NOOP : RAFT_ENTRY_DATA;
    e.data = undo ? NULL : blob;
    if (found || !undo) {
        store_put_entry(batch, group, &e, false);
        changed++;
    }
    blob_release(blob);
}

/* One byte more, or less. */
static void lengthen(uint64_t group, const char *name)
{
    struct buffer b = state_of(group, name);
    if (undo) {
        b.len--;
    } else {
        buffer_put_u8(&b, 7);
    }
    put(group, name, &b);
    buffer_deinit(&b);
}

/* A redelivery that has been due at this time is due before 1970. */
static void wrap_due(uint64_t group, struct buffer *b)
{
    static const char mark[] = "\xff\xff\xff\xff\xff\xff\xff\x3f"; /* TIME_MAX_NS */
    char *at = b->len < 8 ? NULL : memmem(b->data, b->len, mark, 8);
    if (at != NULL) {
        at[7] = (char)0x99;
        put(group, "ck", b);
    }
}

static void change(uint64_t group)
{
    struct buffer ck = state_of(group, "ck");
    size_t at = ck.len == 0 ? 0 : state_at(&ck);
    if (strcmp(what, "state") == 0 && at > 0) {
        ck.data[at] ^= 0x60;
        put(group, "ck", &ck);
    } else if (strcmp(what, "row") == 0 && at > 0) {
        changed++;
        if (undo) {
            store_delete_rows(batch, group, 999, 1000);
        } else {
            store_put_row(batch, group, 999, BYTES_LIT("\xff\xff\xff"));
        }
    } else if (strcmp(what, "hard") == 0) {
        lengthen(group, "hs");
    } else if (strcmp(what, "entry") == 0) {
        put_entry(group, BYTES_LIT("\x63newer"));
    } else if (strcmp(what, "due") == 0) {
        wrap_due(group, &ck);
    }
    buffer_deinit(&ck);
}

static void on_written(void *arg, enum err err)
{
    (void)arg;
    if (err != OK) {
        fprintf(stderr, "the store cannot be written\n");
        exit(1);
    }
    uv_sem_post(&written);
}

static void run(void *arg)
{
    (void)arg;
    uint32_t count;
    uint64_t *groups = store_groups(store, "hs", &count);
    batch = store_batch_new();
    for (uint32_t i = 0; i < count; i++) {
        if (groups[i] >= META_FIRST_GROUP) {
            change(groups[i]);
        }
    }
    free(groups);
    if (strcmp(what, "meta") == 0) {
        put_entry(META_GROUP_ID,
                  BYTES_LIT("{\"op\":\"polish\",\"account\":\"$G\",\"stream\":\"S\"}"));
    } else if (strcmp(what, "voters") == 0) {
        lengthen(META_GROUP_ID, "voters");
    }
    store_submit(store, batch, true, on_written, NULL);
}

int main(int argc, char **argv)
{
    static const struct store_keys none;
    struct error error;
    undo = argc == 4 && strcmp(argv[3], "undo") == 0;
    if (argc != 3 + undo || uv_sem_init(&written, 0) != 0) {
        return 2;
    }
    folder = argv[1];
    what = argv[2];
    store = store_open(folder, &none, &error);
    if (store == NULL) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    struct loops *loops = loops_start(1);
    loop_post(loops_at(loops, 0), run, NULL);
    uv_sem_wait(&written);
    loops_stop(loops);
    store_close(store);
    loops_free(loops);
    printf("%u\n", changed);
    return changed == 0;
}
