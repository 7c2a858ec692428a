/* Who publishes, reads, consumes, and changes members. */
#include "simulation/simulator.h"

void publish(struct node *n, unsigned g)
{
    struct replica *r = &n->replicas[g];
    if (!r->leading) {
        return;
    }
    int64_t now = START_NS + (int64_t)sim->now_us * 1000;
    struct messages_builder b = {0};
    uint32_t count = 1 + (uint32_t)draw(5);
    struct waiting *w = NEW(struct waiting);
    w->first_value = sim->next_value;
    for (uint32_t i = 0; i < count; i++) {
        char body[64], header[96], subject[16];
        snprintf(subject, sizeof subject, "S.%u", (unsigned)(sim->next_value % 11));
        snprintf(body, sizeof body, "value %llu", (unsigned long long)sim->next_value);
        snprintf(header, sizeof header, "NATS/1.0\r\nNats-Msg-Id: %llu\r\n\r\n",
                 (unsigned long long)sim->next_value++);
        struct publish_decision d = publisher_decide(&r->publisher, bytes_of(subject),
                                                     bytes_of(header), bytes_of(body), now);
        if (d.action != PUBLISH_STORE) {
            fail("a new message was refused");
        }
        if (i == 0) {
            messages_begin(&b, d.seq, now);
            w->first_seq = d.seq;
        }
        messages_add(&b, now, bytes_of(subject), bytes_of(header), bytes_of(body));
    }
    w->count = count;
    raft_index index;
    struct blob *entry = messages_finish(&b);
    buffer_deinit(&b.data);
    if (raft_group_propose(r->group, entry, &index) != OK) {
        blob_release(entry);
        free(w);
        return;
    }
    w->term = raft_term_now(raft_group_raft(r->group));
    free(map_put_u64(&r->waiting, index, w));
}

static void propose_bytes(struct replica *r, struct buffer *b)
{
    raft_index index;
    struct blob *entry = blob_copy(buffer_bytes(b));
    if (raft_group_propose(r->group, entry, &index) != OK) {
        blob_release(entry);
    }
    buffer_deinit(b);
}

void read_all(struct replica *r)
{
    uint64_t id;
    tell_time(r->node);
    if (raft_group_read(r->group, &id) == OK) {
        (void)map_put_u64(&r->reads, id, (void *)(uintptr_t)(sim->last_acked[r->number] + 1));
    }
}

void consume(struct replica *r)
{
    int64_t now = START_NS + (int64_t)sim->now_us * 1000;
    struct buffer b = {0};
    struct consumer *c = map_get(&r->stream->consumers, BYTES_LIT("C"));
    struct stored_message m;
    unsigned what = (unsigned)draw(20);
    if (c == NULL) {
        buffer_put_u8(&b, ENTRY_CONSUMER);
        buffer_put_u64(&b, (uint64_t)now);
        buffer_put_bytes(&b, BYTES_LIT("{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}"));
    } else if (what < 10 &&
               stream_next(r->stream, c->delivered_stream_seq + 1, NULL, 0, &m) == OK) {
        buffer_put_u8(&b, ENTRY_DELIVER);
        buffer_put_bytes(&b, BYTES_LIT("C"));
        buffer_put_u64(&b, (uint64_t)now);
        buffer_put_varint(&b, 1);
        buffer_put_varint(&b, m.seq);
    } else if (what < 17 && c->ack_pending > 0) {
        buffer_put_u8(&b, ENTRY_ACKS);
        buffer_put_bytes(&b, BYTES_LIT("C"));
        buffer_put_u64(&b, (uint64_t)now);
        buffer_put_varint(&b, 1);
        buffer_put_u8(&b, (uint8_t)draw(4));
        buffer_put_varint(&b, c->floor_stream_seq + 1 + draw(5));
        buffer_put_varint(&b, draw(1000));
    } else if (what == 17 && r->stream->totals.messages > 3) {
        buffer_put_u8(&b, ENTRY_EXPIRE);
        buffer_put_varint(&b, r->stream->totals.first_seq);
    } else {
        return;
    }
    propose_bytes(r, &b);
}

void delete_some(struct replica *r)
{
    const struct stream_totals *t = &r->stream->totals;
    if (t->messages < 5) {
        return;
    }
    uint64_t seq = t->first_seq + draw_delete(t->last_seq - t->first_seq + 1);
    for (unsigned i = 0; i < 12 && seq <= t->last_seq; i++, seq++) {
        if (draw_delete(5) > 0 && !stream_is_deleted(r->stream, seq)) {
            struct buffer b = {0};
            buffer_put_u8(&b, ENTRY_DELETE);
            buffer_put_varint(&b, seq);
            (void)map_put_u64(&sim->deleted[r->number], seq, r);
            propose_bytes(r, &b);
        }
    }
}

/* --- members --- */

/* The leader lets somebody in, makes a learner a voter, or sends somebody away. Three voters stay,
 * so that a damaged disk is still one of a minority. */
void change_members(struct replica *r, uint64_t (*pick)(uint64_t bound))
{
    const struct raft *raft = raft_group_raft(r->group);
    struct raft_members m = *raft_members(raft);
    raft_node voters[RAFT_VOTERS_MAX];
    raft_node node = sim->nodes[pick(sim->plan.nodes)].id;
    unsigned at = raft_members_find(&m, node);
    if (at == m.count) {
        m.list[m.count++] = (struct raft_member){node, pick(100) < 80};
    } else if (m.list[at].learner && pick(100) < 70) {
        m.list[at].learner = false;
    } else if (m.list[at].learner || raft_voters(raft, voters) > 3) {
        if (pick(100) < 30) {
            m.list[at].learner = true;
        } else {
            m.list[at] = m.list[--m.count];
        }
    } else {
        return;
    }
    raft_index index;
    enum err err = raft_group_change_members(r->group, &m, &index);
    sim->changes += err == OK;
    note("members", r->node->number, node, err == OK ? index : 0);
    process_soon(r->node);
}
