/* Start-up and shutdown of the broker, INFO, gathering. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/broker/broker_internal.h"

#define DYNAMIC_NAME_LEN 22 /* as long as nats-server's */

static char *first_cluster_name(const struct options *o)
{
    char made_up[DYNAMIC_NAME_LEN + 1];
    if (o->cluster.name != NULL || o->cluster.port == 0) {
        return mem_strdup(o->cluster.name == NULL ? "" : o->cluster.name);
    }
    random_base62(made_up, DYNAMIC_NAME_LEN);
    return mem_strdup(made_up);
}

const char *broker_cluster_name(const struct broker *b)
{
    return atomic_load_explicit(&b->cluster_name, memory_order_acquire);
}

void broker_set_cluster_name(struct broker *b, const char *name)
{
    loop_retire(free, atomic_exchange(&b->cluster_name, mem_strdup(name)));
}

struct broker *broker_new(const struct options *options, struct tls_context *tls,
                          struct loops *loops)
{
    struct broker *b = NEW(struct broker);
    atomic_init(&b->options, options);
    b->loops = loops;
    b->accounts = accounts_new();
    b->login_limits = login_limits_new();
    atomic_init(&b->auth, auth_new(options));
    atomic_init(&b->tls, tls);
    b->start_ns = clock_now_ns();
    atomic_init(&b->config_ns, b->start_ns);
    b->listen_fd = -1;
    b->neighbour_urls = json_array();
    pthread_mutex_init(&b->info_lock, NULL);
    pthread_mutex_init(&b->responses_lock, NULL);
    nkey_new_server(b->server_id);
    b->server_name = mem_strdup(options->server_name == NULL ? b->server_id : options->server_name);
    const char *system = options->system_account == NULL ? "$SYS" : options->system_account;
    atomic_init(&b->cluster_name, first_cluster_name(options));
    b->global = accounts_get(b->accounts, BYTES_LIT("$G"));
    b->system = accounts_get(b->accounts, bytes_of(system));
    b->system->is_system = true;
    broker_apply_accounts(b, options);
    b->per_loop = mem_zalloc(loops_count(loops) * sizeof *b->per_loop);
    for (unsigned i = 0; i < loops_count(loops); i++) {
        b->per_loop[i].broker = b;
        b->per_loop[i].loop = loops_at(loops, i);
        loop_local_set(loops_at(loops, i), LOOP_LOCAL_BROKER, &b->per_loop[i], NULL);
    }
    conn_on_drained = broker_resume_stalled;
    return b;
}

void broker_free(struct broker *b)
{
    for (unsigned i = 0; i < loops_count(b->loops); i++) {
        CHECK(b->per_loop[i].clients == NULL);
        free(b->per_loop[i].stalled);
        broker_free_closed(&b->per_loop[i]);
        free(b->per_loop[i].batched);
    }
    free(b->per_loop);
    broker_exchange_end(b);
    accounts_free(b->accounts);
    login_limits_free(b->login_limits);
    auth_free(atomic_load(&b->auth));
    tls_context_release(atomic_load(&b->tls));
    json_decref(b->neighbour_urls);
    pthread_mutex_destroy(&b->info_lock);
    pthread_mutex_destroy(&b->responses_lock);
    free(b->server_name);
    free(atomic_load(&b->cluster_name));
    free(b);
}

void broker_apply_accounts(struct broker *b, const struct options *options)
{
    struct account **list = accounts_list(b->accounts);
    for (uint32_t i = 0; list[i] != NULL; i++) {
        if (options_find_account(options, bytes_of(list[i]->name)) == NULL) {
            atomic_store(&list[i]->jetstream, false);
        }
    }
    free(list);
    for (uint32_t i = 0; i < options->account_count; i++) {
        struct account *a = accounts_get(b->accounts, bytes_of(options->accounts[i].name));
        atomic_store(&a->jetstream,
                     options->jetstream && options->accounts[i].jetstream && a != b->system);
        int64_t limit = options->accounts[i].limits.max_connections;
        atomic_store(&a->max_connections, limit);
        atomic_store(&a->excess, limit < 0 ? 0 : atomic_load(&a->connections) - limit);
        atomic_store(&a->max_subscriptions, options->accounts[i].limits.max_subscriptions);
        atomic_store(&a->max_payload, options->accounts[i].limits.max_payload);
    }
    broker_exchange_changed(b, options);
}

