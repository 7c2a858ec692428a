#include "raft/host.h"

#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/check.h"
#include "core/base/mem.h"
#include "raft/wire.h"

struct raft_group {
    struct raft_host *host;
    struct raft *raft;
    struct raft_group_ops ops;
    void *owner;
    bool queued;  /* on host->dirty */
    bool ticking; /* on host->active */
    bool leading; /* what ops.on_leader was told last */
    bool removed;
};

struct outgoing {
    raft_node to;
    struct buffer frame;
};

struct raft_host {
    struct raft_host_io io;
    void *arg;
    struct map groups; /* id → struct raft_group */
    struct raft_group **dirty;
    uint32_t dirty_count, dirty_cap;
    struct raft_group **active; /* groups that are not quiesced */
    uint32_t active_count, active_cap;
    struct outgoing *outgoing;
    uint32_t outgoing_count, outgoing_cap;
    bool processing;
    enum raft_room room;
    int64_t snapshot_rate, snapshot_budget; /* bytes: per tick, left in this one */
    int64_t now_ns;
    int64_t lease_ns;
};

static void touch(struct raft_group *g)
{
    struct raft_host *host = g->host;
    if (!g->queued) {
        g->queued = true;
        VEC_RESERVE(host->dirty, host->dirty_cap, host->dirty_count);
        host->dirty[host->dirty_count++] = g;
    }
    if (!g->ticking && !raft_is_quiesced(g->raft)) {
        g->ticking = true;
        VEC_RESERVE(host->active, host->active_cap, host->active_count);
        host->active[host->active_count++] = g;
    }
}

struct raft_host *raft_host_new(const struct raft_host_io *io, void *arg)
{
    struct raft_host *host = NEW(struct raft_host);
    host->io = *io;
    host->arg = arg;
    raft_host_set_snapshot_rate(host, RAFT_HOST_SNAPSHOT_RATE);
    return host;
}

void raft_host_free(struct raft_host *host)
{
    CHECK(host->groups.count == 0);
    map_deinit(&host->groups);
    free(host->dirty);
    free(host->active);
    for (uint32_t i = 0; i < host->outgoing_count; i++) {
        buffer_deinit(&host->outgoing[i].frame);
    }
    free(host->outgoing);
    free(host);
}

struct raft_group *raft_host_add(struct raft_host *host, struct raft_config *config,
                                 const struct raft_group_ops *ops, void *owner)
{
    CHECK(map_get_u64(&host->groups, config->group) == NULL);
    struct raft_group *g = NEW(struct raft_group);
    g->host = host;
    g->ops = *ops;
    g->owner = owner;
    config->storage = &g->ops.storage;
    config->arg = owner;
    config->snapshot_budget = &host->snapshot_budget;
    config->clock = &host->now_ns;
    config->lease_ns = host->lease_ns;
    g->raft = raft_new(config);
    (void)map_put_u64(&host->groups, config->group, g);
    touch(g);
    return g;
}

static void drop(struct raft_group **list, uint32_t *count, const struct raft_group *g)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (list[i] == g) {
            list[i] = list[--*count];
            return;
        }
    }
}

void raft_host_remove(struct raft_host *host, struct raft_group *g)
{
    (void)map_remove_u64(&host->groups, raft_group(g->raft));
    drop(host->active, &host->active_count, g);
    if (host->processing) { /* freed when its turn in the list comes */
        g->removed = true;
        g->ticking = false;
        touch(g);
        drop(host->active, &host->active_count, g);
        return;
    }
    drop(host->dirty, &host->dirty_count, g);
    raft_free(g->raft);
    free(g);
}

struct raft_group *raft_host_find(struct raft_host *host, uint64_t id)
{
    return map_get_u64(&host->groups, id);
}

struct raft *raft_group_raft(struct raft_group *group)
{
    return group->raft;
}

void *raft_group_owner(struct raft_group *group)
{
    return group->owner;
}

enum err raft_group_propose(struct raft_group *g, struct blob *data, raft_index *index)
{
    enum err err = raft_propose(g->raft, data, index);
    touch(g);
    return err;
}

