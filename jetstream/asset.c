/* One stream on this server: its log, its leadership, its life.
 *
 * (1) Subscriptions exist exactly while this replica leads; without a leader publishers get 503.
 * (2) A waiter is called exactly once: when its entry is applied, or when leadership is lost. But
 * publishers wait on, for what was proposed may be committed by the next leader, and applied here:
 * until it is, or cannot be any more because a snapshot came, this replica leads again, or ends. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "jetstream/asset_internal.h"
#include "jetstream/held.h"
#include "jetstream/offline.h"

struct waiter {
    uint64_t term;
    waiter_cb cb;
    void *arg;
    bool lasts; /* beyond the leadership */
};

/* Assets of this loop's thread. */
static _Thread_local struct asset *assets_here;
static _Thread_local struct asset_walk *walks_here;

struct loop *asset_loop(const struct asset *a)
{
    return shard_loop(a->shard);
}

#define CLOCK_LOG_NS (60 * NS_PER_SEC)

bool asset_clock(int64_t *now_ns)
{
    static _Thread_local int64_t logged_ns;
    *now_ns = clock_now_ns();
    bool right = time_is_storable(*now_ns);
    int64_t mono = clock_mono_ns();
    if (!right && (logged_ns == 0 || mono - logged_ns > CLOCK_LOG_NS)) {
        char text[CLOCK_RFC3339_MAX];
        logged_ns = mono;
        clock_format_rfc3339(*now_ns, text);
        log_error("The clock of this server says %s: JetStream streams that it leads take nothing "
                  "until it is right",
                  text);
    }
    return right;
}

static void break_asset(struct asset *a, const char *why)
{
    if (!a->broken) {
        a->broken = true;
        log_error("JetStream stream '%s > %s' stops on this server: %s", a->account->name, a->name,
                  why);
        offline_tell(a->js, a->account->name, a->name, group_id(a->group), why);
    }
}

/* --- proposing and waiting --- */

/* Takes the entry. */
static bool propose(struct asset *a, struct blob *entry, struct waiter waiter)
{
    uint64_t index;
    if (group_propose(a->group, entry, &index, &waiter.term) != OK) {
        blob_release(entry);
        return false;
    }
    a->last_proposed = index;
    if (waiter.cb != NULL) {
        struct waiter *w = NEW(struct waiter);
        *w = waiter;
        CHECK(map_put_u64(&a->waiting, index, w) == NULL);
    }
    return true;
}

bool asset_propose(struct asset *a, struct bytes entry, waiter_cb cb, void *arg)
{
    if (!a->leading || a->broken) {
        return false;
    }
    if (!entry_is_understood(entry)) { /* it would stop every replica, for good */
        log_error("JetStream stream '%s > %s': an entry of kind %d that nobody could apply is not "
                  "proposed",
                  a->account->name, a->name, entry.len == 0 ? 0 : entry.ptr[0]);
        return false;
    }
    return propose(a, blob_copy(entry), (struct waiter){.cb = cb, .arg = arg});
}

bool asset_propose_messages(struct asset *a, struct blob *entry, waiter_cb cb, void *arg)
{
    DCHECK(entry_is_understood(blob_bytes(entry)));
    return propose(a, entry, (struct waiter){.cb = cb, .arg = arg, .lasts = true});
}

static void call_waiter(struct asset *a, struct waiter *w, bool applied,
                        const struct apply_result *result)
{
    w->cb(a, w->arg, applied, result);
    free(w);
}

/* Those whose entries may still be applied stay, unless `all`. */
static void drop_waiters(struct asset *a, bool all)
{
    struct map old = a->waiting;
    a->waiting = (struct map){0};
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&old, &i)) != NULL;) {
        struct waiter *w = e->value;
        if (all || !w->lasts) {
            call_waiter(a, w, false, NULL);
        } else {
            (void)map_put(&a->waiting, e->key, w);
        }
    }
    map_deinit(&old);
}

/* --- requests that see what was sent before them --- */

/* A publish without reply tells nobody when it is stored; who asks for the stream then is to see
 * it. */
