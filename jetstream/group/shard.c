#include "jetstream/group/shard_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"

/* Turn of a shard:  input (messages, ticks, proposals, completions) → turn end: raft_host_process →
 * persist requests gathered in `batch` → store_submit → … → completion → raft_group_persisted
 *
 * (1) Completions of a store come in order; each names groups by id and life, for a group may be
 * gone by then. (2) A checkpoint's state, rows, index, runs and deletions are one atomic write.
 * (3) Groups in memory have no checkpoints: nothing is left of them to go on with. Their logs are
 * cut all the same. (4) A group in memory claims nothing before its footprint is on the disk: that
 * it has been here is all that the next life knows of it. */

/* Of log since the last one, or as much as that one wrote. */
#define CHECKPOINT_BYTES_MIN        (4u << 20)
#define CHECKPOINT_BYTES_MIN_MEMORY (256u << 10)
#define ROW_BYTES                   20                /* and its value */
#define MAKE_ROOM_NS                (100 * NS_PER_MS) /* not more often than this */
#define YIELD_NS                    (500 * NS_PER_MS) /* nor than this */

/* What one store batch completes. */
enum done_what { DONE_PERSISTED, DONE_CHECKPOINT, DONE_FOOTPRINT };
struct commit {
    struct shard *shard;
    struct done {
        uint64_t group, life;
        enum done_what what;
        uint64_t number; /* PERSISTED: the request; CHECKPOINT: the first index that is left */
    } * list;
    uint32_t count, cap;
};

static void on_tick(void *arg);

void shard_kick(struct shard *s)
{
    loop_at_turn_end(s->loop, &s->process);
}

static bool in_memory(const struct group *g)
{
    return g->writes == &g->shard->memory;
}

/* This turn's. */
static struct store_batch *batch_in(struct shard *s, struct writes *w)
{
    if (w->batch == NULL) {
        w->batch = store_batch_new();
        w->commit = NEW(struct commit);
        w->commit->shard = s;
        shard_kick(s);
    }
    return w->batch;
}

/* The batch of the group's store for this turn. */
static struct store_batch *batch_of(struct group *g)
{
    return batch_in(g->shard, g->writes);
}

static void commit_add(struct group *g, struct writes *w, enum done_what what, uint64_t number)
{
    (void)batch_in(g->shard, w);
    struct commit *c = w->commit;
    VEC_RESERVE(c->list, c->cap, c->count);
    c->list[c->count++] = (struct done){g->id, g->life, what, number};
}

static void break_group(struct group *g, const char *why)
{
    if (!g->broken) {
        g->broken = true;
        (void)snprintf(g->problem, sizeof g->problem, "JetStream group %llu has stopped: %s",
                       (unsigned long long)g->id, why);
        log_error("JetStream group %llu stops on this server: %s", (unsigned long long)g->id, why);
        raft_group_poison(g->raft_group);
        shard_kick(g->shard);
    }
}

static void on_done(struct group *g, const struct done *d)
{
    switch (d->what) {
    case DONE_PERSISTED:
        CHECK(d->number > g->persisted);
        g->persisted = d->number;
        break;
    case DONE_FOOTPRINT:
        g->footprint_pending = false;
        break;
    case DONE_CHECKPOINT:
        g->checkpointing = false;
        raft_compacted(raft_group_raft(g->raft_group), d->number);
        return;
    }
    if (!g->footprint_pending && g->persisted > 0) {
        raft_group_persisted(g->raft_group, g->persisted);
    }
}

static void on_committed(void *arg, enum err err)
{
    struct commit *c = arg;
    struct shard *s = c->shard;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct done *d = &c->list[i];
        struct raft_group *rg = raft_host_find(s->host, d->group);
        struct group *g = rg == NULL ? NULL : raft_group_owner(rg);
        if (g == NULL || g->life != d->life) {
            continue;
        }
        if (err != OK) {
            break_group(g, "its writes fail");
        } else {
            on_done(g, d);
        }
    }
    free(c->list);
    free(c);
    shard_kick(s);
}

static void submit(struct writes *w)
{
    if (w->batch != NULL) {
        store_submit(w->store, w->batch, true, on_committed, w->commit);
        w->batch = NULL;
        w->commit = NULL;
    }
}

static void on_process(void *arg)
{
    struct shard *s = arg;
    raft_host_process(s->host);
    submit(&s->disk);
    submit(&s->memory);
    if (raft_host_is_active(s->host) && !loop_timer_armed(&s->tick)) {
        loop_timer_arm(s->loop, &s->tick, clock_mono_ns() + RAFT_TICK_MS * NS_PER_MS, on_tick, s);
    }
}

