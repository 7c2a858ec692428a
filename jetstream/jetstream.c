#include "jetstream/jetstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file_mode.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "jetstream/asset_internal.h"
#include "jetstream/collect.h"
#include "jetstream/held.h"
#include "jetstream/offline.h"
#include "jetstream/scrub.h"

#define STANDALONE_NODE 1

int64_t js_leader_heard_ns(const struct jetstream *js, const struct group *group)
{
    uint64_t leader = group_status(group).leader_node;
    bool other = leader != 0 && leader != js->self && js->peers != NULL;
    if (!other || !peers_is_up(js->peers, leader)) {
        return 0;
    }
    int64_t silence = peers_silence_ns(js->peers, leader); /* 0: never heard of */
    return silence == 0 ? 0 : clock_mono_ns() - silence;
}

struct shard *js_shard_of(struct jetstream *js, uint64_t group)
{
    return js->shards[group % loops_count(js->loops)];
}

const char *js_node_name(struct jetstream *js, uint64_t node)
{
    if (node == 0) {
        return NULL;
    }
    return js->peers == NULL ? broker_server_name(js->broker) : peers_name(js->peers, node);
}

void js_node_id8(struct jetstream *js, uint64_t node, char id[9])
{
    const char *name = js_node_name(js, node);
    if (name != NULL) {
        hash_name8(bytes_of(name), id);
    } else {
        (void)snprintf(id, 9, "%08llx", (unsigned long long)(node & 0xffffffff));
    }
}

/* --- frames of other servers --- */

struct raft_mail {
    struct jetstream *js;
    struct shard *shard;
    struct raft_sender from;
    struct buffer messages;
};

static void break_off(void *arg)
{
    struct raft_mail *mail = arg;
    if (!mail->js->stopping) {
        peers_break_off(mail->js->peers, mail->from.node, "its messages break the rules of Raft");
    }
    free(mail);
}

static void deliver_mail(void *arg)
{
    struct raft_mail *mail = arg;
    bool right = shard_receive(mail->shard, mail->from, buffer_bytes(&mail->messages));
    buffer_deinit(&mail->messages);
    if (right) {
        free(mail);
    } else {
        loop_post(loops_at(mail->js->loops, 0), break_off, mail);
    }
}

/* Sorts a frame's messages by the loops their groups live on. */
static void on_raft_frame(struct jetstream *js, struct raft_sender from, struct bytes body)
{
    unsigned count = loops_count(js->loops);
    struct raft_mail *mails[LOOPS_MAX] = {0};
    struct reader r = reader_make(body);
    while (r.at < r.end && !r.bad) {
        struct bytes message = reader_bytes(&r);
        struct reader head = reader_make(message);
        uint64_t group = reader_varint(&head);
        if (r.bad || head.bad) {
            peers_break_off(js->peers, from.node, "a frame is malformed");
            break;
        }
        if (group == META_GROUP_ID && js->meta.forming != NULL && !from.stranger) {
            meta_forming_heard(js->meta.forming, from.node, message);
        }
        unsigned i = (unsigned)(group % count);
        if (mails[i] == NULL) {
            mails[i] = NEW(struct raft_mail);
            mails[i]->js = js;
            mails[i]->shard = js->shards[i];
            mails[i]->from = from;
        }
        buffer_put_bytes(&mails[i]->messages, message);
    }
    for (unsigned i = 0; i < count; i++) {
        if (mails[i] != NULL && i == 0) {
            deliver_mail(mails[i]);
        } else if (mails[i] != NULL) {
            loop_post(loops_at(js->loops, i), deliver_mail, mails[i]);
        }
    }
}

static void on_frame(void *arg, uint64_t node, uint8_t type, struct bytes body)
{
    struct jetstream *js = arg;
    if (js->stopping) {
        return;
    }
    const struct raft_sender from = {node, js_is_stranger(js, node)};
    switch (type) {
    case JS_FRAME_RAFT:
        on_raft_frame(js, from, body);
        return;
    case JS_FRAME_ASK:
        collect_on_ask(js, node, body);
        return;
    case JS_FRAME_COUNTS:
        collect_on_counts(js, node, body);
        return;
    case JS_FRAME_ANSWER:
        collect_on_answer(js, node, body);
        return;
    case JS_FRAME_FORM:
        meta_forming_on_frame(js, from, body);
        return;
    default:
        return; /* of a newer version */
    }
}

