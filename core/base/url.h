/* url: scheme://user:password@host:port, and host:port alone.
 *
 * Read as Go's net/url and net.SplitHostPort read them, because the same configurations and the
 * same neighbours have to be understood: the last '@' ends the login, its parts are
 * percent-decoded, an IPv6 address stands in brackets. No library in Debian does this without much
 * else: uriparser refuses a second '@', libcurl brings a whole network stack. */
#ifndef CORE_BASE_URL_H
#define CORE_BASE_URL_H

#include "core/base/buffer.h"
#include "core/base/err.h"

#define PORT_MAX 65535

struct url {
    char *user;     /* owned, decoded; NULL: no login */
    char *password; /* owned, decoded; NULL: none given */
    char *host;     /* owned, without brackets; "" when it is missing */
    int port;       /* 0: none */
};

/* A text without a scheme begins with the login or the host. What follows the host and port is
 * ignored. ERR_INVALID: nothing is filled. */
MUST_USE enum err url_parse(struct bytes text, struct url *url);
void url_deinit(struct url *url);
/* The text without its login, for logs and error messages; also when it is no URL. */
void url_put_public(struct buffer *out, struct bytes text);

/* "host:port", "[v6]:port" or ":port"; the port may be -1 (any). The host is the caller's to free,
 * "" for all addresses. ERR_INVALID: there is no such port, or no single colon before one. */
MUST_USE enum err address_parse(struct bytes text, char **host, int *port);

/* host:port, an IPv6 address in brackets; cut when it is longer. */
struct address_text {
    char text[300];
};
struct address_text address_text(const char *host, int port);

#endif
