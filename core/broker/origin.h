/* origin: where the server itself may publish to.
 *
 * Answers, deliveries and status messages go where a client asked for them, with the rights of the
 * server. Whoever may ask for anything could so run requests that it may not send itself (a
 * confused deputy): an answer to $JS.API.INFO with the reply $JS.API.STREAM.PURGE.ORDERS would be a
 * purge, an empty one to $JS.ACK.> an acknowledgement. So what the server acts upon is out of reach
 * for everything that no client has published, whatever way it takes: imports, other accounts,
 * answers that are passed on. Routing asks here, for every message; nobody else decides it.
 *
 * Any thread. */
#ifndef CORE_BROKER_ORIGIN_H
#define CORE_BROKER_ORIGIN_H

#include "core/base/buffer.h"

enum origin {
    ORIGIN_CLIENT, /* published by a client, here or elsewhere, and checked there */
    ORIGIN_REPLY,  /* by a server, to a subject that somebody else has chosen */
    ORIGIN_EVENT   /* by a server, to a subject of its own: $JS.EVENT.> */
};

/* The same for what no client has published. */
bool origin_of_server_may_reach(enum origin origin, struct bytes subject);
/* May a message of that origin go to the subject? Asked for every message. */
static inline bool origin_may_reach(enum origin origin, struct bytes subject)
{
    return LIKELY(origin == ORIGIN_CLIENT) || origin_of_server_may_reach(origin, subject);
}
/* Is it a subject whose messages are requests: $JS.API.>, that of any domain, or $SYS.>? Nobody who
 * asks for something is answered there, nor may anybody answer there because he was asked. */
bool origin_is_request(struct bytes subject);

#endif
