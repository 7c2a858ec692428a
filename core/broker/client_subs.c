/* A client's subscriptions, and delivery to them. client_deliver() runs on any loop, under the
 * connection's outbox lock; everything else on the client's loop. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/broker/client_internal.h"
#include "core/subject/subject.h"

/* --- subscriptions --- */

static struct bytes sid_of(const void *item, uint32_t context)
{
    (void)context;
    return subscription_sid(item);
}

static struct subscription *find_subscription(const struct client *c, struct bytes sid)
{
    return table_get(&c->subs, sid, sid_of, 0);
}

/* Out of every index; the caller takes it out of the client's own map. */
static void retire_subscription(struct client *c, struct subscription *sub)
{
    pthread_mutex_lock(&c->conn->lock);
    sub->dead = true;
    pthread_mutex_unlock(&c->conn->lock);
    interest_remove(c->account->interest, &sub->entry);
    shadows_drop(c, sub);
    broker_local_changed(c->broker, c->account, &sub->entry, -1);
    loop_retire(free, sub);
}

static void remove_subscription(struct client *c, struct subscription *sub)
{
    (void)table_remove(&c->subs, subscription_sid(sub), sid_of, 0);
    retire_subscription(c, sub);
}

void client_drop_subscriptions(struct client *c)
{
    struct subscription *sub;
    for (uint32_t i = 0; (sub = table_next(&c->subs, &i)) != NULL;) {
        retire_subscription(c, sub);
    }
    table_clear(&c->subs);
}

