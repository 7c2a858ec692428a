/* Shared by the files of jetstream/. */
#ifndef JETSTREAM_JETSTREAM_INTERNAL_H
#define JETSTREAM_JETSTREAM_INTERNAL_H

#include "core/base/json.h"
#include "jetstream/jetstream.h"
#include "jetstream/group/shard.h"
#include "jetstream/state/meta.h"
#include "jetstream/state/publish.h"

struct asset;

/* What loop 0 knows of a stream this server has a replica of. The asset itself belongs to its loop.
 */
struct hosted {
    char *account, *stream;
    uint64_t group;
    struct shard *shard;
    struct asset *asset; /* opaque here: only passed to the shard's loop */
    char *problem;       /* why it is not served here (offline.h); NULL: it is */
    uint64_t peers[META_PEERS_MAX];
    unsigned peer_count;
};

#define META_REPLIES 256 /* of entries that one may be asked to do once more */

struct meta_group {
    struct group *group; /* NULL until its voters are known */
    struct meta meta;
    uint64_t voters[RAFT_VOTERS_MAX];
    unsigned voter_count;
    uint64_t id; /* drawn when it formed, stored with the voters; 0: none, as before they had one */
    bool leading;
    int64_t leading_since_ns; /* monotonic */
    uint64_t reported_leader;
    int64_t leaderless_since_ns;    /* monotonic; 0: there is a leader */
    uint64_t told[RAFT_VOTERS_MAX]; /* the voters, as a member has told last */
    unsigned told_count;
    uint64_t waiting[RAFT_MEMBERS_MAX]; /* leader: named in the log */
    unsigned waiting_count;
    struct admission {
        uint64_t node;
        struct account *account;    /* who is told at `reply` when it votes */
        char *reply;                /* NULL: nobody */
    } admissions[RAFT_MEMBERS_MAX]; /* leader: learners that an operator lets vote */
    unsigned admission_count;
    struct meta_forming *forming; /* owned; NULL: there is nothing to form any more */
    struct loop_timer watch_timer;
    uint64_t next_placement;
    char problem[640];              /* why it is not opened; "": it is, or is about to be */
    uint64_t last_change;           /* index of the last entry that was applied */
    uint64_t replies[META_REPLIES]; /* hashes, in a circle: where answers to the last ones went */
    unsigned next_reply;
    uint64_t last_at_start; /* index: what an earlier life may have acted on */
    bool caught_up;         /* has been, since this process began */
};

struct scrub;

#define API_GROUPS 16

/* The API in one account. */
struct api_sub {
    struct account *account;
    struct internal_sub *subs[API_GROUPS];
};

struct jetstream {
    struct broker *broker;
    struct peers *peers;   /* NULL without cluster */
    struct routes *routes; /* NULL without cluster */
    struct store *store, *memory;
    struct loops *loops;
    struct shard **shards; /* one per loop */
    uint64_t self;
    char *store_dir;
    struct scrub *scrub;      /* loop 0; NULL none */
    struct meta_group meta;   /* loop 0 */
    struct map hosted;        /* loop 0: "account\nstream" → struct hosted */
    struct api_sub *api_subs; /* one per account whose requests are answered; loop 0 */
    uint32_t api_sub_count, api_sub_cap;
    struct internal_sub *system_sub; /* loop 0 */
    struct late_answer *late;        /* loop 0: offline.c */
    uint32_t late_count;
    struct held *held; /* loop 0: requests that came while nobody led; NULL none yet (api_held.c) */
    struct map questions; /* loop 0: id → struct question (collect.c) */
    uint64_t next_question;
    atomic_uint_fast64_t api_total, api_errors; /* answers, of them refusals */
    void (*ready)(void *);                      /* NULL once called */
    void *ready_arg;
    int64_t ready_deadline_ns;
    struct loop_timer ready_timer;
    unsigned not_ready;
    void (*shutdown_done)(void *);
    void *shutdown_arg;
    unsigned closing;
    struct loop_timer transfer_timer;
    atomic_bool stopping;
};