static bool must_wait(const struct asset *a, const struct asset_request *q)
{
    bool reads =
        q->verb == ASSET_INFO || q->verb == ASSET_MSG_GET || q->verb == ASSET_CONSUMER_INFO;
    return reads && q->after == 0 && group_status(a->group).applied < a->last_proposed;
}

static void wait_behind(struct asset *a, struct asset_request *q)
{
    q->after = a->last_proposed;
    *a->behind_end = q;
    a->behind_end = &q->next;
}

static struct asset_request *take_behind(struct asset *a)
{
    struct asset_request *q = a->behind;
    a->behind = q->next;
    q->next = NULL;
    if (a->behind == NULL) {
        a->behind_end = &a->behind;
    }
    return q;
}

static void answer_behind(struct asset *a, uint64_t applied)
{
    while (a->behind != NULL && a->behind->after <= applied) {
        asset_request(a->shard, take_behind(a)); /* in a turn of its own */
    }
}

/* Whoever leads next answers, and that may be this replica again. */
static void hold_behind(struct asset *a)
{
    while (a->behind != NULL) {
        struct asset_request *q = take_behind(a);
        if (a->deleted && q->reply != NULL) {
            struct js_error error;
            (void)js_fail(&error, JS_STREAM_NOT_FOUND);
            js_reply_error(a->js, a->account, bytes_of(q->reply), q->type, &error);
            asset_request_free(q);
        } else {
            asset_hold(a, q, true);
        }
    }
    a->last_proposed = 0;
}

/* --- expiry --- */

#define EXPIRY_NS     (50 * NS_PER_MS)  /* so that it is a batch of them, not one at a time */
#define EXPIRY_MAX_NS (30 * NS_PER_SEC) /* then it looks again: the clock may have been set */

static void on_expiry(void *arg);

/* Not while a part is under way: the next one begins where it ends, after `least_ns` when there is
 * more. */
static void arm_expiry(struct asset *a, int64_t least_ns)
{
    const struct stream *s = a->stream;
    bool over = stream_is_over_limits(s);
    if (!a->leading || a->expiring || (s->config.max_age_ns == 0 && !over) ||
        s->totals.messages == 0 || loop_timer_armed(&a->expiry)) {
        return;
    }
    int64_t end = time_add(s->totals.first_ns, s->config.max_age_ns);
    int64_t due = over ? -EXPIRY_NS : time_sub(end, clock_now_ns());
    due = due <= -EXPIRY_NS ? least_ns : due < EXPIRY_NS ? EXPIRY_NS : due;
    due = due > EXPIRY_MAX_NS ? EXPIRY_MAX_NS : due;
    loop_timer_arm(asset_loop(a), &a->expiry, time_after(clock_mono_ns(), due), on_expiry, a);
}

static void on_expired(struct asset *a, void *arg, bool applied, const struct apply_result *result)
{
    (void)arg;
    (void)applied;
    (void)result;
    a->expiring = false;
}

static void on_expiry(void *arg)
{
    struct asset *a = arg;
    struct stream *s = a->stream;
    int64_t now = clock_now_ns();
    bool old = time_add(s->totals.first_ns, s->config.max_age_ns) <= now;
    uint64_t through = old ? stream_expired_through(s, now) : 0;
    uint64_t most = s->totals.first_seq + stream_slice(s);
    through = through < most ? through : most;
    if (through > 0 || stream_is_over_limits(s)) {
        struct buffer entry = {0};
        buffer_put_u8(&entry, ENTRY_EXPIRE);
        buffer_put_varint(&entry, through);
        a->expiring = asset_propose(a, buffer_bytes(&entry), on_expired, NULL);
        buffer_deinit(&entry);
    }
    arm_expiry(a, EXPIRY_NS); /* nothing can be done now: a message that cannot be read */
}

/* --- applying --- */

static void free_leader_side(void *arg, struct consumer *c)
{
    (void)arg;
    if (c->leader != NULL) {
        pulls_free(c->leader, "409 Consumer Deleted");
        c->leader = NULL;
    }
}

void asset_pump_all(struct asset *a)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->stream->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        if (c->leader != NULL) {
            pulls_pump(c->leader);
        }
    }
}

static void propose_wanted_config(struct asset *a);

