/* Shared by conn.c and conn_encoded.c. */
#ifndef CORE_NET_CONN_INTERNAL_H
#define CORE_NET_CONN_INTERNAL_H

#include "core/net/conn.h"

struct conn_chunk {
    struct conn_chunk *next;
    uint32_t from, to, cap; /* bytes [from, to) are pending */
    char data[];
};

enum flush_result { FLUSH_DONE, FLUSH_BLOCKED, FLUSH_FAILED };

/* Any loop. */
void conn_free_chunk(struct conn_chunk *chunk);
/* Owner: writes what is pending now instead of at the turn's end. */
void conn_flush(struct conn *conn);
/* LOOP_READ_BUFFER bytes for decrypted input, one such buffer per loop. */
char *conn_plain_buffer(struct loop *loop);

/* Bytes from the socket: in clear or not, and perhaps the first ones. */
void conn_input(struct conn *conn, const char *data, size_t len);
/* Owner; `broken_off`, and not paused any more: what was kept of the input. */
void conn_go_on(struct conn *conn);
/* Owner. The lock is held, but let go while a batch is encoded: nobody else takes chunks off or
 * closes. */
enum flush_result conn_write_encoded(struct conn *conn);
/* TLS or compressed: only the owner may write it. */
bool conn_is_encoded(const struct conn *conn);
void conn_free_compression(struct conn *conn);
/* The lock is held; everything pending has been written. */
void conn_close_tls(struct conn *conn);

#endif
