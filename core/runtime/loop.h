/* loop: one event-loop thread and what runs on it.
 *
 * A server has N loops. Every mutable object belongs to one of them; other threads reach it by
 * posting a message to the loop's mailbox, which owns its contents. The end of a turn is where
 * gathered work happens once: sockets are written, batches are posted (loop_at_turn_end).
 *
 * Epochs: readers of the shared interest index keep pointers to subscriptions for the length of one
 * turn only. What a loop takes out of shared structures it hands to loop_retire(); it is freed
 * after every loop has begun a later turn, or was idle in between. */
#ifndef CORE_RUNTIME_LOOP_H
#define CORE_RUNTIME_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/base/buffer.h"
#include "core/base/random.h"

#define LOOPS_MAX         64
#define LOOP_READ_BUFFER  (256 * 1024) /* bytes; measured: 30 % less CPU per message than 64 KiB */
#define LOOP_MAILBOX_SOFT 65536 /* messages; past this loop_is_crowded() asks senders to slow */

struct loop;
struct loops;

typedef void (*loop_task)(void *arg);

/* A task to run once at the end of the current turn. Embed it; `queued` makes repeats cheap. */
struct turn_task {
    loop_task run;
    void *arg;
    struct turn_task *next;
    bool queued;
};

/* Starts `count` threads (1..LOOPS_MAX). They idle until something is posted. */
struct loops *loops_start(unsigned count);
unsigned loops_count(const struct loops *loops);
struct loop *loops_at(struct loops *loops, unsigned index);
/* Closes what the loops own themselves, stops and joins the threads, destroys what was retired.
 * Everything else that holds libuv handles must have been closed before; each loop checks that it
 * was. Call from a thread that is not a loop. */
void loops_stop(struct loops *loops);
/* After loops_stop(). */
void loops_free(struct loops *loops);

/* The loop whose thread this is, or NULL. */
struct loop *loop_current(void);
static inline bool loop_is_current(const struct loop *loop)
{
    return loop_current() == loop;
}
unsigned loop_index(const struct loop *loop);
struct loops *loop_family(const struct loop *loop);
uv_loop_t *loop_uv(struct loop *loop);
/* Every libuv callback of ours begins with this: it opens the turn (see Epochs above). */
void loop_enter(struct loop *loop);
/* One shared buffer for socket reads, valid until the callback returns. Owner thread only. */
char *loop_read_buffer(struct loop *loop);
struct random *loop_random(struct loop *loop);
/* Monotonic time at the start of this turn, in ns: cheap, up to one turn old. */
int64_t loop_now_ns(const struct loop *loop);

/* One pointer per module and loop, for what a module keeps per thread. Owner thread; `destroy` (may
 * be NULL) runs when the loops have stopped. */
enum loop_local { LOOP_LOCAL_CONN, LOOP_LOCAL_BROKER, LOOP_LOCAL_COUNT };
void loop_local_set(struct loop *loop, enum loop_local key, void *value, void (*destroy)(void *));
void *loop_local(const struct loop *loop, enum loop_local key);

/* Any thread. Tasks from one thread run in the order posted. `arg` is owned by the task. */
void loop_post(struct loop *loop, loop_task run, void *arg);
/* True when the mailbox is so long that the caller should stop reading from its own sources. */
bool loop_is_crowded(const struct loop *loop);

/* Owner thread only: runs the task at the end of this turn, once however often it is asked for. */
void loop_at_turn_end(struct loop *loop, struct turn_task *task);
/* The task will not run any more; its memory may go. */
void loop_cancel_turn_end(struct loop *loop, struct turn_task *task);

/* Owner thread of any loop: `destroy(object)` runs on this loop once no other loop can still be
 * holding the pointer. */
void loop_retire(void (*destroy)(void *), void *object);

/* One-shot timers in a heap: arming and cancelling cost no system call and an unarmed timer costs
 * nothing. Any due_ns is taken: what is past runs in the next turn, behind what was due before it,
 * and whatever a timer arms itself for, it runs once a turn. Owner thread only. */
struct loop_timer {
    int64_t due_ns; /* monotonic */
    loop_task run;
    void *arg;
    uint32_t place; /* heap position + 1, 0 = not armed */
};
void loop_timer_arm(struct loop *loop, struct loop_timer *timer, int64_t due_ns, loop_task run,
                    void *arg);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);
static inline bool loop_timer_armed(const struct loop_timer *timer)
{
    return timer->place != 0;
}

#endif