static inline bool js_is_clustered(const struct jetstream *js)
{
    return js->peers != NULL;
}
/* Monotonic: when the group's leader, another server, was heard of last; 0: there is none. Any loop
 * that owns the group. */
int64_t js_leader_heard_ns(const struct jetstream *js, const struct group *group);
struct shard *js_shard_of(struct jetstream *js, uint64_t group);
const char *js_node_name(struct jetstream *js, uint64_t node);
/* The 8-character id clients know a node by. */
void js_node_id8(struct jetstream *js, uint64_t node, char id[9]);

/* --- requests and replies (api.c) --- */

/* Loop 0. From now on requests in sub->account are answered; or no more. */
void api_subscribe(struct jetstream *js, struct api_sub *sub);
void api_unsubscribe(struct jetstream *js, struct api_sub *sub);
/* The same for what only the system account may ask. */
struct internal_sub *api_subscribe_system(struct jetstream *js);

/* A request, as it came. Everything borrowed. */
struct api_request {
    struct account *account;
    struct bytes subject; /* behind "$JS.API." */
    struct bytes reply, payload;
    uint32_t header_len;
};
void api_answer(struct jetstream *js, const struct api_request *request);
/* Until this server leads the meta group, or knows that another one had the request; a copy is
 * made. `type` of the response, for the error when neither comes. `changes`: not only looks. */
void api_hold(struct jetstream *js, const struct api_request *request, const char *type,
              bool changes);

/* {"type":"io.nats.jetstream.api.v1.<type>"}, to which the caller adds. */
json_t *js_response(const char *type);
/* Sends and releases `response`. No-op without a reply subject. */
void js_reply(struct jetstream *js, struct account *account, struct bytes reply, json_t *response);
void js_reply_error(struct jetstream *js, struct account *account, struct bytes reply,
                    const char *type, const struct js_error *error);
/* "success": it is done, and there is no more to say. */
void js_reply_success(struct jetstream *js, struct account *account, struct bytes reply,
                      const char *type);
/* A message from JetStream. */
void js_publish(struct jetstream *js, struct account *account, struct bytes subject,
                struct bytes reply, struct bytes header, struct bytes body);

/* --- the meta group (meta_group.c); loop 0 --- */

void meta_group_start(struct jetstream *js);
/* These are the group's id (0: it has none) and, in ascending order, first voters: it is opened
 * when that is on disk. Once. */
void meta_group_formed(struct jetstream *js, uint64_t id, const uint64_t *voters, unsigned count);
void meta_group_stop(struct jetstream *js, bool checkpoint);
bool meta_is_leader(const struct jetstream *js);
/* meta_forming.c. Never NULL. */
struct meta_forming *meta_forming_start(struct jetstream *js);
void meta_forming_end(struct meta_forming *forming); /* NULL: nothing */
/* A Raft message of that node for the meta group, while there is none here. */
void meta_forming_heard(struct meta_forming *forming, uint64_t node, struct bytes message);
/* A JS_FRAME_FORM, whether this server still forms or not. */
void meta_forming_on_frame(struct jetstream *js, struct raft_sender from, struct bytes body);
/* The group is there: who votes in it, to another server. */
void meta_tell_voters(struct jetstream *js, uint64_t node);
/* Nobody vouches for the node (raft.h, invariant (7)): it has not proven itself at the cluster
 * port, no route names it, and it votes in no meta group that we, or a member, know of. Loop 0. */
bool js_is_stranger(const struct jetstream *js, uint64_t node);
/* Leader: connected servers that learn, but may not vote: the routes do not name them, or name no
 * more. Names; the array is the caller's. */
const char **meta_waiting(struct jetstream *js, unsigned *count);
/* Leader: the learner of this name, or id, may vote, whatever the routes say. Whoever asks is
 * answered when it does, or can not. */
void meta_admit_server(struct jetstream *js, struct account *account, const char *peer,
                       struct bytes reply);
