/* Addresses that are dialled.
 *
 * A target may have several attempts under way, one for each connection of the pool and each pinned
 * account. An attempt ends with a connection, or tries again later: a configured target for ever,
 * one heard of by gossip connect_retries times. What came of a connection, route.c tells:
 * target_lost().
 *
 * A configured target whose server dialled us is looked at again each RECONNECT_MS, in case that
 * connection is lost. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "cluster/route_internal.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"

#define RECONNECT_MS    1000
#define BACKOFF_MAX_MS  30000
#define JITTER_MS       100
#define DIAL_TIMEOUT_MS 1000

bool route_place_equal(const struct route_place *a, const struct route_place *b)
{
    return a->index == b->index && (a->account == NULL) == (b->account == NULL) &&
           (a->account == NULL || strcmp(a->account, b->account) == 0);
}

struct route_place route_place_copy(const struct route_place *place)
{
    return (struct route_place){place->index,
                                place->account == NULL ? NULL : mem_strdup(place->account)};
}

static void on_check(void *arg);

struct target *target_new(struct routes *routes, const char *host, int port)
{
    struct target *t = NEW(struct target);
    t->routes = routes;
    t->host = mem_strdup(host);
    t->port = port;
    t->next = routes->targets;
    routes->targets = t;
    return t;
}

struct target *target_find(const struct routes *routes, const char *host, int port)
{
    for (struct target *t = routes->targets; t != NULL; t = t->next) {
        if (t->port == port && strcasecmp(t->host, host) == 0) {
            return t;
        }
    }
    return NULL;
}

struct target *target_of_server(struct routes *routes, const char *host, int port, const char *id)
{
    struct target *t = target_find(routes, host, port);
    if (t == NULL) {
        t = target_new(routes, host, port);
        option_set(&t->user, routes_options(routes)->user);
        option_set(&t->password, routes_options(routes)->password);
    }
    if (!t->configured) {
        t->retired = false;
    }
    if (strcmp(t->remote_id, id) != 0) {
        const struct remote *remote = remote_find(routes, id);
        (void)snprintf(t->remote_id, sizeof t->remote_id, "%s", id);
        (void)snprintf(t->remote_name, sizeof t->remote_name, "%s",
                       remote == NULL ? "" : remote->name);
    }
    return t;
}

/* --- attempts --- */

static void attempt_end(struct attempt *a)
{
    struct attempt **at = &a->target->attempts;
    while (*at != a) {
        at = &(*at)->next;
    }
    *at = a->next;
    loop_timer_cancel(a->target->routes->loop, &a->timer);
    if (a->dial != NULL) {
        dial_cancel(a->dial);
    }
    free(a->place.account);
    free(a);
}

static bool is_connected(const struct target *t, const struct route_place *place)
{
    const struct remote *remote =
        t->remote_id[0] == '\0' ? NULL : remote_find(t->routes, t->remote_id);
    if (remote == NULL) {
        return false;
    }
    return place->account == NULL ? remote->pool[place->index] != NULL
                                  : map_get(&remote->pinned, bytes_of(place->account)) != NULL;
}

/* A further connection makes sense only beside the first one. */
static bool is_pointless(const struct target *t, const struct route_place *place)
{
    bool further = place->account != NULL || place->index > 0;
    return t->is_self || t->retired || t->routes->stopping ||
           (further && (t->remote_id[0] == '\0' || remote_find(t->routes, t->remote_id) == NULL));
}

static void wait_to_dial(struct attempt *a, int64_t delay_ms);

static void report(const struct target *t, const struct attempt *a, const struct error *error)
{
    const struct options *o = broker_options(t->routes->broker);
    int64_t every = t->once_connected ? o->reconnect_error_reports : o->connect_error_reports;
    if (a->tries == 1 || every <= 1 || a->tries % every == 0) {
        log_error("Error trying to connect to route (attempt %lld): %s", (long long)a->tries,
                  error->message);
    }
}

static int64_t retry_delay_ms(const struct target *t, const struct attempt *a)
{
    if (!routes_options(t->routes)->connect_backoff || a->tries > 10) {
        return routes_options(t->routes)->connect_backoff ? BACKOFF_MAX_MS : RECONNECT_MS;
    }
    int64_t delay = (int64_t)RECONNECT_MS << (a->tries - 1);
    return delay > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : delay;
}

