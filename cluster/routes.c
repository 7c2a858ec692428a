#include "cluster/routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "cluster/dial.h"
#include "cluster/peers.h"
#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/protocol/parser.h"

/* Life of a route:
 *
 *   dialled:  connect → send CONNECT, INFO → its INFO → REGISTERED → interest both ways → closed
 *   accepted: accept → send INFO → its CONNECT → its INFO → REGISTERED …
 *
 * Ways to fail: connect refused or timed out (a configured route tries again each second), wrong
 * credentials or cluster name, our own address (never again), a neighbour that is connected
 * already.
 *
 * (1) At most one registered route per server id: the first one stays. When two Trireme nodes dial
 * each other at the same time, each may see another one first; the one dialled by the smaller id
 * stays then, so that both keep the same. (2) A message from a route goes to local subscribers
 * only. (3) `told` lists the registered routes for all loops: interest is announced on the loop
 * where it changes, before anything else that its client sends. */

#define ROUTES_MAX      64
#define RECONNECT_MS    1000
#define DIAL_TIMEOUT_MS 1000
#define CROSSING_MS     500 /* two routes registered within this may have been dialled crosswise */
#define ROUTE_LINE_MAX  65536
#define ROUTE_PING_NS   (30 * NS_PER_SEC)
#define ROUTE_AUTH_NS   (2 * NS_PER_SEC)

enum gossip_mode { GOSSIP_DEFAULT, GOSSIP_DISABLED, GOSSIP_OVERRIDE };

/* An address we dial: configured (for ever) or heard of by gossip. */
struct target {
    struct routes *routes;
    struct target *next;
    char *host;
    int port;
    char *user, *password;
    bool configured;
    bool is_self;
    enum gossip_mode gossip; /* repeated in our INFO when the address came by gossip */
    int64_t tries;
    char remote_id[64]; /* who answered there last; "" unknown */
    struct dial *dial;
    struct loop_timer timer;
};

struct route {
    struct routes *routes;
    struct route *next;
    struct conn *conn; /* counted */
    struct link link;
    struct parser parser;
    struct target *target; /* NULL: accepted */
    bool got_connect;      /* accepted only: credentials are right */
    bool registered;
    bool is_trireme;
    char remote_id[64];
    char remote_name[128];
    json_t *info; /* the neighbour's INFO; owned */
    enum gossip_mode gossip;
    struct loop_timer timer;
    int pings_out;
    int64_t ping_sent_ns, rtt_ns, last_activity_ns, registered_ns;
    uint64_t in_msgs, in_bytes;
    struct account *last_account; /* of the last message received */
};

struct routes {
    struct broker *broker;
    struct peers *peers; /* borrowed; NULL without JetStream */
    struct loop *loop;
    struct route *list;
    pthread_mutex_t told_lock; /* taken with an account's lock held; only outbox locks below it */
    struct route *told[ROUTES_MAX];
    unsigned told_count;
    struct target *targets;
    int port;
    int listen_fd;
    uv_poll_t listen_poll;
    bool listening, stopping;
    atomic_int route_count, remote_count;
};

static void dial_target(struct target *t);
static void on_timer(void *arg);
static void route_close(struct route *r, enum close_reason reason);

/* --- log prefix --- */

struct prefix {
    char text[128];
};

static struct prefix prefix(const struct route *r)
{
    struct prefix p;
    (void)snprintf(p.text, sizeof p.text, "%s:%d - rid:%llu", r->conn->remote_host,
                   r->conn->remote_port, (unsigned long long)r->conn->id);
    return p;
}

static void fail(struct route *r, const char *text, enum close_reason reason)
{
    log_error("%s - %s", prefix(r).text, text);
    struct buffer line = {0};
    buffer_printf(&line, "-ERR '%s'\r\n", text);
    conn_write(r->conn, buffer_bytes(&line));
    buffer_deinit(&line);
    route_close(r, reason);
}

/* --- sending --- */

static void send_json(struct route *r, const char *verb, json_t *object, const char *end)
{
    struct buffer line = {0};
    buffer_append_text(&line, verb);
    json_write(&line, object, 0);
    buffer_append_text(&line, end);
    conn_write(r->conn, buffer_bytes(&line));
    buffer_deinit(&line);
}

static const char *cluster_name(const struct routes *routes)
{
    const char *name = broker_options(routes->broker)->cluster_name;
    return name == NULL ? "" : name;
}

