/* Requests that came to a replica while the stream had no leader. */
#include "core/base/clock.h"
#include "jetstream/asset_internal.h"
#include "jetstream/held.h"

#define HELD_COUNT_MAX 256
#define HELD_BYTES_MAX (1u << 20)
/* A request may arrive so much later here than at the leader, which has done it by then. */
#define LATE_NS NS_PER_SEC

static bool leads(void *owner)
{
    const struct asset *a = owner;
    return a->leading && !a->broken;
}

static int64_t leader_heard_ns(void *owner)
{
    const struct asset *a = owner;
    return js_leader_heard_ns(a->js, a->group);
}

static uint64_t log_end(void *owner)
{
    const struct asset *a = owner;
    return group_status(a->group).last;
}

static bool changes(enum asset_verb verb)
{
    return verb == ASSET_PURGE || verb == ASSET_MSG_DELETE || verb == ASSET_CONSUMER_CREATE ||
           verb == ASSET_CONSUMER_DELETE;
}

/* Anything that the leader before has committed since it came may be the answer to it, or a message
 * that a purge was not meant for. */
static enum held_fate fate(void *owner, const void *request, int64_t came_ns, uint64_t end)
{
    const struct asset *a = owner;
    const struct asset_request *q = request;
    bool just_before = a->changed_ns != 0 && a->changed_ns > came_ns - LATE_NS;
    bool maybe = changes(q->verb) && (a->applied_data > end || just_before);
    return maybe ? HELD_MAYBE_DONE : HELD_NOT_DONE;
}

static void run(void *owner, void *request)
{
    asset_run(owner, request);
}

static void refuse(void *owner, void *request)
{
    struct asset *a = owner;
    struct asset_request *q = request;
    struct js_error error;
    (void)js_fail(&error, JS_NOT_AVAILABLE);
    js_reply_error(a->js, a->account, bytes_of(q->reply), q->type, &error);
    asset_request_free(q);
}

static void drop(void *owner, void *request)
{
    (void)owner;
    asset_request_free(request);
}

static const struct held_ops ops = {leads, leader_heard_ns, log_end, fate, run, refuse, drop};

void asset_hold(struct asset *a, struct asset_request *q, bool led)
{
    if (q->reply == NULL || a->broken) {
        asset_request_free(q);
        return;
    }
    if (a->held == NULL) {
        a->held = held_new(asset_loop(a), &ops, a, HELD_COUNT_MAX, HELD_BYTES_MAX);
    }
    held_put(a->held, q, sizeof *q + q->body_len, led);
}

void asset_look_at_held(struct asset *a)
{
    if (a->held != NULL) {
        held_look(a->held);
    }
}
