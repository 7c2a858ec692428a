/* A client's session.
 *
 *   accept → INFO → CONNECT → (bcrypt in the work pool) → READY → operations → close
 *
 * Without required credentials operations are accepted before CONNECT. Everything here runs on the
 * client's loop. Subscriptions are in client_subs.c, CONNECT in client_login.c.
 *
 * Ways to fail: the authentication timer, a parser status, a limit, a refused CONNECT — all end in
 * client_close() with an -ERR text where the protocol has one, and a reason. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/broker/client_internal.h"
#include "core/subject/subject.h"

#define PUBLISH_CACHE_MAX 256
#define STALL_MAX_MS      10 /* NATS client protocol §7.5 */
#define HELD_MAX          (2 * CLIENT_GREETING_READ)

/* --- log prefix and errors --- */

struct client_prefix client_prefix(const struct client *c)
{
    struct client_prefix p;
    int n = snprintf(p.text, sizeof p.text, "%.90s - cid:%llu",
                     address_text(c->conn->remote_host, c->conn->remote_port).text,
                     (unsigned long long)c->conn->id);
    if (c->state == CLIENT_READY && (c->name != NULL || c->lang != NULL || c->version != NULL)) {
        (void)snprintf(p.text + n, sizeof p.text - (size_t)n, " - \"%s%s%s%s%s%s\"",
                       c->version != NULL ? "v" : "", c->version != NULL ? c->version : "",
                       c->lang != NULL ? ":" : "", c->lang != NULL ? c->lang : "",
                       c->name != NULL ? ":" : "", c->name != NULL ? c->name : "");
    }
    if (c->state == CLIENT_READY && c->user != NULL) {
        bool token = c->user->name[0] == '\0', nkey = c->user->password == NULL;
        size_t len = strlen(p.text);
        (void)snprintf(p.text + len, sizeof p.text - len, " - \"%s/%s%s\"", c->account->name,
                       token  ? "token"
                       : nkey ? "nkey:"
                              : "user:",
                       c->user->name);
    }
    return p;
}

void client_write(struct client *c, struct bytes line)
{
    if (UNLIKELY(log_enabled(LOG_TRC))) {
        client_trace_out(c, line);
    }
    conn_write(c->conn, line);
}

void client_send_err(struct client *c, const char *text)
{
    struct buffer line = {0};
    if (UNLIKELY(log_enabled(LOG_TRC))) { /* without the quotes, as nats-server shows it */
        buffer_printf(&line, "-ERR %s", text);
        client_trace_out(c, buffer_bytes(&line));
        buffer_clear(&line);
    }
    buffer_printf(&line, "-ERR '%s'\r\n", text);
    conn_charge(c->conn, CONN_COST_CONTROL);
    conn_write(c->conn, buffer_bytes(&line));
    buffer_deinit(&line);
}

void client_send_ok(struct client *c)
{
    if (c->verbose) {
        client_write(c, BYTES_LIT("+OK\r\n"));
    }
}

void client_fail(struct client *c, const char *text, enum close_reason reason)
{
    if (text != NULL) {
        log_error("%s - %s", client_prefix(c).text, text);
        client_send_err(c, text);
    }
    client_close(c, reason);
}

void client_violation(struct client *c, const char *what, struct bytes subject, struct bytes queue)
{
    struct buffer text = {0};
    buffer_printf(&text, "Permissions Violation for %s \"%.*s\"", what, BYTES_ARG(subject));
    if (queue.ptr != NULL) {
        buffer_printf(&text, " using queue \"%.*s\"", BYTES_ARG(queue));
    }
    buffer_append_char(&text, '\0');
    client_send_err(c, text.data);
    buffer_deinit(&text);
}

/* --- publishing --- */

static const char allowed_mark, denied_mark;

