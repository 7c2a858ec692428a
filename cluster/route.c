/* One connection to another server.
 *
 *   dialled:   [TLS] → CONNECT → its INFO → our INFO → registered → closed
 *   accepted:  [TLS] → our INFO → its CONNECT → its INFO → registered → closed
 *
 * When the two sides compress, both say INFO twice: the first ones in clear settle it, the second
 * ones are compressed and count. NATS route protocol §2, §7.
 *
 * Ways to fail: the timer, wrong credentials, another cluster's name, our own address (never
 * dialled again), a place that is taken, a server with our name; the connection itself. All end in
 * on_close(). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cluster/peers.h"
#include "cluster/route_internal.h"
#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"

#define ROUTE_PING_MAX_NS (30 * NS_PER_SEC)

struct route_prefix route_prefix(const struct route *r)
{
    struct route_prefix p;
    (void)snprintf(p.text, sizeof p.text, "%.90s - rid:%llu",
                   address_text(r->conn->remote_host, r->conn->remote_port).text,
                   (unsigned long long)r->conn->id);
    return p;
}

void route_fail(struct route *r, enum close_reason reason, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_error("%s - %s", route_prefix(r).text, text);
    struct buffer line = {0};
    buffer_printf(&line, "-ERR '%s'\r\n", text);
    conn_write(r->conn, buffer_bytes(&line));
    buffer_deinit(&line);
    route_close(r, reason);
}

void route_close(struct route *r, enum close_reason reason)
{
    conn_close(r->conn, reason);
}

/* --- timers --- */

static void on_auth_timer(void *arg)
{
    struct route *r = arg;
    if (r->conn->tls_context != NULL && !r->conn->secured) {
        log_error("%s - TLS route handshake error: tls: timeout", route_prefix(r).text);
        route_close(r, CLOSE_TLS_HANDSHAKE);
    } else {
        route_fail(r, CLOSE_AUTH_TIMEOUT, "Authentication Timeout");
    }
}

void route_ping(struct route *r)
{
    r->pings_out++;
    r->ping_sent_ns = clock_mono_ns();
    conn_write(r->conn, BYTES_LIT("PING\r\n"));
}

static void on_ping_timer(void *arg)
{
    struct route *r = arg;
    const struct options *o = broker_options(r->routes->broker);
    int64_t max = o->cluster.ping_max > 0 ? o->cluster.ping_max : o->ping_max;
    int64_t every =
        o->cluster.ping_interval_ns > 0 ? o->cluster.ping_interval_ns : o->ping_interval_ns;
    if (r->pings_out + 1 > max) {
        route_fail(r, CLOSE_STALE, "Stale Connection");
        return;
    }
    route_ping(r);
    route_arm_ping(r, every < ROUTE_PING_MAX_NS ? every : ROUTE_PING_MAX_NS);
}

void route_arm_ping(struct route *r, int64_t after_ns)
{
    loop_timer_arm(r->routes->loop, &r->timer, clock_mono_ns() + after_ns, on_ping_timer, r);
}

void route_arm_handshake(struct route *r)
{
    loop_timer_arm(r->routes->loop, &r->timer,
                   clock_mono_ns() + routes_options(r->routes)->tls.timeout_ns, on_auth_timer, r);
}

/* --- handshake --- */

void route_begin(struct route *r)
{
    const struct cluster_options *o = routes_options(r->routes);
    loop_timer_arm(r->routes->loop, &r->timer, clock_mono_ns() + o->auth_timeout_ns, on_auth_timer,
                   r);
    if (r->target != NULL) {
        route_send_connect(r); /* our INFO follows theirs, which says what we can have together */
    } else {
        route_send_info(r, o->compression);
    }
}

/* verify_cert_and_check_known_urls: who dials us must be one that we would dial. */
static bool is_of_known_url(const struct route *r)
{
    for (const struct target *t = r->routes->targets; t != NULL; t = t->next) {
        if (t->configured && tls_peer_is(r->conn->tls, t->name)) {
            return true;
        }
    }
    return false;
}

static void on_tls(struct conn *conn, const char *failure)
{
    struct route *r = conn->owner;
    if (failure == NULL && r->target == NULL && routes_options(r->routes)->tls.check_known_urls &&
        !is_of_known_url(r)) {
        failure = "tls: the certificate is not of a configured route";
    }
    if (failure == NULL) {
        route_begin(r);
        return;
    }
    log_error("%s - TLS route handshake error: %s", route_prefix(r).text, failure);
    route_close(r, CLOSE_TLS_HANDSHAKE);
}

