/* Elections (Raft §5.2, §5.4.1; thesis §9.6 for pre-votes, §3.10 for transfer). */
#include "raft/raft_internal.h"

static void start_votes(struct raft *r)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        r->peers[i].voted = r->peers[i].refused = false;
    }
    r->leader = 0;
    r->quiesced = false;
    raft_reset_timeout(r);
}

/* §5.2. All requests wait for the disk, because they carry a term and imply our vote. */
void raft_campaign(struct raft *r, bool forced)
{
    r->role = CANDIDATE;
    r->term++;
    r->vote = r->self;
    r->dirty_hard = true;
    start_votes(r);
    uint64_t token = raft_claim_token(r);
    for (unsigned i = 0; i < r->peer_count; i++) {
        raft_node to = r->peers[i].node;
        if (r->peers[i].learner) {
            continue;
        }
        struct raft_message *m =
            raft_emit(r, to == r->self ? RAFT_VOTE_REPLY : RAFT_VOTE, to, token);
        m->index = r->last;
        m->index_term = raft_term_at(r, r->last);
        m->forced = forced;
    }
}

/* Thesis §9.6: ask first, so that a node which was cut off does not raise everybody's term. */
void raft_precampaign(struct raft *r)
{
    if (raft_voter_count(r) == 1 && raft_is_voter(r)) {
        raft_campaign(r, false);
        return;
    }
    r->role = PRECANDIDATE;
    start_votes(r);
    struct progress *self = raft_find_peer(r, r->self);
    if (self != NULL) {
        self->voted = true;
        self->vote_unproven = r->unproven;
    }
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self && !r->peers[i].learner) {
            struct raft_message *m = raft_emit(r, RAFT_PREVOTE, r->peers[i].node, 0);
            m->term = r->term + 1;
            m->index = r->last;
            m->index_term = raft_term_at(r, r->last);
        }
    }
}

void raft_become_proven(struct raft *r)
{
    r->unproven = false;
    r->proven_since = r->last;
    r->dirty_hard = true;
}

/* `unanimous`: everybody took part, so nobody can be bound to another leader by what it has
 * forgotten, and the log that has won is the longest there is. */
static void become_leader(struct raft *r, bool unanimous)
{
    if (unanimous && r->unproven) {
        raft_become_proven(r);
    }
    r->role = LEADER;
    r->leader = r->self;
    r->quiesced = false;
    r->heartbeat_elapsed = r->election_elapsed = r->idle_ticks = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        p->match = 0;
        p->next = r->last + 1;
        raft_set_flow(p, PROBE);
        p->probe_sent = false;
        p->active = true; /* a full timeout before the quorum is first checked */
        p->inflight_count = 0;
        p->proven = false; /* until it says so */
        p->granted = unanimous && p->vote_unproven;
        p->prove_at = 0;
        p->round = 0;
        p->promise_ns = 0;
    }
    r->round = 0;
    r->lease_given_up = false;
    raft_log_append(r, (struct raft_entry){r->last + 1, r->term, RAFT_ENTRY_NOOP, NULL}); /* §8 */
    r->term_start = r->last;
    if (r->forced) {
        raft_members_declare(r);
    }
    raft_broadcast(r, false);
}

static unsigned count_votes(const struct raft *r, bool refused)
{
    unsigned count = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        count += refused ? r->peers[i].refused : r->peers[i].voted;
    }
    return count;
}

static unsigned count_proven_votes(const struct raft *r)
{
    unsigned count = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        count += r->peers[i].voted && !r->peers[i].vote_unproven;
    }
    return count;
}

static void count_vote(struct raft *r, raft_node from, bool granted, bool unproven, uint64_t life)
{
    struct progress *p = raft_find_peer(r, from);
    if (p == NULL || (p->learner && !BUG(BUG_COUNTS_LEARNERS))) {
        return;
    }
    *(granted ? &p->voted : &p->refused) = true;
    p->vote_unproven = unproven && !BUG(BUG_COUNTS_UNPROVEN_VOTES);
    p->life = unproven ? life : 0;
    bool unanimous = count_votes(r, false) >= raft_voter_count(r);
    if (unanimous ||
        (!r->unproven && count_proven_votes(r) >= raft_quorum(r))) { /* invariant (6) */
        if (r->role == PRECANDIDATE) {
            raft_campaign(r, false);
        } else {
            become_leader(r, unanimous);
        }
    } else if (count_votes(r, true) >= (r->unproven ? 1 : raft_quorum(r))) {
        raft_become_follower(r, r->term, 0);
    }
}

