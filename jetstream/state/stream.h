/* stream: the state machine of one stream and its consumers. Applying the same entries gives the
 * same state on every replica: it asks no clock, draws no numbers and looks only into its own log.
 *
 * The messages themselves stay in the log; the state knows where: per MESSAGES entry its log index,
 * first sequence and count. Reading one asks the owner for the entry (`read`).
 *
 * Owner: the loop of the stream; in the simulator its one thread. */
#ifndef JETSTREAM_STATE_STREAM_H
#define JETSTREAM_STATE_STREAM_H

#include "core/base/err.h"
#include "core/base/map.h"
#include "jetstream/state/config.h"
#include "jetstream/state/entry.h"
#include "jetstream/state/holes.h"
#include "jetstream/state/rows.h"

struct stream;

/* One MESSAGES entry of the log. */
struct stream_entry {
    uint64_t index; /* in the Raft log */
    uint64_t first_seq;
    uint32_t count;
    uint32_t live; /* not deleted and not below first_seq; 0: it may be dropped any time */
};

/* One allocation with its subject, which the map borrows: streams may have millions. */
struct subject_state {
    uint64_t count;
    uint64_t last_seq; /* 0: to be looked up, the last one was deleted */
    uint64_t row;      /* of the checkpoint; 0: it is not in there */
    uint32_t len;
    bool changed; /* it is in stream_changes.subjects */
    char subject[];
};

struct seen_id { /* dedupe: a Nats-Msg-Id of the window */
    uint64_t seq;
    int64_t time_ns;
};

struct seen_order {
    char *id; /* owned */
    size_t len;
    uint64_t seq;
    int64_t time_ns;
};

/* A delivered message that is not acknowledged. */
struct pending_message {
    uint64_t stream_seq;   /* top bit set: acknowledged, to be squeezed out */
    uint64_t consumer_seq; /* of its first delivery */
    int64_t due_ns;        /* redelivery is due then */
    int64_t due_mono_ns;   /* the same by this server's clock_mono_ns(), which nobody sets; 0: not
                              known. No part of the state. */
    uint32_t deliveries;
};

struct consumer {
    struct consumer_config config;
    int64_t created_ns;
    uint64_t delivered_seq, delivered_stream_seq; /* consumer and stream sequence */
    uint64_t floor_seq, floor_stream_seq;
    int64_t last_delivered_ns, last_acked_ns;
    struct pending_message *pending; /* ascending by stream_seq, holes among them */
    uint32_t pending_from, pending_count, pending_cap;
    uint32_t ack_pending;   /* live ones */
    uint64_t filtered_left; /* matching messages behind delivered_stream_seq; filters only */
    bool has_filter;        /* a filter that does not cover all subjects of the stream */
    uint64_t start_seq;     /* where it began */
    void *leader;           /* the leader's side; NULL elsewhere */
};

/* What the last checkpoint does not have: stream_rows.c. */
struct stream_changes {
    bool all;                        /* it has nothing, and the rest of this is empty */
    uint64_t next_row;               /* the last number given */
    struct subject_state **subjects; /* borrowed; owned those that are gone: count 0 */
    uint32_t subject_count, subject_cap;
    uint64_t *entry_rows; /* ascending */
    uint32_t entry_row_count, entry_row_cap;
    uint64_t first_entry_row; /* none before is there */
};

struct stream_totals {
    uint64_t first_seq, last_seq, messages, bytes;
    int64_t first_ns, last_ns;
};

struct stream {
    struct stream_config config;
    int64_t created_ns;
    struct stream_totals totals;
    struct stream_entry *entries; /* live part: [entries_from, entries_count) */
    uint32_t entries_from, entries_count, entries_cap;
    uint32_t entries_dead; /* of them without live messages */
    struct holes deleted;  /* within [first_seq, last_seq] */
    uint64_t *sparse;      /* log indexes of entries that have lost messages in the middle */
    uint32_t sparse_count, sparse_cap;
    uint32_t rewrite_least;        /* bytes of a record that is worth writing anew */
    struct map subjects;           /* subject → struct subject_state */
    struct map seen;               /* Nats-Msg-Id → struct seen_id */
    struct seen_order *seen_order; /* the ids again, oldest first */
    uint32_t seen_from, seen_count, seen_cap;
    char *last_msg_id;     /* Nats-Msg-Id of the last message; NULL none */
    struct map consumers;  /* name → struct consumer */
    uint64_t content_hash; /* over every message applied, in order: replicas must agree */
    struct stream_changes changes;

