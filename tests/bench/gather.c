#include "bench/gather.h"

#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"

static void flush(struct gather *g)
{
    int64_t *starts = g->starts;
    uint32_t count = g->count;
    if (count == 0) {
        return;
    }
    g->next_seq += count;
    g->starts = NULL;
    g->count = g->cap = 0;
    g->submit(g->arg, messages_finish(&g->builder), starts, count);
}

static void on_turn_end(void *arg)
{
    flush(arg);
}

void gather_init(struct gather *g, struct loop *loop, size_t limit,
                 void (*submit)(void *arg, struct blob *entry, int64_t *starts, uint32_t count),
                 void *arg)
{
    *g = (struct gather){.loop = loop, .limit = limit, .submit = submit, .arg = arg, .next_seq = 1};
    g->task = (struct turn_task){.run = on_turn_end, .arg = g};
}

void gather_deinit(struct gather *g)
{
    buffer_deinit(&g->builder.data);
    free(g->starts);
}

void gather_add(struct gather *g)
{
    static const char body[MESSAGE_BYTES];
    int64_t now = clock_mono_ns();
    if (g->count == 0) {
        messages_begin(&g->builder, g->next_seq, now);
    }
    messages_add(&g->builder, now, BYTES_LIT("bench"), BYTES_NONE, bytes_make(body, sizeof body));
    VEC_RESERVE(g->starts, g->cap, g->count);
    g->starts[g->count++] = now;
    if (g->builder.data.len >= g->limit) {
        flush(g);
    } else {
        loop_at_turn_end(g->loop, &g->task);
    }
}
