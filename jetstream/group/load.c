#include "jetstream/group/shard_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/mem.h"

/* What the store has of a group → the state, decoded by its owner → the log behind it → a group of
 * Raft's; with damage, what is left of it: from the others, or else as recover.c makes it anew. */

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

enum err group_decode_state(struct group *g, const struct blob *state, bool stored)
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

/* --- footprints: groups in memory that have been here --- */

#define FOOTPRINT "here"

/* From now on this node may promise something as a member of the group. */
static void put_footprint(struct group *g)
{
    struct shard *s = g->shard;
    g->footprint_pending = true;
    store_put_state(shard_batch(s, &s->disk), g->id, FOOTPRINT, BYTES_LIT("1"));
    shard_await(g, &s->disk, DONE_FOOTPRINT, 0);
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
    CHECK(group_in_memory(g));
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
    store_delete_entries(group_batch(g), g->id, from, UINT64_MAX);
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
        err = group_decode_state(g, l->state, true);
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
        g->raft_group = raft_host_add(s->host, &l.config, &group_raft_ops, g);
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
