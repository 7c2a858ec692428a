/* What a leader does: sends (§5.3, thesis §10.2.1 for pipelining), commits (§5.4.2), proves
 * replicas (raft.h, invariant 6), and falls silent. */
#include "raft/raft_internal.h"

#define SNAPSHOT_PATIENCE (20 * RAFT_ELECTION_TICKS) /* ticks without an answer to a chunk */

static void stop_sending(struct progress *p)
{
    if (p->sending != NULL) {
        blob_release(p->sending->state);
        free(p->sending);
        p->sending = NULL;
    }
}

void raft_set_flow(struct progress *p, enum flow flow)
{
    stop_sending(p);
    p->flow = flow;
}

void raft_progress_deinit(struct progress *p)
{
    stop_sending(p);
    free(p->inflight);
}

/* The records that were kept, as they are now. ERR_NOT_FOUND: there are no more. */
static enum err put_records(struct raft *r, struct progress *p, struct raft_message *m, size_t most)
{
    uint32_t cap = 0;
    size_t bytes = 0;
    while (bytes < most) {
        struct raft_entry e;
        enum err err = r->storage->read_kept(r->arg, p->snapshot_next, r->applied, &e);
        if (err != OK) {
            return err;
        }
        VEC_RESERVE(m->entries, cap, m->entry_count);
        m->entries[m->entry_count++] = e;
        bytes += raft_entry_bytes(&e);
        p->snapshot_next = e.index + 1;
    }
    return OK;
}

/* The state is that of the moment when the last record has been sent: what it refers to is always
 * among them, even when limits have removed records meanwhile. */
static enum err take_state(struct raft *r, struct progress *p)
{
    struct sending *s = NEW(struct sending);
    enum err err = r->storage->state(r->arg, &s->index, &s->state);
    if (err != OK) {
        free(s);
        return err;
    }
    CHECK(s->index == r->applied);
    s->members = *raft_members_at(r, s->index);
    p->sending = s;
    return OK;
}

static void put_state(const struct raft *r, struct progress *p, struct raft_message *m, size_t most)
{
    struct sending *s = p->sending;
    size_t left = s->state->len - s->sent;
    size_t part = left < most ? left : most;
    m->state = part == s->state->len ? blob_retain(s->state)
                                     : blob_copy(bytes_make(s->state->data + s->sent, part));
    s->sent += part;
    m->index = s->index;
    m->last = s->sent == s->state->len;
    if (m->last) {
        m->members = s->members;
        m->runs = mem_alloc((r->run_count + 1) * sizeof *m->runs);
        for (uint32_t i = 0; i < r->run_count && r->runs[i].first <= m->index; i++) {
            m->runs[m->run_count++] = r->runs[i];
        }
    }
}

/* Records, then the state that makes sense of them (thesis §5): the next part. */
static void send_snapshot(struct raft *r, struct progress *p)
{
    p->snapshot_wait = 0;
    p->snapshot_held = r->snapshot_budget != NULL && *r->snapshot_budget <= 0;
    if (p->snapshot_held) {
        return;
    }
    size_t most = RAFT_SNAPSHOT_BYTES;
    if (r->snapshot_budget != NULL && *r->snapshot_budget < (int64_t)most) {
        most = (size_t)*r->snapshot_budget;
    }
    struct raft_message *m = raft_emit(r, RAFT_SNAPSHOT, p->node, 0);
    m->commit = p->snapshot_attempt;
    m->first = !p->snapshot_begun;
    m->index = r->applied;
    p->snapshot_begun = true;
    enum err err = p->sending != NULL ? ERR_NOT_FOUND : put_records(r, p, m, most);
    if (err == ERR_NOT_FOUND && m->entry_count == 0) {
        err = p->sending != NULL ? OK : take_state(r, p);
        if (err == OK) {
            put_state(r, p, m, most);
        }
    }
    m->index_term = raft_term_at(r, m->index);
    if (err != OK && err != ERR_NOT_FOUND) {
        /* Damaged or unreadable here: a hole must never be sent on (reliability rule 5). */
        raft_set_flow(p, PROBE);
        raft_message_deinit(m);
        *m = (struct raft_message){
            .type = RAFT_ALIVE, .group = r->group, .from = r->self, .to = p->node, .term = r->term};
        return;
    }
    if (r->snapshot_budget != NULL) {
        *r->snapshot_budget -= (int64_t)(m->state == NULL ? 0 : m->state->len);
        for (uint32_t i = 0; i < m->entry_count; i++) {
            *r->snapshot_budget -= (int64_t)raft_entry_bytes(&m->entries[i]);
        }
    }
}

