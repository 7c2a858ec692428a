/* A stream over a log in memory, and what can happen to it. */
#ifndef TESTS_UNIT_STREAM_FIXTURE_H
#define TESTS_UNIT_STREAM_FIXTURE_H

#include "jetstream/state/stream.h"

extern struct blob *entries[2000]; /* by log index; NULL: it cannot be read */
extern uint64_t last_index;

struct blob *read_log(void *arg, uint64_t index);
/* Begins a new log. */
struct stream *make(const char *config);
/* Over the log that there is. */
struct stream *make_over_log(const char *config);

/* As the next entry of the log, which takes it. */
struct apply_result apply(struct stream *s, struct blob *entry);
/* Empties the buffer. */
struct apply_result apply_buffer(struct stream *s, struct buffer *b);
void store(struct stream *s, const char *subject, const char *body, int64_t ns);
/* In one entry, on a.1 and a.2 in turn; the bodies tell their sequences. */
void store_batch_of(struct stream *s, unsigned count, int64_t ns);
void delete_message(struct stream *s, uint64_t seq);
struct apply_result purge(struct stream *s, uint64_t before, uint64_t keep, const char *filter);
struct consumer *consume(struct stream *s, const char *json);

/* From now on that entry cannot be read. */
void rot(uint64_t index);
/* What the stream says of itself against a count of what can be read. */
void counts_are_exact(struct stream *s);

#endif
