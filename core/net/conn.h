/* conn: one connected socket: reads on its owner loop, an outbox that any loop may fill.
 *
 * The outbox is the one object of the server that several loops share. A publish is encoded on the
 * publisher's loop straight into the subscribers' outboxes, under a leaf lock per connection; at
 * the end of the producing loop's turn every outbox it touched is written once, without blocking.
 * When the socket takes no more, the owner loop goes on as soon as it is writable.
 *
 * With TLS or compression the outbox holds the plain bytes; only the owner encodes and writes them,
 * so the other loops ask it to by a message.
 *
 * (1) The descriptor is closed only by the owner, under the lock; who writes checks `closed` there.
 * (2) pending = bytes in chunks; it never passes max_pending.
 * (3) The memory stays until the last reference is gone and the turn of every loop has ended
 *     (loop_retire), so pointers found in the interest index are good for a turn. */
#ifndef CORE_NET_CONN_H
#define CORE_NET_CONN_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <uv.h>

#include "core/base/buffer.h"
#include "core/base/err.h"
#include "core/net/socket.h"
#include "core/net/tls.h"
#include "core/runtime/loop.h"

/* Texts: NATS monitoring, `reason` of closed connections. */
enum close_reason {
    CLOSE_CLIENT,
    CLOSE_AUTH_TIMEOUT,
    CLOSE_AUTH_FAILURE,
    CLOSE_SLOW_PENDING,
    CLOSE_SLOW_DEADLINE,
    CLOSE_WRITE_ERROR,
    CLOSE_READ_ERROR,
    CLOSE_PARSE_ERROR,
    CLOSE_STALE,
    CLOSE_PROTOCOL_VIOLATION,
    CLOSE_BAD_PROTOCOL_VERSION,
    CLOSE_WRONG_PORT,
    CLOSE_MAX_CONNECTIONS,
    CLOSE_MAX_PAYLOAD,
    CLOSE_MAX_CONTROL_LINE,
    CLOSE_DUPLICATE_ROUTE,
    CLOSE_ROUTE_REMOVED,
    CLOSE_SERVER_SHUTDOWN,
    CLOSE_NO_RESPONDERS_NEED_HEADERS,
    CLOSE_CLUSTER_NAME_CONFLICT,
    CLOSE_DUPLICATE_SERVER_NAME,
    CLOSE_TLS_HANDSHAKE,
    CLOSE_MAX_ACCOUNT_CONNECTIONS
};
const char *close_reason_text(enum close_reason reason);

struct conn;

struct conn_ops {
    /* Owner loop. The bytes are valid during the call; the connection may be closed in it. Not
     * called while the connection is paused, whatever has been read of it. */
    void (*on_data)(struct conn *conn, const char *data, size_t len);
    /* Owner loop; NULL where TLS is never expected. The handshake is done (failure NULL), or it has
     * failed: then this closes the connection. What is written before goes out in clear as long as
     * the other side has not begun with TLS. */
    void (*on_tls)(struct conn *conn, const char *failure);
    /* Owner loop; NULL where proxies are never expected. The header was there (failure NULL), and
     * the connection's remote address is the one it says, or it is bad: then this closes. */
    void (*on_proxy)(struct conn *conn, const char *failure);
    /* Owner loop; NULL where nobody waits for it. What the socket did not take at first has gone.
     */
    void (*on_drained)(struct conn *conn);
    /* Owner loop, once: no callback follows. The owner drops its pointer and its reference. */
    void (*on_close)(struct conn *conn, enum close_reason reason);
};

struct conn_chunk;

struct conn {
    struct loop *loop; /* borrowed: the owner */
    const struct conn_ops *ops;
    void *owner; /* borrowed: the client, route or peer */
    uint64_t id; /* unique per server run; shown as cid, rid */
    struct sockaddr_storage remote;
    char remote_host[INET6_ADDRSTRLEN];
    int remote_port;
    int64_t start_ns; /* wall clock */
    int64_t write_deadline_ns;
    size_t max_pending; /* bytes; 0: whoever fills it uses conn_begin_within() */
    size_t read_max;    /* owner: bytes taken from the socket at once, 1..LOOP_READ_BUFFER … */
    size_t read_size;   /* … but as many as a turn's share is enough for: conn_charge() */
    uint64_t charged;   /* owner: for what was read last */

    atomic_uint refs;
    uv_poll_t poll;
    int fd;
    bool paused;     /* owner: not reading */
    bool broken_off; /* owner: paused amid encoded input, which is kept where it is decoded */
    bool resumes;    /* owner: broken off, and the task that goes on with it has been posted … */
    bool resumed;    /* … and is to do so, for it was not paused again */
    bool wants_out;  /* owner: waiting for writable */
    struct loop_timer deadline;
    struct buffer *proxy;            /* owned; a header is expected, and begins like this */
    struct tls_context *tls_context; /* counted; NULL: plain */
    bool tls_optional;               /* plain as well, as the first byte has it */
    bool shaking;                    /* a flight of the handshake is in the work pool */
    bool secured;                    /* the handshake is done */
    atomic_bool holds_input;         /* its owner keeps bytes that are not handled yet */