static enum err apply(void *owner, uint64_t index, uint64_t term, struct bytes entry)
{
    struct asset *a = owner;
    struct apply_result result;
    if (a->broken) {
        return OK;
    }
    uint8_t kind = entry.len == 0 ? 0 : (uint8_t)entry.ptr[0];
    if (kind == ENTRY_DELIVER || kind == ENTRY_ACKS) {
        a->stream->here.wall_ns = clock_now_ns();
        a->stream->here.mono_ns = clock_mono_ns();
    }
    enum err err = stream_apply(a->stream, index, entry, &result, free_leader_side, a);
    if (err != OK) {
        if (err != ERR_IO || !group_has_others(a->group)) {
            char why[160];
            (void)snprintf(
                why, sizeof why, "entry %llu of its log cannot be applied: %s. It is kept",
                (unsigned long long)index, err_name(err == ERR_CORRUPT ? ERR_UNKNOWN : err));
            break_asset(a, why);
        }
        return err;
    }
    if (result.warning != NULL) {
        log_warn("JetStream stream '%s > %s': entry %llu of its log %s: %s", a->account->name,
                 a->name, (unsigned long long)index,
                 result.error.err == JS_OK ? "is odd" : "does nothing, on every replica",
                 result.warning);
    }
    if (a->leading && kind == ENTRY_MESSAGES && result.error.err != JS_OK) {
        publisher_reset(&a->publisher); /* its view was not right */
        asset_answer_duplicates(a, false);
    } else if (a->leading) {
        publisher_applied(&a->publisher, a->stream->totals.last_seq);
        if (kind != ENTRY_MESSAGES) {
            publisher_recount(&a->publisher);
        }
    }
    if (a->leading) {
        if (result.consumer != NULL && result.consumer->leader == NULL) {
            result.consumer->leader = pulls_new(a, result.consumer);
        }
    }
    a->applied_data = index;
    if (kind == ENTRY_PURGE || kind == ENTRY_DELETE || kind == ENTRY_CONFIG ||
        kind == ENTRY_CONSUMER || kind == ENTRY_CONSUMER_DELETE) {
        a->changed_ns = clock_mono_ns();
    }
    struct waiter *w = map_remove_u64(&a->waiting, index);
    if (w != NULL) {
        call_waiter(a, w, w->term == term, &result);
    }
    answer_behind(a, index);
    if (a->leading) {
        asset_answer_duplicates(a, true);
        if (kind == ENTRY_MESSAGES) {
            asset_pump_all(a);
        }
        if (kind == ENTRY_CONFIG) { /* it may be due earlier */
            loop_timer_cancel(asset_loop(a), &a->expiry);
        }
        arm_expiry(a, 0);
    }
    return OK;
}

static void encode(void *owner, struct buffer *out)
{
    struct asset *a = owner;
    stream_encode(a->stream, out);
}

static void checkpoint(void *owner, struct buffer *head, const struct row_writer *rows)
{
    struct asset *a = owner;
    stream_checkpoint(a->stream, head, rows);
}

static void rewrite(void *owner, uint64_t from, uint64_t to, const struct record_writer *records)
{
    struct asset *a = owner;
    stream_rewrite(a->stream, from, to, records);
}

static void lost_rows(void *owner)
{
    struct asset *a = owner;
    stream_write_all_rows(a->stream);
}

static struct blob *read_entry(void *arg, uint64_t index)
{
    struct asset *a = arg;
    return group_read(a->group, index);
}

struct stream *asset_new_stream(struct asset *a)
{
    struct stream_config config = {.name = mem_strdup(a->name)};
    return stream_new(&config, 0, read_entry, a);
}

void asset_replace_stream(struct asset *a, struct stream *s)
{
    s->read = read_entry;
    s->arg = a;
    stream_free(a->stream);
    a->stream = s;
    publisher_deinit(&a->publisher);
    publisher_init(&a->publisher, a->stream);
}

static enum err decode(void *owner, struct bytes state)
{
    struct asset *a = owner;
    a->loading = asset_new_stream(a);
    return stream_decode(a->loading, state);
}

static enum err decode_row(void *owner, uint64_t row, struct bytes value)
{
    struct asset *a = owner;
    return stream_decode_row(a->loading, row, value);
}

