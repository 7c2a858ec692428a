/* Clients as /connz shows them, those that are gone included.
 *
 * Of a client that has gone only figures and names are kept, in a ring per loop, so that ten
 * thousand of them cost a few megabytes at most. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/broker/client_internal.h"

/* What is shown of a client, open or closed. Strings are borrowed from the client or owned by the
 * ring's place. */
struct client_facts {
    uint64_t cid, in_msgs, in_bytes, out_msgs, out_bytes, stalls;
    size_t pending;
    int64_t start_ns, last_activity_ns, rtt_ns;
    int64_t stop_ns; /* 0: open */
    enum close_reason reason;
    uint32_t subscriptions;
    int port;
    char host[INET6_ADDRSTRLEN];
    const char *name, *lang, *version, *user, *account, *tls_version;
    char cipher[64];
};

struct closed_clients {
    struct client_facts *ring;
    uint32_t count, cap;
    uint32_t limit;  /* this loop's share of max_closed_clients */
    uint32_t oldest; /* the place that is used again next, once the ring is full */
};

static void take_facts(const struct client *c, struct client_facts *f)
{
    *f = (struct client_facts){.cid = c->conn->id,
                               .in_msgs = c->in_msgs,
                               .in_bytes = c->in_bytes,
                               .stalls = c->stalls,
                               .start_ns = c->conn->start_ns,
                               .last_activity_ns = c->last_activity_ns,
                               .rtt_ns = c->rtt_ns,
                               .subscriptions = c->subs.count,
                               .port = c->conn->remote_port,
                               .name = c->name,
                               .lang = c->lang,
                               .version = c->version,
                               .user = c->user == NULL ? NULL : c->user->name,
                               .account = c->account->name};
    memcpy(f->host, c->conn->remote_host, sizeof f->host);
    pthread_mutex_lock(&c->conn->lock);
    f->pending = c->conn->pending;
    f->out_msgs = c->conn->out_msgs;
    f->out_bytes = c->conn->out_bytes;
    pthread_mutex_unlock(&c->conn->lock);
}

static void take_tls(const struct client *c, struct client_facts *f)
{
    if (c->conn->secured) {
        f->tls_version = tls_session_version(c->conn->tls);
        tls_session_cipher(c->conn->tls, f->cipher);
    }
}

static void put_name(json_t *o, const char *key, const char *value)
{
    if (value != NULL && *value != '\0') {
        json_put_bytes(o, key, bytes_of(value));
    }
}

static json_t *describe(const struct client_facts *f, bool auth)
{
    json_t *o = json_object();
    char text[CLOCK_DURATION_MAX];
    int64_t until = f->stop_ns == 0 ? clock_now_ns() : f->stop_ns;
    json_put_u64(o, "cid", f->cid);
    json_put_text(o, "kind", "Client");
    json_put_text(o, "type", "nats");
    json_put_text(o, "ip", f->host);
    json_put_int(o, "port", f->port);
    json_put_time(o, "start", f->start_ns);
    json_put_time(o, "last_activity", f->last_activity_ns);
    if (f->stop_ns != 0) {
        json_put_time(o, "stop", f->stop_ns);
        json_put_text(o, "reason", close_reason_text(f->reason));
    }
    clock_format_duration(f->rtt_ns < NS_PER_MS ? f->rtt_ns / 1000 * 1000 : f->rtt_ns, text);
    json_put_text(o, "rtt", text);
    clock_format_uptime(until - f->start_ns, text);
    json_put_text(o, "uptime", text);
    clock_format_uptime(until - f->last_activity_ns, text);
    json_put_text(o, "idle", text);
    json_put_u64(o, "pending_bytes", f->pending);
    json_put_u64(o, "in_msgs", f->in_msgs);
    json_put_u64(o, "out_msgs", f->out_msgs);
    json_put_u64(o, "in_bytes", f->in_bytes);
    json_put_u64(o, "out_bytes", f->out_bytes);
    if (f->stalls > 0) {
        json_put_u64(o, "stalls", f->stalls);
    }
    json_put_int(o, "subscriptions", f->subscriptions);
    put_name(o, "name", f->name);
    put_name(o, "lang", f->lang);
    put_name(o, "version", f->version);
    if (f->tls_version != NULL) {
        json_put_text(o, "tls_version", f->tls_version);
        json_put_text(o, "tls_cipher_suite", f->cipher);
    }
    if (auth) {
        put_name(o, "authorized_user", f->user);
    }
    if (auth && strcmp(f->account, "$G") != 0) {
        json_put_text(o, "account", f->account);
        json_put_text(o, "name_tag", f->account);
    }
    return o;
}

/* --- those that are gone --- */

static const char *keep(const char *text)
{
    return text == NULL ? NULL : mem_strdup(text);
}

static void forget(struct client_facts *f)
{
    free((char *)f->name);
    free((char *)f->lang);
    free((char *)f->version);
    free((char *)f->user);
}

