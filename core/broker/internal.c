/* Subscribers inside the server.
 *
 * A message for one is copied into a batch per (source loop, inbox); at the end of the source
 * loop's turn each batch is posted to the inbox's loop in one piece. Producers are slowed while an
 * inbox has more than INTERNAL_BACKLOG bytes under way, for 10 ms at most; beyond BACKLOG_MAX
 * messages are left out, which their publishers learn by the missing answers. */
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/broker/broker_internal.h"

struct inbound_batch {
    struct internal_inbox *inbox; /* counted reference */
    struct buffer records;        /* struct record, then subject, reply, payload */
    size_t at;
};

struct record {
    uint32_t subject_len, reply_len, payload_len, header_len;
};
#define NO_REPLY UINT32_MAX
/* Bytes under way to one inbox; a stopped loop must not cost more. */
#define BACKLOG_MAX (256u << 20)

static void inbox_release(struct internal_inbox *inbox)
{
    if (atomic_fetch_sub(&inbox->refs, 1) == 1) {
        free(inbox->building);
        free(inbox);
    }
}

static void sub_free(void *arg)
{
    struct internal_sub *sub = arg;
    inbox_release(sub->inbox);
    free(sub);
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
    return batch->inbox->account;
}

static void tell_gone(struct inbound_batch *batch)
{
    struct inbound m;
    struct buffer header = {0};
    while (inbound_next(batch, &m)) {
        if (m.reply.len == 0) {
            continue;
        }
        buffer_clear(&header);
        buffer_append_text(&header, "NATS/1.0 503\r\nNats-Subject: ");
        buffer_append_bytes(&header, m.subject);
        buffer_append_text(&header, "\r\n\r\n");
        const struct message status = {.subject = m.reply,
                                       .payload = buffer_bytes(&header),
                                       .header_len = (uint32_t)header.len};
        (void)broker_publish(batch->inbox->broker, batch->inbox->account, &status);
    }
    buffer_deinit(&header);
}

static void run_batch(void *arg)
{
    struct inbound_batch *batch = arg;
    struct internal_inbox *inbox = batch->inbox;
    size_t bytes = batch->records.len;
    if (inbox->subscribers > 0) {
        inbox->cb(inbox->arg, batch);
    } else if (inbox->tells_gone) {
        tell_gone(batch);
    }
    atomic_fetch_sub_explicit(&inbox->backlog, bytes, memory_order_relaxed);
    buffer_deinit(&batch->records);
    free(batch);
    inbox_release(inbox);
}

static void post_batches(void *arg)
{
    struct broker_loop *here = arg;
    unsigned index = loop_index(here->loop);
    for (uint32_t i = 0; i < here->batched_count; i++) {
        struct internal_inbox *inbox = here->batched[i];
        struct inbound_batch *batch = inbox->building[index];
        inbox->building[index] = NULL;
        if (inbox->loop == here->loop) {
            run_batch(batch); /* may publish, and so begin new batches behind this one */
        } else {
            loop_post(inbox->loop, run_batch, batch);
        }
    }
    here->batched_count = 0;
}

void internal_deliver(struct internal_sub *sub, const struct message *m)
{
    struct internal_inbox *inbox = sub->inbox;
    struct broker_loop *here = broker_here(inbox->broker);
    if (UNLIKELY(atomic_load_explicit(&inbox->backlog, memory_order_relaxed) > BACKLOG_MAX)) {
        return;
    }
    struct inbound_batch **slot = &inbox->building[loop_index(here->loop)];
    if (*slot == NULL) {
        *slot = NEW(struct inbound_batch);
        (*slot)->inbox = inbox;
        atomic_fetch_add(&inbox->refs, 1);
        VEC_RESERVE(here->batched, here->batched_cap, here->batched_count);
        here->batched[here->batched_count++] = inbox;
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
    atomic_fetch_add_explicit(&inbox->backlog, b->len - before, memory_order_relaxed);
}

/* Takes a reference to the inbox. */
static struct internal_sub *subscribe(struct internal_inbox *inbox, struct bytes subject,
                                      struct bytes queue)
{
    struct internal_sub *sub = mem_zalloc(sizeof *sub + subject.len + queue.len);
    interest_entry_init(&sub->entry, sub->text, subject, queue, SUB_INTERNAL);
    sub->inbox = inbox;
    inbox->subscribers++;
    atomic_fetch_add(&inbox->refs, 1);
    interest_add(inbox->account->interest, &sub->entry);
    broker_local_changed(inbox->broker, inbox->account, &sub->entry, +1);
    return sub;
}

struct internal_sub *broker_subscribe(struct broker *broker, struct account *account,
                                      struct bytes subject, struct bytes queue, struct loop *loop,
                                      internal_cb cb, void *arg)
{
    struct internal_inbox *inbox = NEW(struct internal_inbox);
    inbox->broker = broker;
    inbox->account = account;
    inbox->loop = loop;
    inbox->cb = cb;
    inbox->arg = arg;
    inbox->building = mem_zalloc(loops_count(broker->loops) * sizeof(struct inbound_batch *));
    return subscribe(inbox, subject, queue);
}

struct internal_sub *broker_subscribe_with(struct internal_sub *with, struct bytes subject)
{
    CHECK(loop_is_current(with->inbox->loop) && !with->removed);
    return subscribe(with->inbox, subject, BYTES_NONE);
}

void broker_tell_gone(struct internal_sub *sub)
{
    CHECK(loop_is_current(sub->inbox->loop));
    sub->inbox->tells_gone = true;
}

void broker_unsubscribe(struct broker *broker, struct internal_sub *sub)
{
    struct internal_inbox *inbox = sub->inbox;
    CHECK(loop_is_current(inbox->loop));
    CHECK(!sub->removed);
    sub->removed = true;
    inbox->subscribers--;
    interest_remove(inbox->account->interest, &sub->entry);
    broker_local_changed(broker, inbox->account, &sub->entry, -1);
    loop_retire(sub_free, sub);
}