/* Is the server one that we may be routed with? Closes it when not. */
static bool check_server(struct route *r, const json_t *info)
{
    struct routes *routes = r->routes;
    const char *theirs = json_text(info, "cluster");
    if (strcmp(r->remote_id, broker_server_id(routes->broker)) == 0) {
        if (r->target != NULL) {
            target_is_self(r->target);
        }
        route_close(r, CLOSE_DUPLICATE_ROUTE);
        return false;
    }
    if (strcmp(r->remote_name, broker_server_name(routes->broker)) == 0) {
        log_error("%s - Remote server has a duplicate name: \"%s\"", route_prefix(r).text,
                  r->remote_name);
        route_close(r, CLOSE_DUPLICATE_SERVER_NAME);
        return false;
    }
    if (!routes_agree_on_name(r, theirs, json_bool(info, "cluster_dynamic"))) {
        route_fail(r, CLOSE_CLUSTER_NAME_CONFLICT,
                   "Rejecting connection, cluster name \"%s\" does not match \"%s\"", theirs,
                   broker_cluster_name(routes->broker));
        return false;
    }
    return true;
}

/* s2_auto compresses once the way is long enough. */
static bool compresses_now(const struct route *r)
{
    return r->compression == COMPRESSION_S2_AUTO
               ? r->rtt_ns >= routes_options(r->routes)->rtt_thresholds_ns[0]
               : r->compression != COMPRESSION_S2_UNCOMPRESSED;
}

/* The first INFO: settles compression. True when the next one counts, and not this one. */
static bool settle_compression(struct route *r, const json_t *info)
{
    bool known;
    enum compression_mode theirs = route_remote_compression(info, &known);
    if (!known) {
        route_fail(r, CLOSE_PROTOCOL_VIOLATION, "unsupported route compression mode \"%s\"",
                   json_text(info, "compression"));
        return true;
    }
    enum compression_mode ours = routes_options(r->routes)->compression;
    r->compression = route_negotiate(ours, theirs);
    bool compresses = route_mode_compresses(r->compression);
    if (r->target == NULL && compresses && !route_mode_compresses(theirs)) {
        compresses = false; /* who dialled has seen our mode, and has decided */
        r->compression = COMPRESSION_OFF;
    }
    if (r->target != NULL) {
        route_send_info(r, r->compression); /* the last that goes in clear, if we compress */
    }
    if (!compresses) {
        return false;
    }
    r->compressing = true;
    if (!conn_start_compression(r->conn, compresses_now(r))) {
        route_close(r, CLOSE_WRITE_ERROR);
        return true;
    }
    if (r->target == NULL) {
        route_send_info(r, r->compression);
    }
    return true;
}

static void on_info(struct route *r, json_t *info)
{
    const char *id = json_text(info, "server_id");
    if (*id == '\0') {
        route_close(r, CLOSE_PARSE_ERROR);
        return;
    }
    if (r->remote != NULL) {
        route_on_later_info(r, info);
        return;
    }
    (void)snprintf(r->remote_id, sizeof r->remote_id, "%s", id);
    (void)snprintf(r->remote_name, sizeof r->remote_name, "%s", json_text(info, "server_name"));
    if (r->target != NULL) {
        (void)snprintf(r->target->remote_id, sizeof r->target->remote_id, "%s", id);
        (void)snprintf(r->target->remote_name, sizeof r->target->remote_name, "%s", r->remote_name);
    }
    if (!r->compressing) {
        if (!check_server(r, info) || settle_compression(r, info) || r->conn->closed) {
            return;
        }
    } else if (r->target != NULL) {
        route_send_info(r, r->compression);
    }
    route_register(r, info);
}

void route_admit(struct route *r, const char *cluster, bool dynamic)
{
    if (*cluster != '\0' && !routes_agree_on_name(r, cluster, dynamic)) {
        route_fail(r, CLOSE_CLUSTER_NAME_CONFLICT,
                   "Rejecting connection, cluster name \"%s\" does not match \"%s\"", cluster,
                   broker_cluster_name(r->routes->broker));
        return;
    }
    r->got_connect = true;
}