void client_remember_closed(const struct client *c, enum close_reason reason)
{
    struct broker_loop *here = c->home;
    int64_t max = broker_options(c->broker)->max_closed_clients;
    if (max <= 0) {
        return;
    }
    if (here->closed == NULL) {
        here->closed = NEW(struct closed_clients);
        here->closed->limit = (uint32_t)(max / loops_count(c->broker->loops)) + 1;
    }
    struct closed_clients *closed = here->closed;
    struct client_facts *f;
    if (closed->count < closed->limit) {
        VEC_RESERVE(closed->ring, closed->cap, closed->count);
        f = &closed->ring[closed->count++];
    } else {
        f = &closed->ring[closed->oldest];
        closed->oldest = (closed->oldest + 1) % closed->limit;
        forget(f);
    }
    take_facts(c, f);
    take_tls(c, f);
    f->name = keep(f->name);
    f->lang = keep(f->lang);
    f->version = keep(f->version);
    f->user = keep(f->user);
    f->stop_ns = clock_now_ns();
    f->reason = reason;
}

void broker_free_closed(struct broker_loop *here)
{
    for (uint32_t i = 0; here->closed != NULL && i < here->closed->count; i++) {
        forget(&here->closed->ring[i]);
    }
    if (here->closed != NULL) {
        free(here->closed->ring);
        free(here->closed);
    }
}

/* --- lists --- */

void client_put_subscription(json_t *o, const struct subscription *sub)
{
    struct client *c = sub->client;
    pthread_mutex_lock(&c->conn->lock);
    uint64_t delivered = sub->delivered, max = sub->max;
    pthread_mutex_unlock(&c->conn->lock);
    json_put_bytes(o, "subject", interest_subject(&sub->entry));
    if (sub->entry.queue_len > 0) {
        json_put_bytes(o, "qgroup", interest_queue(&sub->entry));
    }
    json_put_bytes(o, "sid", subscription_sid(sub));
    json_put_u64(o, "msgs", delivered);
    if (max > 0) {
        json_put_u64(o, "max", max);
    }
    json_put_u64(o, "cid", c->conn->id);
}

json_t *client_describe(const struct client *c, bool auth)
{
    struct client_facts f;
    take_facts(c, &f);
    take_tls(c, &f);
    return describe(&f, auth);
}

uint32_t client_closed_count(const struct broker_loop *here)
{
    return here->closed == NULL ? 0 : here->closed->count;
}

static const struct client_facts *closed_at(const struct broker_loop *here, uint32_t index)
{
    CHECK(index < client_closed_count(here));
    return &here->closed->ring[index];
}

uint64_t client_closed_cid(const struct broker_loop *here, uint32_t index)
{
    return closed_at(here, index)->cid;
}

json_t *client_describe_closed(const struct broker_loop *here, uint32_t index, bool auth)
{
    return describe(closed_at(here, index), auth);
}

/* --- their order --- */

static bool is_wanted(const struct client_facts *f, const struct client_page *p)
{
    return (!p->has_cid || p->cid == f->cid) &&
           (p->account == NULL || strcmp(p->account, f->account) == 0) &&
           (p->user == NULL || (f->user != NULL && strcmp(p->user, f->user) == 0));
}

/* The smallest comes first: of most figures that is the one with the most. */
static int64_t key_of(const struct client_facts *f, enum connz_sort sort)
{
    switch (sort) {
    case CONNZ_BY_CID:
        return (int64_t)f->cid;
    case CONNZ_BY_SUBSCRIPTIONS:
        return -(int64_t)f->subscriptions;
    case CONNZ_BY_PENDING:
        return -(int64_t)f->pending;
    case CONNZ_BY_OUT_MSGS:
        return -(int64_t)f->out_msgs;
    case CONNZ_BY_IN_MSGS:
        return -(int64_t)f->in_msgs;
    case CONNZ_BY_OUT_BYTES:
        return -(int64_t)f->out_bytes;
    case CONNZ_BY_IN_BYTES:
        return -(int64_t)f->in_bytes;
    case CONNZ_BY_START:
        return -f->start_ns;
    case CONNZ_BY_STOP:
        return -f->stop_ns;
    case CONNZ_BY_ACTIVITY:
        return -f->last_activity_ns;
    case CONNZ_BY_RTT:
        return -f->rtt_ns;
    case CONNZ_BY_REASON:
        break; /* by its text */
    }
    return 0;
}

static bool rank_facts(const struct client_facts *f, const struct client_page *p,
                       struct client_rank *rank)
{
    bool by_reason = p->sort == CONNZ_BY_REASON && f->stop_ns != 0;
    *rank = (struct client_rank){.key = key_of(f, p->sort),
                                 .text = by_reason ? close_reason_text(f->reason) : "",
                                 .cid = f->cid};
    return is_wanted(f, p);
}

bool client_rank(const struct client *c, const struct client_page *page, struct client_rank *rank)
{
    struct client_facts f;
    take_facts(c, &f);
    return rank_facts(&f, page, rank);
}

bool client_rank_closed(const struct broker_loop *here, uint32_t index,
                        const struct client_page *page, struct client_rank *rank)
{
    return rank_facts(closed_at(here, index), page, rank);
}