static enum err decode_end(void *owner, bool whole)
{
    struct asset *a = owner;
    struct stream *loaded = a->loading;
    a->loading = NULL;
    if (!whole || stream_decode_end(loaded) != OK) {
        stream_free(loaded);
        return ERR_CORRUPT;
    }
    asset_replace_stream(a, loaded);
    drop_waiters(a, true); /* whether their entries are in it nobody knows */
    a->changed_ns = clock_mono_ns();
    return OK;
}

static uint64_t next_kept(void *owner, uint64_t index)
{
    struct asset *a = owner;
    return stream_next_kept_index(a->stream, index);
}

/* --- leadership --- */

static void add_subject(struct asset *a, struct bytes subject)
{
    uint32_t any = 0;
    struct map_entry *e = map_next(&a->subs, &any);
    struct internal_sub *sub =
        e != NULL ? broker_subscribe_with(e->value, subject)
                  : broker_subscribe(a->js->broker, a->account, subject, BYTES_NONE, asset_loop(a),
                                     asset_on_publish, a);
    if (e == NULL) {
        broker_tell_gone(sub);
    }
    (void)map_put(&a->subs, subject, sub);
}

/* To the subjects of the configuration; to no others any more. Those that stay are not touched, and
 * new ones come before old ones go: what is under way to the stream stays so. The stream has a
 * publisher's messages in the order in which they were sent, whatever their subjects: one callback
 * for all. */
static void subscribe(struct asset *a)
{
    const struct stream_config *c = &a->stream->config;
    struct map wanted = {.borrows_keys = true};
    struct map_entry *e;
    for (uint32_t i = 0; i < c->subject_count; i++) {
        struct bytes subject = bytes_of(c->subjects[i]);
        (void)map_put(&wanted, subject, a);
        if (map_get(&a->subs, subject) == NULL) {
            add_subject(a, subject);
        }
    }
    for (uint32_t i = 0; (e = map_next(&a->subs, &i)) != NULL;) {
        if (map_get(&wanted, e->key) == NULL) {
            broker_unsubscribe(a->js->broker, e->value);
            (void)map_remove(&a->subs, e->key);
        }
    }
    map_deinit(&wanted);
}

static void unsubscribe(struct asset *a)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->subs, &i)) != NULL;) {
        broker_unsubscribe(a->js->broker, e->value);
    }
    map_deinit(&a->subs);
}

/* Clients of nats-server wait so long for an answer of the API. */
#define ANSWER_WITHIN_NS (5000 * NS_PER_MS)

/* Whoever leads next answers. */
static void answer_create_later(struct asset *a, const char *reply)
{
    text_list_add(&a->create_replies, bytes_of(reply));
    a->create_replies_until_ns = clock_mono_ns() + ANSWER_WITHIN_NS;
}

static void answer_creates(struct asset *a)
{
    bool waited_for = clock_mono_ns() < a->create_replies_until_ns;
    for (uint32_t i = 0; waited_for && i < a->create_replies.count; i++) {
        asset_echo(a, a->create_replies.items[i]);
    }
    text_list_clear(&a->create_replies);
}

/* --- the members of its group --- */

#define ADMIT_MS 250

static void on_admit(void *arg);

/* After a forced recovery servers that the stream is placed on are not in its group. They come back
 * when they are there. */
static void watch_members(struct asset *a)
{
    raft_node voters[RAFT_VOTERS_MAX];
    if (a->leading && raft_voters(group_raft(a->group), voters) < a->peer_count) {
        loop_timer_arm(asset_loop(a), &a->admit, clock_mono_ns() + ADMIT_MS * NS_PER_MS, on_admit,
                       a);
    }
}

static void on_admit(void *arg)
{
    struct asset *a = arg;
    uint64_t who;
    struct group_candidate wanted[RAFT_MEMBERS_MAX];
    for (unsigned i = 0; i < a->peer_count; i++) {
        wanted[i] = (struct group_candidate){a->peers[i], true};
    }
    const char *step = group_admit(a->group, wanted, a->peer_count, &who);
    if (step != NULL) {
        const char *name = js_node_name(a->js, who);
        log_info("JetStream stream '%s > %s': %s %s", a->account->name, a->name,
                 name == NULL ? "?" : name, step);
    }
    watch_members(a);
}

