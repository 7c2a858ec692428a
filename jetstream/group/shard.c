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
 * gone by then. (2) A group in memory claims nothing before its footprint is on the disk: that it
 * has been here is all that the next life knows of it. */

/* What one store batch completes. */
struct commit {
    struct shard *shard;
    struct done {
        uint64_t group, life;
        enum done_what what;
        uint64_t number;
    } * list;
    uint32_t count, cap;
};

static void on_tick(void *arg);

void shard_kick(struct shard *s)
{
    loop_at_turn_end(s->loop, &s->process);
}

struct store_batch *shard_batch(struct shard *s, struct writes *w)
{
    if (w->batch == NULL) {
        w->batch = store_batch_new();
        w->commit = NEW(struct commit);
        w->commit->shard = s;
        shard_kick(s);
    }
    return w->batch;
}

struct store_batch *group_batch(struct group *g)
{
    return shard_batch(g->shard, g->writes);
}

void shard_await(struct group *g, struct writes *w, enum done_what what, uint64_t number)
{
    (void)shard_batch(g->shard, w);
    struct commit *c = w->commit;
    VEC_RESERVE(c->list, c->cap, c->count);
    c->list[c->count++] = (struct done){g->id, g->life, what, number};
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
            group_break(g, "its writes fail");
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

enum raft_room shard_room(struct store *disk)
{
    if (!store_is_full(disk)) {
        return RAFT_ROOM_ENOUGH;
    }
    return store_is_out_of_space(disk) ? RAFT_ROOM_NONE : RAFT_ROOM_LITTLE;
}

static void on_tick(void *arg)
{
    struct shard *s = arg;
    raft_host_set_room(s->host, shard_room(s->disk.store));
    raft_host_set_time(s->host, clock_mono_ns());
    raft_host_tick(s->host);
    shard_kick(s);
}

/* --- what Raft hands out --- */

/* u64 term, vote, proof (0 unproven, else 1 + the doubt of the store in which it was proven), where
 * the log ended then. */
static void put_hard_state(struct group *g, const struct raft_persist *p)
{
    struct buffer b = {0};
    buffer_put_u64(&b, p->term);
    buffer_put_u64(&b, p->vote);
    buffer_put_u64(&b, p->unproven ? 0 : 1 + store_doubt(g->writes->store));
    buffer_put_u64(&b, p->proven_since);
    store_put_state(group_batch(g), g->id, "hs", buffer_bytes(&b));
    buffer_deinit(&b);
}

static void on_persist(void *arg, struct raft_group *rg, const struct raft_persist *p)
{
    (void)arg;
    struct group *g = raft_group_owner(rg);
    struct store_batch *batch = group_batch(g);
    if (p->truncate_from != 0 || p->kept_records) {
        group_forget_ahead(g); /* other entries will be there */
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
    shard_await(g, g->writes, DONE_PERSISTED, p->seq);
}

static void on_send(void *arg, raft_node to, struct bytes frame)
{
    struct shard *s = arg;
    if (s->peers != NULL) {
        (void)peers_send(s->peers, to, JS_FRAME_RAFT, &frame, 1);
    }
}

static const struct raft_host_io host_io = {on_persist, on_send};

/* --- life --- */

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
    raft_host_set_room(s->host, shard_room(s->disk.store));
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
    store_delete_group(shard_batch(s, &s->disk), group);
    store_delete_group(shard_batch(s, &s->memory), group);
}

uint32_t shard_group_count(const struct shard *s)
{
    return s->group_count;
}
