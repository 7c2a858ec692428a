/* /routez */
#include <stdio.h>
#include <strings.h>

#include "cluster/route_internal.h"
#include "core/base/clock.h"
#include "core/base/json.h"

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

static json_t *subjects_of(const struct route *r, bool detail)
{
    json_t *list = json_array();
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&r->link.subs, &i)) != NULL;) {
        struct link_interest interest = broker_link_entry(e->value);
        if (!detail) {
            (void)json_array_append_new(list, json_bytes(interest.subject));
            continue;
        }
        json_t *o = json_object();
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
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *describe(const struct route *r, const struct routez_options *options)
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
    if (options->subscriptions || options->detail) {
        json_put(o, options->detail ? "subscriptions_list_detail" : "subscriptions_list",
                 subjects_of(r, options->detail));
    }
    if (r->place.account != NULL) {
        json_put_text(o, "account", r->place.account);
    }
    if (r->compression != COMPRESSION_NOT_SUPPORTED) {
        json_put_text(o, "compression", compression_mode_names[r->compression]);
    }
    return o;
}

void routes_describe(const struct routes *routes, const struct routez_options *options,
                     json_t *array)
{
    for (const struct route *r = routes->list; r != NULL; r = r->next) {
        if (r->remote != NULL) {
            (void)json_array_append_new(array, describe(r, options));
        }
    }
}

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
