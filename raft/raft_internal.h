/* The parts of one Raft group, and what they share:
 *
 *   raft.c      input and output, roles, life
 *   log.c       entries in memory, terms, what has to be persisted
 *   election.c  votes, transfer of leadership
 *   leader.c    sending, committing, proving, falling silent
 *   follower.c  appends and snapshots that come in
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

struct progress {
    raft_node node;
    raft_index match, next;
    enum flow flow;
    bool probe_sent;
    bool up;     /* the transport's word */
    bool active; /* heard since the last check of the quorum */
    bool voted, refused;
    bool vote_unproven; /* the vote given was an unproven replica's */
    bool proven;        /* leader: said so with its last claim */
    uint64_t life;      /* leader: of an unproven replica; 0 none seen */
    bool granted;       /* leader: everybody took part in the election, this life of it included */
    raft_index
        prove_at; /* leader: an entry of ours, committed and had, proves this life; 0: none */
    uint32_t silent_ticks;
    raft_index inflight[RAFT_INFLIGHT_MAX]; /* last index of each, ring */
    uint32_t inflight_at, inflight_count;
    raft_index snapshot_next; /* SNAPSHOT: next record to send */
    uint32_t snapshot_wait;   /* ticks since the last chunk */
    bool snapshot_begun;
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

struct raft {
    uint64_t group;
    raft_node self;
    const struct raft_storage_ops *storage;
    void *arg;
    struct random random;
    enum role role;
    bool poisoned;

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

    struct progress peers[RAFT_VOTERS_MAX]; /* all voters, this node included */
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
    struct raft_entry *records; /* kept records of a snapshot to persist; owned */
    uint32_t record_count;
    struct raft_entry *lent_records; /* handed out last; freed at the next call */
    uint32_t lent_count;
    uint64_t issued_seq, done_seq;
    struct requested *requested;
    uint32_t requested_count, requested_cap;

    bool install_ready;
    struct raft_install install;
    uint64_t install_token; /* persists that must be issued before the install */

    struct held_message *out;
    uint32_t out_from, out_count, out_cap;
};

/* raft.c */
struct progress *raft_find_peer(struct raft *r, raft_node node);
unsigned raft_quorum(const struct raft *r);
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

/* leader.c */
void raft_broadcast(struct raft *r, bool heartbeat);
void raft_send_append(struct raft *r, struct progress *p, bool heartbeat);
/* As much as flow control allows. */
void raft_send_all(struct raft *r, struct progress *p);
void raft_maybe_commit(struct raft *r);
void raft_maybe_quiesce(struct raft *r);
void raft_check_quorum(struct raft *r);
void raft_on_append_reply(struct raft *r, const struct raft_message *m);
void raft_on_snapshot_reply(struct raft *r, const struct raft_message *m);

/* follower.c */
void raft_reply_append(struct raft *r, raft_node to, bool reject, raft_index index);
void raft_on_append(struct raft *r, const struct raft_message *m);
void raft_on_snapshot(struct raft *r, const struct raft_message *m);
void raft_on_quiesce(struct raft *r, const struct raft_message *m);
void raft_on_proven(struct raft *r, const struct raft_message *m);

#endif