struct peer_news {
    struct jetstream *js;
    unsigned shard;
    uint64_t node;
    bool up;
};

static void tell_shard(void *arg)
{
    struct peer_news *news = arg;
    if (!news->js->stopping) {
        shard_peer_changed(news->js->shards[news->shard], news->node, news->up);
    }
    free(news);
}

static void on_peer_change(void *arg, uint64_t node, const char *name, bool up)
{
    (void)name;
    struct jetstream *js = arg;
    if (up && js->meta.group != NULL) {
        meta_tell_voters(js, node);
    }
    if (!up) {
        collect_peer_gone(js, node);
    }
    for (unsigned i = 0; i < loops_count(js->loops); i++) {
        struct peer_news *news = NEW(struct peer_news);
        *news = (struct peer_news){js, i, node, up};
        loop_post(loops_at(js->loops, i), tell_shard, news);
    }
}

/* --- life --- */

/* nats-server's default: three quarters of the machine. */
static int64_t default_max_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long size = sysconf(_SC_PAGE_SIZE);
    return pages <= 0 || size <= 0 ? INT64_C(256) << 20 : (int64_t)pages / 4 * 3 * size;
}

/* Logged here, and in every group's log by the membership entry of its next leader. */
static void force_recovery(struct jetstream *js, const struct options *o)
{
    uint64_t survivors[RAFT_MEMBERS_MAX];
    unsigned count = 0;
    for (uint32_t i = 0; i < o->force_recovery.count && count < RAFT_MEMBERS_MAX; i++) {
        survivors[count++] = hash_node_id(bytes_of(o->force_recovery.items[i]));
        log_warn(
            "FORCED RECOVERY: server \"%s\" is left; what only others had acknowledged is lost",
            o->force_recovery.items[i]);
    }
    for (unsigned i = 0; i < loops_count(js->loops) && count > 0; i++) {
        shard_force_recovery(js->shards[i], survivors, count);
    }
}

struct jetstream *jetstream_new(struct broker *broker, struct peers *peers, struct routes *routes,
                                struct error *error)
{
    const struct options *o = broker_options(broker);
    struct jetstream *js = NEW(struct jetstream);
    struct buffer path = {0};
    js->broker = broker;
    js->peers = peers;
    js->routes = routes;
    js->loops = broker_loops(broker);
    /* Alone, a server may have another name at every start: its data must still be its own. */
    js->self = peers == NULL ? STANDALONE_NODE : peers_self(peers);
    buffer_printf(&path, "%s/jetstream%c", o->store_dir == NULL ? "/tmp/nats" : o->store_dir, '\0');
    js->store_dir = path.data;
    const struct store_keys keys = {o->jetstream_key, o->jetstream_prev_key,
                                    o->jetstream_aes ? SEAL_AES : SEAL_CHACHAPOLY};
    file_mode_tighten(js->store_dir); /* from before, or from somewhere else */
    js->store = store_open(js->store_dir, &keys, error);
    if (js->store == NULL) {
        free(js->store_dir);
        free(js);
        return NULL;
    }
    js->memory = store_open_memory(o->jetstream_max_memory >= 0 ? o->jetstream_max_memory
                                                                : default_max_memory());
    js->shards = mem_zalloc(loops_count(js->loops) * sizeof(struct shard *));
    for (unsigned i = 0; i < loops_count(js->loops); i++) {
        js->shards[i] = shard_new(loops_at(js->loops, i), js->store, js->memory, peers, js->self);
        shard_set_lease(js->shards[i], o->read_lease_ns);
    }
    force_recovery(js, o);
    if (peers != NULL) {
        struct peers_callbacks callbacks = {on_frame, on_peer_change};
        peers_set_callbacks(peers, &callbacks, js);
    }
    return js;
}

/* --- ready: the meta group leads, and every asset does --- */

#define READY_MAX_MS   10000
#define READY_CHECK_MS 10

static void check_ready(void *arg);

static void count_not_leading(void *arg, struct loop *loop)
{
    (void)loop;
    struct jetstream *js = arg;
    for (struct asset *a = asset_next(NULL); a != NULL; a = asset_next(a)) {
        js->not_ready += !a->leading && asset_problem(a) == NULL;
    }
}

