#include "core/runtime/work.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/check.h"
#include "core/base/mem.h"

/* A queue is lanes, and a ring of those in which something waits. A source's lane is a hash of it
 * under a secret: sources that meet in one share a share.
 *
 * (1) A lane is in the ring exactly while it has something.
 * (2) `waiting` is the sum over the lanes. */

#define LANES       1024u
#define THREADS_MAX 8u

struct lane {
    struct work *first, **last;
    struct lane *next; /* in the ring */
    uint32_t count;
};

struct queue {
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake;
    struct lane *lanes; /* LANES; NULL until first used */
    struct lane *ring_first, **ring_last;
    uint32_t waiting, active; /* works; lanes in the ring */
    uint32_t idle, thread_count;
    pthread_t threads[THREADS_MAX];
    const struct queue_rule *rule;
    bool stopping;
};

struct work_pool {
    uint64_t secret;
    unsigned cores;
    struct queue queues[WORK_QUEUES];
};

/* Threads are made when there is something to do for them. A niceness weighs against the loops' 0:
 * who logs in waits for who is logged in. */
static const struct queue_rule {
    const char *name;
    unsigned (*threads)(unsigned cores);
    int niceness;
    uint32_t lane_max; /* works of one source */
    uint32_t max;      /* works; beyond it a lane may have what would be its share */
} rules[WORK_QUEUES];

static unsigned half_the_cores(unsigned cores)
{
    return cores / 2 < 1 ? 1 : cores / 2;
}

static unsigned all_cores(unsigned cores)
{
    return cores;
}

static unsigned one(unsigned cores)
{
    (void)cores;
    return 1;
}

static unsigned four(unsigned cores)
{
    (void)cores;
    return 4;
}

static const struct queue_rule rules[WORK_QUEUES] = {
    [WORK_PASSWORDS] = {"passwords", all_cores, 10, 256, 4096},
    [WORK_SIGNATURES] = {"signatures", half_the_cores, 5, 1024, 8192},
    [WORK_HANDSHAKES] = {"handshakes", all_cores, 5, 512, 8192},
    [WORK_NAMES] = {"names", four, 0, 1024, 1024},
    [WORK_DIALS] = {"dials", four, 0, 1024, 1024},
    [WORK_STORE] = {"store", one, 10, 1024, 1024},
};

static void deliver(void *arg)
{
    struct work *work = arg;
    work->done(work, work->ran);
}

static void give_back(struct work *work, bool ran)
{
    work->ran = ran;
    loop_post(work->loop, deliver, work);
}

/* --- lanes; the lock is held --- */

static void ring_append(struct queue *q, struct lane *lane)
{
    lane->next = NULL;
    *q->ring_last = lane;
    q->ring_last = &lane->next;
    q->active++;
}

static bool has_room(const struct queue *q, const struct lane *lane)
{
    uint32_t share = q->rule->max / (q->active + 1);
    return lane->count < q->rule->lane_max && (q->waiting < q->rule->max || lane->count <= share);
}

static void append(struct queue *q, struct lane *lane, struct work *work)
{
    work->next = NULL;
    if (lane->count++ == 0) {
        lane->last = &lane->first;
        ring_append(q, lane);
    }
    *lane->last = work;
    lane->last = &work->next;
    q->waiting++;
}

static struct work *take(struct queue *q)
{
    struct lane *lane = q->ring_first;
    CHECK(lane != NULL && lane->count > 0);
    q->ring_first = lane->next;
    if (q->ring_first == NULL) {
        q->ring_last = &q->ring_first;
    }
    q->active--;
    struct work *work = lane->first;
    lane->first = work->next;
    lane->count--;
    q->waiting--;
    if (lane->count > 0) {
        CHECK(lane->first != NULL);
        ring_append(q, lane);
    }
    return work;
}

/* --- threads --- */

