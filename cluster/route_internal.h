/* Shared by the files of the route mesh. Everything is loop 0's unless it says otherwise.
 *
 *   routes.c          the mesh: listener, reload, shutdown
 *   route.c           one connection: handshake, input, timers
 *   route_info.c      what INFO and CONNECT say
 *   route_interest.c  interest both ways, and messages out
 *   remotes.c         the servers at the other ends: pools of connections, duplicates, gossip
 *   seeds.c           what the configuration names, and its addresses
 *   targets.c         addresses that are dialled
 *   routes_describe.c for monitoring */
#ifndef CLUSTER_ROUTE_INTERNAL_H
#define CLUSTER_ROUTE_INTERNAL_H

#include "cluster/dial.h"
#include "cluster/routes.h"
#include "core/broker/broker.h"
#include "core/net/conn.h"
#include "core/protocol/parser.h"

#define REMOTES_MAX 64

enum gossip_mode { GOSSIP_DEFAULT, GOSSIP_DISABLED, GOSSIP_OVERRIDE };

/* Which of the connections to one server: a place in the pool, or an account's own. */
struct route_place {
    unsigned index;
    char *account; /* owned; NULL: the pool's */
};

/* --- an address that is dialled: configured (for ever) or heard of by gossip --- */

struct target {
    struct routes *routes;
    struct target *next;
    char *host; /* configured: an address, never a name */
    int port;
    char *name; /* owned; configured: the URL's host, whose certificate it shows; else NULL */
    char *user, *password;
    bool configured; /* some seed has the address */
    bool retired;    /* none has it any more */
    bool is_self;
    bool once_connected;
    enum gossip_mode gossip; /* repeated in our INFO when the address came by gossip */
    char remote_id[64];      /* who answered there last; "" unknown */
    char remote_name[128];
    struct attempt *attempts;
    struct loop_timer check; /* configured: dial again when nobody else holds the connection */
};

/* One connection on its way: dialling, or waiting to dial again. */
struct attempt {
    struct target *target;
    struct attempt *next;
    struct route_place place;
    struct dial *dial;
    struct loop_timer timer;
    int64_t tries;
};

/* --- a server at the other end --- */

struct remote {
    struct routes *routes;
    struct remote *next;
    char id[64];
    char name[128];
    bool is_trireme;
    bool pooled;
    bool told_of;                       /* the others know of it */
    unsigned pool_size;                 /* places of `pool` in use; 1 when not pooled */
    struct route *pool[ROUTE_POOL_MAX]; /* registered connections; told_lock to change */
    struct map pinned;                  /* account → struct route; the same */
    json_t *info;                       /* owned: INFO of its first connection */
    struct loop_timer completion;       /* to look what is missing */
};

/* --- a connection --- */

struct route {
    struct routes *routes;
    struct route *next;
    struct conn *conn; /* counted */
    struct link link;
    struct parser parser;
    struct target *target; /* NULL: accepted */
    struct route_place place;
    struct remote *remote; /* NULL: not registered */
    bool got_connect;      /* accepted: credentials are right */
    bool verifying;        /* accepted: that is being found out; what follows is held */
    struct buffer held;
    bool compressing; /* the next INFO is the one that counts */
    bool fills_pool;  /* dialled: the answer to our PING makes us open the next place */
    enum compression_mode compression;
    char remote_id[64], remote_name[128];
    enum gossip_mode gossip;
    struct loop_timer timer;
    int pings_out;
    int64_t ping_sent_ns, rtt_ns, last_activity_ns, registered_ns;
    uint64_t in_msgs, in_bytes;
    struct account *pinned;       /* the account that lines leave out */
    struct account *last_account; /* of the last message received */
};

struct lost_route {
    uint64_t rid;
    char remote_name[128];
    int64_t start_ns, stop_ns;
    enum close_reason reason;
};
#define LOST_ROUTES_MAX 64

struct routes {
    struct broker *broker;
    struct peers *peers; /* borrowed; NULL without JetStream */
    struct loop *loop;
    struct tls_context *accept_tls, *dial_tls; /* counted; NULL: plain */
    struct route *list;
    pthread_mutex_t told_lock; /* taken with an account's lock held; only outbox locks below it */
    struct remote *remotes;    /* loop 0 reads; told_lock to change, and for other loops */
    unsigned remote_total;
    struct seed *seeds; /* what the configuration names */
    struct target *targets;
    int port;
    int listen_fd;             /* until there is a listener, which takes it over */
    struct listener *listener; /* owned */
    bool stopping;
    struct lost_route lost[LOST_ROUTES_MAX];
    uint64_t lost_count; /* ever */
    /* While routes begin anew: the client URLs that were known before; NULL otherwise. Owned. */
    json_t *kept_urls;
    struct loop_timer kept_timer;
    atomic_int route_count, remote_count;
    struct route_walk *walks; /* borrowed: those under way */
};

static inline const struct cluster_options *routes_options(const struct routes *routes)
{
    return &broker_options(routes->broker)->cluster;
}

/* --- routes_describe.c --- */

