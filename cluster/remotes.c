/* The servers at the other ends of routes.
 *
 * (1) A server has one connection, or with pooling on both sides one per place of the pool and one
 *     per pinned account. The first one in a place stays. When two Trireme nodes dial each other at
 *     the same time, each may see another one first; the one dialled by the smaller id stays then,
 *     so that both keep the same. A nats-server closes the newer one, and redialling sorts it out.
 * (2) Who dialled the first connection dials the others, one after another. A nats-server dials an
 *     account's connection when gossip tells it of the other's, whoever dialled the first; when the
 *     two are told of each other in different orders, nobody may. It does not dial again what it
 *     had dialled by gossip and lost, either. So whoever sees a place stay empty dials it.
 * (3) The list and the places change under told_lock, for interest is announced from all loops.
 *     Source: NATS route protocol §3, §5, §6. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "cluster/peers.h"
#include "cluster/route_internal.h"
#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"

#define CROSSING_MS   500  /* two routes registered within this may have been dialled crosswise */
#define COMPLETION_MS 1000 /* for the other side to dial what is its to dial */

struct remote *remote_find(const struct routes *routes, const char *id)
{
    for (struct remote *remote = routes->remotes; remote != NULL; remote = remote->next) {
        if (strcmp(remote->id, id) == 0) {
            return remote;
        }
    }
    return NULL;
}

struct route *remote_any_route(const struct remote *remote)
{
    for (unsigned i = 0; i < remote->pool_size; i++) {
        if (remote->pool[i] != NULL) {
            return remote->pool[i];
        }
    }
    uint32_t i = 0;
    struct map_entry *e = map_next(&remote->pinned, &i);
    return e == NULL ? NULL : e->value;
}

static struct route *occupant(const struct remote *remote, const struct route_place *place)
{
    return place->account == NULL ? remote->pool[place->index]
                                  : map_get(&remote->pinned, bytes_of(place->account));
}

/* --- client URLs --- */

/* Those that dial anew, perhaps crosswise, are back by then. */
#define KEEP_URLS_NS (3 * NS_PER_SEC)

static bool has_url(const json_t *urls, const json_t *wanted)
{
    size_t i;
    json_t *url;
    json_array_foreach(urls, i, url)
    {
        if (json_equal(url, wanted)) {
            return true;
        }
    }
    return false;
}

/* Those that are not there. */
static void add_urls(json_t *urls, const json_t *more)
{
    size_t i;
    json_t *url;
    json_array_foreach(more, i, url)
    {
        if (!has_url(urls, url)) {
            (void)json_array_append(urls, url);
        }
    }
}

static json_t *urls_of_remotes(const struct routes *routes)
{
    json_t *urls = json_array();
    for (struct remote *remote = routes->remotes; remote != NULL; remote = remote->next) {
        add_urls(urls, json_object_get(remote->info, "connect_urls"));
    }
    return urls;
}

static void update_neighbour_urls(struct routes *routes)
{
    if (routes->stopping) { /* the clients have gone */
        return;
    }
    json_t *urls = urls_of_remotes(routes);
    add_urls(urls, routes->kept_urls);
    broker_set_neighbour_urls(routes->broker, urls);
    json_decref(urls);
}

void remotes_forget_urls(struct routes *routes)
{
    loop_timer_cancel(routes->loop, &routes->kept_timer);
    json_decref(routes->kept_urls);
    routes->kept_urls = NULL;
}

static void on_kept_long_enough(void *arg)
{
    struct routes *routes = arg;
    remotes_forget_urls(routes);
    update_neighbour_urls(routes);
}

void remotes_keep_urls(struct routes *routes)
{
    json_t *urls = urls_of_remotes(routes);
    add_urls(urls, routes->kept_urls); /* not back yet from the time before */
    remotes_forget_urls(routes);
    routes->kept_urls = urls;
    loop_timer_arm(routes->loop, &routes->kept_timer, clock_mono_ns() + KEEP_URLS_NS,
                   on_kept_long_enough, routes);
}

static void count_routes(struct routes *routes)
{
    int registered = 0;
    for (struct route *r = routes->list; r != NULL; r = r->next) {
        registered += r->remote != NULL;
    }
    atomic_store(&routes->route_count, registered);
    atomic_store(&routes->remote_count, (int)routes->remote_total);
}

