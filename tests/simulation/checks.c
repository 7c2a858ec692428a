/* What has to be true at the end. */
#include "simulation/simulator.h"

/* Of the latest term; NULL: nobody leads. */
static struct replica *leader_of(unsigned g)
{
    struct replica *found = NULL;
    for (unsigned i = 0; i < sim->plan.nodes; i++) {
        struct replica *r = &sim->nodes[i].replicas[g];
        const struct raft *raft = raft_group_raft(r->group);
        if (raft_is_ready_leader(raft) &&
            (found == NULL || raft_term_now(raft) > raft_term_now(raft_group_raft(found->group)))) {
            found = r;
        }
    }
    return found;
}

bool converged(void)
{
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        const struct replica *leader = leader_of(g);
        if (leader == NULL) {
            return false;
        }
        raft_index applied = raft_applied(raft_group_raft(leader->group));
        const struct raft_members *members = raft_members(raft_group_raft(leader->group));
        for (unsigned i = 0; i < members->count; i++) {
            const struct node *n = &sim->nodes[node_number(members->list[i].node)];
            const struct raft *raft = raft_group_raft(n->replicas[g].group);
            if (next_damage(&n->replicas[g], 0) != UINT64_MAX || raft_is_unproven(raft) ||
                raft_applied(raft) != applied || raft_commit(raft) != raft_last(raft)) {
                return false;
            }
        }
    }
    return true;
}

void print_groups(void)
{
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        for (unsigned i = 0; i < sim->plan.nodes; i++) {
            const struct raft *raft = raft_group_raft(sim->nodes[i].replicas[g].group);
            const struct raft_members *m = raft_members(raft);
            fprintf(stderr,
                    "group %u node %u: %s%s term %llu, leader %llu, log ..%llu, committed %llu, "
                    "applied %llu, members since %llu:",
                    g, i, raft_is_leader(raft) ? "leads, " : "",
                    raft_is_unproven(raft) ? "unproven, " : "",
                    (unsigned long long)raft_term_now(raft), (unsigned long long)raft_leader(raft),
                    (unsigned long long)raft_last(raft), (unsigned long long)raft_commit(raft),
                    (unsigned long long)raft_applied(raft), (unsigned long long)m->index);
            for (unsigned k = 0; k < m->count; k++) {
                fprintf(stderr, " %u%s", node_number(m->list[k].node),
                        m->list[k].learner ? " (learns)" : "");
            }
            fprintf(stderr, "\n");
        }
    }
}

void check_end(void)
{
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        struct buffer first = {0};
        const struct replica *leader = leader_of(g);
        const struct raft_members *members = raft_members(raft_group_raft(leader->group));
        stream_encode_sorted(leader->stream, &first);
        for (unsigned i = 0; i < sim->plan.nodes; i++) {
            struct buffer state = {0};
            if (raft_members_find(members, sim->nodes[i].id) == members->count) {
                continue;
            }
            stream_encode_sorted(sim->nodes[i].replicas[g].stream, &state);
            if (!bytes_eq(buffer_bytes(&first), buffer_bytes(&state))) {
                fail("replicas have different states");
            }
            buffer_deinit(&state);
        }
        buffer_deinit(&first);
        struct stream *s = leader->stream;
        for (uint32_t k = 0; k < sim->acked_count[g]; k++) {
            const struct acked *a = &sim->acked[g][k];
            if (a->seq < s->totals.first_seq) {
                continue; /* limits and expiry took it */
            }
            for (unsigned i = 0; i < sim->plan.nodes; i++) {
                struct stored_message m;
                char body[64];
                if (raft_members_find(members, sim->nodes[i].id) == members->count) {
                    continue;
                }
                snprintf(body, sizeof body, "value %llu", (unsigned long long)a->value);
                enum err err = stream_read(sim->nodes[i].replicas[g].stream, a->seq, &m);
                if (err == ERR_NOT_FOUND && map_get_u64(&sim->deleted[g], a->seq) != NULL) {
                    continue;
                }
                if (err != OK || !bytes_is(m.body, body)) {
                    fprintf(stderr,
                            "node %u group %u seq %llu of %llu..%llu: %s, \"%.*s\" not %s\n", i, g,
                            (unsigned long long)a->seq, (unsigned long long)s->totals.first_seq,
                            (unsigned long long)s->totals.last_seq, err_name(err),
                            err == OK ? (int)m.body.len : 0, err == OK ? m.body.ptr : "", body);
                    fail("an acknowledged message is lost or replaced");
                }
            }
        }
    }
}
