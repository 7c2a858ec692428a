#include "raft/raft_internal.h"

void raft_message_deinit(struct raft_message *m)
{
    raft_entries_free(m->entries, m->entry_count);
    blob_release(m->state);
    free(m->runs);
    *m = (struct raft_message){0};
}

struct raft_message *raft_emit(struct raft *r, enum raft_message_type type, raft_node to,
                               uint64_t token)
{
    if (r->out_from > 0 && r->out_from == r->out_count) {
        r->out_from = r->out_count = 0;
    }
    VEC_RESERVE(r->out, r->out_cap, r->out_count);
    struct held_message *held = &r->out[r->out_count++];
    *held = (struct held_message){{.type = type,
                                   .group = r->group,
                                   .from = r->self,
                                   .to = to,
                                   .term = r->term,
                                   .unproven = r->unproven,
                                   .life = r->unproven ? r->life : 0},
                                  token};
    return &held->message;
}

bool raft_next_message(struct raft *r, struct raft_message *out)
{
    if (r->round_due) {
        r->round_due = false;
        if (r->role == LEADER) {
            raft_broadcast(r, true);
        }
    }
    for (uint32_t i = r->out_from; i < r->out_count; i++) {
        struct held_message *held = &r->out[i];
        if (held->message.type == 0 || held->token > r->done_seq || r->poisoned) {
            continue;
        }
        struct raft_message m = held->message;
        held->message = (struct raft_message){0};
        while (r->out_from < r->out_count && r->out[r->out_from].message.type == 0) {
            r->out_from++;
        }
        if (m.to == r->self) {
            raft_on_own_vote(r, &m);
            raft_message_deinit(&m);
            return raft_next_message(r, out);
        }
        *out = m;
        return true;
    }
    return false;
}

void raft_poison(struct raft *r)
{
    r->poisoned = true;
    raft_reads_end(r);
    r->role = FOLLOWER;
    r->leader = 0;
}

void raft_reset_timeout(struct raft *r)
{
    r->election_elapsed = 0;
    r->timeout = RAFT_ELECTION_TICKS + (uint32_t)random_below(&r->random, RAFT_ELECTION_TICKS);
}

void raft_become_follower(struct raft *r, raft_term term, raft_node leader)
{
    CHECK(term >= r->term);
    if (term > r->term) {
        r->term = term;
        r->vote = 0;
        r->dirty_hard = true;
    }
    if (r->role == LEADER) {
        raft_reads_end(r);
        for (unsigned i = 0; i < r->peer_count; i++) {
            raft_set_flow(&r->peers[i], PROBE);
        }
    }
    r->role = FOLLOWER;
    r->leader = leader;
    r->quiesced = false;
    raft_reset_timeout(r);
}

/* A leader's word in a term that counts. */
static bool is_of_leader(const struct raft_message *m)
{
    return m->type == RAFT_APPEND || m->type == RAFT_SNAPSHOT || m->type == RAFT_QUIESCE;
}

/* Invariant (7). `p`: the sender in our membership, or NULL. */
static bool is_heeded(const struct raft *r, const struct progress *p, const struct raft_message *m)
{
    if (!m->stranger || (p != NULL && !p->learner)) {
        return true;
    }
    bool answer =
        m->type == RAFT_APPEND_REPLY || m->type == RAFT_SNAPSHOT_REPLY || m->type == RAFT_ALIVE;
    return p != NULL && answer && m->term <= r->term;
}

/* Does it contradict what is certain: that there is one leader in a term (§5.2), and that committed
 * entries are the same everywhere (§5.4.3)? */
static bool is_possible(const struct raft *r, const struct raft_message *m)
{
    if (!is_of_leader(m) || m->term < r->term) {
        return true;
    }
    if (m->term == r->term && r->role == LEADER) {
        return false;
    }
    for (uint32_t i = 0; i < m->entry_count && m->entries[i].index <= r->commit; i++) {
        if (raft_term_at(r, m->entries[i].index) != m->entries[i].term) {
            return false;
        }
    }
    return true;
}

static void dispatch(struct raft *r, struct progress *p, const struct raft_message *m)
{
    if (p != NULL) {
        p->active = true;
    }
    switch (m->type) {
    case RAFT_VOTE_REPLY:
        raft_on_vote_reply(r, m);
        return;
    case RAFT_APPEND:
        raft_on_append(r, m);
        return;
    case RAFT_APPEND_REPLY:
        raft_on_append_reply(r, m);
        return;
    case RAFT_SNAPSHOT:
        raft_on_snapshot(r, m);
        return;
    case RAFT_SNAPSHOT_REPLY:
        raft_on_snapshot_reply(r, m);
        return;
    case RAFT_QUIESCE:
        raft_on_quiesce(r, m);
        return;
    case RAFT_TIMEOUT_NOW:
        raft_on_timeout_now(r, m);
        return;
    case RAFT_PROVEN:
        raft_on_proven(r, m);
        return;
    default:
        raft_reads_answered(r, p, m); /* RAFT_ALIVE: else having been heard is all */
        if (m->last) {
            raft_on_state_asked(r, p);
        }
        return;
    }
}

