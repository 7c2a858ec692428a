#include "jetstream/scrub.h"

#include <stddef.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/runtime/work.h"

#define STEPS_PER_S 4
#define FOUND_MAX   64 /* ranges in a step */
#define FIRST_AFTER (10 * NS_PER_SEC)

struct scrub {
    struct jetstream *js;
    struct loop *loop;
    struct loop_timer timer;
    struct work work;
    bool working;
    size_t bytes; /* of a step; read-only, like the next */
    int64_t interval_ns;
    int64_t begun_ns; /* the walk under way; monotonic */
    struct store_place at;
    uint64_t ranges; /* damaged, in this walk */
    /* What a step has found; the pool's while it works. */
    struct store_damage found[FOUND_MAX];
    uint32_t count;
    bool end;
    void (*stopped)(void *arg); /* NULL: goes on */
    void *stopped_arg;
};

struct news {
    struct shard *shard;
    struct store_damage found[FOUND_MAX];
    uint32_t count;
};

static void tell_shard(void *arg)
{
    struct news *news = arg;
    for (uint32_t i = 0; i < news->count; i++) {
        shard_damaged(news->shard, &news->found[i]);
    }
    free(news);
}

static void tell_shards(struct scrub *s)
{
    struct jetstream *js = s->js;
    for (unsigned i = 0; i < loops_count(js->loops) && s->count > 0; i++) {
        struct news *news = NEW(struct news);
        news->shard = js->shards[i];
        memcpy(news->found, s->found, s->count * sizeof *s->found);
        news->count = s->count;
        loop_post(loops_at(js->loops, i), tell_shard, news);
    }
}

static void step(void *arg);

static struct scrub *of_work(struct work *work)
{
    return (struct scrub *)((char *)work - offsetof(struct scrub, work));
}

static void on_work(struct work *work)
{
    struct scrub *s = of_work(work);
    s->end = store_scrub(s->js->store, &s->at, s->bytes, s->found, FOUND_MAX, &s->count);
}

/* Not run: the server stops. */
static void on_work_done(struct work *work, bool ran)
{
    struct scrub *s = of_work(work);
    s->count = ran ? s->count : 0;
    s->working = false;
    if (s->stopped != NULL) {
        s->stopped(s->stopped_arg);
        free(s);
        return;
    }
    tell_shards(s);
    s->ranges += s->count;
    int64_t now = clock_mono_ns();
    int64_t due = now + NS_PER_SEC / STEPS_PER_S;
    if (s->end) {
        if (s->ranges > 0) {
            log_warn("JetStream store: damage was found in %llu places",
                     (unsigned long long)s->ranges);
        }
        int64_t next = s->begun_ns + s->interval_ns;
        due = next > due ? next : due;
        s->begun_ns = 0;
    }
    loop_timer_arm(s->loop, &s->timer, due, step, s);
}

static void step(void *arg)
{
    struct scrub *s = arg;
    if (s->begun_ns == 0) {
        s->begun_ns = clock_mono_ns();
        s->ranges = 0;
    }
    s->working = true;
    work_submit(s->loop, WORK_STORE, &s->work);
}

struct scrub *scrub_start(struct jetstream *js)
{
    const struct options *o = broker_options(js->broker);
    if (o->scrub_rate == 0) {
        return NULL;
    }
    struct scrub *s = NEW(struct scrub);
    s->js = js;
    s->loop = loops_at(js->loops, 0);
    s->work = (struct work){.run = on_work, .done = on_work_done};
    s->bytes = (size_t)o->scrub_rate / STEPS_PER_S + 1;
    s->interval_ns = o->scrub_interval_ns;
    int64_t first = o->scrub_interval_ns < FIRST_AFTER ? o->scrub_interval_ns : FIRST_AFTER;
    loop_timer_arm(s->loop, &s->timer, clock_mono_ns() + first, step, s);
    return s;
}

void scrub_stop(struct scrub *s, void (*done)(void *arg), void *arg)
{
    if (s == NULL || !s->working) {
        if (s != NULL) {
            loop_timer_cancel(s->loop, &s->timer);
            free(s);
        }
        done(arg);
        return;
    }
    s->stopped = done;
    s->stopped_arg = arg;
}