static void *thread_main(void *arg)
{
    struct queue *q = arg;
    /* of this thread alone, on Linux; lower is always allowed */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), q->rule->niceness);
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (q->waiting == 0 && !q->stopping) {
            q->idle++;
            pthread_cond_wait(&q->wake, &q->lock);
            q->idle--;
        }
        if (q->waiting == 0) {
            break;
        }
        struct work *work = take(q);
        bool wanted = !q->stopping;
        pthread_mutex_unlock(&q->lock);
        wanted = wanted && (work->is_dead == NULL || !work->is_dead(work));
        if (wanted) {
            work->run(work);
        }
        give_back(work, wanted);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* Lock held. The system may have none to give: then those that there are do it. */
static void add_thread(struct queue *q)
{
    char name[16];
    pthread_t *thread = &q->threads[q->thread_count];
    if (pthread_create(thread, NULL, thread_main, q) != 0) {
        pthread_cond_signal(&q->wake);
        return;
    }
    (void)snprintf(name, sizeof name, "%s-%u", q->rule->name, q->thread_count);
    (void)pthread_setname_np(*thread, name);
    q->thread_count++;
}

static void wake_one(struct queue *q, unsigned cores)
{
    unsigned most = q->rule->threads(cores);
    if (q->waiting > q->idle && q->thread_count < most && q->thread_count < THREADS_MAX) {
        add_thread(q);
    } else {
        pthread_cond_signal(&q->wake);
    }
}

void work_submit(struct loop *loop, enum work_queue queue, struct work *work)
{
    CHECK(loop_is_current(loop) && queue < WORK_QUEUES);
    struct work_pool *pool = loop_pool(loop);
    struct queue *q = &pool->queues[queue];
    work->loop = loop;
    pthread_mutex_lock(&q->lock);
    if (q->lanes == NULL) {
        q->lanes = mem_zalloc(LANES * sizeof *q->lanes);
    }
    /* a multiplication mixes enough: who could find sources that meet does not know the secret */
    uint64_t mixed = (work->source ^ pool->secret) * UINT64_C(0x9E3779B97F4A7C15);
    struct lane *lane = &q->lanes[(mixed >> 32) % LANES];
    bool taken = !q->stopping && has_room(q, lane);
    if (taken) {
        append(q, lane, work);
        wake_one(q, pool->cores);
        if (q->thread_count == 0) { /* nobody would ever do it */
            CHECK(q->waiting == 1);
            struct work *back = take(q);
            CHECK(back == work);
            taken = false;
        }
    }
    pthread_mutex_unlock(&q->lock);
    if (!taken) {
        give_back(work, false);
    }
}

/* --- life --- */

struct work_pool *work_pool_new(void)
{
    struct work_pool *pool = NEW(struct work_pool);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pool->cores = cores < 1 ? 1 : (unsigned)cores;
    pool->secret = random_system_u64();
    for (int i = 0; i < WORK_QUEUES; i++) {
        struct queue *q = &pool->queues[i];
        pthread_mutex_init(&q->lock, NULL);
        pthread_cond_init(&q->wake, NULL);
        q->ring_last = &q->ring_first;
        q->rule = &rules[i];
    }
    return pool;
}

void work_pool_stop(struct work_pool *pool)
{
    for (int i = 0; i < WORK_QUEUES; i++) {
        struct queue *q = &pool->queues[i];
        pthread_mutex_lock(&q->lock);
        q->stopping = true;
        pthread_cond_broadcast(&q->wake);
        pthread_mutex_unlock(&q->lock);
    }
    for (int i = 0; i < WORK_QUEUES; i++) {
        struct queue *q = &pool->queues[i];
        for (uint32_t k = 0; k < q->thread_count; k++) { /* grows no more: it is stopping */
            pthread_join(q->threads[k], NULL);
        }
        CHECK(q->waiting == 0);
    }
}

void work_pool_free(struct work_pool *pool)
{
    for (int i = 0; i < WORK_QUEUES; i++) {
        pthread_mutex_destroy(&pool->queues[i].lock);
        pthread_cond_destroy(&pool->queues[i].wake);
        free(pool->queues[i].lanes);
    }
    free(pool);
}