void client_drop_forbidden_subscriptions(struct client *c)
{
    struct subscription **forbidden = NULL;
    uint32_t count = 0, cap = 0;
    struct subscription *sub;
    for (uint32_t i = 0; (sub = table_next(&c->subs, &i)) != NULL;) {
        if (!permissions_subscribe(client_permissions(c), interest_subject(&sub->entry),
                                   interest_queue(&sub->entry))) {
            VEC_RESERVE(forbidden, cap, count);
            forbidden[count++] = sub;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct buffer text = {0};
        buffer_printf(&text, "Permissions Violation for Subscription to \"%.*s\" (sid \"%.*s\")",
                      BYTES_ARG(interest_subject(&forbidden[i]->entry)),
                      BYTES_ARG(subscription_sid(forbidden[i])));
        buffer_append_char(&text, '\0');
        client_send_err(c, text.data);
        buffer_deinit(&text);
        remove_subscription(c, forbidden[i]);
    }
    free(forbidden);
}

void client_remake_shadows(struct client *c)
{
    struct subscription *sub;
    for (uint32_t i = 0; (sub = table_next(&c->subs, &i)) != NULL;) {
        shadows_drop(c, sub);
        shadows_add(c, sub);
    }
}

/* A subscription has reached its UNSUB max on some loop: the owner removes it. Looked up again by
 * sid, because it may be gone, or another one, by then. */
struct expired_sub {
    struct conn *conn; /* counted */
    size_t len;
    char sid[];
};

static void expire_task(void *arg)
{
    struct expired_sub *expired = arg;
    if (!expired->conn->closed) {
        struct client *c = expired->conn->owner;
        struct subscription *sub = find_subscription(c, bytes_make(expired->sid, expired->len));
        pthread_mutex_lock(&expired->conn->lock);
        bool reached = sub != NULL && sub->max > 0 && sub->delivered >= sub->max;
        pthread_mutex_unlock(&expired->conn->lock);
        if (reached) {
            remove_subscription(c, sub);
        }
    }
    conn_release(expired->conn);
    free(expired);
}

static void expire_soon(struct subscription *sub)
{
    struct conn *conn = sub->client->conn;
    struct bytes sid = subscription_sid(sub);
    struct expired_sub *expired = mem_alloc(sizeof *expired + sid.len);
    expired->conn = conn_retain(conn);
    expired->len = sid.len;
    memcpy(expired->sid, sid.ptr, sid.len);
    loop_post(conn->loop, expire_task, expired);
}

/* To the byte: there are millions of them. */
static struct subscription *subscription_new(struct client *c, const struct proto_op *op)
{
    size_t text_len = op->subject.len + op->queue.len + op->sid.len;
    size_t size = offsetof(struct subscription, text) + text_len;
    struct subscription *sub = mem_zalloc(size < sizeof *sub ? sizeof *sub : size);
    sub->client = c;
    sub->sid_len = (uint32_t)op->sid.len;
    interest_entry_init(&sub->entry, sub->text, op->subject, op->queue, SUB_CLIENT);
    memcpy(sub->text + op->subject.len + op->queue.len, op->sid.ptr, op->sid.len);
    return sub;
}

void client_on_sub(struct client *c, const struct proto_op *op)
{
    if (op->queue.ptr != NULL && bytes_is(op->queue, "_sys_")) {
        client_violation(c, "Subscription to", op->subject, op->queue);
        return;
    }
    int64_t max_tokens = broker_options(c->broker)->max_sub_tokens;
    if (max_tokens > 0 && subject_token_count(op->subject) > max_tokens) {
        struct buffer text = {0};
        buffer_printf(&text,
                      "Permissions Violation for Subscription to \"%.*s\", too many tokens%c",
                      BYTES_ARG(op->subject), '\0');
        client_send_err(c, text.data);
        buffer_deinit(&text);
        return;
    }
    if (!permissions_subscribe(client_permissions(c), op->subject, op->queue)) {
        log_error("%s - Subscription Violation - Subject \"%.*s\", SID %.*s", client_prefix(c).text,
                  BYTES_ARG(op->subject), BYTES_ARG(op->sid));
        client_violation(c, "Subscription to", op->subject, op->queue);
        return;
    }
    int64_t of_account = atomic_load(&c->account->max_subscriptions);
    int64_t max = of_account >= 0 ? of_account : broker_options(c->broker)->max_subscriptions;
    if ((max > 0 || of_account == 0) && c->subs.count >= (uint64_t)max) {
        client_send_err(c, "maximum subscriptions exceeded");
        return;
    }
    if (find_subscription(c, op->sid) ==
        NULL) { /* else the first one stays, and this says nothing */
        if (!subject_is_valid(op->subject)) {
            client_send_err(c, "Invalid Subject");
            return;
        }
        struct subscription *sub = subscription_new(c, op);
        table_add(&c->subs, sub, sid_of, 0);
        interest_add(c->account->interest, &sub->entry);
        broker_local_changed(c->broker, c->account, &sub->entry, +1);
        shadows_add(c, sub);
    }
    client_send_ok(c);
}

void client_on_unsub(struct client *c, const struct proto_op *op)
{
    struct subscription *sub = find_subscription(c, op->sid);
    if (sub != NULL) {
        uint64_t max = 0;
        if (!bytes_to_u64(op->max, &max)) {
            max = 0;
        }
        pthread_mutex_lock(&c->conn->lock);
        bool later = max > sub->delivered;
        sub->max = later ? max : 0;
        pthread_mutex_unlock(&c->conn->lock);
        if (!later) {
            remove_subscription(c, sub);
        }
    }
    client_send_ok(c);
}

/* --- encoding --- */

static char *put(char *p, struct bytes b)
{
    memcpy(p, b.ptr, b.len);
    return p + b.len;
}

static size_t print_u32(char *end, uint32_t v)
{
    size_t n = 0;
    do {
        *--end = (char)('0' + v % 10);
        v /= 10;
        n++;
    } while (v > 0);
    return n;
}

/* --- allow_responses --- */

/* The right to answer one request; under the outbox lock, because requests are delivered by any
 * loop. */
struct reply_right {
    int64_t left;       /* answers; < 0: without limit */
    int64_t expires_ns; /* monotonic */
};
#define REPLY_RIGHTS_MAX 65536
#define REPLY_PRUNE_STEP 1024

static void prune_replies(struct map *replies, int64_t now)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(replies, &i)) != NULL;) {
        const struct reply_right *right = e->value;
        if (right->expires_ns < now) {
            free(map_remove(replies, e->key));
        }
    }
}

/* Outbox lock held. */
static void grant_reply(struct client *c, struct bytes reply, int64_t max, int64_t expires_ns)
{
    int64_t now = clock_mono_ns();
    if (c->replies.count > 0 && c->replies.count % REPLY_PRUNE_STEP == 0) {
        prune_replies(&c->replies, now);
    }
    struct reply_right *right = map_get(&c->replies, reply);
    if (right == NULL) {
        if (c->replies.count >= REPLY_RIGHTS_MAX) {
            return; /* the client cannot answer this one: it lets tens of thousands wait */
        }
        right = NEW(struct reply_right);
        (void)map_put(&c->replies, reply, right);
    }
    *right = (struct reply_right){max, expires_ns < 0 ? INT64_MAX : time_after(now, expires_ns)};
}

bool client_may_reply(struct client *c, struct bytes subject)
{
    int64_t max, expires_ns;
    if (!permissions_responses(client_permissions(c), &max, &expires_ns)) {
        return false;
    }
    pthread_mutex_lock(&c->conn->lock);
    struct reply_right *right = map_get(&c->replies, subject);
    bool may = right != NULL && right->expires_ns >= clock_mono_ns();
    if (right != NULL && (!may || right->left == 1)) {
        free(map_remove(&c->replies, subject));
    } else if (may && right->left > 0) {
        right->left--;
    }
    pthread_mutex_unlock(&c->conn->lock);
    return may;
}

