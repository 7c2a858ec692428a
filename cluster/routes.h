/* routes: the mesh of servers, by nats-server's route protocol, so that a real nats-server can be a
 * neighbour for core messages.
 *
 * We speak the form without pooling and compression (no route_pool_size in INFO): one connection
 * per neighbour, carrying every account. Source: NATS route protocol §1, §2, §5.
 *
 * Owner: loop 0 (sending a message excepted, which any loop does into the connection's outbox). */
#ifndef CLUSTER_ROUTES_H
#define CLUSTER_ROUTES_H

#include "core/broker/broker.h"

struct routes;
struct peers;

/* `peers` may be NULL: then connections of consensus are refused. */
struct routes *routes_new(struct broker *broker, struct peers *peers);
MUST_USE enum err routes_listen(struct routes *routes, struct error *error);
/* Loop 0: tells the neighbours that this server's clients are to go elsewhere. */
void routes_tell_lame_duck(struct routes *routes);
/* Loop 0: closes listener, routes and dials. */
void routes_shutdown(struct routes *routes);
/* After the loops have stopped. */
void routes_free(struct routes *routes);

/* Loop 0: for monitoring. */
void routes_describe(const struct routes *routes, json_t *array);
struct routes_counts {
    int routes, remotes;
};
/* Any thread. */
struct routes_counts routes_count(const struct routes *routes);
int routes_port(const struct routes *routes);
/* Servers that the configuration names, this one included: how many a first start waits for. */
unsigned routes_expected_servers(const struct routes *routes);

#endif
