#include "core/net/conn_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/net/chunk_pool.h"
#include "core/net/proxy.h"

#define CHUNK_MIN  1024
#define CHUNK_MAX  (CHUNK_POOL_BLOCK - sizeof(struct conn_chunk))
#define WRITEV_MAX 64

#define READ_MIN   1024
#define READ_FIRST (32 * 1024)

void (*conn_on_drained)(struct loop *loop);

/* Of CHUNK_MAX bytes, that a loop keeps: the pool would fetch them anew, page by page. */
#define SPARE_CHUNKS 32

/* What one loop keeps for its connections: those it has appended to in the current turn. */
struct flush_list {
    struct turn_task task;
    struct conn **conns;
    uint32_t count, cap;
    struct conn_chunk *spare;
    uint32_t spare_count;
    char *plain; /* LOOP_READ_BUFFER bytes for decrypted input; made on first use */
};

const char *close_reason_text(enum close_reason reason)
{
    static const char *const texts[] = {
        [CLOSE_CLIENT] = "Client Closed",
        [CLOSE_AUTH_TIMEOUT] = "Authentication Timeout",
        [CLOSE_AUTH_FAILURE] = "Authentication Failure",
        [CLOSE_SLOW_PENDING] = "Slow Consumer (Pending Bytes)",
        [CLOSE_SLOW_DEADLINE] = "Slow Consumer (Write Deadline)",
        [CLOSE_WRITE_ERROR] = "Write Error",
        [CLOSE_READ_ERROR] = "Read Error",
        [CLOSE_PARSE_ERROR] = "Parse Error",
        [CLOSE_STALE] = "Stale Connection",
        [CLOSE_PROTOCOL_VIOLATION] = "Protocol Violation",
        [CLOSE_BAD_PROTOCOL_VERSION] = "Bad Client Protocol Version",
        [CLOSE_WRONG_PORT] = "Incorrect Port",
        [CLOSE_MAX_CONNECTIONS] = "Maximum Connections Exceeded",
        [CLOSE_MAX_PAYLOAD] = "Maximum Message Payload Exceeded",
        [CLOSE_MAX_CONTROL_LINE] = "Maximum Control Line Exceeded",
        [CLOSE_DUPLICATE_ROUTE] = "Duplicate Route",
        [CLOSE_ROUTE_REMOVED] = "Route Removed",
        [CLOSE_SERVER_SHUTDOWN] = "Server Shutdown",
        [CLOSE_NO_RESPONDERS_NEED_HEADERS] = "No Responders Requires Headers",
        [CLOSE_CLUSTER_NAME_CONFLICT] = "Cluster Name Conflict",
        [CLOSE_DUPLICATE_SERVER_NAME] = "Duplicate Server Name",
        [CLOSE_TLS_HANDSHAKE] = "TLS Handshake Failure",
        [CLOSE_MAX_ACCOUNT_CONNECTIONS] = "Maximum Account Connections Exceeded",
    };
    return texts[reason];
}

/* --- life --- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void update_poll(struct conn *conn)
{
    int events = (conn->paused ? 0 : UV_READABLE) | (conn->wants_out ? UV_WRITABLE : 0);
    if (events == 0) {
        (void)uv_poll_stop(&conn->poll);
    } else {
        (void)uv_poll_start(&conn->poll, events, on_poll);
    }
}

struct conn *conn_open(struct loop *loop, int fd, uint64_t id, const struct conn_ops *ops,
                       void *owner)
{
    CHECK(loop_is_current(loop));
    struct conn *conn = NEW(struct conn);
    conn->loop = loop;
    conn->fd = fd;
    conn->id = id;
    conn->ops = ops;
    conn->owner = owner;
    conn->start_ns = clock_now_ns();
    conn->write_deadline_ns = 10 * NS_PER_SEC;
    conn->read_max = LOOP_READ_BUFFER;
    conn->read_size = READ_FIRST;
    atomic_init(&conn->refs, 2); /* the caller's, and the open handle's */
    pthread_mutex_init(&conn->lock, NULL);
    socklen_t len = sizeof conn->remote;
    if (getpeername(fd, (struct sockaddr *)&conn->remote, &len) == 0) {
        net_address_text(&conn->remote, conn->remote_host, &conn->remote_port);
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    CHECK(uv_poll_init(loop_uv(loop), &conn->poll, fd) == 0);
    conn->poll.data = conn;
    update_poll(conn);
    return conn;
}