static enum raft_room room_on(struct store *disk)
{
    if (!store_is_full(disk)) {
        return RAFT_ROOM_ENOUGH;
    }
    return store_is_out_of_space(disk) ? RAFT_ROOM_NONE : RAFT_ROOM_LITTLE;
}

static void on_tick(void *arg)
{
    struct shard *s = arg;
    raft_host_set_room(s->host, room_on(s->disk.store));
    raft_host_set_time(s->host, clock_mono_ns());
    raft_host_tick(s->host);
    shard_kick(s);
}

/* --- reading ahead --- */

static void forget_ahead(struct group *g)
{
    for (uint32_t i = 0; g->ahead != NULL && i < g->ahead->count; i++) {
        blob_release(g->ahead->entries[i].data);
    }
    free(g->ahead);
    g->ahead = NULL;
}

static void read_ahead(struct group *g, raft_index index)
{
    forget_ahead(g);
    g->ahead = NEW(struct ahead);
    g->ahead->count = store_get_entries(g->writes->store, g->id, index, g->ahead->entries,
                                        AHEAD_ENTRIES, AHEAD_BYTES);
}

/* The data of an entry that was read ahead, counted; NULL when it was not. */
static struct blob *take_ahead(struct group *g, raft_index index)
{
    struct ahead *a = g->ahead;
    while (a != NULL && a->at < a->count && a->entries[a->at].index < index) {
        a->at++;
    }
    if (a == NULL || a->at == a->count || a->entries[a->at].index != index) {
        return NULL;
    }
    struct blob *data = a->entries[a->at].data;
    (void)(data == NULL ? NULL : blob_retain(data));
    if (++a->at == a->count) {
        forget_ahead(g);
    }
    return data;
}

/* --- checkpoints --- */

static void put_state_record(struct buffer *out, struct group *g, raft_index index,
                             struct bytes state)
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
    store_put_row(batch_of(g), g->id, row, value);
    g->state_bytes += ROW_BYTES + value.len;
}

static void remove_rows(void *arg, uint64_t from, uint64_t to)
{
    struct group *g = arg;
    store_delete_rows(batch_of(g), g->id, from, to);
    g->state_bytes += ROW_BYTES;
}

/* Test builds read what they have just written: a state that nobody can read is a stream that stops
 * on every replica. With rows the whole state stands for them. */
static void check_state(struct group *g, struct bytes head)
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
    check_state(g, buffer_bytes(&state));
    put_state_record(&record, g, index, buffer_bytes(&state));
    store_put_state(batch_of(g), g->id, "ck", buffer_bytes(&record));
    buffer_deinit(&state);
    buffer_deinit(&record);
}

static void put_record(void *arg, uint64_t index, struct blob *data)
{
    struct group *g = arg;
    struct raft_entry e = {.index = index, .kind = RAFT_ENTRY_DATA, .data = data};
    e.term = raft_term_at(raft_group_raft(g->raft_group), index);
    CHECK(e.term != 0 && index < g->first);
    store_put_entry(batch_of(g), g->id, &e, false);
}

static void remove_record(void *arg, uint64_t index)
{
    struct group *g = arg;
    store_delete_entry(batch_of(g), g->id, index);
}

static void write_checkpoint(struct group *g)
{
    struct store_batch *batch = batch_of(g);
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
    if (!in_memory(g)) {
        write_state(g, index);
    }
    commit_add(g, g->writes, DONE_CHECKPOINT, g->first);
    g->checkpointing = true;
    g->previous = g->checkpointed;
    g->checkpointed = index;
    g->bytes_since = 0;
}

/* The owner's state is whole, and that of applied(). */
static bool may_checkpoint(const struct group *g)
{
    const struct raft *raft = raft_group_raft(g->raft_group);
    return !g->broken && !raft_is_installing(raft) && !raft_is_stalled(raft);
}

bool group_checkpoint(struct group *g)
{
    bool may = may_checkpoint(g) && !g->checkpointing;
    if (may) {
        write_checkpoint(g);
    }
    return may;
}

static void maybe_checkpoint(struct group *g)
{
    size_t least = in_memory(g) ? CHECKPOINT_BYTES_MIN_MEMORY : CHECKPOINT_BYTES_MIN;
    size_t limit = g->state_bytes > least ? g->state_bytes : least;
    if (g->bytes_since > limit) {
        (void)group_checkpoint(g);
    }
}

