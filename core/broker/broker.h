/* broker: client sessions and the routing of messages; the hub everything else plugs into.
 *
 *   client*.c   a client's session: protocol, login, subscriptions, description
 *   route.c     one message to all who want it (local clients, internal subscribers, links)
 *   imports.c   messages between accounts
 *   origin.c    where the server itself may publish to
 *   internal.c  subscribers and publishers inside the server: JetStream, system requests
 *   broker.c    start-up, INFO, connect_urls, gathering for monitoring
 *   reload.c    a new configuration while clients are connected
 *   lame_duck.c moving the clients elsewhere before the end
 *
 * Owner threads: each client belongs to one loop. broker_publish() and friends run on any loop. */
#ifndef CORE_BROKER_BROKER_H
#define CORE_BROKER_BROKER_H

#include <jansson.h>

#include "core/account/account.h"
#include "core/auth/auth.h"
#include "core/base/buffer.h"
#include "core/base/heap.h"
#include "core/base/table.h"
#include "core/config/options.h"
#include "core/net/conn.h"
#include "core/runtime/loop.h"

/* The level of the NATS protocol that is implemented; clients gate features on it. */
#define NATS_PROTOCOL_VERSION "2.15.2"
#define TRIREME_VERSION       "0.4.0"
/* JetStream API level: 0, because no feature of level 1 or above is implemented yet. */
#define JETSTREAM_API_LEVEL 0

struct broker;

/* --- messages --- */

/* Everything is borrowed for the length of a call. */
struct message {
    struct bytes subject; /* routes the message */
    struct bytes shown;   /* subject in MSG lines when it differs (JetStream); ptr NULL: subject */
    struct bytes reply;   /* ptr NULL: none */
    struct bytes payload; /* headers and body */
    uint32_t header_len;
    struct bytes size_text; /* the size as the publisher wrote it; ptr NULL: printed */
};

/* Publishes from inside the server, where somebody who asked wants it. Any loop. True when someone
 * took it; what the server acts upon itself never does (origin.h). */
bool broker_publish(struct broker *broker, struct account *account, const struct message *message);
/* The same, under $JS.EVENT.>: what the server tells by itself. */
bool broker_publish_event(struct broker *broker, struct account *account,
                          const struct message *message);
/* Is there a subscriber, here or at a neighbour, plain or queued? */
bool broker_has_interest(struct account *account, struct bytes subject);

/* --- internal subscribers --- */

/* What a subscriber inside the server gets: the messages of one turn of one source loop. */
struct inbound {
    struct bytes subject, reply, payload;
    uint32_t header_len;
};
struct inbound_batch;
/* False at the end. */
bool inbound_next(struct inbound_batch *batch, struct inbound *message);
/* The account the subscriber is in. */
struct account *inbound_account(const struct inbound_batch *batch);

struct internal_sub;
/* Runs on the loop given to broker_subscribe(). The batch is the broker's. */
typedef void (*internal_cb)(void *arg, struct inbound_batch *batch);
/* Any loop. Copies subject and queue (ptr NULL: plain). */
struct internal_sub *broker_subscribe(struct broker *broker, struct account *account,
                                      struct bytes subject, struct bytes queue, struct loop *loop,
                                      internal_cb cb, void *arg);
/* On the loop of `with`: another subject for its callback. A publisher's messages come in the order
 * in which it sent them, whichever of the subjects they are for. */
struct internal_sub *broker_subscribe_with(struct internal_sub *with, struct bytes subject);
/* On the subscriber's loop. No callback follows, except for others that were subscribed with it. */
void broker_unsubscribe(struct broker *broker, struct internal_sub *sub);
/* On the subscriber's loop: who has sent what is still under way when the last of those that were
 * subscribed with it is gone is told that nobody is there (503), as if it had been sent a little
 * later. For subscribers that alone answer. */
void broker_tell_gone(struct internal_sub *sub);

/* --- links: neighbours that take messages on behalf of their own clients --- */

struct link_ops {
    /* Any loop. One message, for the plain interest and for one member of each queue listed.
     * Returns the bytes that now wait in the link's outbox. */
    size_t (*send)(void *owner, struct account *account, const struct message *message,
                   const struct bytes *queues, uint32_t queue_count);
};
struct link {
    const struct link_ops *ops;
    void *owner;       /* borrowed */
    struct conn *conn; /* borrowed: the connection, for back-pressure */
    struct map subs;   /* "account subject[ queue]" → entry; link's loop only */
};
/* The link's loop. weight 0 removes. */
void broker_link_interest(struct broker *broker, struct link *link, struct bytes account,
                          struct bytes subject, struct bytes queue, uint32_t weight);
