/* The mesh: its listener, a reload, its end. How it works: route_internal.h. */
#include "cluster/routes.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cluster/peers.h"
#include "cluster/route_internal.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/net/listener.h"

/* Messages are left out beyond max_pending; interest cannot be, so it has this times as much before
 * the route is closed. */
#define INTEREST_ROOM       4
#define ROUTE_LINE_MAX      65536
#define ROUTE_STRANGERS_MAX 128
#define ROUTE_PAYLOAD_MAX   (256u << 20) /* theirs may be larger than ours */

/* --- connections --- */

const char *routes_certificate_name(const struct routes *routes, const char *host,
                                    const struct target *target)
{
    struct in6_addr ignored;
    if (target != NULL && target->configured) {
        return target->name;
    }
    bool is_address =
        inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1;
    for (const struct target *t = routes->targets; is_address && t != NULL; t = t->next) {
        if (t->configured && strcmp(t->name, t->host) != 0) {
            return t->name;
        }
    }
    return host;
}

static void start_tls(struct route *r)
{
    struct routes *routes = r->routes;
    if (r->target == NULL) {
        conn_expect_tls(r->conn, routes->accept_tls, false);
    } else {
        conn_start_tls(r->conn, routes->dial_tls,
                       routes_certificate_name(routes, r->target->host, r->target));
    }
    route_arm_handshake(r);
}

void route_open(struct routes *routes, int fd, struct target *target, struct route_place place)
{
    if (routes->stopping) {
        (void)close(fd);
        free(place.account);
        return;
    }
    const struct cluster_options *o = routes_options(routes);
    struct route *r = NEW(struct route);
    r->routes = routes;
    r->target = target;
    r->place = place;
    r->gossip = target != NULL && !target->configured ? target->gossip : GOSSIP_DEFAULT;
    r->conn = conn_open(routes->loop, fd, broker_next_id(routes->broker), &route_conn_ops, r);
    r->conn->write_deadline_ns = o->write_deadline_ns;
    r->conn->max_pending =
        INTEREST_ROOM * (size_t)broker_options(routes->broker)->max_pending + ROUTE_PAYLOAD_MAX;
    r->link = (struct link){.ops = &route_link_ops, .owner = r, .conn = r->conn};
    r->next = routes->list;
    routes->list = r;
    r->last_activity_ns = clock_now_ns();
    parser_init(&r->parser, PARSER_ROUTE, ROUTE_LINE_MAX, ROUTE_PAYLOAD_MAX);
    /* Until it is registered. Whom we dial is who we meant, and may say more of itself. */
    r->parser.greeting_line = target == NULL ? PARSER_GREETING_LINE : ROUTE_LINE_MAX;
    r->conn->read_max = ROUTE_LINE_MAX;
    log_info("%s - Route connection created", route_prefix(r).text);
    if (routes->accept_tls != NULL) {
        start_tls(r);
    } else {
        route_begin(r);
    }
}

/* Whoever has not said yet which server it is takes a file that others need: of too many the one
 * that came first goes. A server needs some milliseconds for that, and dials again. */
static void make_room(const struct routes *routes)
{
    struct route *oldest = NULL; /* the newest are in front */
    unsigned strangers = 0;
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        if (r->target == NULL && r->remote == NULL) {
            strangers++;
            oldest = r;
        }
    }
    if (strangers >= ROUTE_STRANGERS_MAX) {
        route_close(oldest, CLOSE_MAX_CONNECTIONS);
    }
}

static void on_accept(void *arg, int fd, bool crowded)
{
    struct routes *routes = arg;
    make_room(routes);
    if (crowded) {
        (void)close(fd);
        return;
    }
    route_open(routes, fd, NULL, (struct route_place){0});
}

/* --- start --- */

static void start(void *arg)
{
    struct routes *routes = arg;
    routes->listener =
        listener_open(routes->loop, routes->listen_fd, "route", FILES_SERVERS, on_accept, routes);
    seeds_apply(routes);
}

