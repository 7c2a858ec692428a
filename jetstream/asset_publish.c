/* Publishes to a stream, on its leader:
 *
 *   inbound batch → publisher_decide → builder → propose → (fsync here, and at a quorum) → apply →
 * PubAck
 *
 * A PubAck leaves only from apply of the entry that holds the message, in the term it was
 * proposed. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "jetstream/asset_internal.h"

/* An entry of a message and what a host gathers beside it. */
_Static_assert(PUBLISH_BYTES_MAX + RAFT_APPEND_BYTES + (2u << 20) <= PEERS_FRAME_MAX,
               "the largest message fits into a frame");

#define BATCH_BYTES_MAX (64u * 1024) /* of one entry; it never waits to fill */
#define IN_FLIGHT_BYTES_MAX                                                                        \
    (128u << 20) /* proposed and not applied: then 429 (max_buffered_size) */

/* Acknowledgements of one MESSAGES entry. */
struct pub_waiter {
    uint64_t first_seq;
    struct buffer replies;
    size_t bytes;
};

static void send_ack(struct asset *a, struct bytes reply, uint64_t seq, bool duplicate)
{
    char text[6 * JS_NAME_MAX + 80]; /* escaped, a byte may take six */
    int n = snprintf(text, sizeof text, "%.*s%llu%s}", BYTES_ARG(buffer_bytes(&a->ack)),
                     (unsigned long long)seq, duplicate ? ",\"duplicate\": true" : "");
    js_publish(a->js, a->account, reply, BYTES_NONE, BYTES_NONE, bytes_make(text, (size_t)n));
}

static void send_refusal(struct asset *a, struct bytes reply, const struct js_error *error)
{
    if (reply.ptr == NULL || a->stream->config.no_ack) {
        return;
    }
    json_t *o = json_object();
    json_put(o, "error", js_error_json(error));
    json_put_text(o, "stream", a->name);
    json_put_int(o, "seq", 0);
    struct buffer text = {0};
    json_write(&text, o, 0);
    json_decref(o);
    js_publish(a->js, a->account, reply, BYTES_NONE,
               error->err == JS_TOO_MANY ? BYTES_LIT("NATS/1.0 429 Too Many Requests\r\n\r\n")
                                         : BYTES_NONE,
               buffer_bytes(&text));
    buffer_deinit(&text);
}

/* Nobody knows, or will, whether it is stored. */
static void refuse_unknown(struct asset *a, struct bytes reply)
{
    struct js_error error;
    (void)js_fail(&error, JS_NOT_LEADER);
    send_refusal(a, reply, &error);
}

static void on_published(struct asset *a, void *arg, bool applied,
                         const struct apply_result *result)
{
    struct pub_waiter *w = arg;
    struct reader r = reader_make(buffer_bytes(&w->replies));
    a->in_flight -= w->bytes;
    for (uint64_t seq = w->first_seq; r.at < r.end; seq++) {
        struct bytes reply = reader_bytes(&r);
        if (reply.len == 0 || a->stream->config.no_ack) {
            continue;
        }
        if (!applied) {
            refuse_unknown(a, reply);
        } else if (result->error.err != JS_OK) {
            send_refusal(a, reply, &result->error);
        } else {
            send_ack(a, reply, seq, false);
        }
    }
    buffer_deinit(&w->replies);
    free(w);
}

/* Hands the batch in the builder to consensus. */
static void propose_batch(struct asset *a)
{
    if (a->builder.count == 0) {
        return;
    }
    struct pub_waiter *w = NEW(struct pub_waiter);
    w->first_seq = a->builder.first_seq;
    w->replies = a->builder_replies;
    a->builder_replies = (struct buffer){0};
    struct blob *entry = messages_finish(&a->builder);
    w->bytes = entry->len;
    a->in_flight += w->bytes;
    if (!asset_propose_messages(a, entry, on_published, w)) {
        /* Leadership went between the batch's arrival and here: nothing was promised to anybody. */
        on_published(a, w, false, NULL);
        publisher_reset(&a->publisher);
    }
}

static void on_duplicate(struct asset *a, uint64_t seq, struct bytes reply)
{
    if (reply.ptr == NULL || a->stream->config.no_ack) {
        return;
    }
    if (seq <= a->stream->totals.last_seq) {
        send_ack(a, reply, seq, true);
        return;
    }
    VEC_RESERVE(a->dups, a->dup_cap, a->dup_count);
    a->dups[a->dup_count++] = (struct dup_wait){seq, mem_dup(reply.ptr, reply.len)};
}

void asset_answer_duplicates(struct asset *a, bool applied)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < a->dup_count; i++) {
        struct dup_wait *d = &a->dups[i];
        if (applied && d->seq > a->stream->totals.last_seq) {
            a->dups[kept++] = *d;
            continue;
        }
        if (applied) {
            send_ack(a, bytes_of(d->reply), d->seq, true);
        } else {
            refuse_unknown(a, bytes_of(d->reply));
        }
        free(d->reply);
    }
    a->dup_count = kept;
}

void asset_on_publish(void *arg, struct inbound_batch *batch)
{
    struct asset *a = arg;
    struct inbound m;
    int64_t now;
    bool right = asset_clock(&now);
    while (inbound_next(batch, &m)) {
        if (!a->leading || a->broken) {
            refuse_unknown(a, m.reply);
            continue;
        }
        if (a->in_flight > IN_FLIGHT_BYTES_MAX) {
            struct js_error error;
            (void)js_fail(&error, JS_TOO_MANY);
            send_refusal(a, m.reply, &error);
            continue;
        }
        struct bytes header = bytes_make(m.payload.ptr, m.header_len);
        struct bytes body = bytes_skip(m.payload, m.header_len);
        if (UNLIKELY(!right)) {
            struct js_error error;
            (void)js_failf(&error, JS_STORE_FAILED, "the clock of the stream's leader is wrong");
            send_refusal(a, m.reply, &error);
            continue;
        }
        if (UNLIKELY(group_is_full(a->group))) {
            struct js_error full;
            (void)js_fail(&full, JS_INSUFFICIENT_RESOURCES);
            send_refusal(a, m.reply, &full);
            continue;
        }
        if (UNLIKELY(bytes_ends(m.reply, BYTES_LIT(".$FI")))) { /* a fast-ingest batch: none here */
            struct js_error disabled;
            (void)js_fail(&disabled, JS_BATCH_DISABLED);
            send_refusal(a, m.reply, &disabled);
            continue;
        }
        struct publish_decision d = publisher_decide(&a->publisher, m.subject, header, body, now);
        if (d.action == PUBLISH_REFUSED) {
            send_refusal(a, m.reply, &d.error);
            continue;
        }
        if (d.action == PUBLISH_DUPLICATE) {
            on_duplicate(a, d.seq, m.reply);
            continue;
        }
        if (a->builder.count == 0) {
            messages_begin(&a->builder, d.seq, now);
        }
        messages_add(&a->builder, now, m.subject, header, body);
        buffer_put_bytes(&a->builder_replies, m.reply);
        if (a->builder.data.len >= BATCH_BYTES_MAX) {
            propose_batch(a);
        }
    }
    propose_batch(a);
}

void asset_forget_publishes(struct asset *a)
{
    asset_answer_duplicates(a, false);
    a->builder.count = 0;
    buffer_clear(&a->builder_replies);
    publisher_reset(&a->publisher);
}