/* What an entry of link->subs is. Borrowed. */
struct link_interest {
    const char *account;
    struct bytes subject, queue;
    uint32_t weight;
};
struct link_interest broker_link_entry(const void *entry);
/* Removes all interest of the link. Its memory must outlive the turn (loop_retire). */
void broker_link_down(struct broker *broker, struct link *link);
/* A message that came over a link: to local subscribers only; queue members only of the groups
 * listed. The link's loop. */
void broker_publish_from_link(struct broker *broker, struct account *account,
                              const struct message *message, const struct bytes *queues,
                              uint32_t queue_count);

/* Who wants to hear of local interest: set before the first client. Called on any loop. */
void broker_on_local_interest(struct broker *broker, account_announce_cb announce, void *arg);

/* --- the server --- */

/* `tls`: of the client port, NULL without; taken over. */
struct broker *broker_new(const struct options *options, struct tls_context *tls,
                          struct loops *loops);
/* Takes the client port, which neighbours are told; nobody gets in yet. */
MUST_USE enum err broker_bind(struct broker *broker, struct error *error);
/* Lets clients in. */
MUST_USE enum err broker_listen(struct broker *broker, struct error *error);
/* Loop 0. `options` become the current ones: borrowed until the next reload's `done`. Users,
 * permissions, limits and accounts apply to connected clients at once: one that may not be here any
 * more gets "Authorization Violation" and is closed. `tls` (taken over) is for handshakes
 * to come; established ones go on. `done` runs on loop 0; nobody holds the old
 * options beyond the current turn then. One reload at a time. */
void broker_reload(struct broker *broker, const struct options *options, struct tls_context *tls,
                   void (*done)(void *), void *arg);
/* Lame duck mode, loop 0, in two steps, so that JetStream can end between them: nobody gets in any
 * more; … */
void broker_lame_duck(struct broker *broker);
/* … and clients are told, and closed one by one after the grace period. `done`: none is left. */
void broker_lame_duck_clients(struct broker *broker, void (*done)(void *), void *arg);
bool broker_is_lame_duck(const struct broker *broker);
/* Closes the listener and every client; asynchronous: `done` runs on loop 0. */
void broker_shutdown(struct broker *broker, void (*done)(void *), void *arg);
/* After the loops have stopped. */
void broker_free(struct broker *broker);

/* Replaced by a reload: hold the result for a turn of a loop, not longer. */
const struct options *broker_options(const struct broker *broker);
struct loops *broker_loops(const struct broker *broker);
struct accounts *broker_accounts(const struct broker *broker);
/* The one of the configuration's `system_account`, "$SYS" by default. */
struct account *broker_system_account(const struct broker *broker);
struct account *broker_global_account(const struct broker *broker);
/* The cluster's name: configured, or made up, or that of a neighbour. Hold it for a turn. */
const char *broker_cluster_name(const struct broker *broker);
/* Loop 0. */
void broker_set_cluster_name(struct broker *broker, const char *name);
const char *broker_server_id(const struct broker *broker);
const char *broker_server_name(const struct broker *broker);
int broker_client_port(const struct broker *broker);
/* When the client port's certificate expires, wall clock; 0 without TLS. Any loop. */
int64_t broker_tls_not_after_ns(const struct broker *broker);
int64_t broker_start_ns(const struct broker *broker);
/* When the current options came into force. */
int64_t broker_config_time_ns(const struct broker *broker);
uint64_t broker_next_id(struct broker *broker);
/* Is anybody asked who it is? */
bool broker_auth_required(const struct broker *broker);
/* Where clients may connect: here first, then at the neighbours. */
json_t *broker_connect_urls(struct broker *broker);
/* Client URLs of this server ("host:port"), for INFO and for neighbours. */
json_t *broker_own_urls(const struct broker *broker);
/* Loop 0: client URLs of all neighbours; clients that understand it are told. Steals nothing. */
void broker_set_neighbour_urls(struct broker *broker, const json_t *urls);
/* The members every INFO of this server begins with: id, name, version, … */
json_t *broker_identity_info(const struct broker *broker);

/* --- numbers, summed over the loops; slightly stale, never torn --- */

