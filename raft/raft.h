/* raft: one consensus group as a step function. Ongaro & Ousterhout, "In Search of an
 * Understandable Consensus Algorithm" (Raft), and Ongaro's thesis.
 *
 * No I/O, no clock, no threads, no randomness but a seeded generator: input are ticks, messages,
 * proposals and "persisted"; output, to be taken after each input, are
 *
 *   raft_take_persist()    what must be on disk, in order, before raft_persisted() is said
 *   raft_next_message()    messages that may be sent now
 *   raft_next_committed()  entries to apply, in order
 *   raft_take_install()    a state received from the leader that replaces ours
 *   raft_next_read()       reads that may look at the state now
 *
 * The same object files run in the server and in the simulator.
 *
 * Invariants, checked in release builds too:
 *  (1) commit, applied and term never go back; applied <= commit <= last.
 *  (2) A committed entry is never truncated.
 *  (3) A vote, and an answer that claims entries, leaves only after what it claims is persisted:
 * each such message carries the number of the persist request it waits for (§5.2, §5.3; thesis
 * §3.8). (4) A leader commits by counting only entries of its own term (§5.4.2). (5) A leader
 * appends only; its own match is what it has persisted (thesis §10.2.1).
 *
 *  (6) A replica that cannot prove that its log reaches all it ever acknowledged is unproven: its
 * vote and its match do not count, and it does not lead. It is proven again
 *        - when it has all that was committed when the leader heard of it: the leader opens that
 *          with an entry of its own, which proven replicas alone have to commit, so a leader that
 *          has been replaced without knowing it proves nobody; or
 *        - by an election in which every member took part: the longest log that is left wins, and
 *          who has all of it is as good as the winner.
 *     So a damaged or forgetful minority can not help to form a majority that never had an entry,
 *     and a power cut of all nodes needs no human. Answers of an unproven replica carry the number
 *     of its life, for it may lose its disk again.
 *  (7) The latest membership in the log counts, committed or not; a suffix that is cut off takes
 *     its memberships along. Two neighbouring ones differ by one voter at most, so their majorities
 *     meet (thesis §4.1). What comes from a leader, and requests for votes, are heeded also from
 *     those who are no voters: the sender may be in a membership that has not arrived here yet. But
 *     somebody has to vouch for it then, the transport or the configuration. Of a stranger nothing
 *     counts but, when it is a learner, what it answers in our term.
 *
 * The log is the data: entries below `first` may have been dropped one by one by the owner (those
 * that are no messages), which is why a follower that lacks some of them gets a snapshot: the
 * state, and the records that were kept. Terms of dropped entries stay known as runs, so log
 * matching (§5.3) can be probed at any index. */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include <stdint.h>

#include "core/base/blob.h"
#include "core/base/buffer.h"
#include "core/base/err.h"

typedef uint64_t raft_index;
typedef uint64_t raft_term;
typedef uint64_t raft_node; /* 0: nobody */

#define RAFT_VOTERS_MAX  7
#define RAFT_MEMBERS_MAX 9 /* voters and learners */
/* Indexes and terms beyond this are nobody's: whoever adds to them need not think of wrapping. */
#define RAFT_NUMBER_MAX (UINT64_C(1) << 62)

/* Times in ticks; the owner decides how long a tick is (50 ms in the server). */
#define RAFT_HEARTBEAT_TICKS 2
#define RAFT_ELECTION_TICKS  6 /* the timeout is drawn from [this, 2 × this) */
#define RAFT_QUIESCE_TICKS   10
/* Shorter than an election timeout, so that who has started anew need not wait for what it may have
 * promised. */
#define RAFT_LEASE_MAX_NS 250000000

/* Bounds of one APPEND. */
#define RAFT_APPEND_BYTES   (256u * 1024)
#define RAFT_APPEND_ENTRIES 64
#define RAFT_INFLIGHT_MAX   128 /* APPENDs to one follower that are not answered yet */
#define RAFT_SNAPSHOT_BYTES (1u << 20)

enum raft_entry_kind {
    RAFT_ENTRY_NOOP,
    RAFT_ENTRY_DATA,
    RAFT_ENTRY_MEMBERS /* who belongs to the group from this entry on, committed or not */
};

