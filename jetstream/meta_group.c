/* The meta group: its leader decides on streams and where they live; every member hosts what is
 * assigned to it. Loop 0. How it forms: meta_forming.c.
 *
 * Growing: a server that comes later takes itself for a member, unproven, and so without a say. The
 * leader sees it connected, lets it in as a learner, and makes it a voter once it has caught up. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "jetstream/asset_internal.h"
#include "jetstream/held.h"
#include "jetstream/offline.h"
#include "raft/wire.h"

#define LEADERLESS_NS  (10 * NS_PER_SEC)
#define LIVE_WINDOW_NS (30 * NS_PER_SEC) /* is_live() */

static struct shard *meta_shard(struct jetstream *js)
{
    return js->shards[0];
}

bool meta_is_leader(const struct jetstream *js)
{
    return js->meta.leading;
}

bool meta_is_leaderless(const struct jetstream *js)
{
    return js->meta.leaderless_since_ns != 0 &&
           clock_mono_ns() - js->meta.leaderless_since_ns > LEADERLESS_NS;
}

/* --- hosting --- */

static struct buffer hosted_key(struct bytes account, struct bytes stream)
{
    struct buffer key = {0};
    buffer_append_bytes(&key, account);
    buffer_append_char(&key, '\n');
    buffer_append_bytes(&key, stream);
    return key;
}

struct hosted *js_hosted(struct jetstream *js, struct bytes account, struct bytes stream)
{
    struct buffer key = hosted_key(account, stream);
    struct hosted *h = map_get(&js->hosted, buffer_bytes(&key));
    buffer_deinit(&key);
    return h;
}

/* What travels to the loop that hosts, or will host, a stream. */
struct errand {
    struct jetstream *js;
    struct asset *asset;
    struct shard *shard;
    struct assignment assignment; /* OPEN: a copy with its own references */
    struct blob *config;          /* CONFIG: counted */
    char *reply;
    struct fresh fresh; /* OPEN */
    bool speaker;       /* DELETE: answers when the stream has no leader */
};

static void errand_free(struct errand *e)
{
    free(e->assignment.account);
    free(e->assignment.stream);
    blob_release(e->assignment.first_config);
    blob_release(e->assignment.config);
    blob_release(e->config);
    free(e->reply);
    free(e);
}

static struct errand *errand_new(struct jetstream *js, struct hosted *h, const char *reply)
{
    struct errand *e = NEW(struct errand);
    e->js = js;
    e->shard = h->shard;
    e->reply = reply == NULL ? NULL : mem_strdup(reply);
    return e;
}

static void opened(void *arg)
{
    struct errand *e = arg;
    struct hosted *h =
        js_hosted(e->js, bytes_of(e->assignment.account), bytes_of(e->assignment.stream));
    if (h != NULL && h->group == e->assignment.group) { /* else deleted while it was opened */
        h->asset = e->asset;
    }
    errand_free(e);
}

static void do_open(void *arg)
{
    struct errand *e = arg;
    struct error error;
    e->asset = asset_open(e->js, e->shard, &e->assignment, e->fresh, e->reply, &error);
    if (e->asset == NULL) {
        /* Nothing is deleted: the data may be repaired, or fetched again from the other replicas.
         */
        log_error("JetStream stream '%s > %s' is not available on this server: %s",
                  e->assignment.account, e->assignment.stream, error.message);
        offline_tell(e->js, e->assignment.account, e->assignment.stream, e->assignment.group,
                     error.message);
    }
    loop_post(loops_at(e->js->loops, 0), opened, e);
}

/* Errands that need the asset run on its loop after do_open(), in order; they look it up there. */
static struct asset *errand_asset(const struct errand *e)
{
    struct asset *a = NULL;
    while ((a = asset_next(a)) != NULL) {
        if (group_id(a->group) == e->assignment.group) {
            return a;
        }
    }
    return NULL;
}

static void do_config(void *arg)
{
    struct errand *e = arg;
    struct asset *a = errand_asset(e);
    if (a != NULL) {
        json_t *config = assignment_config(e->config);
        asset_config_changed(a, config, e->reply);
        json_decref(config);
    }
    errand_free(e);
}

static void do_echo(void *arg)
{
    struct errand *e = arg;
    struct asset *a = errand_asset(e);
    if (a != NULL) {
        asset_echo(a, e->reply);
    }
    errand_free(e);
}

static void confirm_deletion(struct jetstream *js, const char *account, const char *reply)
{
    struct account *a = accounts_get(broker_accounts(js->broker), bytes_of(account));
    js_reply_success(js, a, bytes_of(reply), "stream_delete_response");
}

