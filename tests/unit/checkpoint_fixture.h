/* Where a stream's checkpoints go, and come from. */
#ifndef TESTS_UNIT_CHECKPOINT_FIXTURE_H
#define TESTS_UNIT_CHECKPOINT_FIXTURE_H

#include "jetstream/state/stream.h"

struct saved {
    struct map rows; /* number → struct blob */
    struct buffer head;
    unsigned puts;
};

/* For qsort() of the map's entries. */
int by_row_number(const void *a, const void *b);
void saved_deinit(struct saved *saved);
/* As a row_writer calls it, with a struct saved. */
void remove_rows(void *arg, uint64_t from, uint64_t to);
/* How many rows it wrote. */
unsigned checkpoint(struct stream *s, struct saved *saved);
/* `without`: this row is missing; 0: none is. NULL: it is refused. */
struct stream *load(const struct saved *saved, uint64_t without);
/* What is saved is this stream. */
void loads_as(const struct saved *saved, struct stream *s);
void is_the_same(struct stream *s, struct stream *t);

#endif
