/* monitoring: HTTP endpoints in nats-server's format, and /metrics for Prometheus. Read-only: what
 * it shows is gathered from the loops one after the other, so a scrape never stalls traffic.
 *
 * Owner: loop 0. */
#ifndef MONITORING_MONITORING_H
#define MONITORING_MONITORING_H

#include "cluster/routes.h"
#include "core/broker/broker.h"
#include "jetstream/jetstream.h"

struct monitoring;

/* `routes` and `js` may be NULL. */
struct monitoring *monitoring_new(struct broker *broker, struct routes *routes,
                                  struct jetstream *js);
/* `tls` for https, NULL for http; retained. */
MUST_USE enum err monitoring_listen(struct monitoring *m, struct tls_context *tls,
                                    struct error *error);
/* Loop 0: new certificates for https. */
void monitoring_set_tls(struct monitoring *m, struct tls_context *tls);
int monitoring_port(const struct monitoring *m);
/* Loop 0. */
void monitoring_shutdown(struct monitoring *m);
void monitoring_free(struct monitoring *m);

#endif