/* --- callbacks of the Raft host --- */

/* u64 term, vote, proof (0 unproven, else 1 + the doubt of the store in which it was proven), where
 * the log ended then. */
static void put_hard_state(struct group *g, const struct raft_persist *p)
{
    struct buffer b = {0};
    buffer_put_u64(&b, p->term);
    buffer_put_u64(&b, p->vote);
    buffer_put_u64(&b, p->unproven ? 0 : 1 + store_doubt(g->writes->store));
    buffer_put_u64(&b, p->proven_since);
    store_put_state(batch_of(g), g->id, "hs", buffer_bytes(&b));
    buffer_deinit(&b);
}

static void on_persist(void *arg, struct raft_group *rg, const struct raft_persist *p)
{
    (void)arg;
    struct group *g = raft_group_owner(rg);
    struct store_batch *batch = batch_of(g);
    if (p->truncate_from != 0 || p->kept_records) {
        forget_ahead(g); /* other entries will be there */
    }
    if (p->has_hard_state) {
        put_hard_state(g, p);
    }
    if (p->truncate_from != 0) {
        store_delete_entries(batch, g->id, p->truncate_from, UINT64_MAX);
    }
    for (uint32_t i = 0; i < p->entry_count; i++) {
        store_put_entry(batch, g->id, &p->entries[i], p->kept_records);
        g->bytes_since += 64 + (p->entries[i].data == NULL ? 0 : p->entries[i].data->len);
    }
    commit_add(g, g->writes, DONE_PERSISTED, p->seq);
}

static void on_send(void *arg, raft_node to, struct bytes frame)
{
    struct shard *s = arg;
    if (s->peers != NULL) {
        (void)peers_send(s->peers, to, JS_FRAME_RAFT, &frame, 1);
    }
}

static const struct raft_host_io host_io = {on_persist, on_send};

static enum err read_entry(struct group *g, raft_index index, struct raft_entry *e)
{
    bool kept;
    enum err err = store_get_entry(g->writes->store, g->id, index, e, &kept);
    if (err == ERR_CORRUPT || err == ERR_NOT_FOUND) {
        group_note_damage(g, index);
    }
    return err;
}

static enum err on_read(void *arg, raft_index index, struct raft_entry *e)
{
    return read_entry(arg, index, e);
}