enum err raft_group_change_members(struct raft_group *g, const struct raft_members *members,
                                   raft_index *index)
{
    enum err err = raft_change_members(g->raft, members, index);
    touch(g);
    return err;
}

enum err raft_group_read(struct raft_group *g, uint64_t *id)
{
    enum err err = raft_read(g->raft, id);
    touch(g);
    return err;
}

void raft_group_fetch(struct raft_group *g, raft_index index)
{
    raft_fetch(g->raft, index);
    touch(g);
}

void raft_group_rewrite(struct raft_group *g)
{
    raft_rewrite(g->raft);
    touch(g);
}

void raft_group_persisted(struct raft_group *g, uint64_t seq)
{
    raft_persisted(g->raft, seq);
    touch(g);
}

void raft_group_poison(struct raft_group *g)
{
    raft_poison(g->raft);
    touch(g);
}

void raft_host_set_snapshot_rate(struct raft_host *host, int64_t bytes)
{
    host->snapshot_rate = host->snapshot_budget = bytes;
}

void raft_host_set_time(struct raft_host *host, int64_t now_ns)
{
    host->now_ns = now_ns;
}

void raft_host_set_lease(struct raft_host *host, int64_t lease_ns)
{
    host->lease_ns = lease_ns;
}

void raft_host_tick(struct raft_host *host)
{
    uint32_t kept = 0;
    host->snapshot_budget = host->snapshot_rate;
    for (uint32_t i = 0; i < host->active_count; i++) {
        struct raft_group *g = host->active[i];
        raft_tick(g->raft);
        if (!g->queued) {
            g->queued = true;
            VEC_RESERVE(host->dirty, host->dirty_cap, host->dirty_count);
            host->dirty[host->dirty_count++] = g;
        }
        if (raft_is_quiesced(g->raft)) {
            g->ticking = false;
            raft_trim_memory(g->raft, 0);
        } else {
            host->active[kept++] = g;
        }
    }
    host->active_count = kept;
}

bool raft_host_receive(struct raft_host *host, struct raft_sender from, raft_node self,
                       struct bytes message)
{
    struct raft_message m;
    if (raft_wire_decode(message, &m) != OK) {
        return false;
    }
    struct raft_group *g = raft_host_find(host, m.group);
    bool welcome = m.entry_count > 0            ? host->room != RAFT_ROOM_NONE
                   : m.type == RAFT_TIMEOUT_NOW ? host->room == RAFT_ROOM_ENOUGH
                                                : true;
    bool possible = true;
    if (g != NULL && welcome) {
        m.from = from.node;
        m.stranger = from.stranger;
        m.to = self;
        possible = raft_step(g->raft, &m);
        touch(g);
    }
    raft_message_deinit(&m);
    return possible;
}

void raft_host_peer(struct raft_host *host, raft_node peer, bool up)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&host->groups, &i)) != NULL;) {
        struct raft_group *g = e->value;
        raft_peer_up(g->raft, peer, up);
        touch(g);
    }
}

void raft_host_set_room(struct raft_host *host, enum raft_room room)
{
    if (room != RAFT_ROOM_ENOUGH && host->room == RAFT_ROOM_ENOUGH) {
        raft_host_transfer_all(host);
    }
    host->room = room;
}

void raft_group_yield(struct raft_group *g)
{
    raft_transfer(g->raft, 0);
    touch(g);
}

void raft_host_transfer_all(struct raft_host *host)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&host->groups, &i)) != NULL;) {
        raft_group_yield(e->value);
    }
}

static struct buffer *frame_to(struct raft_host *host, raft_node to)
{
    for (uint32_t i = 0; i < host->outgoing_count; i++) {
        if (host->outgoing[i].to == to) {
            return &host->outgoing[i].frame;
        }
    }
    VEC_RESERVE(host->outgoing, host->outgoing_cap, host->outgoing_count);
    host->outgoing[host->outgoing_count] = (struct outgoing){.to = to};
    return &host->outgoing[host->outgoing_count++].frame;
}

