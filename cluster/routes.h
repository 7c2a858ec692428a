/* routes: the mesh of servers, by nats-server's route protocol, so that real nats-servers can be
 * among them for core messages: pools of connections, pinned accounts, compression, TLS,
 * permissions, gossip. Source: NATS route protocol. How it is built: route_internal.h.
 *
 * Owner: loop 0 (sending a message or interest excepted, which any loop does into the connection's
 * outbox). */
#ifndef CLUSTER_ROUTES_H
#define CLUSTER_ROUTES_H

#include "core/broker/broker.h"

struct routes;
struct peers;

/* `peers` may be NULL: then connections of consensus are refused. */
struct routes *routes_new(struct broker *broker, struct peers *peers);
/* Contexts of the cluster's tls{}, for accepting and for dialling; both NULL without. Retained. */
struct routes_tls {
    struct tls_context *accept, *dial;
};
MUST_USE enum err routes_listen(struct routes *routes, const struct routes_tls *tls,
                                struct error *error);
/* Loop 0: the broker has new options. Routes that are configured no longer are closed, new ones
 * dialled. `begin_anew`: what neighbours may have of this server has changed, or who they have to
 * be: all routes are closed, and come again. */
void routes_reload(struct routes *routes, const struct routes_tls *tls, bool begin_anew);
/* Loop 0: tells the neighbours that this server's clients are to go elsewhere. */
void routes_tell_lame_duck(struct routes *routes);
/* Loop 0: closes listener, routes and dials. */
void routes_shutdown(struct routes *routes);
/* After the loops have stopped. */
void routes_free(struct routes *routes);

/* The items of the list in /routez, written as text in slices. The caller fills the first part,
 * zeroes the rest, and goes on to the end. */
struct route_walk {
    bool subscriptions, detail; /* interest learnt on each route: subjects, or all there is */

    struct buffer text; /* owned by the caller */
    uint32_t count;     /* of routes in it */
    struct route *at;   /* borrowed: the next one; one that goes moves the walk on */
    uint32_t position;  /* in its interest */
    bool begun;
    bool amid; /* a description has been begun */
    struct route_walk *next;
};
/* Loop 0. False: there is more to do, in another turn. */
bool routes_walk(struct routes *routes, struct route_walk *walk);
/* "import" and "export", each with "allow" and "deny": as INFO and /routez have them. */
void routes_put_permissions(json_t *object, const struct permissions *permissions);
/* The last ones that were closed, and why. */
json_t *routes_describe_lost(const struct routes *routes);
struct routes_counts {
    int routes, remotes;
};
/* Any thread. */
struct routes_counts routes_count(const struct routes *routes);
int routes_port(const struct routes *routes);
/* Loop 0: when the certificate of the cluster port expires, wall clock; 0 without TLS. */
int64_t routes_tls_not_after_ns(const struct routes *routes);
/* Whom the configuration names by the addresses that its routes have now, and who is there. */
#define ROUTES_PEERS_MAX 64
struct routes_named {
    unsigned servers; /* this one included */
    unsigned unknown; /* of them: nobody is connected there, or a name has no address yet */
    bool fixed;       /* the URLs alone tell how many: none of their names may get more addresses */
    /* All that are connected, named or not, and take part in consensus, without this one. */
    struct {
        uint64_t node;
        bool named;
    } peers[ROUTES_PEERS_MAX];
    unsigned peer_count, named_peers;
};
/* Loop 0. */
struct routes_named routes_named(const struct routes *routes);
/* Nobody gets past the cluster port who cannot prove to belong to it: a user, or certificates. */
bool routes_are_authenticated(const struct routes *routes);
/* Loop 0: the server of that name is, or was last, at an address that the configuration names. */
bool routes_name_server(const struct routes *routes, const char *name);

#endif
