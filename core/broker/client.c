/* A client's session.
 *
 *   accept → INFO → CONNECT → (bcrypt in the work pool) → READY → operations → close
 *
 * Without required credentials operations are accepted before CONNECT. Everything here runs on the
 * client's loop, except client_deliver(), which any loop calls under the outbox lock.
 *
 * Ways to fail: the authentication timer, a parser status, a limit, a refused CONNECT — all end in
 * client_close() with an -ERR text where the protocol has one, and a reason. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/broker/broker_internal.h"
#include "core/subject/subject.h"

#define PUBLISH_CACHE_MAX 256
#define STALL_MAX_MS      10 /* NATS client protocol §7.5 */
#define HELD_MAX          (1u << 20)

/* --- log prefix and errors --- */

struct prefix {
    char text[256];
};

static struct prefix prefix(const struct client *c)
{
    struct prefix p;
    int n = snprintf(p.text, sizeof p.text, "%s:%d - cid:%llu", c->conn->remote_host,
                     c->conn->remote_port, (unsigned long long)c->conn->id);
    if (c->name != NULL || c->lang != NULL || c->version != NULL) {
        (void)snprintf(p.text + n, sizeof p.text - (size_t)n, " - \"%s%s%s%s%s%s\"",
                       c->version != NULL ? "v" : "", c->version != NULL ? c->version : "",
                       c->lang != NULL ? ":" : "", c->lang != NULL ? c->lang : "",
                       c->name != NULL ? ":" : "", c->name != NULL ? c->name : "");
    }
    return p;
}

static void send_err(struct client *c, const char *text)
{
    struct buffer line = {0};
    buffer_printf(&line, "-ERR '%s'\r\n", text);
    conn_write(c->conn, buffer_bytes(&line));
    buffer_deinit(&line);
}

static void send_ok(struct client *c)
{
    if (c->verbose) {
        conn_write(c->conn, BYTES_LIT("+OK\r\n"));
    }
}

static void fail(struct client *c, const char *text, enum close_reason reason)
{
    if (text != NULL) {
        log_error("%s - %s", prefix(c).text, text);
        send_err(c, text);
    }
    client_close(c, reason);
}

static void violation(struct client *c, const char *what, struct bytes subject, struct bytes queue)
{
    struct buffer text = {0};
    buffer_printf(&text, "Permissions Violation for %s \"%.*s\"", what, BYTES_ARG(subject));
    if (queue.ptr != NULL) {
        buffer_printf(&text, " using queue \"%.*s\"", BYTES_ARG(queue));
    }
    buffer_append_char(&text, '\0');
    send_err(c, text.data);
    buffer_deinit(&text);
}

/* --- subscriptions --- */

static void remove_subscription(struct client *c, struct subscription *sub)
{
    (void)map_remove(&c->subs, sub->sid);
    pthread_mutex_lock(&c->conn->lock);
    sub->dead = true;
    pthread_mutex_unlock(&c->conn->lock);
    interest_remove(c->account->interest, &sub->entry);
    broker_local_changed(c->broker, c->account, sub->entry.subject, sub->entry.queue, -1);
    loop_retire(free, sub);
}

static void remove_all_subscriptions(struct client *c)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&c->subs, &i)) != NULL;) {
        struct subscription *sub = e->value;
        pthread_mutex_lock(&c->conn->lock);
        sub->dead = true;
        pthread_mutex_unlock(&c->conn->lock);
        interest_remove(c->account->interest, &sub->entry);
        broker_local_changed(c->broker, c->account, sub->entry.subject, sub->entry.queue, -1);
        loop_retire(free, sub);
    }
    map_clear(&c->subs);
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
        struct subscription *sub = map_get(&c->subs, bytes_make(expired->sid, expired->len));
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
    struct expired_sub *expired = mem_alloc(sizeof *expired + sub->sid.len);
    expired->conn = conn_retain(conn);
    expired->len = sub->sid.len;
    memcpy(expired->sid, sub->sid.ptr, sub->sid.len);
    loop_post(conn->loop, expire_task, expired);
}

