/* Shared by the files of core/broker. */
#ifndef CORE_BROKER_BROKER_INTERNAL_H
#define CORE_BROKER_BROKER_INTERNAL_H

#include "core/account/imports.h"
#include "core/account/mapping.h"
#include "core/base/nkey.h"
#include "core/base/table.h"
#include "core/broker/broker.h"
#include "core/broker/login_limits.h"
#include "core/broker/origin.h"
#include "core/net/listener.h"
#include "core/protocol/parser.h"

enum sub_kind {
    SUB_CLIENT,
    SUB_INTERNAL,
    SUB_LINK,
    SUB_SERVICE, /* a service import: struct service_import */
    SUB_REPLIES, /* the answers to an exporting account's services: struct responses */
    SUB_SHADOW   /* a client's subscription, in an account it imports from: struct shadow */
};

/* A subscription of a client. Lives from SUB until a turn after its removal. */
struct subscription {
    struct interest_entry entry; /* first: the index hands out pointers to it */
    struct client *client;       /* borrowed: outlives its subscriptions by a turn */
    struct shadow *shadows;      /* owned */
    uint64_t delivered;          /* guarded by the connection's outbox lock */
    uint64_t max;                /* 0: none; same lock */
    uint32_t sid_len;
    bool dead;   /* same lock: delivers no more, its removal is under way */
    char text[]; /* subject, queue, sid */
};

static inline struct bytes subscription_sid(const struct subscription *sub)
{
    return bytes_make(sub->text + sub->entry.subject_len + sub->entry.queue_len, sub->sid_len);
}

struct link_sub {
    struct interest_entry entry;
    struct link *link;
    struct account *account;
    char text[];
};

/* What one callback gets, from one subscriber or several. */
struct internal_inbox {
    struct broker *broker;
    struct account *account;
    struct loop *loop;
    internal_cb cb;
    void *arg;
    atomic_uint refs;                /* its subscribers, and one per batch under way */
    uint32_t subscribers;            /* not removed; the inbox's loop, once it is in use */
    struct inbound_batch **building; /* one per loop, touched by that loop only */
    atomic_size_t backlog;           /* bytes in batches not yet handled */
    bool tells_gone;                 /* the inbox's loop: broker_tell_gone() */
};

struct internal_sub {
    struct interest_entry entry;
    struct internal_inbox *inbox;
    bool removed; /* the inbox's loop */
    char text[];
};

enum client_state {
    CLIENT_NEW,       /* no CONNECT yet, or none accepted */
    CLIENT_VERIFYING, /* its secret is compared in the work pool, or waits; reading is paused */
    CLIENT_READY,
    CLIENT_REFUSED /* is not judged, because its address guesses too often; closed soon */
};

struct client {
    struct conn *conn; /* owned reference */
    struct broker *broker;
    struct broker_loop *home;
    struct client *prev, *next; /* home's list */
    enum client_state state;
    struct parser parser;
    struct account *account;
    const struct auth_user *user;                    /* borrowed; NULL without credentials */
    _Atomic(const struct permissions *) permissions; /* written by the owner, read by any loop */
    bool anonymous;                                  /* gave no credentials */
    struct map publish_cache;                        /* subject → allowed; bounded */
    struct table subs;                               /* struct subscription by sid */
    struct map replies; /* allow_responses: subject → struct reply_right; outbox lock */
    bool verbose, pedantic, echo, headers, no_responders;
    bool may_repeat; /* the last PUB was allowed, and the same line is allowed again */
    bool must_stall; /* what it published in this read has filled a destination */
    bool stalled;    /* on its home's list: reading is paused until a destination has drained */
    bool connect_seen;
    uint8_t welcome;     /* enum client_welcome, while a proxy's header is waited for */
    bool greeted;        /* INFO was sent */
    bool got_first_pong; /* may receive asynchronous INFO */
    bool sent_connect_info;
    int protocol;
    char *name, *lang, *version;
    char nonce[16];          /* as INFO had it; empty: none */
    struct loop_timer timer; /* authentication first, then PING */
    int pings_out;
    int64_t ping_sent_ns, rtt_ns;
    int64_t last_activity_ns; /* wall clock, to be shown */
    int64_t active_mono_ns;   /* the same, to wait by */
    uint64_t in_msgs, in_bytes, stalls;
    struct buffer held;            /* bytes that arrived while CLIENT_VERIFYING */
    struct buffer waiting_connect; /* what CONNECT said, until its turn to be judged */
};