/* Requests for votes, and records, whatever their term. False: it was none of these. */
static bool take_of_any_term(struct raft *r, const struct progress *p, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_PREVOTE:
        raft_wake(r);
        raft_on_prevote(r, m);
        return true;
    case RAFT_PREVOTE_REPLY:
        raft_on_prevote_reply(r, m);
        return true;
    case RAFT_VOTE:
        raft_wake(r);
        raft_on_vote(r, m);
        return true;
    case RAFT_FETCH: /* of any leader's, too */
        raft_on_fetch(r, m);
        return true;
    case RAFT_FETCHED:
        if (p != NULL) {
            raft_on_fetched(r, m);
        }
        return true;
    default:
        return false;
    }
}

bool raft_step(struct raft *r, const struct raft_message *m)
{
    struct progress *p = raft_find_peer(r, m->from);
    if (r->poisoned || m->group != r->group || m->from == r->self || !is_heeded(r, p, m)) {
        return true;
    }
    if (!is_possible(r, m)) {
        return false;
    }
    if (p != NULL) {
        p->up = true;
    }
    if (take_of_any_term(r, p, m)) {
        return true;
    }
    if (m->term < r->term) {
        /* An old leader learns of the new term from any answer (§5.1). */
        if (is_of_leader(m)) {
            (void)raft_emit(r, RAFT_ALIVE, m->from, raft_claim_token(r));
        }
        return true;
    }
    bool answer = !is_of_leader(m) && m->type != RAFT_TIMEOUT_NOW &&
                  (m->type != RAFT_PROVEN || BUG(BUG_STRANGER_PROVES_NOBODY));
    if (p == NULL && answer) {
        return true;
    }
    if (m->term > r->term) {
        raft_become_follower(r, m->term, is_of_leader(m) ? m->from : 0);
    }
    dispatch(r, p, m);
    return true;
}

void raft_tick(struct raft *r)
{
    if (r->poisoned || r->quiesced) {
        return;
    }
    r->election_elapsed++;
    if (r->role != LEADER) {
        if (r->stalled) {
            raft_ask_state(r);
            return;
        }
        /* Of nobody's concern: not in any membership that we know of, and no leader writes. */
        if (!raft_may_campaign(r) && r->election_elapsed > RAFT_QUIESCE_TICKS) {
            r->quiesced = true;
            return;
        }
        if (r->election_elapsed >= r->timeout && raft_is_promised(r)) {
            /* Once more, so that not all campaign in the moment in which their promises end. */
            r->timeout = r->election_elapsed + 1 + (uint32_t)random_below(&r->random, 3);
        } else if (r->election_elapsed >= r->timeout && raft_may_campaign(r)) {
            raft_precampaign(r);
        }
        return;
    }
    r->idle_ticks++;
    for (unsigned i = 0; i < r->peer_count; i++) {
        r->peers[i].snapshot_wait++;
    }
    raft_send_held_snapshots(r);
    if (r->election_elapsed >= RAFT_ELECTION_TICKS) {
        r->election_elapsed = 0;
        raft_check_quorum(r);
        if (r->role != LEADER) {
            return;
        }
    }
    if (++r->heartbeat_elapsed >= RAFT_HEARTBEAT_TICKS) {
        r->heartbeat_elapsed = 0;
        raft_maybe_quiesce(r);
        if (!r->quiesced) {
            if (r->lease_ns > 0) {
                raft_begin_round(r);
            }
            raft_broadcast(r, true);
        }
    }
}

void raft_wake(struct raft *r)
{
    if (r->quiesced) {
        r->quiesced = false;
        r->idle_ticks = 0;
        raft_reset_timeout(r);
        if (r->role == LEADER) {
            for (unsigned i = 0; i < r->peer_count; i++) {
                r->peers[i].active = true;
            }
            r->heartbeat_elapsed = RAFT_HEARTBEAT_TICKS; /* speak at the next tick */
        }
    }
}

void raft_peer_up(struct raft *r, raft_node peer, bool up)
{
    struct progress *p = raft_find_peer(r, peer);
    if (p == NULL || peer == r->self) {
        return;
    }
    p->up = up;
    if (up) { /* what was under way on the old connection is lost; and who knows what happened */
        p->inflight_count = 0;
        p->proven = false;
        if (r->role == LEADER) {
            raft_set_flow(p, PROBE);
            p->probe_sent = false;
            /* From the end while nothing is known of it, as after an election: from the beginning
             * it would be sent everything. */
            p->next = p->match > 0 ? p->match + 1 : r->last + 1;
            raft_wake(r);
            raft_send_append(r, p, true);
        }
    } else if (r->leader == peer) {
        /* Its silence is known, so nobody has to wait for a full timeout; the draw keeps the
         * followers apart. */
        raft_wake(r);
        r->leader = 0;
        r->timeout = 1 + (uint32_t)random_below(&r->random, RAFT_ELECTION_TICKS);
        r->election_elapsed = 0;
    } else if (r->role == LEADER) {
        raft_wake(r);
    }
}

