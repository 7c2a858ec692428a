#include "core/runtime/work.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "core/base/mem.h"

/* Work that waits at a gate, so that a queue fills behind it. */
struct job {
    struct work work;
    char name;
    bool dead;
    sem_t *gate; /* NULL: goes on at once */
};

static struct {
    struct loops *loops;
    struct job *jobs;
    unsigned count, done, refused;
    char order[8192]; /* names as they ran */
    atomic_uint ran;
    sem_t finished, submitted;
} t;

static void run(struct work *work)
{
    struct job *job = (struct job *)work;
    if (job->gate != NULL) {
        (void)sem_wait(job->gate);
    }
    t.order[atomic_fetch_add(&t.ran, 1)] = job->name;
}

static void done(struct work *work, bool ran)
{
    (void)work;
    cr_assert(loop_is_current(loops_at(t.loops, 0)));
    t.refused += !ran;
    if (++t.done == t.count) {
        (void)sem_post(&t.finished);
    }
}

static bool is_dead(struct work *work)
{
    return ((struct job *)work)->dead;
}

static void submit_all(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < t.count; i++) {
        work_submit(loops_at(t.loops, 0), WORK_STORE, &t.jobs[i].work); /* one thread */
        cr_assert_eq(t.done, 0, "done before work_submit() returned");
    }
    (void)sem_post(&t.submitted);
}

static void begin(unsigned count)
{
    memset(&t, 0, sizeof t);
    t.loops = loops_start(1);
    t.count = count;
    t.jobs = mem_zalloc(count * sizeof *t.jobs);
    (void)sem_init(&t.finished, 0, 0);
    (void)sem_init(&t.submitted, 0, 0);
    for (unsigned i = 0; i < count; i++) {
        t.jobs[i].work = (struct work){.run = run, .done = done, .is_dead = is_dead};
        t.jobs[i].name = '.';
    }
}

static void submit(void)
{
    loop_post(loops_at(t.loops, 0), submit_all, NULL);
    (void)sem_wait(&t.submitted);
}

static void end(void)
{
    loops_stop(t.loops);
    loops_free(t.loops);
    free(t.jobs);
}

Test(work, a_source_that_has_much_waiting_does_not_delay_another)
{
    sem_t gate;
    (void)sem_init(&gate, 0, 0);
    begin(103);
    for (unsigned i = 0; i < 103; i++) {
        t.jobs[i].work.source = 7;
        t.jobs[i].name = 'f';
    }
    t.jobs[0].gate = &gate;
    for (unsigned i = 101; i < 103; i++) {
        t.jobs[i].work.source = 8;
        t.jobs[i].name = 'o';
    }
    submit();
    (void)sem_post(&gate);
    (void)sem_wait(&t.finished);
    cr_assert_eq(t.ran, 103);
    const char *last = strrchr(t.order, 'o');
    cr_assert_not_null(last);
    cr_assert_leq(last - t.order, 5, "the other source had to wait: %s", t.order);
    end();
}

Test(work, what_nobody_waits_for_any_more_is_not_run)
{
    sem_t gate;
    (void)sem_init(&gate, 0, 0);
    begin(50);
    t.jobs[0].gate = &gate;
    submit();
    for (unsigned i = 1; i < 49; i++) {
        t.jobs[i].dead = true; /* behind the gate: not looked at yet */
    }
    (void)sem_post(&gate);
    (void)sem_wait(&t.finished);
    cr_assert_eq(t.ran, 2);
    cr_assert_eq(t.refused, 48);
    end();
}

Test(work, a_source_may_have_so_much_waiting_and_no_more)
{
    sem_t gate;
    (void)sem_init(&gate, 0, 0);
    begin(3000);
    t.jobs[0].gate = &gate;
    for (unsigned i = 2999; i < 3000; i++) {
        t.jobs[i].work.source = 1; /* there is room for others */
        t.jobs[i].name = 'o';
    }
    submit();
    (void)sem_post(&gate);
    (void)sem_wait(&t.finished);
    cr_assert(t.ran >= 1024 && t.ran <= 1026, "%u", t.ran);
    cr_assert_eq(t.ran + t.refused, 3000);
    cr_assert_not_null(strchr(t.order, 'o'));
    end();
}

static void *open_gate(void *arg)
{
    (void)sem_post(arg);
    return NULL;
}

Test(work, what_has_not_begun_when_the_loops_stop_is_given_back)
{
    sem_t gate;
    pthread_t thread;
    (void)sem_init(&gate, 0, 0);
    begin(20);
    t.jobs[0].gate = &gate;
    submit();
    cr_assert_eq(pthread_create(&thread, NULL, open_gate, &gate), 0);
    loops_stop(t.loops);
    cr_assert_eq(t.done, 20);
    cr_assert_eq(t.ran + t.refused, 20);
    (void)pthread_join(thread, NULL);
    loops_free(t.loops);
    free(t.jobs);
}
