/* $JS.API.…: finds out who answers, and answers what belongs to the meta leader. Loop 0.
 *
 * Every server gets every request (the subscriptions are announced like any other) and exactly one
 * answers: the meta leader, or the leader of the stream. Subjects of features that are not there
 * yet get an error that says so. What nobody answers is not subscribed to, so that whoever asks is
 * told at once: MSG.NEXT of a consumer that has no leader, DIRECT.GET. Subjects that have too few
 * or too many tokens get no answer, as on nats-server. */
#include <assert.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "jetstream/collect.h"
#include "jetstream/jetstream_internal.h"
#include "jetstream/offline.h"
#include "jetstream/state/request_fields.h"

/* --- replies --- */

json_t *js_response(const char *type)
{
    struct buffer full = {0};
    buffer_append_text(&full, "io.nats.jetstream.api.v1.");
    buffer_append_text(&full, type);
    json_t *o = json_object();
    json_put_bytes(o, "type", buffer_bytes(&full));
    buffer_deinit(&full);
    return o;
}

void js_publish(struct jetstream *js, struct account *account, struct bytes subject,
                struct bytes reply, struct bytes header, struct bytes body)
{
    struct buffer payload = {0};
    struct message m = {
        .subject = subject, .reply = reply, .payload = body, .header_len = (uint32_t)header.len};
    if (header.len > 0) {
        buffer_append_bytes(&payload, header);
        buffer_append_bytes(&payload, body);
        m.payload = buffer_bytes(&payload);
    }
    (void)broker_publish(js->broker, account, &m);
    buffer_deinit(&payload);
}

void js_reply(struct jetstream *js, struct account *account, struct bytes reply, json_t *response)
{
    if (reply.len > 0) {
        struct buffer text = {0};
        json_write(&text, response, 0);
        js_publish(js, account, reply, BYTES_NONE, BYTES_NONE, buffer_bytes(&text));
        buffer_deinit(&text);
        unsigned refused = json_object_get(response, "error") != NULL;
        atomic_fetch_add(&js->api_total, 1);
        atomic_fetch_add(&js->api_errors, refused);
        atomic_fetch_add(&account->api_total, 1);
        atomic_fetch_add(&account->api_errors, refused);
    }
    json_decref(response);
}

/* Fields that responses of nats-server have with an error, too. */
static void put_empty_fields(json_t *o, const char *type)
{
    static const struct {
        const char *type, *list;
    } paged[] = {{"stream_info_response", NULL},
                 {"stream_list_response", "streams"},
                 {"stream_names_response", "streams"},
                 {"consumer_list_response", "consumers"},
                 {"consumer_names_response", "consumers"}};
    if (strcmp(type, "stream_purge_response") == 0) {
        json_put_int(o, "purged", 0);
    }
    for (size_t i = 0; i < sizeof paged / sizeof paged[0]; i++) {
        if (strcmp(type, paged[i].type) != 0) {
            continue;
        }
        json_put_int(o, "total", 0);
        json_put_int(o, "offset", 0);
        json_put_int(o, "limit", 0);
        if (paged[i].list != NULL) {
            bool none = strcmp(type, "stream_names_response") == 0;
            json_put(o, paged[i].list, none ? json_null() : json_array());
        }
    }
}

void js_reply_error(struct jetstream *js, struct account *account, struct bytes reply,
                    const char *type, const struct js_error *error)
{
    json_t *o = js_response(type);
    json_put(o, "error", js_error_json(error));
    put_empty_fields(o, type);
    js_reply(js, account, reply, o);
}

void js_reply_success(struct jetstream *js, struct account *account, struct bytes reply,
                      const char *type)
{
    json_t *o = js_response(type);
    json_put_bool(o, "success", true);
    js_reply(js, account, reply, o);
}

/* --- the requests --- */