static bool may_publish(struct client *c, struct bytes subject)
{
    if (client_permissions(c) == NULL) {
        return true;
    }
    const void *known = map_get(&c->publish_cache, subject);
    if (known == NULL) {
        if (c->publish_cache.count >= PUBLISH_CACHE_MAX) {
            map_clear(&c->publish_cache);
        }
        known = permissions_publish(client_permissions(c), subject) ? &allowed_mark : &denied_mark;
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
    const struct subscription *sub;
    for (uint32_t i = 0; (sub = table_next(&c->subs, &i)) != NULL;) {
        conn_charge(c->conn, 1);
        if (sub->entry.queue_len > 0 ||
            !subject_matches(interest_subject(&sub->entry), op->reply)) {
            continue;
        }
        struct buffer text = {0};
        size_t len = 32 + op->subject.len;
        buffer_append_text(&text, "HMSG "); /* there may be NULs in any of them */
        buffer_append_bytes(&text, op->reply);
        buffer_append_char(&text, ' ');
        buffer_append_bytes(&text, subscription_sid(sub));
        buffer_printf(&text, " %zu %zu\r\nNATS/1.0 503\r\nNats-Subject: ", len, len);
        buffer_append_bytes(&text, op->subject);
        buffer_append_text(&text, "\r\n\r\n\r\n");
        conn_write(c->conn, buffer_bytes(&text));
        buffer_deinit(&text);
        return;
    }
}

/* Takes every line of that name, in whatever case, and what is folded under it, out of the headers.
 * False when there is none; else m's payload is in *out. */
static bool strip_header(struct message *m, struct bytes name, struct buffer *out)
{
    struct bytes rest = bytes_make(m->payload.ptr, m->header_len);
    bool found = false, dropping = false;
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        struct bytes line =
            bytes_make(rest.ptr, end == NULL ? rest.len : (size_t)(end - rest.ptr) + 1);
        bool folded = line.ptr[0] == ' ' || line.ptr[0] == '\t';
        struct bytes start = bytes_make(line.ptr, line.len < name.len ? line.len : name.len);
        struct bytes behind = bytes_skip(line, name.len);
        while (behind.len > 0 && (behind.ptr[0] == ' ' || behind.ptr[0] == '\t')) {
            behind = bytes_skip(behind, 1);
        }
        dropping = folded ? dropping
                          : bytes_eq_nocase(start, name) && behind.len > 0 && behind.ptr[0] == ':';
        if (dropping && !found) { /* the first: keep what came before */
            found = true;
            buffer_append(out, m->payload.ptr, (size_t)(line.ptr - m->payload.ptr));
        } else if (found && !dropping) {
            buffer_append_bytes(out, line);
        }
        rest = bytes_skip(rest, line.len);
    }
    if (found) {
        uint32_t header_len = (uint32_t)out->len;
        buffer_append_bytes(out, bytes_skip(m->payload, m->header_len));
        m->header_len = header_len;
        m->payload = buffer_bytes(out);
    }
    return found;
}

/* May it be published? If not, the client is told. *lasting: so it is for the next messages with
 * the same line, too. */
static bool check_publish(struct client *c, const struct proto_op *op, bool *lasting)
{
    *lasting = true;
    if (UNLIKELY(c->pedantic && !subject_is_literal(op->subject))) {
        client_send_err(c, "Invalid Publish Subject");
        *lasting = false;
    }
    bool allowed = !is_reserved_subject(c, op->subject);
    if (allowed && !may_publish(c, op->subject)) {
        allowed = client_may_reply(c, op->subject);
        *lasting = false;
    }
    if (!allowed) {
        log_error("%s - Publish Violation - Subject \"%.*s\"", client_prefix(c).text,
                  BYTES_ARG(op->subject));
        client_violation(c, "Publish to", op->subject, BYTES_NONE);
        return false;
    }
    if (UNLIKELY(is_reserved_reply(op->reply))) {
        log_error("%s - Publish Violation - Reply \"%.*s\"", client_prefix(c).text,
                  BYTES_ARG(op->reply));
        client_violation(c, "Publish with Reply of", op->reply, BYTES_NONE);
        return false;
    }
    return true;
}

static unsigned publish(struct client *c, const struct message *m)
{
    struct routing routing = {.source = c, .requester = c};
    return m->subject.len == 0 ? 0 : route_message(c->broker, c->account, m, &routing);
}

