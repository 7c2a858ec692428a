#include "monitoring/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/net/listener.h"
#include "monitoring/http_input.h"

/* connection: READING → handler → ANSWERING → `waits`: the answer goes out → READING or closed.
 * (1) A request keeps its connection's memory by a reference; `from` NULL: the client has gone.
 * (2) From a whole request until its answer is with the kernel nothing is read, and the next
 * request begins in another turn. So whoever sends many at once has one answer in memory, and this
 * loop does something else between any two. */

struct http_conn;

struct http_server {
    struct broker *broker;
    struct loop *loop;
    int fd;                    /* until there is a listener, which takes it over */
    struct listener *listener; /* owned */
    http_handler handler;
    void *arg;
    struct tls_context *tls; /* counted; NULL: plain */
    struct http_conn *list;  /* at most HTTP_CONNECTIONS_MAX */
    unsigned count;
};

struct http_conn {
    struct http_server *server;
    struct http_conn *next;
    struct conn *conn; /* counted */
    struct http_input input;
    struct http_request *request; /* being answered; NULL none */
    bool waits;                   /* answered; the answer has not gone out yet */
    bool last;                    /* that answer ends the connection */
    bool amid;                    /* a request has begun to come */
    int64_t since_ns;             /* monotonic: accepted, or last answered */
    struct loop_timer timer;      /* while a request is waited for */
};

struct http_request {
    struct http_conn *from; /* NULL: the client has gone */
    struct http_head head;
};

const char *http_path(const struct http_request *q)
{
    return q->head.path;
}

const char *http_query(const struct http_request *q, const char *name)
{
    return http_head_query(&q->head, name);
}

static void request_free(struct http_request *q)
{
    http_head_deinit(&q->head);
    free(q);
}

static const char *status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 307:
        return "Temporary Redirect";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

static void next_request(void *arg);

static void on_timeout(void *arg)
{
    struct http_conn *c = arg;
    conn_close(c->conn, CLOSE_STALE);
}

static void send_response(struct http_request *q, int status, const char *headers,
                          const struct bytes *parts, size_t count)
{
    struct http_conn *c = q->from;
    if (c == NULL) {
        request_free(q);
        return;
    }
    struct buffer out = {0};
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        length += parts[i].len;
    }
    buffer_printf(&out, "HTTP/1.1 %d %s\r\n%sContent-Length: %zu\r\n%s\r\n", status,
                  status_text(status), headers, length,
                  q->head.keep_alive ? "" : "Connection: close\r\n");
    bool keep = q->head.keep_alive;
    c->request = NULL;
    c->since_ns = clock_mono_ns();
    conn_write(c->conn, buffer_bytes(&out));
    buffer_deinit(&out);
    for (size_t i = 0; i < count && !q->head.is_head; i++) {
        if (parts[i].len > 0) {
            conn_write(c->conn, parts[i]);
        }
    }
    request_free(q);
    c->waits = true;
    c->last = !keep;
    loop_post(c->server->loop, next_request, conn_retain(c->conn));
}

void http_reply(struct http_request *q, int status, const char *type, struct bytes body)
{
    http_reply_parts(q, status, type, &body, 1);
}

void http_reply_parts(struct http_request *q, int status, const char *type,
                      const struct bytes *parts, size_t count)
{
    struct buffer headers = {0};
    bool json = strcmp(type, "application/json") == 0;
    buffer_printf(&headers, "Content-Type: %s\r\n%s%c", type,
                  json && status != 400 ? "Access-Control-Allow-Origin: *\r\n" : "", '\0');
    send_response(q, status, headers.data, parts, count);
    buffer_deinit(&headers);
}

void http_redirect(struct http_request *q, const char *path)
{
    struct buffer headers = {0};
    buffer_append_text(&headers, "Location: ");
    http_put_location(&headers, path, q->head.query);
    buffer_append(&headers, "\r\n", 3);
    send_response(q, 307, headers.data, NULL, 0);
    buffer_deinit(&headers);
}

/* --- input --- */

static void begin_request(struct http_conn *c, struct http_head head, enum http_input_status status)
{
    struct http_request *q = NEW(struct http_request);
    *q = (struct http_request){c, head};
    c->request = q;
    c->amid = false;
    loop_timer_cancel(c->server->loop, &c->timer);
    if (status == HTTP_INPUT_BAD) {
        http_reply(q, 400, "text/plain; charset=utf-8", BYTES_LIT("400 Bad Request"));
    } else if (status == HTTP_INPUT_TOO_LONG) {
        http_reply(q, 431, "text/plain; charset=utf-8",
                   BYTES_LIT("431 Request Header Fields Too Large"));
    } else {
        c->server->handler(c->server->arg, q);
    }
}

static void wait_for_request(struct http_conn *c, int64_t seconds)
{
    loop_timer_arm(c->server->loop, &c->timer, clock_mono_ns() + seconds * NS_PER_SEC, on_timeout,
                   c);
}

