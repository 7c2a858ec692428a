/* A group's log: the tail in memory, the terms of all of it, and what of it has to go to disk. */
#include "raft/raft_internal.h"

struct raft_entry raft_entry_copy(const struct raft_entry *e)
{
    struct raft_entry copy = *e;
    if (copy.data != NULL) {
        (void)blob_retain(copy.data);
    }
    return copy;
}

void raft_entries_free(struct raft_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        blob_release(entries[i].data);
    }
    free(entries);
}

size_t raft_entry_bytes(const struct raft_entry *e)
{
    return sizeof *e + (e->data == NULL ? 0 : e->data->len);
}

static raft_index window_first(const struct raft *r)
{
    return r->last + 1 - (r->window_count - r->window_from);
}

const struct raft_entry *raft_peek(const struct raft *r, raft_index index)
{
    raft_index from = window_first(r);
    if (index < from || index > r->last) {
        return NULL;
    }
    return &r->window[r->window_from + (index - from)];
}

raft_term raft_term_at(const struct raft *r, raft_index index)
{
    if (index == 0 || index > r->last) {
        return 0;
    }
    uint32_t low = 0;
    uint32_t high = r->run_count;
    while (low < high) { /* first run that begins behind index */
        uint32_t middle = (low + high) / 2;
        if (r->runs[middle].first <= index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : r->runs[low - 1].term;
}

raft_index raft_log_back_up(const struct raft *r, raft_index index, raft_term term)
{
    uint32_t run = r->run_count;
    while (run > 0 && (r->runs[run - 1].first > index || r->runs[run - 1].term > term)) {
        if (r->runs[--run].first <= index) {
            index = r->runs[run].first - 1;
        }
    }
    return index;
}

void raft_log_add_run(struct raft *r, raft_index first, raft_term term)
{
    if (r->run_count == 0 || r->runs[r->run_count - 1].term != term) {
        CHECK(r->run_count == 0 || r->runs[r->run_count - 1].term < term);
        VEC_RESERVE(r->runs, r->run_cap, r->run_count);
        r->runs[r->run_count++] = (struct raft_run){first, term};
    }
}

/* Takes the entry's reference. */
void raft_log_append(struct raft *r, struct raft_entry entry)
{
    CHECK(entry.index == r->last + 1);
    if (r->window_count >= r->window_cap && r->window_from > r->window_count / 2) {
        uint32_t live = r->window_count - r->window_from;
        memmove(r->window, r->window + r->window_from, live * sizeof *r->window);
        r->window_from = 0;
        r->window_count = live;
    }
    VEC_RESERVE(r->window, r->window_cap, r->window_count);
    r->window[r->window_count++] = entry;
    r->window_bytes += raft_entry_bytes(&entry);
    r->last = entry.index;
    raft_log_add_run(r, entry.index, entry.term);
    if (r->dirty_from == 0) {
        r->dirty_from = entry.index;
    }
    if (entry.kind == RAFT_ENTRY_MEMBERS) {
        raft_members_appended(r, &entry);
    }
}

/* §5.3: a conflicting suffix gives way to the leader's. */
void raft_log_truncate(struct raft *r, raft_index from)
{
    CHECK(from > r->commit); /* invariant (2) */
    CHECK(from >= r->first);
    while (r->last >= from) {
        if (r->window_count > r->window_from) {
            struct raft_entry *e = &r->window[--r->window_count];
            r->window_bytes -= raft_entry_bytes(e);
            blob_release(e->data);
        }
        r->last--;
    }
    while (r->run_count > 0 && r->runs[r->run_count - 1].first > r->last) {
        r->run_count--;
    }
    raft_members_truncated(r, from);
    if (r->persisted > r->last) {
        r->persisted = r->last;
    }
    if (r->dirty_from > r->last) {
        r->dirty_from = 0;
    }
    if (r->dirty_truncate == 0 || from < r->dirty_truncate) {
        r->dirty_truncate = from;
    }
}

/* What only a busy group needs. */
static void forget_buffers(struct raft *r)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        if (p->inflight_count == 0) {
            free(p->inflight);
            p->inflight = NULL;
        }
    }
    if (r->out_from == r->out_count) {
        free(r->out);
        r->out = NULL;
        r->out_from = r->out_count = r->out_cap = 0;
    }
    if (r->requested_count == 0) {
        free(r->requested);
        r->requested = NULL;
        r->requested_cap = 0;
    }
    if (r->read_count == 0) {
        free(r->reads);
        r->reads = NULL;
        r->read_cap = 0;
    }
}

