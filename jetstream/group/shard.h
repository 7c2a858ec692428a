/* shard: what one loop runs of JetStream: a Raft host, and the groups that are pinned to the loop.
 *
 * Everything that the groups of a shard want written in a turn goes to the store as one batch,
 * whose completion moves all of them on.
 *
 *   group   a Raft group with its place in the store: loading, persisting, checkpoints, reading
 * back. What the entries mean is its owner's business (meta.c, asset.c).
 *
 * Owner: the shard's loop. */
#ifndef JETSTREAM_GROUP_SHARD_H
#define JETSTREAM_GROUP_SHARD_H

#include "cluster/peers.h"
#include "jetstream/state/rows.h"
#include "jetstream/store/store.h"
#include "raft/host.h"

#define RAFT_TICK_MS 50

enum js_frame {
    JS_FRAME_RAFT = 1,
    JS_FRAME_ASK = 2,
    JS_FRAME_ANSWER = 3,
    JS_FRAME_FORM = 4,
    JS_FRAME_COUNTS = 5 /* before an ANSWER; 0.3 does not know it */
};

struct shard;
struct group;

/* `peers` NULL: a server without cluster. */
struct shard *shard_new(struct loop *loop, struct store *disk, struct store *memory,
                        struct peers *peers, uint64_t self);
/* Before any group is opened: raft_config.lease_ns of all of them. */
void shard_set_lease(struct shard *shard, int64_t lease_ns);
/* Before any group is opened: raft_config.survivors of all of them. */
void shard_force_recovery(struct shard *shard, const uint64_t *survivors, unsigned count);
/* No groups may be left. */
void shard_free(struct shard *shard);
struct loop *shard_loop(const struct shard *shard);
/* Encoded Raft messages from a node. False: nobody who keeps to the rules sends them. */
MUST_USE bool shard_receive(struct shard *shard, struct raft_sender from, struct bytes messages);
void shard_peer_changed(struct shard *shard, uint64_t node, bool up);
/* What a look at the store has found: groups of this shard that have something there fetch it from
 * other replicas, or say what is lost. */
void shard_damaged(struct shard *shard, const struct store_damage *damage);
/* Leaders step aside, before a shutdown. */
void shard_transfer_leaders(struct shard *shard);
/* Deletes everything the stores have of a group that is not open. */
void shard_delete_group(struct shard *shard, uint64_t group);
uint32_t shard_group_count(const struct shard *shard);

struct group_ops {
    /* In log order; data entries only. ERR_CORRUPT: it is not understood, or makes no sense: the
     * group stops, and all of it is kept. ERR_IO: a record that it would have needed cannot be
     * read, and the state is half-way. */
    enum err (*apply)(void *owner, uint64_t index, uint64_t term, struct bytes entry);
    void (*encode)(void *owner, struct buffer *out);
    /* A checkpoint in parts (rows.h). NULL: there are none, it is encoded whole. */
    void (*checkpoint)(void *owner, struct buffer *head, const struct row_writer *rows);
    /* The last checkpoint is of no use any more: the next one has everything. NULL with checkpoint,
     * as is decode_row. */
    void (*lost_rows)(void *owner);
    /* Another state: what was encoded, or a head and then its rows. With rows it replaces the one
     * of now at the end, if all of them were there (`whole`); without (decode_end NULL), at once.
     * ERR_CORRUPT: it is not understood. Its checksum was right, so that is no damage: the group is
     * not opened, or stops, and all of it is kept. */
    enum err (*decode)(void *owner, struct bytes state);
    enum err (*decode_row)(void *owner, uint64_t row, struct bytes value);
    enum err (*decode_end)(void *owner, bool whole);
    void (*on_leader)(void *owner, bool leader);
    /* First index >= `index` of an entry that is data, UINT64_MAX without: others may be dropped.
     */
    uint64_t (*next_kept)(void *owner, uint64_t index);
    /* Records below `from` that hold more than they need to are written anew, or removed; what
     * holds nothing from there to below `to` is dropped already. NULL: there are none. */
    void (*rewrite)(void *owner, uint64_t from, uint64_t to, const struct record_writer *records);
    /* What group_read_barrier() asked for. NULL: it never does. */
    void (*on_read)(void *owner, uint64_t id, bool allowed);
    /* A record that could not be read can be again. NULL: nobody cares. */
    void (*on_repaired)(void *owner);
    /* What is in the record at `index`, for the log: "stream 'A > S', messages 3 to 7". NULL:
     * nobody knows. */
    void (*describe)(void *owner, uint64_t index, char *text, size_t size);
    const struct recovery_ops *recovery; /* NULL: there is no way */
};

