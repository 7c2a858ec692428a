/* What conn.c does when bytes do not go as they are: TLS, and compression between servers, one
 * inside the other.
 *
 *   outbox → (compress) → (encrypt) → socket → (decrypt) → (decompress) → on_data
 *
 * Both have state that cannot be shared, so only the owner loop writes such a connection. TLS:
 *
 *   expected → first byte of a handshake → SHAKING, one flight after another → secured → records
 *
 * A flight of the handshake is milliseconds of arithmetic, so it is computed in the work pool, with
 * a copy of its input, while the connection is not read. What can go wrong in it ends in on_tls()
 * with the reason; the connection may also be closed meanwhile.
 *
 * (1) While `shaking`, the session is the pool's: nobody else uses it. The flight keeps the
 *     connection's memory.
 * (2) One read may decode to many calls of on_data(), and any of them may pause the connection:
 * what is left is kept, still encoded, and `broken_off` says so. Nothing else is read meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/net/conn_internal.h"
#include "core/net/s2.h"
#include "core/runtime/work.h"

#define TLS_BATCH            (256u * 1024) /* plaintext encrypted before the socket is asked again */
#define TLS_RECORD           (16u * 1024)
#define TLS_HANDSHAKE_RECORD 0x16

struct conn_compression {
    struct s2_reader reader;
    bool compress;      /* what we write; else it is framed only */
    struct buffer out;  /* without TLS: bytes for the socket */
    struct buffer kept; /* invariant (2) */
};

bool conn_is_encoded(const struct conn *conn)
{
    return conn->tls != NULL || conn->compression != NULL;
}

/* --- writing --- */

static enum flush_result write_output(struct conn *conn)
{
    struct buffer *out = conn->tls != NULL ? tls_output(conn->tls) : &conn->compression->out;
    while (out->len > 0) {
        ssize_t n = write(conn->fd, out->data, out->len);
        if (n > 0) {
            buffer_consume(out, (size_t)n);
        } else if (n == 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
            return FLUSH_BLOCKED;
        } else if (errno != EINTR) {
            return FLUSH_FAILED;
        }
    }
    buffer_deinit(out); /* an idle connection keeps no buffers */
    return FLUSH_DONE;
}

/* Takes about TLS_BATCH bytes of whole chunks off the front. */
static struct conn_chunk *take_batch(struct conn *conn)
{
    struct conn_chunk *batch = conn->first;
    struct conn_chunk *last = batch;
    size_t bytes = last->to - last->from;
    while (last->next != NULL && bytes < TLS_BATCH) {
        last = last->next;
        bytes += last->to - last->from;
    }
    conn->first = last->next;
    conn->last = conn->first == NULL ? NULL : conn->last;
    last->next = NULL;
    return batch;
}

static bool encrypt(struct conn *conn, struct bytes bytes)
{
    return tls_write(conn->tls, bytes) == TLS_OK;
}

/* All of a batch in one stream; with TLS it is encrypted then. */
static bool compress_batch(struct conn *conn, const struct conn_chunk *batch)
{
    struct conn_compression *c = conn->compression;
    struct buffer plain = {0};
    struct bytes bytes = bytes_make(batch->data + batch->from, batch->to - batch->from);
    if (batch->next != NULL) {
        for (; batch != NULL; batch = batch->next) {
            buffer_append(&plain, batch->data + batch->from, batch->to - batch->from);
        }
        bytes = buffer_bytes(&plain);
    }
    bool done = true;
    if (bytes.len > 0) {
        s2_write(bytes, c->compress, &c->out);
    }
    if (conn->tls != NULL) {
        done = encrypt(conn, buffer_bytes(&c->out));
        buffer_clear(&c->out);
    }
    buffer_deinit(&plain);
    return done;
}

static bool encrypt_batch(struct conn *conn, const struct conn_chunk *batch)
{
    bool done = true;
    for (; batch != NULL && done; batch = batch->next) {
        done = encrypt(conn, bytes_make(batch->data + batch->from, batch->to - batch->from));
    }
    return done;
}

/* Frees the batch; returns how many bytes it had. */
static size_t free_batch(struct conn_chunk *batch)
{
    size_t bytes = 0;
    while (batch != NULL) {
        struct conn_chunk *next = batch->next;
        bytes += batch->to - batch->from;
        conn_free_chunk(batch);
        batch = next;
    }
    return bytes;
}

