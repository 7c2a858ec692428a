/* peers: connections between Trireme nodes for consensus, apart from the routes, so that bulk
 * messages cannot delay elections.
 *
 * They live on the cluster port. The node with the smaller id dials, once a route has told it that
 * the neighbour is a Trireme node with JetStream; its first line is "TRIREME {json}", which no
 * nats-server ever sees, because it is only said to servers whose INFO has the field
 * "trireme_peer". After the answer in kind both sides send frames:
 *
 *     u32 length of the rest · u8 type · body          (little endian)
 *
 * Type 0 is the node's heartbeat, sent every PEERS_HEARTBEAT_MS: one for all Raft groups between
 * two nodes. Type 255 says by its u64 which meta group the node belongs to, as does "group" in
 * its first line. Other types belong to the upper layer and are opaque here.
 *
 * A node of another meta group than ours numbers its groups as we do, and means others: it never
 * counts as up, and nothing of the upper layer goes to it or comes from it. Who says nothing of a
 * group (it has none yet, or one from before they had ids) may belong to any.
 *
 * Owner: loop 0; peers_send() any loop. */
#ifndef CLUSTER_PEERS_H
#define CLUSTER_PEERS_H

#include "core/broker/broker.h"

#define PEERS_HEARTBEAT_MS 100
#define PEERS_SILENCE_MS   450         /* without a byte for this long a node counts as down */
#define PEERS_FRAME_MAX    (72u << 20) /* bytes: the largest message and what goes with it */
#define PEERS_PENDING_MAX  (32u << 20) /* bytes that wait for a node; then frames are dropped */

struct peers;

struct peers_callbacks {
    /* Loop 0. `node` is the sender's id (hash_node_id of its name). */
    void (*on_frame)(void *arg, uint64_t node, uint8_t type, struct bytes body);
    /* Loop 0. Every change of up or down; names stay valid for the life of `peers`. */
    void (*on_change)(void *arg, uint64_t node, const char *name, bool up);
};

struct peers *peers_new(struct broker *broker);
void peers_set_callbacks(struct peers *peers, const struct peers_callbacks *callbacks, void *arg);
/* Loop 0. */
void peers_start(struct peers *peers);
/* Loop 0: secures connections to come; NULL: plain. Retained. */
void peers_set_tls(struct peers *peers, struct tls_context *dial);
/* Loop 0: the meta group that this node belongs to from now on, which the others are told before
 * anything that is sent later. Not 0. */
void peers_set_group(struct peers *peers, uint64_t group);
/* Loop 0: the node's, as it has said last; 0: it has not, or the node is unknown. */
uint64_t peers_group(struct peers *peers, uint64_t node);
void peers_shutdown(struct peers *peers);
void peers_free(struct peers *peers);

uint64_t peers_self(const struct peers *peers);
/* Any loop. Copies. False when the node is not connected, PEERS_PENDING_MAX bytes wait for it
 * already, or the frame is too long: it is dropped, as a network may. */
bool peers_send(struct peers *peers, uint64_t node, uint8_t type, const struct bytes *parts,
                unsigned part_count);
/* Loop 0: what came from the node nobody sends who keeps to the rules. Closes the connection, and
 * logs `why`. */
void peers_break_off(struct peers *peers, uint64_t node, const char *why);

/* All nodes ever seen, this one first. Any thread; the array is the caller's, the names are not. */
struct peer_node {
    uint64_t id;
    const char *name;
    bool up;
    int64_t heard_ns; /* monotonic */
    bool foreign;     /* it is connected, and belongs to another meta group */
};
struct peer_node *peers_nodes(struct peers *peers, unsigned *count);
bool peers_is_up(struct peers *peers, uint64_t node);
/* Time since the node was heard last; 0: never. */
int64_t peers_silence_ns(struct peers *peers, uint64_t node);
/* NULL when unknown. */
const char *peers_name(struct peers *peers, uint64_t node);

/* --- for routes.c --- */

/* A route has learnt that the neighbour takes peer connections at this address. From now on it is
 * dialled whenever it is not connected, whatever becomes of the route. */
void peers_learn(struct peers *peers, const char *name, const char *host, int port,
                 const char *certificate_name);
/* An accepted connection said "TRIREME {json}": takes it over with the bytes behind that line. */
void peers_take_over(struct peers *peers, struct conn *conn, struct bytes hello, const char *rest,
                     size_t rest_len);

#endif