static void lead(struct asset *a)
{
    drop_waiters(a, true); /* all that was to be applied before this has been */
    a->leading = true;
    a->leader_since_ns = clock_now_ns();
    publisher_reset(&a->publisher);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->stream->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        c->leader = pulls_new(a, c);
    }
    subscribe(a);
    log_info("JetStream cluster new stream leader for '%s > %s'", a->account->name, a->name);
    if (a->peer_count > 1) {
        advise_leader(a);
    }
    propose_wanted_config(a);
    answer_creates(a);
    arm_expiry(a, 0);
    watch_members(a);
    asset_look_at_held(a);
}

/* `status`: what waiting pull requests are told. */
static void step_down(struct asset *a, const char *status)
{
    a->leading = false;
    unsubscribe(a);
    loop_timer_cancel(asset_loop(a), &a->expiry);
    loop_timer_cancel(asset_loop(a), &a->admit);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->stream->consumers, &i)) != NULL;) {
        struct consumer *c = e->value;
        if (c->leader != NULL) {
            pulls_free(c->leader, status);
            c->leader = NULL;
        }
    }
    drop_waiters(a, false);
    hold_behind(a);
    asset_forget_publishes(a);
}

static void on_leader(void *owner, bool leader)
{
    struct asset *a = owner;
    if (leader && !a->leading) {
        lead(a);
    } else if (!leader && a->leading) {
        step_down(a, "409 Leadership Change");
    }
}

static void on_read(void *owner, uint64_t id, bool allowed)
{
    struct asset *a = owner;
    struct asset_request *q = map_remove_u64(&a->reads, id);
    if (q != NULL && allowed) {
        asset_answer(a, q);
    } else if (q != NULL) {
        asset_hold(a, q, true); /* somebody else leads, or nobody */
    }
}

static void on_repaired(void *owner)
{
    asset_pump_all(owner);
}

static void describe(void *owner, uint64_t index, char *text, size_t size)
{
    struct asset *a = owner;
    const struct stream_entry *e = stream_entry_at(a->stream, index);
    if (e != NULL) {
        (void)snprintf(text, size, "stream '%s > %s', messages %llu to %llu", a->account->name,
                       a->name, (unsigned long long)e->first_seq,
                       (unsigned long long)(e->first_seq + e->count - 1));
    }
}

static const struct group_ops asset_ops = {.apply = apply,
                                           .encode = encode,
                                           .checkpoint = checkpoint,
                                           .lost_rows = lost_rows,
                                           .decode = decode,
                                           .decode_row = decode_row,
                                           .decode_end = decode_end,
                                           .on_leader = on_leader,
                                           .next_kept = next_kept,
                                           .rewrite = rewrite,
                                           .on_read = on_read,
                                           .on_repaired = on_repaired,
                                           .describe = describe,
                                           .recovery = &asset_recovery_ops};

const char *asset_problem(const struct asset *a)
{
    return group_problem(a->group);
}

bool asset_is_current(struct asset *a)
{
    return !a->broken && group_status(a->group).current;
}

void asset_request_free(struct asset_request *q)
{
    if (q == NULL) {
        return;
    }
    free(q->consumer);
    free(q->filter);
    free(q->body);
    free(q->reply);
    free(q);
}

void asset_run(struct asset *a, struct asset_request *q)
{
    uint64_t read;
    if (q->verb == ASSET_MSG_GET && group_read_barrier(a->group, &read) == OK) {
        (void)map_put_u64(&a->reads, read, q); /* nobody may be told what is not so any more */
    } else {
        asset_answer(a, q);
    }
}

static void run_request(void *arg)
{
    struct asset_request *q = arg;
    struct asset *a = assets_here;
    /* It may have been deleted while the request travelled. */
    while (a != NULL && (a != q->asset || group_id(a->group) != q->group)) {
        a = a->next;
    }
    if (a == NULL) {
        asset_request_free(q);
    } else if (!a->leading || a->broken) {
        asset_hold(a, q, false);
    } else if (must_wait(a, q)) {
        wait_behind(a, q);
    } else {
        asset_run(a, q);
    }
}

void asset_request(struct shard *shard, struct asset_request *request)
{
    loop_post(shard_loop(shard), run_request, request);
}

