/* work: what takes milliseconds, or waits, off the loops: a queue and threads of its own for each
 * kind, so that a flood of one kind delays no other.
 *
 * Within a queue each source (a client's address) has a share: the threads go round the sources
 * that wait, and a source may have only so much waiting. Work that nobody waits for any more is
 * skipped. Threads that others can keep busy run at a lower priority than the loops.
 *
 * Submitted on a loop; `done` runs on the same loop, always, and never before work_submit()
 * returns. A loop may have any amount under way when loops_stop() begins: what has not begun by
 * then is not run. */
#ifndef CORE_RUNTIME_WORK_H
#define CORE_RUNTIME_WORK_H

#include "core/runtime/loop.h"

enum work_queue {
    WORK_PASSWORDS,  /* bcrypt: 50 ms and more */
    WORK_SIGNATURES, /* 0.1 ms */
    WORK_HANDSHAKES, /* a flight of TLS: 1 ms and more */
    WORK_NAMES,      /* DNS: seconds, waiting */
    WORK_DIALS,      /* an address and a connect(): never behind a name that nobody answers for */
    WORK_STORE,      /* walks through the disk */
    WORK_QUEUES
};

struct work {
    /* Set by the caller, who keeps the struct until `done`. */
    void (*run)(struct work *work); /* a thread of the queue; touches its own inputs only */
    /* `ran` false: it was not wanted any more, there was no room, or the server stops. */
    void (*done)(struct work *work, bool ran);
    bool (*is_dead)(struct work *work); /* any thread; NULL: it is always wanted */
    uint64_t source;                    /* whose share it is taken from */
    /* The queue's. */
    struct loop *loop;
    struct work *next;
    bool ran;
};

/* The loop's thread. */
void work_submit(struct loop *loop, enum work_queue queue, struct work *work);

/* --- for loop.c --- */

struct work_pool;
struct work_pool *work_pool_new(void);
/* loop.c's: the pool of the loop's family. */
struct work_pool *loop_pool(const struct loop *loop);
/* What runs ends, what waits is given back; then no threads are left. The loops still run. */
void work_pool_stop(struct work_pool *pool);
void work_pool_free(struct work_pool *pool);

#endif