static void on_sub(struct client *c, const struct proto_op *op)
{
    if (op->queue.ptr != NULL && bytes_is(op->queue, "_sys_")) {
        violation(c, "Subscription to", op->subject, op->queue);
        return;
    }
    if (!subject_is_valid(op->subject)) {
        send_err(c, "Invalid Subject");
        return;
    }
    if (!permissions_subscribe(c->permissions, op->subject, op->queue)) {
        log_error("%s - Subscription Violation - Subject \"%.*s\", SID %.*s", prefix(c).text,
                  BYTES_ARG(op->subject), BYTES_ARG(op->sid));
        violation(c, "Subscription to", op->subject, op->queue);
        return;
    }
    int64_t max = c->broker->options->max_subscriptions;
    if (max > 0 && c->subs.count >= (uint64_t)max) {
        send_err(c, "maximum subscriptions exceeded");
        return;
    }
    if (map_get(&c->subs, op->sid) == NULL) {
        struct subscription *sub =
            mem_alloc(sizeof *sub + op->subject.len + op->queue.len + op->sid.len);
        *sub = (struct subscription){.client = c};
        char *p = sub->text;
        memcpy(p, op->subject.ptr, op->subject.len);
        sub->entry.subject = bytes_make(p, op->subject.len);
        p += op->subject.len;
        if (op->queue.ptr != NULL) {
            memcpy(p, op->queue.ptr, op->queue.len);
            sub->entry.queue = bytes_make(p, op->queue.len);
            p += op->queue.len;
        }
        memcpy(p, op->sid.ptr, op->sid.len);
        sub->sid = bytes_make(p, op->sid.len);
        sub->entry.weight = 1;
        sub->entry.kind = SUB_CLIENT;
        (void)map_put(&c->subs, op->sid, sub);
        interest_add(c->account->interest, &sub->entry);
        broker_local_changed(c->broker, c->account, sub->entry.subject, sub->entry.queue, +1);
    }
    send_ok(c);
}

static void on_unsub(struct client *c, const struct proto_op *op)
{
    struct subscription *sub = map_get(&c->subs, op->sid);
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
    send_ok(c);
}

/* --- delivery, any loop --- */

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

bool client_deliver(struct subscription *sub, const struct message *m, size_t *pending)
{
    struct client *c = sub->client;
    struct conn *conn = c->conn;
    if (UNLIKELY(permissions_filter(c->permissions)) &&
        !permissions_deliver(c->permissions, m->subject, sub->entry.queue)) {
        return false;
    }
    struct bytes subject = m->shown.ptr != NULL ? m->shown : m->subject;
    struct bytes payload = m->payload;
    char size_digits[10], header_digits[10];
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
    size_t line = 4 + subject.len + 1 + sub->sid.len + 1 + size.len + 2;
    line += m->reply.ptr != NULL ? m->reply.len + 1 : 0;
    line += header_size.ptr != NULL ? header_size.len + 2 : 0;
    char *p = conn_begin(conn, line + payload.len + 2);
    if (p == NULL) {
        return false;
    }
    /* The lock is held: `dead`, `max` and `delivered` stand still. */
    if (UNLIKELY(sub->dead || (sub->max > 0 && sub->delivered >= sub->max))) {
        conn_cancel(conn, line + payload.len + 2);
        return false;
    }
    sub->delivered++;
    bool expires = sub->max > 0 && sub->delivered >= sub->max;
    p = put(p, header_size.ptr != NULL ? BYTES_LIT("HMSG ") : BYTES_LIT("MSG "));
    p = put(p, subject);
    *p++ = ' ';
    p = put(p, sub->sid);
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

/* --- publishing --- */

static const char allowed_mark, denied_mark;

static bool may_publish(struct client *c, struct bytes subject)
{
    if (c->permissions == NULL) {
        return true;
    }
    const void *known = map_get(&c->publish_cache, subject);
    if (known == NULL) {
        if (c->publish_cache.count >= PUBLISH_CACHE_MAX) {
            map_clear(&c->publish_cache);
        }
        known = permissions_publish(c->permissions, subject) ? &allowed_mark : &denied_mark;
        (void)map_put(&c->publish_cache, subject, (void *)(uintptr_t)known);
    }
    return known == &allowed_mark;
}

static bool longer_and_starts(struct bytes text, struct bytes start)
{
    return text.len > start.len && bytes_starts(text, start);
}

/* Subjects that only servers may use. NATS client protocol §2.1. */
static bool is_reserved_subject(const struct client *c, struct bytes subject)
{
    if (LIKELY(subject.len == 0 || (subject.ptr[0] != '_' && subject.ptr[0] != '$'))) {
        return false;
    }
    return longer_and_starts(subject, BYTES_LIT("_GR_.")) ||
           longer_and_starts(subject, BYTES_LIT("$GR.")) ||
           (bytes_starts(subject, BYTES_LIT("$NRG.")) && !c->account->is_system);
}

static bool is_reserved_reply(struct bytes reply)
{
    if (LIKELY(reply.len == 0 || (reply.ptr[0] != '_' && reply.ptr[0] != '$'))) {
        return false;
    }
    return bytes_starts(reply, BYTES_LIT("_R_.")) ||
           longer_and_starts(reply, BYTES_LIT("$JS.ACK.")) ||
           longer_and_starts(reply, BYTES_LIT("_GR_.")) ||
           longer_and_starts(reply, BYTES_LIT("$GR."));
}

/* The 503: to the first plain subscription of this connection that matches the reply. */
static void send_no_responders(struct client *c, const struct proto_op *op)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&c->subs, &i)) != NULL;) {
        const struct subscription *sub = e->value;
        if (sub->entry.queue.ptr != NULL || !subject_matches(sub->entry.subject, op->reply)) {
            continue;
        }
        struct buffer text = {0};
        size_t len = 32 + op->subject.len;
        buffer_printf(&text,
                      "HMSG %.*s %.*s %zu %zu\r\nNATS/1.0 503\r\nNats-Subject: %.*s\r\n\r\n\r\n",
                      BYTES_ARG(op->reply), BYTES_ARG(sub->sid), len, len, BYTES_ARG(op->subject));
        conn_write(c->conn, buffer_bytes(&text));
        buffer_deinit(&text);
        return;
    }
}