void client_forget_replies(struct client *c)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&c->replies, &i)) != NULL;) {
        free(e->value);
    }
    map_deinit(&c->replies);
}

/* --- delivery, any loop --- */

/* no_fast_producer_stall: who is that far behind loses messages instead of slowing others. */
static bool must_drop(const struct client *c)
{
    const struct conn *conn = c->conn;
    return UNLIKELY(conn->pending > CONN_STALL_BYTES) &&
           broker_options(c->broker)->no_producer_stall &&
           conn->pending > conn->max_pending / 4 * 3;
}

bool client_deliver(struct subscription *sub, const struct message *m, size_t *pending)
{
    struct client *c = sub->client;
    struct conn *conn = c->conn;
    const struct permissions *permissions = client_permissions(c);
    if (UNLIKELY(permissions_filter(permissions)) &&
        !permissions_deliver(permissions, m->subject, interest_queue(&sub->entry))) {
        return false;
    }
    int64_t answers = 0, answer_ns = 0;
    bool grants = UNLIKELY(permissions != NULL) && m->reply.ptr != NULL &&
                  permissions_responses(permissions, &answers, &answer_ns) &&
                  !permissions_publish(permissions, m->reply) && !origin_is_request(m->reply);
    struct bytes subject = m->shown.ptr != NULL ? m->shown : m->subject;
    struct bytes sid = subscription_sid(sub);
    struct bytes payload = m->payload;
    NOT_CLEARED char size_digits[10], header_digits[10];
    struct bytes size = m->size_text;
    struct bytes header_size = BYTES_NONE;
    if (m->header_len > 0 && !c->headers) { /* it did not negotiate headers: cut them off */
        payload = bytes_skip(payload, m->header_len);
        size = BYTES_NONE;
    } else if (m->header_len > 0) {
        size_t n = print_u32(header_digits + sizeof header_digits, m->header_len);
        header_size = bytes_make(header_digits + sizeof header_digits - n, n);
    }
    if (size.ptr == NULL) {
        size_t n = print_u32(size_digits + sizeof size_digits, (uint32_t)payload.len);
        size = bytes_make(size_digits + sizeof size_digits - n, n);
    }
    size_t line = 4 + subject.len + 1 + sid.len + 1 + size.len + 2;
    line += m->reply.ptr != NULL ? m->reply.len + 1 : 0;
    line += header_size.ptr != NULL ? header_size.len + 2 : 0;
    char *p = conn_begin(conn, line + payload.len + 2);
    if (p == NULL) {
        return false;
    }
    /* The lock is held: `dead`, `max` and `delivered` stand still. */
    if (UNLIKELY(sub->dead || (sub->max > 0 && sub->delivered >= sub->max) || must_drop(c))) {
        conn_cancel(conn, line + payload.len + 2);
        return false;
    }
    sub->delivered++;
    bool expires = sub->max > 0 && sub->delivered >= sub->max;
    if (UNLIKELY(grants)) {
        grant_reply(c, m->reply, answers, answer_ns);
    }
    p = put(p, header_size.ptr != NULL ? BYTES_LIT("HMSG ") : BYTES_LIT("MSG "));
    p = put(p, subject);
    *p++ = ' ';
    p = put(p, sid);
    *p++ = ' ';
    if (m->reply.ptr != NULL) {
        p = put(p, m->reply);
        *p++ = ' ';
    }
    if (header_size.ptr != NULL) {
        p = put(p, header_size);
        *p++ = ' ';
    }
    p = put(p, size);
    *p++ = '\r';
    *p++ = '\n';
    if (payload.len > 0) {
        p = put(p, payload);
    }
    *p++ = '\r';
    *p++ = '\n';
    if (UNLIKELY(log_enabled(LOG_TRC))) {
        size_t len = line + payload.len + 2;
        client_trace_message(c, bytes_make(p - len, len), payload,
                             header_size.ptr != NULL ? m->header_len : 0);
    }
    *pending = conn_end(conn, 1, payload.len);
    struct broker_loop *here = broker_here(c->broker);
    count(&here->out_msgs, 1);
    count(&here->out_bytes, payload.len);
    count(&here->client_out_msgs, 1);
    count(&here->client_out_bytes, payload.len);
    if (UNLIKELY(expires)) {
        expire_soon(sub);
    }
    return true;
}
