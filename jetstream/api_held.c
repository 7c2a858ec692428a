/* Requests for the meta leader that came while there was none. Loop 0. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/mem.h"
#include "jetstream/held.h"
#include "jetstream/jetstream_internal.h"

#define HELD_COUNT_MAX 1024
#define HELD_BYTES_MAX (4u << 20)

/* A copy of what came. */
struct held_request {
    struct account *account;
    struct buffer text; /* subject, reply, payload */
    size_t subject_len, reply_len;
    uint32_t header_len;
    const char *type; /* of the response */
    bool changes;
};

static struct bytes reply_of(const struct held_request *q)
{
    return bytes_make(q->text.data + q->subject_len, q->reply_len);
}

static void drop(void *owner, void *request)
{
    (void)owner;
    struct held_request *q = request;
    buffer_deinit(&q->text);
    free(q);
}

static bool leads(void *owner)
{
    return meta_is_leader(owner);
}

static int64_t leader_heard_ns(void *owner)
{
    struct jetstream *js = owner;
    return js->meta.group == NULL ? 0 : js_leader_heard_ns(js, js->meta.group);
}

static uint64_t log_end(void *owner)
{
    struct jetstream *js = owner;
    return js->meta.group == NULL ? 0 : group_status(js->meta.group).last;
}

/* What was refused then, and answered, must not succeed now: what has been decided since may have
 * made it possible. */
static enum held_fate fate(void *owner, const void *request, int64_t came_ns, uint64_t end)
{
    (void)came_ns;
    const struct jetstream *js = owner;
    const struct held_request *q = request;
    uint64_t reply = hash_bytes(reply_of(q));
    for (unsigned i = 0; q->changes && i < META_REPLIES; i++) {
        if (js->meta.replies[i] == reply) {
            return HELD_DONE;
        }
    }
    return q->changes && js->meta.last_change > end ? HELD_MAYBE_DONE : HELD_NOT_DONE;
}

static void run(void *owner, void *request)
{
    const struct held_request *q = request;
    const struct api_request r = {
        .account = q->account,
        .subject = bytes_make(q->text.data, q->subject_len),
        .reply = reply_of(q),
        .payload = bytes_skip(buffer_bytes(&q->text), q->subject_len + q->reply_len),
        .header_len = q->header_len};
    api_answer(owner, &r);
    drop(owner, request);
}

static void refuse(void *owner, void *request)
{
    const struct held_request *q = request;
    struct js_error error;
    (void)js_fail(&error, JS_NOT_AVAILABLE);
    js_reply_error(owner, q->account, reply_of(q), q->type, &error);
    drop(owner, request);
}

static const struct held_ops ops = {leads, leader_heard_ns, log_end, fate, run, refuse, drop};

void api_hold(struct jetstream *js, const struct api_request *r, const char *type, bool changes)
{
    if (r->reply.len == 0 || js->stopping) {
        return;
    }
    if (js->held == NULL) {
        js->held = held_new(loops_at(js->loops, 0), &ops, js, HELD_COUNT_MAX, HELD_BYTES_MAX);
    }
    struct held_request *q = NEW(struct held_request);
    q->account = r->account;
    q->subject_len = r->subject.len;
    q->reply_len = r->reply.len;
    q->header_len = r->header_len;
    q->type = type;
    q->changes = changes;
    buffer_append_bytes(&q->text, r->subject);
    buffer_append_bytes(&q->text, r->reply);
    buffer_append_bytes(&q->text, r->payload);
    held_put(js->held, q, sizeof *q + q->text.len, false);
}