struct conn *conn_retain(struct conn *conn)
{
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
    return conn;
}

static void forget_proxy(struct conn *conn)
{
    if (conn->proxy != NULL) {
        buffer_deinit(conn->proxy);
        free(conn->proxy);
        conn->proxy = NULL;
    }
}

static void destroy(void *arg)
{
    struct conn *conn = arg;
    CHECK(conn->closed && conn->first == NULL);
    tls_session_free(conn->tls);
    conn_free_compression(conn);
    forget_proxy(conn);
    tls_context_release(conn->tls_context);
    pthread_mutex_destroy(&conn->lock);
    free(conn);
}

void conn_release(struct conn *conn)
{
    if (atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) == 1) {
        loop_retire(destroy, conn);
    }
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    loop_enter(conn->loop);
    conn_release(conn);
}

/* --- writing --- */

static bool discards_pending(enum close_reason reason)
{
    return reason == CLOSE_READ_ERROR || reason == CLOSE_WRITE_ERROR ||
           reason == CLOSE_SLOW_PENDING || reason == CLOSE_SLOW_DEADLINE;
}

static struct flush_list *flush_list_here(struct loop *loop);

static void discard_chunk(struct conn_chunk *chunk)
{
    if (chunk->cap == CHUNK_MAX) {
        chunk_pool_give(chunk);
    } else {
        free(chunk);
    }
}

/* Any loop: the largest ones are kept for its next connection that needs one. */
void conn_free_chunk(struct conn_chunk *chunk)
{
    struct flush_list *here = flush_list_here(loop_current());
    if (chunk->cap == CHUNK_MAX && here->spare_count < SPARE_CHUNKS) {
        chunk->next = here->spare;
        here->spare = chunk;
        here->spare_count++;
    } else {
        discard_chunk(chunk);
    }
}

/* NULL without memory. */
static struct conn_chunk *new_chunk(size_t cap)
{
    struct flush_list *here = flush_list_here(loop_current());
    struct conn_chunk *chunk = here->spare;
    if (cap == CHUNK_MAX && chunk != NULL) {
        here->spare = chunk->next;
        here->spare_count--;
    } else if (cap == CHUNK_MAX) {
        chunk = chunk_pool_take();
    } else {
        chunk = mem_try_alloc(sizeof *chunk + cap);
    }
    if (chunk != NULL) {
        chunk->next = NULL;
        chunk->from = chunk->to = 0;
        chunk->cap = (uint32_t)cap;
    }
    return chunk;
}

static void free_chunks(struct conn *conn)
{
    while (conn->first != NULL) {
        struct conn_chunk *next = conn->first->next;
        conn_free_chunk(conn->first);
        conn->first = next;
    }
    conn->last = NULL;
    conn->pending = 0;
}

/* Lock held, not closed. */
static enum flush_result write_plain(struct conn *conn)
{
    while (conn->first != NULL) {
        NOT_CLEARED struct iovec parts[WRITEV_MAX];
        int count = 0;
        size_t offered = 0;
        for (struct conn_chunk *c = conn->first; c != NULL && count < WRITEV_MAX; c = c->next) {
            parts[count++] = (struct iovec){c->data + c->from, c->to - c->from};
            offered += c->to - c->from;
        }
        ssize_t n = offered == 0 ? 0 : writev(conn->fd, parts, count);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno == EAGAIN || errno == EWOULDBLOCK ? FLUSH_BLOCKED : FLUSH_FAILED;
        }
        size_t left = (size_t)n;
        conn->pending -= left;
        while (conn->first != NULL && (left > 0 || conn->first->from == conn->first->to)) {
            struct conn_chunk *c = conn->first;
            size_t here = c->to - c->from;
            if (left < here) {
                c->from += (uint32_t)left;
                break;
            }
            left -= here;
            conn->first = c->next;
            conn_free_chunk(c);
        }
        if (conn->first == NULL) {
            conn->last = NULL;
        }
        if ((size_t)n < offered) {
            return FLUSH_BLOCKED;
        }
    }
    return FLUSH_DONE;
}

