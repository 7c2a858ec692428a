/* Shared by the files that make up a stream on this server:
 *
 *   asset.c           its life: log, leadership, expiry
 *   asset_publish.c   publishes
 *   asset_acks.c      acknowledgements and pull requests that come in
 *   pull.c            deliveries
 *   asset_api.c       requests of the API
 *   asset_held.c      those that wait for a leader
 *   asset_describe.c  descriptions, for the API
 *   asset_walk.c      the same, for /jsz
 *   asset_recovery.c  what is left of a stream that is damaged
 *   advisory.c        events it tells
 *
 * All of it on the loop of its shard. */
#ifndef JETSTREAM_ASSET_INTERNAL_H
#define JETSTREAM_ASSET_INTERNAL_H

#include "core/base/text_list.h"
#include "jetstream/jetstream_internal.h"

struct pulls;

struct dup_wait { /* a duplicate of a message under way */
    uint64_t seq;
    char *reply;
};

struct request_list {                   /* first come, first served */
    struct asset_request *first, **end; /* end NULL: empty so far */
};

struct asset {
    struct jetstream *js;
    struct shard *shard;
    struct account *account;
    struct group *group;
    struct stream *stream;
    struct stream *loading;           /* takes its place when it is complete; NULL mostly */
    struct stream_recovery *recovery; /* the same, when it is made anew from what is left of it */
    struct publisher publisher;
    char *name;
    struct buffer ack; /* the beginning of every PubAck: {"stream":"…","seq": */
    uint64_t peers[META_PEERS_MAX];
    unsigned peer_count;
    bool leading;
    int64_t leader_since_ns;
    struct text_list create_replies; /* STREAM.CREATE is to be answered there by the next leader */
    int64_t create_replies_until_ns; /* monotonic; nobody waits there any more then */
    json_t *wanted_config;           /* the meta group's, when it differs from what is applied */
    char *update_reply;
    struct map subs; /* leader only: its subjects → struct internal_sub */
    struct messages_builder builder;
    struct buffer builder_replies; /* varint length and reply per message in the builder */
    struct map changing; /* consumer → struct request_list: a change of it is under way, and what
                            waits for it */
    uint32_t config_under_way;        /* changes of the configuration */
    struct request_list after_config; /* what waits for them */
    struct map waiting;               /* log index → struct waiter */
    struct map reads;                 /* group_read_barrier()'s id → struct asset_request */
    uint64_t last_proposed;           /* log index, of this leader */
    struct asset_request *behind, **behind_end; /* until what was proposed before is applied */
    struct dup_wait *dups;                      /* duplicates of messages under way */
    uint32_t dup_count, dup_cap;
    size_t in_flight;    /* bytes proposed and not applied */
    uint64_t pulls_made; /* how many struct pulls there have been */
    struct loop_timer expiry;
    bool expiring;           /* an EXPIRE entry is under way */
    struct loop_timer admit; /* leader: while not all of `peers` are in the group */
    struct asset *next;      /* on its loop's list */
    struct held *held;       /* requests that came while nobody led; NULL: none yet */
    uint64_t applied_data;   /* index of the last entry that was applied */
    int64_t changed_ns;      /* monotonic: when one that a request had asked for was; 0: never */
    bool broken, deleted;
};

/* Messages looked at in one turn of the loop, when few of them match: a few ms. */
#define SEARCH_BYTES (4u << 20)

/* --- asset.c --- */

struct loop *asset_loop(const struct asset *asset);
/* The time that entries are written with. False: the clock is out of all bounds, and nothing may be
 * proposed that names a time. */
MUST_USE bool asset_clock(int64_t *now_ns);
/* Called when the entry at an index has been applied by the leader that proposed it, or the
 * leadership was lost (applied false). Frees its arg. */
typedef void (*waiter_cb)(struct asset *asset, void *arg, bool applied,
                          const struct apply_result *result);
/* Proposes; on failure returns false and `cb` is not called. An entry that cannot be applied is
 * refused. */
bool asset_propose(struct asset *asset, struct bytes entry, waiter_cb cb, void *arg);
/* The same for publishes, without a copy: takes the entry. `cb` waits beyond the leadership, as
 * long as the entry may still be committed. */
MUST_USE bool asset_propose_messages(struct asset *asset, struct blob *entry, waiter_cb cb,
                                     void *arg);
