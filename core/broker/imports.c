/* Messages between accounts. NATS client protocol §13.
 *
 *   request:  published in B → matches the entry of a service import (SUB_SERVICE) → routed in A
 *             under A's subject, with a reply of ours ("_R_.<ours>.<one use>") and a header that
 *             says who asks
 *   response: published in A to that reply → matches the one entry that A has for all of them
 *             (SUB_REPLIES), also when it comes over a route → routed in B to the real reply
 *   stream:   a subscription in B has shadows (SUB_SHADOW) in the accounts it imports from
 *
 * Any loop. Replies that are waited for are kept under a lock per exporting account; they go with
 * the first answer (singleton), an empty one (the other types), or when nothing came for too
 * long. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/broker/client_internal.h"

#define WAITING_MAX (1u << 20) /* replies one account waits for */
#define PREFIX      "_R_."
#define TOKEN_LEN   6
#define PREFIX_LEN  (sizeof PREFIX - 1 + TOKEN_LEN + 1) /* "_R_.abcdef." */

struct response {
    struct account *importer; /* borrowed */
    enum response_type type;
    int64_t threshold_ns;
    int64_t expires_ns;             /* monotonic */
    struct response *older, *newer; /* by creation */
    size_t reply_len;
    char reply[]; /* the requester's */
};

struct responses {
    struct interest_entry entry; /* first: the index hands out pointers to it */
    struct broker *broker;
    struct account *account;
    pthread_mutex_t lock;
    struct map waiting; /* token → struct response, owned; lock */
    struct response *oldest, *newest;
    char subject[PREFIX_LEN + 2];
};

/* --- waiting replies --- */

static struct responses *responses_new(struct broker *b, struct account *account)
{
    char token[TOKEN_LEN + 1];
    struct responses *r = NEW(struct responses);
    random_base62(token, TOKEN_LEN);
    (void)snprintf(r->subject, sizeof r->subject, PREFIX "%s.>", token);
    r->entry = (struct interest_entry){.text = r->subject,
                                       .subject_len = (uint32_t)strlen(r->subject),
                                       .weight = 1,
                                       .kind = SUB_REPLIES};
    r->broker = b;
    r->account = account;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

/* Made for the first request, and kept as long as the server. Nobody sees it before answers can
 * reach it, here and from the neighbours. */
static struct responses *responses_of(struct broker *b, struct account *account)
{
    pthread_mutex_lock(&b->responses_lock);
    struct responses *r = account->responses;
    if (r == NULL) {
        r = responses_new(b, account);
        interest_add(account->interest, &r->entry);
        broker_local_changed(b, account, &r->entry, +1);
        account->responses = r;
    }
    pthread_mutex_unlock(&b->responses_lock);
    return r;
}

/* Lock held. */
static void forget(struct responses *r, struct bytes token, struct response *response)
{
    *(response->older == NULL ? &r->oldest : &response->older->newer) = response->newer;
    *(response->newer == NULL ? &r->newest : &response->newer->older) = response->older;
    free(map_remove(&r->waiting, token));
}

/* Lock held. A few of the oldest that nobody answered; each new one pays for two. */
static void expire_some(struct responses *r, int64_t now)
{
    for (int i = 0; i < 2 && r->oldest != NULL && r->oldest->expires_ns < now; i++) {
        struct response *old = r->oldest;
        struct bytes token = bytes_make(old->reply + old->reply_len, TOKEN_LEN);
        forget(r, token, old);
    }
}

/* Fills `subject` with the reply under which the exporting account answers. False when too many are
 * waited for. */
static bool expect_response(struct responses *r, const struct service_import *import,
                            struct bytes reply, char subject[PREFIX_LEN + TOKEN_LEN + 1])
{
    char token[TOKEN_LEN + 1];
    int64_t now = clock_mono_ns();
    struct response *response = mem_alloc(sizeof *response + reply.len + TOKEN_LEN);
    *response = (struct response){.importer = import->importer,
                                  .type = import->response,
                                  .threshold_ns = import->threshold_ns,
                                  .expires_ns = time_after(now, import->threshold_ns),
                                  .reply_len = reply.len};
    memcpy(response->reply, reply.ptr, reply.len);
    pthread_mutex_lock(&r->lock);
    expire_some(r, now);
    bool room = r->waiting.count < WAITING_MAX;
    if (room) {
        do {
            random_base62(token, TOKEN_LEN);
        } while (map_get(&r->waiting, bytes_make(token, TOKEN_LEN)) != NULL);
        memcpy(response->reply + reply.len, token, TOKEN_LEN);
        (void)map_put(&r->waiting, bytes_make(token, TOKEN_LEN), response);
        response->older = r->newest;
        *(r->newest == NULL ? &r->oldest : &r->newest->newer) = response;
        r->newest = response;
    }
    pthread_mutex_unlock(&r->lock);
    if (!room) {
        free(response);
        return false;
    }
    memcpy(subject, r->subject, PREFIX_LEN);
    memcpy(subject + PREFIX_LEN, token, sizeof token);
    return true;
}

static void cancel_response(struct responses *r, const char *subject)
{
    struct bytes token = bytes_make(subject + PREFIX_LEN, TOKEN_LEN);
    pthread_mutex_lock(&r->lock);
    struct response *response = map_get(&r->waiting, token);
    if (response != NULL) {
        forget(r, token, response);
    }
    pthread_mutex_unlock(&r->lock);
}

void broker_free_responses(struct account *account)
{
    struct responses *r = account->responses;
    if (r == NULL) {
        return;
    }
    interest_remove(account->interest, &r->entry);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&r->waiting, &i)) != NULL;) {
        free(e->value);
    }
    map_deinit(&r->waiting);
    pthread_mutex_destroy(&r->lock);
    free(r);
    account->responses = NULL;
}