static void send_info(struct route *r)
{
    struct routes *routes = r->routes;
    const struct options *o = broker_options(routes->broker);
    json_t *info = broker_identity_info(routes->broker);
    json_put_text(info, "host", o->cluster_host);
    json_put_int(info, "port", routes->port);
    json_put_bool(info, "headers", true);
    if (o->cluster_user != NULL) {
        json_put_bool(info, "auth_required", true);
    }
    json_put_int(info, "max_payload", o->max_payload);
    if (o->jetstream) {
        json_put_bool(info, "jetstream", true);
        json_put_bool(info, "trireme_peer", true);
    }
    if (o->cluster_advertise != NULL) {
        struct buffer ip = {0};
        buffer_printf(&ip, "nats-route://%s/", o->cluster_advertise);
        json_put_bytes(info, "ip", buffer_bytes(&ip));
        buffer_deinit(&ip);
    }
    json_put_text(info, "cluster", cluster_name(routes));
    if (broker_is_lame_duck(routes->broker)) {
        json_put_bool(info, "ldm", true);
    } else if (!o->no_advertise) {
        json_put(info, "connect_urls", broker_own_urls(routes->broker));
    }
    if (r->gossip != GOSSIP_DEFAULT) {
        json_put_int(info, "gossip_mode", r->gossip);
    }
    send_json(r, "INFO ", info, " \r\n");
    json_decref(info);
}

static void send_connect(struct route *r)
{
    struct routes *routes = r->routes;
    json_t *connect = json_object();
    json_put_bool(connect, "echo", true);
    json_put_bool(connect, "verbose", false);
    json_put_bool(connect, "pedantic", false);
    if (r->target->user != NULL) {
        json_put_text(connect, "user", r->target->user);
        json_put_text(connect, "pass", r->target->password == NULL ? "" : r->target->password);
    }
    json_put_bool(connect, "tls_required", false);
    json_put_bool(connect, "headers", true);
    json_put_text(connect, "name", broker_server_id(routes->broker));
    json_put_text(connect, "cluster", cluster_name(routes));
    send_json(r, "CONNECT ", connect, "\r\n");
    json_decref(connect);
}

/* RS+ or RS- for one key, toward one route. */
static void send_interest(void *arg, struct account *account, struct bytes subject,
                          struct bytes queue, uint32_t weight)
{
    struct route *r = arg;
    struct buffer line = {0};
    buffer_printf(&line, "RS%c %s %.*s", weight > 0 ? '+' : '-', account->name, BYTES_ARG(subject));
    if (queue.ptr != NULL) {
        buffer_printf(&line, " %.*s", BYTES_ARG(queue));
        if (weight > 0) {
            buffer_printf(&line, " %u", weight);
        }
    }
    buffer_append_text(&line, "\r\n");
    conn_write(r->conn, buffer_bytes(&line));
    buffer_deinit(&line);
}

static void on_local_interest(void *arg, struct account *account, struct bytes subject,
                              struct bytes queue, uint32_t weight)
{
    struct routes *routes = arg;
    pthread_mutex_lock(&routes->told_lock);
    for (unsigned i = 0; i < routes->told_count; i++) {
        send_interest(routes->told[i], account, subject, queue, weight);
    }
    pthread_mutex_unlock(&routes->told_lock);
}

/* From now on this route hears of every change. False when there are too many. */
static bool start_telling(struct route *r)
{
    struct routes *routes = r->routes;
    pthread_mutex_lock(&routes->told_lock);
    bool room = routes->told_count < ROUTES_MAX;
    if (room) {
        routes->told[routes->told_count++] = r;
    }
    pthread_mutex_unlock(&routes->told_lock);
    return room;
}

static void stop_telling(struct route *r)
{
    struct routes *routes = r->routes;
    pthread_mutex_lock(&routes->told_lock);
    for (unsigned i = 0; i < routes->told_count; i++) {
        if (routes->told[i] == r) {
            routes->told[i] = routes->told[--routes->told_count];
            break;
        }
    }
    pthread_mutex_unlock(&routes->told_lock);
}

static char *put(char *p, struct bytes b)
{
    if (b.len > 0) {
        memcpy(p, b.ptr, b.len);
    }
    return p + b.len;
}

static char *put_char(char *p, char c)
{
    *p = c;
    return p + 1;
}