struct api_call {
    struct jetstream *js;
    struct account *account;
    struct bytes tokens[4]; /* behind the verb: stream, consumer, … */
    unsigned token_count;
    struct bytes rest; /* behind tokens[1], for filters */
    struct bytes body, header, reply;
    const char *type;
    const struct api_request *request; /* as it came */
};

enum who { META_LEADER, STREAM_LEADER };

struct api_row {
    const char *verb;                /* "STREAM.INFO" */
    unsigned tokens_min, tokens_max; /* after it */
    const char *type;                /* of the response */
    enum who who;
    bool changes;                    /* META_LEADER: not only looks */
    bool empty_body;                 /* a body is an error */
    bool system;                     /* only for the system account */
    void (*run)(struct api_call *c); /* META_LEADER */
    enum asset_verb asset_verb;      /* STREAM_LEADER */
};

static void refuse(struct api_call *c, enum js_err err)
{
    struct js_error error;
    (void)js_fail(&error, err);
    js_reply_error(c->js, c->account, c->reply, c->type, &error);
}

static struct assignment *assigned(struct api_call *c)
{
    return meta_find(&c->js->meta.meta, bytes_of(c->account->name), c->tokens[0]);
}

static void on_account_info(struct api_call *c)
{
    collect_account_info(c->js, c->account, c->reply);
}

static void on_stream_create(struct api_call *c)
{
    meta_create_stream(c->js, c->account, c->tokens[0], c->body, c->reply);
}

static void on_stream_update(struct api_call *c)
{
    meta_update_stream(c->js, c->account, c->tokens[0], c->body, c->reply);
}

static void on_stream_delete(struct api_call *c)
{
    if (assigned(c) == NULL) {
        refuse(c, JS_STREAM_NOT_FOUND);
    } else {
        meta_delete_stream(c->js, c->account, c->tokens[0], c->reply);
    }
}

/* Of NAMES and LIST. */
static bool read_page(struct api_call *c, const struct fields *table, struct page_request *page)
{
    struct js_error error;
    *page = (struct page_request){0};
    if (!fields_text_is_json(c->body) ||
        fields_read(table, FIELDS_REQUEST, c->body, page, &error)) {
        return true;
    }
    js_reply_error(c->js, c->account, c->reply, c->type, &error);
    fields_deinit(table, page);
    return false;
}

static bool has_subject(const struct assignment *a, const char *filter)
{
    struct bytes rest = bytes_of(a->subjects);
    struct bytes subject;
    while (filter != NULL && assignment_next_subject(&rest, &subject)) {
        if (subject_overlaps(subject, bytes_of(filter))) {
            return true;
        }
    }
    return filter == NULL;
}

/* Names of the account's streams that match, sorted. */
static json_t *stream_names(struct api_call *c, const char *filter)
{
    json_t *names = json_array();
    struct map_entry **sorted = map_sorted(&c->js->meta.meta.assignments);
    for (uint32_t i = 0; sorted[i] != NULL; i++) {
        const struct assignment *a = sorted[i]->value;
        if (strcmp(a->account, c->account->name) == 0 &&
            (filter == NULL || has_subject(a, filter))) {
            (void)json_array_append_new(names, json_string(a->stream));
        }
    }
    free(sorted);
    return names;
}

/* Cuts the page out of names and writes total, offset and limit. */
static json_t *cut_page(json_t *names, int64_t offset, int64_t limit, json_t *response)
{
    int64_t total = (int64_t)json_array_size(names);
    offset = offset < 0 ? 0 : offset > total ? total : offset;
    json_put_int(response, "total", total);
    json_put_int(response, "offset", offset);
    json_put_int(response, "limit", limit);
    json_t *page = json_array();
    for (int64_t i = offset; i < total && i < offset + limit; i++) {
        (void)json_array_append(page, json_array_get(names, (size_t)i));
    }
    json_decref(names);
    return page;
}