/* Nobody knows here whether another replica leads it, and answers. */
static void deleted_unopened(void *arg)
{
    struct errand *e = arg;
    if (e->reply != NULL && e->speaker) {
        confirm_deletion(e->js, e->assignment.account, e->reply);
    }
    errand_free(e);
}

static void do_delete(void *arg)
{
    struct errand *e = arg;
    struct asset *a = errand_asset(e);
    if (a != NULL) {
        asset_delete(a, e->reply, e->speaker);
    } else {
        shard_delete_group(e->shard, e->assignment.group); /* it could not be opened */
        loop_post(loops_at(e->js->loops, 0), deleted_unopened, e);
        return;
    }
    errand_free(e);
}

static bool is_member(const struct assignment *a, uint64_t node)
{
    for (unsigned i = 0; i < a->peer_count; i++) {
        if (a->peers[i] == node) {
            return true;
        }
    }
    return false;
}

/* A server that has its memory can say of a stream it never hosted that it never promised anything
 * about it. One that has learnt from others what there is can not, for what there was then: it may
 * have been there before. A group's id tells the entry that made it. */
static struct fresh never_was_here(struct jetstream *js, uint64_t group)
{
    if (js->meta.group == NULL) {
        return (struct fresh){false, false};
    }
    struct group_status s = group_status(js->meta.group);
    uint64_t made = group - META_FIRST_GROUP;
    bool fresh = !s.unproven && made > s.proven_since;
    return (struct fresh){fresh, fresh && made > js->meta.last_at_start};
}

static void host(struct jetstream *js, const struct assignment *a, const char *reply)
{
    if (!is_member(a, js->self)) {
        return;
    }
    struct hosted *h = NEW(struct hosted);
    h->account = mem_strdup(a->account);
    h->stream = mem_strdup(a->stream);
    h->group = a->group;
    h->shard = js_shard_of(js, a->group);
    memcpy(h->peers, a->peers, sizeof h->peers);
    h->peer_count = a->peer_count;
    struct buffer key = hosted_key(bytes_of(a->account), bytes_of(a->stream));
    CHECK(map_put(&js->hosted, buffer_bytes(&key), h) == NULL);
    buffer_deinit(&key);
    struct errand *e = errand_new(js, h, reply);
    e->fresh = never_was_here(js, a->group);
    e->assignment = *a;
    e->assignment.subjects = NULL;
    e->assignment.account = mem_strdup(a->account);
    e->assignment.stream = mem_strdup(a->stream);
    e->assignment.first_config = blob_retain(a->first_config);
    e->assignment.config = blob_retain(a->config);
    loop_post(shard_loop(h->shard), do_open, e);
}

/* One of the members that are there: the same one, whoever asks. */
static bool is_speaker(struct jetstream *js, const struct assignment *a)
{
    unsigned i = 0;
    while (i < a->peer_count && a->peers[i] != js->self && !peers_is_up(js->peers, a->peers[i])) {
        i++;
    }
    return i < a->peer_count && a->peers[i] == js->self;
}

static void send_errand(struct jetstream *js, const struct assignment *a, loop_task task,
                        struct blob *config, const char *reply)
{
    struct hosted *h = js_hosted(js, bytes_of(a->account), bytes_of(a->stream));
    if (h != NULL) {
        struct errand *e = errand_new(js, h, reply);
        e->assignment.group = a->group;
        e->assignment.account = mem_strdup(a->account);
        e->config = config == NULL ? NULL : blob_retain(config);
        e->speaker = is_speaker(js, a);
        loop_post(shard_loop(h->shard), task, e);
    }
}

static void unhost(struct jetstream *js, const struct assignment *a, const char *reply)
{
    send_errand(js, a, do_delete, NULL, reply);
    struct buffer key = hosted_key(bytes_of(a->account), bytes_of(a->stream));
    struct hosted *h = map_remove(&js->hosted, buffer_bytes(&key));
    buffer_deinit(&key);
    if (h != NULL) {
        free(h->account);
        free(h->stream);
        free(h->problem);
        free(h);
    }
}

/* --- the state machine --- */

/* Heartbeats come several times as often: who misses so many may be gone, which is not known yet.
 */
#define SILENT_NS (250 * NS_PER_MS)
/* Whose predecessor may be silent, without having been so for long. */
#define NEW_LEADER_NS NS_PER_SEC

static bool is_silent(const struct jetstream *js, uint64_t node)
{
    return js->peers != NULL && node != js->self &&
           (!peers_is_up(js->peers, node) || peers_silence_ns(js->peers, node) > SILENT_NS);
}