static enum err on_read_kept(void *arg, raft_index index, raft_index limit, struct raft_entry *e)
{
    struct group *g = arg;
    uint64_t next = g->ops->next_kept(g->owner, index);
    if (next > limit) {
        return ERR_NOT_FOUND;
    }
    const struct raft_entry *memory = raft_peek(raft_group_raft(g->raft_group), next);
    if (memory != NULL) {
        *e = *memory;
        (void)blob_retain(e->data);
        return OK;
    }
    enum err err = read_entry(g, next, e);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

static enum err on_state(void *arg, raft_index *index, struct blob **state)
{
    struct group *g = arg;
    struct buffer b = {0};
    g->ops->encode(g->owner, &b);
    check_state(g, buffer_bytes(&b));
    *index = raft_applied(raft_group_raft(g->raft_group));
    *state = blob_copy(buffer_bytes(&b));
    buffer_deinit(&b);
    return OK;
}

static bool on_apply(void *arg, const struct raft_entry *e)
{
    struct group *g = arg;
    enum err err = OK;
    if (e->kind > RAFT_ENTRY_MEMBERS) { /* of a newer version */
        err = ERR_CORRUPT;
    } else if (e->kind == RAFT_ENTRY_DATA && !g->broken) {
        err = g->ops->apply(g->owner, e->index, e->term, blob_bytes(e->data));
    }
    if (err == ERR_IO && group_has_others(g)) {
        log_error("JetStream group %llu: entry %llu cannot be applied without a damaged record; "
                  "this replica waits for a state from its leader",
                  (unsigned long long)g->id, (unsigned long long)e->index);
        return false;
    }
    if (err != OK) {
        char why[80];
        (void)snprintf(why, sizeof why, "entry %llu of its log cannot be applied: %s",
                       (unsigned long long)e->index,
                       err_name(err == ERR_CORRUPT ? ERR_UNKNOWN : err));
        break_group(g, why);
    }
    maybe_checkpoint(g);
    return true;
}

/* What has the right checksum and makes no sense is of another version, or a bug's: nothing is
 * wrong with the disk, and what is there may be all that there is. But where rows have been lost,
 * those that are left need not fit together. */
static enum err understood(const struct group *g, enum err err)
{
    return err == ERR_CORRUPT && !group_lost_state(g) ? ERR_UNKNOWN : err;
}

static enum err load_row(void *arg, uint64_t row, struct bytes value)
{
    struct group *g = arg;
    return understood(g, g->ops->decode_row(g->owner, row, value));
}

/* `stored`: with the rows that the store has. */
static enum err decode_state(struct group *g, const struct blob *state, bool stored)
{
    enum err err = g->ops->decode(g->owner, blob_bytes(state)) == OK ? OK : ERR_UNKNOWN;
    if (g->ops->decode_end == NULL) {
        return err;
    }
    if (err == OK && stored) {
        err = store_each_row(g->writes->store, g->id, load_row, g);
    }
    enum err end = g->ops->decode_end(g->owner, err == OK);
    return err == OK ? understood(g, end) : err;
}

static void on_install(void *arg, const struct raft_install *install)
{
    struct group *g = arg;
    raft_index index = install->index;
    if (decode_state(g, install->state, false) != OK) {
        break_group(g, "a snapshot from the leader cannot be read");
        return;
    }
    struct store_batch *batch = batch_of(g);
    forget_ahead(g);
    g->previous = install->log_stays ? g->checkpointed : index;
    g->checkpointed = index;
    if (!install->log_stays) {
        g->first = index + 1;
        store_delete_entries(batch, g->id, index + 1, UINT64_MAX);
    }
    struct buffer record = {0};
    put_state_record(&record, g, index, blob_bytes(install->state));
    store_delete_rows(batch, g->id, 0, UINT64_MAX);
    store_put_state(batch, g->id, "ck", buffer_bytes(&record));
    commit_add(g, g->writes, DONE_PERSISTED, install->seq);
    buffer_deinit(&record);
}

static void on_leader(void *arg, bool leader)
{
    struct group *g = arg;
    g->ops->on_leader(g->owner, leader && !g->broken);
}

static void on_read_answered(void *arg, uint64_t id, bool allowed)
{
    struct group *g = arg;
    g->ops->on_read(g->owner, id, allowed && !g->broken);
}

static const struct raft_group_ops raft_ops = {
    {on_read, on_read_kept, on_state}, on_apply, on_install, on_leader, on_read_answered};

/* --- footprints: groups in memory that have been here --- */

#define FOOTPRINT "here"

/* From now on this node may promise something as a member of the group. */
static void put_footprint(struct group *g)
{
    struct shard *s = g->shard;
    g->footprint_pending = true;
    store_put_state(batch_in(s, &s->disk), g->id, FOOTPRINT, BYTES_LIT("1"));
    commit_add(g, &s->disk, DONE_FOOTPRINT, 0);
}

/* One that cannot be read is one. */
static bool has_footprint(const struct group *g)
{
    struct blob *blob;
    enum err err = store_get_state(g->shard->disk.store, g->id, FOOTPRINT, &blob);
    if (err == OK) {
        blob_release(blob);
    }
    return err != ERR_NOT_FOUND;
}

void group_renew_footprint(struct group *g)
{
    CHECK(in_memory(g));
    put_footprint(g);
}

/* --- opening --- */

static enum err load_state(struct group *g, bool fresh, struct loaded *l)
{
    struct blob *blob;
    enum err err = store_get_state(g->writes->store, g->id, "hs", &blob);
    if (err == OK) {
        struct reader r = reader_make(blob_bytes(blob));
        l->config.term = reader_u64(&r);
        l->config.vote = reader_u64(&r);
        bool older = reader_done(&r); /* written before there were proofs */
        uint64_t proof = older ? 1 : reader_u64(&r);
        l->config.proven_since = older ? 0 : reader_u64(&r);
        l->config.unproven = proof != 1 + store_doubt(g->writes->store);
        bool whole = reader_done(&r);
        blob_release(blob);
        if (!whole) {
            return ERR_UNKNOWN;
        }
    } else if (err == ERR_IO) {
        return err;
    } else {
        l->config.unproven = err == ERR_CORRUPT || !fresh; /* what it promised is forgotten */
    }
    err = store_get_state(g->writes->store, g->id, "ck", &blob);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? OK : err;
    }
    struct reader r = reader_make(blob_bytes(blob));
    l->config.applied = reader_varint(&r);
    l->config.first = reader_varint(&r);
    uint64_t count = reader_varint(&r);
    if (!r.bad && count <= (uint64_t)(r.end - r.at)) {
        l->runs = mem_zalloc((size_t)(count + 1) * sizeof *l->runs);
        for (uint64_t i = 0; i < count; i++) {
            l->runs[i].first = reader_varint(&r);
            l->runs[i].term = reader_varint(&r);
        }
        l->config.runs = l->runs;
        l->config.run_count = (uint32_t)count;
    }
    struct bytes state = reader_bytes(&r);
    if (!reader_done(&r)) { /* 0.3 and before: the members are those of the beginning */
        raft_index since = reader_varint(&r);
        r.bad = !raft_members_decode(&r, &l->config.members);
        l->config.members.index = since;
    }
    if (reader_done(&r)) {
        l->state = blob_copy(state);
    }
    blob_release(blob);
    return l->state == NULL ? ERR_UNKNOWN : OK;
}

