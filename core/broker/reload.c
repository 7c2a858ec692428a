/* A new configuration while the server runs.
 *
 *   loop 0: options, accounts and users are replaced → every loop: each client is judged again →
 *   loop 0: clients hear a new INFO if it changed → the old users are freed behind the last reader
 *
 * Clients point to their user for longer than a turn; after the round over the loops no client
 * points to an old one. */
#include "core/base/clock.h"
#include "core/broker/client_internal.h"

/* Several loops take from the same number. */
static bool take_one(atomic_int_fast64_t *count)
{
    int_fast64_t now = atomic_load(count);
    while (now > 0 && !atomic_compare_exchange_weak(count, &now, now - 1)) {
    }
    return now > 0;
}

static void judge_clients(void *arg, struct loop *loop)
{
    struct broker *b = arg;
    struct client *next;
    for (struct client *c = b->per_loop[loop_index(loop)].clients; c != NULL; c = next) {
        next = c->next;
        if (take_one(&b->excess)) {
            client_fail(c, "maximum connections exceeded", CLOSE_MAX_CONNECTIONS);
        } else if (take_one(&c->account->excess)) {
            client_fail(c, "maximum account active connections exceeded",
                        CLOSE_MAX_ACCOUNT_CONNECTIONS);
        } else {
            client_reauthorize(c);
        }
    }
}

static void free_old_auth(void *arg)
{
    auth_free(arg);
}

static void free_old_tls(void *arg)
{
    tls_context_release(arg);
}

static void judged(void *arg)
{
    struct broker *b = arg;
    if (b->info_changed) {
        broker_tell_clients(b);
    }
    broker_retire_exchange(b);
    loop_retire(free_old_auth, b->old_auth);
    loop_retire(free_old_tls, b->old_tls);
    b->old_auth = NULL;
    b->old_tls = NULL;
    b->reload_done(b->reload_arg);
}

static bool text_differs(const char *a, const char *b)
{
    return (a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0);
}

void broker_reload(struct broker *b, const struct options *options, struct tls_context *tls,
                   void (*done)(void *), void *arg)
{
    CHECK(loop_is_current(b->per_loop[0].loop));
    CHECK(b->old_auth == NULL); /* one reload at a time: signals are handled one by one */
    const struct options *before = broker_options(b);
    struct auth *auth = auth_new(options);
    b->reload_done = done;
    b->reload_arg = arg;
    b->old_auth = atomic_load(&b->auth);
    b->old_tls = atomic_load(&b->tls);
    b->info_changed = before->max_payload != options->max_payload ||
                      text_differs(before->client_advertise, options->client_advertise) ||
                      (b->old_tls == NULL) != (tls == NULL) ||
                      before->tls.verify != options->tls.verify ||
                      auth_info_required(b->old_auth) != auth_info_required(auth);
    atomic_store_explicit(&b->options, options, memory_order_release);
    atomic_store_explicit(&b->auth, auth, memory_order_release);
    atomic_store_explicit(&b->tls, tls, memory_order_release);
    atomic_store(&b->config_ns, clock_now_ns());
    broker_apply_accounts(b, options);
    struct broker_stats stats;
    broker_stats(b, &stats);
    int64_t limit = options->max_connections < 0 ? 0 : options->max_connections;
    atomic_store(&b->excess, (int64_t)stats.connections - limit);
    broker_gather(b, judge_clients, judged, b);
}
