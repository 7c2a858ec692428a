/* Shared by the files of a client's session: client.c, client_login.c, client_subs.c. All of it
 * runs on the client's loop. */
#ifndef CORE_BROKER_CLIENT_INTERNAL_H
#define CORE_BROKER_CLIENT_INTERNAL_H

#include "core/broker/broker_internal.h"

/* "<ip>:<port> - cid:<id>…": how every log line about a client begins. */
struct client_prefix {
    char text[256];
};
struct client_prefix client_prefix(const struct client *c);

/* -ERR '<text>'; the connection stays open. */
void client_send_err(struct client *c, const char *text);
/* +OK when the client is verbose. */
void client_send_ok(struct client *c);
/* Logs and sends the error (NULL: neither), then closes. `c` must not be used afterwards. */
void client_fail(struct client *c, const char *text, enum close_reason reason);
/* Permissions Violation for <what> "<subject>"[ using queue "<queue>"] */
void client_violation(struct client *c, const char *what, struct bytes subject, struct bytes queue);
/* The client has not said who it is: only that is parsed, in small pieces. Its end: once it is
 * known who it is. */
#define CLIENT_GREETING_READ (32u * 1024) /* bytes; what is behind a CONNECT waits in memory */
void client_set_greeting(struct client *c, bool greeting);
/* Input that arrived on the connection, or was held back while a password was verified. */
void client_process(struct client *c, const char *data, size_t len);
void client_arm_ping(struct client *c, int64_t after_ns);

/* Trace lines, when tracing is on (log_enabled(LOG_TRC)). What goes out: any loop. */
void client_trace_in(const struct client *c, const struct proto_op *op);
void client_trace_out(const struct client *c, struct bytes line);
/* `encoded` ends with the payload and CR LF. */
void client_trace_message(const struct client *c, struct bytes encoded, struct bytes payload,
                          uint32_t header_len);
/* A line of the protocol to the client, traced. */
void client_write(struct client *c, struct bytes line);

void client_on_sub(struct client *c, const struct proto_op *op);
void client_on_unsub(struct client *c, const struct proto_op *op);
void client_drop_subscriptions(struct client *c);
/* The account's imports have changed. */
void client_remake_shadows(struct client *c);
/* Those the permissions do not allow any more; the client gets an -ERR for each. */
void client_drop_forbidden_subscriptions(struct client *c);

/* allow_responses: is this the reply subject of a request that was delivered to the client, with an
 * answer left? Uses one up. */
bool client_may_reply(struct client *c, struct bytes subject);
void client_forget_replies(struct client *c);

void client_on_connect(struct client *c, const struct proto_op *op);
/* The first operation is not CONNECT: false when that is not allowed; the client is closed then,
 * or will be. */
bool client_admit(struct client *c);

/* An entry of /connz; of one that is gone (the index-th of those kept; NULL: no more). */
/* `auth`: with user and account. New reference. */
json_t *client_describe(const struct client *c, bool auth);
json_t *client_describe_closed(const struct broker_loop *here, uint32_t index, bool auth);
uint32_t client_closed_count(const struct broker_loop *here);
uint64_t client_closed_cid(const struct broker_loop *here, uint32_t index);
/* Where a client stands in the order of a page: by key, text, and `order` in which they were found.
 */
struct client_rank {
    int64_t key;
    const char *text; /* static */
    uint64_t order, cid;
};
/* False: it is not one of those that were asked for. `order` is the caller's. */
bool client_rank(const struct client *c, const struct client_page *page, struct client_rank *rank);
bool client_rank_closed(const struct broker_loop *here, uint32_t index,
                        const struct client_page *page, struct client_rank *rank);
/* The members of a subscription in /connz and /subsz. */
void client_put_subscription(json_t *o, const struct subscription *sub);
/* --- walk.c --- */

void client_walk_begin(struct client_walk *w, struct broker_loop *here);
/* On every loop that has had its turn. */
void client_walk_end(struct client_walk *w, struct broker_loop *here);
void client_walk_next(struct client_walk *w);
#define WALK_SLICE          8192 /* steps of a turn, each some ten nanoseconds … */
#define WALK_ENTRY_STEPS    32   /* … and what an entry of the answer counts for */
#define WALK_RANK_STEPS     16   /* … a client whose figures are looked at */
#define WALK_DESCRIBE_STEPS 512  /* … and one in the answer */

/* Walks that stand at the client go on to the next one: before it leaves its home's list. */
void client_leaves_walks(struct client *c);
/* For /connz?state=closed; before the client drops what it has. */
void client_remember_closed(const struct client *c, enum close_reason reason);

#endif