/* Whoever leads the stream's group may be one of those: the meta leader answers, too. */
static bool some_are_silent(const struct jetstream *js, const struct assignment *a)
{
    bool elsewhere = a->peer_count > 1 || a->peers[0] != js->self;
    bool silent = elsewhere && clock_mono_ns() - js->meta.leading_since_ns < NEW_LEADER_NS;
    for (unsigned i = 0; i < a->peer_count; i++) {
        silent = silent || is_silent(js, a->peers[i]);
    }
    return silent;
}

static void note_caught_up(struct jetstream *js)
{
    js->meta.caught_up =
        js->meta.caught_up || (js->meta.group != NULL && group_status(js->meta.group).current);
}

/* While this server learns of what has been decided, the entries' times tell for whom somebody may
 * still wait. Then whatever comes is new, and the leader's clock need not agree with ours. */
static bool is_live(struct jetstream *js, int64_t time_ns)
{
    note_caught_up(js);
    return js->meta.caught_up || time_sub(clock_now_ns(), time_ns) < LIVE_WINDOW_NS;
}

static enum err apply(void *owner, uint64_t index, uint64_t term, struct bytes entry)
{
    (void)term;
    struct jetstream *js = owner;
    struct meta_change change;
    js->meta.last_change = index;
    enum err err = meta_apply(&js->meta.meta, index, entry, &change);
    if (err != OK) { /* left out, it would make of this server one that knows other streams */
        free(change.reply);
        return err;
    }
    const char *reply = is_live(js, change.time_ns) ? change.reply : NULL;
    if (change.reply != NULL) {
        js->meta.replies[js->meta.next_reply++ % META_REPLIES] = hash_bytes(bytes_of(change.reply));
    }
    switch (change.kind) {
    case META_CREATED:
        host(js, change.assignment, reply);
        break;
    case META_UPDATED:
        send_errand(js, change.assignment, do_config, change.assignment->config, reply);
        break;
    case META_ECHO:
        send_errand(js, change.assignment, do_echo, NULL, reply);
        break;
    case META_DELETED:
        if (reply != NULL && js->meta.leading && some_are_silent(js, change.assignment)) {
            confirm_deletion(js, change.assignment->account, reply);
            reply = NULL; /* not once more from here */
        }
        unhost(js, change.assignment, reply);
        assignment_free(change.assignment);
        break;
    case META_REFUSED:
        if (reply != NULL && js->meta.leading) {
            struct account *a = accounts_get(broker_accounts(js->broker), bytes_of(change.account));
            js_reply_error(js, a, bytes_of(reply), change.type, &change.error);
        }
        break;
    }
    free(change.account);
    free(change.reply);
    return OK;
}

static void encode(void *owner, struct buffer *out)
{
    struct jetstream *js = owner;
    meta_encode(&js->meta.meta, out);
#ifdef TRIREME_DCHECK
    struct meta again;
    meta_init(&again);
    CHECK(meta_decode(&again, buffer_bytes(out)) == OK);
    meta_deinit(&again);
#endif
}

/* At start and after a snapshot: host what is assigned and not hosted, let go of the rest. */
static enum err decode(void *owner, struct bytes state)
{
    struct jetstream *js = owner;
    struct meta fresh;
    meta_init(&fresh);
    if (meta_decode(&fresh, state) != OK) {
        meta_deinit(&fresh);
        return ERR_CORRUPT;
    }
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&js->meta.meta.assignments, &i)) != NULL;) {
        struct assignment *a = e->value;
        const struct assignment *now = map_get(&fresh.assignments, e->key);
        if (now == NULL || now->group != a->group) {
            unhost(js, a, NULL); /* a committed delete that we were not there to see */
        }
    }
    for (uint32_t i = 0; (e = map_next(&fresh.assignments, &i)) != NULL;) {
        struct assignment *a = e->value;
        const struct assignment *before = map_get(&js->meta.meta.assignments, e->key);
        if (before == NULL || before->group != a->group) {
            host(js, a, NULL);
        } else if (!bytes_eq(blob_bytes(before->config), blob_bytes(a->config))) {
            send_errand(js, a, do_config, a->config, NULL);
        }
    }
    meta_deinit(&js->meta.meta);
    js->meta.meta = fresh;
    js->meta.last_change = js->meta.group == NULL ? 0 : group_status(js->meta.group).commit;
    return OK;
}

static void forget_admissions(struct jetstream *js);

static void on_leader(void *owner, bool leader)
{
    struct jetstream *js = owner;
    js->meta.leading = leader;
    js->meta.leading_since_ns = clock_mono_ns();
    if (leader) {
        log_info("Self is new JetStream cluster metadata leader");
        if (js->held != NULL) {
            held_look(js->held);
        }
    } else {
        forget_admissions(js);
    }
}

