/* publish: the leader's decision on each message before it goes into the log: what is refused, what
 * is a duplicate, which sequence it gets. Deciding before the log means that every sequence in the
 * log is a stored message.
 *
 * The leader's view is its state plus what it has proposed in this term and not seen committed. It
 * is right because only the leader appends while it leads, and what it proposed either commits in
 * order or the leadership, and with it this view, is over (publisher_reset). */
#ifndef JETSTREAM_STATE_PUBLISH_H
#define JETSTREAM_STATE_PUBLISH_H

#include "jetstream/state/stream.h"

/* Header and body of a message in a stream, whatever max_payload says: entries travel whole. */
#define PUBLISH_BYTES_MAX (64u << 20)

struct publisher {
    struct stream *stream;          /* borrowed */
    uint64_t last_seq;              /* the state's, or that of the last message proposed */
    uint64_t messages, bytes;       /* the state's plus proposed ones, for discard new */
    struct map ids;                 /* Nats-Msg-Id under way → seq */
    struct map subjects;            /* subject under way → seq */
    struct proposed_message *queue; /* what is under way, oldest first */
    uint32_t queue_from, queue_count, queue_cap;
    char *last_msg_id; /* of the last message proposed; valid while something is under way */
};

enum publish_action {
    PUBLISH_STORE,     /* add it with `seq` */
    PUBLISH_DUPLICATE, /* stored as `seq`; acknowledge when that one is committed */
    PUBLISH_REFUSED    /* `error` */
};

struct publish_decision {
    enum publish_action action;
    uint64_t seq;
    struct js_error error;
};

void publisher_init(struct publisher *p, struct stream *stream);
void publisher_deinit(struct publisher *p);
/* Begins anew from the state: call on becoming leader, when all earlier entries are applied. */
void publisher_reset(struct publisher *p);
/* Decides, and for PUBLISH_STORE counts the message as under way. Order of checks: API reference
 * §6.3. */
struct publish_decision publisher_decide(struct publisher *p, struct bytes subject,
                                         struct bytes header, struct bytes body, int64_t now_ns);
/* A purge of everything below `before` has been proposed. Beyond the last sequence it moves that:
 * what is published behind it in the log is numbered from `before` on. */
void publisher_purging(struct publisher *p, uint64_t before);
/* Everything up to `seq` is applied. */
void publisher_applied(struct publisher *p, uint64_t seq);
/* The state has shrunk by other means than publishing (limits, purge, delete). */
void publisher_recount(struct publisher *p);

#endif
