/* /connz */
#include <strings.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "monitoring/monitoring_internal.h"

struct sort_key {
    const char *option;
    enum connz_sort by;
};

static const struct sort_key sort_keys[] = {{"cid", CONNZ_BY_CID},
                                            {"start", CONNZ_BY_CID},
                                            {"subs", CONNZ_BY_SUBSCRIPTIONS},
                                            {"pending", CONNZ_BY_PENDING},
                                            {"msgs_to", CONNZ_BY_OUT_MSGS},
                                            {"msgs_from", CONNZ_BY_IN_MSGS},
                                            {"bytes_to", CONNZ_BY_OUT_BYTES},
                                            {"bytes_from", CONNZ_BY_IN_BYTES},
                                            {"uptime", CONNZ_BY_START},
                                            {"stop", CONNZ_BY_STOP},
                                            {"reason", CONNZ_BY_REASON},
                                            {"last", CONNZ_BY_ACTIVITY},
                                            {"idle", CONNZ_BY_ACTIVITY},
                                            {"rtt", CONNZ_BY_RTT}};

static void described(void *arg)
{
    struct scrape *s = arg;
    struct buffer text = {0};
    json_t *o = json_object();
    json_put_text(o, "server_id", broker_server_id(s->m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put_u64(o, "num_connections", s->page.described);
    json_put_u64(o, "total", s->page.matched);
    json_put_int(o, "offset", s->offset);
    json_put_int(o, "limit", s->limit);
    client_page_write(&s->page, &text);
    reply_json_list(s->request, o, "connections", buffer_bytes(&text), BYTES_NONE);
    buffer_deinit(&text);
    scrape_free(s);
}

static bool describe(void *arg, struct loop *loop)
{
    (void)loop;
    struct scrape *s = arg;
    return broker_describe_page(s->m->broker, &s->page);
}

static void found(void *arg)
{
    struct scrape *s = arg;
    broker_gather_in_slices(s->m->broker, describe, described, s);
}

static bool find(void *arg, struct loop *loop)
{
    (void)loop;
    struct scrape *s = arg;
    return broker_walk_page(s->m->broker, &s->page);
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
    struct client_page page = {0};
    int64_t cid = 0;
    const char *subs = http_query(q, "subs");
    page.detail = subs != NULL && strcasecmp(subs, "detail") == 0;
    if ((!page.detail && !query_bool(q, "subs", &page.subscriptions)) ||
        !query_bool(q, "auth", &page.auth) || !query_int(q, "cid", &cid) ||
        !query_state(q, &page.state)) {
        return;
    }
    const struct sort_key *sort = query_sort(q, page.state);
    if (sort == NULL) {
        return;
    }
    struct scrape *s = scrape_new(m, q);
    if (!query_page(q, s)) {
        scrape_free(s);
        return;
    }
    page.has_cid = http_query(q, "cid") != NULL;
    if (page.has_cid) {
        s->limit = 1;
    }
    s->user = copy_query(q, "user");
    s->account = copy_query(q, "acc");
    page.sort = sort->by;
    page.cid = (uint64_t)cid;
    page.user = s->user;
    page.account = s->account;
    page.offset = (size_t)s->offset;
    page.limit = (size_t)s->limit;
    s->page = page;
    broker_gather_in_slices(m->broker, find, found, s);
}