static void on_pub(struct client *c, const struct proto_op *op)
{
    c->in_msgs++;
    c->in_bytes += op->payload.len;
    if (UNLIKELY(is_reserved_subject(c, op->subject) || !may_publish(c, op->subject))) {
        log_error("%s - Publish Violation - Subject \"%.*s\"", prefix(c).text,
                  BYTES_ARG(op->subject));
        violation(c, "Publish to", op->subject, BYTES_NONE);
        return;
    }
    if (UNLIKELY(is_reserved_reply(op->reply))) {
        log_error("%s - Publish Violation - Reply \"%.*s\"", prefix(c).text, BYTES_ARG(op->reply));
        violation(c, "Publish with Reply of", op->reply, BYTES_NONE);
        return;
    }
    if (UNLIKELY(c->pedantic && !subject_is_literal(op->subject))) {
        send_err(c, "Invalid Publish Subject");
    }
    send_ok(c);
    struct message m = {.subject = op->subject,
                        .reply = op->reply,
                        .payload = op->payload,
                        .header_len = op->header_len,
                        .size_text = op->size_text};
    struct routing routing = {.source = c};
    unsigned taken = route_message(c->broker, c->account, &m, &routing);
    if (UNLIKELY(taken == 0) && c->no_responders && op->reply.ptr != NULL) {
        send_no_responders(c, op);
    }
}

/* --- slowing producers --- */

static void resume_stalled(struct broker_loop *here)
{
    uint32_t n = here->stalled_count;
    here->stalled_count = 0;
    loop_timer_cancel(here->loop, &here->stall_timer);
    for (uint32_t i = 0; i < n; i++) {
        here->stalled[i]->stalled = false;
        conn_resume(here->stalled[i]->conn);
    }
}

static void on_stall_timer(void *arg)
{
    resume_stalled(arg);
}

void client_stall(struct client *c)
{
    struct broker_loop *here = c->home;
    VEC_RESERVE(here->stalled, here->stalled_cap, here->stalled_count);
    here->stalled[here->stalled_count++] = c;
    c->stalls++;
    count(&here->stalls, 1);
    conn_pause(c->conn);
    if (!loop_timer_armed(&here->stall_timer)) {
        loop_timer_arm(here->loop, &here->stall_timer, clock_mono_ns() + STALL_MAX_MS * NS_PER_MS,
                       on_stall_timer, here);
    }
}