static void counted(void *arg)
{
    struct jetstream *js = arg;
    bool late = clock_mono_ns() > js->ready_deadline_ns;
    bool stopped = js->meta.problem[0] != '\0' ||
                   (js->meta.group != NULL && group_problem(js->meta.group) != NULL);
    if (js_is_clustered(js) || late || stopped || (meta_is_leader(js) && js->not_ready == 0)) {
        js->ready(js->ready_arg);
    } else if (!js->stopping) {
        loop_timer_arm(loops_at(js->loops, 0), &js->ready_timer,
                       clock_mono_ns() + READY_CHECK_MS * NS_PER_MS, check_ready, js);
    }
}

static void check_ready(void *arg)
{
    struct jetstream *js = arg;
    js->not_ready = 0;
    broker_gather(js->broker, count_not_leading, counted, js);
}

/* Of the configuration, with JetStream or to be told that it has none; but what another account
 * is asked, by an import, is for that one to answer. */
static bool has_api(const struct jetstream *js, const struct account *account)
{
    const struct account_options *o =
        options_find_account(broker_options(js->broker), bytes_of(account->name));
    if (o == NULL || account->is_system) {
        return false;
    }
    bool imported = false;
    for (uint32_t i = 0; i < o->import_count; i++) {
        imported =
            imported || (o->imports[i].service &&
                         subject_overlaps(bytes_of(o->imports[i].local), BYTES_LIT("$JS.API.>")));
    }
    return !imported || atomic_load(&account->jetstream);
}

void jetstream_accounts_changed(struct jetstream *js)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < js->api_sub_count; i++) {
        if (has_api(js, js->api_subs[i].account)) {
            js->api_subs[kept++] = js->api_subs[i];
        } else {
            api_unsubscribe(js, &js->api_subs[i]);
        }
    }
    js->api_sub_count = kept;
    struct account **accounts = accounts_list(broker_accounts(js->broker));
    for (uint32_t i = 0; accounts[i] != NULL; i++) {
        bool known = false;
        for (uint32_t k = 0; k < kept; k++) {
            known = known || js->api_subs[k].account == accounts[i];
        }
        if (!known && has_api(js, accounts[i])) {
            VEC_RESERVE(js->api_subs, js->api_sub_cap, js->api_sub_count);
            struct api_sub *sub = &js->api_subs[js->api_sub_count++];
            *sub = (struct api_sub){.account = accounts[i]};
            api_subscribe(js, sub);
        }
    }
    free(accounts);
}

static void start(void *arg)
{
    struct jetstream *js = arg;
    jetstream_accounts_changed(js);
    js->system_sub = api_subscribe_system(js);
    meta_group_start(js);
    js->scrub = scrub_start(js);
    js->ready_deadline_ns = clock_mono_ns() + READY_MAX_MS * NS_PER_MS;
    check_ready(js);
}

void jetstream_start(struct jetstream *js, void (*ready)(void *), void *arg)
{
    js->ready = ready;
    js->ready_arg = arg;
    log_info("---------------- JETSTREAM ----------------");
    log_info("  Store Directory: \"%s\"", js->store_dir);
    log_info("  API Level:       %d", JETSTREAM_API_LEVEL);
    log_info("-------------------------------------------");
    loop_post(loops_at(js->loops, 0), start, js);
}

/* --- shutdown: leaders step aside, every loop closes its groups, the store writes what waits ---
 */

static void flushed(void *arg, enum err err)
{
    (void)err;
    struct jetstream *js = arg;
    if (--js->closing == 0) {
        log_info("JetStream Shutdown");
        js->shutdown_done(js->shutdown_arg);
    }
}

/* On loop 0, behind the closing batches of all loops. */
static void flush(void *arg)
{
    struct jetstream *js = arg;
    js->closing = 1;
    store_submit(js->store, store_batch_new(), true, flushed, js);
}

static void close_loop(void *arg, struct loop *loop)
{
    struct jetstream *js = arg;
    struct asset *a;
    while ((a = asset_next(NULL)) != NULL) {
        asset_close(a);
    }
    if (loop_index(loop) == 0) {
        meta_group_stop(js, true);
    }
}

/* One more round, so that every loop's last turn has handed its batch to the store, and its
 * completion has come back. */
static void settle(void *arg, struct loop *loop)
{
    (void)arg;
    (void)loop;
}

static void closed(void *arg)
{
    struct jetstream *js = arg;
    broker_gather(js->broker, settle, flush, js);
}

#define TRANSFER_MS 150 /* for the followers to take over, so that clients see no gap */

static void close_groups(void *arg)
{
    struct jetstream *js = arg;
    broker_gather(js->broker, close_loop, closed, js);
}