static uint64_t next_kept(void *owner, uint64_t index)
{
    (void)owner;
    (void)index;
    return UINT64_MAX; /* all of it is state */
}

static const struct group_ops meta_ops = {.apply = apply,
                                          .encode = encode,
                                          .decode = decode,
                                          .on_leader = on_leader,
                                          .next_kept = next_kept};

/* --- watching who leads --- */

#define WATCH_MS 250

static void on_watch(void *arg);

static void watch(struct jetstream *js)
{
    loop_timer_arm(loops_at(js->loops, 0), &js->meta.watch_timer,
                   clock_mono_ns() + WATCH_MS * NS_PER_MS, on_watch, js);
}

bool js_is_stranger(const struct jetstream *js, uint64_t node)
{
    const char *name = peers_name(js->peers, node);
    if (node == js->self || routes_are_authenticated(js->routes) ||
        (name != NULL && routes_name_server(js->routes, name))) {
        return false;
    }
    for (unsigned i = 0; i < js->meta.told_count; i++) {
        if (js->meta.told[i] == node) {
            return false;
        }
    }
    if (js->meta.group == NULL) {
        return true;
    }
    const struct raft_members *members = raft_members(group_raft(js->meta.group));
    unsigned at = raft_members_find(members, node);
    return at == members->count || members->list[at].learner;
}

/* --- whom an operator lets in --- */

/* The count: nobody asked for it. */
static unsigned find_admission(const struct jetstream *js, uint64_t node)
{
    unsigned i = 0;
    while (i < js->meta.admission_count && js->meta.admissions[i].node != node) {
        i++;
    }
    return i;
}

static void answer_admission(struct jetstream *js, struct account *account, struct bytes reply,
                             enum js_err err)
{
    static const char type[] = "meta_server_admit_response";
    if (err != JS_OK) {
        struct js_error error;
        (void)js_fail(&error, err);
        js_reply_error(js, account, reply, type, &error);
        return;
    }
    js_reply_success(js, account, reply, type);
}

static void end_admission(struct jetstream *js, unsigned i, enum js_err err)
{
    struct admission ended = js->meta.admissions[i];
    js->meta.admissions[i] = js->meta.admissions[--js->meta.admission_count];
    if (!js->stopping) {
        struct bytes reply = ended.reply == NULL ? BYTES_NONE : bytes_of(ended.reply);
        answer_admission(js, ended.account, reply, err);
    }
    free(ended.reply);
}

/* The next leader may have to be asked again; what it knows already it says at once. */
static void forget_admissions(struct jetstream *js)
{
    while (js->meta.admission_count > 0) {
        end_admission(js, 0, JS_NOT_AVAILABLE);
    }
}

static bool votes(const struct raft_members *members, uint64_t node)
{
    unsigned at = raft_members_find(members, node);
    return at < members->count && !members->list[at].learner;
}

static void look_at_admissions(struct jetstream *js)
{
    const struct raft *raft = group_raft(js->meta.group);
    for (unsigned i = 0; i < js->meta.admission_count;) {
        uint64_t node = js->meta.admissions[i].node;
        if (votes(raft_members_at(raft, raft_commit(raft)), node)) {
            end_admission(js, i, JS_OK);
        } else if (!peers_is_up(js->peers, node)) {
            end_admission(js, i, JS_SERVER_NOT_MEMBER);
        } else {
            i++;
        }
    }
}

/* 0: no member, learners included, has that name or id. */
static uint64_t find_member(struct jetstream *js, const struct raft_members *members,
                            const char *peer)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < members->count && found == 0; i++) {
        uint64_t node = members->list[i].node;
        const char *name = js_node_name(js, node);
        char id[9];
        js_node_id8(js, node, id);
        found = (name != NULL && strcmp(name, peer) == 0) || strcmp(id, peer) == 0 ? node : 0;
    }
    return found;
}

void meta_admit_server(struct jetstream *js, struct account *account, const char *peer,
                       struct bytes reply)
{
    if (!js_is_clustered(js)) {
        answer_admission(js, account, reply, JS_CLUSTER_REQUIRED);
        return;
    }
    const struct raft *raft = group_raft(js->meta.group);
    raft_node voters[RAFT_VOTERS_MAX];
    uint64_t node = find_member(js, raft_members(raft), peer);
    if (node == 0) {
        answer_admission(js, account, reply, JS_SERVER_NOT_MEMBER);
    } else if (votes(raft_members_at(raft, raft_commit(raft)), node)) {
        answer_admission(js, account, reply, JS_OK);
    } else if (raft_voters(raft, voters) == RAFT_VOTERS_MAX ||
               js->meta.admission_count == RAFT_MEMBERS_MAX) {
        answer_admission(js, account, reply, JS_INSUFFICIENT_RESOURCES);
    } else {
        unsigned i = find_admission(js, node);
        if (i < js->meta.admission_count) { /* whoever asks last is told */
            end_admission(js, i, JS_NOT_AVAILABLE);
        }
        log_info("JetStream cluster: the system account admits %s to the voters",
                 js_node_name(js, node));
        js->meta.admissions[js->meta.admission_count++] = (struct admission){
            node, account, reply.len == 0 ? NULL : mem_dup(reply.ptr, reply.len)};
    }
}

