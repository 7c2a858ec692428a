/* /routez */
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "monitoring/monitoring_internal.h"

static void reply_routes(struct scrape *s)
{
    struct monitoring *m = s->m;
    json_t *lost = m->routes == NULL ? NULL : routes_describe_lost(m->routes);
    json_t *o = json_object();
    struct buffer rest = {0};
    json_put_text(o, "server_id", broker_server_id(m->broker));
    json_put_text(o, "server_name", broker_server_name(m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put_int(o, "num_routes", s->routes.count);
    routes_put_permissions(o, &broker_options(m->broker)->cluster.permissions);
    if (json_array_size(lost) > 0) {
        buffer_append_text(&rest, ",\n  \"trireme_lost_routes\": ");
        json_write_within(&rest, lost, 2, 2);
    }
    reply_json_list(s->request, o, "routes", buffer_bytes(&s->routes.text), buffer_bytes(&rest));
    buffer_deinit(&rest);
    json_decref(lost);
    scrape_free(s);
}

static bool walk_routes(void *arg, struct loop *loop)
{
    struct scrape *s = arg;
    return loop_index(loop) != 0 || routes_walk(s->m->routes, &s->routes);
}

static void walked_routes(void *arg)
{
    reply_routes(arg);
}

void on_routez(struct monitoring *m, struct http_request *q)
{
    const char *subs = http_query(q, "subs");
    struct route_walk walk = {.detail = subs != NULL && strcasecmp(subs, "detail") == 0};
    if (!walk.detail && !query_bool(q, "subs", &walk.subscriptions)) {
        return;
    }
    struct scrape *s = scrape_new(m, q);
    s->routes = walk;
    if (m->routes == NULL) {
        reply_routes(s);
    } else {
        broker_gather_in_slices(m->broker, walk_routes, walked_routes, s);
    }
}
