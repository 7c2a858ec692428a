#include "jetstream/held.h"

#include <criterion/criterion.h>
#include <semaphore.h>

#include "core/base/clock.h"

static struct {
    struct loops *loops;
    struct held *held;
    bool leads;
    int64_t heard_ns;
    char fates[8]; /* of the requests, whose names are their places in it */
    sem_t done;
} t;

static bool leads(void *owner)
{
    (void)owner;
    return t.leads;
}

static int64_t leader_heard_ns(void *owner)
{
    (void)owner;
    return t.heard_ns;
}

static uint64_t log_end(void *owner)
{
    (void)owner;
    return 0;
}

static enum held_fate fate(void *owner, const void *request, int64_t came_ns, uint64_t end)
{
    (void)owner, (void)request, (void)came_ns, (void)end;
    return HELD_NOT_DONE;
}

static void mark(void *request, char what)
{
    t.fates[(char *)request - t.fates] = what;
}

static void run(void *owner, void *request)
{
    (void)owner;
    mark(request, 'r');
}

static void refuse(void *owner, void *request)
{
    (void)owner;
    mark(request, 'n');
}

static void drop(void *owner, void *request)
{
    (void)owner;
    mark(request, 'd');
}

static const struct held_ops ops = {leads, leader_heard_ns, log_end, fate, run, refuse, drop};

static void put_and_look(void *arg)
{
    (void)arg;
    t.held = held_new(loops_at(t.loops, 0), &ops, NULL, 8, 100);
    held_put(t.held, &t.fates[0], 1, false);
    held_put(t.held, &t.fates[1], 1, true);
    t.heard_ns = t.heard_ns == 0 ? 0 : clock_mono_ns() + NS_PER_SEC;
    held_look(t.held);
    held_put(t.held, &t.fates[2], 200, true); /* too large */
    held_free(t.held);
    (void)sem_post(&t.done);
}

static void begin_and_end(void)
{
    (void)sem_init(&t.done, 0, 0);
    t.loops = loops_start(1);
    loop_post(loops_at(t.loops, 0), put_and_look, NULL);
    (void)sem_wait(&t.done);
    loops_stop(t.loops);
    loops_free(t.loops);
}

Test(held, a_leader_heard_of_since_has_answered_what_only_followers_held)
{
    t.heard_ns = 1;
    begin_and_end();
    cr_assert_str_eq(t.fates, "dnd", "the leader of then had no answer, and must say so");
}

Test(held, who_leads_runs_what_it_holds)
{
    t.leads = true;
    begin_and_end();
    cr_assert_str_eq(t.fates, "rrd");
}

Test(held, what_nobody_leads_for_waits)
{
    begin_and_end();
    cr_assert_str_eq(t.fates, "ddd", "dropped with the list alone");
}