/* --- requests --- */

/* {"acc":"B","rtt":…}; what `share` adds, the exporter may know of who asks. */
static void describe_requester(struct buffer *out, const struct service_import *import,
                               const struct client *c)
{
    json_t *o = json_object();
    if (c != NULL && import->share) {
        json_put_time(o, "start", c->conn->start_ns);
        json_put_text(o, "host", c->conn->remote_host);
        json_put_u64(o, "id", c->conn->id);
    }
    json_put_text(o, "acc", import->importer->name);
    if (c != NULL && import->share) {
        const char *const names[] = {c->user == NULL ? NULL : c->user->name, c->name, c->lang,
                                     c->version};
        static const char *const keys[] = {"user", "name", "lang", "ver"};
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            if (names[i] != NULL && names[i][0] != '\0') {
                json_put_bytes(o, keys[i], bytes_of(names[i]));
            }
        }
    }
    if (c != NULL && c->rtt_ns > 0) {
        json_put_int(o, "rtt", c->rtt_ns);
    }
    if (c != NULL && import->share) {
        json_put_text(o, "server", c->broker->server_name);
        json_put_text(o, "kind", "Client");
        json_put_text(o, "client_type", "nats");
    }
    json_write(out, o, 0);
    json_decref(o);
}

/* Headers with one more line, and the body. Returns the headers' length. */
static uint32_t add_request_info(struct buffer *out, const struct message *m,
                                 const struct service_import *import, const struct client *c)
{
    if (m->header_len >= 2) { /* without the empty line at the end */
        buffer_append(out, m->payload.ptr, m->header_len - 2);
    } else {
        buffer_append_text(out, "NATS/1.0\r\n");
    }
    buffer_append_text(out, REQUEST_INFO_HEADER ": ");
    describe_requester(out, import, c);
    buffer_append_text(out, "\r\n\r\n");
    uint32_t header_len = (uint32_t)out->len;
    buffer_append_bytes(out, bytes_skip(m->payload, m->header_len));
    return header_len;
}