#define FRAME_FLUSH_BYTES (1u << 20)

static void take_messages(struct raft_group *g)
{
    struct raft_host *host = g->host;
    struct raft_message m;
    struct buffer encoded = {0};
    while (raft_next_message(g->raft, &m)) {
        struct buffer *frame = frame_to(host, m.to);
        buffer_clear(&encoded);
        raft_wire_encode(&encoded, &m);
        buffer_put_bytes(frame, buffer_bytes(&encoded));
        if (frame->len >= FRAME_FLUSH_BYTES) {
            host->io.send(host->arg, m.to, buffer_bytes(frame));
            buffer_deinit(frame);
        }
        raft_message_deinit(&m);
    }
    buffer_deinit(&encoded);
}

static void take_commits(struct raft_group *g)
{
    const struct raft_entry *e;
    while (!g->removed && (e = raft_next_committed(g->raft)) != NULL) {
        struct raft_entry kept = *e; /* apply may propose, which may move the window */
        if (kept.data != NULL) {
            (void)blob_retain(kept.data);
        }
        bool applied = g->ops.apply(g->owner, &kept);
        blob_release(kept.data);
        if (!applied && !g->removed) {
            raft_stall(g->raft);
        }
    }
}

static void take_reads(struct raft_group *g)
{
    struct raft_read read;
    while (!g->removed && raft_next_read(g->raft, &read)) {
        g->ops.on_read(g->owner, read.id, read.allowed);
    }
}

/* Before entries are applied, so that a leader that has lost its role accepts no new work; after
 * them, so that one which has gained it has all of its state. */
static void tell_role(struct raft_group *g)
{
    bool leading = raft_is_ready_leader(g->raft);
    if (leading != g->leading) {
        g->leading = leading;
        g->ops.on_leader(g->owner, leading);
    }
}

static bool take_persists(struct raft_group *g)
{
    struct raft_persist request;
    bool any = false;
    while (raft_take_persist(g->raft, &request)) {
        g->host->io.persist(g->host->arg, g, &request);
        any = true;
    }
    return any;
}

/* What is to be persisted goes first: applying may lead to a checkpoint, which must not reach the
 * disk before the entries it stands on. */
static void process_group(struct raft_group *g)
{
    struct raft_install install;
    if (g->leading) {
        tell_role(g);
    }
    if (raft_take_install(g->raft, &install)) {
        g->ops.install(g->owner, &install);
        blob_release(install.state);
    }
    if (BUG(BUG_APPLIES_BEFORE_PERSIST)) {
        take_commits(g);
    }
    (void)take_persists(g);
    take_commits(g);
    take_reads(g);
    if (g->removed) {
        return;
    }
    tell_role(g);
    bool more;
    do { /* our own vote, released with the messages, may make us leader and append */
        more = take_persists(g);
        take_messages(g);
    } while (more);
    raft_trim_memory(g->raft, raft_is_quiesced(g->raft) ? 0 : RAFT_HOST_TAIL_BYTES);
}

void raft_host_process(struct raft_host *host)
{
    CHECK(!host->processing);
    host->processing = true;
    for (uint32_t i = 0; i < host->dirty_count; i++) { /* the list may grow meanwhile */
        struct raft_group *g = host->dirty[i];
        g->queued = false;
        if (!g->removed) {
            process_group(g);
        }
        if (g->removed && !g->queued) {
            raft_free(g->raft);
            free(g);
        }
    }
    host->dirty_count = 0;
    host->processing = false;
    for (uint32_t i = 0; i < host->outgoing_count; i++) {
        struct outgoing *o = &host->outgoing[i];
        if (o->frame.len > 0) {
            host->io.send(host->arg, o->to, buffer_bytes(&o->frame));
            buffer_deinit(&o->frame);
        }
    }
}

bool raft_host_is_active(const struct raft_host *host)
{
    return host->active_count > 0;
}

uint32_t raft_host_count(const struct raft_host *host)
{
    return host->groups.count;
}
