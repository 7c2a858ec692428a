/* What the configuration names to dial: URLs, and the addresses that their hosts have. Loop 0.
 *
 *   seed → lookup in the work pool → its addresses → a configured target for each → again, later
 *
 * A name may have several addresses, for it may stand for all servers ("nats://nats:6222" in
 * compose, a headless service in Kubernetes), and they come and go. One of them may be this server:
 * that drops the address, not the name. A name keeps the addresses it had while it cannot be looked
 * up. Of one that has addresses of both families the IPv4 ones count: a server has one of each, and
 * may not listen on both. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/route_internal.h"
#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/runtime/work.h"

#define ADDRESSES_MAX 64
#define RETRY_MS      1000
/* Whoever starts together appears in the DNS one after another. */
#define AGAIN_SOON_MS 1000
#define YOUNG_MS      60000
#define AGAIN_MS      15000

struct address {
    char text[INET6_ADDRSTRLEN];
};

struct seed {
    struct routes *routes;
    struct seed *next;
    struct url url;
    bool is_address;
    struct address *addresses; /* owned */
    unsigned address_count;    /* 0: not looked up yet */
    struct lookup *lookup;     /* under way */
    struct loop_timer timer;
    int64_t since_ns; /* monotonic */
    int64_t tries;    /* in vain */
};

struct lookup {
    struct work work;  /* first: where the rest is */
    struct seed *seed; /* NULL: nobody waits any more */
    char *host;
    struct address *found;
    unsigned count;
    int rc;
};

static bool is_address(const char *host)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1;
}

/* --- targets --- */

static bool seed_has(const struct seed *seed, const struct target *t)
{
    bool has = false;
    for (unsigned i = 0; i < seed->address_count && seed->url.port == t->port && !has; i++) {
        has = strcmp(seed->addresses[i].text, t->host) == 0;
    }
    return has;
}

static const struct seed *seed_of(const struct routes *routes, const struct target *t)
{
    const struct seed *seed = routes->seeds;
    while (seed != NULL && !seed_has(seed, t)) {
        seed = seed->next;
    }
    return seed;
}

static void configure(struct seed *seed, const char *address)
{
    struct routes *routes = seed->routes;
    struct target *t = target_find(routes, address, seed->url.port);
    if (t == NULL) {
        t = target_new(routes, address, seed->url.port);
    }
    if (t->configured) {
        return;
    }
    option_set(&t->name, seed->url.host);
    option_set(&t->user, seed->url.user);
    option_set(&t->password, seed->url.password);
    t->configured = true;
    t->retired = t->is_self = false;
    target_dial(t, (struct route_place){0}, 0);
}

static void close_routes_of(struct routes *routes, const struct target *t)
{
    struct route *next;
    for (struct route *r = routes->list; r != NULL; r = next) {
        next = r->next;
        if (r->target == t) {
            route_close(r, CLOSE_ROUTE_REMOVED);
        }
    }
}

/* Every address that a seed has is a configured target, and no other. `close`: the connections of
 * those that are none any more, too. An address that the DNS has forgotten keeps its connection. */
static void assign(struct routes *routes, bool close)
{
    for (struct target *t = routes->targets; t != NULL; t = t->next) {
        if (t->configured && seed_of(routes, t) == NULL) {
            target_retire(t);
            if (close) {
                close_routes_of(routes, t);
            }
        }
    }
    for (struct seed *seed = routes->seeds; seed != NULL; seed = seed->next) {
        for (unsigned i = 0; i < seed->address_count; i++) {
            configure(seed, seed->addresses[i].text);
        }
    }
}

