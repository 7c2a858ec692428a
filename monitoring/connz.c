/* /connz */
#include <strings.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "monitoring/monitoring_internal.h"

static bool connz_gather(void *arg, struct loop *loop)
{
    (void)loop;
    struct scrape *s = arg;
    return broker_walk_clients(s->m->broker, &s->connz, &s->walk.at, s->list);
}

struct sort_key {
    const char *option;
    const char *field;
    int direction;
};

static const struct sort_key sort_keys[] = {{"cid", "cid", 1},
                                            {"start", "cid", 1},
                                            {"subs", "subscriptions", -1},
                                            {"pending", "pending_bytes", -1},
                                            {"msgs_to", "out_msgs", -1},
                                            {"msgs_from", "in_msgs", -1},
                                            {"bytes_to", "out_bytes", -1},
                                            {"bytes_from", "in_bytes", -1},
                                            {"uptime", "start", -1},
                                            {"stop", "stop", -1},
                                            {"reason", "reason", 1},
                                            {"last", "last_activity", -1},
                                            {"idle", "last_activity", -1},
                                            {"rtt", "trireme_rtt_ns", -1}};

static const struct sort_key *sorting; /* during a qsort, which has no argument; loop 0 only */

static int compare_conns(const void *a, const void *b)
{
    const json_t *x = json_object_get(*(json_t *const *)a, sorting->field);
    const json_t *y = json_object_get(*(json_t *const *)b, sorting->field);
    if (json_is_integer(x) && json_is_integer(y)) {
        json_int_t d = json_integer_value(x) - json_integer_value(y);
        return sorting->direction * (d < 0 ? -1 : d > 0);
    }
    const char *s = json_string_value(x);
    const char *t = json_string_value(y);
    return sorting->direction * strcmp(s == NULL ? "" : s, t == NULL ? "" : t);
}

/* Fields that the sorting needs and nobody is to see. */
#define SORT_RTT     "trireme_rtt_ns"
#define SORT_ACCOUNT "trireme_account"

static bool wanted(const struct scrape *s, const json_t *c)
{
    return (!s->has_cid || (uint64_t)json_int(c, "cid") == s->cid) &&
           (s->account == NULL || strcmp(json_text(c, SORT_ACCOUNT), s->account) == 0) &&
           (s->user == NULL || strcmp(json_text(c, "authorized_user"), s->user) == 0);
}

static json_t *sorted(const struct scrape *s)
{
    size_t count = json_array_size(s->list), kept = 0;
    json_t **items = mem_alloc((count + 1) * sizeof(json_t *));
    for (size_t i = 0; i < count; i++) {
        json_t *c = json_array_get(s->list, i);
        if (wanted(s, c)) {
            items[kept++] = c;
        }
    }
    sorting = s->sorting;
    qsort(items, kept, sizeof(json_t *), compare_conns);
    json_t *list = json_array();
    for (size_t i = 0; i < kept; i++) {
        (void)json_object_del(items[i], SORT_RTT);
        (void)json_object_del(items[i], SORT_ACCOUNT);
        if (!s->connz.auth) {
            (void)json_object_del(items[i], "authorized_user");
            (void)json_object_del(items[i], "account");
            (void)json_object_del(items[i], "name_tag");
        }
        (void)json_array_append(list, items[i]);
    }
    free(items);
    return list;
}

/* --- the subscriptions of those on the page --- */

static bool subscriptions_gather(void *arg, struct loop *loop)
{
    (void)loop;
    struct scrape *s = arg;
    return broker_walk_clients_subscriptions(s->m->broker, s->connz.detail, &s->walk.at, s->listed,
                                             s->listed_count);
}

/* The client as one line, with its list at the end. */
static void append_client(struct buffer *out, const struct scrape *s, const json_t *client)
{
    struct client_subscriptions wanted = {.cid = (uint64_t)json_int(client, "cid")};
    const struct client_subscriptions *found = bsearch(
        &wanted, s->listed, s->listed_count, sizeof *s->listed, client_subscriptions_compare);
    buffer_append_text(out, out->len == 0 ? "    " : ",\n    ");
    json_write(out, client, 0);
    if (found != NULL && found->list.len > 0) {
        CHECK(out->data[out->len - 1] == '}');
        out->len--;
        buffer_printf(out, ",\"%s\":[",
                      s->connz.detail ? "subscriptions_list_detail" : "subscriptions_list");
        buffer_append_bytes(out, buffer_bytes(&found->list));
        buffer_append_text(out, "]}");
    }
}

