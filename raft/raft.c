#include "raft/raft.h"

#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/random.h"

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

/* --- entries and messages --- */

static struct raft_entry entry_copy(const struct raft_entry *e)
{
    struct raft_entry copy = *e;
    if (copy.data != NULL) {
        (void)blob_retain(copy.data);
    }
    return copy;
}

static void entries_free(struct raft_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        blob_release(entries[i].data);
    }
    free(entries);
}

void raft_message_deinit(struct raft_message *m)
{
    entries_free(m->entries, m->entry_count);
    blob_release(m->state);
    free(m->runs);
    *m = (struct raft_message){0};
}

static size_t entry_bytes(const struct raft_entry *e)
{
    return sizeof *e + (e->data == NULL ? 0 : e->data->len);
}

/* --- the log --- */

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

static void add_run(struct raft *r, raft_index first, raft_term term)
{
    if (r->run_count == 0 || r->runs[r->run_count - 1].term != term) {
        CHECK(r->run_count == 0 || r->runs[r->run_count - 1].term < term);
        VEC_RESERVE(r->runs, r->run_cap, r->run_count);
        r->runs[r->run_count++] = (struct raft_run){first, term};
    }
}

/* Takes the entry's reference. */
static void append(struct raft *r, struct raft_entry entry)
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
    r->window_bytes += entry_bytes(&entry);
    r->last = entry.index;
    add_run(r, entry.index, entry.term);
    if (r->dirty_from == 0) {
        r->dirty_from = entry.index;
    }
}

/* §5.3: a conflicting suffix gives way to the leader's. */
static void truncate(struct raft *r, raft_index from)
{
    CHECK(from > r->commit); /* invariant (2) */
    CHECK(from >= r->first);
    while (r->last >= from) {
        if (r->window_count > r->window_from) {
            struct raft_entry *e = &r->window[--r->window_count];
            r->window_bytes -= entry_bytes(e);
            blob_release(e->data);
        }
        r->last--;
    }
    while (r->run_count > 0 && r->runs[r->run_count - 1].first > r->last) {
        r->run_count--;
    }
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

void raft_trim_memory(struct raft *r, size_t keep_bytes)
{
    raft_index until = r->applied < r->persisted ? r->applied : r->persisted;
    while (r->window_bytes > keep_bytes && r->window_from < r->window_count &&
           r->window[r->window_from].index <= until) {
        struct raft_entry *e = &r->window[r->window_from++];
        r->window_bytes -= entry_bytes(e);
        blob_release(e->data);
    }
    if (r->window_from == r->window_count) {
        free(r->window);
        r->window = NULL;
        r->window_from = r->window_count = r->window_cap = 0;
    }
}

static bool read_entry(struct raft *r, raft_index index, struct raft_entry *entry)
{
    const struct raft_entry *e = raft_peek(r, index);
    if (e != NULL) {
        *entry = entry_copy(e);
        return true;
    }
    return r->storage->read(r->arg, index, entry) == OK;
}

/* --- output queue --- */

/* What a message that makes claims has to wait for: invariant (3). */
static uint64_t claim_token(const struct raft *r)
{
    bool dirty =
        r->dirty_hard || r->dirty_from != 0 || r->dirty_truncate != 0 || r->record_count > 0;
    return dirty ? r->issued_seq + 1 : r->issued_seq;
}

static struct raft_message *emit(struct raft *r, enum raft_message_type type, raft_node to,
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

static void handle_own_vote(struct raft *r, const struct raft_message *m);

bool raft_next_message(struct raft *r, struct raft_message *out)
{
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
            handle_own_vote(r, &m);
            raft_message_deinit(&m);
            return raft_next_message(r, out);
        }
        *out = m;
        return true;
    }
    return false;
}

/* --- persisting --- */

bool raft_take_persist(struct raft *r, struct raft_persist *out)
{
    entries_free(r->lent_records, r->lent_count);
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
        r->lent_records = r->records;
        r->lent_count = r->record_count;
        r->records = NULL;
        r->record_count = 0;
        out->entries = r->lent_records;
        out->entry_count = r->lent_count;
        out->kept_records = true;
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

static void maybe_commit(struct raft *r);

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
        maybe_commit(r);
    }
}