/* What one loop keeps for the broker; only its thread writes. */
struct broker_loop {
    struct broker *broker;
    struct loop *loop;
    struct client *clients;
    struct client **stalled;
    uint32_t stalled_count, stalled_cap;
    struct loop_timer stall_timer;
    struct loop_timer give_back_timer; /* after a client with much memory has gone */
    struct client_walk *walks;         /* borrowed: those under way on this loop */
    /* Owned: those that run here in slices. While there are any, run_slices() is posted. */
    struct gathering *sliced, *last_sliced;
    struct closed_clients *closed;   /* client_describe.c's; NULL while none has closed */
    struct internal_inbox **batched; /* those with a batch being built */
    uint32_t batched_count, batched_cap;
    struct turn_task batch_task;
    /* counters: written here, read by anyone */
    atomic_uint_fast64_t in_msgs, in_bytes, out_msgs, out_bytes;
    atomic_uint_fast64_t client_in_msgs, client_in_bytes, client_out_msgs, client_out_bytes;
    atomic_uint_fast64_t connections, total_connections, slow_consumers, stale, stalls;
};

/* What a reload has replaced. */
struct old_exchange {
    struct old_exchange *next;
    struct imports *imports;
    struct mappings *mappings;
};

/* Only servers say who asks: it is taken out of what clients send (CVE-2026-33246). */
#define REQUEST_INFO_HEADER "Nats-Request-Info"

struct broker {
    /* What a reload replaces: read at most once per turn's use, freed when every loop is past it.
     */
    _Atomic(const struct options *) options; /* borrowed */
    _Atomic(struct auth *) auth;
    _Atomic(struct tls_context *) tls; /* of the client port; NULL: plain */
    int64_t rate_second;               /* loop 0: connections accepted in this second */
    int64_t rate_count;
    struct loops *loops;               /* borrowed */
    struct login_limits *login_limits; /* owned */
    struct accounts *accounts;
    struct account *global, *system;
    struct broker_loop *per_loop;
    char server_id[NKEY_TEXT_MAX];
    char *server_name;
    _Atomic(char *) cluster_name; /* owned; "" without a cluster */
    int64_t start_ns;
    atomic_int_fast64_t config_ns; /* the last reload, or the start */
    atomic_uint_fast64_t next_id;
    atomic_int next_loop;
    int port;
    int listen_fd;             /* until there is a listener, which takes it over */
    struct listener *listener; /* owned; loop 0 */
    atomic_bool shutting_down;
    atomic_bool lame_duck;
    account_announce_cb announce;
    void *announce_arg;
    pthread_mutex_t info_lock; /* leaf; guards neighbour_urls */
    json_t *neighbour_urls;
    void (*shutdown_done)(void *);
    void *shutdown_arg;
    struct loop_timer lame_duck_timer;
    int64_t lame_duck_pause_ns; /* between two closings, at most */
    void (*lame_duck_done)(void *);
    void *lame_duck_arg;
    pthread_mutex_t responses_lock; /* guards account->responses while it is created */
    struct old_exchange *old_exchange;
    struct auth *old_auth; /* during a reload */
    struct tls_context *old_tls;
    bool info_changed;          /* by the reload under way */
    atomic_int_fast64_t excess; /* clients to close because max_connections was lowered */
    void (*reload_done)(void *);
    void *reload_arg;
};

static inline const struct auth *broker_auth(struct broker *broker)
{
    return atomic_load_explicit(&broker->auth, memory_order_acquire);
}

static inline const struct permissions *client_permissions(const struct client *c)
{
    return atomic_load_explicit(&c->permissions, memory_order_acquire);
}