static void subscriptions_done(void *arg)
{
    struct scrape *s = arg;
    struct buffer text = {0};
    json_t *clients = json_incref(json_object_get(s->body, "connections"));
    (void)json_object_del(s->body, "connections");
    for (size_t i = 0; i < json_array_size(clients); i++) {
        append_client(&text, s, json_array_get(clients, i));
    }
    reply_json_list(s->request, s->body, "connections", buffer_bytes(&text));
    buffer_deinit(&text);
    json_decref(clients);
    scrape_free(s);
}

static void gather_subscriptions(struct scrape *s, const json_t *page)
{
    s->listed_count = json_array_size(page);
    s->listed = mem_zalloc((s->listed_count + 1) * sizeof *s->listed);
    for (size_t i = 0; i < s->listed_count; i++) {
        s->listed[i].cid = (uint64_t)json_int(json_array_get(page, i), "cid");
    }
    qsort(s->listed, s->listed_count, sizeof *s->listed, client_subscriptions_compare);
    broker_gather_in_slices(s->m->broker, subscriptions_gather, subscriptions_done, s);
}

static void connz_done(void *arg)
{
    struct scrape *s = arg;
    json_t *list = sorted(s);
    int64_t total = (int64_t)json_array_size(list);
    json_t *page = page_of(s, list);
    json_t *o = json_object();
    json_put_text(o, "server_id", broker_server_id(s->m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put_int(o, "num_connections", (int64_t)json_array_size(page));
    json_put_int(o, "total", total);
    json_put_int(o, "offset", s->offset);
    json_put_int(o, "limit", s->limit);
    json_put(o, "connections", page);
    if ((s->connz.subscriptions || s->connz.detail) && json_array_size(page) > 0) {
        s->body = o;
        gather_subscriptions(s, page);
        return;
    }
    reply_json(s->request, 200, o, 2);
    scrape_free(s);
}

/* NULL after a 400 has been sent. */
static const struct sort_key *query_sort(struct http_request *q, enum connz_state state)
{
    const char *sort = http_query(q, "sort");
    if (sort == NULL || *sort == '\0') {
        return &sort_keys[0];
    }
    char text[128];
    for (size_t i = 0; i < sizeof sort_keys / sizeof sort_keys[0]; i++) {
        if (strcmp(sort_keys[i].option, sort) != 0) {
            continue;
        }
        bool closed_only = strcmp(sort, "stop") == 0 || strcmp(sort, "reason") == 0;
        if (!closed_only || state == CONNZ_CLOSED) {
            return &sort_keys[i];
        }
        (void)snprintf(text, sizeof text, "sort by %s only valid on closed connections", sort);
        reply_bad(q, text);
        return NULL;
    }
    (void)snprintf(text, sizeof text, "invalid sorting option: %.60s", sort);
    reply_bad(q, text);
    return NULL;
}

static bool query_state(struct http_request *q, enum connz_state *state)
{
    static const struct {
        const char *name;
        enum connz_state state;
    } known[] = {{"", CONNZ_OPEN},
                 {"open", CONNZ_OPEN},
                 {"closed", CONNZ_CLOSED},
                 {"any", CONNZ_ALL},
                 {"all", CONNZ_ALL}};
    const char *text = http_query(q, "state");
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcasecmp(text == NULL ? "" : text, known[i].name) == 0) {
            *state = known[i].state;
            return true;
        }
    }
    char message[128];
    (void)snprintf(message, sizeof message, "Error decoding state for %.60s", text);
    reply_bad(q, message);
    return false;
}

static char *copy_query(struct http_request *q, const char *name)
{
    const char *text = http_query(q, name);
    return text == NULL || *text == '\0' ? NULL : mem_strdup(text);
}

void on_connz(struct monitoring *m, struct http_request *q)
{
    struct connz_options options = {0};
    int64_t cid = 0;
    const char *subs = http_query(q, "subs");
    options.detail = subs != NULL && strcasecmp(subs, "detail") == 0;
    if ((!options.detail && !query_bool(q, "subs", &options.subscriptions)) ||
        !query_bool(q, "auth", &options.auth) || !query_int(q, "cid", &cid) ||
        !query_state(q, &options.state)) {
        return;
    }
    const struct sort_key *sort = query_sort(q, options.state);
    if (sort == NULL) {
        return;
    }
    struct scrape *s = scrape_new(m, q);
    s->sorting = sort;
    s->connz = options;
    if (!query_page(q, s)) {
        scrape_free(s);
        return;
    }
    s->user = copy_query(q, "user");
    s->account = copy_query(q, "acc");
    s->has_cid = http_query(q, "cid") != NULL;
    s->cid = (uint64_t)cid;
    if (s->has_cid) {
        s->limit = 1;
    }
    broker_gather_in_slices(m->broker, connz_gather, connz_done, s);
}