void raft_poison(struct raft *r)
{
    r->poisoned = true;
    r->role = FOLLOWER;
    r->leader = 0;
}

/* --- roles --- */

static struct progress *find_peer(struct raft *r, raft_node node)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node == node) {
            return &r->peers[i];
        }
    }
    return NULL;
}

static unsigned quorum(const struct raft *r)
{
    return r->peer_count / 2 + 1;
}

static void reset_timeout(struct raft *r)
{
    r->election_elapsed = 0;
    r->timeout = RAFT_ELECTION_TICKS + (uint32_t)random_below(&r->random, RAFT_ELECTION_TICKS);
}

static void become_follower(struct raft *r, raft_term term, raft_node leader)
{
    CHECK(term >= r->term);
    if (term > r->term) {
        r->term = term;
        r->vote = 0;
        r->dirty_hard = true;
    }
    r->role = FOLLOWER;
    r->leader = leader;
    r->quiesced = false;
    reset_timeout(r);
}

static void start_votes(struct raft *r)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        r->peers[i].voted = r->peers[i].refused = false;
    }
    r->leader = 0;
    r->quiesced = false;
    reset_timeout(r);
}

/* §5.2. All requests wait for the disk, because they carry a term and imply our vote. */
static void campaign(struct raft *r, bool forced)
{
    r->role = CANDIDATE;
    r->term++;
    r->vote = r->self;
    r->dirty_hard = true;
    start_votes(r);
    uint64_t token = claim_token(r);
    for (unsigned i = 0; i < r->peer_count; i++) {
        raft_node to = r->peers[i].node;
        struct raft_message *m = emit(r, to == r->self ? RAFT_VOTE_REPLY : RAFT_VOTE, to, token);
        m->index = r->last;
        m->index_term = raft_term_at(r, r->last);
        m->forced = forced;
    }
}

/* Thesis §9.6: ask first, so that a node which was cut off does not raise everybody's term. */
static void precampaign(struct raft *r)
{
    if (r->peer_count == 1) {
        campaign(r, false);
        return;
    }
    r->role = PRECANDIDATE;
    start_votes(r);
    find_peer(r, r->self)->voted = true;
    find_peer(r, r->self)->vote_unproven = r->unproven;
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self) {
            struct raft_message *m = emit(r, RAFT_PREVOTE, r->peers[i].node, 0);
            m->term = r->term + 1;
            m->index = r->last;
            m->index_term = raft_term_at(r, r->last);
        }
    }
}

static void send_append(struct raft *r, struct progress *p, bool heartbeat);

static void broadcast(struct raft *r, bool heartbeat)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self) {
            send_append(r, &r->peers[i], heartbeat);
        }
    }
}

static void become_proven(struct raft *r)
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
        become_proven(r);
    }
    r->role = LEADER;
    r->leader = r->self;
    r->quiesced = false;
    r->heartbeat_elapsed = r->election_elapsed = r->idle_ticks = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        p->match = 0;
        p->next = r->last + 1;
        p->flow = PROBE;
        p->probe_sent = false;
        p->active = true; /* a full timeout before the quorum is first checked */
        p->silent_ticks = 0;
        p->inflight_count = 0;
        p->proven = false; /* until it says so */
        p->granted = unanimous && p->vote_unproven;
        p->prove_at = 0;
    }
    append(r, (struct raft_entry){r->last + 1, r->term, RAFT_ENTRY_NOOP, NULL}); /* §8 */
    r->term_start = r->last;
    broadcast(r, false);
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
    struct progress *p = find_peer(r, from);
    if (p == NULL) {
        return;
    }
    *(granted ? &p->voted : &p->refused) = true;
    p->vote_unproven = unproven && !BUG(BUG_COUNTS_UNPROVEN_VOTES);
    p->life = unproven ? life : 0;
    bool unanimous = count_votes(r, false) == r->peer_count;
    if (unanimous || (!r->unproven && count_proven_votes(r) >= quorum(r))) { /* invariant (6) */
        if (r->role == PRECANDIDATE) {
            campaign(r, false);
        } else {
            become_leader(r, unanimous);
        }
    } else if (count_votes(r, true) >= (r->unproven ? 1 : quorum(r))) {
        become_follower(r, r->term, 0);
    }
}