enum flush_result conn_write_encoded(struct conn *conn)
{
    if (conn->shaking) {
        return FLUSH_DONE; /* what waits goes out when the flight is back */
    }
    enum flush_result result = write_output(conn);
    while (result == FLUSH_DONE && conn->first != NULL) {
        struct conn_chunk *batch = take_batch(conn);
        pthread_mutex_unlock(&conn->lock);
        bool done =
            conn->compression != NULL ? compress_batch(conn, batch) : encrypt_batch(conn, batch);
        size_t bytes = free_batch(batch);
        pthread_mutex_lock(&conn->lock);
        conn->pending -= bytes;
        result = done ? write_output(conn) : FLUSH_FAILED;
    }
    return result;
}

void conn_close_tls(struct conn *conn)
{
    if (conn->secured) {
        tls_close_notify(conn->tls);
        (void)write_output(conn);
    }
}

/* --- compression --- */

bool conn_start_compression(struct conn *conn, bool compress)
{
    CHECK(loop_is_current(conn->loop) && conn->compression == NULL);
    conn_flush(conn);
    struct conn_compression *c = NEW(struct conn_compression);
    c->compress = compress;
    pthread_mutex_lock(&conn->lock);
    bool clear = conn->pending == 0;
    conn->compression = clear ? c : NULL;
    pthread_mutex_unlock(&conn->lock);
    if (!clear) {
        free(c);
    }
    return clear;
}

void conn_set_compressing(struct conn *conn, bool compress)
{
    CHECK(loop_is_current(conn->loop) && conn->compression != NULL);
    conn->compression->compress = compress;
}

void conn_free_compression(struct conn *conn)
{
    if (conn->compression != NULL) {
        s2_reader_deinit(&conn->compression->reader);
        buffer_deinit(&conn->compression->out);
        buffer_deinit(&conn->compression->kept);
        free(conn->compression);
    }
}

/* To the connection's owner, decompressed. The connection may be closed afterwards. */
static void deliver(struct conn *conn, struct bytes bytes)
{
    if (conn->compression == NULL) {
        conn->ops->on_data(conn, bytes.ptr, bytes.len);
        return;
    }
    struct buffer plain = {0};
    enum err err;
    while ((err = s2_read(&conn->compression->reader, &bytes, &plain)) == OK && plain.len > 0) {
        conn->ops->on_data(conn, plain.data, plain.len);
        buffer_clear(&plain);
        if (conn->closed) {
            break;
        }
        if (conn->paused && bytes.len > 0) {
            buffer_append_bytes(&conn->compression->kept, bytes);
            conn->broken_off = true;
            break;
        }
    }
    buffer_deinit(&plain);
    if (err != OK && !conn->closed) {
        conn_close(conn, CLOSE_READ_ERROR);
    }
}

/* --- records --- */

/* Takes what the session can give of its input, until the connection is paused. It may be closed
 * afterwards. */
static void take_records(struct conn *conn)
{
    char *plain = conn_plain_buffer(conn->loop);
    enum tls_status status = TLS_OK;
    while (status == TLS_OK && !conn->closed && !conn->paused) {
        size_t have = 0, more = 0; /* records are gathered: a batch is parsed in one go */
        while ((status = tls_read(conn->tls, plain + have, LOOP_READ_BUFFER - have, &more)) ==
               TLS_OK) {
            have += more;
            if (LOOP_READ_BUFFER - have < TLS_RECORD) {
                break;
            }
        }
        if (have > 0) {
            deliver(conn, bytes_make(plain, have));
        }
    }
    if (conn->closed) {
        return;
    }
    conn_flush(conn); /* answers of the protocol itself */
    if (status == TLS_OK) {
        tls_keep_input(conn->tls);
        conn->broken_off = true;
    }
    if (status == TLS_CLOSED || status == TLS_FAILED) {
        conn_close(conn, status == TLS_CLOSED ? CLOSE_CLIENT : CLOSE_READ_ERROR);
    }
}

void conn_go_on(struct conn *conn)
{
    CHECK(loop_is_current(conn->loop) && conn->broken_off && !conn->paused);
    conn->broken_off = false;
    struct conn_compression *c = conn->compression;
    if (c != NULL && c->kept.len > 0) {
        struct buffer kept = c->kept;
        c->kept = (struct buffer){0};
        deliver(conn, buffer_bytes(&kept));
        buffer_deinit(&kept);
    }
    if (conn->closed || !conn->secured) {
        return;
    }
    take_records(conn); /* at once back when it was paused again */
}

