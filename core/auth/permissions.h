/* permissions: what a connected user may publish and subscribe. NATS client protocol §8.
 *
 * The rules are those of the configuration, read-only. NULL allows everything. */
#ifndef CORE_AUTH_PERMISSIONS_H
#define CORE_AUTH_PERMISSIONS_H

#include "core/base/bytes.h"
#include "core/config/options.h"

bool permissions_publish(const struct permissions *p, struct bytes subject);
bool permissions_subscribe(const struct permissions *p, struct bytes subject, struct bytes queue);
/* May a message on this literal subject be delivered? A subscription broader than a deny entry is
 * accepted and filtered here; plain and queue deny entries form one union. */
bool permissions_deliver(const struct permissions *p, struct bytes subject, struct bytes queue);
/* False when permissions_deliver() is always true, so that the message path can skip it. */
bool permissions_filter(const struct permissions *p);
/* allow_responses: may the user answer a request it was given, though permissions_publish() says
 * no? *max: answers to each, < 0 without limit; *expires_ns: for how long, < 0 for ever. */
bool permissions_responses(const struct permissions *p, int64_t *max, int64_t *expires_ns);

#endif