static void on_dialled(void *arg, int fd, const struct error *error)
{
    struct attempt *a = arg;
    struct target *t = a->target;
    a->dial = NULL;
    if (fd >= 0) {
        struct route_place place = a->place;
        a->place.account = NULL;
        attempt_end(a);
        route_open(t->routes, fd, t, place);
        return;
    }
    a->tries++;
    report(t, a, error);
    if (t->configured || a->tries <= routes_options(t->routes)->connect_retries) {
        wait_to_dial(a, retry_delay_ms(t, a));
    } else {
        attempt_end(a);
    }
}

static void start_dial(void *arg)
{
    struct attempt *a = arg;
    struct target *t = a->target;
    if (is_pointless(t, &a->place)) {
        attempt_end(a);
        return;
    }
    if (is_connected(t, &a->place)) {
        bool first = a->place.account == NULL && a->place.index == 0;
        attempt_end(a);
        if (first && t->configured) {
            loop_timer_arm(t->routes->loop, &t->check, clock_mono_ns() + RECONNECT_MS * NS_PER_MS,
                           on_check, t);
        }
        return;
    }
    a->dial = dial_start(t->host, t->port, DIAL_TIMEOUT_MS, on_dialled, a);
}

static void wait_to_dial(struct attempt *a, int64_t delay_ms)
{
    struct loop *loop = a->target->routes->loop;
    int64_t jitter = (int64_t)random_below(loop_random(loop), JITTER_MS);
    loop_timer_arm(loop, &a->timer, clock_mono_ns() + (delay_ms + jitter) * NS_PER_MS, start_dial,
                   a);
}

void target_dial(struct target *t, struct route_place place, int64_t delay_ms)
{
    bool known = is_pointless(t, &place);
    for (const struct attempt *a = t->attempts; a != NULL && !known; a = a->next) {
        known = route_place_equal(&a->place, &place);
    }
    if (known) {
        free(place.account);
        return;
    }
    loop_timer_cancel(t->routes->loop, &t->check);
    struct attempt *a = NEW(struct attempt);
    a->target = t;
    a->place = place;
    a->next = t->attempts;
    t->attempts = a;
    if (delay_ms > 0) {
        wait_to_dial(a, delay_ms);
    } else {
        start_dial(a);
    }
}

static void on_check(void *arg)
{
    target_dial(arg, (struct route_place){0}, 0);
}

void target_lost(struct target *t, const struct route *r)
{
    bool again = t->configured || r->place.index > 0 || r->place.account != NULL;
    if (again && !t->is_self) {
        target_dial(t, route_place_copy(&r->place), RECONNECT_MS);
    }
}

void targets_look_for(struct routes *routes, const char *remote_id)
{
    for (struct target *t = routes->targets; t != NULL; t = t->next) {
        if (t->configured && strcmp(t->remote_id, remote_id) == 0) {
            target_dial(t, (struct route_place){0}, RECONNECT_MS);
        }
    }
}

void target_is_self(struct target *t)
{
    t->is_self = true;
    while (t->attempts != NULL) {
        attempt_end(t->attempts);
    }
}

void target_retire(struct target *t)
{
    t->retired = true;
    t->configured = t->is_self = false; /* another server may get the address */
    t->remote_id[0] = t->remote_name[0] = '\0';
    loop_timer_cancel(t->routes->loop, &t->check);
    while (t->attempts != NULL) {
        attempt_end(t->attempts);
    }
}

void targets_stop(struct routes *routes)
{
    for (struct target *t = routes->targets; t != NULL; t = t->next) {
        loop_timer_cancel(routes->loop, &t->check);
        while (t->attempts != NULL) {
            attempt_end(t->attempts);
        }
    }
}

void targets_free(struct routes *routes)
{
    while (routes->targets != NULL) {
        struct target *t = routes->targets;
        routes->targets = t->next;
        free(t->host);
        free(t->name);
        free(t->user);
        free(t->password);
        free(t);
    }
}