/* Who may vote. With credentials on the cluster port everybody who is there belongs to the meta
 * group; without, those whom this server's routes name, and no more voters than they name servers,
 * for who comes again and again under new names would leave the others without a majority. */
static struct group_candidate *candidates(struct jetstream *js, unsigned *count)
{
    struct peer_node *nodes = peers_nodes(js->peers, count);
    struct group_candidate *list = mem_alloc((*count + 1) * sizeof *list);
    raft_node voters[RAFT_VOTERS_MAX];
    unsigned voter_count = raft_voters(group_raft(js->meta.group), voters);
    bool open = routes_are_authenticated(js->routes);
    bool room = voter_count < routes_named(js->routes).servers;
    for (unsigned i = 0; i < *count; i++) {
        bool named = room && routes_name_server(js->routes, nodes[i].name);
        bool admitted = find_admission(js, nodes[i].id) < js->meta.admission_count;
        list[i] = (struct group_candidate){nodes[i].id, open || named || admitted};
    }
    for (unsigned i = 0; i < *count; i++) {
        for (unsigned k = 0; k < voter_count; k++) {
            list[i].may_vote = list[i].may_vote || list[i].node == voters[k];
        }
    }
    free(nodes);
    return list;
}

static unsigned find_waiting(struct jetstream *js, const struct group_candidate *list,
                             unsigned count, uint64_t waiting[RAFT_MEMBERS_MAX])
{
    const struct raft_members *members = raft_members(group_raft(js->meta.group));
    unsigned found = 0;
    for (unsigned i = 0; i < count; i++) {
        bool member = raft_members_find(members, list[i].node) < members->count;
        if (member && !list[i].may_vote && found < RAFT_MEMBERS_MAX) {
            waiting[found++] = list[i].node;
        }
    }
    return found;
}

const char **meta_waiting(struct jetstream *js, unsigned *count)
{
    const char **names = mem_zalloc(RAFT_MEMBERS_MAX * sizeof *names);
    *count = 0;
    for (unsigned i = 0; js->meta.leading && i < js->meta.waiting_count; i++) {
        const char *name = js_node_name(js, js->meta.waiting[i]);
        if (name != NULL) {
            names[(*count)++] = name;
        }
    }
    return names;
}

static bool is_waiting(const struct jetstream *js, uint64_t node)
{
    bool found = false;
    for (unsigned i = 0; i < js->meta.waiting_count && !found; i++) {
        found = js->meta.waiting[i] == node;
    }
    return found;
}

/* One step at a time: the next one when this one is committed. */
static void welcome(struct jetstream *js)
{
    unsigned count;
    struct group_candidate *list = candidates(js, &count);
    uint64_t who;
    const char *step = group_admit(js->meta.group, list, count, &who);
    const char *name = step == NULL ? NULL : js_node_name(js, who);
    if (step != NULL) {
        log_info("JetStream cluster: %s %s", name == NULL ? "?" : name, step);
    }
    look_at_admissions(js);
    uint64_t waiting[RAFT_MEMBERS_MAX];
    unsigned waiting_count = find_waiting(js, list, count, waiting);
    for (unsigned i = 0; i < waiting_count; i++) {
        name = js_node_name(js, waiting[i]);
        if (!is_waiting(js, waiting[i])) {
            log_warn("JetStream cluster: %s waits as a learner: the cluster port asks for no "
                     "credentials, and this server's routes do not name it, or name no more "
                     "servers than vote already",
                     name == NULL ? "?" : name);
        }
    }
    memcpy(js->meta.waiting, waiting, waiting_count * sizeof *waiting);
    js->meta.waiting_count = waiting_count;
    free(list);
}

static void on_watch(void *arg)
{
    struct jetstream *js = arg;
    struct group_status status = group_status(js->meta.group);
    note_caught_up(js);
    if (status.leader_node == 0 && js->meta.leaderless_since_ns == 0) {
        js->meta.leaderless_since_ns = clock_mono_ns();
    } else if (status.leader_node != 0) {
        js->meta.leaderless_since_ns = 0;
        if (status.leader_node != js->meta.reported_leader && js_is_clustered(js)) {
            const char *cluster = broker_options(js->broker)->cluster.name;
            const char *name = js_node_name(js, status.leader_node);
            log_info("JetStream cluster new metadata leader: %s/%s", name == NULL ? "?" : name,
                     cluster == NULL ? "" : cluster);
        }
        js->meta.reported_leader = status.leader_node;
    }
    if (js_is_clustered(js)) {
        if (js->meta.leading) {
            welcome(js);
        }
        watch(js);
    }
}