struct traffic {
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes;
};
struct broker_stats {
    struct traffic all;    /* clients, links and internal */
    struct traffic client; /* clients only */
    uint64_t connections, total_connections, slow_consumers, stale_connections, stalled;
    uint64_t subscriptions;
};
void broker_stats(const struct broker *broker, struct broker_stats *stats);
/* Counts what a link received; link loop. */
void broker_count_link_in(struct broker *broker, uint64_t msgs, uint64_t bytes);
/* What all deliveries by this loop have cost so far, in units of conn_charge(): the difference is
 * what handling some input has cost. */
uint64_t broker_delivery_cost(struct broker *broker);

/* Calls `gather` on each loop in turn with `arg`, then `done` on the loop that asked. Snapshots for
 * monitoring are built this way, so a scrape never stalls traffic for more than one loop's share.
 */
void broker_gather(struct broker *broker, void (*gather)(void *arg, struct loop *loop),
                   void (*done)(void *arg), void *arg);
/* The same for what takes longer: `gather` runs again on a loop until it returns true there. Of all
 * that are under way a loop runs no more than one beyond half a millisecond of a turn. */
void broker_gather_in_slices(struct broker *broker, bool (*gather)(void *arg, struct loop *loop),
                             void (*done)(void *arg), void *arg);
/* Where a walk over a loop's clients stands between two slices; all zero before. */
struct client_walk {
    struct client *client; /* borrowed: the next one; a client that goes moves the walk on */
    uint32_t position;     /* among its subscriptions */
    bool begun;            /* on this loop, whose list it is in */
    struct client_walk *next;
};

/* A page of the clients, those that are gone included: found by one walk, described in another, so
 * that only those on it cost more than a few figures. The caller fills the first part and zeroes
 * the rest. */
enum connz_state { CONNZ_OPEN, CONNZ_CLOSED, CONNZ_ALL };
enum connz_sort {
    CONNZ_BY_CID,
    CONNZ_BY_SUBSCRIPTIONS,
    CONNZ_BY_PENDING,
    CONNZ_BY_OUT_MSGS,
    CONNZ_BY_IN_MSGS,
    CONNZ_BY_OUT_BYTES,
    CONNZ_BY_IN_BYTES,
    CONNZ_BY_START,
    CONNZ_BY_STOP,
    CONNZ_BY_REASON,
    CONNZ_BY_ACTIVITY,
    CONNZ_BY_RTT
};
struct client_page {
    enum connz_state state;
    enum connz_sort sort;
    bool subscriptions, detail, auth; /* what is shown of each */
    bool has_cid;
    uint64_t cid;               /* with has_cid: this one */
    const char *user, *account; /* NULL: any */
    size_t offset, limit;

    uint64_t matched;           /* so far: in the end, how many there are on all pages */
    struct heap first;          /* struct client_rank: the first offset + limit of them */
    struct client_text *listed; /* owned: of the page, in order; of who left meanwhile, empty */
    size_t count;
    struct table by_cid; /* of `listed` */
    size_t described;
    struct client_walk at;
};
/* One of the page: an object, as text, without its end. */
struct client_text {
    uint64_t cid;
    struct buffer text;
    bool begun, has_list;
};
/* Slices, as broker_gather_in_slices() runs them: false when there is more to do on the loop. The
 * first finds the page, the second, afterwards, describes it. */
bool broker_walk_page(struct broker *broker, struct client_page *page);
bool broker_describe_page(struct broker *broker, struct client_page *page);
/* Appends those that were there to be described as the items of a list: indented or, with their
 * subscriptions, a line each. */
void client_page_write(const struct client_page *page, struct buffer *out);
void client_page_deinit(struct client_page *page);

/* A page of the clients' subscriptions. The caller fills the first part and zeroes the rest. */
struct subscription_walk {
    const char *account; /* NULL: of all accounts */
    const char *test;    /* NULL: any; else those that this literal subject would reach */
    uint64_t offset, limit;

    uint64_t matched;   /* so far: in the end, the total */
    struct buffer page; /* owned by the caller: compact objects, a line each, with commas between */
    struct client_walk at;
};
/* A slice of the current loop's part: false when there is more to do on it. */
bool broker_walk_subscriptions(struct broker *broker, struct subscription_walk *walk);
/* Adds what the current loop's caches of that account (NULL: all) have seen; on loop 0 also what
 * the indexes hold. */
void broker_interest_stats(struct broker *broker, const char *account,
                           struct interest_stats *stats);

#endif