/* One request, or none while it is not whole. Its answer leads back here, in a later turn. */
static void read_request(struct http_conn *c)
{
    CHECK(c->request == NULL && !c->waits);
    struct http_head head;
    enum http_input_status status = http_input_next(&c->input, &head);
    if (status != HTTP_INPUT_MORE) {
        conn_pause(c->conn);
        begin_request(c, head, status);
        return;
    }
    conn_resume(c->conn);
    bool amid = http_input_is_amid(&c->input);
    if (amid != c->amid || !loop_timer_armed(&c->timer)) {
        c->amid = amid;
        wait_for_request(c, amid ? HTTP_HEADER_WAIT_S : HTTP_IDLE_WAIT_S);
    }
}

static void on_data(struct conn *conn, const char *data, size_t len)
{
    struct http_conn *c = conn->owner;
    http_input_feed(&c->input, bytes_make(data, len));
    read_request(c);
}

/* The last answer has gone out: the next request may follow. */
static void on_drained(struct conn *conn)
{
    struct http_conn *c = conn->owner;
    if (c->waits && c->last) {
        conn_close(conn, CLOSE_CLIENT);
    } else if (c->waits) {
        c->waits = false;
        read_request(c);
    }
}

static void next_request(void *arg)
{
    struct conn *conn = arg;
    if (!conn->closed && conn_is_drained(conn)) {
        on_drained(conn);
    }
    conn_release(conn);
}

static void on_close(struct conn *conn, enum close_reason reason)
{
    (void)reason;
    struct http_conn *c = conn->owner;
    for (struct http_conn **at = &c->server->list; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    CHECK(c->server->count > 0);
    c->server->count--;
    if (c->request != NULL) {
        c->request->from = NULL;
    }
    loop_timer_cancel(c->server->loop, &c->timer);
    http_input_deinit(&c->input);
    conn_release(conn);
    loop_retire(free, c);
}

/* A failed handshake is answered by closing; a good one needs nothing said. */
static void on_tls(struct conn *conn, const char *failure)
{
    if (failure != NULL) {
        log_error("%s - TLS handshake error: %s",
                  address_text(conn->remote_host, conn->remote_port).text, failure);
        conn_close(conn, CLOSE_TLS_HANDSHAKE);
    }
}

static const struct conn_ops http_ops = {
    .on_data = on_data, .on_tls = on_tls, .on_drained = on_drained, .on_close = on_close};

/* When there are as many as there may be, the one that has been of no use for the longest time
 * goes. False when all of them are being answered. */
static bool make_room(struct http_server *server)
{
    struct http_conn *oldest = NULL;
    if (server->count < HTTP_CONNECTIONS_MAX) {
        return true;
    }
    for (struct http_conn *c = server->list; c != NULL; c = c->next) {
        bool answered = c->request == NULL && !c->waits;
        if (answered && (oldest == NULL || c->since_ns < oldest->since_ns)) {
            oldest = c;
        }
    }
    if (oldest != NULL) {
        conn_close(oldest->conn, CLOSE_STALE);
    }
    return oldest != NULL;
}

static void on_accept(void *arg, int fd, bool crowded)
{
    struct http_server *server = arg;
    if (crowded || !make_room(server)) {
        (void)close(fd);
        return;
    }
    struct http_conn *c = NEW(struct http_conn);
    c->server = server;
    c->conn = conn_open(server->loop, fd, broker_next_id(server->broker), &http_ops, c);
    c->conn->read_max = HTTP_READ;
    if (server->tls != NULL) {
        conn_expect_tls(c->conn, server->tls, false);
    }
    c->next = server->list;
    server->list = c;
    server->count++;
    c->since_ns = clock_mono_ns();
    wait_for_request(c, HTTP_HEADER_WAIT_S);
}

static void start(void *arg)
{
    struct http_server *server = arg;
    server->listener =
        listener_open(server->loop, server->fd, "monitor", FILES_MONITORING, on_accept, server);
}

struct http_server *http_listen(struct broker *broker, const char *host, int *port,
                                struct tls_context *tls, http_handler handler, void *arg,
                                struct error *error)
{
    int fd = net_bind(host, port, error);
    if (fd < 0 || net_listen(fd, error) != OK) {
        return NULL;
    }
    struct http_server *server = NEW(struct http_server);
    server->broker = broker;
    server->loop = loops_at(broker_loops(broker), 0);
    server->fd = fd;
    server->handler = handler;
    server->arg = arg;
    server->tls = tls == NULL ? NULL : tls_context_retain(tls);
    loop_post(server->loop, start, server);
    return server;
}

void http_shutdown(struct http_server *server)
{
    listener_close(server->listener);
    server->listener = NULL;
    while (server->list != NULL) {
        conn_close(server->list->conn, CLOSE_SERVER_SHUTDOWN);
    }
}

void http_set_tls(struct http_server *server, struct tls_context *tls)
{
    tls_context_release(server->tls);
    server->tls = tls == NULL ? NULL : tls_context_retain(tls);
}

void http_free(struct http_server *server)
{
    if (server != NULL) {
        tls_context_release(server->tls);
    }
    free(server);
}
