/* Membership (thesis §4): the latest one in the log counts; a change adds or takes one voter. */
#include "raft/raft_internal.h"

void raft_members_encode(const struct raft_members *m, struct buffer *out)
{
    buffer_put_u8(out, (uint8_t)m->count);
    for (unsigned i = 0; i < m->count; i++) {
        buffer_put_varint(out, m->list[i].node);
        buffer_put_u8(out, m->list[i].learner);
    }
}

static unsigned count_voters(const struct raft_members *m)
{
    unsigned count = 0;
    for (unsigned i = 0; i < m->count; i++) {
        count += !m->list[i].learner;
    }
    return count;
}

unsigned raft_members_find(const struct raft_members *m, raft_node node)
{
    unsigned at = 0;
    while (at < m->count && m->list[at].node != node) {
        at++;
    }
    return at;
}

static const struct raft_member *find(const struct raft_members *m, raft_node node)
{
    unsigned at = raft_members_find(m, node);
    return at == m->count ? NULL : &m->list[at];
}

/* Nobody twice, and somebody to vote. */
static bool are_sound(const struct raft_members *m)
{
    unsigned voters = count_voters(m);
    for (unsigned i = 0; i < m->count; i++) {
        if (m->list[i].node == 0 || find(m, m->list[i].node) != &m->list[i]) {
            return false;
        }
    }
    return voters >= 1 && voters <= RAFT_VOTERS_MAX;
}

bool raft_members_decode(struct reader *reader, struct raft_members *out)
{
    *out = (struct raft_members){.count = reader_u8(reader)};
    if (reader->bad || out->count > RAFT_MEMBERS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < out->count; i++) {
        out->list[i].node = reader_varint(reader);
        uint8_t learner = reader_u8(reader);
        reader->bad = reader->bad || learner > 1;
        out->list[i].learner = learner == 1;
    }
    return !reader->bad && are_sound(out);
}

/* --- who is in --- */

struct progress *raft_find_peer(struct raft *r, raft_node node)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node == node) {
            return &r->peers[i];
        }
    }
    return NULL;
}

unsigned raft_voter_count(const struct raft *r)
{
    unsigned count = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        count += !r->peers[i].learner;
    }
    return count;
}

unsigned raft_quorum(const struct raft *r)
{
    return raft_voter_count(r) / 2 + 1;
}

bool raft_is_voter(const struct raft *r)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].node == r->self) {
            return !r->peers[i].learner;
        }
    }
    return false;
}

bool raft_may_campaign(const struct raft *r)
{
    if (r->stalled) {
        return false;
    }
    if (raft_is_voter(r)) {
        return true;
    }
    const struct raft_members *now = raft_members(r);
    if (now->index <= r->commit || now == r->memberships || BUG(BUG_REMOVED_STAYS_SILENT)) {
        return false;
    }
    const struct raft_member *was = find(now - 1, r->self);
    return was != NULL && !was->learner;
}

unsigned raft_voters(const struct raft *r, raft_node voters[RAFT_VOTERS_MAX])
{
    unsigned count = 0;
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (!r->peers[i].learner) {
            voters[count++] = r->peers[i].node;
        }
    }
    return count;
}

const struct raft_members *raft_members(const struct raft *r)
{
    if (BUG(BUG_MEMBERS_ON_COMMIT)) {
        return raft_members_at(r, r->commit);
    }
    return &r->memberships[r->membership_count - 1];
}

const struct raft_members *raft_members_at(const struct raft *r, raft_index index)
{
    uint32_t i = r->membership_count - 1;
    while (i > 0 && r->memberships[i].index > index) {
        i--;
    }
    return &r->memberships[i];
}

/* --- changes --- */

/* The peers become those of the latest membership. What is known of those who stay is kept; who is
 * new is probed from the end. */
static void follow_members(struct raft *r)
{
    const struct raft_members *now = raft_members(r);
    struct progress peers[RAFT_MEMBERS_MAX];
    for (unsigned i = 0; i < now->count; i++) {
        const struct progress *known = raft_find_peer(r, now->list[i].node);
        peers[i] =
            known != NULL
                ? *known
                : (struct progress){.node = now->list[i].node, .next = r->last + 1, .active = true};
        peers[i].learner = now->list[i].learner;
    }
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (find(now, r->peers[i].node) == NULL) {
            raft_progress_deinit(&r->peers[i]);
        }
    }
    r->peer_count = now->count;
    r->peers = mem_realloc(r->peers, now->count * sizeof *peers);
    memcpy(r->peers, peers, now->count * sizeof *peers);
}