/* A damaged record in the log of a replica: what is behind it proves nothing, and would be taken
 * for log again once the damaged one is written anew. The others have all of it, and until this one
 * has it from them it does not count. */
static void give_up_log(struct group *g, struct loaded *l, raft_index from)
{
    log_error("JetStream group %llu: its %s damaged at %llu; this replica takes no part until "
              "it has caught up with the others",
              (unsigned long long)g->id, from == 0 ? "state is" : "log is",
              (unsigned long long)from);
    l->config.unproven = true;
    store_delete_entries(batch_of(g), g->id, from, UINT64_MAX);
}

/* Is all of the log there, from its first entry on? */
static bool has_whole_log(struct group *g)
{
    struct raft_entry e;
    bool any = store_get_entries(g->writes->store, g->id, 0, &e, 1, 1) == 1;
    if (any) {
        blob_release(e.data);
    }
    return !any || e.index == 1;
}

/* Without its state a log that has been cut says nothing: a replica begins empty, and gets
 * everything from the others. */
static void begin_without_state(struct group *g, struct loaded *l)
{
    give_up_log(g, l, 0);
    free(l->runs);
    blob_release(l->state);
    l->runs = NULL;
    l->state = NULL;
    l->config.runs = NULL;
    l->config.run_count = 0;
    l->config.applied = l->config.first = 0;
}

/* An entry that was lost when the store was rebuilt, with others behind it, is no end of the log.
 */
static bool is_hole(const struct group *g, raft_index index)
{
    struct raft_entry e;
    if (!group_lost_entries(g, index, index + 1) ||
        store_get_entries(g->writes->store, g->id, index, &e, 1, 1) == 0) {
        return false;
    }
    blob_release(e.data);
    return true;
}

static enum err load_entries(struct group *g, struct loaded *l)
{
    for (raft_index i = l->config.applied + 1;; i++) {
        struct raft_entry e;
        bool kept;
        enum err err = store_get_entry(g->writes->store, g->id, i, &e, &kept);
        if (err == ERR_NOT_FOUND && is_hole(g, i)) {
            err = ERR_CORRUPT;
        }
        if (err == ERR_CORRUPT && l->config.members.count > 1) {
            give_up_log(g, l, i);
            return OK;
        }
        if (err != OK) {
            return err == ERR_NOT_FOUND ? OK : err;
        }
        if (kept) { /* of a snapshot that did not come to its end: the log ended before it */
            blob_release(e.data);
            return OK;
        }
        VEC_RESERVE(l->entries, l->entry_cap, l->config.entry_count);
        l->entries[l->config.entry_count++] = e;
        g->bytes_since += 64 + (e.data == NULL ? 0 : e.data->len);
    }
}

/* The state as it is stored, and the log behind it. */
static enum err load(struct group *g, bool fresh, struct loaded *l)
{
    enum err err = load_state(g, fresh, l);
    if (err == OK && l->state == NULL && group_lost_state(g) && !has_whole_log(g)) {
        err = ERR_CORRUPT;
    }
    if (err == OK && l->state != NULL) {
        err = decode_state(g, l->state, true);
    }
    return err;
}

/* The same, and what is left of it when there is damage. */
static enum err load_or_recover(struct group *g, bool fresh, struct loaded *l)
{
    const struct raft_members at_first = l->config.members;
    enum err err = load(g, fresh, l);
    if (err == ERR_CORRUPT && at_first.count > 1) {
        l->config.members = at_first;
        begin_without_state(g, l);
        return OK;
    }
    if (err == OK) {
        err = load_entries(g, l);
    }
    return err == ERR_CORRUPT ? group_recover(g, l) : err; /* nobody else has it */
}