/* A state from what is left of it, when nobody else has it: begin, the rows that could be read, the
 * records of the log in order, end. */
struct recovery_ops {
    /* `head`: of the checkpoint at `index`, NULL when that is lost, too; `log_from`: from there on
     * no entry has been dropped. Until the end records are read by `read` only. */
    void (*begin)(void *owner, const struct blob *head, uint64_t index, uint64_t log_from,
                  struct blob *(*read)(void *arg, uint64_t index), void *arg);
    void (*row)(void *owner, uint64_t row, struct bytes value);
    /* Data entries. ERR_CORRUPT: it makes no sense, and was left out. ERR_UNKNOWN: it is not
     * understood, and nothing is recovered. */
    enum err (*record)(void *owner, uint64_t index, struct bytes entry);
    /* Some are lost in front of the next one. */
    void (*missing)(void *owner);
    /* It takes the place of the state. */
    void (*end)(void *owner);
};

struct group_status {
    bool leader;
    uint64_t leader_node; /* 0: none known */
    uint64_t term, commit, applied, last;
    bool unproven;
    uint64_t proven_since; /* raft_proven_since() */
    bool current; /* proven, has applied what it knows to be committed, and knows a leader */
};

/* Loads what the store has, or begins a new group. `memory`: which store. `fresh`: if the store has
 * nothing, that is because this node never was a member; else its replica is unproven (raft.h,
 * invariant (6)). A store in memory never has anything at a start: that the group has been here
 * before is a note of its own on the disk, and then it is not fresh whatever the caller says. The
 * owner's state is decoded and entries up to the commit are applied later, as they are known to be
 * committed. `ops` is borrowed for the group's life. NULL with *error filled.
 */
struct group *group_open(struct shard *shard, uint64_t id, const uint64_t *voters,
                         unsigned voter_count, bool memory, bool fresh, const struct group_ops *ops,
                         void *owner, struct error *error);
/* `checkpoint`: writes the state, for a quick start next time. The owner may go right afterwards.
 */
void group_close(struct group *group, bool checkpoint);
/* Why it has stopped on this server, everything that is stored of it kept; NULL: it has not.
 * Borrowed. */
const char *group_problem(const struct group *group);
/* Closes and deletes everything the store has of the group. */
void group_destroy(struct group *group);

uint64_t group_id(const struct group *group);
/* store_is_full(); then the group also tries to make room. */
bool group_is_full(struct group *group);
bool group_is_leader(const struct group *group);
/* ERR_NOT_LEADER, or OK with index and term by which apply() will show it. Takes the blob on
 * success. */
MUST_USE enum err group_propose(struct group *group, struct blob *data, uint64_t *index,
                                uint64_t *term);
/* The same for bytes. */
MUST_USE enum err group_propose_bytes(struct group *group, struct bytes data, uint64_t *index,
                                      uint64_t *term);
/* Leader: one step towards a membership that has all of `wanted` that may vote as voters: such a
 * learner that has caught up votes, or one of them that is up becomes a learner. Those that may not
 * vote learn as long as nobody needs their place, and are up. Returns what that was, for the log,
 * and *who; NULL: nothing to do now. */
struct group_candidate {
    uint64_t node;
    bool may_vote;
};
const char *group_admit(struct group *group, const struct group_candidate *wanted, unsigned count,
                        uint64_t *who);
/* raft_read(): on_read of the ops answers. */
MUST_USE enum err group_read_barrier(struct group *group, uint64_t *id);
/* A data entry of the log, from memory or the store; NULL when it cannot be read. If there are
 * other replicas it is fetched from them then, see on_repaired. */
struct blob *group_read(struct group *group, uint64_t index);
/* Are there other replicas to fetch from? */
bool group_has_others(const struct group *group);
struct group_status group_status(const struct group *group);
/* To look at. Borrowed, until the group is closed. */
struct raft *group_raft(struct group *group);

#endif