static enum flush_result write_pending(struct conn *conn)
{
    return conn_is_encoded(conn) ? conn_write_encoded(conn) : write_plain(conn);
}

static void drained_task(void *arg)
{
    conn_on_drained(arg);
}

static void wake_producers(struct loop *from, uint64_t mask)
{
    for (unsigned i = 0; mask != 0; i++, mask >>= 1) {
        if (mask & 1) {
            struct loop *loop = loops_at(loop_family(from), i);
            loop_post(loop, drained_task, loop);
        }
    }
}

static void want_out_task(void *arg);

static void on_deadline(void *arg)
{
    conn_close(arg, CLOSE_SLOW_DEADLINE);
}

/* Owner loop: wait for writable, and not for ever. */
static void want_out(struct conn *conn)
{
    if (!conn->closed && !conn->wants_out) {
        conn->wants_out = true;
        update_poll(conn);
        loop_timer_arm(conn->loop, &conn->deadline, clock_mono_ns() + conn->write_deadline_ns,
                       on_deadline, conn);
    }
}

static void want_out_task(void *arg)
{
    struct conn *conn = arg;
    want_out(conn);
    conn_release(conn);
}

static void flush(struct conn *conn, uint64_t clear_dirty);

static void flush_task(void *arg)
{
    struct conn *conn = arg;
    pthread_mutex_lock(&conn->lock);
    conn->flush_posted = false;
    pthread_mutex_unlock(&conn->lock);
    flush(conn, 0);
    conn_release(conn);
}

/* Any loop. Writes unless the owner is already waiting for the socket. */
static void flush(struct conn *conn, uint64_t clear_dirty)
{
    pthread_mutex_lock(&conn->lock);
    conn->dirty_loops &= ~clear_dirty;
    if (conn_is_encoded(conn) && !loop_is_current(conn->loop)) {
        bool post = !conn->closed && !conn->blocked && !conn->flush_posted;
        conn->flush_posted = conn->flush_posted || post;
        pthread_mutex_unlock(&conn->lock);
        if (post) {
            loop_post(conn->loop, flush_task, conn_retain(conn));
        }
        return;
    }
    enum flush_result result = FLUSH_DONE;
    bool newly_blocked = false;
    uint64_t wake = 0;
    if (!conn->closed && !conn->blocked) {
        result = write_pending(conn);
        newly_blocked = conn->blocked = result == FLUSH_BLOCKED;
    }
    if (conn->pending < CONN_STALL_BYTES / 2) {
        wake = conn->waiting_loops;
        conn->waiting_loops = 0;
    }
    pthread_mutex_unlock(&conn->lock);
    if (wake != 0) {
        wake_producers(conn->loop, wake);
    }
    if (result == FLUSH_FAILED) {
        conn_close_soon(conn, CLOSE_WRITE_ERROR);
    } else if (newly_blocked) {
        if (loop_is_current(conn->loop)) {
            want_out(conn);
        } else {
            loop_post(conn->loop, want_out_task, conn_retain(conn));
        }
    }
}

void conn_flush(struct conn *conn)
{
    flush(conn, 0);
}

static void flush_all(void *arg)
{
    struct flush_list *list = arg;
    struct loop *loop = loop_current();
    uint64_t bit = UINT64_C(1) << loop_index(loop);
    for (uint32_t i = 0; i < list->count; i++) {
        flush(list->conns[i], bit);
    }
    list->count = 0;
    if (list->cap > 4096) {
        free(list->conns);
        list->conns = NULL;
        list->cap = 0;
    }
}

static void flush_list_free(void *arg)
{
    struct flush_list *list = arg;
    while (list->spare != NULL) {
        struct conn_chunk *next = list->spare->next;
        discard_chunk(list->spare);
        list->spare = next;
    }
    free(list->conns);
    free(list->plain);
    free(list);
}