/* A hard state that is lost leaves a term that is at least that of the log. */
static void settle_term(struct loaded *l)
{
    raft_term last = l->config.entry_count > 0 ? l->entries[l->config.entry_count - 1].term
                     : l->config.run_count > 0 ? l->runs[l->config.run_count - 1].term
                                               : 0;
    if (l->config.term < last) {
        l->config.term = last;
        l->config.vote = 0;
        l->config.unproven = true;
    }
}

struct group *group_open(struct shard *s, uint64_t id, const uint64_t *voters, unsigned voter_count,
                         bool memory, bool fresh, const struct group_ops *ops, void *owner,
                         struct error *error)
{
    struct group *g = NEW(struct group);
    g->shard = s;
    g->writes = memory ? &s->memory : &s->disk;
    g->id = id;
    g->life = ++s->next_life;
    g->ops = ops;
    g->owner = owner;
    struct loaded l = {0};
    l.config = (struct raft_config){
        .group = id, .self = s->self, .members.count = voter_count, .seed = random_system_u64()};
    for (unsigned i = 0; i < voter_count; i++) {
        l.config.members.list[i].node = voters[i];
    }
    bool was_here = memory && has_footprint(g);
    enum err err = load_or_recover(g, fresh && !was_here, &l);
    settle_term(&l);
    l.config.entries = l.entries;
    l.config.survivors = s->survivor_count > 0 ? s->survivors : NULL;
    l.config.survivor_count = s->survivor_count;
    if (err == OK) {
        g->checkpointed = l.config.applied;
        g->first = l.config.first == 0 ? 1 : l.config.first;
        g->previous = g->first - 1;
        g->state_bytes = l.state == NULL ? 0 : l.state->len;
        g->raft_group = raft_host_add(s->host, &l.config, &raft_ops, g);
        const struct raft_members *members = raft_members(raft_group_raft(g->raft_group));
        if (s->survivor_count > 0) {
            log_warn(
                "JetStream group %llu: recovery is forced, %u members are left, the log ends at "
                "%llu",
                (unsigned long long)id, members->count,
                (unsigned long long)raft_last(raft_group_raft(g->raft_group)));
        }
        for (unsigned i = 0; i < members->count; i++) {
            raft_node node = members->list[i].node;
            bool up = s->peers != NULL && peers_is_up(s->peers, node);
            raft_peer_up(raft_group_raft(g->raft_group), node, up);
        }
        VEC_RESERVE(s->groups, s->group_cap, s->group_count);
        s->groups[s->group_count++] = g;
        group_note_lost(g);
        if (memory && !was_here) {
            put_footprint(g);
        }
        if (l.recovered) {
            (void)group_checkpoint(g);
        }
        shard_kick(s);
    } else {
        (void)error_set(error, err,
                        "what is stored of it (group %llu) cannot be used: %s. It is kept",
                        (unsigned long long)id, err_name(err));
        free(g);
        g = NULL;
    }
    for (uint32_t i = 0; i < l.config.entry_count; i++) {
        blob_release(l.entries[i].data);
    }
    free(l.entries);
    free(l.runs);
    blob_release(l.state);
    return g;
}

static void forget_group(struct group *g)
{
    struct shard *s = g->shard;
    for (uint32_t i = 0; i < s->group_count; i++) {
        if (s->groups[i] == g) {
            s->groups[i] = s->groups[--s->group_count];
            break;
        }
    }
    raft_host_remove(s->host, g->raft_group);
    forget_ahead(g);
    group_forget_damage(g);
    free(g);
}

const char *group_problem(const struct group *g)
{
    return g->broken ? g->problem : NULL;
}

void group_close(struct group *g, bool checkpoint)
{
    if (checkpoint && may_checkpoint(g) && g->bytes_since > 0) {
        write_checkpoint(g);
    }
    forget_group(g);
}

void group_destroy(struct group *g)
{
    store_delete_group(batch_of(g), g->id);
    if (in_memory(g)) {
        store_delete_group(batch_in(g->shard, &g->shard->disk), g->id);
    }
    forget_group(g);
}

/* --- the group, for its owner --- */

/* What was deleted gives its space back with a checkpoint, and none would come while nothing can be
 * written. And nobody but whoever asks may notice that an idle leader has no room. */
bool group_is_full(struct group *g)
{
    struct shard *s = g->shard;
    if (!store_is_full(g->writes->store)) {
        return false;
    }
    int64_t now = loop_now_ns(s->loop);
    if (now - g->room_made_ns > MAKE_ROOM_NS && group_checkpoint(g)) {
        g->room_made_ns = now;
    }
    if (g->writes == &s->disk && now - g->yielded_ns > YIELD_NS) {
        g->yielded_ns = now;
        raft_host_set_room(s->host, room_on(s->disk.store));
        raft_group_yield(g->raft_group);
        shard_kick(s);
    }
    return true;
}