/* --- the meta group's wishes --- */

void asset_echo(struct asset *a, const char *reply)
{
    if (reply == NULL) {
        return;
    }
    uint64_t leader = group_status(a->group).leader_node;
    if (!a->leading && (leader == 0 || leader == a->js->self)) {
        answer_create_later(a, reply);
    } else if (a->leading) {
        json_t *o = js_response("stream_create_response");
        asset_add_stream_info(a, INFO_CHANGED, o);
        json_put_bool(o, "did_create", true);
        js_reply(a->js, a->account, bytes_of(reply), o);
    }
}

static void answer_update(struct asset *a, const char *reply)
{
    json_t *o = js_response("stream_update_response");
    asset_add_stream_info(a, INFO_CHANGED, o);
    js_reply(a->js, a->account, bytes_of(reply), o);
}

static void on_updated(struct asset *a, void *arg, bool applied, const struct apply_result *result)
{
    char *reply = arg; /* NULL: nobody waits */
    if (applied && result->error.err != JS_OK) {
        if (reply != NULL) {
            js_reply_error(a->js, a->account, bytes_of(reply), "stream_update_response",
                           &result->error);
        }
    } else if (applied) {
        subscribe(a);
        publisher_recount(&a->publisher);
        if (reply != NULL) {
            answer_update(a, reply);
        }
    }
    free(reply);
    asset_config_settled(a);
}

/* A leader before this one has proposed it, and it is applied. */
static bool has_wanted_config(const struct asset *a)
{
    json_t *now = stream_config_json(&a->stream->config, false);
    bool same = a->config_under_way == 0 && json_equal(now, a->wanted_config) != 0;
    json_decref(now);
    return same;
}

static void propose_wanted_config(struct asset *a)
{
    if (a->wanted_config == NULL || !a->leading) {
        return;
    }
    if (has_wanted_config(a)) {
        if (a->update_reply != NULL) {
            answer_update(a, a->update_reply);
            option_set(&a->update_reply, NULL);
        }
        json_decref(a->wanted_config);
        a->wanted_config = NULL;
        return;
    }
    struct buffer text = {0};
    struct buffer entry = {0};
    json_write(&text, a->wanted_config, 0);
    buffer_put_u8(&entry, ENTRY_CONFIG);
    buffer_put_bytes(&entry, buffer_bytes(&text));
    char *reply = a->update_reply;
    a->update_reply = NULL;
    asset_config_proposed(a);
    if (!asset_propose(a, buffer_bytes(&entry), on_updated, reply)) {
        asset_config_settled(a);
        free(reply); /* leadership is going: the next leader will be asked again */
    }
    buffer_deinit(&entry);
    buffer_deinit(&text);
    json_decref(a->wanted_config);
    a->wanted_config = NULL;
}

void asset_config_changed(struct asset *a, json_t *config, const char *reply)
{
    json_decref(a->wanted_config);
    a->wanted_config = json_incref(config);
    option_set(&a->update_reply, reply);
    propose_wanted_config(a);
}

/* --- life --- */

struct asset *asset_next(struct asset *after)
{
    return after == NULL ? assets_here : after->next;
}

struct asset *asset_walk_at(struct asset_walk *w)
{
    if (!w->begun) {
        *w = (struct asset_walk){.asset = assets_here, .begun = true, .next = walks_here};
        walks_here = w;
    }
    if (w->asset == NULL) {
        struct asset_walk **at = &walks_here;
        while (*at != w) {
            CHECK(*at != NULL);
            at = &(*at)->next;
        }
        *at = w->next;
        w->begun = false;
    }
    return w->asset;
}

void asset_walk_next(struct asset_walk *w)
{
    w->asset = w->asset->next;
}

static void leave_walks(const struct asset *a)
{
    for (struct asset_walk *w = walks_here; w != NULL; w = w->next) {
        if (w->asset == a) {
            asset_walk_next(w);
            w->moved = true;
        }
    }
}

