/* Subscribers inside the server.
 *
 * A message for one is copied into a batch per (source loop, subscriber); at the end of the source
 * loop's turn each batch is posted to the subscriber's loop in one piece. Producers are slowed
 * while a subscriber has more than INTERNAL_BACKLOG bytes under way. */
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/broker/broker_internal.h"

struct inbound_batch {
    struct internal_sub *sub; /* counted reference */
    struct buffer records;    /* struct record, then subject, reply, payload */
    size_t at;
};

struct record {
    uint32_t subject_len, reply_len, payload_len, header_len;
};
#define NO_REPLY UINT32_MAX

static void sub_release(struct internal_sub *sub)
{
    if (atomic_fetch_sub(&sub->refs, 1) == 1) {
        free(sub->building);
        free(sub);
    }
}

static void sub_release_cb(void *arg)
{
    sub_release(arg);
}

bool inbound_next(struct inbound_batch *batch, struct inbound *message)
{
    if (batch->at == batch->records.len) {
        return false;
    }
    struct record r;
    const char *p = batch->records.data + batch->at;
    memcpy(&r, p, sizeof r);
    p += sizeof r;
    message->subject = bytes_make(p, r.subject_len);
    p += r.subject_len;
    message->reply = r.reply_len == NO_REPLY ? BYTES_NONE : bytes_make(p, r.reply_len);
    p += r.reply_len == NO_REPLY ? 0 : r.reply_len;
    message->payload = bytes_make(p, r.payload_len);
    p += r.payload_len;
    message->header_len = r.header_len;
    batch->at = (size_t)(p - batch->records.data);
    return true;
}

struct account *inbound_account(const struct inbound_batch *batch)
{
    return batch->sub->account;
}

static void run_batch(void *arg)
{
    struct inbound_batch *batch = arg;
    struct internal_sub *sub = batch->sub;
    size_t bytes = batch->records.len;
    if (!sub->removed) {
        sub->cb(sub->arg, batch);
    }
    atomic_fetch_sub_explicit(&sub->backlog, bytes, memory_order_relaxed);
    buffer_deinit(&batch->records);
    free(batch);
    sub_release(sub);
}

static void post_batches(void *arg)
{
    struct broker_loop *here = arg;
    unsigned index = loop_index(here->loop);
    for (uint32_t i = 0; i < here->batched_count; i++) {
        struct internal_sub *sub = here->batched[i];
        struct inbound_batch *batch = sub->building[index];
        sub->building[index] = NULL;
        if (sub->loop == here->loop) {
            run_batch(batch); /* may publish, and so begin new batches behind this one */
        } else {
            loop_post(sub->loop, run_batch, batch);
        }
    }
    here->batched_count = 0;
}

void internal_deliver(struct internal_sub *sub, const struct message *m)
{
    struct broker_loop *here = broker_here(sub->broker);
    struct inbound_batch **slot = &sub->building[loop_index(here->loop)];
    if (*slot == NULL) {
        *slot = NEW(struct inbound_batch);
        (*slot)->sub = sub;
        atomic_fetch_add(&sub->refs, 1);
        VEC_RESERVE(here->batched, here->batched_cap, here->batched_count);
        here->batched[here->batched_count++] = sub;
        here->batch_task.run = post_batches;
        here->batch_task.arg = here;
        loop_at_turn_end(here->loop, &here->batch_task);
    }
    struct record r = {(uint32_t)m->subject.len,
                       m->reply.ptr == NULL ? NO_REPLY : (uint32_t)m->reply.len,
                       (uint32_t)m->payload.len, m->header_len};
    struct buffer *b = &(*slot)->records;
    size_t before = b->len;
    char *p = buffer_reserve(b, sizeof r + m->subject.len + m->reply.len + m->payload.len);
    memcpy(p, &r, sizeof r);
    p += sizeof r;
    memcpy(p, m->subject.ptr, m->subject.len);
    p += m->subject.len;
    if (m->reply.len > 0) {
        memcpy(p, m->reply.ptr, m->reply.len);
        p += m->reply.len;
    }
    if (m->payload.len > 0) {
        memcpy(p, m->payload.ptr, m->payload.len);
        p += m->payload.len;
    }
    b->len = (size_t)(p - b->data);
    atomic_fetch_add_explicit(&sub->backlog, b->len - before, memory_order_relaxed);
}

struct internal_sub *broker_subscribe(struct broker *broker, struct account *account,
                                      struct bytes subject, struct bytes queue, struct loop *loop,
                                      internal_cb cb, void *arg)
{
    struct internal_sub *sub = mem_zalloc(sizeof *sub + subject.len + queue.len);
    interest_entry_init(&sub->entry, sub->text, subject, queue, SUB_INTERNAL);
    sub->broker = broker;
    sub->account = account;
    sub->loop = loop;
    sub->cb = cb;
    sub->arg = arg;
    atomic_init(&sub->refs, 1);
    sub->building = mem_zalloc(loops_count(broker->loops) * sizeof(struct inbound_batch *));
    interest_add(account->interest, &sub->entry);
    broker_local_changed(broker, account, &sub->entry, +1);
    return sub;
}

void broker_unsubscribe(struct broker *broker, struct internal_sub *sub)
{
    CHECK(loop_is_current(sub->loop));
    CHECK(!sub->removed);
    sub->removed = true;
    interest_remove(sub->account->interest, &sub->entry);
    broker_local_changed(broker, sub->account, &sub->entry, -1);
    loop_retire(sub_release_cb, sub);
}
