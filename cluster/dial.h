/* dial: an outgoing connection. Names are resolved in the work pool; the connect itself is watched
 * by the loop, with a bound. Loop 0. */
#ifndef CLUSTER_DIAL_H
#define CLUSTER_DIAL_H

#include "core/base/err.h"

struct dial;
/* fd >= 0: connected and the receiver's; else -1 and `error` says why. Runs once unless cancelled.
 */
typedef void (*dial_cb)(void *arg, int fd, const struct error *error);

struct dial *dial_start(const char *host, int port, int timeout_ms, dial_cb cb, void *arg);
/* No callback follows; frees itself later. */
void dial_cancel(struct dial *dial);

#endif