/* --- accepting --- */

struct accepted {
    struct broker *broker;
    int fd;
    enum client_welcome welcome;
};

/* tls { connection_rate_limit }: handshakes are dear. */
static bool is_throttled(struct broker *b)
{
    int64_t limit = broker_options(b)->tls.rate_limit;
    int64_t second = clock_mono_ns() / NS_PER_SEC;
    if (second != b->rate_second) {
        b->rate_second = second;
        b->rate_count = 0;
    }
    return limit > 0 && ++b->rate_count > limit;
}

static void open_client(void *arg)
{
    struct accepted *accepted = arg;
    client_open(accepted->broker, accepted->fd, accepted->welcome);
    free(accepted);
}

static void on_accept(void *arg, int fd, bool crowded)
{
    struct broker *b = arg;
    struct accepted *accepted = NEW(struct accepted);
    *accepted = (struct accepted){b, fd,
                                  crowded           ? CLIENT_ONE_TOO_MANY
                                  : is_throttled(b) ? CLIENT_THROTTLED
                                                    : CLIENT_WELCOME};
    unsigned next = (unsigned)atomic_fetch_add(&b->next_loop, 1) % loops_count(b->loops);
    loop_post(loops_at(b->loops, next), open_client, accepted);
}

static void start_listening(void *arg)
{
    struct broker *b = arg;
    b->listener =
        listener_open(b->per_loop[0].loop, b->listen_fd, "client", FILES_CLIENTS, on_accept, b);
}

enum err broker_bind(struct broker *b, struct error *error)
{
    b->port = broker_options(b)->port;
    b->listen_fd = net_bind(broker_options(b)->host, &b->port, error);
    return b->listen_fd < 0 ? ERR_IO : OK;
}

enum err broker_listen(struct broker *b, struct error *error)
{
    if (net_listen(b->listen_fd, error) != OK) {
        return ERR_IO;
    }
    log_info("Listening for client connections on %s",
             address_text(broker_options(b)->host, b->port).text);
    loop_post(b->per_loop[0].loop, start_listening, b);
    return OK;
}

/* --- shutdown: listener first, then every loop closes its clients --- */

static void close_clients(void *arg, struct loop *loop)
{
    struct broker *b = arg;
    struct client *next;
    for (struct client *c = b->per_loop[loop_index(loop)].clients; c != NULL; c = next) {
        next = c->next;
        client_close(c, CLOSE_SERVER_SHUTDOWN);
    }
    loop_timer_cancel(loop, &b->per_loop[loop_index(loop)].stall_timer);
    loop_timer_cancel(loop, &b->per_loop[loop_index(loop)].give_back_timer);
}

static void clients_closed(void *arg)
{
    struct broker *b = arg;
    b->shutdown_done(b->shutdown_arg);
}

void broker_close_listener(struct broker *b)
{
    listener_close(b->listener);
    b->listener = NULL;
}

static void begin_shutdown(void *arg)
{
    struct broker *b = arg;
    loop_timer_cancel(b->per_loop[0].loop, &b->lame_duck_timer);
    broker_close_listener(b);
    broker_gather(b, close_clients, clients_closed, b);
}

void broker_shutdown(struct broker *b, void (*done)(void *), void *arg)
{
    atomic_store(&b->shutting_down, true);
    b->shutdown_done = done;
    b->shutdown_arg = arg;
    loop_post(b->per_loop[0].loop, begin_shutdown, b);
}

/* --- gathering --- */

struct gathering {
    struct broker *broker;
    void (*gather)(void *arg, struct loop *loop);
    bool (*slice)(void *arg, struct loop *loop); /* or this */
    void (*done)(void *arg);
    void *arg;
    struct loop *asker;
    unsigned next;
    struct gathering *behind; /* on the list of its loop */
};

#define SLICES_NS (NS_PER_MS / 2) /* of a turn: then no other slice begins */

static void gather_step(void *arg);

static void go_on(struct gathering *g)
{
    if (g->next < loops_count(g->broker->loops)) {
        loop_post(loops_at(g->broker->loops, g->next), gather_step, g);
        return;
    }
    loop_post(g->asker, g->done, g->arg);
    free(g);
}