struct raft_entry {
    raft_index index;
    raft_term term;
    uint8_t kind;
    struct blob *data; /* counted; NULL for a no-op */
};

/* Who belongs to the group. Voters elect and commit; learners (thesis §4.2.1) are only kept up to
 * date. */
struct raft_members {
    raft_index index; /* of the entry that says so; 0: from the beginning */
    unsigned count;
    struct raft_member {
        raft_node node;
        bool learner;
    } list[RAFT_MEMBERS_MAX];
};
/* Where in the list a node is; its count: nowhere. */
unsigned raft_members_find(const struct raft_members *members, raft_node node);
/* As bytes: u8 count, each varint node · u8 learner. False: these are none. */
void raft_members_encode(const struct raft_members *members, struct buffer *out);
MUST_USE bool raft_members_decode(struct reader *reader, struct raft_members *out);

/* The terms of a log without its entries: run i covers [first, first of run i+1). */
struct raft_run {
    raft_index first;
    raft_term term;
};

enum raft_message_type {
    RAFT_PREVOTE = 1,
    RAFT_PREVOTE_REPLY,
    RAFT_VOTE,
    RAFT_VOTE_REPLY,
    RAFT_APPEND, /* also the heartbeat */
    RAFT_APPEND_REPLY,
    RAFT_ALIVE, /* answers a heartbeat at once, claims nothing */
    RAFT_SNAPSHOT,
    RAFT_SNAPSHOT_REPLY,
    RAFT_QUIESCE,
    RAFT_TIMEOUT_NOW, /* leadership transfer, thesis §3.10 */
    RAFT_PROVEN,      /* to an unproven replica: it is none any more; index: the match */
    RAFT_FETCH,       /* a committed entry that the sender cannot read any more: index */
    RAFT_FETCHED,     /* that entry, or rejected */
    RAFT_MESSAGE_TYPES
};

struct raft_message {
    enum raft_message_type type;
    uint64_t group;
    raft_node from, to;
    raft_term term;
    raft_index
        index; /* VOTE: last index; APPEND: previous; REPLY: match or hint; SNAPSHOT: its index;
                  ALIVE that answers a round: for how many ns its sender votes for nobody else */
    raft_term index_term; /* the term of that index */
    raft_index commit;    /* SNAPSHOT and its reply: number of the attempt */
    bool reject;          /* replies */
    bool forced;          /* VOTE of a transfer: leader stickiness does not apply */
    bool first;           /* SNAPSHOT: begins the attempt */
    bool unproven;        /* the sender is: invariant (6) */
    bool stranger;        /* not on the wire: nobody vouches for the sender, invariant (7) */
    uint64_t life;        /* the unproven sender's; PROVEN: the receiver's */
    uint64_t round;       /* APPEND while reads wait or with a lease, and the ALIVE that answers
                             it; or 0 */
    bool last; /* SNAPSHOT: this is the end; its reply: installed; ALIVE: asks for one, stalled */
    struct raft_entry *entries; /* owned; APPEND, SNAPSHOT (kept records), FETCHED (one) */
    uint32_t entry_count;
    struct blob *state;    /* counted; SNAPSHOT, behind the records: a part of it */
    struct raft_run *runs; /* owned; last SNAPSHOT */
    uint32_t run_count;
    struct raft_members members; /* last SNAPSHOT: as of its index */
};
void raft_message_deinit(struct raft_message *m);

struct raft;

/* The owner's store, asked for what the group has let go of. Called from within raft_ functions. */
struct raft_storage_ops {
    /* An entry of the log, or a kept one. The reference is the caller's. */
    enum err (*read)(void *arg, raft_index index, struct raft_entry *entry);
    /* The first kept record at or above `index` and not above `limit`; ERR_NOT_FOUND: none. */
    enum err (*read_kept)(void *arg, raft_index index, raft_index limit, struct raft_entry *entry);
    /* The state as of now, with its index: the last one handed out by raft_next_committed(). */
    enum err (*state)(void *arg, raft_index *index, struct blob **state);
};