/* --- handshake --- */

struct flight {
    struct work work;  /* first: where the rest is */
    struct conn *conn; /* counted */
    enum tls_status status;
    size_t len;
    char input[];
};

static void on_flight(struct work *work)
{
    struct flight *flight = (struct flight *)work;
    tls_feed(flight->conn->tls, bytes_make(flight->input, flight->len));
    flight->status = tls_handshake(flight->conn->tls);
}

static void end_flight(struct conn *conn, enum tls_status status)
{
    conn_resume(conn); /* first: whoever gets the news may want to pause it */
    conn_flush(conn);
    if (status == TLS_OK) {
        conn->secured = true;
        conn->ops->on_tls(conn, NULL);
        if (!conn->closed) {
            take_records(conn); /* the other side may have gone on at once */
        }
    } else if (status != TLS_MORE) {
        conn->ops->on_tls(conn, tls_session_error(conn->tls));
    }
}

static bool flight_is_dead(struct work *work)
{
    return conn_is_gone(((struct flight *)work)->conn);
}

static void on_flight_done(struct work *work, bool ran)
{
    struct flight *flight = (struct flight *)work;
    struct conn *conn = flight->conn;
    conn->shaking = false;
    if (!conn->closed && ran) {
        end_flight(conn, flight->status);
    } else if (!conn->closed && conn_is_gone(conn)) {
        conn_close(conn, CLOSE_CLIENT);
    } else if (!conn->closed) {
        conn->ops->on_tls(conn, "tls: too many handshakes of this address are under way");
    }
    free(flight);
    conn_release(conn);
}

static void start_flight(struct conn *conn, struct bytes input)
{
    struct flight *flight = mem_alloc(sizeof *flight + input.len);
    *flight = (struct flight){.conn = conn_retain(conn), .len = input.len};
    if (input.len > 0) {
        memcpy(flight->input, input.ptr, input.len);
    }
    flight->work = (struct work){.run = on_flight,
                                 .done = on_flight_done,
                                 .is_dead = flight_is_dead,
                                 .source = net_source(conn->remote_host)};
    conn->shaking = true;
    conn_pause(conn);
    work_submit(conn->loop, WORK_HANDSHAKES, &flight->work);
}

void conn_expect_tls(struct conn *conn, struct tls_context *context, bool optional)
{
    CHECK(loop_is_current(conn->loop) && conn->tls == NULL);
    conn->tls_context = tls_context_retain(context);
    conn->tls_optional = optional;
}

/* What was written in clear before this is with the kernel, or the other side broke the rules. */
static bool begin_tls(struct conn *conn, const char *peer_name)
{
    conn_flush(conn);
    struct tls_session *session = tls_session_new(conn->tls_context, peer_name);
    pthread_mutex_lock(&conn->lock);
    bool clear = conn->pending == 0;
    conn->tls = clear ? session : NULL;
    pthread_mutex_unlock(&conn->lock);
    if (!clear) {
        tls_session_free(session);
    }
    return clear;
}

void conn_start_tls(struct conn *conn, struct tls_context *context, const char *peer_name)
{
    conn_expect_tls(conn, context, false);
    bool clear = begin_tls(conn, peer_name);
    CHECK(clear); /* nothing has been written to it */
    start_flight(conn, BYTES_NONE);
}

void conn_input(struct conn *conn, const char *data, size_t len)
{
    if (conn->tls == NULL && conn->tls_context != NULL) {
        bool hello = (unsigned char)data[0] == TLS_HANDSHAKE_RECORD;
        if (!hello && conn->tls_optional) {
            tls_context_release(conn->tls_context);
            conn->tls_context = NULL;
        } else if (!hello || !begin_tls(conn, NULL)) {
            conn->ops->on_tls(conn, "tls: first record does not look like a TLS handshake");
            return;
        }
    }
    if (conn->tls == NULL) {
        deliver(conn, bytes_make(data, len));
    } else if (!conn->secured) {
        start_flight(conn, bytes_make(data, len));
    } else {
        tls_feed(conn->tls, bytes_make(data, len));
        take_records(conn);
    }
}
