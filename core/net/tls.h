/* tls: TLS by mbedTLS (2.28 and 3.6), without any I/O of its own: ciphertext goes in and comes out
 * as bytes, conn moves them.
 *
 * A context is what a tls{} block means: certificates, authorities, suites. It is read-only,
 * counted and shared by the loops; a reload makes another one for the handshakes to come. A session
 * belongs to one connection and to that connection's loop. With TLS 1.2, clients without
 * certificates may resume a session by a ticket; its keys live for an hour, in the context alone.
 */
#ifndef CORE_NET_TLS_H
#define CORE_NET_TLS_H

#include "core/base/buffer.h"
#include "core/base/err.h"
#include "core/base/tls_options.h"

enum tls_role { TLS_SERVER, TLS_CLIENT };

struct tls_context;

/* Reads the files. NULL with *error filled when one is missing or not what it should be. */
struct tls_context *tls_context_new(const struct tls_options *options, enum tls_role role,
                                    struct error *error);
struct tls_context *tls_context_retain(struct tls_context *context);
/* NULL is allowed. */
void tls_context_release(struct tls_context *context);

/* When the first of the context's certificates expires, wall clock; 0 when there is none. */
int64_t tls_context_not_after_ns(const struct tls_context *context);

struct tls_session;

/* Retains the context. `peer_name`: as client, the name or address that the server's certificate
 * has to be for; NULL as server. */
struct tls_session *tls_session_new(struct tls_context *context, const char *peer_name);
void tls_session_free(struct tls_session *session);

enum tls_status {
    TLS_OK,
    TLS_MORE,   /* the input is used up */
    TLS_CLOSED, /* the other side has closed properly */
    TLS_FAILED  /* tls_session_error() says why; an alert may wait in the output */
};
/* Input for the calls that follow, borrowed until one of them returns TLS_MORE. */
void tls_feed(struct tls_session *session, struct bytes ciphertext);
/* Copies what is left of the input, which is borrowed no more. */
void tls_keep_input(struct tls_session *session);
/* TLS_OK once the two sides are agreed and every demand on the other's certificate is met. */
enum tls_status tls_handshake(struct tls_session *session);
/* Some plaintext, at most `cap` bytes, *len > 0 with TLS_OK. */
enum tls_status tls_read(struct tls_session *session, char *out, size_t cap, size_t *len);
/* Encrypts all of it into the output. */
enum tls_status tls_write(struct tls_session *session, struct bytes plaintext);
/* "I close", into the output. */
void tls_close_notify(struct tls_session *session);
/* Ciphertext to be sent; the caller consumes it. */
struct buffer *tls_output(struct tls_session *session);

/* In Go's words where it has some, because people grep for them. Valid as long as the session. */
const char *tls_session_error(const struct tls_session *session);
/* "1.2", "1.3" */
const char *tls_session_version(const struct tls_session *session);
/* "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" */
void tls_session_cipher(const struct tls_session *session, char text[64]);

/* Who the other side's verified certificate says it is, in the order in which verify_and_map tries
 * them: e-mail, DNS and URI names (without those that have control characters), then the subject in
 * RFC 2253 form, control characters as \NN. False, and nothing added,
 * without a certificate. */
struct tls_names {
    struct text_list alternative;
    char *subject; /* owned; "CN=x,OU=y+O=z" */
};
bool tls_peer_names(const struct tls_session *session, struct tls_names *names);
/* Is the other side's certificate for that host: a name, or an address in text form? */
bool tls_peer_is(const struct tls_session *session, const char *host);
void tls_names_deinit(struct tls_names *names);

#endif