/* Headers that only servers write are taken out, and the account's mappings applied. */
static unsigned publish_changed(struct client *c, struct message *m,
                                const struct mappings *mappings)
{
    struct buffer stripped = {0}, mapped = {0};
    if (m->header_len > 0 && strip_header(m, BYTES_LIT(REQUEST_INFO_HEADER), &stripped)) {
        m->size_text = BYTES_NONE;
    }
    if (mappings != NULL &&
        mappings_apply(mappings, m->subject, loop_random(c->home->loop), &mapped)) {
        m->subject = buffer_bytes(&mapped);
    }
    unsigned taken = publish(c, m);
    buffer_deinit(&stripped);
    buffer_deinit(&mapped);
    return taken;
}

static void on_pub(struct client *c, const struct proto_op *op)
{
    c->in_msgs++;
    c->in_bytes += op->payload.len;
    if (!(op->repeats && c->may_repeat)) {
        bool lasting;
        bool allowed = check_publish(c, op, &lasting);
        c->may_repeat = allowed && lasting;
        if (!allowed) {
            return;
        }
    }
    client_send_ok(c);
    struct message m = {.subject = op->subject,
                        .reply = op->reply,
                        .payload = op->payload,
                        .header_len = op->header_len,
                        .size_text = op->size_text};
    if (UNLIKELY(m.header_len > 0 && message_is_trace_only(&m))) {
        return;
    }
    const struct mappings *mappings =
        atomic_load_explicit(&c->account->mappings, memory_order_acquire);
    unsigned taken = UNLIKELY(mappings != NULL || m.header_len > 0)
                         ? publish_changed(c, &m, mappings)
                         : publish(c, &m);
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
    if (c->stalled) {
        return; /* once on the list: who leaves is taken off it once */
    }
    c->stalled = true;
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
    for (uint32_t i = 0; c->stalled; i++) {
        CHECK(i < here->stalled_count);
        if (here->stalled[i] == c) {
            here->stalled[i] = here->stalled[--here->stalled_count];
            c->stalled = false;
        }
    }
}

/* --- timers --- */

static void on_ping_timer(void *arg)
{
    struct client *c = arg;
    const struct options *o = broker_options(c->broker);
    int64_t now = clock_mono_ns();
    bool fresh_rtt =
        c->ping_sent_ns > 0 && c->rtt_ns > 0 && now - c->ping_sent_ns < 3600 * NS_PER_SEC;
    bool active = now - c->active_mono_ns < o->ping_interval_ns;
    if (!(fresh_rtt && active)) {
        if (c->pings_out + 1 > o->ping_max) {
            count(&c->home->stale, 1);
            client_fail(c, "Stale Connection", CLOSE_STALE);
            return;
        }
        c->pings_out++;
        c->ping_sent_ns = now;
        client_write(c, BYTES_LIT("PING\r\n"));
    }
    client_arm_ping(c, o->ping_interval_ns);
}

void client_arm_ping(struct client *c, int64_t after_ns)
{
    int64_t wait = after_ns < 0 ? 0 : after_ns;
    int64_t jitter = (int64_t)random_below(loop_random(c->home->loop), (uint64_t)wait / 5 + 1);
    loop_timer_arm(c->home->loop, &c->timer, time_after(clock_mono_ns(), time_add(wait, jitter)),
                   on_ping_timer, c);
}

static void on_auth_timer(void *arg)
{
    struct client *c = arg;
    client_fail(c, "Authentication Timeout", CLOSE_AUTH_TIMEOUT);
}

/* --- input --- */

