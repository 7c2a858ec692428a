#include "core/runtime/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/runtime/work.h"

/* A turn:  callbacks (each begins with loop_enter) → turn end → idle
 *
 * libuv runs I/O callbacks inside its poll phase, between our prepare and check handles, and timers
 * before prepare; so both handles end a turn, and the first callback after that begins the next.
 *
 * (1) A loop inside a turn shows in `epoch_seen` the global epoch at the turn's beginning; outside
 * of turns it shows EPOCH_IDLE and touches nothing shared. (2) An object retired at epoch e is
 * freed when every loop shows a value > e. */
#define EPOCH_IDLE UINT64_MAX

struct mail {
    loop_task run;
    void *arg;
};

struct retired {
    void (*destroy)(void *);
    void *object;
    uint64_t epoch;
};

struct loop {
    struct loops *family; /* borrowed */
    unsigned index;
    pthread_t thread;
    uv_loop_t uv;
    uv_async_t wake;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_timer_t timer_handle;
    char *read_buffer;
    struct random random;
    int64_t now_ns;

    pthread_mutex_t mail_lock; /* leaf; guards the next four */
    struct mail *mail;
    uint32_t mail_count, mail_cap;
    bool wake_pending;
    atomic_uint mail_length; /* mirror of mail_count for loop_is_crowded() */

    struct mail *taken; /* the batch being drained; kept to reuse its memory */
    uint32_t taken_cap;

    struct turn_task *turn_first;
    struct turn_task **turn_last;

    atomic_uint_fast64_t epoch_seen;
    struct retired *retired;
    uint32_t retired_count, retired_cap;

    struct loop_timer **heap;
    uint32_t heap_count, heap_cap;
    int64_t timers_run_ns; /* while they run: those due by then */
    struct {
        void *value;
        void (*destroy)(void *);
    } locals[LOOP_LOCAL_COUNT];
    bool stopping;
    bool in_turn;
};

struct loops {
    unsigned count;
    struct work_pool *pool;
    atomic_uint_fast64_t epoch;
    struct loop *loops[LOOPS_MAX];
};

static _Thread_local struct loop *current;

struct loop *loop_current(void)
{
    return current;
}

unsigned loop_index(const struct loop *loop)
{
    return loop->index;
}

struct loops *loop_family(const struct loop *loop)
{
    return loop->family;
}

struct work_pool *loop_pool(const struct loop *loop)
{
    return loop->family->pool;
}

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

char *loop_read_buffer(struct loop *loop)
{
    return loop->read_buffer;
}

struct random *loop_random(struct loop *loop)
{
    return &loop->random;
}

int64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

void loop_local_set(struct loop *loop, enum loop_local key, void *value, void (*destroy)(void *))
{
    loop->locals[key].value = value;
    loop->locals[key].destroy = destroy;
}

void *loop_local(const struct loop *loop, enum loop_local key)
{
    return loop->locals[key].value;
}

unsigned loops_count(const struct loops *loops)
{
    return loops->count;
}

struct loop *loops_at(struct loops *loops, unsigned index)
{
    CHECK(index < loops->count);
    return loops->loops[index];
}

/* --- epochs --- */

void loop_enter(struct loop *loop)
{
    if (!loop->in_turn) {
        loop->in_turn = true;
        loop->now_ns = clock_mono_ns();
        atomic_store(&loop->epoch_seen, atomic_load(&loop->family->epoch));
    }
}

static void epoch_leave(struct loop *loop)
{
    loop->in_turn = false;
    atomic_store(&loop->epoch_seen, EPOCH_IDLE);
}

static void reclaim(struct loop *loop)
{
    if (loop->retired_count == 0) {
        return;
    }
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; i < loop->family->count; i++) {
        uint64_t seen = atomic_load(&loop->family->loops[i]->epoch_seen);
        oldest = seen < oldest ? seen : oldest;
    }
    uint32_t freed = 0;
    while (freed < loop->retired_count && loop->retired[freed].epoch < oldest) {
        loop->retired[freed].destroy(loop->retired[freed].object);
        freed++;
    }
    if (freed > 0) {
        loop->retired_count -= freed;
        memmove(loop->retired, loop->retired + freed, loop->retired_count * sizeof *loop->retired);
    }
    if (loop->retired_count == 0 && loop->retired_cap > 4096) { /* what a burst needed */
        free(loop->retired);
        loop->retired = NULL;
        loop->retired_cap = 0;
    }
}

void loop_retire(void (*destroy)(void *), void *object)
{
    struct loop *loop = current;
    CHECK(loop != NULL);
    VEC_RESERVE(loop->retired, loop->retired_cap, loop->retired_count);
    uint64_t epoch = atomic_fetch_add(&loop->family->epoch, 1);
    loop->retired[loop->retired_count++] = (struct retired){destroy, object, epoch};
}

/* --- turn --- */