static void on_stream_names(struct api_call *c)
{
    struct page_request asked;
    if (!read_page(c, &stream_names_fields, &asked)) {
        return;
    }
    json_t *o = js_response(c->type);
    json_t *page = cut_page(stream_names(c, asked.subject), asked.offset, 1024, o);
    if (json_array_size(page) == 0) {
        json_decref(page);
        page = json_null();
    }
    json_put(o, "streams", page);
    js_reply(c->js, c->account, c->reply, o);
    fields_deinit(&stream_names_fields, &asked);
}

static void on_stream_list(struct api_call *c)
{
    struct page_request asked;
    if (!read_page(c, &stream_list_fields, &asked)) {
        return;
    }
    json_t *o = js_response(c->type);
    json_t *page = cut_page(stream_names(c, asked.subject), asked.offset, 256, o);
    collect_stream_list(c->js, c->account, c->reply, o, page);
    fields_deinit(&stream_list_fields, &asked);
}

static void on_server_admit(struct api_call *c)
{
    struct js_error error;
    struct admit_request asked = {0};
    if (!fields_read(&admit_fields, FIELDS_REQUEST, c->body, &asked, &error)) {
        js_reply_error(c->js, c->account, c->reply, c->type, &error);
    } else if (asked.peer == NULL || asked.peer[0] == '\0') {
        refuse(c, JS_BAD_REQUEST);
    } else {
        meta_admit_server(c->js, c->account, asked.peer, c->reply);
    }
    fields_deinit(&admit_fields, &asked);
}

#define META(verb, min, max, type, changes, empty, run)                                            \
    {                                                                                              \
        verb, min, max, type, META_LEADER, changes, empty, false, run, 0                           \
    }
#define SYSTEM(verb, type, run)                                                                    \
    {                                                                                              \
        verb, 0, 0, type, META_LEADER, false, false, true, run, 0                                  \
    }
#define STREAM(verb, min, max, type, empty, asset)                                                 \
    {                                                                                              \
        verb, min, max, type, STREAM_LEADER, true, empty, false, NULL, asset                       \
    }

/* Longer verbs first where one begins another. */
static const struct api_row rows[] = {
    META("INFO", 0, 0, "account_info_response", false, false, on_account_info),
    META("STREAM.CREATE", 1, 1, "stream_create_response", true, false, on_stream_create),
    META("STREAM.UPDATE", 1, 1, "stream_update_response", true, false, on_stream_update),
    META("STREAM.NAMES", 0, 0, "stream_names_response", false, false, on_stream_names),
    META("STREAM.LIST", 0, 0, "stream_list_response", false, false, on_stream_list),
    META("STREAM.DELETE", 1, 1, "stream_delete_response", true, true, on_stream_delete),
    STREAM("STREAM.INFO", 1, 1, "stream_info_response", false, ASSET_INFO),
    STREAM("STREAM.PURGE", 1, 1, "stream_purge_response", false, ASSET_PURGE),
    STREAM("STREAM.MSG.GET", 1, 1, "stream_msg_get_response", false, ASSET_MSG_GET),
    STREAM("STREAM.MSG.DELETE", 1, 1, "stream_msg_delete_response", false, ASSET_MSG_DELETE),
    STREAM("CONSUMER.DURABLE.CREATE", 2, 2, "consumer_create_response", false,
           ASSET_CONSUMER_CREATE),
    STREAM("CONSUMER.CREATE", 1, 99, "consumer_create_response", false, ASSET_CONSUMER_CREATE),
    STREAM("CONSUMER.DELETE", 2, 2, "consumer_delete_response", true, ASSET_CONSUMER_DELETE),
    STREAM("CONSUMER.INFO", 2, 2, "consumer_info_response", true, ASSET_CONSUMER_INFO),
    STREAM("CONSUMER.NAMES", 1, 1, "consumer_names_response", false, ASSET_CONSUMER_NAMES),
    STREAM("CONSUMER.LIST", 1, 1, "consumer_list_response", false, ASSET_CONSUMER_LIST),
    SYSTEM("SERVER.ADMIT", "meta_server_admit_response", on_server_admit),
};