static void forget_stalled(struct client *c)
{
    struct broker_loop *here = c->home;
    for (uint32_t i = 0; i < here->stalled_count; i++) {
        if (here->stalled[i] == c) {
            here->stalled[i] = here->stalled[--here->stalled_count];
            return;
        }
    }
}

/* --- timers --- */

static void arm_ping(struct client *c, int64_t after_ns);

static void on_ping_timer(void *arg)
{
    struct client *c = arg;
    const struct options *o = c->broker->options;
    int64_t now = clock_mono_ns();
    bool fresh_rtt = c->rtt_ns > 0 && now - c->ping_sent_ns < 3600 * NS_PER_SEC;
    bool active = clock_now_ns() - c->last_activity_ns < o->ping_interval_ns;
    if (!(fresh_rtt && active)) {
        if (c->pings_out + 1 > o->ping_max) {
            count(&c->home->stale, 1);
            fail(c, "Stale Connection", CLOSE_STALE);
            return;
        }
        c->pings_out++;
        c->ping_sent_ns = now;
        conn_write(c->conn, BYTES_LIT("PING\r\n"));
    }
    arm_ping(c, o->ping_interval_ns);
}

static void arm_ping(struct client *c, int64_t after_ns)
{
    int64_t jitter = (int64_t)random_below(loop_random(c->home->loop), (uint64_t)after_ns / 5 + 1);
    loop_timer_arm(c->home->loop, &c->timer, clock_mono_ns() + after_ns + jitter, on_ping_timer, c);
}

static void on_auth_timer(void *arg)
{
    struct client *c = arg;
    fail(c, "Authentication Timeout", CLOSE_AUTH_TIMEOUT);
}

/* --- INFO and CONNECT --- */

void client_send_info(struct client *c, bool connect_info)
{
    struct broker *b = c->broker;
    json_t *info = broker_identity_info(b);
    json_put_text(info, "host", b->options->host);
    json_put_int(info, "port", b->port);
    json_put_bool(info, "headers", true);
    if (auth_info_required(b->auth)) {
        json_put_bool(info, "auth_required", true);
    }
    json_put_int(info, "max_payload", b->options->max_payload);
    if (b->options->jetstream) {
        json_put_bool(info, "jetstream", true);
    }
    json_put_u64(info, "client_id", c->conn->id);
    json_put_text(info, "client_ip", c->conn->remote_host);
    if (b->options->cluster_port != 0) {
        json_put_text(info, "cluster",
                      b->options->cluster_name == NULL ? "" : b->options->cluster_name);
        if (!b->options->no_advertise) {
            json_t *urls = broker_own_urls(b);
            pthread_mutex_lock(&b->info_lock);
            (void)json_array_extend(urls, b->neighbour_urls);
            pthread_mutex_unlock(&b->info_lock);
            json_put(info, "connect_urls", urls);
        }
    }
    if (connect_info) {
        json_put_bool(info, "connect_info", true);
        json_put_text(info, "remote_account", c->account->name);
        if (c->account->is_system) {
            json_put_bool(info, "acc_is_sys", true);
        }
    }
    if (JETSTREAM_API_LEVEL > 0) {
        json_put_int(info, "api_lvl", JETSTREAM_API_LEVEL);
    }
    struct buffer line = {0};
    buffer_append_text(&line, "INFO ");
    json_write(&line, info, 0);
    buffer_append_text(&line, " \r\n");
    conn_write(c->conn, buffer_bytes(&line));
    buffer_deinit(&line);
    json_decref(info);
}

static void bind_user(struct client *c, const struct auth_user *user)
{
    struct account *account = user == NULL
                                  ? c->broker->global
                                  : accounts_get(c->broker->accounts, bytes_of(user->account));
    if (c->account != account) {
        atomic_fetch_sub(&c->account->connections, 1);
        atomic_fetch_add(&account->connections, 1);
    }
    c->account = account;
    c->user = user;
    c->permissions = user == NULL ? NULL : user->permissions;
    map_clear(&c->publish_cache);
}

static void refuse_login(struct client *c, struct bytes user)
{
    if (user.len > 0) {
        log_error("%s - authentication error - User \"%.*s\"", prefix(c).text, BYTES_ARG(user));
    } else {
        log_error("%s - authentication error", prefix(c).text);
    }
    send_err(c, "Authorization Violation");
    client_close(c, CLOSE_AUTH_FAILURE);
}