/* --- gossip --- */

/* How to tell `to` of the newcomer; false: not at all. NATS route protocol §5. */
static bool gossip_mode(const struct route *newcomer, const json_t *info, const struct route *to,
                        enum gossip_mode *mode)
{
    const struct target *by = newcomer->target;
    if (json_int(info, "gossip_mode") == GOSSIP_DISABLED) {
        return false;
    }
    if (by == NULL) {
        *mode = to->target != NULL && to->target->configured ? GOSSIP_OVERRIDE : GOSSIP_DISABLED;
        return true;
    }
    *mode = by->configured ? GOSSIP_OVERRIDE : GOSSIP_DEFAULT;
    return by->configured || by->gossip == GOSSIP_OVERRIDE;
}

/* Tells the other servers of a new one; of a connection for an account, those that have one, too.
 */
static void gossip(const struct route *newcomer, const json_t *said)
{
    char host[256];
    int port;
    route_address(newcomer, said, host, sizeof host, &port);
    struct buffer ip = {0};
    buffer_printf(&ip, "nats-route://%s/", address_text(host, port).text);
    json_t *info = json_deep_copy(said);
    (void)json_object_del(info, "nonce");
    (void)json_object_del(info, "route_pool_idx");
    json_put_bytes(info, "ip", buffer_bytes(&ip));
    buffer_deinit(&ip);
    if (newcomer->place.account != NULL) {
        json_put_text(info, "route_account", newcomer->place.account);
    }
    struct remote *next;
    for (struct remote *other = newcomer->routes->remotes; other != NULL; other = next) {
        next = other->next;
        struct route *to = newcomer->place.account == NULL ? remote_any_route(other)
                                                           : occupant(other, &newcomer->place);
        enum gossip_mode mode;
        if (other == newcomer->remote || to == NULL || !gossip_mode(newcomer, said, to, &mode)) {
            continue;
        }
        (void)json_object_del(info, "gossip_mode");
        if (mode != GOSSIP_DEFAULT) {
            json_put_int(info, "gossip_mode", mode);
        }
        route_send_json(to, "INFO ", info, "\r\n");
    }
    json_decref(info);
}

/* An INFO about somebody else: dial, unless we know that server. What is said of an account's own
 * connection is left out: invariant (2). */
static void on_gossip(struct route *r, const json_t *info)
{
    struct routes *routes = r->routes;
    const char *id = json_text(info, "server_id");
    const char *ip = json_text(info, "ip");
    struct url url;
    if (*ip == '\0' || *json_text(info, "route_account") != '\0' ||
        strcmp(id, broker_server_id(routes->broker)) == 0 || remote_find(routes, id) != NULL ||
        url_parse(bytes_of(ip), &url) != OK) {
        return;
    }
    struct target *t = target_of_server(routes, url.host, url.port, id);
    url_deinit(&url);
    if (!t->configured) { /* else it is being dialled anyway */
        t->gossip = (enum gossip_mode)json_int(info, "gossip_mode");
        target_dial(t, (struct route_place){0}, 0);
    }
}

/* --- pools --- */

/* The next place of the pool that nobody holds, if we are to fill it. */
static bool next_place(const struct remote *remote, struct route_place *place)
{
    for (unsigned i = 1; i < remote->pool_size; i++) {
        if (remote->pool[i] == NULL) {
            *place = (struct route_place){.index = i};
            return true;
        }
    }
    return false;
}

void remote_fill_pool(struct route *r)
{
    struct route_place place;
    if (next_place(r->remote, &place)) {
        target_dial(r->target, place, 0);
    }
}

/* The connections of accounts that are missing. True: there were such. */
static bool dial_pinned(const struct remote *remote, struct target *t)
{
    struct routes *routes = remote->routes;
    struct account **accounts = accounts_list(broker_accounts(routes->broker));
    bool missing = false;
    for (uint32_t i = 0; accounts[i] != NULL; i++) {
        struct route_place place = {.account = accounts[i]->name};
        if (routes_pin(routes, accounts[i]->name) && occupant(remote, &place) == NULL) {
            missing = true;
            target_dial(t, route_place_copy(&place), 0);
        }
    }
    free(accounts);
    return missing;
}

