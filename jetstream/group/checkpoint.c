#include "jetstream/group/shard_internal.h"

#include "core/base/check.h"

/* (1) A checkpoint's state, rows, index, runs and deletions are one atomic write. (2) Groups in
 * memory have no checkpoints: nothing is left of them to go on with. Their logs are cut all the
 * same. */

/* Of log since the last one, or as much as that one wrote. */
#define CHECKPOINT_BYTES_MIN        (4u << 20)
#define CHECKPOINT_BYTES_MIN_MEMORY (256u << 10)
#define ROW_BYTES                   20 /* and its value */

void group_put_state(struct buffer *out, struct group *g, raft_index index, struct bytes state)
{
    uint32_t count;
    const struct raft_run *runs = raft_runs(raft_group_raft(g->raft_group), &count);
    while (count > 0 && runs[count - 1].first > index) {
        count--;
    }
    buffer_put_varint(out, index);
    buffer_put_varint(out, g->first);
    buffer_put_varint(out, count);
    for (uint32_t i = 0; i < count; i++) {
        buffer_put_varint(out, runs[i].first);
        buffer_put_varint(out, runs[i].term);
    }
    buffer_put_bytes(out, state);
    const struct raft_members *members = raft_members_at(raft_group_raft(g->raft_group), index);
    buffer_put_varint(out, members->index);
    raft_members_encode(members, out);
}

/* Entries in [from, to) that hold no data any more. */
static void drop_entries(struct group *g, struct store_batch *batch, raft_index from, raft_index to)
{
    while (from < to) {
        uint64_t kept = g->ops->next_kept(g->owner, from);
        raft_index end = kept < to ? kept : to;
        if (end == from + 1) {
            store_delete_entry(batch, g->id, from);
        } else {
            store_delete_entries(batch, g->id, from, end);
        }
        from = end + 1;
    }
}

static void put_row(void *arg, uint64_t row, struct bytes value)
{
    struct group *g = arg;
    store_put_row(group_batch(g), g->id, row, value);
    g->state_bytes += ROW_BYTES + value.len;
}

static void remove_rows(void *arg, uint64_t from, uint64_t to)
{
    struct group *g = arg;
    store_delete_rows(group_batch(g), g->id, from, to);
    g->state_bytes += ROW_BYTES;
}

/* Test builds read what they have just written: a state that nobody can read is a stream that stops
 * on every replica. With rows the whole state stands for them. */
void group_check_state(struct group *g, struct bytes head)
{
#ifdef TRIREME_DCHECK
    struct buffer whole = {0};
    if (g->ops->decode_end != NULL) {
        g->ops->encode(g->owner, &whole);
        CHECK(g->ops->decode(g->owner, buffer_bytes(&whole)) == OK);
        (void)g->ops->decode_end(g->owner, false);
        CHECK(g->ops->decode(g->owner, head) == OK);
        (void)g->ops->decode_end(g->owner, false);
    }
    buffer_deinit(&whole);
#else
    (void)g;
    (void)head;
#endif
}

static void write_state(struct group *g, raft_index index)
{
    const struct row_writer rows = {put_row, remove_rows, g};
    struct buffer state = {0};
    struct buffer record = {0};
    g->state_bytes = 0;
    if (g->ops->checkpoint == NULL) {
        g->ops->encode(g->owner, &state);
    } else {
        g->ops->checkpoint(g->owner, &state, &rows);
    }
    g->state_bytes += state.len;
    group_check_state(g, buffer_bytes(&state));
    group_put_state(&record, g, index, buffer_bytes(&state));
    store_put_state(group_batch(g), g->id, "ck", buffer_bytes(&record));
    buffer_deinit(&state);
    buffer_deinit(&record);
}

static void put_record(void *arg, uint64_t index, struct blob *data)
{
    struct group *g = arg;
    struct raft_entry e = {.index = index, .kind = RAFT_ENTRY_DATA, .data = data};
    e.term = raft_term_at(raft_group_raft(g->raft_group), index);
    CHECK(e.term != 0 && index < g->first);
    store_put_entry(group_batch(g), g->id, &e, false);
}

static void remove_record(void *arg, uint64_t index)
{
    struct group *g = arg;
    store_delete_entry(group_batch(g), g->id, index);
}

void group_write_checkpoint(struct group *g)
{
    struct store_batch *batch = group_batch(g);
    raft_index index = raft_applied(raft_group_raft(g->raft_group));
    raft_index old_first = g->first;
    raft_index new_first = g->previous + 1;
    if (new_first > g->first) {
        drop_entries(g, batch, g->first, new_first);
        g->first = new_first;
    }
    if (g->ops->rewrite != NULL) {
        const struct record_writer records = {put_record, remove_record, g};
        g->ops->rewrite(g->owner, old_first, g->first, &records);
    }
    uint64_t needed = g->ops->next_kept(g->owner, 0);
    raft_index end = needed < g->first ? needed : g->first;
    if (end > g->trimmed) { /* limits have moved past these */
        store_delete_entries(batch, g->id, g->trimmed, end);
        g->trimmed = end;
    }
    if (!group_in_memory(g)) {
        write_state(g, index);
    }
    shard_await(g, g->writes, DONE_CHECKPOINT, g->first);
    g->checkpointing = true;
    g->previous = g->checkpointed;
    g->checkpointed = index;
    g->bytes_since = 0;
}

bool group_may_checkpoint(const struct group *g)
{
    const struct raft *raft = raft_group_raft(g->raft_group);
    return !g->broken && !raft_is_installing(raft) && !raft_is_stalled(raft);
}

bool group_checkpoint(struct group *g)
{
    bool may = group_may_checkpoint(g) && !g->checkpointing;
    if (may) {
        group_write_checkpoint(g);
    }
    return may;
}

void group_checkpoint_if_due(struct group *g)
{
    size_t least = group_in_memory(g) ? CHECKPOINT_BYTES_MIN_MEMORY : CHECKPOINT_BYTES_MIN;
    size_t limit = g->state_bytes > least ? g->state_bytes : least;
    if (g->bytes_since > limit) {
        (void)group_checkpoint(g);
    }
}