/* --- looking up --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct address *)a)->text, ((const struct address *)b)->text);
}

static void take_family(struct lookup *l, const struct addrinfo *list, int family)
{
    for (; list != NULL && l->count < ADDRESSES_MAX; list = list->ai_next) {
        struct sockaddr_storage address = {0};
        int port;
        if (list->ai_family == family && list->ai_addrlen <= sizeof address) {
            memcpy(&address, list->ai_addr, list->ai_addrlen);
            net_address_text(&address, l->found[l->count++].text, &port);
        }
    }
}

static void on_work(struct work *work)
{
    struct lookup *l = (struct lookup *)work;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    l->rc = getaddrinfo(l->host, NULL, &hints, &list);
    if (l->rc == 0) {
        l->found = mem_zalloc(ADDRESSES_MAX * sizeof *l->found);
        take_family(l, list, AF_INET);
        if (l->count == 0) {
            take_family(l, list, AF_INET6);
        }
        qsort(l->found, l->count, sizeof *l->found, by_text);
        freeaddrinfo(list);
    }
}

static void look_up(void *arg);

static void again(struct seed *seed, int64_t delay_ms)
{
    loop_timer_arm(seed->routes->loop, &seed->timer, clock_mono_ns() + delay_ms * NS_PER_MS,
                   look_up, seed);
}

static void failed(struct seed *seed, const struct lookup *l)
{
    int64_t every = broker_options(seed->routes->broker)->connect_error_reports;
    if (++seed->tries == 1 || every <= 1 || seed->tries % every == 0) {
        log_error("Error trying to connect to route (attempt %lld): lookup for host \"%s\": %s",
                  (long long)seed->tries, l->host,
                  l->rc == 0 ? "no addresses" : gai_strerror(l->rc));
    }
    again(seed, RETRY_MS);
}

static void found(struct seed *seed, struct lookup *l)
{
    size_t size = l->count * sizeof *l->found;
    bool same = l->count == seed->address_count && memcmp(l->found, seed->addresses, size) == 0;
    seed->tries = 0;
    if (!same) {
        log_debug("Route \"%s\" has %u addresses", l->host, l->count);
        free(seed->addresses);
        seed->addresses = l->found;
        seed->address_count = l->count;
        l->found = NULL;
        assign(seed->routes, false);
    }
    bool young = clock_mono_ns() - seed->since_ns < YOUNG_MS * NS_PER_MS;
    again(seed, young ? AGAIN_SOON_MS : AGAIN_MS);
}

static void on_done(struct work *work, bool ran)
{
    struct lookup *l = (struct lookup *)work;
    struct seed *seed = l->seed;
    if (seed != NULL) {
        seed->lookup = NULL;
        if (!ran) {
            again(seed, RETRY_MS);
        } else if (l->count > 0) {
            found(seed, l);
        } else {
            failed(seed, l);
        }
    }
    free(l->found);
    free(l->host);
    free(l);
}

static void look_up(void *arg)
{
    struct seed *seed = arg;
    struct lookup *l = NEW(struct lookup);
    l->seed = seed;
    l->host = mem_strdup(seed->url.host);
    l->work = (struct work){.run = on_work, .done = on_done};
    seed->lookup = l;
    work_submit(seed->routes->loop, WORK_NAMES, &l->work);
}

/* --- life --- */

bool seed_is_valid(const char *text)
{
    struct url url;
    bool valid = url_parse(bytes_of(text), &url) == OK;
    if (valid) {
        valid = url.host[0] != '\0' && url.port != 0;
        url_deinit(&url);
    }
    return valid;
}

static bool is_url_of(const struct seed *seed, const struct url *url)
{
    return seed->url.port == url->port && strcasecmp(seed->url.host, url->host) == 0;
}

static void seed_free(struct seed *seed)
{
    loop_timer_cancel(seed->routes->loop, &seed->timer);
    if (seed->lookup != NULL) {
        seed->lookup->seed = NULL;
    }
    url_deinit(&seed->url);
    free(seed->addresses);
    free(seed);
}

static void drop_unnamed(struct routes *routes)
{
    const struct cluster_options *o = routes_options(routes);
    for (struct seed **at = &routes->seeds; *at != NULL;) {
        struct seed *seed = *at;
        bool named = false;
        for (uint32_t i = 0; i < o->routes.count && !named; i++) {
            struct url url;
            if (url_parse(bytes_of(o->routes.items[i]), &url) == OK) {
                named = is_url_of(seed, &url);
                url_deinit(&url);
            }
        }
        if (named) {
            at = &seed->next;
        } else {
            *at = seed->next;
            seed_free(seed);
        }
    }
}

static bool same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