static inline struct broker_loop *broker_here(struct broker *broker)
{
    return &broker->per_loop[loop_index(loop_current())];
}

static inline void count(atomic_uint_fast64_t *counter, uint64_t more)
{
    /* one writer: a plain add would do, but readers must not see it torn */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

/* Routing. `source` NULL for messages that no client published. */
struct routing {
    struct client *source;          /* whose reading is slowed when a destination is full */
    const struct client *requester; /* whom a service is told of; the source, but for responses */
    bool echoes;                    /* delivered also to the source's own subscriptions */
    /* How the message came here through imports; an account is not entered twice, for then its
     * match, which is being walked, would be overwritten. */
    const struct routing *outer;
    const struct account *account; /* set by route_message() */
    const struct internal_inbox
        *served; /* the subscriber inside the server that took it last, here */
    enum origin origin;
    bool from_link;
    const struct bytes *queues; /* from_link: only these groups */
    uint32_t queue_count;
};
/* Nats-Trace-Only: it goes nowhere. */
bool message_is_trace_only(const struct message *m);
/* Returns how many took the message. Sets source->must_stall when a destination is full. */
unsigned route_message(struct broker *broker, struct account *account, const struct message *m,
                       struct routing *routing);
/* Encodes into a client's outbox; *pending is then what waits there. False when it was not taken.
 */
bool client_deliver(struct subscription *sub, const struct message *m, size_t *pending);
enum client_welcome {
    CLIENT_WELCOME,
    CLIENT_THROTTLED,   /* more came in this second than connection_rate_limit lets in */
    CLIENT_ONE_TOO_MANY /* the process runs short of file descriptors */
};
/* Whoever is not welcome is told why, and closed. */
void client_open(struct broker *broker, int fd, enum client_welcome welcome);
void client_send_info(struct client *client, bool connect_info);
void client_close(struct client *client, enum close_reason reason);
/* Pauses a producer until destinations have drained, at most STALL_MAX_MS. */
void client_stall(struct client *client);
void broker_free_closed(struct broker_loop *here);
void broker_resume_stalled(struct loop *loop);
/* The configuration's part of the accounts: who has JetStream. */
void broker_apply_accounts(struct broker *b, const struct options *options);
/* Loop 0. Nobody gets in any more. */
void broker_close_listener(struct broker *b);
/* INFO to all clients that take it unasked. Any loop. */
void broker_tell_clients(struct broker *b);
/* The configuration has changed: is the client still who it was, and may it still do what it does?
 * Closes it, or drops the subscriptions that are not allowed any more. The client's loop. */
void client_reauthorize(struct client *c);
/* Messages between accounts: imports.c. These run on any loop. */
bool service_import_deliver(struct broker *b, struct interest_entry *entry, const struct message *m,
                            const struct routing *routing);
bool responses_deliver(struct interest_entry *entry, const struct message *m,
                       const struct routing *routing);
/* Has the message been in that account on its way? */
bool routing_has_passed(const struct routing *outer, const struct account *account);
/* Does who asked still listen? */
bool responses_wanted(const struct interest_entry *entry, struct bytes subject);
struct subscription *shadow_of(struct interest_entry *entry);
bool shadow_deliver(struct interest_entry *entry, const struct message *m,
                    const struct routing *routing, size_t *pending);
/* On the client's loop. */
void shadows_add(struct client *c, struct subscription *sub);
void shadows_drop(struct client *c, struct subscription *sub);
/* Mappings and imports as the options have them; what they replace waits in b->old_exchange for
 * broker_retire_exchange(), when no shadow uses it any more. */
void broker_exchange_changed(struct broker *b, const struct options *options);
void broker_retire_exchange(struct broker *b);
/* After the loops have stopped. */
void broker_exchange_end(struct broker *b);
void broker_free_responses(struct account *account);
void internal_deliver(struct internal_sub *sub, const struct message *m);
/* Counts local interest and lets the neighbours know. */
void broker_local_changed(struct broker *broker, struct account *account,
                          const struct interest_entry *entry, int change);

#endif
