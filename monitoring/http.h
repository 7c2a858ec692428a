/* http: the little of HTTP/1.x that monitoring needs: GET and HEAD, keep-alive, one request at a
 * time per connection, answers that may come later. Loop 0. */
#ifndef MONITORING_HTTP_H
#define MONITORING_HTTP_H

#include "core/base/buffer.h"
#include "core/base/err.h"
#include "core/broker/broker.h"
#include "core/net/tls.h"

#define HTTP_HEADER_WAIT_S   5
#define HTTP_IDLE_WAIT_S     120          /* between an answer and the next request */
#define HTTP_CONNECTIONS_MAX 128          /* strangers do not use up the files that clients need */
#define HTTP_READ            (16u * 1024) /* bytes that a connection takes at once */

struct http_server;
struct http_request;

/* Must lead to one http_reply() or http_redirect(), now or later. */
typedef void (*http_handler)(void *arg, struct http_request *request);

/* `tls` secures what comes in; NULL: plain; retained. */
struct http_server *http_listen(struct broker *broker, const char *host, int *port,
                                struct tls_context *tls, http_handler handler, void *arg,
                                struct error *error);
/* Loop 0: for connections to come. */
void http_set_tls(struct http_server *server, struct tls_context *tls);
/* Closes the listener and all connections; requests under way are answered to nobody. */
void http_shutdown(struct http_server *server);
void http_free(struct http_server *server);

/* Decoded path without query. */
const char *http_path(const struct http_request *request);
/* Value of a query parameter (first occurrence) or NULL. */
const char *http_query(const struct http_request *request, const char *name);
/* Sends and frees the request. */
void http_reply(struct http_request *request, int status, const char *type, struct bytes body);
/* The same, its body in parts. */
void http_reply_parts(struct http_request *request, int status, const char *type,
                      const struct bytes *parts, size_t count);
/* To another path here (decoded), with the request's own query. */
void http_redirect(struct http_request *request, const char *path);

#endif
