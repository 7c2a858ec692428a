/* The parts of one Raft group, and what they share:
 *
 *   raft.c      input and output, roles, life
 *   log.c       entries in memory, terms, what has to be persisted
 *   members.c   who belongs to it, and changing that
 *   election.c  votes, transfer of leadership
 *   reads.c     reads that see all that was acknowledged
 *   leader.c    sending, committing, proving, falling silent
 *   follower.c  appends and snapshots that come in
 *   repair.c    single records from and for the others
 */
#ifndef RAFT_RAFT_INTERNAL_H
#define RAFT_RAFT_INTERNAL_H

#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/random.h"
#include "raft/raft.h"

enum role { FOLLOWER, PRECANDIDATE, CANDIDATE, LEADER };

/* How the leader sends to one follower.
 *   PROBE      one APPEND at a time until the match is known
 *   REPLICATE  optimistic, up to RAFT_INFLIGHT_MAX APPENDs ahead
 *   SNAPSHOT   kept records and state, one chunk at a time */
enum flow { PROBE, REPLICATE, SNAPSHOT };

/* The state that a follower is being sent, part by part: as of one index. */
struct sending {
    struct blob *state; /* counted */
    size_t sent;
    raft_index index;
    struct raft_members members;
};

struct progress {
    raft_node node;
    bool learner;
    raft_index match, next;
    enum flow flow;
    bool probe_sent;
    bool up;     /* the transport's word */
    bool active; /* heard since the last check of the quorum */
    bool voted, refused;
    bool vote_unproven; /* the vote given was an unproven replica's */
    bool proven;        /* leader: said so with its last claim */
    uint64_t round;     /* leader: the latest it has answered */
    int64_t promise_ns; /* leader: and for how long after that one it votes for nobody else */
    uint64_t life;      /* leader: of an unproven replica; 0 none seen */
    bool granted;       /* leader: everybody took part in the election, this life of it included */
    raft_index
        prove_at; /* leader: an entry of ours, committed and had, proves this life; 0: none */
    raft_index *inflight; /* last index of each; ring of RAFT_INFLIGHT_MAX; NULL until needed */
    uint32_t inflight_at, inflight_count;
    raft_index snapshot_next; /* SNAPSHOT: next record to send */
    uint32_t snapshot_wait;   /* ticks since the last chunk */
    struct sending *sending;  /* owned; behind the last record, else NULL */
    bool snapshot_begun;
    bool snapshot_held;        /* the next chunk waits for the budget */
    uint64_t snapshot_attempt; /* answers to an earlier attempt say nothing about this one */
};

struct held_message {
    struct raft_message message;
    uint64_t token; /* may leave when done_seq >= token */
};

struct requested {
    uint64_t seq;
    raft_index last;
    raft_term last_term;
};

struct waiting_read {
    uint64_t id;
    raft_index index;
    uint64_t round;
};

struct raft {
    uint64_t group;
    raft_node self;
    const struct raft_storage_ops *storage;
    void *arg;
    int64_t *snapshot_budget;
    struct random random;
    enum role role;
    bool poisoned, stalled;
    bool forced; /* the membership is not the log's: a leader makes it so */

    raft_term term;
    raft_node vote;
    bool unproven;
    raft_index proven_since;
    uint64_t life;
    raft_node leader;
    raft_index commit, applied, last, persisted, first;
    raft_index term_start; /* leader: index of the no-op that opened its term */
    struct raft_run *runs;
    uint32_t run_count, run_cap;

    struct raft_entry *window; /* ring-less: [window_from, window_count) are live */
    uint32_t window_from, window_count, window_cap;
    size_t window_bytes;

    struct raft_members *memberships; /* ascending by index; [0] is as of `applied` or before */
    uint32_t membership_count, membership_cap;
    struct progress *peers; /* of the last of them, this node included */
    unsigned peer_count;

    uint32_t election_elapsed, heartbeat_elapsed, timeout, idle_ticks;
    bool quiesced;

    bool dirty_hard;
    raft_index dirty_from;     /* first index not yet handed out for persisting; 0 none */
    raft_index dirty_truncate; /* 0 none */
    /* A snapshot being received: whose, and whether all its records so far are still there.
     * Whatever else touches the log breaks it, and the leader has to begin again. */
    raft_node receiving_from; /* 0: none, or broken */
    uint64_t receiving_attempt;
    raft_term receiving_term;
    struct buffer receiving_state; /* the parts so far */
    /* All records that any snapshot has at or below this are here: records go from the kept ones,
     * never to them, so it holds for every later snapshot, too. 0: unknown. */
    raft_index received;
    struct raft_entry *records; /* kept records of a snapshot to persist; owned */
    uint32_t record_count;
    struct raft_entry *lent_records; /* handed out last; freed at the next call */
    uint32_t lent_count;
    struct raft_entry *repairs; /* records that were fetched, to persist; owned */
    uint32_t repair_count, repair_cap;
    uint32_t fetches;   /* whom to ask next */
    uint32_t ask_ticks; /* stalled: since it last asked for a state */
    uint64_t issued_seq, done_seq;
    struct requested *requested;
    uint32_t requested_count, requested_cap;

    bool install_ready;
    struct raft_install install;
    uint64_t install_token; /* persists that must be issued before the install */

    const int64_t *clock;
    int64_t lease_ns;
    int64_t promised_until; /* follower: on the clock; votes for nobody but its leader */
    bool lease_given_up;    /* leader: somebody was asked to replace it */
    uint32_t transfers;     /* how often somebody was */

    struct waiting_read *reads;
    uint32_t read_count, read_cap;
    uint32_t reads_failed; /* so many of the first */
    uint64_t last_read, round;
    bool round_due; /* it goes out with the next messages taken */

