/* Linearizable reads without the log (read index: thesis §6.4).
 *
 *   read → its index: what is committed → a round: heartbeats that carry its number → a majority
 * has answered it, so nobody had replaced us when it was asked → applied up to the index → allowed
 *
 * The round costs one trip for all reads that wait. With a leader lease (thesis §6.4.1) it is
 * spared while the last one is young:
 *
 *   a follower that answers a round votes for nobody else for its lease, whatever it sees, and
 * campaigns no sooner → while a majority's promises last, counted from when the round began, nobody
 * else can be elected → what is committed here is all that is
 *
 * The leader counts each promise an eighth shorter: the clocks may differ in speed by so much. It
 * gives the lease up for the rest of its term when it asks another one to replace it, for that
 * one's election overrides the promises. A replica that has just started may have promised
 * anything. */
#include "raft/raft_internal.h"

#define DRIFT_PARTS 8

static bool lease_holds(const struct raft *r)
{
    if (r->lease_ns == 0 || (r->lease_given_up && !BUG(BUG_LEASE_OUTLIVES_TRANSFER))) {
        return false;
    }
    unsigned promised = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        const struct progress *p = &r->peers[i];
        int64_t until = (int64_t)p->round + p->promise_ns - p->promise_ns / DRIFT_PARTS;
        promised += !p->learner && (p->node == r->self || *r->clock < until);
    }
    return promised >= raft_quorum(r);
}

void raft_begin_round(struct raft *r)
{
    uint64_t now = r->lease_ns > 0 ? (uint64_t)*r->clock : 0;
    r->round = now > r->round ? now : r->round + 1;
}

uint64_t raft_round_to_send(const struct raft *r, bool heartbeat)
{
    return r->read_count > 0 || (heartbeat && r->lease_ns > 0) ? r->round : 0;
}

bool raft_is_promised(const struct raft *r)
{
    return r->lease_ns > 0 && *r->clock < r->promised_until && !BUG(BUG_BREAKS_PROMISE);
}

void raft_answer_round(struct raft *r, const struct raft_message *m)
{
    struct raft_message *answer = raft_emit(r, RAFT_ALIVE, m->from, 0);
    answer->round = m->round;
    if (m->round != 0 && r->lease_ns > 0) {
        r->promised_until = *r->clock + r->lease_ns;
        answer->index = (raft_index)r->lease_ns;
    }
}

enum err raft_read(struct raft *r, uint64_t *id)
{
    if (r->role != LEADER || r->poisoned) {
        return ERR_NOT_LEADER;
    }
    VEC_RESERVE(r->reads, r->read_cap, r->read_count);
    /* Before its term has a committed entry, a leader does not know what is committed. */
    raft_index index = r->commit < r->term_start ? r->term_start : r->commit;
    *id = ++r->last_read;
    if (lease_holds(r)) {
        r->reads[r->read_count++] = (struct waiting_read){*id, index, 0};
        return OK;
    }
    raft_wake(r);
    r->idle_ticks = 0;
    if (!r->round_due) { /* reads that come together share one */
        r->round_due = true;
        raft_begin_round(r);
    }
    r->reads[r->read_count++] = (struct waiting_read){*id, index, r->round};
    return OK;
}

void raft_reads_answered(struct raft *r, struct progress *p, const struct raft_message *m)
{
    /* Who has forgotten things may have forgotten that it has elected another leader: (6). */
    if (r->role == LEADER && (!m->unproven || BUG(BUG_READS_FROM_UNPROVEN)) &&
        m->round > p->round && m->round <= r->round) {
        p->round = m->round;
        p->promise_ns = m->index < RAFT_LEASE_MAX_NS ? (int64_t)m->index : RAFT_LEASE_MAX_NS;
    }
}

void raft_reads_end(struct raft *r)
{
    r->reads_failed = r->read_count;
}

static bool majority_answered(const struct raft *r, uint64_t round)
{
    unsigned answered = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        const struct progress *p = &r->peers[i];
        answered += !p->learner && (p->node == r->self || p->round >= round);
    }
    return answered >= raft_quorum(r) || BUG(BUG_READS_WITHOUT_ROUND);
}

bool raft_next_read(struct raft *r, struct raft_read *out)
{
    if (r->read_count == 0) {
        return false;
    }
    const struct waiting_read *w = &r->reads[0];
    bool failed = r->reads_failed > 0;
    if (!failed && (r->role != LEADER || r->applied < w->index || r->install_ready ||
                    !majority_answered(r, w->round))) {
        return false;
    }
    *out = (struct raft_read){w->id, !failed};
    r->reads_failed -= failed;
    r->read_count--;
    memmove(r->reads, r->reads + 1, r->read_count * sizeof *r->reads);
    return true;
}