/* RMSG account subject [reply | + reply queues | '|' queues] size; HMSG with headers. A message
 * whose shown subject differs carries it behind the reply: "<reply>@<shown>" (route protocol §4).
 */
static size_t send_message(void *owner, struct account *account, const struct message *m,
                           const struct bytes *queues, uint32_t queue_count)
{
    struct route *r = owner;
    struct bytes name = bytes_of(account->name);
    bool shown = m->shown.ptr != NULL && m->reply.ptr != NULL;
    char sizes[32];
    int digits = m->header_len > 0
                     ? snprintf(sizes, sizeof sizes, "%u %zu", m->header_len, m->payload.len)
                     : snprintf(sizes, sizeof sizes, "%zu", m->payload.len);
    size_t len = 5 + name.len + 1 + m->subject.len + 1 + (size_t)digits + 2 + m->payload.len + 2;
    if (queue_count > 0) {
        len += 2;
        for (uint32_t i = 0; i < queue_count; i++) {
            len += queues[i].len + 1;
        }
    }
    if (m->reply.ptr != NULL) {
        len += m->reply.len + 1 + (shown ? m->shown.len + 1 : 0);
    }
    char *p = conn_begin(r->conn, len);
    if (p == NULL) {
        return 0;
    }
    const char *start = p;
    p = put(p, m->header_len > 0 ? BYTES_LIT("HMSG ") : BYTES_LIT("RMSG "));
    p = put_char(put(p, name), ' ');
    p = put_char(put(p, m->subject), ' ');
    if (queue_count > 0) {
        p = put(p, m->reply.ptr != NULL ? BYTES_LIT("+ ") : BYTES_LIT("| "));
    }
    if (m->reply.ptr != NULL) {
        p = put(p, m->reply);
        if (shown) {
            p = put(put_char(p, '@'), m->shown);
        }
        p = put_char(p, ' ');
    }
    for (uint32_t i = 0; i < queue_count; i++) {
        p = put_char(put(p, queues[i]), ' ');
    }
    p = put(p, bytes_make(sizes, (size_t)digits));
    p = put(p, BYTES_LIT("\r\n"));
    p = put(p, m->payload);
    p = put(p, BYTES_LIT("\r\n"));
    CHECK((size_t)(p - start) == len);
    return conn_end(r->conn, 1, m->payload.len);
}

static const struct link_ops link_ops = {send_message};

/* --- registration and gossip --- */

static struct route *find_registered(const struct routes *routes, const char *id)
{
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        if (r->registered && strcmp(r->remote_id, id) == 0) {
            return r;
        }
    }
    return NULL;
}

static void update_neighbour_urls(struct routes *routes)
{
    json_t *urls = json_array();
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        json_t *theirs = r->registered ? json_object_get(r->info, "connect_urls") : NULL;
        size_t i;
        json_t *url;
        json_array_foreach(theirs, i, url)
        {
            (void)json_array_append(urls, url);
        }
    }
    broker_set_neighbour_urls(routes->broker, urls);
    json_decref(urls);
}

/* Where others can dial the neighbour: its `ip` when it advertises one, else the address we see. */
static void route_address(const struct route *r, char *host, size_t size, int *port)
{
    const char *ip = json_text(r->info, "ip");
    char *user, *password, *name;
    if (*ip != '\0' && option_parse_url(ip, &user, &password, &name, port) == OK) {
        (void)snprintf(host, size, "%s", name);
        free(user);
        free(password);
        free(name);
        return;
    }
    (void)snprintf(host, size, "%s", r->conn->remote_host);
    *port = (int)json_int(r->info, "port");
}