    pthread_mutex_t lock; /* leaf; guards the rest */
    struct conn_chunk *first, *last;
    size_t pending;
    struct tls_session *tls; /* owned; NULL: bytes go in clear. Used by the owner alone */
    struct conn_compression *compression; /* owned; NULL: none. The same */
    bool flush_posted;                    /* encoded: the owner has been asked to write */
    bool blocked; /* the socket was full; the owner waits until it is writable */
    bool closed;
    uint64_t dirty_loops;   /* bit per loop that has this connection on its flush list */
    uint64_t waiting_loops; /* bit per loop with producers slowed by this connection */
    uint64_t out_msgs, out_bytes;
    uint64_t left_out; /* conn_begin_within() had no room for so many */
    bool leaves_out;   /* and that has been logged; until the outbox is empty */
};

/* Takes the connected, non-blocking descriptor. Owner loop. One reference is the caller's. */
struct conn *conn_open(struct loop *loop, int fd, uint64_t id, const struct conn_ops *ops,
                       void *owner);
struct conn *conn_retain(struct conn *conn);
/* Any loop thread. */
void conn_release(struct conn *conn);

/* Owner loop, before any input: a proxy may say whom it speaks for, before anything else. Whoever
 * does not begin like a proxy is taken as it is. */
void conn_expect_proxy(struct conn *conn);

/* Owner loop, before any input: the other side begins with a TLS handshake or, when that is
 * optional, may. Until its first byte everything is in clear, and there is no session yet. */
void conn_expect_tls(struct conn *conn, struct tls_context *context, bool optional);

/* Owner loop, on a new connection: begins a handshake with the server at the other end, whose
 * certificate has to be for `peer_name`. on_tls() tells how it went. */
void conn_start_tls(struct conn *conn, struct tls_context *context, const char *peer_name);

/* Owner loop: from now on both sides compress; `compress` false: ours is framed only. False when
 * something still waits to go out as it is. */
bool conn_start_compression(struct conn *conn, bool compress);
void conn_set_compressing(struct conn *conn, bool compress);

/* Any loop: begin with room for `len` bytes, fill the returned memory, end. NULL when the
 * connection is closed, or the bytes would pass max_pending: it is then being closed as a slow
 * consumer. Between the two calls the outbox lock is held: no other call. */
char *conn_begin(struct conn *conn, size_t len);
/* The same for what may be left out, as a network loses it: NULL as well when more than `limit`
 * bytes wait already. The connection stays open. So `limit` and one message are what can wait. */
char *conn_begin_within(struct conn *conn, size_t limit, size_t len);
/* Ends conn_begin(); `messages` is added to the connection's counters. Returns bytes pending. */
size_t conn_end(struct conn *conn, unsigned messages, size_t payload_bytes);
/* Ends conn_begin() without keeping its `len` bytes. */
void conn_cancel(struct conn *conn, size_t len);
/* Both in one, for small texts. */
void conn_write(struct conn *conn, struct bytes bytes);

/* Above this many pending bytes producers are slowed (design: 1 MB, resume at half). */
#define CONN_STALL_BYTES (1u << 20)
/* Asks to be told, through conn_on_drained, when the connection has drained; false when it has. */
bool conn_wait_drained(struct conn *conn);
/* Owner loop: everything is with the kernel. If not, the operation on_drained() tells when it is.
 */
bool conn_is_drained(struct conn *conn);
/* Runs on each waiting loop. Set once, before any connection exists. */
extern void (*conn_on_drained)(struct loop *loop);

/* A read is not interrupted, so that its work, done in one go, is what all others of the loop wait
 * for. Whoever handles input says what it costs, and of who costs more than a turn's share so much
 * less is read from then on, and more again when it is cheap. Units: a message in or out, some 100
 * ns. Large reads make messages cheaper, and nothing else: everything else counts for more than its
 * time, and a message for its bytes. */
#define CONN_TURN_COST    32768
#define CONN_COST_CONTROL 512 /* a subscription, an error, a login */
#define CONN_COST_PING    8
#define CONN_COST_BYTES   64 /* so many delivered ones for one unit */
/* Owner loop, in on_data(). */
static inline void conn_charge(struct conn *conn, uint64_t units)
{
    conn->charged += units;
}

/* Owner loop. What was read already and not given to on_data() waits, too; it comes in a later
 * turn, never from inside conn_resume(). */
void conn_pause(struct conn *conn);
void conn_resume(struct conn *conn);
/* Gives the connection to another module, callbacks included. */
void conn_hand_over(struct conn *conn, const struct conn_ops *ops, void *owner);
/* Tries to write what is pending, then closes; reasons that say so discard it. Idempotent. */
void conn_close(struct conn *conn, enum close_reason reason);
/* Any thread: it is closed, or the other side has closed it and left nothing to be handled. A
 * paused connection is not read, so its owner does not learn that by itself. */
bool conn_is_gone(struct conn *conn);
/* Any loop: the owner closes soon. */
void conn_close_soon(struct conn *conn, enum close_reason reason);

#endif