struct asset *asset_open(struct jetstream *js, struct shard *shard, const struct assignment *as,
                         struct fresh fresh, const char *reply, struct error *error)
{
    struct asset *a = NEW(struct asset);
    a->js = js;
    a->shard = shard;
    a->name = mem_strdup(as->stream);
    a->behind_end = &a->behind;
    buffer_append_text(&a->ack, "{\"stream\":");
    json_write_text(&a->ack, a->name);
    buffer_append_text(&a->ack, ",\"seq\":");
    a->account = accounts_get(broker_accounts(js->broker), bytes_of(as->account));
    memcpy(a->peers, as->peers, sizeof a->peers);
    a->peer_count = as->peer_count;
    struct stream_config config;
    struct js_error js_error;
    json_t *first = assignment_config(as->first_config);
    bool understood = stream_config_parse(first, true, &config, &js_error);
    json_decref(first);
    if (!understood) {
        (void)error_set(error, ERR_CORRUPT, "its configuration is not understood: %s",
                        js_error.text);
        free(a->name);
        buffer_deinit(&a->ack);
        free(a);
        return NULL;
    }
    a->stream = stream_new(&config, as->created_ns, read_entry, a);
    publisher_init(&a->publisher, a->stream);
    if (reply != NULL) {
        answer_create_later(a, reply);
    }
    if (as->first_config != as->config) {
        json_t *wanted = assignment_config(as->config);
        json_t *now = stream_config_json(&a->stream->config, false);
        a->wanted_config = json_equal(now, wanted) ? NULL : json_incref(wanted);
        json_decref(now);
        json_decref(wanted);
    }
    bool memory = a->stream->config.memory;
    a->group = group_open(shard, as->group, as->peers, as->peer_count, memory,
                          memory ? fresh.in_memory : fresh.on_disk, &asset_ops, a, error);
    if (a->group == NULL) {
        publisher_deinit(&a->publisher);
        stream_free(a->stream);
        json_decref(a->wanted_config);
        text_list_clear(&a->create_replies);
        free(a->name);
        buffer_deinit(&a->ack);
        free(a);
        return NULL;
    }
    a->next = assets_here;
    assets_here = a;
    return a;
}

static void asset_free(struct asset *a)
{
    leave_walks(a);
    for (struct asset **at = &assets_here; *at != NULL; at = &(*at)->next) {
        if (*at == a) {
            *at = a->next;
            break;
        }
    }
    held_free(a->held);
    stream_free(a->stream);
    publisher_deinit(&a->publisher);
    buffer_deinit(&a->builder.data);
    buffer_deinit(&a->builder_replies);
    map_deinit(&a->waiting);
    map_deinit(&a->changing);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&a->reads, &i)) != NULL;) {
        asset_request_free(e->value);
    }
    map_deinit(&a->reads);
    free(a->dups);
    json_decref(a->wanted_config);
    free(a->update_reply);
    text_list_clear(&a->create_replies);
    free(a->name);
    buffer_deinit(&a->ack);
    free(a);
}

/* It is gone before anybody could say that it is there, or has been changed. */
static void refuse_waiting(struct asset *a)
{
    struct js_error error;
    (void)js_fail(&error, JS_STREAM_NOT_FOUND);
    for (uint32_t i = 0; i < a->create_replies.count; i++) {
        js_reply_error(a->js, a->account, bytes_of(a->create_replies.items[i]),
                       "stream_create_response", &error);
    }
    if (a->update_reply != NULL) {
        js_reply_error(a->js, a->account, bytes_of(a->update_reply), "stream_update_response",
                       &error);
    }
}

void asset_delete(struct asset *a, const char *reply, bool speaker)
{
    uint64_t leader = group_status(a->group).leader_node; /* elected, perhaps not leading yet */
    bool answers = leader == 0 ? speaker : leader == a->js->self;
    if (answers) {
        refuse_waiting(a);
    }
    a->deleted = true;
    if (a->leading) {
        step_down(a, "409 Consumer Deleted");
    }
    drop_waiters(a, true);
    if (answers && reply != NULL) {
        js_reply_success(a->js, a->account, bytes_of(reply), "stream_delete_response");
    }
    group_destroy(a->group);
    asset_free(a);
}

void asset_close(struct asset *a)
{
    if (a->leading) {
        step_down(a, "409 Server Shutdown");
    }
    drop_waiters(a, true);
    group_close(a->group, true);
    asset_free(a);
}