/* Our own vote counts once it is on disk, like everybody else's. */
void raft_on_own_vote(struct raft *r, const struct raft_message *m)
{
    if (m->type == RAFT_VOTE_REPLY && r->role == CANDIDATE && m->term == r->term) {
        count_vote(r, r->self, true, m->unproven, m->life);
    }
}

static bool log_is_current(const struct raft *r, const struct raft_message *m)
{
    raft_term ours = raft_term_at(r, r->last); /* §5.4.1 */
    return m->index_term > ours || (m->index_term == ours && m->index >= r->last) ||
           BUG(BUG_VOTES_FOR_SHORT_LOGS);
}

/* Leader stickiness (thesis §4.2.3): while a leader is heard of, nobody is helped to replace it. A
 * quiesced group hears nothing because nothing is wrong; who is wrong is found out by waking. */
static bool has_live_leader(const struct raft *r)
{
    return r->leader != 0 && (r->role == LEADER || r->election_elapsed < RAFT_ELECTION_TICKS);
}

void raft_on_prevote(struct raft *r, const struct raft_message *m)
{
    bool grant =
        m->term > r->term && !has_live_leader(r) && !raft_is_promised(r) && log_is_current(r, m);
    struct raft_message *reply = raft_emit(r, RAFT_PREVOTE_REPLY, m->from, 0);
    reply->term = grant ? m->term : r->term;
    reply->reject = !grant;
}

void raft_on_prevote_reply(struct raft *r, const struct raft_message *m)
{
    if (m->reject && m->term > r->term) {
        raft_become_follower(r, m->term, 0);
    } else if (r->role == PRECANDIDATE && (m->reject || m->term == r->term + 1)) {
        count_vote(r, m->from, !m->reject, m->unproven, m->life);
    }
}

void raft_on_vote(struct raft *r, const struct raft_message *m)
{
    if (raft_is_promised(r) && !m->forced) {
        return;
    }
    if (m->term > r->term) {
        if (has_live_leader(r) && !m->forced) {
            return;
        }
        raft_become_follower(r, m->term, 0);
    }
    bool grant = m->term == r->term && r->role == FOLLOWER &&
                 (r->vote == 0 || r->vote == m->from) && r->leader == 0 && log_is_current(r, m);
    if (BUG(BUG_VOTES_TWICE)) {
        grant = m->term == r->term && log_is_current(r, m);
    }
    if (grant && r->vote != m->from) {
        r->vote = m->from;
        r->dirty_hard = true;
        raft_reset_timeout(r);
    }
    struct raft_message *reply = raft_emit(r, RAFT_VOTE_REPLY, m->from, raft_claim_token(r));
    reply->reject = !grant;
}

void raft_on_timeout_now(struct raft *r, const struct raft_message *m)
{
    if (m->term == r->term && r->role == FOLLOWER && !r->unproven && raft_may_campaign(r)) {
        raft_campaign(r, true);
    }
}

void raft_transfer(struct raft *r, raft_node to)
{
    if (r->role != LEADER) {
        return;
    }
    raft_node candidates[RAFT_MEMBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        const struct progress *p = &r->peers[i];
        bool eligible = p->node != r->self && !p->learner && p->up && p->proven &&
                        p->match == r->last && (to == 0 || p->node == to);
        if (eligible) {
            candidates[count++] = p->node;
        }
    }
    if (count > 0) { /* in turn: whoever was asked before may have declined */
        (void)raft_emit(r, RAFT_TIMEOUT_NOW, candidates[r->transfers++ % count], 0);
        r->lease_given_up = true; /* whenever it arrives: reads.c */
    }
}

void raft_on_vote_reply(struct raft *r, const struct raft_message *m)
{
    if (r->role == CANDIDATE) {
        count_vote(r, m->from, !m->reject, m->unproven, m->life);
    }
}