void raft_members_reset(struct raft *r, const struct raft_members *members)
{
    CHECK(are_sound(members));
    r->memberships = mem_realloc(r->memberships, sizeof *r->memberships); /* seldom more */
    r->memberships[0] = *members;
    r->membership_count = r->membership_cap = 1;
    follow_members(r);
}

void raft_members_appended(struct raft *r, const struct raft_entry *e)
{
    struct reader reader = reader_make(blob_bytes(e->data));
    VEC_RESERVE(r->memberships, r->membership_cap, r->membership_count);
    struct raft_members *m = &r->memberships[r->membership_count];
    CHECK(raft_members_decode(&reader, m)); /* checked when it came in */
    m->index = e->index;
    r->membership_count++;
    follow_members(r);
}

void raft_members_committed(struct raft *r)
{
    if (BUG(BUG_MEMBERS_ON_COMMIT)) {
        follow_members(r);
    }
}

void raft_members_truncated(struct raft *r, raft_index from)
{
    uint32_t before = r->membership_count;
    while (r->memberships[r->membership_count - 1].index >= from && !BUG(BUG_KEEPS_CUT_MEMBERS)) {
        r->membership_count--;
        CHECK(r->membership_count > 0); /* the first is committed */
    }
    if (r->membership_count < before) {
        follow_members(r);
    }
}

void raft_members_compact(struct raft *r, raft_index index)
{
    uint32_t old = (uint32_t)(raft_members_at(r, index) - r->memberships);
    r->membership_count -= old;
    memmove(r->memberships, r->memberships + old, r->membership_count * sizeof *r->memberships);
}

void raft_members_force(struct raft *r, const raft_node *survivors, unsigned count)
{
    const struct raft_members *was = raft_members(r);
    struct raft_members now = {.index = was->index < r->applied ? was->index : r->applied};
    for (unsigned i = 0; i < was->count; i++) {
        for (unsigned k = 0; k < count; k++) {
            if (was->list[i].node == survivors[k]) {
                now.list[now.count++] = was->list[i];
            }
        }
    }
    if (now.count < was->count && are_sound(&now)) {
        raft_members_reset(r, &now);
        r->forced = true;
    }
}

static void append_members(struct raft *r, const struct raft_members *members)
{
    struct buffer data = {0};
    raft_members_encode(members, &data);
    raft_append_and_send(r, RAFT_ENTRY_MEMBERS, blob_copy(buffer_bytes(&data)));
    buffer_deinit(&data);
}

void raft_members_declare(struct raft *r)
{
    struct raft_members now = *raft_members(r); /* appending it moves the list */
    r->forced = false;
    append_members(r, &now);
}

static bool is_one_step(const struct raft_members *a, const struct raft_members *b)
{
    unsigned changed = 0;
    for (unsigned i = 0; i < a->count; i++) {
        const struct raft_member *now = find(b, a->list[i].node);
        changed += !a->list[i].learner && (now == NULL || now->learner);
    }
    for (unsigned i = 0; i < b->count; i++) {
        const struct raft_member *was = find(a, b->list[i].node);
        changed += !b->list[i].learner && (was == NULL || was->learner);
    }
    return changed <= 1;
}

enum err raft_change_members(struct raft *r, const struct raft_members *members, raft_index *index)
{
    if (r->role != LEADER || r->poisoned) {
        return ERR_NOT_LEADER;
    }
    bool settled = (raft_members(r)->index <= r->commit || BUG(BUG_CHANGES_AT_ONCE)) &&
                   (r->commit >= r->term_start || BUG(BUG_CHANGES_BEFORE_TERM));
    if (!settled) {
        return ERR_BUSY;
    }
    if (!are_sound(members) || !is_one_step(raft_members(r), members)) {
        return ERR_INVALID;
    }
    raft_wake(r);
    r->idle_ticks = 0;
    append_members(r, members);
    *index = r->last;
    raft_maybe_commit(r);
    return OK;
}