static void close_all(void *arg)
{
    struct jetstream *js = arg;
    js->stopping = true;
    loop_timer_cancel(loops_at(js->loops, 0), &js->ready_timer);
    for (uint32_t i = 0; i < js->api_sub_count; i++) {
        api_unsubscribe(js, &js->api_subs[i]);
    }
    js->api_sub_count = 0;
    broker_unsubscribe(js->broker, js->system_sub);
    held_free(js->held);
    js->held = NULL;
    collect_stop(js);
    offline_stop(js);
    struct scrub *scrub = js->scrub;
    js->scrub = NULL;
    scrub_stop(scrub, close_groups, js);
}

static void transfer(void *arg, struct loop *loop)
{
    struct jetstream *js = arg;
    shard_transfer_leaders(js->shards[loop_index(loop)]);
}

static void transferred(void *arg)
{
    struct jetstream *js = arg;
    loop_timer_arm(loops_at(js->loops, 0), &js->transfer_timer,
                   clock_mono_ns() + TRANSFER_MS * NS_PER_MS, close_all, js);
}

void jetstream_shutdown(struct jetstream *js, void (*done)(void *), void *arg)
{
    log_info("Initiating JetStream Shutdown...");
    js->shutdown_done = done;
    js->shutdown_arg = arg;
    if (js_is_clustered(js)) {
        broker_gather(js->broker, transfer, transferred, js);
    } else {
        close_all(js);
    }
}

static void free_hosted(struct jetstream *js)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&js->hosted, &i)) != NULL;) {
        struct hosted *h = e->value;
        free(h->account);
        free(h->stream);
        free(h->problem);
        free(h);
    }
    map_deinit(&js->hosted);
}

void jetstream_free(struct jetstream *js)
{
    for (unsigned i = 0; i < loops_count(js->loops); i++) {
        shard_free(js->shards[i]);
    }
    store_close(js->store);
    store_close(js->memory);
    free_hosted(js);
    free(js->shards);
    free(js->api_subs);
    free(js->store_dir);
    free(js);
}

/* --- monitoring --- */

const char *jetstream_meta_health(struct jetstream *js)
{
    if (store_is_poisoned(js->store) && store_is_damaged(js->store)) {
        return "JetStream store is damaged and accepts no writes: restart to rebuild it";
    }
    if (store_is_poisoned(js->store)) {
        return "JetStream store write error: the disk refused a write; restart when it is repaired";
    }
    if (store_is_full(js->store)) {
        return "JetStream store is full: writes are refused until there is space on the disk";
    }
    if (js->meta.problem[0] != '\0') {
        return js->meta.problem;
    }
    if (js->meta.group == NULL) {
        return js_is_clustered(js) ? "JetStream has not established contact with a meta leader"
                                   : "JetStream is still recovering meta layer";
    }
    if (group_problem(js->meta.group) != NULL) {
        return group_problem(js->meta.group);
    }
    struct group_status status = group_status(js->meta.group);
    if (status.leader_node == 0) {
        return "JetStream has not established contact with a meta leader";
    }
    if (!status.current) {
        return "JetStream is not current with the meta leader";
    }
    return NULL;
}

struct health_check {
    struct jetstream *js;
    void (*done)(void *arg, const char *problem);
    void *arg;
    uint32_t open; /* replicas seen on the loops */
    char problem[512];
};

static void check_assets(void *arg, struct loop *loop)
{
    (void)loop;
    struct health_check *h = arg;
    for (struct asset *a = asset_next(NULL); a != NULL; a = asset_next(a)) {
        h->open++;
        if (h->problem[0] == '\0' && !asset_is_current(a)) {
            (void)snprintf(h->problem, sizeof h->problem,
                           "JetStream stream '%s > %s' is not current: group node unhealthy",
                           a->account->name, a->name);
        }
    }
}

static void assets_checked(void *arg)
{
    struct health_check *h = arg;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&h->js->hosted, &i)) != NULL;) {
        const struct hosted *hosted = e->value;
        if (hosted->problem != NULL) { /* before what is only not current */
            (void)snprintf(h->problem, sizeof h->problem,
                           "JetStream stream '%s > %s' is offline: %s", hosted->account,
                           hosted->stream, hosted->problem);
        }
    }
    if (h->problem[0] == '\0' && h->open < h->js->hosted.count) {
        (void)snprintf(h->problem, sizeof h->problem,
                       "JetStream has streams that could not be "
                       "recovered: see the log");
    }
    h->done(h->arg, h->problem[0] == '\0' ? NULL : h->problem);
    free(h);
}