uint64_t group_id(const struct group *g)
{
    return g->id;
}

struct raft *group_raft(struct group *g)
{
    return raft_group_raft(g->raft_group);
}

bool group_is_leader(const struct group *g)
{
    return !g->broken && raft_is_ready_leader(raft_group_raft(g->raft_group));
}

enum err group_propose(struct group *g, struct blob *data, uint64_t *index, uint64_t *term)
{
    if (!group_is_leader(g)) {
        return ERR_NOT_LEADER;
    }
    enum err err = raft_group_propose(g->raft_group, data, index);
    *term = raft_term_now(raft_group_raft(g->raft_group));
    shard_kick(g->shard);
    return err;
}

enum err group_propose_bytes(struct group *g, struct bytes data, uint64_t *index, uint64_t *term)
{
    struct blob *blob = blob_copy(data);
    enum err err = group_propose(g, blob, index, term);
    if (err != OK) {
        blob_release(blob);
    }
    return err;
}

static const struct group_candidate *candidate_of(const struct group_candidate *wanted,
                                                  unsigned count, uint64_t node)
{
    for (unsigned i = 0; i < count; i++) {
        if (wanted[i].node == node) {
            return &wanted[i];
        }
    }
    return NULL;
}

static bool is_up(const struct group *g, uint64_t node)
{
    return node == g->shard->self ||
           (g->shard->peers != NULL && peers_is_up(g->shard->peers, node));
}

/* A learner that may not vote, and that has gone, or whose place somebody else needs; the count:
 * there is none. */
static unsigned find_dispensable(const struct group *g, const struct raft_members *members,
                                 const struct group_candidate *wanted, unsigned count,
                                 bool place_needed)
{
    for (unsigned i = 0; i < members->count; i++) {
        const struct raft_member *m = &members->list[i];
        const struct group_candidate *c = candidate_of(wanted, count, m->node);
        if (m->learner && c != NULL && !c->may_vote && (place_needed || !is_up(g, m->node))) {
            return i;
        }
    }
    return members->count;
}

/* One that is up and no member; one place is left to those that may vote. NULL: there is none. */
static const struct group_candidate *find_newcomer(const struct group *g,
                                                   const struct raft_members *members,
                                                   const struct group_candidate *wanted,
                                                   unsigned count, bool may_vote)
{
    unsigned most = may_vote ? RAFT_MEMBERS_MAX : RAFT_MEMBERS_MAX - 1;
    for (unsigned i = 0; i < count; i++) {
        if (wanted[i].may_vote == may_vote && members->count < most && is_up(g, wanted[i].node) &&
            raft_members_find(members, wanted[i].node) == members->count) {
            return &wanted[i];
        }
    }
    return NULL;
}

static const char *promote(const struct group *g, struct raft_members *members,
                           const struct group_candidate *wanted, unsigned count, uint64_t *who)
{
    const struct raft *raft = raft_group_raft(g->raft_group);
    raft_node voters[RAFT_VOTERS_MAX];
    bool room = raft_voters(raft, voters) < RAFT_VOTERS_MAX;
    for (unsigned i = 0; i < members->count && room; i++) {
        struct raft_member *m = &members->list[i];
        struct raft_peer_state state = raft_peer_state(raft, m->node);
        const struct group_candidate *c = candidate_of(wanted, count, m->node);
        if (m->learner && state.current && state.proven && (c == NULL || c->may_vote)) {
            m->learner = false;
            *who = m->node;
            return "has caught up and votes";
        }
    }
    return NULL;
}

const char *group_admit(struct group *g, const struct group_candidate *wanted, unsigned count,
                        uint64_t *who)
{
    struct raft_members members = *raft_members(raft_group_raft(g->raft_group));
    const char *step = promote(g, &members, wanted, count, who);
    bool full = members.count == RAFT_MEMBERS_MAX;
    unsigned spare = find_dispensable(g, &members, wanted, count, full);
    if (step == NULL && spare < members.count) {
        *who = members.list[spare].node;
        members.list[spare] = members.list[--members.count];
        step = "does not learn any more";
    }
    for (int may_vote = 1; may_vote >= 0 && step == NULL; may_vote--) {
        const struct group_candidate *c = find_newcomer(g, &members, wanted, count, may_vote == 1);
        if (c != NULL) {
            members.list[members.count++] = (struct raft_member){c->node, true};
            *who = c->node;
            step = "joins and catches up";
        }
    }
    raft_index index;
    bool changed = step != NULL && group_is_leader(g) &&
                   raft_group_change_members(g->raft_group, &members, &index) == OK;
    shard_kick(g->shard);
    return changed ? step : NULL;
}

