/* The store, on disk and in memory: the same tests for both. */
#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdlib.h>

#include "core/base/mem.h"
#include "jetstream/store/store.h"

/* A store, a loop to use it from, and what the running test does there. */
struct bed {
    bool memory;
    char folder[64];
    struct loops *loops;
    struct store *store;
};

static void open_store(struct bed *b)
{
    static const struct store_keys no_keys = {0};
    struct error error;
    char path[80];
    (void)snprintf(path, sizeof path, "%s/store", b->folder);
    b->store = b->memory ? store_open_memory(100000) : store_open(path, &no_keys, &error);
    cr_assert_not_null(b->store, "%s", error.message);
    b->loops = loops_start(1);
}

static void close_store(struct bed *b)
{
    loops_stop(b->loops);
    store_close(b->store);
    loops_free(b->loops);
}

static struct bed bed_new(bool memory)
{
    struct bed b = {.memory = memory, .folder = "/tmp/trireme-store-XXXXXX"};
    cr_assert_not_null(mkdtemp(b.folder));
    open_store(&b);
    return b;
}

static void bed_end(struct bed *b)
{
    char command[128];
    close_store(b);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", b->folder);
    cr_assert_eq(system(command), 0);
}

/* --- writing: one batch at a time, from the loop --- */

struct job {
    struct bed *bed;
    struct store_batch *batch;
    enum err result;
    sem_t over;
};

static void on_done(void *arg, enum err err)
{
    struct job *j = arg;
    j->result = err;
    sem_post(&j->over);
}

static void on_loop(void *arg)
{
    struct job *j = arg;
    store_submit(j->bed->store, j->batch, true, on_done, j);
}

static void commit(struct bed *b, struct store_batch *batch)
{
    struct job j = {.bed = b, .batch = batch};
    sem_init(&j.over, 0, 0);
    loop_post(loops_at(b->loops, 0), on_loop, &j);
    while (sem_wait(&j.over) != 0) { /* interrupted by a signal */
    }
    sem_destroy(&j.over);
    cr_assert_eq(j.result, OK);
}

static void put(struct store_batch *batch, uint64_t group, raft_index index, raft_term term,
                const char *text, bool kept)
{
    struct raft_entry e = {index, term, text == NULL ? RAFT_ENTRY_NOOP : RAFT_ENTRY_DATA,
                           text == NULL ? NULL : blob_copy(bytes_of(text))};
    store_put_entry(batch, group, &e, kept);
    blob_release(e.data);
}

/* --- reading --- */

static void has(struct bed *b, uint64_t group, raft_index index, raft_term term, const char *text,
                bool kept)
{
    struct raft_entry e;
    bool is_kept;
    cr_assert_eq(store_get_entry(b->store, group, index, &e, &is_kept), OK, "%llu",
                 (unsigned long long)index);
    cr_assert_eq(e.index, index);
    cr_assert_eq(e.term, term);
    cr_assert_eq(is_kept, kept);
    if (text == NULL) {
        cr_assert_eq(e.kind, RAFT_ENTRY_NOOP);
        cr_assert_null(e.data);
    } else {
        cr_assert_eq(e.kind, RAFT_ENTRY_DATA);
        cr_assert(bytes_is(blob_bytes(e.data), text));
    }
    blob_release(e.data);
}

static void lacks(struct bed *b, uint64_t group, raft_index index)
{
    struct raft_entry e;
    bool kept;
    cr_assert_eq(store_get_entry(b->store, group, index, &e, &kept), ERR_NOT_FOUND, "%llu",
                 (unsigned long long)index);
}

static void state_is(struct bed *b, uint64_t group, const char *name, const char *text)
{
    struct blob *value;
    enum err err = store_get_state(b->store, group, name, &value);
    if (text == NULL) {
        cr_assert_eq(err, ERR_NOT_FOUND);
        return;
    }
    cr_assert_eq(err, OK);
    cr_assert(bytes_is(blob_bytes(value), text));
    blob_release(value);
}