    /* Reads a MESSAGES entry of the log: a reference, or NULL when it cannot be read. */
    struct blob *(*read)(void *arg, uint64_t index);
    void *arg;
    /* This server's clocks as an entry is applied, for due_mono_ns; 0: nobody waits here. */
    struct {
        int64_t wall_ns, mono_ns;
    } here;
    bool unreadable;     /* `read` has failed since the last entry was applied */
    bool applying, lost; /* in stream_apply(); messages were lost in it */
    struct blob
        *cursor; /* the entry read last, and where in it the next message is, and the last */
    uint64_t cursor_index;
    struct messages_reader cursor_reader, cursor_before;
};

/* What applying one entry came to, for whoever waits for it. */
struct apply_result {
    struct js_error error;     /* JS_OK: done; else it did nothing, on every replica */
    const char *warning;       /* to be logged: nobody should have proposed this. NULL mostly */
    uint64_t count;            /* PURGE: messages removed */
    struct consumer *consumer; /* CONSUMER, DELIVER, ACKS: which; NULL: it is gone */
    bool created;              /* CONSUMER: it is new */
};

/* Takes the configuration. */
struct stream *stream_new(struct stream_config *config, int64_t created_ns,
                          struct blob *(*read)(void *arg, uint64_t index), void *arg);
void stream_free(struct stream *s);

/* Applies a DATA entry. What it was checked against when it was proposed may have changed since, so
 * all of that is checked again here: what makes no sense, or is not allowed, in the state as it is
 * does nothing, and *result says why. ERR_CORRUPT only when it cannot be decoded, or is not
 * understood: the replica must stop. ERR_IO when an earlier entry, needed for this one, cannot be
 * read: the state is half-way then and of no use; but in a stream of one replica, where nobody else
 * has it, its messages are removed as lost. `before_delete` is called with a consumer that is about
 * to be freed; may be NULL. */
MUST_USE enum err stream_apply(struct stream *s, uint64_t index, struct bytes entry,
                               struct apply_result *result,
                               void (*before_delete)(void *arg, struct consumer *c), void *arg);

/* Entries that could concern all messages of a stream go in parts. So many sequences are one. */
uint64_t stream_slice(const struct stream *s);
/* More than max_msgs, max_bytes allow, because those have been lowered: each entry applied takes a
 * part of it away. */
bool stream_is_over_limits(const struct stream *s);

/* The whole state but messages, and back. decode: ERR_CORRUPT on nonsense; the stream is then
 * unusable. */
void stream_encode(struct stream *s, struct buffer *out);
/* The same for comparing: equal states give equal bytes. Takes its time. */
void stream_encode_sorted(struct stream *s, struct buffer *out);
MUST_USE enum err stream_decode(struct stream *s, struct bytes state);

/* The same as a checkpoint, which builds on the one before: appends the head, and calls for the
 * rows that have changed since. */
void stream_checkpoint(struct stream *s, struct buffer *head, const struct row_writer *rows);
/* After stream_decode() of a head: its rows, in ascending order, then the end. ERR_CORRUPT on
 * nonsense, or when something is missing. */
MUST_USE enum err stream_decode_row(struct stream *s, uint64_t row, struct bytes value);
MUST_USE enum err stream_decode_end(struct stream *s);
/* No checkpoint is there to build on: the next one has all rows. */
void stream_write_all_rows(struct stream *s);

/* A stream from what is left of it (stream_recover.c): its checkpoint cannot be read, wholly or in
 * part, and nobody else has it. `stream` and `known` each come from stream_decode() of the head of
 * the checkpoint, which is that of log index `known_up_to`; without it `stream` is a new one and
 * `known` NULL. Both are taken. `stream` reads by its `read` meanwhile. From index `log_from` on
 * nothing of the log has been dropped.
 *
 * Then the rows that could be read, ascending; then the records, ascending; then the end, which
 * gives the stream. `tell` says what must not stay untold: sequences from <= … <= to (UINT64_MAX:
 * nobody knows) that are lost; or that are there although they may have been deleted. */
enum recovery_finding { RECOVERY_LOST, RECOVERY_DOUBTFUL };
typedef void (*stream_recovery_cb)(void *arg, enum recovery_finding finding, uint64_t from,
                                   uint64_t to);
struct stream_recovery;
struct stream_recovery *stream_recovery_new(struct stream *stream, struct stream *known,
                                            uint64_t known_up_to, uint64_t log_from,
                                            stream_recovery_cb tell, void *arg);