/* Calls of nats-server's API that this version does not have: the meta leader says so. */
static const struct {
    const char *verb;
    const char *type;
} missing[] = {{"STREAM.SNAPSHOT", "stream_snapshot_response"},
               {"STREAM.RESTORE", "stream_restore_response"},
               {"STREAM.LEADER.STEPDOWN", "stream_leader_stepdown_response"},
               {"STREAM.PEER.REMOVE", "stream_remove_peer_response"},
               {"STREAM.PEER.EVACUATE", "stream_evacuate_peer_response"},
               {"STREAM.CANCEL_MOVE", "stream_cancel_move_response"},
               {"CONSUMER.PAUSE", "consumer_pause_response"},
               {"CONSUMER.UNPIN", "consumer_unpin_response"},
               {"CONSUMER.RESET", "consumer_reset_response"},
               {"CONSUMER.LEADER.STEPDOWN", "consumer_leader_stepdown_response"},
               {"CONSUMER.PEER.REMOVE", "consumer_remove_peer_response"},
               {"CONSUMER.PEER.EVACUATE", "consumer_evacuate_peer_response"},
               {"META.LEADER.STEPDOWN", "meta_leader_stepdown_response"},
               {"SERVER.REMOVE", "meta_server_remove_response"},
               {"SERVER.EVACUATE", "meta_server_evacuate_response"},
               {"META.RESCUE", "meta_rescue_response"},
               {"ACCOUNT.PURGE", "account_purge_response"},
               {"ACCOUNT.STREAM", "stream_update_response"}};

static char *copy_text(struct bytes b)
{
    return b.ptr == NULL ? NULL : mem_dup(b.ptr, b.len);
}

static bool is_anybody_there(struct api_call *c, const struct assignment *a)
{
    bool there = c->js->peers == NULL;
    for (unsigned i = 0; i < a->peer_count; i++) {
        there = there || peers_is_up(c->js->peers, a->peers[i]);
    }
    return there;
}

static bool is_durable_form(const struct api_row *row)
{
    return strcmp(row->verb, "CONSUMER.DURABLE.CREATE") == 0;
}

/* Before there is no stream. */
static bool check_body(const struct api_call *c, const struct api_row *row, struct js_error *error)
{
    char *stream = copy_text(c->tokens[0]);
    char *consumer = c->token_count > 1 ? copy_text(c->tokens[1]) : NULL;
    char *filter = copy_text(c->rest);
    const struct consumer_subject subject = {
        stream, consumer, filter, is_durable_form(row), js_is_clustered(c->js), 0};
    bool ok = asset_check_body(row->asset_verb, &subject, c->body, error);
    free(stream);
    free(consumer);
    free(filter);
    return ok;
}

/* The leader among its servers answers; when there is none, the meta leader. */
static void to_stream(struct api_call *c, const struct api_row *row)
{
    struct hosted *h = js_hosted(c->js, bytes_of(c->account->name), c->tokens[0]);
    if (h != NULL && h->problem != NULL) {
        bool info = row->asset_verb == ASSET_INFO || row->asset_verb == ASSET_CONSUMER_INFO;
        offline_answer(c->js, h, c->account, c->reply, row->type, info);
        return;
    }
    const struct assignment *a = assigned(c);
    struct js_error error;
    if (h != NULL && h->asset != NULL) {
        struct asset_request *q = NEW(struct asset_request);
        q->asset = h->asset;
        q->group = h->group;
        q->verb = row->asset_verb;
        q->type = row->type;
        q->durable_form = is_durable_form(row);
        q->consumer = c->token_count > 1 ? copy_text(c->tokens[1]) : NULL;
        q->filter = copy_text(c->rest);
        q->body = mem_dup(c->body.ptr, c->body.len);
        q->body_len = c->body.len;
        q->reply = copy_text(c->reply);
        asset_request(h->shard, q);
    } else if (!meta_is_leader(c->js)) {
        if (a == NULL) {
            api_hold(c->js, c->request, row->type, true);
        }
    } else if (a == NULL && !check_body(c, row, &error)) {
        js_reply_error(c->js, c->account, c->reply, row->type, &error);
    } else if (a == NULL && row->asset_verb == ASSET_CONSUMER_LIST && js_is_clustered(c->js)) {
        json_t *o = js_response(row->type); /* as nats-server's clusters */
        json_put(o, "consumers", cut_page(json_array(), 0, 256, o));
        js_reply(c->js, c->account, c->reply, o);
    } else if (a == NULL) {
        refuse(c, JS_STREAM_NOT_FOUND);
    } else if (!is_anybody_there(c, a)) {
        refuse(c, JS_NOT_AVAILABLE);
    }
}