unsigned meta_servers(const struct jetstream *js, uint64_t nodes[RAFT_MEMBERS_MAX],
                      unsigned *voters)
{
    const struct raft_members *members =
        js->meta.group == NULL ? NULL : raft_members(group_raft(js->meta.group));
    unsigned count = members == NULL ? js->meta.voter_count : members->count;
    *voters = 0;
    for (unsigned i = 0; i < count; i++) {
        nodes[i] = members == NULL ? js->meta.voters[i] : members->list[i].node;
        *voters += members == NULL || !members->list[i].learner;
    }
    return count;
}

/* --- opening --- */

static enum err load_voters(struct jetstream *js)
{
    struct blob *blob;
    enum err err = store_get_state(js->store, META_GROUP_ID, "voters", &blob);
    if (err != OK) {
        return err;
    }
    struct reader r = reader_make(blob_bytes(blob));
    uint64_t count = reader_varint(&r);
    for (uint64_t i = 0; i < count && i < RAFT_VOTERS_MAX; i++) {
        js->meta.voters[js->meta.voter_count++] = reader_u64(&r);
    }
    bool ok = reader_done(&r) && count <= RAFT_VOTERS_MAX && count > 0;
    blob_release(blob);
    return ok ? OK : ERR_UNKNOWN;
}

static enum err load_id(struct jetstream *js)
{
    struct blob *blob;
    enum err err = store_get_state(js->store, META_GROUP_ID, "id", &blob);
    if (err == OK) {
        struct reader r = reader_make(blob_bytes(blob));
        js->meta.id = reader_u64(&r);
        err = reader_done(&r) ? OK : ERR_UNKNOWN;
        blob_release(blob);
    }
    return err == ERR_NOT_FOUND ? OK : err;
}

static void meta_is_offline(struct jetstream *js, const char *why)
{
    (void)snprintf(js->meta.problem, sizeof js->meta.problem,
                   "JetStream cannot start its meta group: %s", why);
    log_error("%s", js->meta.problem);
}

static void open_meta(struct jetstream *js)
{
    struct error error;
    if (js_is_clustered(js) && js->meta.id != 0) {
        peers_set_group(js->peers, js->meta.id);
    }
    meta_init(&js->meta.meta);
    js->meta.group = group_open(meta_shard(js), META_GROUP_ID, js->meta.voters,
                                js->meta.voter_count, false, false, &meta_ops, js, &error);
    if (js->meta.group == NULL) {
        meta_is_offline(js, error.message);
        return;
    }
    js->meta.leaderless_since_ns = clock_mono_ns();
    js->meta.last_at_start = group_status(js->meta.group).last;
    if (js_is_clustered(js)) {
        uint64_t nodes[RAFT_MEMBERS_MAX];
        unsigned voters;
        log_info("JetStream cluster: %u servers in the meta group",
                 meta_servers(js, nodes, &voters));
    }
    watch(js);
}

static void on_voters_saved(void *arg, enum err err)
{
    struct jetstream *js = arg;
    if (err == OK && !js->stopping) {
        open_meta(js);
    }
}

static void save_voters(struct jetstream *js)
{
    struct buffer b = {0};
    buffer_put_varint(&b, js->meta.voter_count);
    for (unsigned i = 0; i < js->meta.voter_count; i++) {
        buffer_put_u64(&b, js->meta.voters[i]);
    }
    struct store_batch *batch = store_batch_new();
    store_put_state(batch, META_GROUP_ID, "voters", buffer_bytes(&b));
    if (js->meta.id != 0) {
        buffer_clear(&b);
        buffer_put_u64(&b, js->meta.id);
        store_put_state(batch, META_GROUP_ID, "id", buffer_bytes(&b));
    }
    store_submit(js->store, batch, true, on_voters_saved, js);
    buffer_deinit(&b);
}

void meta_group_formed(struct jetstream *js, uint64_t id, const uint64_t *voters, unsigned count)
{
    CHECK(count > 0 && count <= RAFT_VOTERS_MAX && js->meta.voter_count == 0);
    memcpy(js->meta.voters, voters, count * sizeof *voters);
    js->meta.voter_count = count;
    js->meta.id = id;
    save_voters(js);
}