void stream_recovery_row(struct stream_recovery *r, uint64_t row, struct bytes value);
/* Records are missing in front of the next one. */
void stream_recovery_missing(struct stream_recovery *r);
/* ERR_CORRUPT: it makes no sense. */
enum err stream_recovery_record(struct stream_recovery *r, uint64_t index, struct bytes entry);
/* Frees `r`. */
struct stream *stream_recovery_end(struct stream_recovery *r);

/* Together with a checkpoint: records that hold mostly deleted messages are written anew with what
 * is left, or removed, if they are below log index `from`: the log does not need those any more. In
 * from <= … < `to` the caller drops now what holds nothing; what is above waits. */
void stream_rewrite(struct stream *s, uint64_t from, uint64_t to,
                    const struct record_writer *records);

/* Log index of the first entry that still holds live messages; UINT64_MAX without any. */
uint64_t stream_first_needed_index(const struct stream *s);
/* Next log index at or above `index` that holds messages; UINT64_MAX when there is none. */
uint64_t stream_next_kept_index(const struct stream *s, uint64_t index);

/* The MESSAGES entry with that log index, NULL when none of its messages is left. Borrowed. */
const struct stream_entry *stream_entry_at(const struct stream *s, uint64_t index);

/* --- reading --- */

bool stream_is_deleted(const struct stream *s, uint64_t seq);
/* OK, ERR_NOT_FOUND (never stored, or removed), ERR_CORRUPT (its entry cannot be read). The message
 * is borrowed until the next reading or applying call. */
enum err stream_read(struct stream *s, uint64_t seq, struct stored_message *m);
/* First live message at or above `seq`. At ERR_CORRUPT m->seq says which could not be read. */
enum err stream_next(struct stream *s, uint64_t seq, struct stored_message *m);
/* The first that matches. When *budget is spent, about bytes of messages looked at: ERR_BUSY, and
 * m->seq is where to go on. */
enum err stream_search(struct stream *s, uint64_t seq, struct filters filters, size_t *budget,
                       struct stored_message *m);
/* Live messages at or above `from` that match. They are read only when the counts by subject do not
 * tell. */
uint64_t stream_count_matching(struct stream *s, uint64_t from, struct filters filters);
/* Last message whose subject matches the pattern. */
enum err stream_last_by_subject(struct stream *s, struct bytes pattern, struct stored_message *m);
/* The last message of each subject that matches, none above
 * `up_to`: *seqs is a heap array, the caller's in any case, ascending, *count long. ERR_LIMIT:
 * there are more than `most`; ERR_CORRUPT: one cannot be read. */
MUST_USE enum err stream_last_of_each(struct stream *s, uint64_t up_to, struct filters filters,
                                      uint32_t most, uint64_t **seqs, uint32_t *count);
/* Subjects that match the filter, in alphabetical order, from the `offset`th on, `limit` at most:
 * *list is a heap array, the caller's, of borrowed ones, *count long. Returns how many match. */
uint32_t stream_subjects(const struct stream *s, const char *filter, uint32_t offset,
                         uint32_t limit, struct subject_state ***list, uint32_t *count);
/* Last sequence on a literal subject; 0 when it has none, UINT64_MAX when that cannot be read. */
uint64_t stream_subject_last(struct stream *s, struct bytes subject);
/* First live sequence stored at or after `time_ns`; last + 1 when there is none. While a clock was
 * set back messages were stored that are older than some in front of them: one of the places where
 * they pass that time is found then. */
uint64_t stream_seq_at(struct stream *s, int64_t time_ns);
/* Live messages in [from, to]. */
uint64_t stream_count_between(const struct stream *s, uint64_t from, uint64_t to);
/* Through which sequence max_age has run out at `now_ns`; 0: none. A part of them (stream_slice())
 * at most, and never one behind a message that is not that old yet, whatever clocks have done. */
uint64_t stream_expired_through(struct stream *s, int64_t now_ns);

/* --- consumers --- */

uint64_t consumer_left(const struct stream *s, const struct consumer *c);
/* NULL when that sequence is not pending. */
struct pending_message *consumer_pending(struct consumer *c, uint64_t stream_seq);
/* How long after a delivery its redelivery is due. */
int64_t consumer_wait_ns(const struct consumer *c, uint32_t deliveries);
/* When a redelivery is due by this server's monotonic clock, given both of its clocks now. */
int64_t consumer_due_mono_ns(const struct consumer *c, const struct pending_message *p,
                             int64_t wall_ns, int64_t mono_ns);
/* Messages delivered more than once and not acknowledged. */
uint64_t consumer_redelivered(const struct consumer *c);

#endif
