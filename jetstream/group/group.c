#include "jetstream/group/shard_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define MAKE_ROOM_NS (100 * NS_PER_MS) /* not more often than this */
#define YIELD_NS     (500 * NS_PER_MS) /* nor than this */

void group_break(struct group *g, const char *why)
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

/* --- reading --- */

void group_forget_ahead(struct group *g)
{
    for (uint32_t i = 0; g->ahead != NULL && i < g->ahead->count; i++) {
        blob_release(g->ahead->entries[i].data);
    }
    free(g->ahead);
    g->ahead = NULL;
}

static void read_ahead(struct group *g, raft_index index)
{
    group_forget_ahead(g);
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
        group_forget_ahead(g);
    }
    return data;
}

static enum err read_entry(struct group *g, raft_index index, struct raft_entry *e)
{
    bool kept;
    enum err err = store_get_entry(g->writes->store, g->id, index, e, &kept);
    if (err == ERR_CORRUPT || err == ERR_NOT_FOUND) {
        group_note_damage(g, index);
    }
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

/* --- what Raft asks of it --- */

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
    group_check_state(g, buffer_bytes(&b));
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
        group_break(g, why);
    }
    group_checkpoint_if_due(g);
    return true;
}

static void on_install(void *arg, const struct raft_install *install)
{
    struct group *g = arg;
    raft_index index = install->index;
    if (group_decode_state(g, install->state, false) != OK) {
        group_break(g, "a snapshot from the leader cannot be read");
        return;
    }
    struct store_batch *batch = group_batch(g);
    group_forget_ahead(g);
    g->previous = install->log_stays ? g->checkpointed : index;
    g->checkpointed = index;
    if (!install->log_stays) {
        g->first = index + 1;
        store_delete_entries(batch, g->id, index + 1, UINT64_MAX);
    }
    struct buffer record = {0};
    group_put_state(&record, g, index, blob_bytes(install->state));
    store_delete_rows(batch, g->id, 0, UINT64_MAX);
    store_put_state(batch, g->id, "ck", buffer_bytes(&record));
    shard_await(g, g->writes, DONE_PERSISTED, install->seq);
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

const struct raft_group_ops group_raft_ops = {
    {on_read, on_read_kept, on_state}, on_apply, on_install, on_leader, on_read_answered};

/* --- for its owner --- */

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

bool group_has_others(const struct group *g)
{
    return raft_members(raft_group_raft(g->raft_group))->count > 1;
}

const char *group_problem(const struct group *g)
{
    return g->broken ? g->problem : NULL;
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
        raft_host_set_room(s->host, shard_room(s->disk.store));
        raft_group_yield(g->raft_group);
        shard_kick(s);
    }
    return true;
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

/* --- its end --- */

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
    group_forget_ahead(g);
    group_forget_damage(g);
    free(g);
}

void group_close(struct group *g, bool checkpoint)
{
    if (checkpoint && group_may_checkpoint(g) && g->bytes_since > 0) {
        group_write_checkpoint(g);
    }
    forget_group(g);
}

void group_destroy(struct group *g)
{
    store_delete_group(group_batch(g), g->id);
    if (group_in_memory(g)) {
        store_delete_group(shard_batch(g->shard, &g->shard->disk), g->id);
    }
    forget_group(g);
}
