/* held: requests that came while nobody could answer them, until somebody can.
 *
 * Every server that may lead gets every request, and the leader alone answers. One that has just
 * died answers nobody, and that it has died is noticed later. So the others keep what comes until
 * they know that the leader was still there when it came; whoever leads next answers what it has.
 *
 *   held ── the leader was heard of well after it came ──→ dropped: it has been answered
 *        ── this server leads ──→ run; refused when the one before may have done it
 *        ── HELD_NS ──→ refused: there is no leader
 *
 * What the leader itself could not answer before it lost the lead is refused where the others' is
 * dropped: they have heard of it since, and do not have the request any more.
 *
 * Owner: one loop. */
#ifndef JETSTREAM_HELD_H
#define JETSTREAM_HELD_H

#include "core/runtime/loop.h"

/* Clients of nats-server wait for five seconds, as a rule: they still get the error. */
#define HELD_NS (4000 * INT64_C(1000000))

struct held;

/* Has an earlier leader done it? */
enum held_fate {
    HELD_NOT_DONE,
    HELD_MAYBE_DONE, /* it may not be done once more: refused */
    HELD_DONE        /* and whoever has it answers: dropped */
};

struct held_ops {
    bool (*leads)(void *owner);
    /* Monotonic: when the leader, another server, was heard of last; 0: there is none. */
    int64_t (*leader_heard_ns)(void *owner);
    /* Where the log ends. */
    uint64_t (*log_end)(void *owner);
    /* It came at that time (monotonic), when the log ended there. */
    enum held_fate (*fate)(void *owner, const void *request, int64_t came_ns, uint64_t log_end);
    /* Each takes the request. */
    void (*run)(void *owner, void *request);
    void (*refuse)(void *owner, void *request);
    void (*drop)(void *owner, void *request);
};

/* `ops` and `owner` are borrowed. At most so many requests and bytes: what comes then is dropped.
 */
struct held *held_new(struct loop *loop, const struct held_ops *ops, void *owner,
                      uint32_t count_max, size_t bytes_max);
/* Drops what is held; NULL is none. */
void held_free(struct held *held);
/* Takes the request. `led`: this server led when it came. */
void held_put(struct held *held, void *request, size_t bytes, bool led);
/* Leadership has changed. */
void held_look(struct held *held);

#endif