static void become_ready(struct client *c, const struct auth_user *user)
{
    bind_user(c, user);
    c->state = CLIENT_READY;
    int64_t first = c->broker->options->ping_interval_ns;
    arm_ping(c, first < 2 * NS_PER_SEC ? first : 2 * NS_PER_SEC);
    send_ok(c);
}

/* bcrypt takes milliseconds: it runs in the work pool, with its inputs along. */
struct bcrypt_work {
    uv_work_t work;
    struct conn *conn; /* counted */
    const struct auth_user *user;
    char *password;
    size_t password_len;
    bool equal;
};

static void process(struct client *c, const char *data, size_t len);

static void on_bcrypt_work(uv_work_t *work)
{
    struct bcrypt_work *w = work->data;
    w->equal = auth_check_bcrypt(w->user->password, bytes_make(w->password, w->password_len));
}

static void on_bcrypt_done(uv_work_t *work, int status)
{
    struct bcrypt_work *w = work->data;
    struct conn *conn = w->conn;
    loop_enter(conn->loop);
    if (!conn->closed) {
        struct client *c = conn->owner;
        struct buffer held = c->held;
        c->held = (struct buffer){0};
        if (status != 0 || !w->equal) {
            refuse_login(c, bytes_of(w->user->name));
        } else {
            become_ready(c, w->user);
            conn_resume(conn);
            process(c, held.data, held.len);
        }
        buffer_deinit(&held);
    }
    explicit_bzero(w->password, w->password_len);
    free(w->password);
    free(w);
    conn_release(conn);
}

static void verify_bcrypt(struct client *c, const struct auth_user *user, struct bytes password)
{
    struct bcrypt_work *w = NEW(struct bcrypt_work);
    w->work.data = w;
    w->conn = conn_retain(c->conn);
    w->user = user;
    w->password = mem_dup(password.ptr, password.len);
    w->password_len = password.len;
    c->state = CLIENT_VERIFYING;
    conn_pause(c->conn);
    CHECK(uv_queue_work(loop_uv(c->home->loop), &w->work, on_bcrypt_work, on_bcrypt_done) == 0);
}

static json_t *member_nocase(json_t *object, const char *key)
{
    json_t *exact = json_object_get(object, key);
    if (exact != NULL) {
        return exact;
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (strcasecmp(name, key) == 0) {
            return value;
        }
    }
    return NULL;
}

/* Reads a member of the right type into *field; false when it is there with a wrong type. */
static bool read_bool(json_t *o, const char *key, bool *field)
{
    json_t *v = member_nocase(o, key);
    if (v == NULL || json_is_null(v)) {
        return true;
    }
    *field = json_is_true(v);
    return json_is_boolean(v);
}

static bool read_text(json_t *o, const char *key, const char **field)
{
    json_t *v = member_nocase(o, key);
    if (v == NULL || json_is_null(v)) {
        return true;
    }
    *field = json_string_value(v);
    return json_is_string(v);
}

static void set_text(char **field, const char *value)
{
    free(*field);
    *field = value == NULL || *value == '\0' ? NULL : mem_dup(value, strnlen(value, 256));
}

