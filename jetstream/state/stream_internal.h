/* Shared by stream*.c and consumer.c. */
#ifndef JETSTREAM_STATE_STREAM_INTERNAL_H
#define JETSTREAM_STATE_STREAM_INTERNAL_H

#include "jetstream/state/stream.h"

/* Keeps consumers right when messages come and go. */
void consumers_on_store(struct stream *s, const struct stored_message *m);
/* `subject` empty: it is not known any more, filters are counted anew afterwards. */
void consumers_on_remove(struct stream *s, uint64_t seq, struct bytes subject);
/* All below first_seq is gone: positions and floors move up. */
void consumers_on_first(struct stream *s);
/* Other messages than before are there. */
void consumers_on_loss(struct stream *s);

enum err consumer_apply_create(struct stream *s, struct reader *r, struct apply_result *result);
enum err consumer_apply_delete(struct stream *s, struct reader *r, struct apply_result *result,
                               void (*before)(void *arg, struct consumer *c), void *arg);
enum err consumer_apply_deliver(struct stream *s, struct reader *r, struct apply_result *result);
enum err consumer_apply_acks(struct stream *s, struct reader *r, struct apply_result *result);
void consumer_free(struct consumer *c);
/* Decides has_filter and counts filtered_left anew. */
void consumer_refilter(struct stream *s, struct consumer *c);

bool filters_match(struct filters filters, struct bytes subject);
void stream_remember_id(struct stream *s, struct bytes id, uint64_t seq, int64_t time_ns);
/* One that was stored: into all that is counted, but for what consumers and entries know. */
void stream_count_message(struct stream *s, const struct stored_message *m);
/* As if there had never been any, but for what consumers know. */
void stream_forget_messages(struct stream *s);
/* Not there yet. */
struct subject_state *stream_add_subject(struct stream *s, struct bytes subject);
struct stream_entry *stream_find_entry(const struct stream *s, uint64_t seq);
/* For stream_rewrite() to look at. */
void stream_note_sparse(struct stream *s, const struct stream_entry *e);
/* First position in `entries` whose log index is >= index. */
uint32_t stream_entry_position(const struct stream *s, uint64_t index);

/* --- stream_codec.c --- */

/* The state without what is in rows. */
void stream_encode_head(struct stream *s, struct buffer *out);
/* Positions from <= … < to of the array, those with live messages, and the deleted sequences in
 * them:
 *   varint number, each varint index · first sequence (both less the one before) · count · live
 *   varint number, each varint sequence, less the one before
 * What is between entries is deleted. */
void stream_encode_entries(const struct stream *s, uint32_t from, uint32_t to, struct buffer *out);
/* Appends them, but for what is below first_seq. */
void stream_decode_entries(struct stream *s, struct reader *r);
/* What is behind the last entry is deleted, too. False: it does not add up (invariants (2), (3) of
 * stream.c). */
bool stream_decode_settle(struct stream *s);

/* --- stream_rows.c: for the next checkpoint --- */

void stream_subject_changed(struct stream *s, struct subject_state *subject);
/* It is not in the map any more. Takes it. */
void stream_subject_gone(struct stream *s, struct subject_state *subject);
/* The one with that log index. */
void stream_entry_changed(struct stream *s, uint64_t index);
/* In which row of a checkpoint it is. */
uint64_t stream_entry_row(uint64_t index);
bool stream_is_entry_row(uint64_t row);

#endif