/* Something may have become deliverable to any of its consumers. */
void asset_pump_all(struct asset *asset);

/* With nothing in it, to be decoded into. */
struct stream *asset_new_stream(struct asset *asset);
/* `stream` is the state from now on. */
void asset_replace_stream(struct asset *asset, struct stream *stream);

/* --- asset_recovery.c --- */

extern const struct recovery_ops asset_recovery_ops;

/* Takes a request that this replica, the leader, is to answer. */
void asset_run(struct asset *asset, struct asset_request *request);

/* --- asset_held.c --- */

/* Takes a request that came to a replica that does not lead. */
void asset_hold(struct asset *asset, struct asset_request *request, bool led);
/* It leads now. */
void asset_look_at_held(struct asset *asset);

/* --- asset_publish.c; the leader --- */

void asset_on_publish(void *arg, struct inbound_batch *batch);
/* Answers the duplicates of what has been applied; of everything, without success, when nothing
 * will be (applied false). */
void asset_answer_duplicates(struct asset *asset, bool applied);
/* When leadership ends. What has been proposed may still be stored. */
void asset_forget_publishes(struct asset *asset);

/* --- asset_acks.c; the leader. Subscribed to for each consumer by pull.c --- */

void asset_on_acks(void *arg, struct inbound_batch *batch);
void asset_on_pulls(void *arg, struct inbound_batch *batch);

/* --- asset_api.c; the leader --- */

/* Takes the request. What it is checked against must not change before it is in the log: so it may
 * have to wait for what is under way, and is answered then. */
void asset_answer(struct asset *asset, struct asset_request *request);
/* A change of the configuration has been proposed; it has been applied, or will not be. */
void asset_config_proposed(struct asset *asset);
void asset_config_settled(struct asset *asset);

/* --- asset_describe.c --- */

json_t *asset_state_json(struct asset *asset, bool deleted);
/* Adds the subjects that match and their messages to such a state, a page of them; returns how many
 * there are. */
uint32_t asset_add_subjects(struct asset *asset, const char *filter, uint32_t offset,
                            uint32_t limit, json_t *state);
json_t *asset_cluster_json(struct asset *asset);
/* Where it is printed: nats-server leaves out other members in each. */
enum info_place {
    INFO_ASKED,   /* STREAM.INFO, CONSUMER.INFO */
    INFO_CHANGED, /* CREATE, UPDATE */
    INFO_LISTED,  /* LIST, /jsz */
    INFO_BARE     /* /jsz without configurations */
};
/* The members of STREAM.INFO and CONSUMER.INFO are added to `object`. */
void asset_add_stream_info(struct asset *asset, enum info_place place, json_t *object);
void asset_add_consumer_info(struct asset *asset, enum info_place place,
                             const struct consumer *consumer, json_t *object);

/* --- advisory.c: what is told under $JS.EVENT.ADVISORY.> --- */

void advise_leader(struct asset *asset);
void advise_nak(struct asset *asset, struct consumer *consumer, uint64_t stream_seq);
void advise_max_deliver(struct asset *asset, const struct consumer *consumer, uint64_t stream_seq,
                        uint64_t deliveries);

/* --- pull.c: the leader's side of one consumer --- */

struct pulls *pulls_new(struct asset *asset, struct consumer *consumer);
/* Tells the waiting requests why (a status line), then forgets them. */
void pulls_free(struct pulls *pulls, const char *status);
void pulls_request(struct pulls *pulls, struct bytes reply, struct bytes header, struct bytes body);
/* Before a change of the consumer is proposed: nothing is delivered until it has been applied, and
 * the hold, never 0, given back. Another consumer's hold is ignored: this one may just have taken
 * its name. */
uint64_t pulls_hold(struct pulls *pulls);
void pulls_release(struct pulls *pulls, uint64_t hold);
/* Before negative acknowledgements are proposed: what they ask for again goes before what is new,
 * so nothing new is chosen until they have been applied, and the number, never 0, given back. */
uint64_t pulls_settle(struct pulls *pulls);
void pulls_settled(struct pulls *pulls, uint64_t number);
/* Something may have become deliverable. */
void pulls_pump(struct pulls *pulls);
uint32_t pulls_waiting(const struct pulls *pulls);

#endif