static void on_connect_op(struct client *c, const struct proto_op *op)
{
    json_error_t reason;
    json_t *o = json_parse(op->args, &reason);
    const char *user = "", *pass = "", *token = "", *account = "", *nkey = "", *jwt = "";
    const char *name = NULL, *lang = NULL, *version = NULL;
    bool new_account = false;
    c->verbose = c->pedantic = c->echo = true;
    c->headers = c->no_responders = false;
    c->protocol = 0;
    bool well_formed = json_is_object(o) && read_bool(o, "verbose", &c->verbose) &&
                       read_bool(o, "pedantic", &c->pedantic) && read_bool(o, "echo", &c->echo) &&
                       read_bool(o, "headers", &c->headers) &&
                       read_bool(o, "no_responders", &c->no_responders) &&
                       read_bool(o, "new_account", &new_account) && read_text(o, "user", &user) &&
                       read_text(o, "pass", &pass) && read_text(o, "auth_token", &token) &&
                       read_text(o, "account", &account) && read_text(o, "nkey", &nkey) &&
                       read_text(o, "jwt", &jwt) && read_text(o, "name", &name) &&
                       read_text(o, "lang", &lang) && read_text(o, "version", &version);
    json_t *protocol = well_formed ? member_nocase(o, "protocol") : NULL;
    if (!well_formed || (protocol != NULL && !json_is_integer(protocol))) {
        json_decref(o);
        client_close(c, CLOSE_PARSE_ERROR);
        return;
    }
    c->protocol = (int)json_integer_value(protocol);
    c->parser.headers = c->headers;
    set_text(&c->name, name);
    set_text(&c->lang, lang);
    set_text(&c->version, version);
    remove_all_subscriptions(c); /* a second CONNECT starts over */
    if (c->protocol != 0 && c->protocol != 1) {
        fail(c, "invalid client protocol", CLOSE_BAD_PROTOCOL_VERSION);
    } else if (c->no_responders && !c->headers) {
        fail(c, "no responders requires headers support", CLOSE_NO_RESPONDERS_NEED_HEADERS);
    } else if (*account != '\0' || new_account) {
        refuse_login(c, bytes_of(user));
    } else {
        struct auth_credentials credentials = {bytes_of(user), bytes_of(pass), bytes_of(token)};
        const struct auth_user *who;
        switch (auth_check(c->broker->auth, &credentials, &who)) {
        case AUTH_OK:
            become_ready(c, who);
            break;
        case AUTH_REFUSED:
            refuse_login(c, credentials.user);
            break;
        case AUTH_NEEDS_BCRYPT:
            verify_bcrypt(c, who,
                          credentials.password.len > 0 ? credentials.password
                          : credentials.token.len > 0  ? credentials.token
                                                       : credentials.user);
            break;
        }
    }
    json_decref(o);
}

/* The first operation is not CONNECT: fine when nobody needs credentials, or there is a user for
 * those who have none. One admission function for all paths (GHSA-hmmp). */
static bool admit_without_connect(struct client *c)
{
    struct auth_credentials none = {0};
    const struct auth_user *who;
    if (auth_check(c->broker->auth, &none, &who) != AUTH_OK) {
        refuse_login(c, BYTES_NONE);
        return false;
    }
    bind_user(c, who);
    c->state = CLIENT_READY;
    arm_ping(c, c->broker->options->ping_interval_ns);
    return true;
}

static void on_ping(struct client *c)
{
    conn_write(c->conn, BYTES_LIT("PONG\r\n"));
    if (!c->got_first_pong) {
        c->got_first_pong = true;
        if (c->protocol >= 1) {
            client_send_info(c, true);
        }
    }
}

static void on_pong(struct client *c)
{
    c->pings_out = 0;
    if (c->ping_sent_ns > 0) {
        c->rtt_ns = clock_mono_ns() - c->ping_sent_ns;
    }
}

/* --- input --- */

static void on_op(struct client *c, const struct proto_op *op)
{
    switch (op->verb) {
    case VERB_PUB:
        on_pub(c, op);
        return;
    case VERB_SUB:
        on_sub(c, op);
        return;
    case VERB_UNSUB:
        on_unsub(c, op);
        return;
    case VERB_CONNECT:
        on_connect_op(c, op);
        return;
    case VERB_PING:
        on_ping(c);
        return;
    case VERB_PONG:
        on_pong(c);
        return;
    case VERB_OK:
    case VERB_INFO:
        return;
    case VERB_ERR:
        client_close(c, CLOSE_CLIENT);
        return;
    default:
        fail(c, "Unknown Protocol Operation", CLOSE_PROTOCOL_VIOLATION);
        return;
    }
}

static void on_bad_input(struct client *c, enum parser_status status)
{
    switch (status) {
    case PARSER_BAD_VERB:
        fail(c, "Unknown Protocol Operation", CLOSE_PARSE_ERROR);
        return;
    case PARSER_LINE_TOO_LONG:
        fail(c, "maximum control line exceeded", CLOSE_MAX_CONTROL_LINE);
        return;
    case PARSER_PAYLOAD_TOO_LARGE:
        fail(c, "Maximum Payload Violation", CLOSE_MAX_PAYLOAD);
        return;
    default:
        log_error("%s - Client parser ERROR", prefix(c).text);
        client_close(c, CLOSE_PARSE_ERROR);
        return;
    }
}

