/* A page of the clients in an order.
 *
 * broker_walk_page() ranks all, on each loop in turn, and keeps the first of them →
 * broker_describe_page() sorts them on the first loop, and finds those of the page again by their
 * numbers. Who has left meanwhile is not described; who has closed while it was looked for may have
 * been ranked twice, and is described once. */
#include <stdlib.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/broker/client_internal.h"

#define SORT_SLICE 2048 /* items, each some hundred nanoseconds */

static int compare_ranks(const void *a, const void *b)
{
    const struct client_rank *x = a, *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    int text = strcmp(x->text, y->text);
    return text != 0 ? text : (x->order > y->order) - (x->order < y->order);
}

static void take(struct client_page *p, struct client_rank *rank)
{
    rank->order = p->matched++;
    heap_offer(&p->first, rank, p->offset + p->limit);
}

bool broker_walk_page(struct broker *broker, struct client_page *p)
{
    struct broker_loop *here = broker_here(broker);
    struct client_walk *w = &p->at;
    if (!w->begun) {
        p->first.item_bytes = sizeof(struct client_rank);
        p->first.compare = compare_ranks;
        client_walk_begin(w, here);
        w->client = p->state == CONNZ_CLOSED ? NULL : w->client;
    }
    struct client_rank rank = {0};
    for (int steps = 0; steps < WALK_SLICE; steps += WALK_RANK_STEPS) {
        if (w->client != NULL) {
            if (client_rank(w->client, p, &rank)) {
                take(p, &rank);
            }
            client_walk_next(w);
        } else if (p->state != CONNZ_OPEN && w->position < client_closed_count(here)) {
            if (client_rank_closed(here, w->position++, p, &rank)) {
                take(p, &rank);
            }
        } else {
            client_walk_end(w, here);
            return true;
        }
    }
    return false;
}

/* --- those on it --- */

static struct bytes cid_of(const void *item, uint32_t context)
{
    (void)context;
    const struct client_text *t = item;
    return bytes_make((const char *)&t->cid, sizeof t->cid);
}

static struct client_text *find(const struct client_page *p, uint64_t cid)
{
    return table_get(&p->by_cid, bytes_make((const char *)&cid, sizeof cid), cid_of, 0);
}

static bool has_lists(const struct client_page *p)
{
    return p->subscriptions || p->detail;
}

static void list_page(struct client_page *p)
{
    const struct client_rank *ranks = p->first.items;
    p->count = p->first.count > p->offset ? p->first.count - p->offset : 0;
    p->listed = mem_zalloc((p->count + 1) * sizeof *p->listed);
    for (size_t i = 0; i < p->count; i++) {
        struct client_text *t = &p->listed[i];
        t->cid = ranks[p->offset + i].cid;
        if (find(p, t->cid) == NULL) {
            table_add(&p->by_cid, t, cid_of, 0);
        }
    }
    free(p->first.items);
    p->first.items = NULL;
}

/* Steals the description. */
static void begin_text(struct client_page *p, struct client_text *t, json_t *description)
{
    CHECK(!t->begun);
    json_write_open(&t->text, description, has_lists(p) ? 0 : 2, has_lists(p) ? 0 : 4);
    json_decref(description);
    t->begun = true;
    p->described++;
}

static void append_subscription(const struct client_page *p, struct client_text *t,
                                const struct subscription *sub)
{
    json_t *one = p->detail ? json_object() : json_bytes(interest_subject(&sub->entry));
    if (p->detail) {
        client_put_subscription(one, sub);
    }
    if (t->has_list) {
        buffer_append_char(&t->text, ',');
    } else {
        buffer_printf(&t->text, ",\"%s\":[",
                      p->detail ? "subscriptions_list_detail" : "subscriptions_list");
    }
    t->has_list = true;
    json_write(&t->text, one, 0);
    json_decref(one);
}

/* Returns what it has cost, in steps. */
static int describe_open(struct client_page *p)
{
    const struct client *c = p->at.client;
    struct client_text *t = find(p, c->conn->id);
    if (t != NULL && !t->begun) {
        begin_text(p, t, client_describe(c, p->auth));
        return WALK_DESCRIBE_STEPS;
    }
    const struct subscription *sub =
        t == NULL || !has_lists(p) ? NULL : table_next(&c->subs, &p->at.position);
    if (sub == NULL) {
        client_walk_next(&p->at);
        return WALK_RANK_STEPS;
    }
    append_subscription(p, t, sub);
    return WALK_ENTRY_STEPS;
}

static int describe_closed(struct client_page *p, const struct broker_loop *here)
{
    uint32_t index = p->at.position++;
    struct client_text *t = find(p, client_closed_cid(here, index));
    if (t == NULL || t->begun) {
        return WALK_RANK_STEPS;
    }
    begin_text(p, t, client_describe_closed(here, index, p->auth));
    return WALK_DESCRIBE_STEPS;
}

bool broker_describe_page(struct broker *broker, struct client_page *p)
{
    struct broker_loop *here = broker_here(broker);
    struct client_walk *w = &p->at;
    if (p->listed == NULL) {
        if (!heap_sort(&p->first, SORT_SLICE)) {
            return false;
        }
        list_page(p);
    }
    if (!w->begun) {
        client_walk_begin(w, here);
        w->client = p->state == CONNZ_CLOSED ? NULL : w->client;
    }
    for (int steps = 0; steps < WALK_SLICE;) {
        bool sought = p->described < p->by_cid.count;
        if (w->client != NULL && (sought || w->position > 0 || has_lists(p))) {
            steps += describe_open(p);
        } else if (sought && p->state != CONNZ_OPEN && w->position < client_closed_count(here)) {
            steps += describe_closed(p, here);
        } else {
            client_walk_end(w, here);
            return true;
        }
    }
    return false;
}

void client_page_write(const struct client_page *p, struct buffer *out)
{
    size_t begun = out->len;
    for (size_t i = 0; i < p->count; i++) {
        const struct client_text *t = &p->listed[i];
        if (t->begun) {
            buffer_append_text(out, out->len == begun ? "    " : ",\n    ");
            buffer_append_bytes(out, buffer_bytes(&t->text));
            buffer_append_text(out, t->has_list ? "]}" : has_lists(p) ? "}" : "\n    }");
        }
    }
}

void client_page_deinit(struct client_page *p)
{
    CHECK(!p->at.begun);
    for (size_t i = 0; i < p->count; i++) {
        buffer_deinit(&p->listed[i].text);
    }
    free(p->listed);
    free(p->first.items);
    table_clear(&p->by_cid);
}