static void queue_slice(struct broker_loop *here, struct gathering *g)
{
    g->behind = NULL;
    if (here->sliced == NULL) {
        here->sliced = g;
    } else {
        here->last_sliced->behind = g;
    }
    here->last_sliced = g;
}

/* However many have asked, a loop that serves clients has the rest of the turn. */
static void run_slices(void *arg)
{
    struct broker_loop *here = arg;
    int64_t until = clock_mono_ns() + SLICES_NS;
    do {
        struct gathering *g = here->sliced;
        here->sliced = g->behind;
        if (g->slice(g->arg, here->loop)) {
            g->next++;
            go_on(g);
        } else {
            queue_slice(here, g);
        }
    } while (here->sliced != NULL && clock_mono_ns() < until);
    if (here->sliced != NULL) {
        loop_post(here->loop, run_slices, here);
    }
}

static void gather_step(void *arg)
{
    struct gathering *g = arg;
    if (g->slice == NULL) {
        g->gather(g->arg, loop_current());
        g->next++;
        go_on(g);
        return;
    }
    struct broker_loop *here = broker_here(g->broker);
    if (here->sliced == NULL) {
        loop_post(here->loop, run_slices, here);
    }
    queue_slice(here, g);
}

static void start_gathering(struct gathering gathering)
{
    struct gathering *g = NEW(struct gathering);
    *g = gathering;
    g->asker = loop_current();
    CHECK(g->asker != NULL);
    loop_post(loops_at(g->broker->loops, 0), gather_step, g);
}

void broker_gather(struct broker *b, void (*gather)(void *, struct loop *), void (*done)(void *),
                   void *arg)
{
    start_gathering((struct gathering){.broker = b, .gather = gather, .done = done, .arg = arg});
}

void broker_gather_in_slices(struct broker *b, bool (*gather)(void *, struct loop *),
                             void (*done)(void *), void *arg)
{
    start_gathering((struct gathering){.broker = b, .slice = gather, .done = done, .arg = arg});
}

/* --- INFO --- */

json_t *broker_identity_info(const struct broker *b)
{
    json_t *info = json_object();
    json_put_text(info, "server_id", b->server_id);
    json_put_text(info, "server_name", b->server_name);
    json_put_text(info, "version", NATS_PROTOCOL_VERSION);
    json_put_int(info, "proto", 1);
    json_put_text(info, "go", "");
    json_put_text(info, "trireme", TRIREME_VERSION);
    return info;
}

static void add_url(json_t *urls, const char *host, int port)
{
    (void)json_array_append_new(urls, json_bytes(bytes_of(address_text(host, port).text)));
}

/* The address to advertise, or, for a wildcard host, those of the interfaces that others can reach.
 */
json_t *broker_own_urls(const struct broker *b)
{
    json_t *urls = json_array();
    const char *host = broker_options(b)->host;
    if (broker_options(b)->client_advertise != NULL) {
        if (strchr(broker_options(b)->client_advertise, ':') != NULL) {
            (void)json_array_append_new(urls, json_string(broker_options(b)->client_advertise));
        } else {
            add_url(urls, broker_options(b)->client_advertise, b->port);
        }
        return urls;
    }
    struct text_list own = {0};
    if (net_is_wildcard(host)) {
        net_own_addresses(&own, false);
    }
    for (uint32_t i = 0; i < own.count; i++) {
        add_url(urls, own.items[i], b->port);
    }
    text_list_clear(&own);
    if (json_array_size(urls) == 0) {
        add_url(urls, host, b->port);
    }
    return urls;
}

json_t *broker_connect_urls(struct broker *b)
{
    json_t *urls = broker_is_lame_duck(b) ? json_array() : broker_own_urls(b);
    /* Copied: jansson's counts are atomic, but who lets go last does not see what the others read.
     */
    pthread_mutex_lock(&b->info_lock);
    json_t *neighbours = json_deep_copy(b->neighbour_urls);
    pthread_mutex_unlock(&b->info_lock);
    (void)json_array_extend(urls, neighbours);
    json_decref(neighbours);
    return urls;
}

bool broker_auth_required(const struct broker *b)
{
    return auth_required(atomic_load_explicit(&b->auth, memory_order_acquire));
}