static void process(struct client *c, const char *data, size_t len)
{
    struct conn *conn = c->conn;
    const char *at = data;
    const char *end = data + len;
    uint64_t msgs = c->in_msgs;
    uint64_t bytes = c->in_bytes;
    struct broker_loop *here = c->home;
    struct proto_op op;
    enum parser_status status;
    c->last_activity_ns = clock_now_ns();
    c->stalled = false;
    while ((status = parser_next(&c->parser, &at, end, &op)) == PARSER_OP) {
        if (UNLIKELY(c->state == CLIENT_NEW) && op.verb != VERB_CONNECT && op.verb != VERB_PONG &&
            !admit_without_connect(c)) {
            return;
        }
        on_op(c, &op);
        if (UNLIKELY(conn->closed)) {
            return; /* `c` is gone */
        }
        if (UNLIKELY(c->state == CLIENT_VERIFYING)) {
            if ((size_t)(end - at) > HELD_MAX) {
                client_close(c, CLOSE_AUTH_FAILURE);
                return;
            }
            buffer_append(&c->held, at, (size_t)(end - at));
            return;
        }
    }
    count(&here->in_msgs, c->in_msgs - msgs);
    count(&here->in_bytes, c->in_bytes - bytes);
    count(&here->client_in_msgs, c->in_msgs - msgs);
    count(&here->client_in_bytes, c->in_bytes - bytes);
    if (status != PARSER_MORE) {
        on_bad_input(c, status);
    } else if (c->stalled) {
        client_stall(c);
    }
}

static void on_data(struct conn *conn, const char *data, size_t len)
{
    process(conn->owner, data, len);
}

/* --- life --- */

static void destroy(void *arg)
{
    struct client *c = arg;
    parser_deinit(&c->parser);
    buffer_deinit(&c->held);
    map_deinit(&c->publish_cache);
    map_deinit(&c->subs);
    free(c->name);
    free(c->lang);
    free(c->version);
    free(c);
}

static void on_close(struct conn *conn, enum close_reason reason)
{
    struct client *c = conn->owner;
    log_debug("%s - Client connection closed: %s", prefix(c).text, close_reason_text(reason));
    if (reason == CLOSE_SLOW_PENDING || reason == CLOSE_SLOW_DEADLINE) {
        log_info("%s - Slow Consumer Detected: %s", prefix(c).text, close_reason_text(reason));
        count(&c->home->slow_consumers, 1);
    }
    loop_timer_cancel(c->home->loop, &c->timer);
    forget_stalled(c);
    remove_all_subscriptions(c);
    atomic_fetch_sub(&c->account->connections, 1);
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        c->home->clients = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    atomic_fetch_sub(&c->home->connections, 1);
    conn_release(conn);
    loop_retire(destroy, c);
}

static const struct conn_ops client_ops = {on_data, on_close};

void client_close(struct client *c, enum close_reason reason)
{
    conn_close(c->conn, reason);
}

void client_open(struct broker *broker, int fd)
{
    struct broker_loop *home = broker_here(broker);
    if (atomic_load(&broker->shutting_down)) {
        (void)close(fd);
        return;
    }
    const struct options *o = broker->options;
    struct client *c = NEW(struct client);
    c->broker = broker;
    c->home = home;
    c->account = broker->global;
    c->verbose = c->pedantic = c->echo = true;
    c->conn = conn_open(home->loop, fd, broker_next_id(broker), &client_ops, c);
    c->conn->max_pending = (size_t)o->max_pending;
    c->conn->write_deadline_ns = o->write_deadline_ns;
    c->last_activity_ns = clock_now_ns();
    parser_init(&c->parser, PARSER_CLIENT, (uint32_t)o->max_control_line, (uint32_t)o->max_payload);
    c->next = home->clients;
    if (home->clients != NULL) {
        home->clients->prev = c;
    }
    home->clients = c;
    atomic_fetch_add(&home->connections, 1);
    count(&home->total_connections, 1);
    atomic_fetch_add(&c->account->connections, 1);
    log_debug("%s - Client connection created", prefix(c).text);
    client_send_info(c, false);
    struct broker_stats stats;
    broker_stats(broker, &stats);
    if (o->max_connections < 0 || stats.connections > (uint64_t)o->max_connections) {
        fail(c, "maximum connections exceeded", CLOSE_MAX_CONNECTIONS);
        return;
    }
    if (auth_info_required(broker->auth)) {
        loop_timer_arm(home->loop, &c->timer, clock_mono_ns() + o->auth_timeout_ns, on_auth_timer,
                       c);
    } else {
        arm_ping(c, o->ping_interval_ns);
    }
}