/* Our own vote counts once it is on disk, like everybody else's. */
static void handle_own_vote(struct raft *r, const struct raft_message *m)
{
    if (m->type == RAFT_VOTE_REPLY && r->role == CANDIDATE && m->term == r->term) {
        count_vote(r, r->self, true, m->unproven, m->life);
    }
}

/* --- leader: sending --- */

/* The records that were kept, as they are now, then the state as it is when the last of them has
 * been sent: what the state refers to is always among them, even when limits removed records
 * meanwhile. */
static void send_snapshot(struct raft *r, struct progress *p)
{
    struct raft_message *m = emit(r, RAFT_SNAPSHOT, p->node, 0);
    m->commit = p->snapshot_attempt;
    m->first = !p->snapshot_begun;
    p->snapshot_begun = true;
    uint32_t cap = 0;
    size_t bytes = 0;
    enum err err = OK;
    while (bytes < RAFT_SNAPSHOT_BYTES) {
        struct raft_entry e;
        err = r->storage->read_kept(r->arg, p->snapshot_next, r->applied, &e);
        if (err != OK) {
            break;
        }
        VEC_RESERVE(m->entries, cap, m->entry_count);
        m->entries[m->entry_count++] = e;
        bytes += entry_bytes(&e);
        p->snapshot_next = e.index + 1;
    }
    m->index = r->applied;
    if (err == ERR_NOT_FOUND && m->entry_count == 0) {
        err = r->storage->state(r->arg, &m->index, &m->state);
        CHECK(err != OK || m->index == r->applied);
        m->last = true;
        m->runs = mem_alloc((r->run_count + 1) * sizeof *m->runs);
        for (uint32_t i = 0; i < r->run_count && r->runs[i].first <= m->index; i++) {
            m->runs[m->run_count++] = r->runs[i];
        }
    }
    m->index_term = raft_term_at(r, m->index);
    if (err != OK && err != ERR_NOT_FOUND) {
        /* Damaged or unreadable here: a hole must never be sent on (reliability rule 5). */
        p->flow = PROBE;
        raft_message_deinit(m);
        *m = (struct raft_message){
            .type = RAFT_ALIVE, .group = r->group, .from = r->self, .to = p->node, .term = r->term};
    }
    p->snapshot_wait = 0;
}

/* The follower lacks entries that we have only as state: begin at what it is known to have. */
static void begin_snapshot(struct raft *r, struct progress *p)
{
    p->flow = SNAPSHOT;
    p->snapshot_attempt++;
    p->snapshot_next = BUG(BUG_SNAPSHOT_WITHOUT_RECORDS) ? r->last + 1 : p->match + 1;
    p->snapshot_begun = false;
    send_snapshot(r, p);
}

