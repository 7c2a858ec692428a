/* Walks over the clients of a loop in slices, between which clients come, go, subscribe and
 * publish: a walk stands at a client, and moves on when that one goes. */
#include <stdlib.h>

#include "core/base/json.h"
#include "core/broker/client_internal.h"
#include "core/subject/subject.h"

void client_walk_begin(struct client_walk *w, struct broker_loop *here)
{
    w->client = here->clients;
    w->position = 0;
    w->next = here->walks;
    w->begun = true;
    here->walks = w;
}

void client_walk_end(struct client_walk *w, struct broker_loop *here)
{
    struct client_walk **at = &here->walks;
    while (*at != w) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = w->next;
    w->begun = false;
}

void client_walk_next(struct client_walk *w)
{
    w->client = w->client->next;
    w->position = 0;
}

void client_leaves_walks(struct client *c)
{
    for (struct client_walk *w = c->home->walks; w != NULL; w = w->next) {
        if (w->client == c) {
            client_walk_next(w);
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
        client_walk_begin(&w->at, here);
    }
    for (int steps = 0; w->at.client != NULL; steps++) {
        const struct client *c = w->at.client;
        if (steps >= WALK_SLICE) {
            return false;
        }
        bool skips = w->account != NULL && strcmp(w->account, c->account->name) != 0;
        if (skips || is_beside_page(w, c->subs.count)) {
            w->matched += skips ? 0 : c->subs.count;
            client_walk_next(&w->at);
            continue;
        }
        const struct subscription *sub = table_next(&c->subs, &w->at.position);
        if (sub == NULL) {
            client_walk_next(&w->at);
            continue;
        }
        if (w->test != NULL && !subject_matches(interest_subject(&sub->entry), bytes_of(w->test))) {
            continue;
        }
        if (w->matched >= w->offset && w->matched < w->offset + w->limit) {
            append_entry(&w->page, c, sub);
            steps += WALK_ENTRY_STEPS;
        }
        w->matched++;
    }
    client_walk_end(&w->at, here);
    return true;
}