static struct flush_list *flush_list_here(struct loop *loop)
{
    struct flush_list *list = loop_local(loop, LOOP_LOCAL_CONN);
    if (list == NULL) {
        list = NEW(struct flush_list);
        list->task.run = flush_all;
        list->task.arg = list;
        loop_local_set(loop, LOOP_LOCAL_CONN, list, flush_list_free);
    }
    return list;
}

char *conn_plain_buffer(struct loop *loop)
{
    struct flush_list *here = flush_list_here(loop);
    if (here->plain == NULL) {
        here->plain = mem_alloc(LOOP_READ_BUFFER);
    }
    return here->plain;
}

static void mark_dirty(struct conn *conn)
{
    struct loop *loop = loop_current();
    uint64_t bit = UINT64_C(1) << loop_index(loop);
    if ((conn->dirty_loops & bit) == 0) {
        conn->dirty_loops |= bit;
        struct flush_list *list = flush_list_here(loop);
        VEC_RESERVE(list->conns, list->cap, list->count);
        list->conns[list->count++] = conn;
        loop_at_turn_end(loop, &list->task);
    }
}

static struct conn_chunk *add_chunk(struct conn *conn, size_t len)
{
    size_t cap = conn->last == NULL ? CHUNK_MIN : (size_t)conn->last->cap * 8;
    cap = cap > CHUNK_MAX ? CHUNK_MAX : cap;
    cap = cap < len ? len : cap;
    struct conn_chunk *c = new_chunk(cap);
    if (c == NULL) {
        return NULL;
    }
    if (conn->last == NULL) {
        conn->first = c;
    } else {
        conn->last->next = c;
    }
    conn->last = c;
    return c;
}

/* Lock held, not closed; NULL lets go of it. */
static char *begin_locked(struct conn *conn, size_t len)
{
    struct conn_chunk *c = conn->last;
    if (conn->max_pending > 0 && len > conn->max_pending - conn->pending) { /* cannot wrap: (2) */
        pthread_mutex_unlock(&conn->lock);
        conn_close_soon(conn, CLOSE_SLOW_PENDING);
        return NULL;
    }
    if (c == NULL || c->cap - c->to < len) {
        c = add_chunk(conn, len);
        if (c == NULL) {
            pthread_mutex_unlock(&conn->lock);
            conn_close_soon(conn, CLOSE_SLOW_PENDING);
            return NULL;
        }
    }
    char *at = c->data + c->to;
    c->to += (uint32_t)len;
    conn->pending += len;
    return at;
}

char *conn_begin(struct conn *conn, size_t len)
{
    pthread_mutex_lock(&conn->lock);
    if (conn->closed) {
        pthread_mutex_unlock(&conn->lock);
        return NULL;
    }
    return begin_locked(conn, len);
}

char *conn_begin_within(struct conn *conn, size_t limit, size_t len)
{
    pthread_mutex_lock(&conn->lock);
    if (!conn->closed && conn->pending <= limit) {
        conn->leaves_out = conn->leaves_out && conn->pending > 0;
        return begin_locked(conn, len);
    }
    bool news = !conn->closed && !conn->leaves_out;
    conn->left_out += conn->closed ? 0 : 1;
    conn->leaves_out = true;
    pthread_mutex_unlock(&conn->lock);
    if (news) {
        log_warn("%s - Slow: more than %zu bytes wait for it, messages to it are dropped",
                 address_text(conn->remote_host, conn->remote_port).text, limit);
    }
    return NULL;
}

size_t conn_end(struct conn *conn, unsigned messages, size_t payload_bytes)
{
    size_t pending = conn->pending;
    conn->out_msgs += messages;
    conn->out_bytes += payload_bytes;
    mark_dirty(conn);
    pthread_mutex_unlock(&conn->lock);
    return pending;
}

void conn_cancel(struct conn *conn, size_t len)
{
    conn->last->to -= (uint32_t)len;
    conn->pending -= len;
    mark_dirty(conn); /* an empty chunk may be left: the flush frees it */
    pthread_mutex_unlock(&conn->lock);
}