void raft_send_held_snapshots(struct raft *r)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        if (p->flow == SNAPSHOT && p->snapshot_held) {
            send_snapshot(r, p);
        }
    }
}

void raft_begin_snapshot(struct raft *r, struct progress *p)
{
    raft_set_flow(p, SNAPSHOT);
    p->snapshot_attempt++;
    p->snapshot_next = BUG(BUG_SNAPSHOT_WITHOUT_RECORDS) ? r->last + 1 : p->match + 1;
    p->snapshot_begun = false;
    send_snapshot(r, p);
}

void raft_send_append(struct raft *r, struct progress *p, bool heartbeat)
{
    if (p->flow == SNAPSHOT) {
        if (heartbeat && p->snapshot_wait > SNAPSHOT_PATIENCE) {
            raft_set_flow(p, PROBE); /* lost somewhere: start over from what it has */
            p->probe_sent = false;
        }
        if (heartbeat) { /* it must know that there is a leader */
            struct raft_message *m = raft_emit(r, RAFT_APPEND, p->node, 0);
            m->index = p->match;
            m->index_term = raft_term_at(r, p->match);
            m->commit = p->match < r->commit ? p->match : r->commit;
            m->round = raft_round_to_send(r, true);
        }
        return;
    }
    bool may_send =
        p->flow == PROBE ? !p->probe_sent || heartbeat : p->inflight_count < RAFT_INFLIGHT_MAX;
    if (!may_send && !heartbeat) {
        return;
    }
    /* Below `first` single entries may be missing: only the previous index can be probed there. */
    bool has_entries = may_send && p->next <= r->last && p->next >= r->first;
    if (!has_entries && !heartbeat && !(p->flow == PROBE && p->next < r->first)) {
        return;
    }
    struct raft_message *m = raft_emit(r, RAFT_APPEND, p->node, 0);
    m->index = p->next - 1;
    m->index_term = raft_term_at(r, p->next - 1);
    m->commit = r->commit;
    m->round = raft_round_to_send(r, heartbeat);
    uint32_t cap = 0;
    size_t bytes = 0;
    raft_index at = p->next;
    bool unreadable = false;
    while (has_entries && at <= r->last && m->entry_count < RAFT_APPEND_ENTRIES &&
           bytes < RAFT_APPEND_BYTES) {
        struct raft_entry e;
        if (!raft_log_read(r, at, &e)) {
            unreadable = at == p->next && at <= r->applied;
            break;
        }
        VEC_RESERVE(m->entries, cap, m->entry_count);
        m->entries[m->entry_count++] = e;
        bytes += raft_entry_bytes(&e);
        at++;
    }
    if (unreadable && p->flow == REPLICATE) {
        raft_begin_snapshot(r, p); /* the state makes up for what is no message */
    } else if (p->flow == PROBE) {
        p->probe_sent = true;
    } else if (m->entry_count > 0) {
        p->next = at;
        if (p->inflight == NULL) {
            p->inflight = mem_alloc(RAFT_INFLIGHT_MAX * sizeof *p->inflight);
        }
        p->inflight[(p->inflight_at + p->inflight_count++) % RAFT_INFLIGHT_MAX] = at - 1;
    }
}

/* As much as flow control allows. */
void raft_send_all(struct raft *r, struct progress *p)
{
    while (p->flow == REPLICATE && p->next <= r->last && p->inflight_count < RAFT_INFLIGHT_MAX) {
        raft_index before = p->next;
        raft_send_append(r, p, false);
        if (p->next == before) {
            return;
        }
    }
    if (p->flow == PROBE && !p->probe_sent) {
        raft_send_append(r, p, false);
    }
}

void raft_append_and_send(struct raft *r, uint8_t kind, struct blob *data)
{
    raft_log_append(r, (struct raft_entry){r->last + 1, r->term, kind, data});
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self) {
            raft_send_all(r, &r->peers[i]);
        }
    }
}