    struct held_message *out;
    uint32_t out_from, out_count, out_cap;
};

/* members.c */
struct progress *raft_find_peer(struct raft *r, raft_node node);
void raft_members_force(struct raft *r, const raft_node *survivors, unsigned count);
/* Leader, whose membership was forced: from now on the log says so, too. */
void raft_members_declare(struct raft *r);
unsigned raft_voter_count(const struct raft *r);
unsigned raft_quorum(const struct raft *r);
bool raft_is_voter(const struct raft *r); /* this node */
/* A voter, or one that is about to be none: as long as that may not be committed, its log may be
 * the only one that can win (thesis §4.2.2). Its own vote does not count then. */
bool raft_may_campaign(const struct raft *r);
/* The log has got this entry, of RAFT_ENTRY_MEMBERS. */
void raft_members_appended(struct raft *r, const struct raft_entry *e);
void raft_members_committed(struct raft *r);
/* The log ends before `from`. */
void raft_members_truncated(struct raft *r, raft_index from);
/* Nothing below `index` is asked for any more. */
void raft_members_compact(struct raft *r, raft_index index);
/* A snapshot, or the beginning: these and no others. */
void raft_members_reset(struct raft *r, const struct raft_members *members);

/* raft.c */
void raft_reset_timeout(struct raft *r);
void raft_become_follower(struct raft *r, raft_term term, raft_node leader);
/* Queues a message that may leave when everything up to persist request `token` is on disk; fill in
 * the rest at once. */
struct raft_message *raft_emit(struct raft *r, enum raft_message_type type, raft_node to,
                               uint64_t token);

/* log.c */
struct raft_entry raft_entry_copy(const struct raft_entry *e);
void raft_entries_free(struct raft_entry *entries, uint32_t count);
size_t raft_entry_bytes(const struct raft_entry *e);
/* The last index, `index` or before it, whose term is not above `term`; the log reaches `index`. */
raft_index raft_log_back_up(const struct raft *r, raft_index index, raft_term term);
void raft_log_add_run(struct raft *r, raft_index first, raft_term term);
/* Takes the entry's reference. */
void raft_log_append(struct raft *r, struct raft_entry entry);
/* §5.3: a conflicting suffix gives way to the leader's. */
void raft_log_truncate(struct raft *r, raft_index from);
/* From memory or the owner's store. The reference is the caller's; false: it cannot be read. */
bool raft_log_read(struct raft *r, raft_index index, struct raft_entry *entry);
/* What a message that makes claims has to wait for: invariant (3). */
uint64_t raft_claim_token(const struct raft *r);

/* election.c */
void raft_campaign(struct raft *r, bool forced);
void raft_precampaign(struct raft *r);
void raft_become_proven(struct raft *r);
void raft_on_own_vote(struct raft *r, const struct raft_message *m);
void raft_on_prevote(struct raft *r, const struct raft_message *m);
void raft_on_prevote_reply(struct raft *r, const struct raft_message *m);
void raft_on_vote(struct raft *r, const struct raft_message *m);
void raft_on_vote_reply(struct raft *r, const struct raft_message *m);
void raft_on_timeout_now(struct raft *r, const struct raft_message *m);

/* reads.c */
void raft_reads_answered(struct raft *r, struct progress *p, const struct raft_message *m);
void raft_reads_end(struct raft *r);
/* Another round of heartbeats; with a lease its number is the time when it began. */
void raft_begin_round(struct raft *r);
/* What an APPEND says of it; 0: no answer is wanted. */
uint64_t raft_round_to_send(const struct raft *r, bool heartbeat);
/* Follower: answers a round of its leader, and keeps what it promises by that. */
void raft_answer_round(struct raft *r, const struct raft_message *m);
/* Has this replica promised its leader to vote for nobody else, and is that not over? */
bool raft_is_promised(const struct raft *r);

/* leader.c */
void raft_broadcast(struct raft *r, bool heartbeat);
/* An entry of the leader's own, to everybody. Takes the data's reference. */
void raft_append_and_send(struct raft *r, uint8_t kind, struct blob *data);
void raft_send_append(struct raft *r, struct progress *p, bool heartbeat);
/* As much as flow control allows. */
void raft_send_all(struct raft *r, struct progress *p);
void raft_maybe_commit(struct raft *r);
void raft_maybe_quiesce(struct raft *r);
void raft_check_quorum(struct raft *r);
void raft_on_append_reply(struct raft *r, const struct raft_message *m);
void raft_on_snapshot_reply(struct raft *r, const struct raft_message *m);

/* Another way of sending: what belonged to the one before is let go of. */
void raft_set_flow(struct progress *p, enum flow flow);
void raft_progress_deinit(struct progress *p);
/* The follower gets the state, and the kept records behind its match. */
void raft_begin_snapshot(struct raft *r, struct progress *p);
/* The budget may have room again. */
void raft_send_held_snapshots(struct raft *r);
/* Steps down, and finds a successor. */
void raft_leave(struct raft *r);

/* repair.c */
void raft_on_fetch(struct raft *r, const struct raft_message *m);
void raft_on_fetched(struct raft *r, const struct raft_message *m);
/* Stalled, every now and then. */
void raft_ask_state(struct raft *r);
void raft_on_state_asked(struct raft *r, struct progress *p);

/* follower.c */
void raft_reply_append(struct raft *r, raft_node to, bool reject, raft_index index);
void raft_on_append(struct raft *r, const struct raft_message *m);
void raft_on_snapshot(struct raft *r, const struct raft_message *m);
void raft_on_quiesce(struct raft *r, const struct raft_message *m);
void raft_on_proven(struct raft *r, const struct raft_message *m);

#endif
