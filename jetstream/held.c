#include "jetstream/held.h"

#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/mem.h"

#define LOOK_NS (50 * NS_PER_MS)
/* What a leader is heard to say so long after a request came, it said with the request in its
 * hands: a loop that has much to do may read late what was said before. */
#define SURELY_THERE_NS (400 * NS_PER_MS)

/* In the order in which they came. */
struct held {
    struct loop *loop;
    const struct held_ops *ops; /* borrowed */
    void *owner;                /* borrowed */
    uint32_t count_max;
    size_t bytes_max, bytes;
    struct item {
        void *request;
        size_t bytes;
        int64_t came_ns;
        uint64_t log_end;
        bool led;
    } * items;
    uint32_t count, cap;
    struct loop_timer timer; /* armed while there are some */
};

static void on_timer(void *arg);

struct held *held_new(struct loop *loop, const struct held_ops *ops, void *owner,
                      uint32_t count_max, size_t bytes_max)
{
    struct held *h = NEW(struct held);
    h->loop = loop;
    h->ops = ops;
    h->owner = owner;
    h->count_max = count_max;
    h->bytes_max = bytes_max;
    return h;
}

void held_free(struct held *h)
{
    if (h == NULL) {
        return;
    }
    loop_timer_cancel(h->loop, &h->timer);
    for (uint32_t i = 0; i < h->count; i++) {
        h->ops->drop(h->owner, h->items[i].request);
    }
    free(h->items);
    free(h);
}

static void arm(struct held *h)
{
    if (h->count > 0 && !loop_timer_armed(&h->timer)) {
        loop_timer_arm(h->loop, &h->timer, clock_mono_ns() + LOOK_NS, on_timer, h);
    }
}

void held_put(struct held *h, void *request, size_t bytes, bool led)
{
    CHECK(loop_is_current(h->loop));
    if (h->count == h->count_max || bytes > h->bytes_max - h->bytes) {
        h->ops->drop(h->owner, request);
        return;
    }
    VEC_RESERVE(h->items, h->cap, h->count);
    h->items[h->count++] =
        (struct item){request, bytes, clock_mono_ns(), h->ops->log_end(h->owner), led};
    h->bytes += bytes;
    arm(h);
}

/* Whoever is called may put something: into an empty list. */
static void run_all(struct held *h)
{
    struct item *items = h->items;
    uint32_t count = h->count;
    h->items = NULL;
    h->count = h->cap = 0;
    h->bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct item *it = &items[i];
        enum held_fate fate = h->ops->fate(h->owner, it->request, it->came_ns, it->log_end);
        if (fate == HELD_DONE) {
            h->ops->drop(h->owner, it->request);
        } else if (fate == HELD_MAYBE_DONE) {
            h->ops->refuse(h->owner, it->request);
        } else {
            h->ops->run(h->owner, it->request);
        }
    }
    free(items);
}

/* Those that came first are over first. */
static void end_old(struct held *h, int64_t now, int64_t heard_ns)
{
    uint32_t n = 0;
    for (; n < h->count; n++) {
        const struct item *it = &h->items[n];
        bool there = heard_ns > it->came_ns + SURELY_THERE_NS;
        if (!there && now - it->came_ns < HELD_NS) {
            break;
        }
        h->bytes -= it->bytes;
        if (there && !it->led) {
            h->ops->drop(h->owner, it->request);
        } else {
            h->ops->refuse(h->owner, it->request);
        }
    }
    h->count -= n;
    memmove(h->items, h->items + n, h->count * sizeof *h->items);
}

void held_look(struct held *h)
{
    CHECK(loop_is_current(h->loop));
    if (h->count == 0) {
        return;
    }
    if (h->ops->leads(h->owner)) {
        run_all(h);
    } else {
        end_old(h, clock_mono_ns(), h->ops->leader_heard_ns(h->owner));
    }
    arm(h);
}

static void on_timer(void *arg)
{
    held_look(arg);
}