static void on_connect(struct route *r, const json_t *connect)
{
    const struct cluster_options *o = routes_options(r->routes);
    if (r->target != NULL || r->got_connect || r->verifying) {
        return;
    }
    if (*json_text(connect, "lang") != '\0') {
        route_fail(r, CLOSE_WRONG_PORT, "attempted to connect to route port");
        return;
    }
    if (*json_text(connect, "gateway") != '\0') {
        route_fail(r, CLOSE_WRONG_PORT,
                   "Rejecting connection from gateway \"%s\" on the Route port",
                   json_text(connect, "gateway"));
        return;
    }
    if (o->user == NULL && !o->tls.verify_and_map) {
        route_admit(r, json_text(connect, "cluster"), json_bool(connect, "cluster_dynamic"));
    } else {
        route_check_login(r, connect);
    }
}

/* --- input --- */

static void on_message(struct route *r, const struct proto_op *op)
{
    r->in_msgs++;
    r->in_bytes += op->payload.len;
    if (r->pinned == NULL &&
        (r->last_account == NULL || !bytes_is(op->account, r->last_account->name))) {
        r->last_account = accounts_find(broker_accounts(r->routes->broker), op->account);
        if (r->last_account == NULL) {
            return;
        }
    }
    struct message m = {.subject = op->subject,
                        .reply = op->reply,
                        .payload = op->payload,
                        .header_len = op->header_len};
    if (bytes_starts(op->reply, BYTES_LIT("$JS.ACK."))) {
        const char *at = memchr(op->reply.ptr, '@', op->reply.len);
        if (at != NULL) {
            size_t len = (size_t)(at - op->reply.ptr);
            m.reply = bytes_make(op->reply.ptr, len);
            m.shown = bytes_skip(op->reply, len + 1);
        }
    }
    broker_publish_from_link(r->routes->broker, r->pinned == NULL ? r->last_account : r->pinned, &m,
                             op->queues, op->queue_count);
}

static void on_json_op(struct route *r, const struct proto_op *op)
{
    json_error_t reason;
    json_t *object = json_parse(op->args, &reason);
    if (!json_is_object(object)) {
        json_decref(object);
        route_close(r, CLOSE_PARSE_ERROR);
        return;
    }
    if (op->verb == VERB_INFO) {
        on_info(r, object);
    } else {
        on_connect(r, object);
    }
    json_decref(object);
}

static void on_pong(struct route *r)
{
    r->pings_out = 0;
    if (r->ping_sent_ns > 0) {
        r->rtt_ns = clock_mono_ns() - r->ping_sent_ns;
    }
    if (r->compressing && r->compression == COMPRESSION_S2_AUTO) {
        conn_set_compressing(r->conn, compresses_now(r));
    }
    if (r->fills_pool && r->remote != NULL) {
        r->fills_pool = false;
        remote_fill_pool(r);
    }
}

static void on_op(struct route *r, const struct proto_op *op)
{
    bool admitted = r->target != NULL || r->got_connect;
    if (!admitted && op->verb != VERB_CONNECT && op->verb != VERB_PING && op->verb != VERB_PONG) {
        route_fail(r, CLOSE_AUTH_FAILURE, "Authorization Violation");
        return;
    }
    switch (op->verb) {
    case VERB_RMSG:
        if (r->remote != NULL) {
            on_message(r, op);
        }
        return;
    case VERB_RS_PLUS:
    case VERB_RS_MINUS:
        conn_charge(r->conn, CONN_COST_CONTROL);
        if (r->remote != NULL) {
            route_on_interest(r, op);
        }
        return;
    case VERB_INFO:
    case VERB_CONNECT:
        conn_charge(r->conn, CONN_COST_CONTROL);
        on_json_op(r, op);
        return;
    case VERB_PING:
        conn_charge(r->conn, CONN_COST_PING);
        conn_write(r->conn, BYTES_LIT("PONG\r\n"));
        return;
    case VERB_PONG:
        on_pong(r);
        return;
    case VERB_ERR:
        log_error("%s - Route Error %.*s", route_prefix(r).text, BYTES_ARG(op->args));
        route_close(r, CLOSE_PROTOCOL_VIOLATION);
        return;
    default:
        return;
    }
}

