/* Walks over the clients of a loop in slices, between which clients come, go, subscribe and
 * publish: a walk stands at a client, and moves on when that one goes. */
#include <stdlib.h>

#include "core/base/json.h"
#include "core/broker/client_internal.h"
#include "core/subject/subject.h"

#define SLICE          8192 /* steps of a turn, each some ten nanoseconds … */
#define ENTRY_STEPS    32   /* … and what an entry of the answer counts for */
#define DESCRIBE_STEPS 128  /* … and a client in it */

static void begin(struct client_walk *w, struct broker_loop *here)
{
    w->client = here->clients;
    w->position = 0;
    w->next = here->walks;
    w->begun = true;
    here->walks = w;
}

/* On every loop that has had its turn. */
static void end(struct client_walk *w, struct broker_loop *here)
{
    struct client_walk **at = &here->walks;
    while (*at != w) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = w->next;
    w->begun = false;
}

static void next_client(struct client_walk *w)
{
    w->client = w->client->next;
    w->position = 0;
}

void client_leaves_walks(struct client *c)
{
    for (struct client_walk *w = c->home->walks; w != NULL; w = w->next) {
        if (w->client == c) {
            next_client(w);
        }
    }
}

static void append_entry(struct buffer *out, const struct client *c, const struct subscription *sub)
{
    json_t *o = json_object();
    json_put_text(o, "account", c->account->name);
    client_put_subscription(o, sub);
    buffer_append_text(out, out->len == 0 ? "    " : ",\n    ");
    json_write(out, o, 0);
    json_decref(o);
}

/* --- clients --- */

bool broker_walk_clients(struct broker *broker, const struct connz_options *options,
                         struct client_walk *w, json_t *array)
{
    struct broker_loop *here = broker_here(broker);
    if (!w->begun) {
        begin(w, here);
        w->client = options->state == CONNZ_CLOSED ? NULL : w->client;
    }
    for (int steps = 0; steps < SLICE; steps += DESCRIBE_STEPS) {
        json_t *one = NULL;
        if (w->client != NULL) {
            one = client_describe(w->client);
            next_client(w);
        } else if (options->state != CONNZ_OPEN) {
            one = client_describe_closed(here, w->position++);
        }
        if (one == NULL) {
            end(w, here);
            return true;
        }
        (void)json_array_append_new(array, one);
    }
    return false;
}

/* --- their subscriptions --- */

int client_subscriptions_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct client_subscriptions *)a)->cid;
    uint64_t y = ((const struct client_subscriptions *)b)->cid;
    return (x > y) - (x < y);
}

static void append_listed(struct buffer *out, const struct subscription *sub, bool detail)
{
    json_t *one = detail ? json_object() : json_bytes(interest_subject(&sub->entry));
    if (detail) {
        client_put_subscription(one, sub);
    }
    if (out->len > 0) {
        buffer_append_char(out, ',');
    }
    json_write(out, one, 0);
    json_decref(one);
}

bool broker_walk_clients_subscriptions(struct broker *broker, bool detail, struct client_walk *w,
                                       struct client_subscriptions *clients, size_t count)
{
    struct broker_loop *here = broker_here(broker);
    if (!w->begun) {
        begin(w, here);
    }
    for (int steps = 0; w->client != NULL; steps++) {
        if (steps >= SLICE) {
            return false;
        }
        struct client_subscriptions wanted = {.cid = w->client->conn->id};
        struct client_subscriptions *found =
            bsearch(&wanted, clients, count, sizeof *clients, client_subscriptions_compare);
        const struct subscription *sub =
            found == NULL ? NULL : table_next(&w->client->subs, &w->position);
        if (sub == NULL) {
            next_client(w);
        } else {
            append_listed(&found->list, sub, detail);
            steps += ENTRY_STEPS;
        }
    }
    end(w, here);
    return true;
}

/* None of the client's subscriptions can be on the page: how many there are is all that counts. */
static bool is_beside_page(const struct subscription_walk *w, uint32_t count)
{
    return w->test == NULL && w->at.position == 0 &&
           (w->matched >= w->offset + w->limit || w->matched + count <= w->offset);
}

bool broker_walk_subscriptions(struct broker *broker, struct subscription_walk *w)
{
    struct broker_loop *here = broker_here(broker);
    if (!w->at.begun) {
        begin(&w->at, here);
    }
    for (int steps = 0; w->at.client != NULL; steps++) {
        const struct client *c = w->at.client;
        if (steps >= SLICE) {
            return false;
        }
        bool skips = w->account != NULL && strcmp(w->account, c->account->name) != 0;
        if (skips || is_beside_page(w, c->subs.count)) {
            w->matched += skips ? 0 : c->subs.count;
            next_client(&w->at);
            continue;
        }
        const struct subscription *sub = table_next(&c->subs, &w->at.position);
        if (sub == NULL) {
            next_client(&w->at);
            continue;
        }
        if (w->test != NULL && !subject_matches(interest_subject(&sub->entry), bytes_of(w->test))) {
            continue;
        }
        if (w->matched >= w->offset && w->matched < w->offset + w->limit) {
            append_entry(&w->page, c, sub);
            steps += ENTRY_STEPS;
        }
        w->matched++;
    }
    end(&w->at, here);
    return true;
}