/* Is the request acceptable before it is looked at? *err: why not. */
static bool is_well_formed(const struct api_call *c, const struct api_row *row, enum js_err *err)
{
    struct bytes level;
    uint64_t required;
    if (header_find(c->header, "Nats-Required-Api-Level", &level) &&
        (!bytes_to_u64(level, &required) || required > JETSTREAM_API_LEVEL)) {
        *err = JS_REQUIRED_LEVEL;
        return false;
    }
    *err = JS_NOT_EMPTY_REQUEST;
    return !row->empty_body || fields_text_is_empty(c->body);
}

/* Splits what follows the verb. False when the token count is wrong: no answer. */
static bool split_tokens(struct api_call *c, struct bytes rest, const struct api_row *row)
{
    while (rest.ptr != NULL && c->token_count < 2 &&
           bytes_token(&rest, '.', &c->tokens[c->token_count])) {
        c->token_count++;
    }
    c->rest = rest;
    unsigned count = c->token_count + (rest.ptr == NULL ? 0 : subject_token_count(rest));
    return count >= row->tokens_min && count <= row->tokens_max;
}

static bool has_verb(struct bytes subject, const char *verb, struct bytes *rest)
{
    struct bytes v = bytes_of(verb);
    if (!bytes_starts(subject, v) || (subject.len > v.len && subject.ptr[v.len] != '.')) {
        return false;
    }
    *rest = subject.len > v.len ? bytes_skip(subject, v.len + 1) : BYTES_NONE;
    return true;
}

/* For the meta leader: by this server, or held until there is one that may be asked. */
static bool is_mine(struct api_call *c, bool changes)
{
    if (meta_is_leader(c->js)) {
        return true;
    }
    if (meta_is_leaderless(c->js)) {
        refuse(c, JS_NOT_AVAILABLE);
    } else {
        api_hold(c->js, c->request, c->type, changes);
    }
    return false;
}

/* Otherwise one server says so. */
static bool is_enabled(struct api_call *c)
{
    bool enabled = atomic_load(&c->account->jetstream);
    if (!enabled && is_mine(c, false)) {
        refuse(c, JS_NOT_ENABLED_FOR_ACCOUNT);
    }
    return enabled;
}

static void run_row(struct api_call *c, const struct api_row *row)
{
    enum js_err err;
    bool of_system = row->system && c->account->is_system; /* which has no JetStream itself */
    if (!of_system && !is_enabled(c)) {
        return;
    }
    if (!is_well_formed(c, row, &err)) { /* one server says so */
        if (is_mine(c, false)) {
            refuse(c, err);
        }
    } else if (row->system && !c->account->is_system) {
        if (is_mine(c, false)) {
            struct js_error error;
            (void)js_failf(&error, JS_BAD_REQUEST, "only the system account may ask for that");
            js_reply_error(c->js, c->account, c->reply, c->type, &error);
        }
    } else if (row->who == STREAM_LEADER) {
        to_stream(c, row);
    } else if (is_mine(c, row->changes)) {
        row->run(c);
    }
}