void loop_at_turn_end(struct loop *loop, struct turn_task *task)
{
    DCHECK(loop_is_current(loop));
    if (!task->queued) {
        task->queued = true;
        task->next = NULL;
        *loop->turn_last = task;
        loop->turn_last = &task->next;
    }
}

void loop_cancel_turn_end(struct loop *loop, struct turn_task *task)
{
    struct turn_task **at = &loop->turn_first;
    while (task->queued && *at != NULL) {
        if (*at == task) {
            *at = task->next;
            task->queued = false;
            if (*at == NULL) {
                loop->turn_last = at;
            }
            return;
        }
        at = &(*at)->next;
    }
}

static void turn_end(struct loop *loop)
{
    while (loop->turn_first != NULL) { /* a task may queue further tasks */
        struct turn_task *task = loop->turn_first;
        loop->turn_first = task->next;
        if (loop->turn_first == NULL) {
            loop->turn_last = &loop->turn_first;
        }
        task->queued = false;
        task->run(task->arg);
    }
}

static void drain_mail(struct loop *loop)
{
    pthread_mutex_lock(&loop->mail_lock);
    struct mail *batch = loop->mail;
    uint32_t count = loop->mail_count;
    uint32_t cap = loop->mail_cap;
    loop->mail = loop->taken;
    loop->mail_cap = loop->taken_cap;
    loop->mail_count = 0;
    loop->wake_pending = false;
    pthread_mutex_unlock(&loop->mail_lock);
    atomic_store_explicit(&loop->mail_length, 0, memory_order_relaxed);
    loop->taken = NULL; /* a task may stop the loop and drain again */
    loop->taken_cap = 0;
    for (uint32_t i = 0; i < count; i++) {
        batch[i].run(batch[i].arg);
    }
    if (cap > 4096) { /* give back what a burst needed */
        free(batch);
        batch = NULL;
        cap = 0;
    }
    free(loop->taken);
    loop->taken = batch;
    loop->taken_cap = cap;
}

static void on_wake(uv_async_t *handle)
{
    struct loop *loop = handle->data;
    loop_enter(loop);
    drain_mail(loop);
}

static void arm_timer_handle(struct loop *loop);

static void run_timers(struct loop *loop)
{
    loop->timers_run_ns = clock_mono_ns();
    while (loop->heap_count > 0 && loop->heap[0]->due_ns <= loop->timers_run_ns) {
        struct loop_timer *timer = loop->heap[0];
        loop_timer_cancel(loop, timer);
        timer->run(timer->arg);
    }
    loop->timers_run_ns = 0;
}

static void on_timer(uv_timer_t *handle)
{
    loop_enter(handle->data);
    run_timers(handle->data);
}

static void finish_turn(struct loop *loop)
{
    turn_end(loop);
    epoch_leave(loop);
    reclaim(loop);
}

static void on_check(uv_check_t *handle)
{
    finish_turn(handle->data);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct loop *loop = handle->data;
    finish_turn(loop);
    arm_timer_handle(loop);
}

static void *thread_main(void *arg)
{
    struct loop *loop = arg;
    current = loop;
    int rc = uv_run(&loop->uv, UV_RUN_DEFAULT);
    CHECK(rc == 0);
    current = NULL;
    return NULL;
}

struct loops *loops_start(unsigned count)
{
    CHECK(count >= 1 && count <= LOOPS_MAX);
    struct loops *loops = NEW(struct loops);
    loops->count = count;
    loops->pool = work_pool_new();
    atomic_init(&loops->epoch, 1);
    for (unsigned i = 0; i < count; i++) {
        struct loop *loop = NEW(struct loop);
        loops->loops[i] = loop;
        loop->family = loops;
        loop->index = i;
        loop->turn_last = &loop->turn_first;
        loop->read_buffer = mem_alloc(LOOP_READ_BUFFER);
        random_seed(&loop->random, random_system_u64());
        loop->now_ns = clock_mono_ns();
        atomic_init(&loop->epoch_seen, EPOCH_IDLE);
        pthread_mutex_init(&loop->mail_lock, NULL);
        CHECK(uv_loop_init(&loop->uv) == 0);
        loop->uv.data = loop;
        CHECK(uv_async_init(&loop->uv, &loop->wake, on_wake) == 0);
        CHECK(uv_check_init(&loop->uv, &loop->check) == 0);
        CHECK(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
        CHECK(uv_timer_init(&loop->uv, &loop->timer_handle) == 0);
        loop->wake.data = loop->check.data = loop->prepare.data = loop->timer_handle.data = loop;
        CHECK(uv_check_start(&loop->check, on_check) == 0);
        CHECK(uv_prepare_start(&loop->prepare, on_prepare) == 0);
    }
    for (unsigned i = 0; i < count; i++) {
        char name[16];
        CHECK(pthread_create(&loops->loops[i]->thread, NULL, thread_main, loops->loops[i]) == 0);
        (void)snprintf(name, sizeof name, "loop-%u", i);
        (void)pthread_setname_np(loops->loops[i]->thread, name); /* for top and perf */
    }
    return loops;
}

static void stop_task(void *arg)
{
    struct loop *loop = arg;
    loop->stopping = true;
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->timer_handle, NULL);
}