struct raft_config {
    uint64_t group;
    raft_node self;
    struct raft_members members; /* as of `applied`; this node need not be one */
    /* Forced recovery, when a majority is gone for good: of the latest membership only these are
     * left. What only the others had acknowledged is lost. NULL: nobody forces anything. */
    const raft_node *survivors;
    unsigned survivor_count;
    uint64_t seed;
    const struct raft_storage_ops *storage;
    void *arg; /* for storage */
    /* Bytes of snapshots that may be sent before somebody raises it again; shared with other
     * groups, borrowed. NULL: no bound. */
    int64_t *snapshot_budget;
    /* Leader lease: for so long after it has heard from its leader this replica votes for nobody
     * else, and as leader it reads without asking while a majority has promised that. At most
     * RAFT_LEASE_MAX_NS; 0: neither. It rests on clocks that run at about the same rate. */
    int64_t lease_ns;
    /* What time it is, ns, on a clock that only goes forward: as of the input, or before (ticks)
     * and never after. Borrowed; NULL only without a lease. */
    const int64_t *clock;
    /* From disk; all zero for a new group. */
    raft_term term;
    raft_node vote;
    bool unproven; /* what is here may be less than this node has acknowledged */
    raft_index proven_since;
    raft_index applied; /* index of the state the owner has loaded */
    raft_index first;   /* first index whose entry is certainly there; applied + 1 or below */
    const struct raft_run *runs; /* of [1, applied] */
    uint32_t run_count;
    const struct raft_entry *entries; /* applied + 1 …, contiguous; references are copied */
    uint32_t entry_count;
};

/* Never NULL. */
struct raft *raft_new(const struct raft_config *config);
void raft_free(struct raft *r);

/* --- input --- */

/* Time passes: heartbeats, election timeouts (§5.2), pre-votes (thesis §9.6), a leader that hears
 * no majority steps down (thesis §6.2), quiescence. */
void raft_tick(struct raft *r);
/* A message from a peer (§5.1: terms; §5.2: votes; §5.3: appending; §7: snapshots), as
 * raft_wire_decode() lets it pass. Answers of those who are no members are ignored. False: nobody
 * who keeps to the rules says that to us (a second leader in our term, another entry in place of a
 * committed one); nothing was changed. */
MUST_USE bool raft_step(struct raft *r, const struct raft_message *m);
/* Leader only, else ERR_NOT_LEADER (§5.3). Takes the reference on success. The entry counts when it
 * comes out of raft_next_committed() with this index and this term. */
MUST_USE enum err raft_propose(struct raft *r, struct blob *data, raft_index *index);
/* Leader: another membership (thesis §4.1: one voter more or less, or any learners; applied on
 * append). ERR_NOT_LEADER; ERR_BUSY while an earlier change, or the first entry of the term, is not
 * committed, which is what makes single changes safe; ERR_INVALID for a step that is too large. A
 * leader that is no voter any more steps down when that is committed. */
MUST_USE enum err raft_change_members(struct raft *r, const struct raft_members *members,
                                      raft_index *index);
/* Leader, else ERR_NOT_LEADER: asks whether it still is one (thesis §6.4, by lease §6.4.1). When
 * raft_next_read() gives the id back, whatever was acknowledged before this call is part of the
 * state. */
MUST_USE enum err raft_read(struct raft *r, uint64_t *id);
/* Everything up to request `seq` is on disk: what it claims may be said, and counts (thesis §3.8,
 * §10.2.1). */
void raft_persisted(struct raft *r, uint64_t seq);
/* The store has failed for good: never lead, vote or answer again. Reliability rule 4. */
void raft_poison(struct raft *r);
/* The transport's word: a peer is reachable again, or not. */
void raft_peer_up(struct raft *r, raft_node peer, bool up);
/* Leader: hand over to `to`, whom the owner prefers, or (0) to those in turn that have all of the
 * log. Best effort (thesis §3.10). */
void raft_transfer(struct raft *r, raft_node to);
/* The owner cannot apply what it was handed last, and its state is of no use any more: nothing more
 * is handed out, and the replica does not lead. It goes on to vote and to acknowledge, which its
 * log is good for, and asks the leader for a state to go on with, which comes by
 * raft_take_install(). */
void raft_stall(struct raft *r);
/* The hard state cannot be read any more: it is to be persisted again. */
void raft_rewrite(struct raft *r);
/* The record of `index`, which is committed, cannot be read any more: asks a peer that is up,
 * another one each time. When it has it, it comes back as something to persist. Best effort. */