bool service_import_deliver(struct broker *b, struct interest_entry *entry, const struct message *m,
                            const struct routing *routing)
{
    struct service_import *import = (struct service_import *)entry;
    if (routing->from_link) {
        return false; /* the server where the request was published imports it */
    }
    if (UNLIKELY(origin_is_request(m->reply))) {
        return false; /* the answer would be a request */
    }
    struct buffer subject = {0}, payload = {0};
    char reply[PREFIX_LEN + TOKEN_LEN + 1];
    struct responses *responses = NULL;
    transform_apply(import->transform, m->subject, NULL, &subject);
    struct message request = {.subject = buffer_bytes(&subject)};
    if (m->reply.ptr != NULL) {
        responses = responses_of(b, import->exporter);
        if (!expect_response(responses, import, m->reply, reply)) {
            buffer_deinit(&subject);
            return false;
        }
        request.reply = bytes_of(reply);
    }
    request.header_len = add_request_info(&payload, m, import, routing->requester);
    request.payload = buffer_bytes(&payload);
    struct routing onward = {.source = routing->source,
                             .requester = routing->requester,
                             .echoes = true,
                             .origin = routing->origin,
                             .outer = routing};
    bool taken = route_message(b, import->exporter, &request, &onward) > 0;
    if (!taken && responses != NULL) {
        cancel_response(responses, reply);
    }
    buffer_deinit(&subject);
    buffer_deinit(&payload);
    return taken;
}

/* --- responses --- */

bool responses_deliver(struct interest_entry *entry, const struct message *m,
                       const struct routing *routing)
{
    struct responses *r = (struct responses *)entry;
    struct bytes token = bytes_skip(m->subject, PREFIX_LEN);
    if (token.len != TOKEN_LEN) {
        return false;
    }
    struct buffer reply = {0};
    struct account *importer = NULL;
    pthread_mutex_lock(&r->lock);
    struct response *response = map_get(&r->waiting, token);
    if (response != NULL) {
        importer = response->importer;
        buffer_append(&reply, response->reply, response->reply_len);
        bool last = response->type == RESPONSE_SINGLETON || m->payload.len == 0;
        if (last) {
            forget(r, token, response);
        } else {
            response->expires_ns = time_after(clock_mono_ns(), response->threshold_ns);
        }
    }
    pthread_mutex_unlock(&r->lock);
    if (importer == NULL) {
        return false;
    }
    struct message answer = {.subject = buffer_bytes(&reply),
                             .shown = m->shown,
                             .reply = m->reply,
                             .payload = m->payload,
                             .header_len = m->header_len,
                             .size_text = m->size_text};
    /* Nobody who may publish to the requester's reply has done so, whoever answers. */
    struct routing onward = {
        .source = routing->source, .echoes = true, .origin = ORIGIN_REPLY, .outer = routing};
    bool taken = route_message(r->broker, importer, &answer, &onward) > 0;
    buffer_deinit(&reply);
    return taken;
}

bool responses_wanted(const struct interest_entry *entry, struct bytes subject)
{
    struct responses *r = (struct responses *)(uintptr_t)entry;
    struct buffer reply = {0};
    struct account *importer = NULL;
    pthread_mutex_lock(&r->lock);
    struct response *response = map_get(&r->waiting, bytes_skip(subject, PREFIX_LEN));
    if (response != NULL) {
        importer = response->importer;
        buffer_append(&reply, response->reply, response->reply_len);
    }
    pthread_mutex_unlock(&r->lock);
    bool wanted = importer != NULL && broker_has_interest(importer, buffer_bytes(&reply));
    buffer_deinit(&reply);
    return wanted;
}

/* --- shadows --- */

struct shadow {
    struct interest_entry entry;  /* first: the index hands out pointers to it */
    struct subscription *of;      /* borrowed: outlives its shadows by a turn */
    struct stream_import *import; /* borrowed: a reload remakes shadows before it frees imports */
    struct shadow *next;
    char text[]; /* subject and queue */
};