static void complete_later(struct remote *remote);

/* Invariant (2): dials what is missing. */
static void complete(void *arg)
{
    struct remote *remote = arg;
    if (!remote->pooled) {
        return;
    }
    char host[256];
    int port;
    route_address(remote_any_route(remote), remote->info, host, sizeof host, &port);
    struct target *t = target_of_server(remote->routes, host, port, remote->id);
    bool missing = dial_pinned(remote, t);
    for (unsigned i = 0; i < remote->pool_size; i++) {
        if (remote->pool[i] == NULL) {
            missing = true;
            target_dial(t, (struct route_place){.index = i}, 0);
        }
    }
    if (missing) {
        complete_later(remote);
    }
}

static void complete_later(struct remote *remote)
{
    struct loop *loop = remote->routes->loop;
    int64_t jitter = (int64_t)random_below(loop_random(loop), COMPLETION_MS);
    loop_timer_arm(loop, &remote->completion,
                   clock_mono_ns() + (COMPLETION_MS + jitter) * NS_PER_MS, complete, remote);
}

/* --- registration --- */

/* Which connection of the remote this is to be. False: it cannot be one, and is closed. */
static bool take_place(struct route *r, const json_t *info, bool pooled, unsigned pool_size)
{
    const char *account = json_text(info, "route_account");
    int64_t index = json_int(info, "route_pool_idx");
    if (r->target == NULL && *account != '\0') {
        r->place.account = mem_strdup(account);
    }
    if (r->place.account != NULL && !pooled) {
        route_fail(r, CLOSE_PROTOCOL_VIOLATION,
                   "Not possible to have a dedicated route for account \"%s\" between those "
                   "servers",
                   r->place.account);
        return false;
    }
    if (r->place.account != NULL &&
        accounts_find(broker_accounts(r->routes->broker), bytes_of(r->place.account)) == NULL) {
        route_fail(r, CLOSE_PROTOCOL_VIOLATION, "Unable to lookup account \"%s\": account missing",
                   r->place.account);
        return false;
    }
    if (r->place.account != NULL && !routes_pin(r->routes, r->place.account)) {
        route_fail(r, CLOSE_PROTOCOL_VIOLATION, "No route for account \"%s\"", r->place.account);
        return false;
    }
    if (r->target != NULL && index != 0) {
        route_fail(r, CLOSE_PROTOCOL_VIOLATION,
                   "Route pool index should not be set but is set to %lld", (long long)index);
        return false;
    }
    if (r->target == NULL && r->place.account == NULL) {
        if (index < 0 || index >= pool_size) {
            route_fail(r, CLOSE_PROTOCOL_VIOLATION,
                       "Invalid route pool index: %lld - pool size is %u", (long long)index,
                       pool_size);
            return false;
        }
        r->place.index = (unsigned)index;
    }
    return true;
}

/* Invariant (1): true when `r` is the one to keep. */
static bool wins_over(const struct route *r, const struct route *old)
{
    bool we_are_smaller = strcmp(broker_server_id(r->routes->broker), r->remote_id) < 0;
    bool r_by_us = r->target != NULL;
    bool old_by_us = old->target != NULL;
    bool crossing = clock_mono_ns() - old->registered_ns < CROSSING_MS * NS_PER_MS;
    return old->remote->is_trireme && crossing && r_by_us != old_by_us && r_by_us == we_are_smaller;
}

/* Who dialled us may be one that we dial, too: then that address needs no dialling. What somebody
 * says of its address does not count against whom is connected there. */
static void recognise(const struct route *r, const json_t *info)
{
    char host[256];
    int port;
    route_address(r, info, host, sizeof host, &port);
    struct target *t = target_find(r->routes, host, port);
    if (t == NULL) { /* it advertises a name, or an address for others */
        t = target_find(r->routes, r->conn->remote_host, (int)json_int(info, "port"));
    }
    if (t != NULL && !t->is_self &&
        (strcmp(t->remote_id, r->remote_id) == 0 || t->remote_id[0] == '\0' ||
         remote_find(r->routes, t->remote_id) == NULL)) {
        (void)snprintf(t->remote_id, sizeof t->remote_id, "%s", r->remote_id);
        (void)snprintf(t->remote_name, sizeof t->remote_name, "%s", r->remote_name);
    }
}

