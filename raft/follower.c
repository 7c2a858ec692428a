/* What comes from a leader: appends (§5.3), snapshots (§7), the word to be silent. */
#include "raft/raft_internal.h"

static void follow(struct raft *r, const struct raft_message *m)
{
    if (m->term > r->term || r->role != FOLLOWER || r->leader != m->from) {
        CHECK(!(m->term == r->term && r->role == LEADER)); /* is_possible() */
        raft_become_follower(r, m->term, m->from);
    }
    r->election_elapsed = 0;
    r->quiesced = false;
}

static void set_commit(struct raft *r, raft_index commit)
{
    if (commit > r->commit) {
        CHECK(commit <= r->last);
        r->commit = commit;
    }
}

void raft_reply_append(struct raft *r, raft_node to, bool reject, raft_index index)
{
    uint64_t token = reject || BUG(BUG_ACKS_BEFORE_DISK) ? 0 : raft_claim_token(r);
    struct raft_message *m = raft_emit(r, RAFT_APPEND_REPLY, to, token);
    m->reject = reject;
    m->index = index;
    m->index_term = raft_term_at(r, index);
    m->commit = r->commit;
}

void raft_on_append(struct raft *r, const struct raft_message *m)
{
    follow(r, m);
    if (m->entry_count == 0 || m->round != 0) {
        raft_answer_round(r, m);
    }
    bool same_term = raft_term_at(r, m->index) == m->index_term || BUG(BUG_IGNORES_PREVIOUS_TERM);
    if (m->index > r->last || !same_term) {
        /* Hint: our last index that could match, with its term (§5.3, fast back-up). */
        raft_index hint = m->index > r->last ? r->last : m->index - 1;
        if (hint > r->commit) {
            raft_index last = raft_log_back_up(r, hint, m->index_term);
            hint = last > r->commit ? last : r->commit;
        }
        raft_reply_append(r, m->from, true, hint);
        return;
    }
    raft_index match = m->index;
    if (m->entry_count > 0) {
        r->receiving_from = 0;
        buffer_deinit(&r->receiving_state);
    }
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        CHECK(e->index == match + 1); /* raft_wire_decode() sees to that */
        if (e->index <= r->received && !BUG(BUG_RESUMES_AFTER_APPEND)) {
            r->received = 0; /* what is replaced may be cut off again */
        }
        if (e->index <= r->last) {
            if (raft_term_at(r, e->index) == e->term) {
                match = e->index;
                continue;
            }
            raft_log_truncate(r, e->index);
            if (BUG(BUG_TRUNCATES_IN_MEMORY)) {
                r->dirty_truncate = 0;
            }
        }
        raft_log_append(r, raft_entry_copy(e));
        match = e->index;
    }
    raft_index known = BUG(BUG_COMMITS_UNMATCHED) ? r->last : match;
    set_commit(r, m->commit < known ? m->commit : known);
    raft_reply_append(r, m->from, false, match);
}

static void reply_snapshot(struct raft *r, const struct raft_message *to, raft_index index,
                           bool installed, uint64_t token)
{
    struct raft_message *m = raft_emit(r, RAFT_SNAPSHOT_REPLY, to->from, token);
    m->index = index;
    m->last = installed;
    m->commit = to->commit;
}

/* `m` brings the last part. */
static void hand_out_state(struct raft *r, const struct raft_message *m, bool log_stays)
{
    if (r->install_ready) {
        blob_release(r->install.state);
    }
    struct blob *state;
    if (r->receiving_state.len == 0) {
        state = blob_retain(m->state);
    } else {
        buffer_append_bytes(&r->receiving_state, blob_bytes(m->state));
        state = blob_copy(buffer_bytes(&r->receiving_state));
    }
    buffer_deinit(&r->receiving_state);
    r->install = (struct raft_install){m->index, state, ++r->issued_seq, log_stays};
    r->install_ready = true;
    r->stalled = false;
    reply_snapshot(r, m, m->index, true, r->issued_seq);
}

/* We were stalled: the log is whole, and may end with what we have acknowledged. */
static void take_state(struct raft *r, const struct raft_message *m)
{
    set_commit(r, m->index);
    r->applied = m->index;
    hand_out_state(r, m, true);
}