/* Tells the other neighbours of a new one. Which mode to send: route protocol §5. */
static void gossip(struct route *newcomer)
{
    bool dialled = newcomer->target != NULL;
    if (json_int(newcomer->info, "gossip_mode") == GOSSIP_DISABLED) {
        return;
    }
    if (dialled && !newcomer->target->configured && newcomer->target->gossip != GOSSIP_OVERRIDE) {
        return;
    }
    char host[256];
    int port;
    route_address(newcomer, host, sizeof host, &port);
    struct buffer ip = {0};
    buffer_printf(&ip, strchr(host, ':') != NULL ? "nats-route://[%s]:%d/" : "nats-route://%s:%d/",
                  host, port);
    json_t *info = json_deep_copy(newcomer->info);
    (void)json_object_del(info, "nonce");
    json_put_bytes(info, "ip", buffer_bytes(&ip));
    buffer_deinit(&ip);
    for (struct route *r = newcomer->routes->list; r != NULL; r = r->next) {
        if (r == newcomer || !r->registered) {
            continue;
        }
        bool to_configured = r->target != NULL && r->target->configured;
        int mode = dialled ? (newcomer->target->configured ? GOSSIP_OVERRIDE : GOSSIP_DEFAULT)
                           : (to_configured ? GOSSIP_OVERRIDE : GOSSIP_DISABLED);
        (void)json_object_del(info, "gossip_mode");
        if (mode != GOSSIP_DEFAULT) {
            json_put_int(info, "gossip_mode", mode);
        }
        send_json(r, "INFO ", info, "\r\n");
    }
    json_decref(info);
}

static void count_routes(struct routes *routes)
{
    int registered = 0;
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        registered += r->registered;
    }
    atomic_store(&routes->route_count, registered);
    atomic_store(&routes->remote_count, registered);
}

static void unregister(struct route *r)
{
    if (r->registered) {
        r->registered = false;
        stop_telling(r);
        broker_link_down(r->routes->broker, &r->link);
        count_routes(r->routes);
        update_neighbour_urls(r->routes);
        if (r->routes->peers != NULL && r->is_trireme) {
            peers_forget_address(r->routes->peers, r->remote_name);
        }
    }
}

/* Invariant (1): true when `r` is the one to keep. */
static bool wins_over(const struct route *r, const struct route *old)
{
    bool we_are_smaller = strcmp(broker_server_id(r->routes->broker), r->remote_id) < 0;
    bool r_by_us = r->target != NULL;
    bool old_by_us = old->target != NULL;
    bool crossing = clock_mono_ns() - old->registered_ns < CROSSING_MS * NS_PER_MS;
    return r->is_trireme && crossing && r_by_us != old_by_us && r_by_us == we_are_smaller;
}

/* Who dialled us may be one that we dial, too: then that address needs no dialling. */
static void recognise(const struct route *r)
{
    char host[256];
    int port;
    route_address(r, host, sizeof host, &port);
    for (struct target *t = r->routes->targets; t != NULL; t = t->next) {
        if (t->port == port && strcasecmp(t->host, host) == 0) {
            (void)snprintf(t->remote_id, sizeof t->remote_id, "%s", r->remote_id);
        }
    }
}

static void register_route(struct route *r)
{
    struct routes *routes = r->routes;
    struct route *old = find_registered(routes, r->remote_id);
    if (old != NULL) {
        if (!wins_over(r, old)) {
            route_close(r, CLOSE_DUPLICATE_ROUTE);
            return;
        }
        unregister(old);
        route_close(old, CLOSE_DUPLICATE_ROUTE);
    }
    if (!start_telling(r)) {
        fail(r, "Too many routes", CLOSE_MAX_CONNECTIONS);
        return;
    }
    r->registered = true;
    r->registered_ns = clock_mono_ns();
    recognise(r);
    loop_timer_arm(routes->loop, &r->timer, clock_mono_ns() + NS_PER_SEC, on_timer, r);
    log_info("%s - Route registered to \"%s\"", prefix(r).text, r->remote_name);
    count_routes(routes);
    struct account **accounts = accounts_list(broker_accounts(routes->broker));
    for (uint32_t i = 0; accounts[i] != NULL; i++) {
        account_announce_all(accounts[i], send_interest, r);
    }
    free(accounts);
    gossip(r);
    update_neighbour_urls(routes);
    if (routes->peers != NULL && json_bool(r->info, "trireme_peer")) {
        char host[256];
        int port;
        route_address(r, host, sizeof host, &port);
        peers_learn(routes->peers, r->remote_name, host, port);
    }
}

/* --- dialling --- */

static void schedule(struct target *t, int64_t delay_ms);

static void on_target_timer(void *arg)
{
    dial_target(arg);
}

static void schedule(struct target *t, int64_t delay_ms)
{
    if (t->routes->stopping || t->is_self) {
        return;
    }
    int64_t jitter = (int64_t)random_below(loop_random(t->routes->loop), 100);
    loop_timer_arm(t->routes->loop, &t->timer, clock_mono_ns() + (delay_ms + jitter) * NS_PER_MS,
                   on_target_timer, t);
}

