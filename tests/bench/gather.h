/* gather: what a stream's leader does with publishes. Messages that come in one turn of the loop
 * become one entry, which is one record on disk; an entry never waits to fill. */
#ifndef BENCH_GATHER_H
#define BENCH_GATHER_H

#include "core/runtime/loop.h"
#include "jetstream/state/entry.h"

#define MESSAGE_BYTES 128

struct gather {
    struct loop *loop;
    size_t limit; /* bytes of an entry; 1: every message is one */
    /* Takes both. `starts`: when each message of the entry was added, ns. */
    void (*submit)(void *arg, struct blob *entry, int64_t *starts, uint32_t count);
    void *arg;
    /* private */
    struct turn_task task;
    struct messages_builder builder;
    uint64_t next_seq;
    int64_t *starts;
    uint32_t count, cap;
};

void gather_init(struct gather *g, struct loop *loop, size_t limit,
                 void (*submit)(void *arg, struct blob *entry, int64_t *starts, uint32_t count),
                 void *arg);
void gather_deinit(struct gather *g);
/* A message of MESSAGE_BYTES. */
void gather_add(struct gather *g);

#endif
