/* host: many Raft groups on one loop, driven together.
 *
 * It gathers what all groups want persisted and sent in a turn, so that a turn costs one write
 * request and one frame per neighbour, however many groups are in it (thesis §10.2: batches and
 * pipelines). A group in which everybody has everything is quiesced: it neither ticks nor talks
 * until it is woken by a proposal, a message, or a neighbour that went or came; the transport's own
 * heartbeat stands for those of all of them. Like the groups themselves it does no I/O: the server
 * hands it a store and a transport, the simulator others. Owner: one thread. */
#ifndef RAFT_HOST_H
#define RAFT_HOST_H

#include "core/base/buffer.h"
#include "core/base/map.h"
#include "raft/raft.h"

struct raft_host;
struct raft_group;

/* What a group's owner does. All run from raft_host_process(). */
struct raft_group_ops {
    struct raft_storage_ops storage;
    /* In order, each once per run of the process. False: it could not, raft_stall(). */
    bool (*apply)(void *arg, const struct raft_entry *entry);
    /* The state is replaced: raft_take_install(). */
    void (*install)(void *arg, const struct raft_install *install);
    /* Became, or stopped being, a leader whose state is complete. */
    void (*on_leader)(void *arg, bool leader);
    /* What raft_group_read() asked for is allowed now, or never. NULL: never asked. */
    void (*on_read)(void *arg, uint64_t id, bool allowed);
};

struct raft_host_io {
    /* Writes in order of calls; answers by raft_group_persisted() later, never from within. */
    void (*persist)(void *arg, struct raft_group *group, const struct raft_persist *request);
    /* A frame of encoded messages for one neighbour: repeated (varint length, message). May be
     * lost. */
    void (*send)(void *arg, raft_node to, struct bytes frame);
};

struct raft_host *raft_host_new(const struct raft_host_io *io, void *arg);
/* No groups may be left. */
void raft_host_free(struct raft_host *host);

/* `owner` is the arg of ops and of config->storage, which is taken from ops. */
struct raft_group *raft_host_add(struct raft_host *host, struct raft_config *config,
                                 const struct raft_group_ops *ops, void *owner);
void raft_host_remove(struct raft_host *host, struct raft_group *group);
struct raft_group *raft_host_find(struct raft_host *host, uint64_t id);
struct raft *raft_group_raft(struct raft_group *group);
void *raft_group_owner(struct raft_group *group);

MUST_USE enum err raft_group_propose(struct raft_group *group, struct blob *data,
                                     raft_index *index);
enum err raft_group_change_members(struct raft_group *group, const struct raft_members *members,
                                   raft_index *index);
/* raft_read(); `read` of the ops answers, perhaps from within the next raft_host_process(). */
MUST_USE enum err raft_group_read(struct raft_group *group, uint64_t *id);
/* raft_fetch(), raft_rewrite() */
void raft_group_fetch(struct raft_group *group, raft_index index);
void raft_group_rewrite(struct raft_group *group);
void raft_group_persisted(struct raft_group *group, uint64_t seq);
void raft_group_poison(struct raft_group *group);

/* What time it is, ns, on a clock that only goes forward. Before a tick, a read, and what has
 * arrived, and with the time after its arrival: leases count from there. */
void raft_host_set_time(struct raft_host *host, int64_t now_ns);
/* raft_config's lease_ns, for groups added from now on. 0, as at first: none. */
void raft_host_set_lease(struct raft_host *host, int64_t lease_ns);
void raft_host_tick(struct raft_host *host);
struct raft_sender {
    raft_node node;
    bool stranger; /* raft_message.stranger */
};
/* One encoded message. False: it is malformed, or nobody who keeps to the rules would send it
 * (raft_step()): it was dropped, and so should the connection be. A group that is unknown is not
 * the sender's fault. */
MUST_USE bool raft_host_receive(struct raft_host *host, struct raft_sender from, raft_node self,
                                struct bytes message);
/* What the storage has room for. With little of it the groups follow but do not lead if another
 * will. With none, messages that bring entries are dropped, too, as a network might drop them, so
 * that the groups go on as followers that lag. */
enum raft_room { RAFT_ROOM_ENOUGH, RAFT_ROOM_LITTLE, RAFT_ROOM_NONE };
void raft_host_set_room(struct raft_host *host, enum raft_room room);
/* As a leader that has to refuse what it is asked: lets another lead. It may have to be said again;
 * whoever is asked may lack room, too. */
void raft_group_yield(struct raft_group *group);
/* The transport's word on a neighbour, to all groups it is in. */
void raft_host_peer(struct raft_host *host, raft_node peer, bool up);
/* How much of snapshots, of all groups together, is sent between two ticks: what goes on beside
 * them must not wait for it. RAFT_HOST_SNAPSHOT_RATE at first. */
void raft_host_set_snapshot_rate(struct raft_host *host, int64_t bytes);
/* Lets all leaders of this host step aside, before a shutdown. */
void raft_host_transfer_all(struct raft_host *host);
/* Takes the output of all groups that have any. Call at the end of a turn with input. */
void raft_host_process(struct raft_host *host);
/* True while some group needs ticks. */
bool raft_host_is_active(const struct raft_host *host);
uint32_t raft_host_count(const struct raft_host *host);

/* Memory for entries that followers and consumers may soon ask for, per group. */
#define RAFT_HOST_TAIL_BYTES (512u * 1024)
/* At 20 ticks a second 80 MB/s. */
#define RAFT_HOST_SNAPSHOT_RATE (4 << 20)

#endif
