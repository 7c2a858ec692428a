/* Interest both ways, and messages out. NATS route protocol §3, §4, §9.
 *
 * Interest of an account goes over the connection that is the account's on this side: one of its
 * own where it is pinned, else a place in the pool by a hash of its name. Messages come back on the
 * connection over which the interest came, whatever the other side's pool looks like.
 *
 * on_interest() runs on the loop where interest changes, with the account's lock held, before
 * anything else that the same client sends: a reply can never overtake the subscription it is
 * for. */
#include <stdio.h>
#include <stdlib.h>

#include "cluster/route_internal.h"
#include "core/auth/permissions.h"
#include "core/base/hash.h"
#include "core/base/log.h"

static const struct permissions *permissions_of(const struct routes *routes)
{
    const struct permissions *p = &routes_options(routes)->permissions;
    return p->set ? p : NULL;
}

/* --- ours, to them --- */

static unsigned pool_index(const struct routes *routes, const struct account *account)
{
    int64_t size = routes_options(routes)->pool_size;
    return size <= 1 ? 0 : hash_fnv1a(bytes_of(account->name)) % (uint32_t)size;
}

/* The connection that carries the account's interest; NULL while it is not there. told_lock held.
 */
static struct route *carrier(const struct remote *remote, const struct account *account)
{
    if (!remote->pooled) {
        return remote->pool[0];
    }
    if (routes_pin(remote->routes, account->name)) {
        return map_get(&remote->pinned, bytes_of(account->name));
    }
    return remote->pool[pool_index(remote->routes, account)];
}

/* RS+ or RS- for one key, toward one route. */
static void send_interest(struct route *r, const struct account *account, struct bytes subject,
                          struct bytes queue, uint32_t weight)
{
    struct buffer line = {0};
    buffer_append_text(&line, weight > 0 ? "RS+ " : "RS- ");
    if (r->pinned == NULL) {
        buffer_printf(&line, "%s ", account->name);
    }
    buffer_append_bytes(&line, subject);
    if (queue.ptr != NULL) {
        buffer_append_char(&line, ' ');
        buffer_append_bytes(&line, queue);
        if (weight > 0) {
            buffer_printf(&line, " %u", weight);
        }
    }
    buffer_append_text(&line, "\r\n");
    conn_write(r->conn, buffer_bytes(&line));
    buffer_deinit(&line);
}

static void on_interest(void *arg, struct account *account, struct bytes subject,
                        struct bytes queue, uint32_t weight)
{
    struct routes *routes = arg;
    if (!permissions_publish(permissions_of(routes), subject)) {
        return;
    }
    pthread_mutex_lock(&routes->told_lock);
    for (struct remote *remote = routes->remotes; remote != NULL; remote = remote->next) {
        struct route *r = carrier(remote, account);
        if (r != NULL) {
            send_interest(r, account, subject, queue, weight);
        }
    }
    pthread_mutex_unlock(&routes->told_lock);
}

account_announce_cb routes_interest_announcer(void)
{
    return on_interest;
}

static void announce_one(void *arg, struct account *account, struct bytes subject,
                         struct bytes queue, uint32_t weight)
{
    struct route *r = arg;
    if (permissions_publish(permissions_of(r->routes), subject)) {
        send_interest(r, account, subject, queue, weight);
    }
}

void route_announce_all(struct route *r)
{
    struct account **accounts = accounts_list(broker_accounts(r->routes->broker));
    for (uint32_t i = 0; accounts[i] != NULL; i++) {
        pthread_mutex_lock(&r->routes->told_lock);
        bool here = carrier(r->remote, accounts[i]) == r;
        pthread_mutex_unlock(&r->routes->told_lock);
        if (here) {
            account_announce_all(accounts[i], announce_one, r);
        }
    }
    free(accounts);
}

/* --- theirs, to us --- */

void route_on_interest(struct route *r, const struct proto_op *op)
{
    bool adds = op->verb == VERB_RS_PLUS;
    struct bytes account = r->pinned == NULL ? op->account : bytes_of(r->pinned->name);
    if (adds && !permissions_subscribe(permissions_of(r->routes), op->subject, BYTES_NONE)) {
        log_debug("%s - Ignoring interest in \"%.*s\": not exported", route_prefix(r).text,
                  BYTES_ARG(op->subject));
        return;
    }
    broker_link_interest(r->routes->broker, &r->link, account, op->subject, op->queue,
                         adds ? op->weight : 0);
}

/* --- messages --- */

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

/* RMSG [account] subject [reply | + reply queues | '|' queues] size; HMSG with headers. A message
 * whose shown subject differs carries it behind the reply: "<reply>@<shown>". Left out when
 * max_pending bytes wait for the neighbour already. Any loop. */
static size_t send_message(void *owner, struct account *account, const struct message *m,
                           const struct bytes *queues, uint32_t queue_count)
{
    struct route *r = owner;
    struct bytes name = r->pinned == NULL ? bytes_of(account->name) : BYTES_NONE;
    bool shown = m->shown.ptr != NULL && m->reply.ptr != NULL;
    char sizes[32];
    int digits = m->header_len > 0
                     ? snprintf(sizes, sizeof sizes, "%u %zu", m->header_len, m->payload.len)
                     : snprintf(sizes, sizeof sizes, "%zu", m->payload.len);
    size_t len = 5 + m->subject.len + 1 + (size_t)digits + 2 + m->payload.len + 2;
    len += name.len > 0 ? name.len + 1 : 0;
    if (queue_count > 0) {
        len += 2;
        for (uint32_t i = 0; i < queue_count; i++) {
            len += queues[i].len + 1;
        }
    }
    if (m->reply.ptr != NULL) {
        len += m->reply.len + 1 + (shown ? m->shown.len + 1 : 0);
    }
    size_t room = (size_t)broker_options(r->routes->broker)->max_pending;
    char *p = conn_begin_within(r->conn, room, len);
    if (p == NULL) {
        return 0;
    }
    const char *start = p;
    p = put(p, m->header_len > 0 ? BYTES_LIT("HMSG ") : BYTES_LIT("RMSG "));
    if (name.len > 0) {
        p = put_char(put(p, name), ' ');
    }
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

const struct link_ops route_link_ops = {send_message};