static void route_open(struct routes *routes, int fd, struct target *target);

static void on_dialled(void *arg, int fd, const struct error *error)
{
    struct target *t = arg;
    t->dial = NULL;
    if (fd >= 0) {
        t->tries = 0;
        route_open(t->routes, fd, t);
        return;
    }
    t->tries++;
    if (t->tries == 1 || t->tries % 30 == 0) {
        log_error("Error trying to connect to route (attempt %lld): %s", (long long)t->tries,
                  error->message);
    }
    if (t->configured || t->tries <= broker_options(t->routes->broker)->connect_retries) {
        schedule(t, RECONNECT_MS);
    }
}

static void dial_target(struct target *t)
{
    bool connected = t->remote_id[0] != '\0' && find_registered(t->routes, t->remote_id) != NULL;
    if (t->dial != NULL || t->is_self || t->routes->stopping) {
        return;
    }
    if (connected) { /* by its own dialling: look again later, in case that one is lost */
        if (t->configured) {
            schedule(t, RECONNECT_MS);
        }
        return;
    }
    t->dial = dial_start(t->host, t->port, DIAL_TIMEOUT_MS, on_dialled, t);
}

static struct target *add_target(struct routes *routes, const char *url, bool configured)
{
    struct target *t = NEW(struct target);
    t->routes = routes;
    t->configured = configured;
    if (option_parse_url(url, &t->user, &t->password, &t->host, &t->port) != OK) {
        free(t);
        return NULL;
    }
    t->next = routes->targets;
    routes->targets = t;
    return t;
}

/* An INFO about somebody else: dial, unless we know that server. */
static void on_gossip(struct route *r, json_t *info)
{
    struct routes *routes = r->routes;
    const char *id = json_text(info, "server_id");
    const char *ip = json_text(info, "ip");
    if (*ip == '\0' || strcmp(id, broker_server_id(routes->broker)) == 0 ||
        find_registered(routes, id) != NULL) {
        return;
    }
    char *user, *password, *host;
    int port;
    if (option_parse_url(ip, &user, &password, &host, &port) != OK) {
        return;
    }
    free(user);
    free(password);
    struct target *known = NULL;
    for (struct target *t = routes->targets; t != NULL && known == NULL; t = t->next) {
        known = strcmp(t->host, host) == 0 && t->port == port ? t : NULL;
    }
    free(host);
    if (known == NULL) {
        known = add_target(routes, ip, false);
        if (known == NULL) {
            return;
        }
        option_set(&known->user, broker_options(routes->broker)->cluster_user);
        option_set(&known->password, broker_options(routes->broker)->cluster_password);
    } else if (known->configured) {
        return; /* it is being dialled anyway */
    }
    known->gossip = (enum gossip_mode)json_int(info, "gossip_mode");
    known->tries = 0;
    (void)snprintf(known->remote_id, sizeof known->remote_id, "%s", id);
    dial_target(known);
}

/* --- input --- */

static void on_info(struct route *r, json_t *info)
{
    struct routes *routes = r->routes;
    const char *id = json_text(info, "server_id");
    if (*id == '\0') {
        route_close(r, CLOSE_PARSE_ERROR);
        return;
    }
    if (r->registered) {
        if (strcmp(id, r->remote_id) != 0) {
            on_gossip(r, info);
        } else if (json_bool(info, "ldm")) {
            (void)json_object_del(r->info, "connect_urls");
            update_neighbour_urls(routes);
        }
        return;
    }
    (void)snprintf(r->remote_id, sizeof r->remote_id, "%s", id);
    (void)snprintf(r->remote_name, sizeof r->remote_name, "%s", json_text(info, "server_name"));
    r->is_trireme = json_object_get(info, "trireme") != NULL;
    r->info = json_incref(info);
    if (r->target != NULL) {
        (void)snprintf(r->target->remote_id, sizeof r->target->remote_id, "%s", id);
    }
    const char *theirs = json_text(info, "cluster");
    if (strcmp(id, broker_server_id(routes->broker)) == 0) {
        if (r->target != NULL) {
            r->target->is_self = true;
        }
        route_close(r, CLOSE_DUPLICATE_ROUTE);
    } else if (strcmp(r->remote_name, broker_server_name(routes->broker)) == 0) {
        log_error("%s - Remote server has a duplicate name: \"%s\"", prefix(r).text,
                  r->remote_name);
        route_close(r, CLOSE_DUPLICATE_SERVER_NAME);
    } else if (strcmp(theirs, cluster_name(routes)) != 0) {
        struct buffer text = {0};
        buffer_printf(&text, "Rejecting connection, cluster name \"%s\" does not match \"%s\"%c",
                      theirs, cluster_name(routes), '\0');
        fail(r, text.data, CLOSE_CLUSTER_NAME_CONFLICT);
        buffer_deinit(&text);
    } else {
        register_route(r);
    }
}

