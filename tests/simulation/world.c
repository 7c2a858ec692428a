/* Time, chance, the trace, the heap of events. */
#include "simulation/simulator.h"

struct sim *sim;

__attribute__((noreturn)) void fail(const char *what)
{
    fprintf(stderr, "seed %llu FAILED at %llu us: %s\n", (unsigned long long)sim->seed,
            (unsigned long long)sim->now_us, what);
    exit(1);
}

uint64_t draw(uint64_t bound)
{
    return random_below(&sim->random, bound);
}

uint64_t draw_rot(uint64_t bound)
{
    return random_below(&sim->rot_random, bound);
}

uint64_t draw_delete(uint64_t bound)
{
    return random_below(&sim->delete_random, bound);
}

uint64_t draw_lease(uint64_t bound)
{
    return random_below(&sim->lease_random, bound);
}

uint64_t draw_clog(uint64_t bound)
{
    return random_below(&sim->clog_random, bound);
}

uint64_t draw_request(uint64_t bound)
{
    return random_below(&sim->request_random, bound);
}

uint64_t draw_clock(uint64_t bound)
{
    return random_below(&sim->clock_random, bound);
}

uint64_t draw_cut(uint64_t bound)
{
    return random_below(&sim->cut_random, bound);
}

bool chance(unsigned percent)
{
    return draw(100) < percent;
}

void note(const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t parts[4] = {sim->now_us, a, b, c};
    sim->hash =
        hash_bytes(bytes_make(parts, sizeof parts)) ^ (sim->hash * 31) ^ hash_bytes(bytes_of(what));
    if (sim->trace) {
        printf("%10llu %-12s %llu %llu %llu\n", (unsigned long long)sim->now_us, what,
               (unsigned long long)a, (unsigned long long)b, (unsigned long long)c);
    }
}

/* --- events --- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->number < b->number;
}

void push(struct event e, uint64_t delay_us)
{
    e.time_us = sim->now_us + delay_us;
    e.number = sim->event_number++;
    VEC_RESERVE(sim->heap, sim->heap_cap, sim->heap_count);
    uint32_t at = sim->heap_count++;
    while (at > 0 && earlier(&e, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = e;
}

struct event pop(void)
{
    struct event top = sim->heap[0];
    struct event last = sim->heap[--sim->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= sim->heap_count) {
            break;
        }
        if (child + 1 < sim->heap_count && earlier(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (!earlier(&sim->heap[child], &last)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    if (sim->heap_count > 0) {
        sim->heap[at] = last;
    }
    return top;
}

void process_soon(struct node *n)
{
    if (n->alive && !n->processing_due) {
        n->processing_due = true;
        push((struct event){.kind = EV_PROCESS, .node = n->number, .life = n->life}, 1);
    }
}