void raft_fetch(struct raft *r, raft_index index);
/* Ends quiescence (host.h). */
void raft_wake(struct raft *r);
/* The owner has dropped entries below `first` that are not kept records (§7). */
void raft_compacted(struct raft *r, raft_index first);
/* Lets go of entries in memory that are applied and persisted, down to about `keep_bytes`. */
void raft_trim_memory(struct raft *r, size_t keep_bytes);

/* --- output --- */

struct raft_persist {
    uint64_t seq;
    bool has_hard_state;
    raft_term term;
    raft_node vote;
    bool unproven; /* part of the hard state, like the next */
    raft_index proven_since;
    raft_index truncate_from;         /* 0: nothing; delete this index and all above, first */
    const struct raft_entry *entries; /* then write these; borrowed until the next call */
    uint32_t entry_count;
    /* The entries are records of a snapshot under way, not log: mark them, so that a restart does
     * not take them for a continuation of the log, which may end in front of them with anything. */
    bool kept_records;
};
/* False when there is nothing to persist. What has to be on disk before it is said: term and vote
 * (§5.1, §5.2), entries (§5.3). Requests must reach the disk in the order taken. */
bool raft_take_persist(struct raft *r, struct raft_persist *out);
/* False when there is none. The caller deinits the message. */
bool raft_next_message(struct raft *r, struct raft_message *out);
/* NULL when there is none. Committed by §5.3, §5.4.2. Borrowed until the next raft_ call. */
const struct raft_entry *raft_next_committed(struct raft *r);
struct raft_install {
    raft_index index;
    struct blob *state; /* counted, the caller's */
    uint64_t seq;       /* say raft_persisted(seq) once state and index are on disk */
    bool log_stays;     /* the replica was stalled: its log is as good as it was */
};
/* The owner replaces its state by this one (§7; thesis §5.1), and on disk: state, applied index,
 * and, unless the log stays, the log cut behind it. */
bool raft_take_install(struct raft *r, struct raft_install *out);

struct raft_read {
    uint64_t id;
    bool allowed; /* false: leadership was lost meanwhile */
};
/* In the order asked; false when the next one has to wait. After raft_next_committed(). */
bool raft_next_read(struct raft *r, struct raft_read *out);

/* --- questions --- */

bool raft_is_leader(const struct raft *r);
/* Leader, and the first entry of its term has been handed out for applying: its state is complete
 * (§8). */
bool raft_is_ready_leader(const struct raft *r);
raft_node raft_leader(const struct raft *r); /* 0: unknown */
raft_term raft_term_now(const struct raft *r);
raft_term raft_term_at(const struct raft *r, raft_index index); /* 0: not in the log */
raft_index raft_last(const struct raft *r);
raft_index raft_commit(const struct raft *r);
raft_index raft_applied(const struct raft *r);
/* A received state waits to be taken: applied() is its index already, the owner's state is not. */
bool raft_is_installing(const struct raft *r);
bool raft_is_quiesced(const struct raft *r);
bool raft_is_stalled(const struct raft *r);
bool raft_is_unproven(const struct raft *r);
/* Where the log ended when this replica was proven last; 0: it always was. What an entry up to here
 * says, this node may have known, and acted on, in a life that it has forgotten. */
raft_index raft_proven_since(const struct raft *r);
uint64_t raft_group(const struct raft *r);
/* Entry still in memory, or NULL. Borrowed. */
const struct raft_entry *raft_peek(const struct raft *r, raft_index index);
const struct raft_run *raft_runs(const struct raft *r, uint32_t *count);
unsigned raft_voters(const struct raft *r, raft_node voters[RAFT_VOTERS_MAX]);
/* The membership that counts now, from its entry on (thesis §4.1), and the one as of `index`, which
 * is not below the applied one's last checkpoint. Borrowed until the next raft_ call. */
const struct raft_members *raft_members(const struct raft *r);
const struct raft_members *raft_members_at(const struct raft *r, raft_index index);
/* Leader: how far a follower is. */
struct raft_peer_state {
    raft_index match;
    bool current; /* seen by its leader, up, and has all that is committed */
    bool proven;  /* as its leader knows: invariant (6) */
};
struct raft_peer_state raft_peer_state(const struct raft *r, raft_node peer);

#endif