static void on_ping(struct client *c)
{
    client_write(c, BYTES_LIT("PONG\r\n"));
    if (!c->got_first_pong) {
        c->got_first_pong = true;
        c->rtt_ns = clock_now_ns() - c->conn->start_ns; /* the best guess till our own PING */
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

static void on_op(struct client *c, const struct proto_op *op)
{
    if (UNLIKELY(log_enabled(LOG_TRC))) {
        client_trace_in(c, op);
    }
    switch (op->verb) {
    case VERB_PUB:
        on_pub(c, op);
        return;
    case VERB_SUB:
        conn_charge(c->conn, CONN_COST_CONTROL);
        client_on_sub(c, op);
        return;
    case VERB_UNSUB:
        conn_charge(c->conn, CONN_COST_CONTROL);
        client_on_unsub(c, op);
        return;
    case VERB_CONNECT:
        conn_charge(c->conn, CONN_COST_CONTROL);
        client_on_connect(c, op);
        return;
    case VERB_PING:
        conn_charge(c->conn, CONN_COST_PING);
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
        client_fail(c, "Unknown Protocol Operation", CLOSE_PROTOCOL_VIOLATION);
        return;
    }
}

static void on_bad_input(struct client *c, enum parser_status status)
{
    switch (status) {
    case PARSER_BAD_VERB:
        client_fail(c, "Unknown Protocol Operation", CLOSE_PARSE_ERROR);
        return;
    case PARSER_LINE_TOO_LONG:
        client_fail(c, "maximum control line exceeded", CLOSE_MAX_CONTROL_LINE);
        return;
    case PARSER_PAYLOAD_TOO_LARGE:
        client_fail(c, "Maximum Payload Violation", CLOSE_MAX_PAYLOAD);
        return;
    default:
        log_error("%s - Client parser ERROR", client_prefix(c).text);
        client_close(c, CLOSE_PARSE_ERROR);
        return;
    }
}

void client_set_greeting(struct client *c, bool greeting)
{
    c->parser.greeting_line = greeting ? PARSER_GREETING_LINE : 0;
    c->conn->read_max = greeting ? CLIENT_GREETING_READ : LOOP_READ_BUFFER;
}

/* Input behind a CONNECT whose secret is being compared. */
static void hold(struct client *c, const char *data, size_t len)
{
    if (len > HELD_MAX - c->held.len) {
        client_close(c, CLOSE_AUTH_FAILURE);
    } else if (len > 0) {
        /* every client ends its greeting so: it is not worth a comparison when nobody waits for the
         * PONG any more */
        bool ping =
            c->held.len == 0 && bytes_eq_nocase(bytes_make(data, len), BYTES_LIT("PING\r\n"));
        buffer_append(&c->held, data, len);
        atomic_store(&c->conn->holds_input, !ping);
    }
}

void client_process(struct client *c, const char *data, size_t len)
{
    struct conn *conn = c->conn;
    const char *at = data;
    const char *end = data + len;
    uint64_t msgs = c->in_msgs;
    uint64_t bytes = c->in_bytes;
    struct broker_loop *here = c->home;
    uint64_t sent = broker_delivery_cost(c->broker);
    NOT_CLEARED struct proto_op op;
    enum parser_status status = PARSER_MORE;
    c->last_activity_ns = clock_now_ns();
    c->active_mono_ns = loop_now_ns(here->loop);
    c->must_stall = false;
    while (c->state != CLIENT_VERIFYING && c->state != CLIENT_REFUSED &&
           ((status = parser_next(&c->parser, &at, end, &op)) == PARSER_OP ||
            status == PARSER_NOT_YET)) {
        if (UNLIKELY(status == PARSER_NOT_YET)) { /* its payload is waited for once it may come */
            if (!client_admit(c)) {
                break;
            }
            CHECK(c->parser.greeting_line == 0);
            continue;
        }
        bool may_wait = op.verb == VERB_CONNECT || op.verb == VERB_PONG;
        if (LIKELY(c->state == CLIENT_READY) || may_wait || client_admit(c)) {
            on_op(c, &op);
        }
        if (UNLIKELY(conn->closed)) {
            return; /* `c` is gone */
        }
    }
    if (UNLIKELY(conn->closed)) {
        return;
    }
    count(&here->in_msgs, c->in_msgs - msgs);
    count(&here->in_bytes, c->in_bytes - bytes);
    count(&here->client_in_msgs, c->in_msgs - msgs);
    count(&here->client_in_bytes, c->in_bytes - bytes);
    conn_charge(conn, c->in_msgs - msgs + broker_delivery_cost(c->broker) - sent);
    if (UNLIKELY(c->state == CLIENT_VERIFYING)) {
        hold(c, at, (size_t)(end - at));
    } else if (UNLIKELY(c->state == CLIENT_REFUSED)) {
        return;
    } else if (status != PARSER_MORE) {
        on_bad_input(c, status);
    } else if (c->must_stall) {
        client_stall(c);
    }
}

static void on_data(struct conn *conn, const char *data, size_t len)
{
    client_process(conn->owner, data, len);
}

/* --- life --- */

static void destroy(void *arg)
{
    struct client *c = arg;
    parser_deinit(&c->parser);
    buffer_deinit(&c->held);
    buffer_deinit_secret(&c->waiting_connect);
    map_deinit(&c->publish_cache);
    table_clear(&c->subs);
    client_forget_replies(c);
    free(c->name);
    free(c->lang);
    free(c->version);
    free(c);
}

#define GIVE_BACK_SUBS  10000 /* subscriptions that are worth the trouble: megabytes */
#define GIVE_BACK_AFTER (2 * NS_PER_SEC)

static void on_give_back_timer(void *arg)
{
    (void)arg;
    mem_give_back();
}

static void on_close(struct conn *conn, enum close_reason reason)
{
    struct client *c = conn->owner;
    log_debug("%s - Client connection closed: %s", client_prefix(c).text,
              close_reason_text(reason));
    if (reason == CLOSE_SLOW_PENDING || reason == CLOSE_SLOW_DEADLINE) {
        log_info("%s - Slow Consumer Detected: %s", client_prefix(c).text,
                 close_reason_text(reason));
        count(&c->home->slow_consumers, 1);
    }
    client_remember_closed(c, reason);
    if (c->subs.count >= GIVE_BACK_SUBS) {
        loop_timer_arm(c->home->loop, &c->home->give_back_timer, clock_mono_ns() + GIVE_BACK_AFTER,
                       on_give_back_timer, NULL);
    }
    loop_timer_cancel(c->home->loop, &c->timer);
    forget_stalled(c);
    client_drop_subscriptions(c);
    atomic_fetch_sub(&c->account->connections, 1);
    client_leaves_walks(c);
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

static void await_credentials(struct client *c)
{
    const struct options *o = broker_options(c->broker);
    if (auth_info_required(broker_auth(c->broker))) {
        loop_timer_arm(c->home->loop, &c->timer, clock_mono_ns() + o->auth_timeout_ns,
                       on_auth_timer, c);
    } else {
        client_arm_ping(c, o->ping_interval_ns);
    }
}

/* --- TLS ---
 *
 *   usual:            INFO in clear → handshake → CONNECT
 *   handshake_first:  handshake → INFO → CONNECT; with a delay, INFO goes out in clear when nothing
 *                     has come till then
 *   allow_non_tls:    INFO in clear → handshake or CONNECT, as the first byte has it */

static void greet(struct client *c)
{
    if (!c->greeted) {
        c->greeted = true;
        client_send_info(c, false);
    }
}

static void on_tls(struct conn *conn, const char *failure)
{
    struct client *c = conn->owner;
    if (failure == NULL) {
        loop_timer_cancel(c->home->loop, &c->timer);
        greet(c);
        await_credentials(c);
        return;
    }
    log_error("%s - TLS handshake error: %s", client_prefix(c).text, failure);
    if (conn->tls == NULL) { /* it spoke in clear, and is answered so */
        client_send_err(c, "Secure Connection - TLS Required");
    }
    client_close(c, CLOSE_TLS_HANDSHAKE);
}

static void on_tls_timer(void *arg)
{
    on_tls(((struct client *)arg)->conn, "tls: timeout");
}

/* handshake_first with a delay: nothing came, so this client waits for INFO. */
static void on_info_timer(void *arg)
{
    struct client *c = arg;
    const struct options *o = broker_options(c->broker);
    if (c->conn->tls == NULL) {
        greet(c);
    }
    loop_timer_arm(c->home->loop, &c->timer, clock_mono_ns() + o->tls.timeout_ns, on_tls_timer, c);
}

static void start_tls(struct client *c, struct tls_context *context)
{
    const struct options *o = broker_options(c->broker);
    int64_t now = clock_mono_ns();
    conn_expect_tls(c->conn, context, o->allow_non_tls);
    if (o->tls.handshake_first && o->tls.handshake_first_delay_ns > 0) {
        loop_timer_arm(c->home->loop, &c->timer, now + o->tls.handshake_first_delay_ns,
                       on_info_timer, c);
        return;
    }
    if (!o->tls.handshake_first) {
        greet(c);
    }
    if (o->allow_non_tls) {
        await_credentials(c);
    } else {
        loop_timer_arm(c->home->loop, &c->timer, now + o->tls.timeout_ns, on_tls_timer, c);
    }
}

void client_close(struct client *c, enum close_reason reason)
{
    conn_close(c->conn, reason);
}

/* 11 random bytes as 15 characters of base64url (NATS client protocol §3). */
static void make_nonce(char nonce[16])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t raw[15];
    random_system(raw, sizeof raw);
    for (int i = 0; i < 15; i++) {
        nonce[i] = digits[raw[i] & 63];
    }
    nonce[15] = '\0';
}

#define PROXY_WAIT_NS (5 * NS_PER_SEC)

/* The connection is the client's own, or it is known whom the proxy speaks for. */
static void meet(struct client *c, enum client_welcome welcome)
{
    struct broker *broker = c->broker;
    const struct options *o = broker_options(broker);
    log_debug("%s - Client connection created", client_prefix(c).text);
    if (auth_wants_nonce(broker_auth(broker))) {
        make_nonce(c->nonce);
    }
    if (welcome == CLIENT_THROTTLED) {
        greet(c);
        client_fail(c, "Connection throttling is active. Please try again later.",
                    CLOSE_AUTH_FAILURE);
        return;
    }
    struct broker_stats stats;
    broker_stats(broker, &stats);
    if (welcome == CLIENT_ONE_TOO_MANY || o->max_connections < 0 ||
        stats.connections > (uint64_t)o->max_connections) {
        greet(c);
        client_fail(c, "maximum connections exceeded", CLOSE_MAX_CONNECTIONS);
        return;
    }
    struct tls_context *tls = atomic_load_explicit(&broker->tls, memory_order_acquire);
    if (tls != NULL) {
        start_tls(c, tls);
    } else {
        greet(c);
        await_credentials(c);
    }
}

static void on_proxy(struct conn *conn, const char *failure)
{
    struct client *c = conn->owner;
    loop_timer_cancel(c->home->loop, &c->timer);
    if (failure != NULL) {
        log_error("%s - %s", client_prefix(c).text, failure);
        client_close(c, CLOSE_PROTOCOL_VIOLATION);
        return;
    }
    meet(c, c->welcome);
}

static void on_proxy_timer(void *arg)
{
    on_proxy(((struct client *)arg)->conn, "timeout waiting for a PROXY protocol header");
}

static const struct conn_ops client_ops = {
    .on_data = on_data, .on_tls = on_tls, .on_proxy = on_proxy, .on_close = on_close};

void client_open(struct broker *broker, int fd, enum client_welcome welcome)
{
    struct broker_loop *home = broker_here(broker);
    if (atomic_load(&broker->shutting_down)) {
        (void)close(fd);
        return;
    }
    const struct options *o = broker_options(broker);
    struct client *c = NEW(struct client);
    c->broker = broker;
    c->home = home;
    c->account = broker->global;
    c->verbose = c->pedantic = c->echo = true;
    c->conn = conn_open(home->loop, fd, broker_next_id(broker), &client_ops, c);
    c->conn->max_pending = (size_t)o->max_pending;
    c->conn->write_deadline_ns = o->write_deadline_ns;
    c->last_activity_ns = clock_now_ns();
    c->active_mono_ns = loop_now_ns(home->loop);
    parser_init(&c->parser, PARSER_CLIENT, (uint32_t)o->max_control_line, (uint32_t)o->max_payload);
    client_set_greeting(c, true);
    c->next = home->clients;
    if (home->clients != NULL) {
        home->clients->prev = c;
    }
    home->clients = c;
    atomic_fetch_add(&home->connections, 1);
    count(&home->total_connections, 1);
    atomic_fetch_add(&c->account->connections, 1);
    if (o->proxy_protocol) {
        conn_expect_proxy(c->conn);
        loop_timer_arm(home->loop, &c->timer, clock_mono_ns() + PROXY_WAIT_NS, on_proxy_timer, c);
        c->welcome = (uint8_t)welcome;
    } else {
        meet(c, welcome);
    }
}

void broker_resume_stalled(struct loop *loop)
{
    resume_stalled(loop_local(loop, LOOP_LOCAL_BROKER));
}
