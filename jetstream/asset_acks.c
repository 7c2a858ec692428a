/* What consumers' clients send to a stream's leader: acknowledgements and pull requests. Consumers
 * reference §5, §7. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "jetstream/asset_internal.h"
#include "jetstream/state/request_fields.h"

/* Tokens of $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>,
 * or of the longer form with domain and account. */
static bool parse_ack_subject(struct bytes subject, struct bytes *consumer, uint64_t *stream_seq)
{
    struct bytes tokens[12];
    unsigned count = 0;
    while (count < 12 && bytes_token(&subject, '.', &tokens[count])) {
        count++;
    }
    unsigned at = count == 9 ? 3 : count >= 11 ? 5 : 0;
    if (at == 0) {
        return false;
    }
    *consumer = tokens[at];
    return bytes_to_u64(tokens[at + 2], stream_seq);
}

static bool parse_ack_body(struct bytes body, enum ack_op *op, uint64_t *arg)
{
    *arg = 0;
    if (body.len == 0 || bytes_is(body, "+ACK") || bytes_is(body, "+OK")) {
        *op = ACK_OP_ACK;
        return true;
    }
    if (bytes_starts(body, BYTES_LIT("-NAK"))) {
        *op = ACK_OP_NAK;
        struct bytes rest = bytes_skip(body, 4);
        while (rest.len > 0 && rest.ptr[0] == ' ') {
            rest = bytes_skip(rest, 1);
        }
        int64_t delay = 0;
        if (rest.len > 0 && rest.ptr[0] == '{') {
            struct nak_options options = {0};
            struct js_error error;
            if (fields_read(&nak_fields, FIELDS_LOOSE, rest, &options, &error)) {
                delay = options.delay_ns;
            }
        } else if (rest.len == 0 || !clock_parse_duration(rest, &delay)) {
            delay = 0; /* a bad value is a plain NAK */
        }
        *arg = delay > 0 ? (uint64_t)delay : 0;
        return true;
    }
    if (bytes_is(body, "+WPI")) {
        *op = ACK_OP_PROGRESS;
        return true;
    }
    if (bytes_starts(body, BYTES_LIT("+TERM"))) {
        *op = ACK_OP_TERM;
        return true;
    }
    return false;
}

/* Acks of one consumer that came in one batch. */
struct ack_waiter {
    char *consumer;        /* owned */
    uint64_t settling;     /* pulls_settle()'s; 0: none of them is negative */
    struct buffer replies; /* varint length and reply subject, of those that want confirmation */
};

static void on_acked(struct asset *a, void *arg, bool applied, const struct apply_result *result)
{
    (void)result;
    struct ack_waiter *w = arg;
    struct reader r = reader_make(buffer_bytes(&w->replies));
    while (applied && r.at < r.end) {
        js_publish(a->js, a->account, reader_bytes(&r), BYTES_NONE, BYTES_NONE, BYTES_NONE);
    }
    struct consumer *c = map_get(&a->stream->consumers, bytes_of(w->consumer));
    if (c != NULL && c->leader != NULL) {
        pulls_settled(c->leader, w->settling);
        pulls_pump(c->leader);
    }
    buffer_deinit(&w->replies);
    free(w->consumer);
    free(w);
}

struct ack_group {
    struct consumer *consumer;
    struct buffer ops;
    uint32_t count;
    bool has_nak;
    struct ack_waiter *waiter;
};

static void propose_acks(struct asset *a, struct ack_group *g)
{
    struct buffer entry = {0};
    int64_t now;
    bool right = asset_clock(&now);
    g->waiter->consumer = mem_strdup(g->consumer->config.name);
    if (g->has_nak) {
        g->waiter->settling = pulls_settle(g->consumer->leader);
    }
    buffer_put_u8(&entry, ENTRY_ACKS);
    buffer_put_bytes(&entry, bytes_of(g->consumer->config.name));
    buffer_put_u64(&entry, (uint64_t)now);
    buffer_put_varint(&entry, g->count);
    buffer_append_bytes(&entry, buffer_bytes(&g->ops));
    if (!right || !asset_propose(a, buffer_bytes(&entry), on_acked, g->waiter)) {
        on_acked(a, g->waiter, false, NULL);
    }
    buffer_deinit(&entry);
    buffer_deinit(&g->ops);
}

void asset_on_acks(void *arg, struct inbound_batch *batch)
{
    struct asset *a = arg;
    struct inbound m;
    struct ack_group *groups = NULL;
    uint32_t count = 0, cap = 0;
    while (a->leading && inbound_next(batch, &m)) {
        struct bytes name;
        uint64_t seq, extra;
        enum ack_op op;
        struct bytes body = bytes_skip(m.payload, m.header_len);
        if (!parse_ack_subject(m.subject, &name, &seq) || !parse_ack_body(body, &op, &extra)) {
            continue;
        }
        struct consumer *c = map_get(&a->stream->consumers, name);
        if (c == NULL || seq > c->delivered_stream_seq) {
            continue; /* beyond what was delivered: ignored and not confirmed */
        }
        uint32_t i = 0;
        while (i < count && groups[i].consumer != c) {
            i++;
        }
        if (i == count) {
            VEC_RESERVE(groups, cap, count);
            groups[count++] = (struct ack_group){.consumer = c, .waiter = NEW(struct ack_waiter)};
        }
        buffer_put_u8(&groups[i].ops, (uint8_t)op);
        buffer_put_varint(&groups[i].ops, seq);
        buffer_put_varint(&groups[i].ops, extra);
        groups[i].count++;
        if (m.reply.len > 0) {
            buffer_put_bytes(&groups[i].waiter->replies, m.reply);
        }
        if (op == ACK_OP_NAK) {
            groups[i].has_nak = true;
            advise_nak(a, c, seq);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        propose_acks(a, &groups[i]);
    }
    free(groups);
}

/* $JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer> */
void asset_on_pulls(void *arg, struct inbound_batch *batch)
{
    struct asset *a = arg;
    struct inbound m;
    while (a->leading && inbound_next(batch, &m)) {
        const char *dot = memrchr(m.subject.ptr, '.', m.subject.len);
        struct bytes name = bytes_skip(m.subject, (size_t)(dot - m.subject.ptr) + 1);
        struct consumer *c = map_get(&a->stream->consumers, name);
        if (c != NULL && m.reply.len > 0) {
            pulls_request(c->leader, m.reply, bytes_make(m.payload.ptr, m.header_len),
                          bytes_skip(m.payload, m.header_len));
        }
    }
}