static void on_connect(struct route *r, json_t *connect)
{
    const struct options *o = broker_options(r->routes->broker);
    if (r->target != NULL || r->got_connect) {
        return;
    }
    if (*json_text(connect, "lang") != '\0') {
        fail(r, "attempted to connect to route port", CLOSE_WRONG_PORT);
        return;
    }
    if (o->cluster_user != NULL) {
        const char *password = o->cluster_password == NULL ? "" : o->cluster_password;
        bool same_user =
            auth_equal(bytes_of(o->cluster_user), bytes_of(json_text(connect, "user")));
        bool same = auth_equal(bytes_of(password), bytes_of(json_text(connect, "pass")));
        if (!same_user || !same) {
            fail(r, "Authorization Violation", CLOSE_AUTH_FAILURE);
            return;
        }
    }
    r->got_connect = true;
}

static void on_message(struct route *r, const struct proto_op *op)
{
    r->in_msgs++;
    r->in_bytes += op->payload.len;
    if (r->last_account == NULL || !bytes_is(op->account, r->last_account->name)) {
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
    broker_publish_from_link(r->routes->broker, r->last_account, &m, op->queues, op->queue_count);
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

static void on_op(struct route *r, const struct proto_op *op)
{
    bool admitted = r->target != NULL || r->got_connect;
    if (!admitted && op->verb != VERB_CONNECT && op->verb != VERB_PING && op->verb != VERB_PONG) {
        fail(r, "Authorization Violation", CLOSE_AUTH_FAILURE);
        return;
    }
    switch (op->verb) {
    case VERB_RMSG:
        if (r->registered) {
            on_message(r, op);
        }
        return;
    case VERB_RS_PLUS:
    case VERB_RS_MINUS:
        if (r->registered) {
            broker_link_interest(r->routes->broker, &r->link, op->account, op->subject, op->queue,
                                 op->verb == VERB_RS_PLUS ? op->weight : 0);
        }
        return;
    case VERB_INFO:
    case VERB_CONNECT:
        on_json_op(r, op);
        return;
    case VERB_PING:
        conn_write(r->conn, BYTES_LIT("PONG\r\n"));
        return;
    case VERB_PONG:
        r->pings_out = 0;
        r->rtt_ns = clock_mono_ns() - r->ping_sent_ns;
        return;
    case VERB_ERR:
        log_error("%s - Route Error %.*s", prefix(r).text, BYTES_ARG(op->args));
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
    bool first = r->target == NULL && !r->got_connect && r->parser.partial.len == 0;
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

static void on_data(struct conn *conn, const char *data, size_t len)
{
    struct route *r = conn->owner;
    if (hand_to_peers(r, data, len)) {
        return;
    }
    const char *at = data;
    const char *end = data + len;
    struct proto_op op;
    enum parser_status status;
    uint64_t msgs = r->in_msgs;
    uint64_t bytes = r->in_bytes;
    r->last_activity_ns = clock_now_ns();
    while ((status = parser_next(&r->parser, &at, end, &op)) == PARSER_OP) {
        on_op(r, &op);
        if (conn->closed) {
            return;
        }
    }
    broker_count_link_in(r->routes->broker, r->in_msgs - msgs, r->in_bytes - bytes);
    if (status == PARSER_BAD_VERB) {
        fail(r, "Unknown Protocol Operation", CLOSE_PARSE_ERROR);
    } else if (status != PARSER_MORE) {
        log_error("%s - Route parser ERROR", prefix(r).text);
        route_close(r, CLOSE_PARSE_ERROR);
    }
}

/* --- life --- */

static void destroy(void *arg)
{
    struct route *r = arg;
    parser_deinit(&r->parser);
    map_deinit(&r->link.subs);
    json_decref(r->info);
    free(r);
}

static void on_close(struct conn *conn, enum close_reason reason)
{
    struct route *r = conn->owner;
    struct routes *routes = r->routes;
    if (r->remote_name[0] != '\0') {
        log_info("%s - Router connection closed: %s - Remote: %s", prefix(r).text,
                 close_reason_text(reason), r->remote_name);
    }
    unregister(r);
    for (struct route **at = &routes->list; *at != NULL; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    loop_timer_cancel(routes->loop, &r->timer);
    if (r->target != NULL && r->target->configured) {
        schedule(r->target, RECONNECT_MS);
    } else if (r->target == NULL || !r->target->configured) {
        /* An accepted neighbour that a configured address leads to may be dialled again. */
        for (struct target *t = routes->targets; t != NULL; t = t->next) {
            if (t->configured && strcmp(t->remote_id, r->remote_id) == 0 && t->dial == NULL &&
                !loop_timer_armed(&t->timer)) {
                schedule(t, RECONNECT_MS);
            }
        }
    }
    conn_release(conn);
    loop_retire(destroy, r);
}

static const struct conn_ops route_conn_ops = {.on_data = on_data, .on_close = on_close};

static void route_close(struct route *r, enum close_reason reason)
{
    conn_close(r->conn, reason);
}

static void on_timer(void *arg)
{
    struct route *r = arg;
    if (!r->registered) {
        fail(r, "Authentication Timeout", CLOSE_AUTH_TIMEOUT);
        return;
    }
    if (r->pings_out >= 2) {
        fail(r, "Stale Connection", CLOSE_STALE);
        return;
    }
    r->pings_out++;
    r->ping_sent_ns = clock_mono_ns();
    conn_write(r->conn, BYTES_LIT("PING\r\n"));
    loop_timer_arm(r->routes->loop, &r->timer, clock_mono_ns() + ROUTE_PING_NS, on_timer, r);
}

static void route_open(struct routes *routes, int fd, struct target *target)
{
    if (routes->stopping) {
        (void)close(fd);
        return;
    }
    struct route *r = NEW(struct route);
    r->routes = routes;
    r->target = target;
    r->gossip = target != NULL && !target->configured ? target->gossip : GOSSIP_DEFAULT;
    r->conn = conn_open(routes->loop, fd, broker_next_id(routes->broker), &route_conn_ops, r);
    r->link = (struct link){.ops = &link_ops, .owner = r, .conn = r->conn};
    r->next = routes->list;
    routes->list = r;
    r->last_activity_ns = clock_now_ns();
    parser_init(&r->parser, PARSER_ROUTE, ROUTE_LINE_MAX, 256u << 20);
    log_info("%s - Route connection created", prefix(r).text);
    if (target != NULL) {
        send_connect(r);
    }
    send_info(r);
    loop_timer_arm(routes->loop, &r->timer, clock_mono_ns() + ROUTE_AUTH_NS, on_timer, r);
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct routes *routes = poll->data;
    loop_enter(routes->loop);
    if (status < 0) {
        return;
    }
    int fd;
    while ((fd = accept4(routes->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        route_open(routes, fd, NULL);
    }
}

static void start(void *arg)
{
    struct routes *routes = arg;
    CHECK(uv_poll_init(loop_uv(routes->loop), &routes->listen_poll, routes->listen_fd) == 0);
    routes->listen_poll.data = routes;
    (void)uv_poll_start(&routes->listen_poll, UV_READABLE, on_listener);
    routes->listening = true;
    for (struct target *t = routes->targets; t != NULL; t = t->next) {
        dial_target(t);
    }
}

struct routes *routes_new(struct broker *broker, struct peers *peers)
{
    struct routes *routes = NEW(struct routes);
    routes->broker = broker;
    routes->peers = peers;
    routes->loop = loops_at(broker_loops(broker), 0);
    pthread_mutex_init(&routes->told_lock, NULL);
    broker_on_local_interest(broker, on_local_interest, routes);
    return routes;
}

enum err routes_listen(struct routes *routes, struct error *error)
{
    const struct options *o = broker_options(routes->broker);
    routes->port = o->cluster_port;
    routes->listen_fd = net_bind(o->cluster_host, &routes->port, error);
    if (routes->listen_fd < 0 || net_listen(routes->listen_fd, error) != OK) {
        return ERR_IO;
    }
    log_info("Cluster name is %s", cluster_name(routes));
    log_info("Listening for route connections on %s:%d", o->cluster_host, routes->port);
    for (uint32_t i = 0; i < o->routes.count; i++) {
        if (add_target(routes, o->routes.items[i], true) == NULL) {
            return error_set(error, ERR_INVALID, "error parsing route url [\"%s\"]",
                             o->routes.items[i]);
        }
    }
    loop_post(routes->loop, start, routes);
    return OK;
}

void routes_tell_lame_duck(struct routes *routes)
{
    CHECK(loop_is_current(routes->loop));
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        if (r->registered) {
            send_info(r);
        }
    }
}

void routes_shutdown(struct routes *routes)
{
    CHECK(loop_is_current(routes->loop));
    routes->stopping = true;
    if (routes->listening) {
        routes->listening = false;
        (void)uv_poll_stop(&routes->listen_poll);
        uv_close((uv_handle_t *)&routes->listen_poll, NULL);
        (void)close(routes->listen_fd);
    }
    for (struct target *t = routes->targets; t != NULL; t = t->next) {
        loop_timer_cancel(routes->loop, &t->timer);
        if (t->dial != NULL) {
            dial_cancel(t->dial);
            t->dial = NULL;
        }
    }
    while (routes->list != NULL) {
        route_close(routes->list, CLOSE_SERVER_SHUTDOWN);
    }
}

void routes_free(struct routes *routes)
{
    while (routes->targets != NULL) {
        struct target *t = routes->targets;
        routes->targets = t->next;
        free(t->host);
        free(t->user);
        free(t->password);
        free(t);
    }
    pthread_mutex_destroy(&routes->told_lock);
    free(routes);
}

/* --- monitoring --- */

struct routes_counts routes_count(const struct routes *routes)
{
    return (struct routes_counts){atomic_load(&routes->route_count),
                                  atomic_load(&routes->remote_count)};
}

int routes_port(const struct routes *routes)
{
    return routes->port;
}

unsigned routes_expected_servers(const struct routes *routes)
{
    /* Each configured address is a server; ours may or may not be among them. */
    unsigned count = 0;
    bool self = false;
    for (const struct target *t = routes->targets; t != NULL; t = t->next) {
        count += t->configured;
        self = self || (t->configured && t->is_self);
    }
    return count + (self ? 0 : 1);
}

void routes_describe(const struct routes *routes, json_t *array)
{
    int64_t now = clock_now_ns();
    for (const struct route *r = routes->list; r != NULL; r = r->next) {
        if (!r->registered) {
            continue;
        }
        json_t *o = json_object();
        json_put_u64(o, "rid", r->conn->id);
        json_put_text(o, "remote_id", r->remote_id);
        json_put_text(o, "remote_name", r->remote_name);
        json_put_bool(o, "did_solicit", r->target != NULL);
        json_put_bool(o, "is_configured", r->target != NULL && r->target->configured);
        json_put_text(o, "ip", r->conn->remote_host);
        json_put_int(o, "port", r->conn->remote_port);
        json_put_time(o, "start", r->conn->start_ns);
        json_put_time(o, "last_activity", r->last_activity_ns);
        char text[48];
        if (r->rtt_ns > 0) {
            (void)snprintf(text, sizeof text, "%lld\xc2\xb5s", (long long)(r->rtt_ns / 1000));
            json_put_text(o, "rtt", text);
        }
        clock_format_uptime(now - r->conn->start_ns, text);
        json_put_text(o, "uptime", text);
        clock_format_uptime(now - r->last_activity_ns, text);
        json_put_text(o, "idle", text);
        pthread_mutex_lock(&r->conn->lock);
        uint64_t pending = r->conn->pending, msgs = r->conn->out_msgs, bytes = r->conn->out_bytes;
        pthread_mutex_unlock(&r->conn->lock);
        json_put_u64(o, "pending_size", pending);
        json_put_u64(o, "in_msgs", r->in_msgs);
        json_put_u64(o, "out_msgs", msgs);
        json_put_u64(o, "in_bytes", r->in_bytes);
        json_put_u64(o, "out_bytes", bytes);
        json_put_int(o, "subscriptions", r->link.subs.count);
        json_put_text(o, "compression", "off");
        (void)json_array_append_new(array, o);
    }
}