static void send_append(struct raft *r, struct progress *p, bool heartbeat)
{
    if (p->flow == SNAPSHOT) {
        if (heartbeat && ++p->snapshot_wait > RAFT_ELECTION_TICKS * 10) {
            p->flow = PROBE; /* lost somewhere: start over from what it has */
            p->probe_sent = false;
        }
        if (heartbeat) { /* it must know that there is a leader */
            struct raft_message *m = emit(r, RAFT_APPEND, p->node, 0);
            m->index = p->match;
            m->index_term = raft_term_at(r, p->match);
            m->commit = p->match < r->commit ? p->match : r->commit;
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
    struct raft_message *m = emit(r, RAFT_APPEND, p->node, 0);
    m->index = p->next - 1;
    m->index_term = raft_term_at(r, p->next - 1);
    m->commit = r->commit;
    uint32_t cap = 0;
    size_t bytes = 0;
    raft_index at = p->next;
    while (has_entries && at <= r->last && m->entry_count < RAFT_APPEND_ENTRIES &&
           bytes < RAFT_APPEND_BYTES) {
        struct raft_entry e;
        if (!read_entry(r, at, &e)) {
            break;
        }
        VEC_RESERVE(m->entries, cap, m->entry_count);
        m->entries[m->entry_count++] = e;
        bytes += entry_bytes(&e);
        at++;
    }
    if (p->flow == PROBE) {
        p->probe_sent = true;
    } else if (m->entry_count > 0) {
        p->next = at;
        p->inflight[(p->inflight_at + p->inflight_count++) % RAFT_INFLIGHT_MAX] = at - 1;
    }
}

/* As much as flow control allows. */
static void send_all(struct raft *r, struct progress *p)
{
    while (p->flow == REPLICATE && p->next <= r->last && p->inflight_count < RAFT_INFLIGHT_MAX) {
        raft_index before = p->next;
        send_append(r, p, false);
        if (p->next == before) {
            return;
        }
    }
    if (p->flow == PROBE && !p->probe_sent) {
        send_append(r, p, false);
    }
}

/* --- leader: committing --- */

static int descending(const void *a, const void *b)
{
    raft_index x = *(const raft_index *)a;
    raft_index y = *(const raft_index *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void maybe_commit(struct raft *r)
{
    raft_index matches[RAFT_VOTERS_MAX];
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        bool counts = p->node == r->self ? !r->unproven : p->proven; /* invariant (6) */
        raft_index own = BUG(BUG_COUNTS_UNSYNCED_SELF) ? r->last : r->persisted;
        matches[i] = !counts ? 0 : p->node == r->self ? own : p->match;
    }
    qsort(matches, r->peer_count, sizeof *matches, descending);
    raft_index candidate = matches[quorum(r) - 1];
    bool of_this_term = raft_term_at(r, candidate) == r->term || BUG(BUG_COMMITS_OLD_TERMS);
    if (candidate > r->commit && of_this_term) { /* invariant (4) */
        r->commit = candidate;
        r->idle_ticks = 0;
    }
}

/* --- input: messages --- */

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

static void on_prevote(struct raft *r, const struct raft_message *m)
{
    bool grant = m->term > r->term && !has_live_leader(r) && log_is_current(r, m);
    struct raft_message *reply = emit(r, RAFT_PREVOTE_REPLY, m->from, 0);
    reply->term = grant ? m->term : r->term;
    reply->reject = !grant;
}

static void on_vote(struct raft *r, const struct raft_message *m)
{
    if (m->term > r->term) {
        if (has_live_leader(r) && !m->forced) {
            return;
        }
        become_follower(r, m->term, 0);
    }
    bool grant = m->term == r->term && r->role == FOLLOWER &&
                 (r->vote == 0 || r->vote == m->from) && r->leader == 0 && log_is_current(r, m);
    if (BUG(BUG_VOTES_TWICE)) {
        grant = m->term == r->term && log_is_current(r, m);
    }
    if (grant && r->vote != m->from) {
        r->vote = m->from;
        r->dirty_hard = true;
        reset_timeout(r);
    }
    struct raft_message *reply = emit(r, RAFT_VOTE_REPLY, m->from, claim_token(r));
    reply->reject = !grant;
}

static void follow(struct raft *r, const struct raft_message *m)
{
    if (m->term > r->term || r->role != FOLLOWER || r->leader != m->from) {
        CHECK(!(m->term == r->term && r->role == LEADER)); /* one leader per term, §5.2 */
        become_follower(r, m->term, m->from);
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

static void reply_append(struct raft *r, raft_node to, bool reject, raft_index index)
{
    uint64_t token = reject || BUG(BUG_ACKS_BEFORE_DISK) ? 0 : claim_token(r);
    struct raft_message *m = emit(r, RAFT_APPEND_REPLY, to, token);
    m->reject = reject;
    m->index = index;
    m->index_term = raft_term_at(r, index);
    m->commit = r->commit;
}

static void on_append(struct raft *r, const struct raft_message *m)
{
    follow(r, m);
    if (m->entry_count == 0) {
        (void)emit(r, RAFT_ALIVE, m->from, 0);
    }
    bool same_term = raft_term_at(r, m->index) == m->index_term || BUG(BUG_IGNORES_PREVIOUS_TERM);
    if (m->index > r->last || !same_term) {
        /* Hint: our last index that could match, with its term (§5.3, fast back-up). */
        raft_index hint = m->index > r->last ? r->last : m->index - 1;
        while (hint > r->commit && raft_term_at(r, hint) > m->index_term) {
            hint--;
        }
        reply_append(r, m->from, true, hint);
        return;
    }
    raft_index match = m->index;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        CHECK(e->index == match + 1);
        r->receiving_from = 0;
        if (e->index <= r->last) {
            if (raft_term_at(r, e->index) == e->term) {
                match = e->index;
                continue;
            }
            truncate(r, e->index);
            if (BUG(BUG_TRUNCATES_IN_MEMORY)) {
                r->dirty_truncate = 0;
            }
        }
        append(r, entry_copy(e));
        match = e->index;
    }
    raft_index known = BUG(BUG_COMMITS_UNMATCHED) ? r->last : match;
    set_commit(r, m->commit < known ? m->commit : known);
    reply_append(r, m->from, false, match);
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
        p->flow = PROBE;
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
    if (p->granted || caught_up) {
        struct raft_message *m = emit(r, RAFT_PROVEN, p->node, 0);
        m->life = p->life;
        m->index = p->match;
        m->index_term = raft_term_at(r, p->match);
    } else if (p->prove_at == 0) {
        append(r, (struct raft_entry){r->last + 1, r->term, RAFT_ENTRY_NOOP, NULL});
        p->prove_at = r->last;
        for (unsigned i = 0; i < r->peer_count; i++) {
            if (r->peers[i].node != r->self) {
                send_all(r, &r->peers[i]);
            }
        }
    }
}

static void on_append_reply(struct raft *r, const struct raft_message *m)
{
    struct progress *p = find_peer(r, m->from);
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
        while (next > 1 && next - 1 <= r->last && raft_term_at(r, next - 1) > m->index_term) {
            next--;
        }
        p->next = next > r->last + 1 ? r->last + 1 : next;
        p->flow = PROBE;
        p->probe_sent = false;
        p->inflight_count = 0;
        send_append(r, p, false);
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
            begin_snapshot(r, p);
        } else {
            p->flow = REPLICATE;
        }
    } else if (p->flow == REPLICATE && p->next <= p->match) {
        p->next = p->match + 1;
    }
    maybe_commit(r);
    maybe_prove(r, p);
    send_all(r, p);
}

static void reply_snapshot(struct raft *r, const struct raft_message *to, raft_index index,
                           bool installed, uint64_t token)
{
    struct raft_message *m = emit(r, RAFT_SNAPSHOT_REPLY, to->from, token);
    m->index = index;
    m->last = installed;
    m->commit = to->commit;
}

/* Kept records come first, then the state that makes sense of them (thesis §5). */
static void on_snapshot(struct raft *r, const struct raft_message *m)
{
    follow(r, m);
    if (!BUG(BUG_SNAPSHOT_CUTS_ACKED) && m->index <= r->last &&
        (m->index <= r->commit || raft_term_at(r, m->index) == m->index_term)) {
        /* Our log holds that point, and so all before it (§5.3): nothing has to be replaced, and
         * what follows it, which we may have acknowledged, must not be (§7). */
        set_commit(r, m->index);
        reply_snapshot(r, m, m->index, true, claim_token(r));
        return;
    }
    if (m->first) {
        r->receiving_from = m->from;
        r->receiving_attempt = m->commit;
        r->receiving_term = m->term;
    } else if (!BUG(BUG_SNAPSHOTS_MIXED) &&
               (r->receiving_from != m->from || r->receiving_attempt != m->commit ||
                r->receiving_term != m->term)) {
        reply_snapshot(r, m, 0, false, 0);
        r->out[r->out_count - 1].message.reject = true;
        return;
    }
    if (!m->last) {
        uint32_t room = r->record_count + m->entry_count;
        r->records = mem_realloc(r->records, (room + 1) * sizeof *r->records);
        for (uint32_t i = 0; i < m->entry_count; i++) {
            const struct raft_entry *e = &m->entries[i];
            if (e->index <= r->last && raft_term_at(r, e->index) == e->term) {
                continue; /* the same entry (§5.3): it stays part of our log */
            }
            if (e->index <= r->last) {
                truncate(r, e->index); /* a committed entry proves the rest of ours uncommitted */
            }
            r->records[r->record_count++] = entry_copy(e);
        }
        reply_snapshot(r, m, 0, false, claim_token(r));
        return;
    }
    r->receiving_from = 0;
    /* Our log ends at the snapshot: all of it is committed or superseded. */
    for (uint32_t i = r->window_from; i < r->window_count; i++) {
        blob_release(r->window[i].data);
    }
    r->window_from = r->window_count = 0;
    r->window_bytes = 0;
    r->run_count = 0;
    for (uint32_t i = 0; i < m->run_count; i++) {
        add_run(r, m->runs[i].first, m->runs[i].term);
    }
    r->last = r->commit = r->applied = r->persisted = m->index;
    r->applied -= BUG(BUG_INSTALL_OFF_BY_ONE);
    r->first = m->index + 1;
    r->dirty_from = r->dirty_truncate = 0;
    r->requested_count = 0;
    if (r->install_ready) {
        blob_release(r->install.state);
    }
    r->install = (struct raft_install){m->index, blob_retain(m->state), ++r->issued_seq};
    r->install_ready = true;
    reply_snapshot(r, m, m->index, true, r->issued_seq);
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

static void on_snapshot_reply(struct raft *r, const struct raft_message *m)
{
    struct progress *p = find_peer(r, m->from);
    if (r->role != LEADER || p == NULL || p->flow != SNAPSHOT || m->commit != p->snapshot_attempt) {
        return;
    }
    note_proof(p, m);
    if (p->flow != SNAPSHOT) { /* to another life: it begins anew */
        p->next = r->last + 1;
        p->probe_sent = false;
        send_all(r, p);
        return;
    }
    if (!m->last && !m->reject) {
        send_snapshot(r, p);
        return;
    }
    if (m->last && m->index > p->match && m->index <= r->last) {
        p->match = m->index;
    }
    p->next = p->match + 1;
    p->flow = PROBE;
    p->probe_sent = false;
    maybe_commit(r);
    maybe_prove(r, p);
    send_all(r, p);
}

static void on_quiesce(struct raft *r, const struct raft_message *m)
{
    follow(r, m);
    if (m->index == r->last && raft_term_at(r, r->last) == m->index_term) {
        set_commit(r, m->commit < r->last ? m->commit : r->last);
        r->quiesced = r->commit == r->last;
    }
}

static void on_timeout_now(struct raft *r, const struct raft_message *m)
{
    if (m->term == r->term && r->role == FOLLOWER && !r->unproven) {
        campaign(r, true);
    }
}

static void on_prevote_reply(struct raft *r, const struct raft_message *m)
{
    if (m->reject && m->term > r->term) {
        become_follower(r, m->term, 0);
    } else if (r->role == PRECANDIDATE && (m->reject || m->term == r->term + 1)) {
        count_vote(r, m->from, !m->reject, m->unproven, m->life);
    }
}

/* From our leader, to this very life of ours. */
static void on_proven(struct raft *r, const struct raft_message *m)
{
    bool matches = m->index <= r->last && raft_term_at(r, m->index) == m->index_term;
    if (r->role == FOLLOWER && r->leader == m->from && r->unproven &&
        (m->life == r->life || BUG(BUG_PROOF_OF_ANOTHER_LIFE)) && matches) {
        become_proven(r);
        reply_append(r, m->from, false, m->index);
    }
}

void raft_step(struct raft *r, const struct raft_message *m)
{
    struct progress *p = find_peer(r, m->from);
    if (r->poisoned || p == NULL || m->group != r->group || m->from == r->self) {
        return;
    }
    p->silent_ticks = 0;
    if (m->type == RAFT_PREVOTE) {
        raft_wake(r);
        on_prevote(r, m);
        return;
    }
    if (m->type == RAFT_PREVOTE_REPLY) {
        on_prevote_reply(r, m);
        return;
    }
    if (m->type == RAFT_VOTE) {
        raft_wake(r);
        on_vote(r, m);
        return;
    }
    if (m->term < r->term) {
        /* An old leader learns of the new term from any answer (§5.1). */
        if (m->type == RAFT_APPEND || m->type == RAFT_SNAPSHOT || m->type == RAFT_QUIESCE) {
            (void)emit(r, RAFT_ALIVE, m->from, claim_token(r));
        }
        return;
    }
    bool from_leader =
        m->type == RAFT_APPEND || m->type == RAFT_SNAPSHOT || m->type == RAFT_QUIESCE;
    if (m->term > r->term) {
        become_follower(r, m->term, from_leader ? m->from : 0);
    }
    p->active = true;
    switch (m->type) {
    case RAFT_VOTE_REPLY:
        if (r->role == CANDIDATE) {
            count_vote(r, m->from, !m->reject, m->unproven, m->life);
        }
        return;
    case RAFT_APPEND:
        on_append(r, m);
        return;
    case RAFT_APPEND_REPLY:
        on_append_reply(r, m);
        return;
    case RAFT_SNAPSHOT:
        on_snapshot(r, m);
        return;
    case RAFT_SNAPSHOT_REPLY:
        on_snapshot_reply(r, m);
        return;
    case RAFT_QUIESCE:
        on_quiesce(r, m);
        return;
    case RAFT_TIMEOUT_NOW:
        on_timeout_now(r, m);
        return;
    case RAFT_PROVEN:
        on_proven(r, m);
        return;
    default:
        return; /* RAFT_ALIVE: having been heard is all */
    }
}

/* --- input: time, proposals, transport --- */

/* Everybody reachable has everything and knows it: stop talking. Down peers are caught up when the
 * transport reports them, which wakes the group. */
static void maybe_quiesce(struct raft *r)
{
    bool done = r->commit == r->last && r->applied == r->last && r->persisted == r->last &&
                r->idle_ticks >= RAFT_QUIESCE_TICKS;
    for (unsigned i = 0; i < r->peer_count && done; i++) {
        const struct progress *p = &r->peers[i];
        done = p->node == r->self || !p->up || (p->proven && p->match == r->last);
    }
    if (!done) {
        return;
    }
    r->quiesced = true;
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self && r->peers[i].up) {
            struct raft_message *m = emit(r, RAFT_QUIESCE, r->peers[i].node, 0);
            m->index = r->last;
            m->index_term = raft_term_at(r, r->last);
            m->commit = r->commit;
        }
    }
}

/* Thesis §6.2: a leader that does not hear a majority steps down, so that its clients look for the
 * other one. */
static void check_quorum(struct raft *r)
{
    unsigned heard = 1;
    for (unsigned i = 0; i < r->peer_count; i++) {
        struct progress *p = &r->peers[i];
        heard += p->node != r->self && p->active;
        p->active = false;
    }
    if (heard < quorum(r)) {
        become_follower(r, r->term, 0);
    }
}

void raft_tick(struct raft *r)
{
    if (r->poisoned || r->quiesced) {
        return;
    }
    r->election_elapsed++;
    if (r->role != LEADER) {
        if (r->election_elapsed >= r->timeout) {
            precampaign(r);
        }
        return;
    }
    r->idle_ticks++;
    for (unsigned i = 0; i < r->peer_count; i++) {
        r->peers[i].silent_ticks++;
    }
    if (r->election_elapsed >= RAFT_ELECTION_TICKS) {
        r->election_elapsed = 0;
        check_quorum(r);
        if (r->role != LEADER) {
            return;
        }
    }
    if (++r->heartbeat_elapsed >= RAFT_HEARTBEAT_TICKS) {
        r->heartbeat_elapsed = 0;
        maybe_quiesce(r);
        if (!r->quiesced) {
            broadcast(r, true);
        }
    }
}

void raft_wake(struct raft *r)
{
    if (r->quiesced) {
        r->quiesced = false;
        r->idle_ticks = 0;
        reset_timeout(r);
        if (r->role == LEADER) {
            for (unsigned i = 0; i < r->peer_count; i++) {
                r->peers[i].active = true;
            }
            r->heartbeat_elapsed = RAFT_HEARTBEAT_TICKS; /* speak at the next tick */
        }
    }
}

enum err raft_propose(struct raft *r, struct blob *data, raft_index *index)
{
    if (r->role != LEADER || r->poisoned) {
        return ERR_NOT_LEADER;
    }
    raft_wake(r);
    r->idle_ticks = 0;
    append(r, (struct raft_entry){r->last + 1, r->term, RAFT_ENTRY_DATA, data});
    *index = r->last;
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node != r->self) {
            send_all(r, &r->peers[i]);
        }
    }
    return OK;
}