void conn_write(struct conn *conn, struct bytes bytes)
{
    char *at = conn_begin(conn, bytes.len);
    if (at != NULL) {
        memcpy(at, bytes.ptr, bytes.len);
        (void)conn_end(conn, 0, 0);
    }
}

bool conn_wait_drained(struct conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    bool waits = !conn->closed && conn->pending >= CONN_STALL_BYTES / 2;
    if (waits) {
        conn->waiting_loops |= UINT64_C(1) << loop_index(loop_current());
    }
    pthread_mutex_unlock(&conn->lock);
    return waits;
}

bool conn_is_drained(struct conn *conn)
{
    CHECK(loop_is_current(conn->loop));
    conn_flush(conn); /* what was written in this turn */
    pthread_mutex_lock(&conn->lock);
    bool drained = !conn->closed && !conn->blocked && conn->pending == 0;
    pthread_mutex_unlock(&conn->lock);
    return drained;
}

/* --- owner loop --- */

static void on_writable(struct conn *conn)
{
    conn->wants_out = false;
    loop_timer_cancel(conn->loop, &conn->deadline);
    update_poll(conn);
    pthread_mutex_lock(&conn->lock);
    conn->blocked = false;
    pthread_mutex_unlock(&conn->lock);
    if (conn->ops->on_drained != NULL && conn_is_drained(conn)) {
        conn->ops->on_drained(conn);
    } else {
        flush(conn, 0);
    }
}

void conn_expect_proxy(struct conn *conn)
{
    CHECK(loop_is_current(conn->loop));
    conn->proxy = NEW(struct buffer);
}

/* Input while a proxy's header is expected. */
static void proxy_input(struct conn *conn, const char *data, size_t len)
{
    struct buffer start = *conn->proxy;
    *conn->proxy = (struct buffer){0};
    buffer_append(&start, data, len);
    struct proxy_source source;
    size_t used;
    switch (proxy_parse(buffer_bytes(&start), &source, &used)) {
    case PROXY_MORE:
        *conn->proxy = start; /* bounded: PROXY_HEADER_MAX decides */
        return;
    case PROXY_BAD:
        conn->ops->on_proxy(conn, "invalid PROXY protocol header");
        break;
    case PROXY_FOUND:
    case PROXY_NONE:
        if (source.known) {
            memcpy(conn->remote_host, source.host, sizeof conn->remote_host);
            conn->remote_port = source.port;
        }
        forget_proxy(conn);
        conn->ops->on_proxy(conn, NULL);
        if (!conn->closed && start.len > used) {
            conn_input(conn, start.data + used, start.len - used);
        }
        break;
    }
    buffer_deinit(&start);
}

/* After a read of `len` bytes of `asked`. */
static void adapt_read_size(struct conn *conn, size_t asked, size_t len)
{
    size_t size = conn->read_size;
    if (conn->charged > CONN_TURN_COST) {
        size = (size_t)((double)len * CONN_TURN_COST / (double)conn->charged);
    } else if (len == asked && conn->charged <= CONN_TURN_COST / 2) {
        size = asked * 2;
    }
    size = size > LOOP_READ_BUFFER ? LOOP_READ_BUFFER : size;
    conn->read_size = size < READ_MIN ? READ_MIN : size;
}