/* The servers of the meta group, learners included; *voters: how many of them vote. */
unsigned meta_servers(const struct jetstream *js, uint64_t nodes[RAFT_MEMBERS_MAX],
                      unsigned *voters);
/* Nobody has led for so long that any server may say so. */
bool meta_is_leaderless(const struct jetstream *js);
void meta_create_stream(struct jetstream *js, struct account *account, struct bytes name,
                        struct bytes body, struct bytes reply);
void meta_update_stream(struct jetstream *js, struct account *account, struct bytes name,
                        struct bytes body, struct bytes reply);
void meta_delete_stream(struct jetstream *js, struct account *account, struct bytes name,
                        struct bytes reply);
struct hosted *js_hosted(struct jetstream *js, struct bytes account, struct bytes stream);

/* --- assets: a stream on this server, asset_internal.h to those that make it up --- */

/* A request to a stream, copied for its loop. */
enum asset_verb {
    ASSET_INFO,
    ASSET_PURGE,
    ASSET_MSG_GET,
    ASSET_MSG_DELETE,
    ASSET_CONSUMER_CREATE,
    ASSET_CONSUMER_DELETE,
    ASSET_CONSUMER_INFO,
    ASSET_CONSUMER_NAMES,
    ASSET_CONSUMER_LIST
};
struct asset_request {
    struct asset_request *next; /* of those that wait */
    struct asset *asset;
    uint64_t group; /* the asset's: its memory may be another stream's by the time this arrives */
    enum asset_verb verb;
    const char *type;  /* of the response */
    bool durable_form; /* CONSUMER.DURABLE.CREATE */
    char *consumer;    /* from the subject; NULL none */
    char *filter;      /* from the subject; NULL none */
    char *body;
    size_t body_len;
    char *reply;       /* NULL none */
    uint64_t searched; /* MSG_GET: up to here nothing has been found; 0 at first */
    uint64_t after;    /* log index to be applied before it is answered */
};
/* Is a request one that a stream would look at? When there is none: nats-server tells of a bad body
 * first, but in a cluster not of those of streams. */
bool asset_check_body(enum asset_verb verb, const struct consumer_subject *subject,
                      struct bytes body, struct js_error *error);
/* Any loop: runs on the asset's loop. Takes the request. */
void asset_request(struct shard *shard, struct asset_request *request);
void asset_request_free(struct asset_request *request);

/* Is it certain that this node never was a member of a stream's group? In memory nothing of an
 * earlier life is left, so what its log says of it does not count, nor does a group's footprint
 * have to be there (0.3 left none). */
struct fresh {
    bool on_disk, in_memory;
};

/* Shard's loop. `fresh`: see group_open(). `reply` (NULL none): the creator waits there for
 * STREAM.CREATE's answer. */
struct asset *asset_open(struct jetstream *js, struct shard *shard, const struct assignment *a,
                         struct fresh fresh, const char *reply, struct error *error);
void asset_config_changed(struct asset *asset, json_t *config, const char *reply);
/* Answers STREAM.CREATE of something that exists already, when this is the leader or the next one.
 */
void asset_echo(struct asset *asset, const char *reply);
/* `reply` (NULL none): the leader confirms STREAM.DELETE there; while there is none, the member
 * that is the `speaker`. */
void asset_delete(struct asset *asset, const char *reply, bool speaker);
void asset_close(struct asset *asset);
/* For STREAM.LIST. */
json_t *asset_describe(struct asset *asset);
/* Of that, what sums are made of. */
json_t *asset_summary(struct asset *asset);
bool asset_is_current(struct asset *asset);
/* Why it has stopped on this server; NULL: it has not. */
const char *asset_problem(const struct asset *asset);
/* Walks the assets of the current loop; NULL begins, NULL ends. */
struct asset *asset_next(struct asset *after);
/* The same in slices, between which assets come and go: where it stands; NULL: at the end. */
struct asset *asset_walk_at(struct asset_walk *walk);
void asset_walk_next(struct asset_walk *walk);
#define ASSET_WALK_SLICE_NS (NS_PER_MS / 2) /* of a turn */

#endif