/* Records of a snapshot: what our log has of them stays part of it. */
static void take_records(struct raft *r, const struct raft_message *m)
{
    uint32_t room = r->record_count + m->entry_count;
    r->records = mem_realloc(r->records, (room + 1) * sizeof *r->records);
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index <= r->last && raft_term_at(r, e->index) == e->term) {
            continue; /* the same entry (§5.3): it stays part of our log */
        }
        if (e->index <= r->last) { /* a committed entry proves the rest of ours uncommitted */
            raft_log_truncate(r, e->index);
        }
        r->records[r->record_count++] = raft_entry_copy(e);
    }
    raft_index end = m->entry_count > 0 ? m->entries[m->entry_count - 1].index : 0;
    r->received = end > r->received ? end : r->received;
}

/* Kept records come first, then the state that makes sense of them (thesis §5). */
void raft_on_snapshot(struct raft *r, const struct raft_message *m)
{
    follow(r, m);
    bool log_holds_it = m->index <= r->last &&
                        (m->index <= r->commit || raft_term_at(r, m->index) == m->index_term);
    bool of_use = r->stalled && m->index >= r->applied;
    if (log_holds_it && !of_use && !BUG(BUG_SNAPSHOT_CUTS_ACKED)) {
        /* Our log holds that point, and so all before it (§5.3): nothing has to be replaced, and
         * what follows it, which we may have acknowledged, must not be (§7). */
        set_commit(r, m->index);
        reply_snapshot(r, m, m->index, true, raft_claim_token(r));
        return;
    }
    if (m->first) {
        r->receiving_from = m->from;
        r->receiving_attempt = m->commit;
        r->receiving_term = m->term;
        buffer_deinit(&r->receiving_state);
    } else if (!BUG(BUG_SNAPSHOTS_MIXED) &&
               (r->receiving_from != m->from || r->receiving_attempt != m->commit ||
                r->receiving_term != m->term)) {
        reply_snapshot(r, m, 0, false, 0);
        r->out[r->out_count - 1].message.reject = true;
        return;
    }
    if (!m->last) {
        if (m->state != NULL) {
            buffer_append_bytes(&r->receiving_state, blob_bytes(m->state));
        } else {
            take_records(r, m);
        }
        reply_snapshot(r, m, r->received, false, raft_claim_token(r));
        return;
    }
    r->receiving_from = 0;
    r->received = 0;
    if (log_holds_it && of_use && !BUG(BUG_STATE_CUTS_LOG)) {
        take_state(r, m);
        return;
    }
    /* Our log ends at the snapshot: all of it is committed or superseded. */
    for (uint32_t i = r->window_from; i < r->window_count; i++) {
        blob_release(r->window[i].data);
    }
    r->window_from = r->window_count = 0;
    r->window_bytes = 0;
    r->run_count = 0;
    for (uint32_t i = 0; i < m->run_count; i++) {
        raft_log_add_run(r, m->runs[i].first, m->runs[i].term);
    }
    r->last = r->commit = r->applied = r->persisted = m->index;
    r->applied -= BUG(BUG_INSTALL_OFF_BY_ONE);
    r->first = m->index + 1;
    struct raft_members members = m->members;
    members.index = members.index < m->index ? members.index : m->index; /* nothing cuts it off */
    raft_members_reset(r, &members);
    r->dirty_from = r->dirty_truncate = 0;
    r->requested_count = 0;
    hand_out_state(r, m, false);
}

bool raft_take_install(struct raft *r, struct raft_install *out)
{
    if (!r->install_ready) {
        return false;
    }
    r->install_ready = false;
    *out = r->install;
    return true;
}

void raft_on_quiesce(struct raft *r, const struct raft_message *m)
{
    follow(r, m);
    if (m->index == r->last && raft_term_at(r, r->last) == m->index_term) {
        set_commit(r, m->commit < r->last ? m->commit : r->last);
        r->quiesced = r->commit == r->last && !r->stalled;
    }
}

/* From our leader, to this very life of ours. */
void raft_on_proven(struct raft *r, const struct raft_message *m)
{
    bool matches = m->index <= r->last && raft_term_at(r, m->index) == m->index_term;
    if (r->role == FOLLOWER && r->leader == m->from && r->unproven &&
        (m->life == r->life || BUG(BUG_PROOF_OF_ANOTHER_LIFE)) && matches) {
        raft_become_proven(r);
        raft_reply_append(r, m->from, false, m->index);
    }
}
