/* Shared by stream.c, consumer.c and stream_codec.c. */
#ifndef JETSTREAM_STATE_STREAM_INTERNAL_H
#define JETSTREAM_STATE_STREAM_INTERNAL_H

#include "jetstream/state/stream.h"

/* Keeps consumers right when messages come and go. */
void consumers_on_store(struct stream *s, const struct stored_message *m);
/* `subject` empty: it is not known any more, filters are counted anew afterwards. */
void consumers_on_remove(struct stream *s, uint64_t seq, struct bytes subject);
/* All below first_seq is gone: positions and floors move up. */
void consumers_on_first(struct stream *s);

enum err consumer_apply_create(struct stream *s, struct reader *r, struct apply_result *result);
enum err consumer_apply_delete(struct stream *s, struct reader *r, struct apply_result *result,
                               void (*before)(void *arg, struct consumer *c), void *arg);
enum err consumer_apply_deliver(struct stream *s, struct reader *r, struct apply_result *result);
enum err consumer_apply_acks(struct stream *s, struct reader *r, struct apply_result *result);
void consumer_free(struct consumer *c);
/* Decides has_filter and counts filtered_left anew. */
void consumer_refilter(struct stream *s, struct consumer *c);

void stream_remember_id(struct stream *s, struct bytes id, uint64_t seq, int64_t time_ns);
/* Not there yet. */
struct subject_state *stream_add_subject(struct stream *s, struct bytes subject);
struct stream_entry *stream_find_entry(const struct stream *s, uint64_t seq);

#endif
