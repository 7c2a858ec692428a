/* Linearizable reads without the log (read index: thesis §6.4).
 *
 *   read → its index: what is committed → a round: heartbeats that carry its number → a majority
 * has answered it, so nobody had replaced us when it was asked → applied up to the index → allowed
 *
 * There is no leader lease: a follower that sees its leader's connection break elects at once, and
 * so breaks the promise that a lease would rest on. The round costs one trip for all reads that
 * wait. */
#include "raft/raft_internal.h"

enum err raft_read(struct raft *r, uint64_t *id)
{
    if (r->role != LEADER || r->poisoned) {
        return ERR_NOT_LEADER;
    }
    raft_wake(r);
    r->idle_ticks = 0;
    VEC_RESERVE(r->reads, r->read_cap, r->read_count);
    /* Before its term has a committed entry, a leader does not know what is committed. */
    raft_index index = r->commit < r->term_start ? r->term_start : r->commit;
    *id = ++r->last_read;
    if (!r->round_due) { /* reads that come together share one */
        r->round_due = true;
        r->round++;
    }
    r->reads[r->read_count++] = (struct waiting_read){*id, index, r->round};
    return OK;
}

void raft_reads_answered(struct raft *r, struct progress *p, const struct raft_message *m)
{
    /* Who has forgotten things may have forgotten that it has elected another leader: (6). */
    if (r->role == LEADER && (!m->unproven || BUG(BUG_READS_FROM_UNPROVEN)) &&
        m->round > p->round) {
        p->round = m->round;
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