void shadows_add(struct client *c, struct subscription *sub)
{
    struct imports *imports = atomic_load_explicit(&c->account->imports, memory_order_acquire);
    for (uint32_t i = 0; imports != NULL && i < imports->stream_count; i++) {
        struct stream_import *import = &imports->streams[i];
        struct buffer subject = {0};
        if (!stream_import_subject(import, interest_subject(&sub->entry), &subject)) {
            continue;
        }
        struct bytes queue = interest_queue(&sub->entry);
        struct shadow *s = mem_zalloc(sizeof *s + subject.len + queue.len);
        interest_entry_init(&s->entry, s->text, buffer_bytes(&subject), queue, SUB_SHADOW);
        s->of = sub;
        s->import = import;
        s->next = sub->shadows;
        sub->shadows = s;
        interest_add(import->exporter->interest, &s->entry);
        broker_local_changed(c->broker, import->exporter, &s->entry, +1);
        buffer_deinit(&subject);
    }
}

void shadows_drop(struct client *c, struct subscription *sub)
{
    while (sub->shadows != NULL) {
        struct shadow *s = sub->shadows;
        sub->shadows = s->next;
        interest_remove(s->import->exporter->interest, &s->entry);
        broker_local_changed(c->broker, s->import->exporter, &s->entry, -1);
        loop_retire(free, s);
    }
}

struct subscription *shadow_of(struct interest_entry *entry)
{
    return ((struct shadow *)entry)->of;
}

bool shadow_deliver(struct interest_entry *entry, const struct message *m,
                    const struct routing *routing, size_t *pending)
{
    struct shadow *s = (struct shadow *)entry;
    if (UNLIKELY(routing_has_passed(routing->outer, s->import->importer))) {
        return false; /* it came from there, where the subscription itself has it */
    }
    struct buffer local = {0};
    struct message here = *m;
    transform_apply(s->import->transform, m->subject, NULL, &local);
    here.subject = buffer_bytes(&local);
    here.shown = BYTES_NONE;
    bool taken = client_deliver(s->of, &here, pending);
    buffer_deinit(&local);
    return taken;
}

/* --- configuration --- */

static void exchange_free(void *arg)
{
    struct old_exchange *old = arg;
    while (old != NULL) {
        struct old_exchange *next = old->next;
        imports_free(old->imports);
        mappings_free(old->mappings);
        free(old);
        old = next;
    }
}

void broker_retire_exchange(struct broker *b)
{
    loop_retire(exchange_free, b->old_exchange);
    b->old_exchange = NULL;
}

static void replace_imports(struct account *account, struct imports *now, struct old_exchange *old)
{
    struct imports *before = atomic_load(&account->imports);
    if (imports_equal(before, now)) {
        imports_free(now);
        return;
    }
    for (uint32_t i = 0; before != NULL && i < before->service_count; i++) {
        interest_remove(account->interest, &before->services[i].entry);
    }
    for (uint32_t i = 0; now != NULL && i < now->service_count; i++) {
        interest_add(account->interest, &now->services[i].entry);
    }
    atomic_store_explicit(&account->imports, now, memory_order_release);
    old->imports = before;
}

void broker_exchange_changed(struct broker *b, const struct options *options)
{
    struct account **list = accounts_list(b->accounts);
    for (uint32_t i = 0; list[i] != NULL; i++) {
        struct account *a = list[i];
        const struct account_options *o = options_find_account(options, bytes_of(a->name));
        struct old_exchange *old = NEW(struct old_exchange);
        old->next = b->old_exchange;
        b->old_exchange = old;
        old->mappings = atomic_exchange(&a->mappings,
                                        o == NULL ? NULL : mappings_new(o, options->cluster.name));
        replace_imports(a, imports_new(b->accounts, a, options, SUB_SERVICE), old);
    }
    free(list);
}

void broker_exchange_end(struct broker *b)
{
    exchange_free(b->old_exchange);
    struct account **list = accounts_list(b->accounts);
    for (uint32_t i = 0; list[i] != NULL; i++) {
        struct imports *imports = atomic_load(&list[i]->imports);
        for (uint32_t k = 0; imports != NULL && k < imports->service_count; k++) {
            interest_remove(list[i]->interest, &imports->services[k].entry);
        }
        broker_free_responses(list[i]);
    }
    free(list);
}