void loops_stop(struct loops *loops)
{
    CHECK(current == NULL);
    work_pool_stop(loops->pool); /* what it gives back is handled before the loops stop */
    for (unsigned i = 0; i < loops->count; i++) {
        loop_post(loops->loops[i], stop_task, loops->loops[i]);
    }
    for (unsigned i = 0; i < loops->count; i++) {
        pthread_join(loops->loops[i]->thread, NULL);
    }
    for (unsigned i = 0; i < loops->count; i++) {
        struct loop *loop = loops->loops[i];
        atomic_store(&loop->epoch_seen, EPOCH_IDLE);
        for (uint32_t k = 0; k < loop->retired_count; k++) {
            loop->retired[k].destroy(loop->retired[k].object);
        }
        for (int k = 0; k < LOOP_LOCAL_COUNT; k++) {
            if (loop->locals[k].destroy != NULL) {
                loop->locals[k].destroy(loop->locals[k].value);
            }
        }
        CHECK(uv_loop_close(&loop->uv) == 0);
    }
}

void loops_free(struct loops *loops)
{
    for (unsigned i = 0; i < loops->count; i++) {
        struct loop *loop = loops->loops[i];
        pthread_mutex_destroy(&loop->mail_lock);
        free(loop->mail);
        free(loop->taken);
        free(loop->retired);
        free(loop->heap);
        free(loop->read_buffer);
        free(loop);
    }
    work_pool_free(loops->pool);
    free(loops);
}

void loop_post(struct loop *loop, loop_task run, void *arg)
{
    pthread_mutex_lock(&loop->mail_lock);
    VEC_RESERVE(loop->mail, loop->mail_cap, loop->mail_count);
    loop->mail[loop->mail_count++] = (struct mail){run, arg};
    atomic_store_explicit(&loop->mail_length, loop->mail_count, memory_order_relaxed);
    bool wake = !loop->wake_pending;
    loop->wake_pending = true;
    if (wake) { /* under the lock: stop_task cannot have closed the handle in between */
        (void)uv_async_send(&loop->wake);
    }
    pthread_mutex_unlock(&loop->mail_lock);
}

bool loop_is_crowded(const struct loop *loop)
{
    return atomic_load_explicit(&loop->mail_length, memory_order_relaxed) > LOOP_MAILBOX_SOFT;
}

/* --- timers: a binary heap by due time --- */

static void heap_set(struct loop *loop, uint32_t at, struct loop_timer *timer)
{
    loop->heap[at] = timer;
    timer->place = at + 1;
}

static void heap_up(struct loop *loop, uint32_t at)
{
    struct loop_timer *timer = loop->heap[at];
    while (at > 0 && loop->heap[(at - 1) / 2]->due_ns > timer->due_ns) {
        heap_set(loop, at, loop->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(loop, at, timer);
}

static void heap_down(struct loop *loop, uint32_t at)
{
    struct loop_timer *timer = loop->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= loop->heap_count) {
            break;
        }
        if (child + 1 < loop->heap_count &&
            loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns) {
            child++;
        }
        if (loop->heap[child]->due_ns >= timer->due_ns) {
            break;
        }
        heap_set(loop, at, loop->heap[child]);
        at = child;
    }
    heap_set(loop, at, timer);
}

void loop_timer_arm(struct loop *loop, struct loop_timer *timer, int64_t due_ns, loop_task run,
                    void *arg)
{
    CHECK(loop_is_current(loop));
    loop_timer_cancel(loop, timer);
    int64_t least = loop->timers_run_ns + 1; /* else one that is always due would be the only one */
    timer->due_ns = due_ns < least ? least : due_ns > TIME_MAX_NS ? TIME_MAX_NS : due_ns;
    timer->run = run;
    timer->arg = arg;
    VEC_RESERVE(loop->heap, loop->heap_cap, loop->heap_count);
    loop->heap[loop->heap_count] = timer;
    heap_up(loop, loop->heap_count++);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    if (timer->place == 0) {
        return;
    }
    CHECK(loop_is_current(loop));
    uint32_t at = timer->place - 1;
    CHECK(loop->heap[at] == timer);
    timer->place = 0;
    struct loop_timer *last = loop->heap[--loop->heap_count];
    if (last != timer) {
        heap_set(loop, at, last);
        heap_up(loop, at);
        heap_down(loop, last->place - 1);
    }
}

/* Once per turn: the libuv timer follows the heap's first entry. */
static void arm_timer_handle(struct loop *loop)
{
    if (loop->stopping) {
        return;
    }
    if (loop->heap_count == 0) {
        (void)uv_timer_stop(&loop->timer_handle);
        return;
    }
    uint64_t ms = time_ms_up(loop->heap[0]->due_ns - clock_mono_ns());
    uv_update_time(&loop->uv);
    (void)uv_timer_start(&loop->timer_handle, on_timer, ms, 0);
}