struct routes *routes_new(struct broker *broker, struct peers *peers)
{
    struct routes *routes = NEW(struct routes);
    routes->broker = broker;
    routes->peers = peers;
    routes->loop = loops_at(broker_loops(broker), 0);
    pthread_mutex_init(&routes->told_lock, NULL);
    broker_on_local_interest(broker, routes_interest_announcer(), routes);
    return routes;
}

static void retain_tls(struct routes *routes, const struct routes_tls *tls)
{
    tls_context_release(routes->accept_tls);
    tls_context_release(routes->dial_tls);
    routes->accept_tls = tls->accept == NULL ? NULL : tls_context_retain(tls->accept);
    routes->dial_tls = tls->dial == NULL ? NULL : tls_context_retain(tls->dial);
    if (routes->peers != NULL) {
        peers_set_tls(routes->peers, routes->dial_tls);
    }
}

enum err routes_listen(struct routes *routes, const struct routes_tls *tls, struct error *error)
{
    const struct cluster_options *o = routes_options(routes);
    retain_tls(routes, tls);
    routes->port = o->port;
    routes->listen_fd = net_bind(o->host, &routes->port, error);
    if (routes->listen_fd < 0 || net_listen(routes->listen_fd, error) != OK) {
        return ERR_IO;
    }
    log_info("Cluster name is %s", broker_cluster_name(routes->broker));
    if (o->name == NULL) {
        log_warn("Cluster name was dynamically generated, consider setting one");
    }
    log_info("Listening for route connections on %s", address_text(o->host, routes->port).text);
    if (!routes_are_authenticated(routes)) {
        log_warn("The cluster port asks nobody for credentials: whoever reaches it can read and "
                 "send any message; set authorization or tls in cluster{}");
    }
    for (uint32_t i = 0; i < o->routes.count; i++) {
        if (!seed_is_valid(o->routes.items[i])) {
            struct buffer shown = {0};
            url_put_public(&shown, bytes_of(o->routes.items[i]));
            (void)error_set(error, ERR_INVALID, "error parsing route url [\"%.*s\"]",
                            BYTES_ARG(buffer_bytes(&shown)));
            buffer_deinit(&shown);
            return ERR_INVALID;
        }
    }
    loop_post(routes->loop, start, routes);
    return OK;
}

/* --- reload --- */

void routes_reload(struct routes *routes, const struct routes_tls *tls, bool begin_anew)
{
    CHECK(loop_is_current(routes->loop));
    retain_tls(routes, tls);
    seeds_apply(routes);
    if (begin_anew) { /* what neighbours may have of us is another thing now */
        remotes_keep_urls(routes);
        while (routes->list != NULL) {
            route_close(routes->list, CLOSE_CLIENT);
        }
        return;
    }
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        r->conn->write_deadline_ns = routes_options(routes)->write_deadline_ns;
        if (r->remote != NULL) {
            route_send_info(r, r->compression);
        }
    }
}

/* --- end --- */

void routes_tell_lame_duck(struct routes *routes)
{
    CHECK(loop_is_current(routes->loop));
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        if (r->remote != NULL) {
            route_send_info(r, r->compression);
        }
    }
}

void routes_shutdown(struct routes *routes)
{
    CHECK(loop_is_current(routes->loop));
    routes->stopping = true;
    remotes_forget_urls(routes);
    listener_close(routes->listener);
    routes->listener = NULL;
    seeds_stop(routes);
    targets_stop(routes);
    while (routes->list != NULL) {
        route_close(routes->list, CLOSE_SERVER_SHUTDOWN);
    }
}

void routes_free(struct routes *routes)
{
    targets_free(routes);
    tls_context_release(routes->accept_tls);
    tls_context_release(routes->dial_tls);
    pthread_mutex_destroy(&routes->told_lock);
    free(routes);
}

/* --- numbers --- */

struct routes_counts routes_count(const struct routes *routes)
{
    return (struct routes_counts){atomic_load(&routes->route_count),
                                  atomic_load(&routes->remote_count)};
}

int routes_port(const struct routes *routes)
{
    return routes->port;
}

int64_t routes_tls_not_after_ns(const struct routes *routes)
{
    return routes->accept_tls == NULL ? 0 : tls_context_not_after_ns(routes->accept_tls);
}
