/* Who publishes, reads, consumes, and changes members. */
#include "core/base/json.h"
#include "simulation/simulator.h"

void publish(struct node *n, unsigned g)
{
    struct replica *r = &n->replicas[g];
    if (!r->leading) {
        return;
    }
    int64_t now = wall_clock(n);
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

static bool propose_bytes(struct replica *r, struct buffer *b)
{
    raft_index index;
    struct blob *entry = blob_copy(buffer_bytes(b));
    bool proposed = raft_group_propose(r->group, entry, &index) == OK;
    if (!proposed) {
        blob_release(entry);
    }
    buffer_deinit(b);
    return proposed;
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
    int64_t now = wall_clock(r->node);
    struct buffer b = {0};
    struct consumer *c = map_get(&r->stream->consumers, BYTES_LIT("C"));
    struct stored_message m;
    unsigned what = (unsigned)draw(20);
    if (c == NULL) {
        buffer_put_u8(&b, ENTRY_CONSUMER);
        buffer_put_u64(&b, (uint64_t)now);
        buffer_put_bytes(&b,
                         r->number % 2 == 0 /* a wait without end in some */
                             ? BYTES_LIT("{\"durable_name\":\"C\",\"ack_policy\":\"explicit\","
                                         "\"ack_wait\":9223372036854775807}")
                             : BYTES_LIT("{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}"));
    } else if (what < 10 && stream_next(r->stream, c->delivered_stream_seq + 1, &m) == OK) {
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
    (void)propose_bytes(r, &b);
}

void expire(struct replica *r)
{
    struct stream *s = r->stream;
    int64_t now = wall_clock(r->node);
    uint64_t through = stream_expired_through(s, now);
    for (uint64_t seq = s->totals.first_seq; seq <= through; seq++) {
        struct stored_message m;
        if (stream_read(s, seq, &m) == OK && m.time_ns > now - s->config.max_age_ns) {
            fail("a message would be removed before its max_age");
        }
    }
    if (through > 0) {
        struct buffer b = {0};
        buffer_put_u8(&b, ENTRY_EXPIRE);
        buffer_put_varint(&b, through);
        (void)propose_bytes(r, &b);
    }
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
            (void)propose_bytes(r, &b);
        }
    }
}

/* --- requests: checked as the server checks them, by the state as it is, and several at once ---
 */

/* Numbers as somebody might send them. */
static uint64_t absurd(const struct stream *s)
{
    static const uint64_t numbers[] = {0,          1,        INT64_MAX,   (uint64_t)INT64_MAX + 1,
                                       UINT64_MAX, SEQ_LAST, SEQ_LAST + 1};
    uint64_t i = draw_request(2 * sizeof numbers / sizeof numbers[0]);
    return i < sizeof numbers / sizeof numbers[0] ? numbers[i]
                                                  : s->totals.last_seq + draw_request(5);
}

static void request_purge(struct replica *r)
{
    struct buffer b = {0};
    uint64_t before = draw_request(2) == 0
                          ? r->publisher.last_seq + draw_request(40) /* beyond the end, mostly */
                          : r->stream->totals.first_seq + draw_request(20);
    if (draw_request(10) == 0) {
        before = SEQ_LAST + 1 + draw_request(SEQ_LAST);
    }
    buffer_put_u8(&b, ENTRY_PURGE);
    buffer_put_varint(&b, before);
    buffer_put_varint(&b, 0);
    buffer_put_bytes(&b, BYTES_NONE);
    if (propose_bytes(r, &b)) {
        publisher_purging(&r->publisher, before);
    }
}

static void request_config(struct replica *r, bool deny)
{
    struct buffer b = {0}, text = {0};
    json_t *o = stream_config_json(&r->stream->config, false);
    if (deny) {
        json_put_bool(o, "deny_delete", true);
    }
    json_put_int(o, "max_consumers", 2 + (int64_t)draw_request(3));
    json_put_int(o, "max_msgs", draw_request(2) == 0 ? -1 : 5 + (int64_t)draw_request(100));
    json_write(&text, o, 0);
    json_decref(o);
    buffer_put_u8(&b, ENTRY_CONFIG);
    buffer_put_bytes(&b, buffer_bytes(&text));
    buffer_deinit(&text);
    (void)propose_bytes(r, &b);
}

static void request_consumer(struct replica *r)
{
    struct buffer b = {0}, text = {0};
    const struct stream *s = r->stream;
    char name[8];
    (void)snprintf(name, sizeof name, "R%u", (unsigned)draw_request(6));
    if (map_get(&s->consumers, bytes_of(name)) != NULL) {
        buffer_put_u8(&b, ENTRY_CONSUMER_DELETE);
        buffer_put_bytes(&b, bytes_of(name));
    } else if (s->config.max_consumers <= 0 ||
               s->consumers.count < (uint64_t)s->config.max_consumers) {
        buffer_printf(&text,
                      "{\"durable_name\":\"%s\",\"ack_policy\":\"explicit\","
                      "\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%llu}",
                      name, (unsigned long long)(1 + draw_request(INT64_MAX)));
        buffer_put_u8(&b, ENTRY_CONSUMER);
        buffer_put_u64(&b, (uint64_t)wall_clock(r->node));
        buffer_put_bytes(&b, buffer_bytes(&text));
        buffer_deinit(&text);
    } else {
        return;
    }
    (void)propose_bytes(r, &b);
}

static void request_delivery(struct replica *r, enum entry_kind kind)
{
    struct buffer b = {0};
    buffer_put_u8(&b, (uint8_t)kind);
    buffer_put_bytes(&b, BYTES_LIT("C"));
    buffer_put_u64(&b, (uint64_t)wall_clock(r->node));
    buffer_put_varint(&b, 1);
    if (kind == ENTRY_ACKS) {
        buffer_put_u8(&b, (uint8_t)draw_request(5));
    }
    buffer_put_varint(&b, absurd(r->stream));
    if (kind == ENTRY_ACKS) {
        buffer_put_varint(&b, absurd(r->stream));
    }
    (void)propose_bytes(r, &b);
}

static void request_removal(struct replica *r, enum entry_kind kind, uint64_t seq)
{
    struct buffer b = {0};
    buffer_put_u8(&b, (uint8_t)kind);
    buffer_put_varint(&b, seq);
    if (kind == ENTRY_DELETE) {
        (void)map_put_u64(&sim->deleted[r->number], seq, r);
    }
    (void)propose_bytes(r, &b);
}

void request_some(struct replica *r)
{
    switch (draw_request(9)) {
    case 0:
    case 1:
        request_purge(r);
        break;
    case 2: /* both are allowed by what is there now */
        request_config(r, draw_request(20) == 0);
        request_config(r, false);
        break;
    case 3:
    case 4:
        request_consumer(r);
        request_consumer(r);
        break;
    case 5:
        request_delivery(r, ENTRY_DELIVER);
        break;
    case 6:
        request_delivery(r, ENTRY_ACKS);
        break;
    case 7:
        request_removal(r, ENTRY_DELETE, absurd(r->stream));
        break;
    default:
        if (draw_request(5) == 0) {
            request_removal(r, ENTRY_EXPIRE, absurd(r->stream));
        }
        break;
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