void raft_broadcast(struct raft *r, bool heartbeat)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self) {
            raft_send_append(r, &r->peers[i], heartbeat);
        }
    }
}

static int descending(const void *a, const void *b)
{
    raft_index x = *(const raft_index *)a;
    raft_index y = *(const raft_index *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

void raft_leave(struct raft *r)
{
    raft_transfer(r, 0);
    raft_become_follower(r, r->term, 0);
}

void raft_maybe_commit(struct raft *r)
{
    raft_index matches[RAFT_MEMBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        if (p->learner && !BUG(BUG_COUNTS_LEARNERS)) {
            continue;
        }
        bool counts = p->node == r->self ? !r->unproven : p->proven; /* invariant (6) */
        raft_index own = BUG(BUG_COUNTS_UNSYNCED_SELF) ? r->last : r->persisted;
        matches[count++] = !counts ? 0 : p->node == r->self ? own : p->match;
    }
    qsort(matches, count, sizeof *matches, descending);
    raft_index candidate = matches[raft_quorum(r) - 1];
    bool of_this_term = raft_term_at(r, candidate) == r->term || BUG(BUG_COMMITS_OLD_TERMS);
    if (candidate > r->commit && of_this_term) { /* invariant (4) */
        r->commit = candidate;
        r->idle_ticks = 0;
        if (!raft_is_voter(r) && raft_members(r)->index <= r->commit) {
            raft_leave(r); /* no voter any more: all that is left to do (thesis §4.2.2) */
        }
    }
}

/* What a claim says of whoever makes it: invariant (6). */
static void note_proof(struct progress *p, const struct raft_message *m)
{
    if (!m->unproven) {
        if (!m->reject) {
            p->proven = true;
            p->life = 0;
            p->granted = false;
            p->prove_at = 0;
        }
        return;
    }
    p->proven = false;
    if (m->life != p->life &&
        !BUG(BUG_PROOF_OF_ANOTHER_LIFE)) { /* whatever an earlier life had is gone */
        p->life = m->life;
        p->granted = false;
        p->prove_at = 0;
        p->match = 0;
        raft_set_flow(p, PROBE);
        p->inflight_count = 0;
    }
}

/* After news of an unproven replica. */
static void maybe_prove(struct raft *r, struct progress *p)
{
    if (p->proven || p->life == 0 || r->role != LEADER) {
        return;
    }
    bool caught_up = p->prove_at != 0 && r->commit >= p->prove_at && p->match >= p->prove_at;
    if (BUG(BUG_PROVES_WITHOUT_QUORUM)) {
        caught_up = p->match >= r->commit;
    }
    /* The winner of an election of all has the longest log that is left; who has all of that, too,
     * has as much as there is. Before, its vote could still help a shorter one. */
    bool settled = p->granted && (p->match >= r->term_start || BUG(BUG_PROVES_WITH_LESS));
    if (settled || caught_up) {
        struct raft_message *m = raft_emit(r, RAFT_PROVEN, p->node, 0);
        m->life = p->life;
        m->index = p->match;
        m->index_term = raft_term_at(r, p->match);
    } else if (p->prove_at == 0) {
        raft_append_and_send(r, RAFT_ENTRY_NOOP, NULL);
        p->prove_at = r->last;
    }
}

void raft_on_append_reply(struct raft *r, const struct raft_message *m)
{
    struct progress *p = raft_find_peer(r, m->from);
    if (r->role != LEADER || p == NULL) {
        return;
    }
    note_proof(p, m);
    if (m->reject) {
        if (p->flow == SNAPSHOT || m->index >= p->next) {
            return; /* stale */
        }
        if (p->flow == REPLICATE && m->index < p->match) {
            /* A voter that lost what it had acknowledged: it may not count any more until it has
             * caught up, which taking the match back makes sure of. */
            p->match = 0;
        }
        raft_index next = m->index + 1;
        /* Our last index with a term not above the hint's: anything later cannot match. */
        if (next - 1 <= r->last) {
            next = raft_log_back_up(r, next - 1, m->index_term) + 1;
        }
        p->next = next > r->last + 1 ? r->last + 1 : next;
        raft_set_flow(p, PROBE);
        p->probe_sent = false;
        p->inflight_count = 0;
        raft_send_append(r, p, false);
        return;
    }
    if (m->index > r->last) {
        return;
    }
    if (m->index > p->match) {
        p->match = m->index;
        r->idle_ticks = 0;
    }
    while (p->inflight_count > 0 && p->inflight[p->inflight_at] <= p->match) {
        p->inflight_at = (p->inflight_at + 1) % RAFT_INFLIGHT_MAX;
        p->inflight_count--;
    }
    if (p->flow == PROBE) {
        p->next = p->match + 1;
        p->inflight_count = 0;
        if (p->next < r->first) {
            raft_begin_snapshot(r, p);
        } else {
            raft_set_flow(p, REPLICATE);
        }
    } else if (p->flow == REPLICATE && p->next <= p->match) {
        p->next = p->match + 1;
    }
    raft_maybe_commit(r);
    maybe_prove(r, p);
    raft_send_all(r, p);
}

void raft_on_snapshot_reply(struct raft *r, const struct raft_message *m)
{
    struct progress *p = raft_find_peer(r, m->from);
    if (r->role != LEADER || p == NULL || p->flow != SNAPSHOT || m->commit != p->snapshot_attempt) {
        return;
    }
    note_proof(p, m);
    if (p->flow != SNAPSHOT) { /* to another life: it begins anew */
        p->next = r->last + 1;
        p->probe_sent = false;
        raft_send_all(r, p);
        return;
    }
    if (!m->last && !m->reject) {
        if (m->index >= p->snapshot_next) { /* of an attempt that broke off */
            p->snapshot_next = m->index + 1;
        }
        send_snapshot(r, p);
        return;
    }
    if (m->last && m->index > p->match && m->index <= r->last) {
        p->match = m->index;
    }
    p->next = p->match + 1;
    raft_set_flow(p, PROBE);
    p->probe_sent = false;
    raft_maybe_commit(r);
    maybe_prove(r, p);
    raft_send_all(r, p);
}

/* Everybody reachable has everything and knows it: stop talking. Down peers are caught up when the
 * transport reports them, which wakes the group; without a quorum that is up there is no silence,
 * for the leader has to find out that it is none any more. */
void raft_maybe_quiesce(struct raft *r)
{
    bool done = r->commit == r->last && r->applied == r->last && r->persisted == r->last &&
                r->idle_ticks >= RAFT_QUIESCE_TICKS;
    unsigned up = 0;
    for (unsigned i = 0; i < r->peer_count && done; i++) {
        const struct progress *p = &r->peers[i];
        done = p->node == r->self || !p->up || (p->proven && p->match == r->last);
        up += !p->learner && (p->node == r->self || p->up);
    }
    if (!done || up < raft_quorum(r)) {
        return;
    }
    r->quiesced = true;
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self && r->peers[i].up) {
            struct raft_message *m = raft_emit(r, RAFT_QUIESCE, r->peers[i].node, 0);
            m->index = r->last;
            m->index_term = raft_term_at(r, r->last);
            m->commit = r->commit;
        }
    }
}

/* Thesis §6.2: a leader that does not hear a majority steps down, so that its clients look for the
 * other one. Heard of, but unproven in a life that did not vote for us, is not enough: without a
 * majority of the others nothing can be committed, so nobody is proven either, and only another
 * election of all goes on from there. */
void raft_check_quorum(struct raft *r)
{
    unsigned able = raft_is_voter(r);
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        bool hopeful = p->proven || p->granted || p->life == 0 || BUG(BUG_LEADS_UNPROVEN);
        able += p->node != r->self && p->active && !p->learner && hopeful;
        p->active = false;
    }
    if (able < raft_quorum(r)) {
        raft_become_follower(r, r->term, 0);
    }
}

enum err raft_propose(struct raft *r, struct blob *data, raft_index *index)
{
    if (r->role != LEADER || r->poisoned) {
        return ERR_NOT_LEADER;
    }
    raft_wake(r);
    r->idle_ticks = 0;
    raft_append_and_send(r, RAFT_ENTRY_DATA, data);
    *index = r->last;
    return OK;
}