/* Walks that stand at the route go on to the next one: before it leaves the list. */
void route_leaves_walks(struct route *r);

/* --- routes.c --- */

/* Takes a connected descriptor. `target` NULL: accepted; `place` is taken over. */
void route_open(struct routes *routes, int fd, struct target *target, struct route_place place);

/* --- remotes.c --- */

/* All routes are about to be closed and come again: clients are told of where they can go as if
 * they were there, until they are, for a while. */
void remotes_keep_urls(struct routes *routes);
void remotes_forget_urls(struct routes *routes);

/* Whose certificate a dialled server has to show: that of the host in its URL; one heard of by
 * address (target NULL, or not configured) that of the first configured route that has a name. */
const char *routes_certificate_name(const struct routes *routes, const char *host,
                                    const struct target *target);

/* --- route_login.c --- */

/* CONNECT's user and password: route_admit(), or the route's end; later, if that takes time. */
void route_check_login(struct route *r, const json_t *connect);

/* --- route.c --- */

/* The credentials were right: is it our cluster? Closes it when not. */
void route_admit(struct route *r, const char *cluster, bool dynamic);
/* More input. */
void route_process(struct route *r, const char *data, size_t len);

struct route_prefix {
    char text[128];
};
struct route_prefix route_prefix(const struct route *r);
extern const struct conn_ops route_conn_ops;
/* The connection stands: speaks first. */
void route_begin(struct route *r);
/* Logs, sends -ERR, closes. */
void route_fail(struct route *r, enum close_reason reason, const char *format, ...)
    PRINTF_LIKE(3, 4);
void route_close(struct route *r, enum close_reason reason);
/* TLS comes first: not for ever. */
void route_arm_handshake(struct route *r);
/* Sends PING; the answer is timed. */
void route_ping(struct route *route);
void route_arm_ping(struct route *r, int64_t after_ns);

/* --- route_info.c --- */

void route_send_connect(struct route *r);
/* `mode`: what it says of compression. */
void route_send_info(struct route *r, enum compression_mode mode);
/* The same as an object; the caller's. */
json_t *route_make_info(const struct route *r, enum compression_mode mode);
void route_send_json(struct route *r, const char *verb, json_t *object, const char *end);
enum compression_mode route_remote_compression(const json_t *info, bool *known);
/* NATS route protocol §7: what comes of the two sides' modes. */
enum compression_mode route_negotiate(enum compression_mode ours, enum compression_mode theirs);
static inline bool route_mode_compresses(enum compression_mode mode)
{
    return mode >= COMPRESSION_S2_AUTO;
}
/* Where others can dial the server: its `ip` when it advertises one, else the address we see. */
void route_address(const struct route *r, const json_t *info, char *host, size_t size, int *port);
bool routes_are_pooled(const struct routes *routes);
/* Does the account have connections of its own? The system account has. */
bool routes_pin(const struct routes *routes, const char *account);

/* --- route_interest.c --- */

extern const struct link_ops route_link_ops;
account_announce_cb routes_interest_announcer(void);
/* Everything that belongs on this connection. */
void route_announce_all(struct route *r);
void route_on_interest(struct route *r, const struct proto_op *op);

/* --- remotes.c --- */

struct remote *remote_find(const struct routes *routes, const char *id);
struct route *remote_any_route(const struct remote *remote);
/* The INFO that makes a route out of a connection. Closes it when it may not. */
void route_register(struct route *r, json_t *info);
void route_unregister(struct route *r);
/* The other side has answered: on to the next place, if there is one. */
void remote_fill_pool(struct route *r);
/* An INFO on a registered route. */
void route_on_later_info(struct route *r, json_t *info);
/* Takes the name of the neighbour's cluster, when ours was made up. False: they differ. */
bool routes_agree_on_name(struct route *r, const char *theirs, bool dynamic);

/* --- seeds.c --- */

bool seed_is_valid(const char *url);
/* At start and after a reload: what the configuration names is looked up and dialled; connections
 * to what it does not name any more are closed. */
void seeds_apply(struct routes *routes);
void seeds_stop(struct routes *routes);

/* --- targets.c --- */

struct target *target_new(struct routes *routes, const char *host, int port);
/* A server's address, heard of or seen, with what it takes to log in there. */
struct target *target_of_server(struct routes *routes, const char *host, int port, const char *id);
struct target *target_find(const struct routes *routes, const char *host, int port);
/* Dials for a place, unless that is under way or the connection is there. `place` is taken over. */
void target_dial(struct target *t, struct route_place place, int64_t delay_ms);
/* A connection that we had dialled is gone. */
void target_lost(struct target *t, const struct route *r);
/* A connection that this server had dialled is gone: configured addresses of it are dialled. */
void targets_look_for(struct routes *routes, const char *remote_id);
void target_is_self(struct target *t);
/* Nothing in the configuration leads there any more. */
void target_retire(struct target *t);
void targets_stop(struct routes *routes);
void targets_free(struct routes *routes);
bool route_place_equal(const struct route_place *a, const struct route_place *b);
struct route_place route_place_copy(const struct route_place *place);

#endif