static void on_readable(struct conn *conn)
{
    char *buffer = loop_read_buffer(conn->loop);
    CHECK(conn->read_max > 0 && conn->read_max <= LOOP_READ_BUFFER);
    CHECK(conn->read_size >= READ_MIN && conn->read_size <= LOOP_READ_BUFFER);
    size_t asked = conn->read_size < conn->read_max ? conn->read_size : conn->read_max;
    ssize_t n = read(conn->fd, buffer, asked);
    conn->charged = 0;
    if (n > 0) {
        if (UNLIKELY(conn->proxy != NULL)) {
            proxy_input(conn, buffer, (size_t)n);
        } else {
            conn_input(conn, buffer, (size_t)n);
        }
        adapt_read_size(conn, asked, (size_t)n);
    } else if (n == 0) {
        conn_close(conn, CLOSE_CLIENT);
    } else if (errno != EAGAIN && errno != EINTR) {
        conn_close(conn, errno == ECONNRESET ? CLOSE_CLIENT : CLOSE_READ_ERROR);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;
    loop_enter(conn->loop);
    if (status < 0) {
        int error = net_connect_result(conn->fd);
        conn_close(conn, error == 0 || error == ECONNRESET || error == EPIPE ? CLOSE_CLIENT
                                                                             : CLOSE_READ_ERROR);
        return;
    }
    if (events & UV_WRITABLE) {
        on_writable(conn);
    }
    if ((events & UV_READABLE) && !conn->closed && !conn->paused) {
        on_readable(conn);
    }
}

void conn_pause(struct conn *conn)
{
    CHECK(loop_is_current(conn->loop));
    conn->resumed = false;
    if (!conn->closed && !conn->paused) {
        conn->paused = true;
        update_poll(conn);
    }
}

/* Nothing new is read before what was kept has been given away. */
static void resume_task(void *arg)
{
    struct conn *conn = arg;
    conn->resumes = false;
    if (!conn->closed && conn->resumed) {
        conn->resumed = false;
        conn->paused = false;
        update_poll(conn);
        conn_go_on(conn);
    }
    conn_release(conn);
}

void conn_resume(struct conn *conn)
{
    CHECK(loop_is_current(conn->loop));
    if (conn->closed || !conn->paused) {
        return;
    }
    if (!conn->broken_off) {
        conn->paused = false;
        update_poll(conn);
        return;
    }
    conn->resumed = true;
    if (!conn->resumes) {
        conn->resumes = true;
        loop_post(conn->loop, resume_task, conn_retain(conn));
    }
}

void conn_hand_over(struct conn *conn, const struct conn_ops *ops, void *owner)
{
    CHECK(loop_is_current(conn->loop));
    conn->ops = ops;
    conn->owner = owner;
    conn->read_max = LOOP_READ_BUFFER;
}

void conn_close(struct conn *conn, enum close_reason reason)
{
    CHECK(loop_is_current(conn->loop));
    pthread_mutex_lock(&conn->lock);
    if (conn->closed) {
        pthread_mutex_unlock(&conn->lock);
        return;
    }
    if (!discards_pending(reason) && write_pending(conn) == FLUSH_DONE) {
        conn_close_tls(conn);
    }
    conn->closed = true;
    free_chunks(conn);
    uint64_t wake = conn->waiting_loops;
    conn->waiting_loops = 0;
    pthread_mutex_unlock(&conn->lock);
    if (wake != 0) {
        wake_producers(conn->loop, wake);
    }
    loop_timer_cancel(conn->loop, &conn->deadline);
    (void)uv_poll_stop(&conn->poll);
    conn->ops->on_close(conn, reason);
    /* before the descriptor: from then on another thread may get the same number */
    uv_close((uv_handle_t *)&conn->poll, on_poll_closed);
    pthread_mutex_lock(&conn->lock); /* invariant (1) */
    (void)close(conn->fd);
    conn->fd = -1;
    pthread_mutex_unlock(&conn->lock);
}

bool conn_is_gone(struct conn *conn)
{
    char next;
    pthread_mutex_lock(&conn->lock); /* invariant (1) */
    bool gone = conn->closed;
    if (!gone) {
        ssize_t n = recv(conn->fd, &next, 1, MSG_PEEK | MSG_DONTWAIT);
        gone = (n == 0 && !atomic_load(&conn->holds_input)) ||
               (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    }
    pthread_mutex_unlock(&conn->lock);
    return gone;
}

struct close_request {
    struct conn *conn;
    enum close_reason reason;
};

static void close_task(void *arg)
{
    struct close_request *request = arg;
    conn_close(request->conn, request->reason);
    conn_release(request->conn);
    free(request);
}

void conn_close_soon(struct conn *conn, enum close_reason reason)
{
    struct close_request *request = NEW(struct close_request);
    *request = (struct close_request){conn_retain(conn), reason};
    loop_post(conn->loop, close_task, request);
}