void meta_group_start(struct jetstream *js)
{
    enum err err = load_voters(js);
    if (err == OK &&
        load_id(js) == ERR_UNKNOWN) { /* one that is lost is one that 0.3 did not have */
        err = ERR_UNKNOWN;
    }
    if (err == ERR_UNKNOWN) {
        meta_is_offline(js, "the list of its voters, or its id, is not understood by this version. "
                            "It is kept");
    } else if (err == OK) {
        bool member = false;
        for (unsigned i = 0; i < js->meta.voter_count; i++) {
            member = member || js->meta.voters[i] == js->self;
        }
        if (!member) {
            log_error("JetStream data in \"%s\" belongs to another server: check server_name and "
                      "store_dir. JetStream stays off.",
                      js->store_dir);
            return;
        }
        open_meta(js);
    } else if (!js_is_clustered(js)) {
        meta_group_formed(js, 0, &js->self, 1);
    } else {
        js->meta.forming = meta_forming_start(js);
    }
}

void meta_group_stop(struct jetstream *js, bool checkpoint)
{
    meta_forming_end(js->meta.forming);
    js->meta.forming = NULL;
    loop_timer_cancel(loops_at(js->loops, 0), &js->meta.watch_timer);
    forget_admissions(js);
    if (js->meta.group != NULL) {
        group_close(js->meta.group, checkpoint);
        js->meta.group = NULL;
    }
    meta_deinit(&js->meta.meta);
}

/* --- decisions of the leader --- */

static void refuse(struct jetstream *js, struct account *account, struct bytes reply,
                   const char *type, const struct js_error *error)
{
    js_reply_error(js, account, reply, type, error);
}

static void propose(struct jetstream *js, json_t *op)
{
    struct buffer text = {0};
    uint64_t index, term;
    int64_t now;
    bool right = asset_clock(&now);
    json_put_int(op, "time", now);
    json_write(&text, op, 0);
    json_decref(op);
    if (!right || !meta_entry_is_understood(buffer_bytes(&text))) {
        log_error("JetStream meta entry %.200s is not proposed: nobody could apply it",
                  text.data == NULL ? "" : text.data);
        buffer_deinit(&text);
        return;
    }
    enum err err = group_propose_bytes(js->meta.group, buffer_bytes(&text), &index, &term);
    if (err != OK) { /* not leader any more: the requester's time-out tells it to ask again */
        log_debug("JetStream meta proposal dropped: %s", err_name(err));
    }
    buffer_deinit(&text);
}

static json_t *new_op(const char *op, struct account *account, struct bytes stream,
                      struct bytes reply)
{
    json_t *o = json_object();
    json_put_text(o, "op", op);
    json_put_text(o, "account", account->name);
    json_put_bytes(o, "stream", stream);
    if (reply.ptr != NULL) {
        json_put_bytes(o, "reply", reply);
    }
    return o;
}

#define SILENT_LOAD 1000000 /* taken when there are no others */

/* How many streams of the account each server has: the emptiest are chosen. */
static unsigned load_of(const struct jetstream *js, uint64_t node)
{
    unsigned load = 0;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&js->meta.meta.assignments, &i)) != NULL;) {
        load += is_member(e->value, node);
    }
    return load;
}

/* Every server is taken to have the limits of this one. */
static int64_t room_limit(const struct jetstream *js, const struct stream_config *config)
{
    const struct options *o = broker_options(js->broker);
    return config->memory ? o->jetstream_max_memory : o->jetstream_max_file;
}

static bool has_room(const struct jetstream *js, uint64_t node, const struct stream_config *config,
                     const struct assignment *known)
{
    return meta_has_room(&js->meta.meta, node, room_limit(js, config), config, known);
}

static bool no_room(const struct jetstream *js, const struct stream_config *config,
                    struct js_error *error)
{
    return meta_no_room(js_is_clustered(js), config->memory, error);
}

/* What the entry is checked by again where it is applied. */
static void put_checks(const struct jetstream *js, const struct stream_config *config, json_t *op)
{
    json_put_int(op, "checks", 1);
    json_put_int(op, "limit", room_limit(js, config));
    json_put_bool(op, "clustered", js_is_clustered(js));
}

