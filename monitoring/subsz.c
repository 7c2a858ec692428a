/* /subsz */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "monitoring/monitoring_internal.h"

static bool subsz_gather(void *arg, struct loop *loop)
{
    (void)loop;
    struct scrape *s = arg;
    bool whole = !s->subscriptions || broker_walk_subscriptions(s->m->broker, &s->walk);
    if (whole) {
        broker_interest_stats(s->m->broker, s->account, &s->interest);
    }
    return whole;
}

static json_t *ratio(uint64_t part, uint64_t whole)
{
    return json_real(whole == 0 ? 0.0 : (double)part / (double)whole);
}

static void subsz_done(void *arg)
{
    struct scrape *s = arg;
    const struct interest_stats *i = &s->interest;
    json_t *o = json_object();
    json_put_text(o, "server_id", broker_server_id(s->m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put_u64(o, "num_subscriptions", i->subscriptions);
    json_put_u64(o, "num_cache", i->cached);
    json_put_u64(o, "num_inserts", i->inserts);
    json_put_u64(o, "num_removes", i->removes);
    json_put_u64(o, "num_matches", i->matches);
    json_put(o, "cache_hit_rate", ratio(i->hits, i->matches));
    json_put_u64(o, "max_fanout", i->max_fanout);
    json_put(o, "avg_fanout", ratio(i->fanout, i->cached));
    json_put_u64(o, "total", s->walk.matched);
    json_put_int(o, "offset", s->offset);
    json_put_int(o, "limit", s->limit);
    if (s->walk.page.len > 0) {
        reply_json_list(s->request, o, "subscriptions_list", buffer_bytes(&s->walk.page),
                        BYTES_NONE);
    } else {
        reply_json(s->request, 200, o, 2);
    }
    scrape_free(s);
}

void on_subsz(struct monitoring *m, struct http_request *q)
{
    const char *test = http_query(q, "test");
    const char *account = http_query(q, "acc");
    struct scrape *s = scrape_new(m, q);
    if (!query_bool(q, "subs", &s->subscriptions) || !query_page(q, s)) {
        scrape_free(s);
        return;
    }
    if (test != NULL && *test != '\0' && !subject_is_literal(bytes_of(test))) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "invalid test subject, must be valid publish subject: %.150s", test);
        reply_bad(q, text);
        scrape_free(s);
        return;
    }
    s->test = test == NULL || *test == '\0' ? NULL : mem_strdup(test);
    s->account = account == NULL || *account == '\0' ? NULL : mem_strdup(account);
    s->walk = (struct subscription_walk){.account = s->account,
                                         .test = s->test,
                                         .offset = (uint64_t)s->offset,
                                         .limit = (uint64_t)s->limit};
    broker_gather_in_slices(m->broker, subsz_gather, subsz_done, s);
}