static struct remote *remote_new(struct route *r, json_t *info, bool pooled, unsigned pool_size)
{
    struct remote *remote = NEW(struct remote);
    remote->routes = r->routes;
    (void)snprintf(remote->id, sizeof remote->id, "%s", r->remote_id);
    (void)snprintf(remote->name, sizeof remote->name, "%s", r->remote_name);
    remote->is_trireme = json_object_get(info, "trireme") != NULL;
    remote->pooled = pooled;
    remote->pool_size = pool_size;
    remote->info = json_incref(info);
    return remote;
}

static void put_in_place(struct remote *remote, const struct route_place *place, struct route *r)
{
    if (place->account == NULL) {
        remote->pool[place->index] = r;
    } else if (r != NULL) {
        (void)map_put(&remote->pinned, bytes_of(place->account), r);
    } else {
        (void)map_remove(&remote->pinned, bytes_of(place->account));
    }
}

static void remote_free(struct remote *remote)
{
    loop_timer_cancel(remote->routes->loop, &remote->completion);
    map_deinit(&remote->pinned);
    json_decref(remote->info);
    free(remote);
}

/* Where the consensus connection goes: to the configured address at which the server is, if there
 * is one, else to where it seems to be. */
static void learn_peer(const struct route *r, const json_t *info)
{
    struct routes *routes = r->routes;
    if (routes->peers == NULL || !json_bool(info, "trireme_peer")) {
        return;
    }
    const struct target *t = r->target;
    if (t == NULL || !t->configured) {
        t = routes->targets;
        while (t != NULL && (!t->configured || strcmp(t->remote_id, r->remote_id) != 0)) {
            t = t->next;
        }
    }
    if (t != NULL) {
        peers_learn(routes->peers, r->remote_name, t->host, t->port,
                    routes_certificate_name(routes, t->host, t));
        return;
    }
    char host[256];
    int port;
    route_address(r, info, host, sizeof host, &port);
    peers_learn(routes->peers, r->remote_name, host, port,
                routes_certificate_name(routes, host, NULL));
}

/* We dialled it: further connections are ours to dial. */
static void go_on_dialling(struct route *r)
{
    struct route_place ignored;
    r->target->once_connected = true;
    if (!r->remote->pooled || r->place.account != NULL) {
        return;
    }
    if (next_place(r->remote, &ignored)) {
        r->fills_pool = true;
        route_ping(r);
    }
    if (r->place.index == 0) {
        (void)dial_pinned(r->remote, r->target);
    }
}

static void enter(struct route *r, struct remote *remote, bool is_new)
{
    struct routes *routes = r->routes;
    if (r->place.account != NULL) {
        r->pinned = accounts_get(broker_accounts(routes->broker), bytes_of(r->place.account));
        r->parser.pinned = true;
    }
    r->remote = remote;
    r->registered_ns = clock_mono_ns();
    pthread_mutex_lock(&routes->told_lock);
    put_in_place(remote, &r->place, r);
    if (is_new) {
        remote->next = routes->remotes;
        routes->remotes = remote;
        routes->remote_total++;
    }
    pthread_mutex_unlock(&routes->told_lock);
    count_routes(routes);
}