/* A peer connection of another Trireme node begins with its own verb on the same port. */
static bool hand_to_peers(struct route *r, const char *data, size_t len)
{
    static const char verb[] = "TRIREME ";
    const char *lf = memchr(data, '\n', len);
    bool first =
        r->target == NULL && !r->got_connect && !r->verifying && r->parser.partial.len == 0;
    if (!first || len < sizeof verb || lf == NULL || memcmp(data, verb, sizeof verb - 1) != 0 ||
        r->routes->peers == NULL) {
        return false;
    }
    struct conn *conn = conn_retain(r->conn);
    struct bytes hello =
        bytes_make(data + sizeof verb - 1, (size_t)(lf - data) - (sizeof verb - 1));
    struct peers *peers = r->routes->peers;
    conn->ops->on_close(conn, CLOSE_CLIENT); /* the route ends; the connection lives on */
    peers_take_over(peers, conn, hello, lf + 1, (size_t)(data + len - (lf + 1)));
    return true;
}

/* Stops where a login has to be checked first: route_check_login() goes on. */
void route_process(struct route *r, const char *data, size_t len)
{
    const char *at = data;
    const char *end = data + len;
    NOT_CLEARED struct proto_op op;
    enum parser_status status = PARSER_MORE;
    struct broker *broker = r->routes->broker;
    uint64_t msgs = r->in_msgs;
    uint64_t bytes = r->in_bytes;
    uint64_t cost = broker_delivery_cost(broker);
    while (!r->verifying && (status = parser_next(&r->parser, &at, end, &op)) == PARSER_OP) {
        on_op(r, &op);
        if (r->conn->closed) {
            return;
        }
        if (UNLIKELY(r->remote != NULL && r->parser.greeting_line > 0)) {
            r->parser.greeting_line = 0;
            r->conn->read_max = LOOP_READ_BUFFER;
        }
    }
    if (r->verifying) {
        buffer_append(&r->held, at, (size_t)(end - at));
    }
    broker_count_link_in(broker, r->in_msgs - msgs, r->in_bytes - bytes);
    conn_charge(r->conn, r->in_msgs - msgs + broker_delivery_cost(broker) - cost);
    if (status == PARSER_NOT_YET) {
        route_fail(r, CLOSE_AUTH_FAILURE, "Authorization Violation");
    } else if (status == PARSER_BAD_VERB) {
        route_fail(r, CLOSE_PARSE_ERROR, "Unknown Protocol Operation");
    } else if (status != PARSER_MORE && status != PARSER_OP) {
        log_error("%s - Route parser ERROR", route_prefix(r).text);
        route_close(r, CLOSE_PARSE_ERROR);
    }
}

static void on_data(struct conn *conn, const char *data, size_t len)
{
    struct route *r = conn->owner;
    if (!hand_to_peers(r, data, len)) {
        r->last_activity_ns = clock_now_ns();
        route_process(r, data, len);
    }
}

/* --- end --- */

static void destroy(void *arg)
{
    struct route *r = arg;
    parser_deinit(&r->parser);
    map_deinit(&r->link.subs);
    buffer_deinit(&r->held);
    free(r->place.account);
    free(r);
}

static void remember(const struct route *r, enum close_reason reason)
{
    struct lost_route *lost = &r->routes->lost[r->routes->lost_count++ % LOST_ROUTES_MAX];
    *lost = (struct lost_route){.rid = r->conn->id,
                                .start_ns = r->conn->start_ns,
                                .stop_ns = clock_now_ns(),
                                .reason = reason};
    (void)snprintf(lost->remote_name, sizeof lost->remote_name, "%s", r->remote_name);
}

static void on_close(struct conn *conn, enum close_reason reason)
{
    struct route *r = conn->owner;
    struct routes *routes = r->routes;
    bool was_registered = r->remote != NULL;
    if (r->remote_name[0] != '\0') {
        log_info("%s - Router connection closed: %s - Remote: %s", route_prefix(r).text,
                 close_reason_text(reason), r->remote_name);
    } else {
        log_info("%s - Router connection closed: %s", route_prefix(r).text,
                 close_reason_text(reason));
    }
    if (was_registered) {
        remember(r, reason);
    }
    route_unregister(r);
    route_leaves_walks(r);
    for (struct route **at = &routes->list; *at != NULL; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    loop_timer_cancel(routes->loop, &r->timer);
    if (r->target != NULL) {
        target_lost(r->target, r);
    } else if (was_registered) { /* it dialled us; a configured address may lead there, too */
        targets_look_for(routes, r->remote_id);
    }
    conn_release(conn);
    loop_retire(destroy, r);
}

const struct conn_ops route_conn_ops = {.on_data = on_data, .on_tls = on_tls, .on_close = on_close};