static void tell_clients(void *arg, struct loop *loop)
{
    struct broker *b = arg;
    for (struct client *c = b->per_loop[loop_index(loop)].clients; c != NULL; c = c->next) {
        if (c->protocol >= 1 && c->got_first_pong) {
            client_send_info(c, false);
        }
    }
}

static void told_clients(void *arg)
{
    (void)arg;
}

void broker_tell_clients(struct broker *b)
{
    broker_gather(b, tell_clients, told_clients, b);
}

void broker_set_neighbour_urls(struct broker *b, const json_t *urls)
{
    pthread_mutex_lock(&b->info_lock);
    json_t *old = b->neighbour_urls;
    b->neighbour_urls = json_deep_copy(urls);
    bool changed = !json_equal(old, b->neighbour_urls);
    json_decref(old);
    pthread_mutex_unlock(&b->info_lock);
    if (changed && !broker_options(b)->cluster.no_advertise) {
        broker_tell_clients(b);
    }
}

/* --- local interest --- */

void broker_on_local_interest(struct broker *b, account_announce_cb announce, void *arg)
{
    b->announce = announce;
    b->announce_arg = arg;
}

void broker_local_changed(struct broker *b, struct account *account,
                          const struct interest_entry *entry, int change)
{
    if (b->announce != NULL) {
        account_count_local(account, interest_subject(entry), interest_queue(entry), change,
                            b->announce, b->announce_arg);
    }
}

/* --- numbers --- */

static uint64_t load(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void broker_stats(const struct broker *b, struct broker_stats *s)
{
    *s = (struct broker_stats){0};
    for (unsigned i = 0; i < loops_count(b->loops); i++) {
        const struct broker_loop *l = &b->per_loop[i];
        s->all.in_msgs += load(&l->in_msgs);
        s->all.in_bytes += load(&l->in_bytes);
        s->all.out_msgs += load(&l->out_msgs);
        s->all.out_bytes += load(&l->out_bytes);
        s->client.in_msgs += load(&l->client_in_msgs);
        s->client.in_bytes += load(&l->client_in_bytes);
        s->client.out_msgs += load(&l->client_out_msgs);
        s->client.out_bytes += load(&l->client_out_bytes);
        s->connections += load(&l->connections);
        s->total_connections += load(&l->total_connections);
        s->slow_consumers += load(&l->slow_consumers);
        s->stale_connections += load(&l->stale);
        s->stalled += load(&l->stalls);
    }
    struct account **list = accounts_list(b->accounts);
    for (uint32_t i = 0; list[i] != NULL; i++) {
        s->subscriptions += interest_count(list[i]->interest);
    }
    free(list);
}

const struct options *broker_options(const struct broker *b)
{
    return atomic_load_explicit(&b->options, memory_order_acquire);
}
struct loops *broker_loops(const struct broker *b)
{
    return b->loops;
}
struct accounts *broker_accounts(const struct broker *b)
{
    return b->accounts;
}
struct account *broker_global_account(const struct broker *b)
{
    return b->global;
}

struct account *broker_system_account(const struct broker *b)
{
    return b->system;
}
const char *broker_server_id(const struct broker *b)
{
    return b->server_id;
}
const char *broker_server_name(const struct broker *b)
{
    return b->server_name;
}
int broker_client_port(const struct broker *b)
{
    return b->port;
}
int64_t broker_tls_not_after_ns(const struct broker *b)
{
    const struct tls_context *tls = atomic_load_explicit(&b->tls, memory_order_acquire);
    return tls == NULL ? 0 : tls_context_not_after_ns(tls);
}
int64_t broker_start_ns(const struct broker *b)
{
    return b->start_ns;
}
int64_t broker_config_time_ns(const struct broker *b)
{
    return atomic_load(&b->config_ns);
}
uint64_t broker_next_id(struct broker *b)
{
    return atomic_fetch_add(&b->next_id, 1) + 1;
}

void broker_interest_stats(struct broker *b, const char *account, struct interest_stats *stats)
{
    struct account **list = accounts_list(b->accounts);
    for (uint32_t i = 0; list[i] != NULL; i++) {
        if (account == NULL || strcmp(list[i]->name, account) == 0) {
            account_interest_stats(list[i], stats);
        }
    }
    free(list);
}