void route_register(struct route *r, json_t *info)
{
    struct routes *routes = r->routes;
    int64_t theirs = json_int(info, "route_pool_size");
    int64_t ours = routes_options(routes)->pool_size;
    bool pooled = routes_are_pooled(routes) && theirs > 0;
    int64_t larger = theirs > ours ? theirs : ours;
    unsigned pool_size = !pooled ? 1 : larger > ROUTE_POOL_MAX ? ROUTE_POOL_MAX : (unsigned)larger;
    if (!take_place(r, info, pooled, pool_size)) {
        return;
    }
    struct remote *remote = remote_find(routes, r->remote_id);
    struct route *old = remote == NULL ? NULL
                        : remote->pooled && r->place.index >= remote->pool_size
                            ? NULL
                            : occupant(remote, &r->place);
    if (old != NULL && wins_over(r, old)) {
        route_unregister(old);
        route_close(old, CLOSE_DUPLICATE_ROUTE);
        remote = remote_find(routes, r->remote_id); /* it may have been the only one */
        old = NULL;
    }
    bool other_kind = remote != NULL && (remote->pooled != pooled || remote->pool_size < pool_size);
    if (r->target != NULL && r->target->configured) { /* known or not: this is where it is */
        learn_peer(r, info);
    }
    if (old != NULL || other_kind) {
        route_close(r, CLOSE_DUPLICATE_ROUTE);
        return;
    }
    if (remote == NULL && routes->remote_total == REMOTES_MAX) {
        route_fail(r, CLOSE_MAX_CONNECTIONS, "Too many routes");
        return;
    }
    bool is_new = remote == NULL;
    enter(r, is_new ? remote_new(r, info, pooled, pool_size) : remote, is_new);
    recognise(r, info);
    if (is_new) {
        learn_peer(r, info);
    }
    route_arm_ping(r, NS_PER_SEC);
    log_debug("%s - Registering remote route \"%s\"", route_prefix(r).text, r->remote_id);
    route_announce_all(r);
    if (!r->remote->told_of || r->place.account != NULL) {
        r->remote->told_of = r->remote->told_of || r->place.account == NULL;
        gossip(r, info);
    }
    if (is_new) {
        update_neighbour_urls(routes);
        complete_later(r->remote);
    }
    if (r->target != NULL) {
        go_on_dialling(r);
    }
}

void route_unregister(struct route *r)
{
    struct routes *routes = r->routes;
    struct remote *remote = r->remote;
    if (remote == NULL) {
        return;
    }
    r->remote = NULL;
    pthread_mutex_lock(&routes->told_lock);
    put_in_place(remote, &r->place, NULL);
    bool gone = remote_any_route(remote) == NULL;
    if (gone) {
        struct remote **at = &routes->remotes;
        while (*at != remote) {
            at = &(*at)->next;
        }
        *at = remote->next;
        routes->remote_total--;
    }
    pthread_mutex_unlock(&routes->told_lock);
    broker_link_down(routes->broker, &r->link);
    count_routes(routes);
    if (!gone) {
        complete_later(remote);
    } else {
        update_neighbour_urls(routes);
        remote_free(remote);
    }
}

/* --- later --- */

static bool same_member(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return (x == NULL && y == NULL) || json_equal(x, y);
}

void route_on_later_info(struct route *r, json_t *info)
{
    struct remote *remote = r->remote;
    if (strcmp(json_text(info, "server_id"), r->remote_id) != 0) {
        on_gossip(r, info);
        return;
    }
    if (json_bool(info, "ldm")) {
        (void)json_object_del(remote->info, "connect_urls");
        update_neighbour_urls(r->routes);
        return;
    }
    bool export_changed =
        !same_member(info, remote->info, "export") || !same_member(info, remote->info, "import");
    json_decref(remote->info);
    remote->info = json_incref(info);
    if (export_changed) { /* it may want to know now what it refused before; repeats do no harm */
        route_announce_all(r);
    }
    update_neighbour_urls(r->routes);
}

bool routes_agree_on_name(struct route *r, const char *theirs, bool dynamic)
{
    struct routes *routes = r->routes;
    const char *ours = broker_cluster_name(routes->broker);
    if (strcmp(ours, theirs) == 0) {
        return true;
    }
    if (routes_options(routes)->name != NULL || *theirs == '\0' ||
        (dynamic && strcmp(ours, theirs) > 0)) {
        return false;
    }
    broker_set_cluster_name(routes->broker, theirs);
    log_info("Cluster name updated to %s", theirs);
    struct route *next;
    for (struct route *other = routes->list; other != NULL; other = next) {
        next = other->next;
        if (other != r && other->remote != NULL && strcmp(other->remote_id, r->remote_id) != 0) {
            route_close(other, CLOSE_CLUSTER_NAME_CONFLICT);
        }
    }
    return true;
}
