/* /healthz */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "monitoring/monitoring_internal.h"

/* Servers that this one cannot reach, or that belong to another meta group. They are named, but
 * this server is not the worse for it: whoever watches it would end the ones that are left. */
static void put_others(json_t *o, struct jetstream *js)
{
    json_t *missing = jetstream_missing_peers(js);
    json_t *foreign = jetstream_foreign_peers(js);
    if (missing != NULL) {
        json_put(o, "missing_peers", missing);
    }
    if (foreign != NULL) {
        json_put(o, "other_meta_group_peers", foreign);
    }
}

/* `js` NULL: nothing is said of it. */
static void reply_health(struct http_request *q, bool details, const char *problem,
                         struct jetstream *js)
{
    json_t *o = json_object();
    json_put_text(o, "status", problem == NULL ? "ok" : details ? "error" : "unavailable");
    if (problem != NULL) {
        log_warn("Healthcheck failed: \"%s\"", problem);
    }
    if (problem != NULL && details) {
        json_t *errors = json_array();
        json_t *e = json_object();
        json_put_text(e, "type", "JETSTREAM");
        json_put_text(e, "error", problem);
        (void)json_array_append_new(errors, e);
        json_put(o, "errors", errors);
    } else if (problem != NULL) {
        json_put_text(o, "error", problem);
    }
    if (js != NULL) {
        put_others(o, js);
    }
    reply_json(q, problem == NULL ? 200 : 503, o, 0);
}

static void health_known(void *arg, const char *problem)
{
    struct scrape *s = arg;
    reply_health(s->request, s->details, problem, s->m->js);
    scrape_free(s);
}

void on_healthz(struct monitoring *m, struct http_request *q)
{
    bool server_only, enabled_only, old_enabled, meta_only, details;
    if (!query_bool(q, "js-server-only", &server_only) ||
        !query_bool(q, "js-enabled-only", &enabled_only) ||
        !query_bool(q, "js-enabled", &old_enabled) || !query_bool(q, "js-meta-only", &meta_only) ||
        !query_bool(q, "details", &details)) {
        return;
    }
    if (broker_is_lame_duck(m->broker)) {
        json_t *o = json_object();
        json_put_text(o, "status", "error");
        json_put_text(o, "error", "failed to be ready for connections after 1ms: server");
        reply_json(q, 500, o, 0);
        return;
    }
    if (server_only || enabled_only || old_enabled || live_jetstream(m) == NULL) {
        reply_health(q, details, NULL, NULL);
    } else if (meta_only) {
        reply_health(q, details, jetstream_meta_health(m->js), m->js);
    } else {
        struct scrape *s = scrape_new(m, q);
        s->details = details;
        jetstream_health(m->js, health_known, s);
    }
}