void raft_peer_up(struct raft *r, raft_node peer, bool up)
{
    struct progress *p = find_peer(r, peer);
    if (p == NULL || peer == r->self) {
        return;
    }
    p->up = up;
    if (up) { /* what was under way on the old connection is lost; and who knows what happened */
        p->inflight_count = 0;
        p->proven = false;
        if (r->role == LEADER) {
            p->flow = PROBE;
            p->probe_sent = false;
            p->next = p->match + 1;
            raft_wake(r);
            send_append(r, p, true);
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

void raft_transfer(struct raft *r, raft_node to)
{
    if (r->role != LEADER) {
        return;
    }
    const struct progress *best = NULL;
    for (unsigned i = 0; i < r->peer_count; i++) {
        const struct progress *p = &r->peers[i];
        bool eligible = p->node != r->self && p->up && p->proven && (to == 0 || p->node == to);
        if (eligible && (best == NULL || p->match > best->match)) {
            best = p;
        }
    }
    if (best != NULL && best->match == r->last) {
        (void)emit(r, RAFT_TIMEOUT_NOW, best->node, 0);
    }
}

void raft_compacted(struct raft *r, raft_index first)
{
    if (first > r->first) {
        CHECK(first <= r->applied + 1);
        r->first = first;
    }
}

const struct raft_entry *raft_next_committed(struct raft *r)
{
    if (r->applied >= r->commit || r->install_ready || r->poisoned) {
        return NULL;
    }
    const struct raft_entry *e = raft_peek(r, r->applied + 1);
    CHECK(e != NULL); /* raft_trim_memory() keeps what is not applied */
    r->applied++;
    return e;
}

/* --- life and questions --- */

struct raft *raft_new(const struct raft_config *c)
{
    struct raft *r = NEW(struct raft);
    CHECK(c->voter_count >= 1 && c->voter_count <= RAFT_VOTERS_MAX);
    r->group = c->group;
    r->self = c->self;
    r->storage = c->storage;
    r->arg = c->arg;
    random_seed(&r->random, c->seed);
    r->term = c->term;
    r->vote = BUG(BUG_FORGETS_VOTE) ? 0 : c->vote;
    for (uint32_t i = 0; i < c->run_count; i++) {
        add_run(r, c->runs[i].first, c->runs[i].term);
    }
    r->last = r->applied = r->commit = c->applied;
    r->first = c->first == 0 ? 1 : c->first;
    CHECK(r->first <= r->applied + 1);
    for (uint32_t i = 0; i < c->entry_count; i++) {
        append(r, entry_copy(&c->entries[i]));
    }
    CHECK(r->term >= raft_term_at(r, r->last));
    r->persisted = r->last;
    r->dirty_from = 0;
    r->peer_count = c->voter_count;
    bool member = false;
    for (unsigned i = 0; i < c->voter_count; i++) {
        r->peers[i].node = c->voters[i];
        member = member || c->voters[i] == c->self;
    }
    CHECK(member);
    r->proven_since = c->proven_since;
    r->unproven = c->unproven && !BUG(BUG_REJOINS_AT_ONCE);
    do {
        r->life = random_next(&r->random);
    } while (r->life == 0);
    r->dirty_hard = r->unproven; /* so that a restart in between does not make it forget that */
    reset_timeout(r);
    if (r->peer_count == 1) {
        r->timeout = 0; /* nobody to wait for */
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
    entries_free(r->records, r->record_count);
    entries_free(r->lent_records, r->lent_count);
    if (r->install_ready) {
        blob_release(r->install.state);
    }
    free(r->requested);
    free(r);
}

bool raft_is_leader(const struct raft *r)
{
    return r->role == LEADER;
}
bool raft_is_ready_leader(const struct raft *r)
{
    return r->role == LEADER && r->applied >= r->term_start;
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

unsigned raft_voters(const struct raft *r, raft_node voters[RAFT_VOTERS_MAX])
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        voters[i] = r->peers[i].node;
    }
    return r->peer_count;
}

struct raft_peer_state raft_peer_state(const struct raft *r, raft_node peer)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        const struct progress *p = &r->peers[i];
        if (p->node == peer) {
            return (struct raft_peer_state){p->match, p->silent_ticks,
                                            r->role == LEADER && p->up && p->match >= r->commit};
        }
    }
    return (struct raft_peer_state){0};
}
