/* entry: what a stream's log entries look like inside. One batch of publishes is one entry, so that
 * a batch is one record on disk; consumer state and configuration are entries of the same log.
 *
 *   MESSAGES  u8 kind · varint first_seq · u32 count · u64 time
 *             then per message: varint time delta · varint subject, header, body length · bytes
 *   REMAINS   what is left of a MESSAGES entry when most of its messages are deleted; stands in
 *             its place once the log does not need it any more, and is never proposed.
 *             As MESSAGES, but before each message a varint: how many sequences are left out
 *
 * Sequences and times are in the entry: replicas decide nothing by themselves. Little endian. */
#ifndef JETSTREAM_STATE_ENTRY_H
#define JETSTREAM_STATE_ENTRY_H

#include "core/base/blob.h"
#include "core/base/buffer.h"

/* Where a client may make a sequence begin. From there no stream comes to SEQ_LAST by counting,
 * behind which none is given out: sums of sequences do not wrap, the top bit marks what is gone,
 * and JSON and clients take them for numbers below 2^63. */
#define SEQ_FIRST_MAX (UINT64_C(1) << 62)
#define SEQ_LAST      ((UINT64_C(1) << 63) - 2)

enum entry_kind {
    ENTRY_MESSAGES = 1,
    ENTRY_PURGE,    /* varint before_seq, keep · bytes filter · of a part: varint from_seq */
    ENTRY_DELETE,   /* varint seq */
    ENTRY_EXPIRE,   /* varint through_seq: max_age, decided by the leader's clock; and limits */
    ENTRY_CONFIG,   /* bytes JSON of the stream's configuration */
    ENTRY_CONSUMER, /* u64 time · bytes JSON: create or update */
    ENTRY_CONSUMER_DELETE, /* bytes name */
    ENTRY_DELIVER,         /* bytes consumer · u64 time · varint count · varint seqs */
    ENTRY_ACKS, /* bytes consumer · u64 time · varint count · (u8 op · varint seq, arg) */
    ENTRY_REMAINS
};

enum ack_op {
    ACK_OP_ACK,
    ACK_OP_NAK, /* arg: delay in ns */
    ACK_OP_TERM,
    ACK_OP_PROGRESS, /* +WPI */
    ACK_OP_EXHAUSTED /* max_deliver reached and the last ack wait is over */
};

/* A stored message; everything is borrowed from the entry. */
struct stored_message {
    uint64_t seq;
    int64_t time_ns;
    struct bytes subject, header, body;
};

/* Builds a MESSAGES or REMAINS entry. */
struct messages_builder {
    struct buffer data;
    uint64_t first_seq;
    uint32_t count;
    int64_t base_ns;
    size_t count_at;   /* where the fixed-width count is patched in */
    uint64_t next_seq; /* REMAINS: if the next message leaves none out */
};
/* The entry holds sequences first_seq, first_seq + 1, … in the order added. */
void messages_begin(struct messages_builder *b, uint64_t first_seq, int64_t now_ns);
void messages_add(struct messages_builder *b, int64_t now_ns, struct bytes subject,
                  struct bytes header, struct bytes body);
/* For what remains of a MESSAGES entry that began with first_seq. */
void remains_begin(struct messages_builder *b, uint64_t first_seq, int64_t now_ns);
/* In ascending order. */
void remains_add(struct messages_builder *b, const struct stored_message *m);
/* Hands out the finished entry; the builder is empty afterwards. */
struct blob *messages_finish(struct messages_builder *b);

/* Walks a MESSAGES or REMAINS entry. */
struct messages_reader {
    struct reader reader;
    uint64_t first_seq;
    uint64_t next_seq; /* of the message that comes next */
    uint32_t left;
    int64_t base_ns;
    bool remains;
};
/* False when it is neither. */
bool messages_open(struct messages_reader *r, struct bytes entry);
bool messages_next(struct messages_reader *r, struct stored_message *m);

/* Can the entry be applied, as far as that can be told without a stream? What cannot must not be
 * proposed: it would stop the stream on every replica. (entry_check.c) */
bool entry_is_understood(struct bytes entry);

/* Is it of a kind that this version knows? */
bool entry_is_known(struct bytes entry);

/* Value of a header of the block ("NATS/1.0\r\nKey: value\r\n…\r\n"); the first occurrence, case
 * matters, blanks before the value are skipped. Empty counts as absent: false. */
bool header_find(struct bytes header, const char *key, struct bytes *value);

/* What a message counts for in max_bytes and state.bytes. Streams reference §2.1, file storage. */
uint64_t message_bytes(size_t subject, size_t header, size_t body);

#endif
