/* http_input: the bytes of one HTTP connection, cut into requests. No I/O.
 *
 *     http_input_feed(&in, bytes);
 *     while ((status = http_input_next(&in, &head)) == HTTP_INPUT_REQUEST) { … }
 *
 * Requests may be sent one behind the other, and their bytes come in any pieces: the same stream
 * gives the same requests. Each byte is looked at once, however it came. Memory: what is fed and
 * not cut yet; who feeds only after HTTP_INPUT_MORE keeps at most HTTP_HEADERS_MAX and one piece.
 */
#ifndef MONITORING_HTTP_INPUT_H
#define MONITORING_HTTP_INPUT_H

#include "core/base/buffer.h"
#include "monitoring/http_head.h"

#define HTTP_HEADERS_MAX (64u * 1024) /* bytes of a head */

/* All zero: at the beginning of a connection. */
struct http_input {
    struct buffer bytes;
    size_t at;     /* what is before has been cut off */
    size_t seen;   /* bytes from there without an end of the head in them */
    uint64_t skip; /* bytes of the last request's body that are still to come, and go */
    bool ended;    /* nothing more is cut */
};

enum http_input_status {
    HTTP_INPUT_MORE,    /* everything was taken: feed more */
    HTTP_INPUT_REQUEST, /* *head is a request */
    HTTP_INPUT_BAD,     /* *head is none: answer 400 and close */
    HTTP_INPUT_TOO_LONG /* its head passes HTTP_HEADERS_MAX: answer 431 and close; *head is empty */
};

void http_input_deinit(struct http_input *in);
void http_input_feed(struct http_input *in, struct bytes bytes);
/* Except with HTTP_INPUT_MORE, *head is the caller's to deinitialise. After BAD, TOO_LONG, and a
 * request after which the connection does not stay (keep_alive), there is only MORE. */
enum http_input_status http_input_next(struct http_input *in, struct http_head *head);
/* A request has begun that is not whole yet. */
bool http_input_is_amid(const struct http_input *in);

#endif
