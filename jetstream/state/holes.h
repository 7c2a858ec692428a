/* holes: the sequences of a stream that are deleted between its first and its last: a sorted set of
 * ranges, for there may be millions, most of them next to each other. Two neighbours never touch.
 *
 * Adding and asking cost a binary search and, at worst, a move of 4 KB; counting those below a
 * sequence costs a look at every 256th range. */
#ifndef JETSTREAM_STATE_HOLES_H
#define JETSTREAM_STATE_HOLES_H

#include <stdbool.h>
#include <stdint.h>

struct holes_chunk;

struct holes {
    struct holes_chunk **chunks; /* ascending, none empty */
    uint32_t chunk_count, chunk_cap;
    uint64_t total; /* sequences */
};

struct hole {
    uint64_t from, to; /* both deleted */
};

void holes_clear(struct holes *h);
/* from <= to; some may be there already. */
void holes_add(struct holes *h, uint64_t from, uint64_t to);
/* All below `seq` are forgotten. */
void holes_forget_below(struct holes *h, uint64_t seq);
bool holes_has(const struct holes *h, uint64_t seq);
/* How many there are below `seq`. */
uint64_t holes_below(const struct holes *h, uint64_t seq);
/* The first range that ends at or behind `seq`. */
bool holes_next(const struct holes *h, uint64_t seq, struct hole *out);

#endif
