/* proxy: the header by which a proxy says whom it speaks for, in its two versions. No I/O.
 * Source: HAProxy's PROXY protocol 1 and 2. */
#ifndef CORE_NET_PROXY_H
#define CORE_NET_PROXY_H

#include <netinet/in.h>

#include "core/base/bytes.h"

#define PROXY_HEADER_MAX                                                                           \
    2048 /* bytes; a longer one (of the second version, with extensions) is bad */

enum proxy_result {
    PROXY_MORE, /* so far it may be a header */
    PROXY_NONE, /* it is none: an ordinary client */
    PROXY_BAD,  /* it began like one */
    PROXY_FOUND
};

struct proxy_source {
    bool known; /* false: the proxy speaks for itself, or does not say */
    char host[INET6_ADDRSTRLEN];
    int port;
};

/* Looks at the first bytes of a connection. PROXY_FOUND: *used bytes are the header. */
enum proxy_result proxy_parse(struct bytes in, struct proxy_source *source, size_t *used);

#endif