void raft_trim_memory(struct raft *r, size_t keep_bytes)
{
    raft_index until = r->applied < r->persisted ? r->applied : r->persisted;
    while (r->window_bytes > keep_bytes && r->window_from < r->window_count &&
           r->window[r->window_from].index <= until) {
        struct raft_entry *e = &r->window[r->window_from++];
        r->window_bytes -= raft_entry_bytes(e);
        blob_release(e->data);
    }
    if (r->window_from == r->window_count) {
        free(r->window);
        r->window = NULL;
        r->window_from = r->window_count = r->window_cap = 0;
    }
    if (keep_bytes == 0) {
        forget_buffers(r);
    }
}

bool raft_log_read(struct raft *r, raft_index index, struct raft_entry *entry)
{
    const struct raft_entry *e = raft_peek(r, index);
    if (e != NULL) {
        *entry = raft_entry_copy(e);
        return true;
    }
    return r->storage->read(r->arg, index, entry) == OK;
}

void raft_compacted(struct raft *r, raft_index first)
{
    if (first > r->first) {
        CHECK(first <= r->applied + 1);
        r->first = first;
        raft_members_compact(r, first - 1);
    }
}

/* What a message that makes claims has to wait for: invariant (3). */
uint64_t raft_claim_token(const struct raft *r)
{
    bool dirty =
        r->dirty_hard || r->dirty_from != 0 || r->dirty_truncate != 0 || r->record_count > 0;
    return dirty ? r->issued_seq + 1 : r->issued_seq;
}

/* Entries that are not the log's end, until the next call. */
static void lend(struct raft *r, struct raft_entry **entries, uint32_t *count,
                 struct raft_persist *out)
{
    out->entries = r->lent_records = *entries;
    out->entry_count = r->lent_count = *count;
    *entries = NULL;
    *count = 0;
}

bool raft_take_persist(struct raft *r, struct raft_persist *out)
{
    raft_entries_free(r->lent_records, r->lent_count);
    r->lent_records = NULL;
    r->lent_count = 0;
    *out = (struct raft_persist){0};
    if (r->poisoned) {
        return false;
    }
    if (r->dirty_hard) {
        r->dirty_hard = false;
        out->has_hard_state = true;
        out->term = r->term;
        out->vote = r->vote;
        out->unproven = r->unproven;
        out->proven_since = r->proven_since;
    }
    bool log_first = r->dirty_truncate != 0 || r->dirty_from != 0;
    if (r->record_count > 0 && !log_first) {
        lend(r, &r->records, &r->record_count, out);
        out->kept_records = true;
    } else if (r->repair_count > 0 && !log_first) {
        lend(r, &r->repairs, &r->repair_count, out);
        r->repair_cap = 0;
    } else {
        out->truncate_from = r->dirty_truncate;
        r->dirty_truncate = 0;
        if (r->dirty_from != 0) {
            const struct raft_entry *e = raft_peek(r, r->dirty_from);
            CHECK(e != NULL);
            out->entries = e;
            out->entry_count = (uint32_t)(r->last - r->dirty_from + 1);
            r->dirty_from = 0;
        }
    }
    if (!out->has_hard_state && out->truncate_from == 0 && out->entry_count == 0) {
        return false;
    }
    out->seq = ++r->issued_seq;
    VEC_RESERVE(r->requested, r->requested_cap, r->requested_count);
    r->requested[r->requested_count++] =
        (struct requested){out->seq, r->last, raft_term_at(r, r->last)};
    return true;
}

void raft_persisted(struct raft *r, uint64_t seq)
{
    CHECK(seq <= r->issued_seq);
    if (seq > r->done_seq) {
        r->done_seq = seq;
    }
    uint32_t n = 0;
    while (n < r->requested_count && r->requested[n].seq <= seq) {
        const struct requested *q = &r->requested[n++];
        /* A suffix that was truncated since does not count. */
        bool still_there = q->last <= r->last &&
                           (raft_term_at(r, q->last) == q->last_term || BUG(BUG_TRUNCATED_COUNTS));
        if (q->last > r->persisted && still_there) {
            r->persisted = q->last;
        }
    }
    r->requested_count -= n;
    memmove(r->requested, r->requested + n, r->requested_count * sizeof *r->requested);
    if (r->role == LEADER) {
        raft_maybe_commit(r);
    }
}

const struct raft_entry *raft_next_committed(struct raft *r)
{
    if (r->applied >= r->commit || r->install_ready || r->poisoned || r->stalled) {
        return NULL;
    }
    const struct raft_entry *e = raft_peek(r, r->applied + 1);
    CHECK(e != NULL); /* raft_trim_memory() keeps what is not applied */
    r->applied++;
    if (e->kind == RAFT_ENTRY_MEMBERS) {
        raft_members_committed(r);
    }
    return e;
}