struct raft *raft_new(const struct raft_config *c)
{
    struct raft *r = NEW(struct raft);
    r->group = c->group;
    r->self = c->self;
    r->storage = c->storage;
    r->arg = c->arg;
    r->snapshot_budget = c->snapshot_budget;
    r->clock = c->clock;
    CHECK(c->lease_ns == 0 || c->clock != NULL);
    r->lease_ns = c->lease_ns < RAFT_LEASE_MAX_NS ? c->lease_ns : RAFT_LEASE_MAX_NS;
    random_seed(&r->random, c->seed);
    r->term = c->term;
    r->vote = BUG(BUG_FORGETS_VOTE) ? 0 : c->vote;
    for (uint32_t i = 0; i < c->run_count; i++) {
        raft_log_add_run(r, c->runs[i].first, c->runs[i].term);
    }
    r->last = r->applied = r->commit = c->applied;
    r->first = c->first == 0 ? 1 : c->first;
    CHECK(r->first <= r->applied + 1);
    raft_members_reset(r, &c->members);
    for (uint32_t i = 0; i < c->entry_count; i++) {
        raft_log_append(r, raft_entry_copy(&c->entries[i]));
    }
    if (BUG(BUG_FORGETS_MEMBERS)) {
        raft_members_reset(r, &c->members);
    }
    if (c->survivors != NULL) {
        raft_members_force(r, c->survivors, c->survivor_count);
    }
    CHECK(r->term >= raft_term_at(r, r->last));
    r->persisted = r->last;
    r->dirty_from = 0;
    r->proven_since = c->proven_since;
    r->unproven = c->unproven && !BUG(BUG_REJOINS_AT_ONCE);
    do {
        r->life = random_next(&r->random);
    } while (r->life == 0);
    r->dirty_hard = r->unproven; /* so that a restart in between does not make it forget that */
    raft_reset_timeout(r);
    if (raft_voter_count(r) == 1) {
        r->timeout = 0; /* nobody to wait for */
    } else if (r->lease_ns > 0 && r->term > 0 && !BUG(BUG_FORGETS_PROMISE)) {
        r->promised_until = *r->clock + RAFT_LEASE_MAX_NS; /* an earlier life's */
    }
    return r;
}

void raft_free(struct raft *r)
{
    for (uint32_t i = r->window_from; i < r->window_count; i++) {
        blob_release(r->window[i].data);
    }
    free(r->window);
    free(r->runs);
    for (uint32_t i = r->out_from; i < r->out_count; i++) {
        raft_message_deinit(&r->out[i].message);
    }
    free(r->out);
    raft_entries_free(r->records, r->record_count);
    raft_entries_free(r->lent_records, r->lent_count);
    raft_entries_free(r->repairs, r->repair_count);
    if (r->install_ready) {
        blob_release(r->install.state);
    }
    buffer_deinit(&r->receiving_state);
    free(r->requested);
    for (unsigned i = 0; i < r->peer_count; i++) {
        raft_progress_deinit(&r->peers[i]);
    }
    free(r->peers);
    free(r->memberships);
    free(r->reads);
    free(r);
}

bool raft_is_leader(const struct raft *r)
{
    return r->role == LEADER;
}

bool raft_is_ready_leader(const struct raft *r)
{
    return r->role == LEADER && r->applied >= r->term_start && !r->stalled;
}

raft_node raft_leader(const struct raft *r)
{
    return r->leader;
}

raft_term raft_term_now(const struct raft *r)
{
    return r->term;
}

raft_index raft_last(const struct raft *r)
{
    return r->last;
}

raft_index raft_commit(const struct raft *r)
{
    return r->commit;
}

raft_index raft_applied(const struct raft *r)
{
    return r->applied;
}

bool raft_is_installing(const struct raft *r)
{
    return r->install_ready;
}

bool raft_is_quiesced(const struct raft *r)
{
    return r->quiesced;
}

bool raft_is_stalled(const struct raft *r)
{
    return r->stalled;
}

bool raft_is_unproven(const struct raft *r)
{
    return r->unproven;
}

raft_index raft_proven_since(const struct raft *r)
{
    return r->proven_since;
}

uint64_t raft_group(const struct raft *r)
{
    return r->group;
}

const struct raft_run *raft_runs(const struct raft *r, uint32_t *count)
{
    *count = r->run_count;
    return r->runs;
}

struct raft_peer_state raft_peer_state(const struct raft *r, raft_node peer)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        const struct progress *p = &r->peers[i];
        if (p->node == peer) {
            return (struct raft_peer_state){
                p->match, r->role == LEADER && p->up && p->match >= r->commit, p->proven};
        }
    }
    return (struct raft_peer_state){0};
}