static bool place(struct jetstream *js, const struct stream_config *config, json_t *peers,
                  struct js_error *error)
{
    const char *cluster = broker_options(js->broker)->cluster.name;
    if (js_is_clustered(js) && config->placement.cluster != NULL &&
        (cluster == NULL || strcmp(config->placement.cluster, cluster) != 0)) {
        return js_failf(error, JS_NO_PEERS,
                        "no suitable peers for placement, tags not matched ['%s']",
                        config->placement.cluster);
    }
    struct {
        uint64_t node;
        unsigned load;
    } candidates[RAFT_MEMBERS_MAX];
    uint64_t servers[RAFT_MEMBERS_MAX];
    unsigned voters;
    unsigned server_count = meta_servers(js, servers, &voters);
    unsigned count = 0;
    bool offline = false, full = false;
    uint64_t turn = js->meta.next_placement++;
    for (unsigned i = 0; i < server_count; i++) {
        uint64_t node = servers[(i + turn) % server_count];
        if (is_waiting(js, node)) {
            continue;
        }
        if (!has_room(js, node, config, NULL)) {
            full = true;
        } else if (js->peers == NULL || peers_is_up(js->peers, node)) {
            candidates[count].node = node;
            candidates[count++].load = load_of(js, node) + (is_silent(js, node) ? SILENT_LOAD : 0);
        } else {
            offline = true;
        }
    }
    if (count < (unsigned)config->replicas && full) {
        return no_room(js, config, error);
    }
    if (count < (unsigned)config->replicas) {
        return js_failf(error, JS_NO_PEERS, "no suitable peers for placement%s",
                        offline ? ", peer offline" : "");
    }
    for (int chosen = 0; chosen < config->replicas; chosen++) {
        unsigned best = 0;
        for (unsigned i = 1; i < count; i++) {
            best = candidates[i].load < candidates[best].load ? i : best;
        }
        char hex[20];
        (void)snprintf(hex, sizeof hex, "%016llx", (unsigned long long)candidates[best].node);
        (void)json_array_append_new(peers, json_string(hex));
        candidates[best] = candidates[--count];
    }
    return true;
}

void meta_create_stream(struct jetstream *js, struct account *account, struct bytes name,
                        struct bytes body, struct bytes reply)
{
    static const char type[] = "stream_create_response";
    struct stream_config config = {0};
    struct js_error error = {0};
    json_t *peers = json_array();
    json_t *json = NULL;
    if (stream_config_read(body, name, js_is_clustered(js), &config, &error)) {
        json = stream_config_json(&config, false);
    }
    const struct assignment *known =
        json == NULL ? NULL : meta_find(&js->meta.meta, bytes_of(account->name), name);
    if (json == NULL) {
        /* refused below */
    } else if (known != NULL && assignment_has_config(known, json)) {
        propose(js, new_op("echo", account, name, reply));
        goto done;
    } else if (known != NULL) {
        (void)js_fail(&error, JS_STREAM_NAME_EXISTS);
    } else if (meta_check_create(&js->meta.meta, account->name, &config, &error)) {
        (void)place(js, &config, peers, &error);
    }
    if (error.err != JS_OK) {
        refuse(js, account, reply, type, &error);
        goto done;
    }
    json_t *op = new_op("create", account, name, reply);
    json_put(op, "config", json_incref(json));
    json_put(op, "peers", json_incref(peers));
    put_checks(js, &config, op);
    propose(js, op);
done:
    json_decref(json);
    json_decref(peers);
    stream_config_deinit(&config);
}

void meta_update_stream(struct jetstream *js, struct account *account, struct bytes name,
                        struct bytes body, struct bytes reply)
{
    static const char type[] = "stream_update_response";
    struct stream_config config = {0};
    struct js_error error = {0};
    json_t *json = NULL;
    const struct assignment *known = meta_find(&js->meta.meta, bytes_of(account->name), name);
    bool clustered = js_is_clustered(js);
    if (stream_config_read_update(body, name, known != NULL, clustered, &config, &error)) {
        json = stream_config_json(&config, false);
    }
    if (json == NULL) {
        /* refused below */
    } else if (meta_check_update(&js->meta.meta, known, &config, &error)) {
        json_t *before = assignment_config(known->config);
        struct stream_config old = {0};
        bool well = stream_config_parse(before, true, &old, &error);
        well = well && (!clustered || stream_config_check_place(&old, &config, &error));
        bool grows = well && config.max_bytes > old.max_bytes && old.max_bytes > 0;
        for (unsigned i = 0; i < known->peer_count && well && grows; i++) {
            well = has_room(js, known->peers[i], &config, known) || no_room(js, &config, &error);
        }
        stream_config_deinit(&old);
        json_decref(before);
    }
    if (error.err != JS_OK) {
        refuse(js, account, reply, type, &error);
    } else {
        json_t *op = new_op("update", account, name, reply);
        json_put(op, "config", json_incref(json));
        put_checks(js, &config, op);
        propose(js, op);
    }
    json_decref(json);
    stream_config_deinit(&config);
}

void meta_delete_stream(struct jetstream *js, struct account *account, struct bytes name,
                        struct bytes reply)
{
    propose(js, new_op("delete", account, name, reply));
}
