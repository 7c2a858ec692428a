/* Records that went bad on this disk, from the others. What is committed is the same everywhere
 * (State Machine Safety, §5.4.3), and an entry is known by its index and term (Log Matching, §5.3),
 * so any replica's readable copy will do, whoever leads. */
#include "raft/raft_internal.h"

void raft_fetch(struct raft *r, raft_index index)
{
    CHECK(index <= r->commit);
    for (unsigned i = 0; i < r->peer_count && !r->poisoned; i++) {
        const struct progress *p = &r->peers[r->fetches++ % r->peer_count];
        if (p->node != r->self && p->up) {
            struct raft_message *m = raft_emit(r, RAFT_FETCH, p->node, 0);
            m->index = index;
            m->index_term = raft_term_at(r, index);
            return;
        }
    }
}

void raft_on_fetch(struct raft *r, const struct raft_message *m)
{
    struct raft_entry e;
    bool same = m->index <= r->commit && raft_term_at(r, m->index) == m->index_term;
    bool found = same && raft_log_read(r, m->index, &e);
    struct raft_message *reply = raft_emit(r, RAFT_FETCHED, m->from, 0);
    reply->index = m->index;
    reply->reject = !found; /* dropped here, or damaged as well */
    if (found) {
        reply->entries = NEW(struct raft_entry);
        reply->entries[0] = e;
        reply->entry_count = 1;
    }
}

void raft_on_fetched(struct raft *r, const struct raft_message *m)
{
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        bool ours = e->index <= r->commit && raft_term_at(r, e->index) == e->term;
        if (ours) { /* else late: we are not where we were */
            VEC_RESERVE(r->repairs, r->repair_cap, r->repair_count);
            r->repairs[r->repair_count++] = raft_entry_copy(e);
        }
    }
}

void raft_stall(struct raft *r)
{
    if (r->stalled || r->poisoned) {
        return;
    }
    r->stalled = true;
    r->ask_ticks = 0;
    raft_wake(r);
    if (r->role == LEADER) {
        raft_leave(r);
    } else if (r->role != FOLLOWER) {
        raft_become_follower(r, r->term, 0);
    }
}

void raft_ask_state(struct raft *r)
{
    if (r->leader != 0 && r->ask_ticks++ % RAFT_ELECTION_TICKS == 0) {
        raft_emit(r, RAFT_ALIVE, r->leader, 0)->last = true;
    }
}

void raft_on_state_asked(struct raft *r, struct progress *p)
{
    if (r->role == LEADER && p->flow != SNAPSHOT) {
        raft_wake(r);
        raft_begin_snapshot(r, p);
    }
}

void raft_rewrite(struct raft *r)
{
    r->dirty_hard = true;
}