static void dispatch(struct api_call *c, struct bytes subject)
{
    struct bytes rest;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (has_verb(subject, rows[i].verb, &rest)) {
            c->type = rows[i].type;
            if (split_tokens(c, rest, &rows[i])) {
                run_row(c, &rows[i]);
            }
            return;
        }
    }
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        if (has_verb(subject, missing[i].verb, &rest)) {
            struct js_error error;
            c->type = missing[i].type;
            if (is_enabled(c) && is_mine(c, false)) {
                (void)js_unsupported(&error, missing[i].verb);
                js_reply_error(c->js, c->account, c->reply, c->type, &error);
            }
            return;
        }
    }
}

void api_answer(struct jetstream *js, const struct api_request *r)
{
    struct api_call c = {.js = js,
                         .account = r->account,
                         .body = bytes_skip(r->payload, r->header_len),
                         .header = bytes_make(r->payload.ptr, r->header_len),
                         .reply = r->reply,
                         .request = r};
    dispatch(&c, r->subject);
}

static void on_requests(void *arg, struct inbound_batch *batch)
{
    struct jetstream *js = arg;
    struct inbound m;
    while (inbound_next(batch, &m)) {
        if (js->stopping) {
            continue;
        }
        const struct api_request r = {.account = inbound_account(batch),
                                      .subject = bytes_skip(m.subject, sizeof "$JS.API." - 1),
                                      .reply = m.reply,
                                      .payload = m.payload,
                                      .header_len = m.header_len};
        api_answer(js, &r);
    }
}

/* What is subscribed to: all verbs of both tables are in here, no others that anybody knows. */
static const char *const groups[] = {"INFO",
                                     "STREAM.>",
                                     "CONSUMER.CREATE.>",
                                     "CONSUMER.DURABLE.>",
                                     "CONSUMER.DELETE.>",
                                     "CONSUMER.INFO.>",
                                     "CONSUMER.NAMES.>",
                                     "CONSUMER.LIST.>",
                                     "CONSUMER.PAUSE.>",
                                     "CONSUMER.UNPIN.>",
                                     "CONSUMER.RESET.>",
                                     "CONSUMER.LEADER.>",
                                     "CONSUMER.PEER.>",
                                     "META.>",
                                     "SERVER.>",
                                     "ACCOUNT.>"};

static_assert(sizeof groups / sizeof groups[0] == API_GROUPS, "struct api_sub has as many");

static bool is_subscribed(const char *verb)
{
    struct buffer longer = {0};
    bool found = false;
    buffer_printf(&longer, "%s.x", verb);
    for (unsigned i = 0; i < API_GROUPS; i++) {
        found = found || strcmp(groups[i], verb) == 0 ||
                subject_matches(bytes_of(groups[i]), buffer_bytes(&longer));
    }
    buffer_deinit(&longer);
    return found;
}

void api_subscribe(struct jetstream *js, struct api_sub *s)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK(is_subscribed(rows[i].verb));
    }
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        CHECK(is_subscribed(missing[i].verb));
    }
    for (unsigned i = 0; i < API_GROUPS; i++) { /* one's requests come in their order */
        struct buffer subject = {0};
        buffer_printf(&subject, "$JS.API.%s", groups[i]);
        s->subs[i] = i > 0 ? broker_subscribe_with(s->subs[0], buffer_bytes(&subject))
                           : broker_subscribe(js->broker, s->account, buffer_bytes(&subject),
                                              BYTES_NONE, loops_at(js->loops, 0), on_requests, js);
        buffer_deinit(&subject);
    }
}

struct internal_sub *api_subscribe_system(struct jetstream *js)
{
    return broker_subscribe(js->broker, broker_system_account(js->broker),
                            BYTES_LIT("$JS.API.SERVER.ADMIT"), BYTES_NONE, loops_at(js->loops, 0),
                            on_requests, js);
}

void api_unsubscribe(struct jetstream *js, struct api_sub *s)
{
    for (unsigned i = 0; i < API_GROUPS; i++) {
        broker_unsubscribe(js->broker, s->subs[i]);
    }
}
