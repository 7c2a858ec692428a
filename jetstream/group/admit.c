#include "jetstream/group/shard_internal.h"

/* Steps towards another membership, one at a time. */

static const struct group_candidate *candidate_of(const struct group_candidate *wanted,
                                                  unsigned count, uint64_t node)
{
    for (unsigned i = 0; i < count; i++) {
        if (wanted[i].node == node) {
            return &wanted[i];
        }
    }
    return NULL;
}

static bool is_up(const struct group *g, uint64_t node)
{
    return node == g->shard->self ||
           (g->shard->peers != NULL && peers_is_up(g->shard->peers, node));
}

/* A learner that may not vote, and that has gone, or whose place somebody else needs; the count:
 * there is none. */
static unsigned find_dispensable(const struct group *g, const struct raft_members *members,
                                 const struct group_candidate *wanted, unsigned count,
                                 bool place_needed)
{
    for (unsigned i = 0; i < members->count; i++) {
        const struct raft_member *m = &members->list[i];
        const struct group_candidate *c = candidate_of(wanted, count, m->node);
        if (m->learner && c != NULL && !c->may_vote && (place_needed || !is_up(g, m->node))) {
            return i;
        }
    }
    return members->count;
}

/* One that is up and no member; one place is left to those that may vote. NULL: there is none. */
static const struct group_candidate *find_newcomer(const struct group *g,
                                                   const struct raft_members *members,
                                                   const struct group_candidate *wanted,
                                                   unsigned count, bool may_vote)
{
    unsigned most = may_vote ? RAFT_MEMBERS_MAX : RAFT_MEMBERS_MAX - 1;
    for (unsigned i = 0; i < count; i++) {
        if (wanted[i].may_vote == may_vote && members->count < most && is_up(g, wanted[i].node) &&
            raft_members_find(members, wanted[i].node) == members->count) {
            return &wanted[i];
        }
    }
    return NULL;
}

static const char *promote(const struct group *g, struct raft_members *members,
                           const struct group_candidate *wanted, unsigned count, uint64_t *who)
{
    const struct raft *raft = raft_group_raft(g->raft_group);
    raft_node voters[RAFT_VOTERS_MAX];
    bool room = raft_voters(raft, voters) < RAFT_VOTERS_MAX;
    for (unsigned i = 0; i < members->count && room; i++) {
        struct raft_member *m = &members->list[i];
        struct raft_peer_state state = raft_peer_state(raft, m->node);
        const struct group_candidate *c = candidate_of(wanted, count, m->node);
        if (m->learner && state.current && state.proven && (c == NULL || c->may_vote)) {
            m->learner = false;
            *who = m->node;
            return "has caught up and votes";
        }
    }
    return NULL;
}

const char *group_admit(struct group *g, const struct group_candidate *wanted, unsigned count,
                        uint64_t *who)
{
    struct raft_members members = *raft_members(raft_group_raft(g->raft_group));
    const char *step = promote(g, &members, wanted, count, who);
    bool full = members.count == RAFT_MEMBERS_MAX;
    unsigned spare = find_dispensable(g, &members, wanted, count, full);
    if (step == NULL && spare < members.count) {
        *who = members.list[spare].node;
        members.list[spare] = members.list[--members.count];
        step = "does not learn any more";
    }
    for (int may_vote = 1; may_vote >= 0 && step == NULL; may_vote--) {
        const struct group_candidate *c = find_newcomer(g, &members, wanted, count, may_vote == 1);
        if (c != NULL) {
            members.list[members.count++] = (struct raft_member){c->node, true};
            *who = c->node;
            step = "joins and catches up";
        }
    }
    raft_index index;
    bool changed = step != NULL && group_is_leader(g) &&
                   raft_group_change_members(g->raft_group, &members, &index) == OK;
    shard_kick(g->shard);
    return changed ? step : NULL;
}