/* The next connections log in as the URL says now. */
static void change_login(struct seed *seed, const struct url *url)
{
    if (same_text(seed->url.user, url->user) && same_text(seed->url.password, url->password)) {
        return;
    }
    option_set(&seed->url.user, url->user);
    option_set(&seed->url.password, url->password);
    for (struct target *t = seed->routes->targets; t != NULL; t = t->next) {
        if (t->configured && seed_has(seed, t) && strcmp(t->name, seed->url.host) == 0) {
            option_set(&t->user, url->user);
            option_set(&t->password, url->password);
        }
    }
}

/* Takes the URL over; of one that there is a seed of, the login. */
static void add(struct routes *routes, struct url *url)
{
    struct seed **at = &routes->seeds;
    while (*at != NULL && !is_url_of(*at, url)) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        change_login(*at, url);
        url_deinit(url);
        return;
    }
    struct seed *seed = *at = NEW(struct seed);
    seed->routes = routes;
    seed->url = *url;
    seed->since_ns = clock_mono_ns();
    seed->is_address = is_address(url->host);
    if (!seed->is_address) {
        look_up(seed);
        return;
    }
    seed->addresses = mem_zalloc(sizeof *seed->addresses);
    seed->address_count = 1;
    (void)snprintf(seed->addresses[0].text, sizeof seed->addresses[0].text, "%s", url->host);
}

void seeds_apply(struct routes *routes)
{
    const struct cluster_options *o = routes_options(routes);
    drop_unnamed(routes);
    for (uint32_t i = 0; i < o->routes.count; i++) {
        struct url url;
        if (url_parse(bytes_of(o->routes.items[i]), &url) == OK) { /* the configuration is valid */
            add(routes, &url);
        }
    }
    assign(routes, true);
}

void seeds_stop(struct routes *routes)
{
    while (routes->seeds != NULL) {
        struct seed *seed = routes->seeds;
        routes->seeds = seed->next;
        seed_free(seed);
    }
}

/* --- who is named --- */

/* Is it the first target with that server? One may have several addresses. */
static bool is_first_of_server(const struct routes *routes, const struct target *t)
{
    const struct target *other = routes->targets;
    while (other != t && (!other->configured || strcmp(other->remote_id, t->remote_id) != 0)) {
        other = other->next;
    }
    return other == t;
}

bool routes_name_server(const struct routes *routes, const char *name)
{
    for (const struct target *t = routes->targets; t != NULL; t = t->next) {
        if (t->configured && !t->is_self && strcmp(t->remote_name, name) == 0) {
            return true;
        }
    }
    return false;
}

bool routes_are_authenticated(const struct routes *routes)
{
    const struct cluster_options *o = routes_options(routes);
    return o->user != NULL || o->tls.set; /* its tls{} always verifies */
}

static void count_target(const struct routes *routes, const struct target *t,
                         struct routes_named *n)
{
    if (!t->configured || t->is_self) {
        return;
    }
    if (t->remote_id[0] != '\0' && !is_first_of_server(routes, t)) {
        return;
    }
    n->servers++;
    n->unknown += t->remote_id[0] == '\0' || remote_find(routes, t->remote_id) == NULL;
}

struct routes_named routes_named(const struct routes *routes)
{
    struct routes_named n = {.servers = 1, .fixed = true};
    unsigned seeds = 0;
    for (const struct seed *seed = routes->seeds; seed != NULL; seed = seed->next) {
        seeds++;
        n.servers += seed->address_count == 0;
        n.unknown += seed->address_count == 0;
        n.fixed = n.fixed && seed->address_count == 1;
    }
    n.fixed = n.fixed && seeds > 1;
    for (const struct target *t = routes->targets; t != NULL; t = t->next) {
        count_target(routes, t, &n);
    }
    for (const struct remote *remote = routes->remotes; remote != NULL; remote = remote->next) {
        if (json_bool(remote->info, "trireme_peer") && n.peer_count < ROUTES_PEERS_MAX) {
            bool named = routes_name_server(routes, remote->name);
            n.named_peers += named;
            n.peers[n.peer_count].node = hash_node_id(bytes_of(remote->name));
            n.peers[n.peer_count++].named = named;
        }
    }
    return n;
}