/* --- tests --- */

#define ON_BOTH(name)                                                                              \
    static void name(struct bed *b);                                                               \
    Test(store, name##_on_disk)                                                                    \
    {                                                                                              \
        struct bed b = bed_new(false);                                                             \
        name(&b);                                                                                  \
        bed_end(&b);                                                                               \
    }                                                                                              \
    Test(store, name##_in_memory)                                                                  \
    {                                                                                              \
        struct bed b = bed_new(true);                                                              \
        name(&b);                                                                                  \
        bed_end(&b);                                                                               \
    }                                                                                              \
    static void name(struct bed *b)

ON_BOTH(entries_are_found_by_group_and_index)
{
    struct store_batch *batch = store_batch_new();
    put(batch, 1, 1, 7, NULL, false);
    put(batch, 1, 2, 7, "two", false);
    put(batch, 2, 2, 8, "", true);
    commit(b, batch);
    has(b, 1, 1, 7, NULL, false);
    has(b, 1, 2, 7, "two", false);
    has(b, 2, 2, 8, "", true);
    lacks(b, 1, 3);
    lacks(b, 2, 1);
    lacks(b, 3, 1);
}

ON_BOTH(later_writes_win)
{
    struct store_batch *batch = store_batch_new();
    put(batch, 1, 5, 1, "first", false);
    put(batch, 1, 5, 2, "second", true);
    commit(b, batch);
    has(b, 1, 5, 2, "second", true);
    batch = store_batch_new();
    put(batch, 1, 5, 3, "third", false);
    store_delete_entry(batch, 1, 5);
    put(batch, 1, 4, 3, "before", false);
    commit(b, batch);
    lacks(b, 1, 5);
    has(b, 1, 4, 3, "before", false);
}

ON_BOTH(ranges_are_deleted_front_middle_and_end)
{
    struct store_batch *batch = store_batch_new();
    char text[16];
    for (raft_index i = 1; i <= 100; i++) {
        (void)snprintf(text, sizeof text, "%d", (int)i);
        put(batch, 1, i, 1, text, false);
        put(batch, 2, i, 1, text, false);
    }
    commit(b, batch);
    batch = store_batch_new();
    store_delete_entries(batch, 1, 1, 11);
    store_delete_entries(batch, 1, 40, 60);
    store_delete_entries(batch, 1, 91, UINT64_MAX);
    store_delete_entries(batch, 1, 30, 30); /* nothing */
    store_delete_entry(batch, 1, 20);
    commit(b, batch);
    for (raft_index i = 1; i <= 100; i++) {
        bool gone = i < 11 || (i >= 40 && i < 60) || i >= 91 || i == 20;
        (void)snprintf(text, sizeof text, "%d", (int)i);
        if (gone) {
            lacks(b, 1, i);
        } else {
            has(b, 1, i, 1, text, false);
        }
        has(b, 2, i, 1, text, false);
    }
    batch = store_batch_new();
    put(batch, 1, 50, 2, "between", true); /* into the hole */
    put(batch, 1, 101, 2, "behind", false);
    commit(b, batch);
    has(b, 1, 50, 2, "between", true);
    has(b, 1, 39, 1, "39", false);
    has(b, 1, 60, 1, "60", false);
    has(b, 1, 101, 2, "behind", false);
}

ON_BOTH(entries_are_read_in_order)
{
    struct raft_entry e[64];
    struct store_batch *batch = store_batch_new();
    for (raft_index i = 1; i <= 40; i++) {
        put(batch, 1, i * 2, i, "text", i % 2 == 0); /* with gaps */
    }
    put(batch, 2, 1, 1, "another group's", false);
    commit(b, batch);
    cr_assert_eq(store_get_entries(b->store, 1, 1, e, 10, 1u << 20), 10);
    for (raft_index i = 1; i <= 10; i++) {
        cr_assert_eq(e[i - 1].index, i * 2);
        cr_assert_eq(e[i - 1].term, i);
        cr_assert_eq(e[i - 1].kind, RAFT_ENTRY_DATA);
        cr_assert(bytes_is(blob_bytes(e[i - 1].data), "text"));
        blob_release(e[i - 1].data);
    }
    uint32_t count = store_get_entries(b->store, 1, 70, e, 64, 1u << 20);
    cr_assert_eq(count, 6);
    cr_assert_eq(e[5].index, 80);
    for (uint32_t i = 0; i < count; i++) {
        blob_release(e[i].data);
    }
    cr_assert_eq(store_get_entries(b->store, 1, 1, e, 64, 1), 1); /* one at least */
    blob_release(e[0].data);
    cr_assert_eq(store_get_entries(b->store, 1, 81, e, 64, 1u << 20), 0);
    cr_assert_eq(store_get_entries(b->store, 3, 1, e, 64, 1u << 20), 0);
}

ON_BOTH(groups_have_states_until_they_are_deleted)
{
    struct store_batch *batch = store_batch_new();
    store_put_state(batch, 3, "hs", BYTES_LIT("three"));
    store_put_state(batch, 3, "ck", BYTES_LIT(""));
    store_put_state(batch, 9, "hs", BYTES_LIT("nine"));
    put(batch, 9, 1, 1, "entry", false);
    commit(b, batch);
    state_is(b, 3, "hs", "three");
    state_is(b, 3, "ck", "");
    state_is(b, 9, "ck", NULL);
    uint32_t count;
    uint64_t *groups = store_groups(b->store, "hs", &count);
    cr_assert_eq(count, 2);
    cr_assert((groups[0] == 3 && groups[1] == 9) || (groups[0] == 9 && groups[1] == 3));
    free(groups);
    batch = store_batch_new();
    store_put_state(batch, 3, "hs", BYTES_LIT("changed"));
    store_delete_group(batch, 9);
    commit(b, batch);
    state_is(b, 3, "hs", "changed");
    state_is(b, 9, "hs", NULL);
    lacks(b, 9, 1);
    groups = store_groups(b->store, "hs", &count);
    cr_assert_eq(count, 1);
    free(groups);
}

struct row_list {
    char text[256]; /* "1=one 2=two " */
    uint64_t stop;  /* the callback fails there */
};

static enum err list_row(void *arg, uint64_t row, struct bytes value)
{
    struct row_list *list = arg;
    size_t len = strlen(list->text);
    (void)snprintf(list->text + len, sizeof list->text - len, "%llx=%.*s ", (unsigned long long)row,
                   (int)value.len, value.ptr);
    return row == list->stop ? ERR_INVALID : OK;
}

static void rows_are(struct bed *b, uint64_t group, const char *text)
{
    struct row_list list = {.stop = UINT64_MAX};
    cr_assert_eq(store_each_row(b->store, group, list_row, &list), OK);
    cr_assert_str_eq(list.text, text);
}

ON_BOTH(states_have_numbered_rows)
{
    struct store_batch *batch = store_batch_new();
    store_put_state(batch, 3, "hs", BYTES_LIT("three"));
    store_put_row(batch, 3, 2, BYTES_LIT("two"));
    store_put_row(batch, 3, 1, BYTES_LIT("one"));
    store_put_row(batch, 3, UINT64_C(1) << 63, BYTES_LIT("high"));
    store_put_row(batch, 4, 1, BYTES_LIT("other"));
    store_put_state(batch, 3, "voters", BYTES_LIT("behind the rows"));
    store_put_state(batch, 5, "voters", BYTES_LIT("without"));
    commit(b, batch);
    uint32_t count;
    uint64_t *groups = store_groups(b->store, "voters", &count);
    cr_assert_eq(count, 2);
    cr_assert_eq(groups[0] + groups[1], 8);
    free(groups);
    rows_are(b, 3, "1=one 2=two 8000000000000000=high ");
    rows_are(b, 4, "1=other ");
    rows_are(b, 5, "");
    struct row_list list = {.stop = 2};
    cr_assert_eq(store_each_row(b->store, 3, list_row, &list), ERR_INVALID);
    cr_assert_str_eq(list.text, "1=one 2=two ");
    batch = store_batch_new();
    store_delete_rows(batch, 3, 1, 2);
    store_put_row(batch, 3, 2, BYTES_LIT("new"));
    store_delete_rows(batch, 3, UINT64_C(1) << 63, UINT64_MAX);
    store_put_row(batch, 3, UINT64_C(1) << 63, BYTES_LIT("again")); /* in the order given */
    commit(b, batch);
    rows_are(b, 3, "2=new 8000000000000000=again ");
    state_is(b, 3, "hs", "three");
    batch = store_batch_new();
    store_delete_group(batch, 3);
    commit(b, batch);
    rows_are(b, 3, "");
    rows_are(b, 4, "1=other ");
}

ON_BOTH(the_backlog_is_what_waits)
{
    cr_assert_eq(store_backlog(b->store), 0);
    struct store_batch *batch = store_batch_new();
    put(batch, 1, 1, 1, "data", false);
    commit(b, batch);
    cr_assert_eq(store_backlog(b->store), 0);
    cr_assert_not(store_is_poisoned(b->store));
    cr_assert_not(store_is_full(b->store));
}

Test(store, only_the_disk_outlives_a_restart)
{
    for (int memory = 0; memory <= 1; memory++) {
        struct bed b = bed_new(memory != 0);
        struct store_batch *batch = store_batch_new();
        put(batch, 1, 1, 4, "entry", false);
        store_put_state(batch, 1, "hs", BYTES_LIT("state"));
        commit(&b, batch);
        close_store(&b);
        open_store(&b);
        if (memory != 0) {
            lacks(&b, 1, 1);
            state_is(&b, 1, "hs", NULL);
        } else {
            has(&b, 1, 1, 4, "entry", false);
            state_is(&b, 1, "hs", "state");
        }
        bed_end(&b);
    }
}

Test(store, memory_is_full_at_its_limit_and_not_after_deleting)
{
    struct bed b = bed_new(true);
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    for (raft_index i = 1; !store_is_full(b.store); i++) {
        struct store_batch *batch = store_batch_new();
        put(batch, 1, i, 1, text, false);
        commit(&b, batch);
        cr_assert_leq(i, 100);
    }
    cr_assert_not(store_is_out_of_space(b.store));
    struct store_batch *batch = store_batch_new();
    store_delete_entries(batch, 1, 1, 50);
    commit(&b, batch);
    cr_assert_not(store_is_full(b.store));
    bed_end(&b);
}

/* Entries of 256 KiB: [from, to). */
static void put_big(struct bed *b, uint64_t group, raft_index from, raft_index to)
{
    size_t len = 256u << 10;
    char *text = mem_alloc(len + 1);
    memset(text, 'x', len);
    text[len] = '\0';
    for (raft_index i = from; i < to; i++) {
        struct store_batch *batch = store_batch_new();
        put(batch, group, i, 1, text, false);
        commit(b, batch);
    }
    free(text);
}

static unsigned table_megabytes(struct bed *b)
{
    char command[128];
    unsigned long bytes = 0;
    (void)snprintf(command, sizeof command, "cat '%s'/store/*.sst 2>/dev/null | wc -c", b->folder);
    FILE *f = popen(command, "r");
    cr_assert_not_null(f);
    cr_assert_eq(fscanf(f, "%lu", &bytes), 1);
    (void)pclose(f);
    return (unsigned)(bytes >> 20);
}

/* They leave out what lies below a group's floor, and nothing that came there afterwards. */
Test(store, compactions_leave_out_what_was_deleted_only)
{
    struct bed b = bed_new(false);
    put_big(&b, 1, 1, 161);
    struct store_batch *batch = store_batch_new();
    put(batch, 2, 1, 1, "first", false);
    store_delete_entries(batch, 1, 0, 161);
    store_delete_entries(batch, 2, 0, 2);
    commit(&b, batch);
    batch = store_batch_new();
    put(batch, 1, 5, 2, "again", false);
    store_delete_group(batch, 2);
    put(batch, 2, 1, 2, "anew", false);
    commit(&b, batch);
    raft_index next = 1;
    while (next <= 400 || table_megabytes(&b) > 24) { /* 100 MB: some compactions */
        put_big(&b, 3, next, next + 16);
        next += 16;
        batch = store_batch_new();
        store_delete_entries(batch, 3, 0, next);
        commit(&b, batch);
        cr_assert_leq(next, 4000, "%u MB", table_megabytes(&b));
    }
    for (int restarted = 0; restarted <= 1; restarted++) {
        has(&b, 1, 5, 2, "again", false);
        has(&b, 2, 1, 2, "anew", false);
        lacks(&b, 1, 4);
        lacks(&b, 1, 160);
        lacks(&b, 3, next - 1);
        close_store(&b);
        open_store(&b);
    }
    bed_end(&b);
}

/* A bit of the file that has the text; the store is closed. */
static void flip(struct bed *b, const char *text)
{
    char command[512];
    (void)snprintf(
        command, sizeof command,
        "for f in '%s'/store/*.sst; do at=$(grep -abo '%s' \"$f\" | head -n 1 | cut -d: -f1); "
        "[ -n \"$at\" ] && printf '#' | dd of=\"$f\" bs=1 seek=\"$at\" conv=notrunc 2>/dev/null; "
        "done; true",
        b->folder, text);
    cr_assert_eq(system(command), 0);
}

static bool is_hit(const struct store_damage *found, uint32_t count, bool states, uint64_t group)
{
    bool hit = false;
    for (uint32_t i = 0; i < count; i++) {
        hit = hit || (found[i].states == states && found[i].from.group <= group &&
                      group < found[i].to.group);
    }
    return hit;
}

/* 300 groups, some of them to a block: what lies behind the damaged one is readable. */
Test(store, damage_ends_with_its_block)
{
    struct bed b = bed_new(false);
    struct store_batch *batch = store_batch_new();
    for (uint64_t g = 1; g <= 300; g++) {
        char text[300];
        (void)snprintf(text, sizeof text, "state-%03d-%0250d", (int)g, 0);
        store_put_state(batch, g, "hs", bytes_of(text));
        (void)snprintf(text, sizeof text, "entry-%03d-%0250d", (int)g, 0);
        put(batch, g, 1, 1, text, false);
    }
    commit(&b, batch);
    close_store(&b);
    open_store(&b); /* from RocksDB's log into files */
    close_store(&b);
    flip(&b, "state-150-");
    flip(&b, "entry-100-");
    open_store(&b);
    struct store_place at = {0, 0};
    struct store_damage found[16];
    uint32_t count;
    cr_assert(store_scrub(b.store, &at, SIZE_MAX, found, 16, &count));
    for (int states = 0; states < 2; states++) {
        uint64_t bad = states != 0 ? 150 : 100;
        cr_expect(is_hit(found, count, states != 0, bad));
        cr_expect(!is_hit(found, count, states != 0, bad - 70));
        cr_expect(!is_hit(found, count, states != 0, bad + 70));
        cr_expect(!is_hit(found, count, states != 0, 300));
    }
    cr_expect(store_is_damaged(b.store));
    close_store(&b);
    open_store(&b); /* rebuilt */
    struct raft_entry e;
    struct blob *state;
    bool kept;
    cr_assert_eq(store_get_entry(b.store, 300, 1, &e, &kept), OK);
    blob_release(e.data);
    cr_assert_eq(store_get_state(b.store, 300, "hs", &state), OK);
    blob_release(state);
    bed_end(&b);
}