void broker_resume_stalled(struct loop *loop)
{
    resume_stalled(loop_local(loop, LOOP_LOCAL_BROKER));
}

/* --- description for /connz --- */

static void describe_subscriptions(const struct client *c, const struct connz_options *options,
                                   json_t *object)
{
    json_t *list = json_array();
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&c->subs, &i)) != NULL;) {
        const struct subscription *sub = e->value;
        if (!options->detail) {
            (void)json_array_append_new(
                list, json_stringn(sub->entry.subject.ptr, sub->entry.subject.len));
            continue;
        }
        json_t *detail = json_object();
        json_put_bytes(detail, "subject", sub->entry.subject);
        if (sub->entry.queue.ptr != NULL) {
            json_put_bytes(detail, "qgroup", sub->entry.queue);
        }
        json_put_bytes(detail, "sid", sub->sid);
        json_put_u64(detail, "msgs", sub->delivered);
        if (sub->max > 0) {
            json_put_u64(detail, "max", sub->max);
        }
        json_put_u64(detail, "cid", c->conn->id);
        (void)json_array_append_new(list, detail);
    }
    json_put(object, options->detail ? "subscriptions_list_detail" : "subscriptions_list", list);
}

void broker_describe_clients(struct broker *broker, const struct connz_options *options,
                             json_t *array)
{
    int64_t now = clock_now_ns();
    for (const struct client *c = broker_here(broker)->clients; c != NULL; c = c->next) {
        json_t *o = json_object();
        json_put_u64(o, "cid", c->conn->id);
        json_put_text(o, "kind", "Client");
        json_put_text(o, "type", "nats");
        json_put_text(o, "ip", c->conn->remote_host);
        json_put_int(o, "port", c->conn->remote_port);
        json_put_time(o, "start", c->conn->start_ns);
        json_put_time(o, "last_activity", c->last_activity_ns);
        char text[48];
        if (c->rtt_ns > 0) {
            (void)snprintf(text, sizeof text, "%lld\xc2\xb5s", (long long)(c->rtt_ns / 1000));
            json_put_text(o, "rtt", text);
        }
        clock_format_uptime(now - c->conn->start_ns, text);
        json_put_text(o, "uptime", text);
        clock_format_uptime(now - c->last_activity_ns, text);
        json_put_text(o, "idle", text);
        pthread_mutex_lock(&c->conn->lock);
        uint64_t pending = c->conn->pending, out_msgs = c->conn->out_msgs;
        uint64_t out_bytes = c->conn->out_bytes;
        pthread_mutex_unlock(&c->conn->lock);
        json_put_u64(o, "pending_bytes", pending);
        json_put_u64(o, "in_msgs", c->in_msgs);
        json_put_u64(o, "out_msgs", out_msgs);
        json_put_u64(o, "in_bytes", c->in_bytes);
        json_put_u64(o, "out_bytes", out_bytes);
        if (c->stalls > 0) {
            json_put_u64(o, "stalls", c->stalls);
        }
        json_put_int(o, "subscriptions", c->subs.count);
        if (c->name != NULL) {
            json_put_bytes(o, "name", bytes_of(c->name));
        }
        if (c->lang != NULL) {
            json_put_bytes(o, "lang", bytes_of(c->lang));
        }
        if (c->version != NULL) {
            json_put_bytes(o, "version", bytes_of(c->version));
        }
        if (options->auth) {
            if (c->user != NULL && c->user->name[0] != '\0') {
                json_put_text(o, "authorized_user", c->user->name);
            }
            if (strcmp(c->account->name, "$G") != 0) {
                json_put_text(o, "account", c->account->name);
            }
        }
        if (options->subscriptions || options->detail) {
            describe_subscriptions(c, options, o);
        }
        (void)json_array_append_new(array, o);
    }
}