enum err group_read_barrier(struct group *g, uint64_t *id)
{
    if (!group_is_leader(g)) {
        return ERR_NOT_LEADER;
    }
    raft_host_set_time(g->shard->host, clock_mono_ns());
    enum err err = raft_group_read(g->raft_group, id);
    shard_kick(g->shard);
    return err;
}

struct blob *group_read(struct group *g, uint64_t index)
{
    const struct raft_entry *memory = raft_peek(raft_group_raft(g->raft_group), index);
    if (memory != NULL) {
        return memory->data == NULL ? NULL : blob_retain(memory->data);
    }
    bool in_order = index > g->read_last && index - g->read_last <= AHEAD_ENTRIES;
    g->read_last = index;
    struct blob *data = take_ahead(g, index);
    if (data == NULL && in_order) {
        read_ahead(g, index);
        data = take_ahead(g, index);
    }
    struct raft_entry e;
    if (data == NULL && read_entry(g, index, &e) == OK) {
        data = e.data;
    }
    return data;
}

bool group_has_others(const struct group *g)
{
    return raft_members(raft_group_raft(g->raft_group))->count > 1;
}

struct group_status group_status(const struct group *g)
{
    const struct raft *r = raft_group_raft(g->raft_group);
    struct group_status s = {.leader = group_is_leader(g),
                             .leader_node = raft_leader(r),
                             .term = raft_term_now(r),
                             .commit = raft_commit(r),
                             .applied = raft_applied(r),
                             .last = raft_last(r)};
    s.unproven = raft_is_unproven(r);
    s.proven_since = raft_proven_since(r);
    bool leads_soon = s.leader_node == g->shard->self && !s.leader; /* its state is not complete */
    s.current = !g->broken && !raft_is_stalled(r) && !s.unproven && s.leader_node != 0 &&
                !leads_soon && s.applied == s.commit;
    return s;
}

/* --- the shard --- */

struct shard *shard_new(struct loop *loop, struct store *disk, struct store *memory,
                        struct peers *peers, uint64_t self)
{
    struct shard *s = NEW(struct shard);
    s->loop = loop;
    s->disk.store = disk;
    s->memory.store = memory;
    s->peers = peers;
    s->self = self;
    s->host = raft_host_new(&host_io, s);
    raft_host_set_time(s->host, clock_mono_ns());
    s->process.run = on_process;
    s->process.arg = s;
    return s;
}

void shard_set_lease(struct shard *s, int64_t lease_ns)
{
    CHECK(s->group_count == 0);
    raft_host_set_lease(s->host, lease_ns);
}

void shard_force_recovery(struct shard *s, const uint64_t *survivors, unsigned count)
{
    CHECK(count <= RAFT_MEMBERS_MAX && s->group_count == 0);
    memcpy(s->survivors, survivors, count * sizeof *survivors);
    s->survivor_count = count;
}

void shard_free(struct shard *s)
{
    CHECK(s->group_count == 0 && s->disk.batch == NULL && s->memory.batch == NULL);
    raft_host_free(s->host);
    free(s->groups);
    free(s);
}

struct loop *shard_loop(const struct shard *s)
{
    return s->loop;
}

bool shard_receive(struct shard *s, struct raft_sender from, struct bytes messages)
{
    struct reader r = reader_make(messages);
    raft_host_set_room(s->host, room_on(s->disk.store));
    raft_host_set_time(s->host, clock_mono_ns());
    while (r.at < r.end && !r.bad) {
        struct bytes message = reader_bytes(&r);
        if (!r.bad && !raft_host_receive(s->host, from, s->self, message)) {
            r.bad = true;
        }
    }
    shard_kick(s);
    return !r.bad;
}

void shard_peer_changed(struct shard *s, uint64_t node, bool up)
{
    raft_host_peer(s->host, node, up);
    shard_kick(s);
}

void shard_transfer_leaders(struct shard *s)
{
    raft_host_transfer_all(s->host);
    shard_kick(s);
}

void shard_delete_group(struct shard *s, uint64_t group)
{
    store_delete_group(batch_in(s, &s->disk), group);
    store_delete_group(batch_in(s, &s->memory), group);
}

uint32_t shard_group_count(const struct shard *s)
{
    return s->group_count;
}
