/* http_head: request line and headers of HTTP/1.x, as far as monitoring needs them. No I/O. */
#ifndef MONITORING_HTTP_HEAD_H
#define MONITORING_HTTP_HEAD_H

#include "core/base/buffer.h"

#define HTTP_PARAMETERS_MAX 16    /* of a query; further ones are ignored */
#define HTTP_BODY_MAX       65536 /* behind a longer one the connection ends */

struct http_head {
    bool is_head;    /* HEAD: the answer has no body */
    bool keep_alive; /* the connection stays for further requests */
    bool has_length;
    uint64_t body_len; /* bytes behind the head that are not the next request */
    char *query;       /* owned: as it came, without its question mark; NULL: none, or empty */
    char *target;      /* owned; the texts below are parts of it */
    const char *path;
    const char *names[HTTP_PARAMETERS_MAX];
    const char *values[HTTP_PARAMETERS_MAX];
    unsigned count;
};

/* `text` ends with the empty line. False when it is no request: then the answer is 400, and the
 * connection ends. Always to be deinitialised. */
bool http_head_parse(struct http_head *head, struct bytes text);
void http_head_deinit(struct http_head *head);
/* For a Location header: a decoded path, with everything but plain characters as %XX, and the query
 * (NULL: none) as it came, but for what a header cannot have. */
void http_put_location(struct buffer *out, const char *path, const char *query);
/* Value of a query parameter (first occurrence, decoded) or NULL. */
const char *http_head_query(const struct http_head *head, const char *name);

#endif
