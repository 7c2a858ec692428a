/* /routez */
#include <stdio.h>
#include <strings.h>

#include "cluster/route_internal.h"
#include "core/base/clock.h"
#include "core/base/json.h"

#define SLICE_NS (NS_PER_MS / 2) /* of a turn */

static void put_members(json_t *o, const struct route *r)
{
    static const char *const kept[] = {"import", "export"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        json_t *value = json_object_get(r->remote->info, kept[i]);
        if (value != NULL) {
            (void)json_object_set(o, kept[i], value);
        }
    }
}

/* The members before the list of subscriptions. */
static json_t *describe(const struct route *r)
{
    int64_t now = clock_now_ns();
    char text[48];
    json_t *o = json_object();
    json_put_u64(o, "rid", r->conn->id);
    json_put_text(o, "remote_id", r->remote_id);
    json_put_text(o, "remote_name", r->remote_name);
    json_put_bool(o, "did_solicit", r->target != NULL);
    json_put_bool(o, "is_configured", r->target != NULL && r->target->configured);
    json_put_text(o, "ip", r->conn->remote_host);
    json_put_int(o, "port", r->conn->remote_port);
    json_put_time(o, "start", r->conn->start_ns);
    json_put_time(o, "last_activity", r->last_activity_ns);
    put_members(o, r);
    if (r->rtt_ns > 0) {
        (void)snprintf(text, sizeof text, "%lld\xc2\xb5s", (long long)(r->rtt_ns / 1000));
        json_put_text(o, "rtt", text);
    }
    clock_format_uptime(now - r->conn->start_ns, text);
    json_put_text(o, "uptime", text);
    clock_format_uptime(now - r->last_activity_ns, text);
    json_put_text(o, "idle", text);
    pthread_mutex_lock(&r->conn->lock);
    uint64_t pending = r->conn->pending, msgs = r->conn->out_msgs, bytes = r->conn->out_bytes;
    pthread_mutex_unlock(&r->conn->lock);
    json_put_u64(o, "pending_size", pending);
    json_put_u64(o, "in_msgs", r->in_msgs);
    json_put_u64(o, "out_msgs", msgs);
    json_put_u64(o, "in_bytes", r->in_bytes);
    json_put_u64(o, "out_bytes", bytes);
    json_put_int(o, "subscriptions", r->link.subs.count);
    return o;
}

/* --- in slices --- */

static bool has_list(const struct route_walk *w)
{
    return w->subscriptions || w->detail;
}

static void begin_route(struct route_walk *w)
{
    json_t *o = describe(w->at);
    buffer_append_text(&w->text, w->count == 0 ? "    " : ",\n    ");
    json_write_open(&w->text, o, 2, 4);
    json_decref(o);
    if (has_list(w)) {
        buffer_printf(&w->text, ",\n      \"%s\": [",
                      w->detail ? "subscriptions_list_detail" : "subscriptions_list");
    }
    w->count++;
    w->amid = true;
}

static void append_interest(struct route_walk *w, const struct map_entry *e, bool first)
{
    const struct route *r = w->at;
    struct link_interest interest = broker_link_entry(e->value);
    json_t *o = w->detail ? json_object() : json_bytes(interest.subject);
    if (w->detail) {
        if (r->pinned == NULL) {
            json_put_text(o, "account", interest.account);
        }
        json_put_bytes(o, "subject", interest.subject);
        if (interest.queue.ptr != NULL) {
            json_put_bytes(o, "qgroup", interest.queue);
        }
        json_put_text(o, "sid", "");
        json_put_int(o, "msgs", 0);
        json_put_u64(o, "cid", r->conn->id);
    }
    buffer_append_text(&w->text, first ? "\n        " : ",\n        ");
    json_write(&w->text, o, 0);
    json_decref(o);
}

static void append_member(struct buffer *out, const char *key, const char *value)
{
    buffer_printf(out, ",\n      \"%s\": ", key);
    json_write_text(out, value);
}

/* It is whole, or has gone (`r` NULL). */
static void end_route(struct route_walk *w, const struct route *r)
{
    if (w->amid && has_list(w)) {
        buffer_append_text(&w->text, w->position > 0 ? "\n      ]" : "]");
    }
    if (w->amid && r != NULL && r->place.account != NULL) {
        append_member(&w->text, "account", r->place.account);
    }
    if (w->amid && r != NULL && r->compression != COMPRESSION_NOT_SUPPORTED) {
        append_member(&w->text, "compression", compression_mode_names[r->compression]);
    }
    if (w->amid) {
        buffer_append_text(&w->text, "\n    }");
    }
    w->amid = false;
    w->position = 0;
}

void route_leaves_walks(struct route *r)
{
    for (struct route_walk *w = r->routes->walks; w != NULL; w = w->next) {
        if (w->at == r) {
            end_route(w, NULL);
            w->at = r->next;
        }
    }
}

static void end_walk(struct routes *routes, struct route_walk *w)
{
    struct route_walk **at = &routes->walks;
    while (*at != w) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = w->next;
    w->begun = false;
}

bool routes_walk(struct routes *routes, struct route_walk *w)
{
    CHECK(loop_is_current(routes->loop));
    int64_t until = clock_mono_ns() + SLICE_NS;
    if (!w->begun) {
        w->at = routes->list;
        w->next = routes->walks;
        w->begun = true;
        routes->walks = w;
    }
    while (w->at != NULL) {
        if (clock_mono_ns() >= until) {
            return false;
        }
        if (w->at->remote != NULL && !w->amid) {
            begin_route(w);
        }
        bool first = w->position == 0;
        const struct map_entry *e =
            w->amid && has_list(w) ? map_next(&w->at->link.subs, &w->position) : NULL;
        if (e != NULL) {
            append_interest(w, e, first);
        } else {
            end_route(w, w->at);
            w->at = w->at->next;
        }
    }
    end_walk(routes, w);
    return true;
}

/* --- those that are gone --- */

json_t *routes_describe_lost(const struct routes *routes)
{
    json_t *array = json_array();
    uint64_t kept = routes->lost_count < LOST_ROUTES_MAX ? routes->lost_count : LOST_ROUTES_MAX;
    for (uint64_t i = routes->lost_count - kept; i < routes->lost_count; i++) {
        const struct lost_route *lost = &routes->lost[i % LOST_ROUTES_MAX];
        json_t *o = json_object();
        json_put_u64(o, "rid", lost->rid);
        json_put_text(o, "remote_name", lost->remote_name);
        json_put_time(o, "start", lost->start_ns);
        json_put_time(o, "stop", lost->stop_ns);
        json_put_text(o, "reason", close_reason_text(lost->reason));
        (void)json_array_append_new(array, o);
    }
    return array;
}