void jetstream_health(struct jetstream *js, void (*done)(void *arg, const char *problem), void *arg)
{
    const char *problem = jetstream_meta_health(js);
    if (problem != NULL) {
        done(arg, problem);
        return;
    }
    struct health_check *h = NEW(struct health_check);
    h->js = js;
    h->done = done;
    h->arg = arg;
    broker_gather(js->broker, check_assets, assets_checked, h);
}

json_t *jetstream_meta_json(struct jetstream *js)
{
    if (!js_is_clustered(js)) {
        return NULL;
    }
    json_t *o = json_object();
    const char *cluster = broker_options(js->broker)->cluster.name;
    json_put_text(o, "name", cluster == NULL ? "" : cluster);
    struct group_status status = {0};
    if (js->meta.group != NULL) {
        status = group_status(js->meta.group);
    }
    const char *leader = js_node_name(js, status.leader_node);
    char id[9];
    if (leader != NULL) {
        json_put_text(o, "leader", leader);
        js_node_id8(js, status.leader_node, id);
        json_put_text(o, "peer", id);
    }
    json_t *replicas = json_array();
    uint64_t nodes[RAFT_MEMBERS_MAX];
    unsigned voters;
    unsigned count = meta_servers(js, nodes, &voters);
    for (unsigned i = 0; i < count; i++) {
        uint64_t node = nodes[i];
        if (node == js->self) {
            continue;
        }
        const char *name = js_node_name(js, node);
        bool up = peers_is_up(js->peers, node);
        js_node_id8(js, node, id);
        json_t *r = json_object();
        json_put_text(r, "name", name == NULL ? id : name);
        json_put_bool(r, "current", up);
        if (!up) {
            json_put_bool(r, "offline", true);
        }
        json_put_int(r, "active", peers_silence_ns(js->peers, node));
        json_put_text(r, "peer", id);
        (void)json_array_append_new(replicas, r);
    }
    json_put(o, "replicas", replicas);
    unsigned waiting_count;
    const char **waiting = meta_waiting(js, &waiting_count);
    json_t *names = json_array();
    for (unsigned i = 0; i < waiting_count; i++) {
        (void)json_array_append_new(names, json_string(waiting[i]));
    }
    if (waiting_count > 0) {
        json_put(o, "waiting", json_incref(names));
    }
    json_decref(names);
    free(waiting);
    if (js->meta.id != 0) {
        char hex[20];
        (void)snprintf(hex, sizeof hex, "%016llx", (unsigned long long)js->meta.id);
        json_put_text(o, "trireme_group_id", hex);
    }
    json_put_int(o, "cluster_size", count);
    json_put_int(o, "quorum_needed", voters / 2 + 1);
    json_put_u64(o, "pending", status.last - status.commit);
    json_put_int(o, "pending_requests", 0);
    json_put_int(o, "pending_infos", 0);
    return o;
}

json_t *jetstream_missing_peers(struct jetstream *js)
{
    if (!js_is_clustered(js)) {
        return NULL;
    }
    uint64_t nodes[RAFT_MEMBERS_MAX];
    unsigned voters;
    unsigned count = meta_servers(js, nodes, &voters);
    json_t *names = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (!peers_is_up(js->peers, nodes[i])) {
            char id[9];
            const char *name = js_node_name(js, nodes[i]);
            js_node_id8(js, nodes[i], id);
            names = names == NULL ? json_array() : names;
            (void)json_array_append_new(names, json_string(name == NULL ? id : name));
        }
    }
    return names;
}

json_t *jetstream_foreign_peers(struct jetstream *js)
{
    if (!js_is_clustered(js)) {
        return NULL;
    }
    unsigned count;
    struct peer_node *nodes = peers_nodes(js->peers, &count);
    json_t *names = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (nodes[i].foreign) {
            names = names == NULL ? json_array() : names;
            (void)json_array_append_new(names, json_string(nodes[i].name));
        }
    }
    free(nodes);
    return names;
}

struct jetstream_totals jetstream_totals(const struct jetstream *js)
{
    const struct options *o = broker_options(js->broker);
    return (struct jetstream_totals){atomic_load(&js->api_total), atomic_load(&js->api_errors),
                                     js->store_dir, o->jetstream_max_file, o->jetstream_max_memory};
}
