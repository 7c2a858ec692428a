#include "jetstream/state/holes.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"

#define CHUNK_MAX 256

struct holes_chunk {
    uint32_t count;
    uint64_t total; /* sequences */
    struct hole list[CHUNK_MAX];
};

struct place {
    uint32_t chunk, at; /* chunk == chunk_count: behind everything */
};

static uint64_t length(const struct hole *h)
{
    return h->to - h->from + 1;
}

/* Of the first range that ends at or behind `seq`. */
static struct place find(const struct holes *h, uint64_t seq)
{
    uint32_t low = 0;
    uint32_t high = h->chunk_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct holes_chunk *c = h->chunks[middle];
        if (c->list[c->count - 1].to < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    struct place p = {low, 0};
    if (p.chunk == h->chunk_count) {
        return p;
    }
    const struct holes_chunk *c = h->chunks[p.chunk];
    high = c->count;
    while (p.at < high) {
        uint32_t middle = p.at + (high - p.at) / 2;
        if (c->list[middle].to < seq) {
            p.at = middle + 1;
        } else {
            high = middle;
        }
    }
    return p;
}

static struct hole *hole_at(const struct holes *h, struct place p)
{
    return p.chunk == h->chunk_count ? NULL : &h->chunks[p.chunk]->list[p.at];
}

static void insert_chunk(struct holes *h, uint32_t at, struct holes_chunk *c)
{
    VEC_RESERVE(h->chunks, h->chunk_cap, h->chunk_count);
    memmove(h->chunks + at + 1, h->chunks + at, (h->chunk_count - at) * sizeof *h->chunks);
    h->chunks[at] = c;
    h->chunk_count++;
}

/* The upper half of a full chunk gets one of its own; at the end of all, where sets grow, only what
 * is to come does. */
static struct place split(struct holes *h, struct place p)
{
    struct holes_chunk *c = h->chunks[p.chunk];
    struct holes_chunk *upper = NEW(struct holes_chunk);
    bool last = p.chunk + 1 == h->chunk_count && p.at == CHUNK_MAX;
    uint32_t keep = last ? CHUNK_MAX : CHUNK_MAX / 2;
    upper->count = CHUNK_MAX - keep;
    memcpy(upper->list, c->list + keep, upper->count * sizeof *upper->list);
    for (uint32_t i = 0; i < upper->count; i++) {
        upper->total += length(&upper->list[i]);
    }
    c->count = keep;
    c->total -= upper->total;
    insert_chunk(h, p.chunk + 1, upper);
    return p.at < keep || (p.at == keep && !last) ? p : (struct place){p.chunk + 1, p.at - keep};
}

static void insert(struct holes *h, struct place p, struct hole hole)
{
    if (p.chunk == h->chunk_count && p.chunk > 0) { /* behind the last one */
        p.chunk--;
        p.at = h->chunks[p.chunk]->count;
    }
    if (h->chunk_count == 0) {
        insert_chunk(h, 0, NEW(struct holes_chunk));
    } else if (h->chunks[p.chunk]->count == CHUNK_MAX) {
        p = split(h, p);
    }
    struct holes_chunk *c = h->chunks[p.chunk];
    memmove(c->list + p.at + 1, c->list + p.at, (c->count - p.at) * sizeof *c->list);
    c->list[p.at] = hole;
    c->count++;
    c->total += length(&hole);
    h->total += length(&hole);
}

static void erase(struct holes *h, struct place p)
{
    struct holes_chunk *c = h->chunks[p.chunk];
    c->total -= length(&c->list[p.at]);
    h->total -= length(&c->list[p.at]);
    c->count--;
    memmove(c->list + p.at, c->list + p.at + 1, (c->count - p.at) * sizeof *c->list);
    if (c->count == 0) {
        free(c);
        h->chunk_count--;
        memmove(h->chunks + p.chunk, h->chunks + p.chunk + 1,
                (h->chunk_count - p.chunk) * sizeof *h->chunks);
    }
}

/* --- --- */

void holes_clear(struct holes *h)
{
    for (uint32_t i = 0; i < h->chunk_count; i++) {
        free(h->chunks[i]);
    }
    free(h->chunks);
    *h = (struct holes){0};
}

void holes_add(struct holes *h, uint64_t from, uint64_t to)
{
    struct hole all = {from, to};
    struct place p = find(h, from == 0 ? 0 : from - 1);
    for (const struct hole *next; (next = hole_at(h, p)) != NULL && next->from <= to + 1;) {
        all.from = next->from < all.from ? next->from : all.from;
        all.to = next->to > all.to ? next->to : all.to;
        erase(h, p);
        p = find(h, from == 0 ? 0 : from - 1);
    }
    insert(h, p, all);
}

void holes_forget_below(struct holes *h, uint64_t seq)
{
    const struct place front = {0, 0};
    uint32_t whole = 0;
    while (whole < h->chunk_count && h->chunks[whole]->list[h->chunks[whole]->count - 1].to < seq) {
        h->total -= h->chunks[whole]->total;
        free(h->chunks[whole++]);
    }
    h->chunk_count -= whole;
    memmove(h->chunks, h->chunks + whole, h->chunk_count * sizeof *h->chunks);
    for (struct hole *first; (first = hole_at(h, front)) != NULL && first->from < seq;) {
        struct hole rest = {seq, first->to};
        erase(h, front);
        if (rest.to >= rest.from) {
            insert(h, front, rest);
        }
    }
}

bool holes_has(const struct holes *h, uint64_t seq)
{
    const struct hole *found = hole_at(h, find(h, seq));
    return found != NULL && found->from <= seq;
}

uint64_t holes_below(const struct holes *h, uint64_t seq)
{
    struct place p = find(h, seq);
    uint64_t count = 0;
    for (uint32_t i = 0; i < p.chunk; i++) {
        count += h->chunks[i]->total;
    }
    for (uint32_t i = 0; i < p.at; i++) {
        count += length(&h->chunks[p.chunk]->list[i]);
    }
    const struct hole *here = hole_at(h, p);
    return count + (here != NULL && here->from < seq ? seq - here->from : 0);
}

bool holes_next(const struct holes *h, uint64_t seq, struct hole *out)
{
    const struct hole *found = hole_at(h, find(h, seq));
    if (found != NULL) {
        *out = *found;
    }
    return found != NULL;
}
