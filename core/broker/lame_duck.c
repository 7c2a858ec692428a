/* Lame duck mode: moves clients to other servers without an error of theirs.
 *
 *   listener closed → INFO with "ldm" → grace period → clients are closed one by one, in no
 *   particular order, spread over what is left of lame_duck_duration → done
 *
 * NATS client protocol §3.2; nats-server command-line reference §7. Loop 0, except where noted. */
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/broker/broker_internal.h"

#define PAUSE_MAX_NS NS_PER_SEC

static void close_next(void *arg);

static uint64_t clients_left(struct broker *b)
{
    struct broker_stats stats;
    broker_stats(b, &stats);
    return stats.connections;
}

static void finish(struct broker *b)
{
    void (*done)(void *) = b->lame_duck_done;
    b->lame_duck_done = NULL;
    if (done != NULL) {
        done(b->lame_duck_arg);
    }
}

/* On the loop of the clients it chooses from. */
static void close_one(void *arg)
{
    struct broker_loop *here = arg;
    uint64_t n = atomic_load(&here->connections);
    if (n == 0) {
        return;
    }
    uint64_t skip = random_below(loop_random(here->loop), n);
    struct client *c = here->clients;
    while (skip-- > 0 && c->next != NULL) {
        c = c->next;
    }
    client_close(c, CLOSE_SERVER_SHUTDOWN);
}

static void arm(struct broker *b, int64_t after_ns)
{
    loop_timer_arm(b->per_loop[0].loop, &b->lame_duck_timer, clock_mono_ns() + after_ns, close_next,
                   b);
}

static void close_next(void *arg)
{
    struct broker *b = arg;
    uint64_t left = clients_left(b);
    if (left == 0) {
        finish(b);
        return;
    }
    uint64_t place = random_below(loop_random(b->per_loop[0].loop), left);
    for (unsigned i = 0; i < loops_count(b->loops); i++) {
        uint64_t here = atomic_load(&b->per_loop[i].connections);
        if (place < here) {
            loop_post(b->per_loop[i].loop, close_one, &b->per_loop[i]);
            break;
        }
        place -= here;
    }
    int64_t half = b->lame_duck_pause_ns / 2;
    arm(b, half + (int64_t)random_below(loop_random(b->per_loop[0].loop), (uint64_t)half + 1));
}

static void grace_over(void *arg)
{
    struct broker *b = arg;
    const struct options *o = broker_options(b);
    uint64_t left = clients_left(b);
    log_info("Closing existing clients");
    int64_t time = o->lame_duck_duration_ns - o->lame_duck_grace_ns;
    b->lame_duck_pause_ns = left == 0 ? 0 : time / (int64_t)left;
    if (b->lame_duck_pause_ns > PAUSE_MAX_NS) {
        b->lame_duck_pause_ns = PAUSE_MAX_NS;
    }
    close_next(b);
}

void broker_lame_duck(struct broker *b)
{
    CHECK(loop_is_current(b->per_loop[0].loop));
    atomic_store(&b->lame_duck, true);
    broker_close_listener(b);
}

void broker_lame_duck_clients(struct broker *b, void (*done)(void *), void *arg)
{
    CHECK(loop_is_current(b->per_loop[0].loop));
    b->lame_duck_done = done;
    b->lame_duck_arg = arg;
    if (clients_left(b) == 0) {
        finish(b);
        return;
    }
    broker_tell_clients(b);
    loop_timer_arm(b->per_loop[0].loop, &b->lame_duck_timer,
                   clock_mono_ns() + broker_options(b)->lame_duck_grace_ns, grace_over, b);
}

bool broker_is_lame_duck(const struct broker *b)
{
    return atomic_load(&b->lame_duck);
}
