/* What servers say of themselves: CONNECT and INFO. NATS route protocol §2. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "cluster/route_internal.h"
#include "core/base/json.h"
#include "core/base/url.h"

bool routes_are_pooled(const struct routes *routes)
{
    return routes_options(routes)->pool_size >= 0;
}

bool routes_pin(const struct routes *routes, const char *account)
{
    const struct options *o = broker_options(routes->broker);
    if (!routes_are_pooled(routes)) {
        return false;
    }
    if (strcmp(account, o->system_account == NULL ? "$SYS" : o->system_account) == 0) {
        return true;
    }
    for (uint32_t i = 0; i < o->cluster.accounts.count; i++) {
        if (strcmp(o->cluster.accounts.items[i], account) == 0) {
            return true;
        }
    }
    return false;
}

void route_send_json(struct route *r, const char *verb, json_t *object, const char *end)
{
    struct buffer line = {0};
    buffer_append_text(&line, verb);
    json_write(&line, object, 0);
    buffer_append_text(&line, end);
    conn_write(r->conn, buffer_bytes(&line));
    buffer_deinit(&line);
}

static void put_subjects(json_t *o, const char *key, const struct permission_rules *rules)
{
    if (rules->count == 0) {
        return;
    }
    json_t *list = json_array();
    for (uint32_t i = 0; i < rules->count; i++) {
        (void)json_array_append_new(list, json_string(rules->rules[i].subject));
    }
    json_put(o, key, list);
}

static void put_permission(json_t *info, const char *key, const struct permission_rules *allow,
                           const struct permission_rules *deny)
{
    json_t *o = json_object();
    put_subjects(o, "allow", allow);
    put_subjects(o, "deny", deny);
    json_put(info, key, o);
}

void routes_put_permissions(json_t *info, const struct permissions *p)
{
    if (p->publish_allow.count + p->publish_deny.count > 0) {
        put_permission(info, "import", &p->publish_allow, &p->publish_deny);
    }
    if (p->subscribe_allow.count + p->subscribe_deny.count > 0) {
        put_permission(info, "export", &p->subscribe_allow, &p->subscribe_deny);
    }
}

json_t *route_make_info(const struct route *r, enum compression_mode mode)
{
    const struct routes *routes = r->routes;
    const struct options *o = broker_options(routes->broker);
    json_t *info = broker_identity_info(routes->broker);
    json_put_text(info, "host", o->cluster.host);
    json_put_int(info, "port", routes->port);
    json_put_bool(info, "headers", true);
    if (o->cluster.user != NULL) {
        json_put_bool(info, "auth_required", true);
    }
    if (o->cluster.tls.set) {
        json_put_bool(info, "tls_required", true);
        json_put_bool(info, "tls_verify", true);
    }
    json_put_int(info, "max_payload", o->max_payload);
    if (o->jetstream) {
        json_put_bool(info, "jetstream", true);
        json_put_bool(info, "trireme_peer", true);
    }
    if (o->cluster.advertise != NULL) {
        struct buffer ip = {0};
        buffer_printf(&ip, "nats-route://%s/", o->cluster.advertise);
        json_put_bytes(info, "ip", buffer_bytes(&ip));
        buffer_deinit(&ip);
    }
    json_put_text(info, "cluster", broker_cluster_name(routes->broker));
    if (o->cluster.name == NULL) {
        json_put_bool(info, "cluster_dynamic", true);
    }
    if (broker_is_lame_duck(routes->broker)) {
        json_put_bool(info, "ldm", true);
    } else if (!o->cluster.no_advertise) {
        json_put(info, "connect_urls", broker_own_urls(routes->broker));
    }
    routes_put_permissions(info, &o->cluster.permissions);
    if (mode != COMPRESSION_NOT_SUPPORTED) {
        json_put_text(info, "compression", compression_mode_names[mode]);
    }
    if (routes_are_pooled(routes)) {
        json_put_int(info, "route_pool_size", o->cluster.pool_size);
        if (r->target != NULL && r->place.index > 0) {
            json_put_int(info, "route_pool_idx", r->place.index);
        }
        if (r->place.account != NULL) {
            json_put_text(info, "route_account", r->place.account);
        }
    }
    if (r->gossip != GOSSIP_DEFAULT) {
        json_put_int(info, "gossip_mode", r->gossip);
    }
    return info;
}

void route_send_info(struct route *r, enum compression_mode mode)
{
    json_t *info = route_make_info(r, mode);
    route_send_json(r, "INFO ", info, " \r\n");
    json_decref(info);
}

void route_send_connect(struct route *r)
{
    struct broker *broker = r->routes->broker;
    const struct options *o = broker_options(broker);
    json_t *connect = json_object();
    json_put_bool(connect, "echo", true);
    json_put_bool(connect, "verbose", false);
    json_put_bool(connect, "pedantic", false);
    if (r->target->user != NULL) {
        json_put_text(connect, "user", r->target->user);
        json_put_text(connect, "pass", r->target->password == NULL ? "" : r->target->password);
    }
    json_put_bool(connect, "tls_required", o->cluster.tls.set);
    json_put_bool(connect, "headers", true);
    json_put_text(connect, "name", broker_server_id(broker));
    json_put_text(connect, "cluster", broker_cluster_name(broker));
    if (o->cluster.name == NULL) {
        json_put_bool(connect, "cluster_dynamic", true);
    }
    route_send_json(r, "CONNECT ", connect, "\r\n");
    json_decref(connect);
}

enum compression_mode route_remote_compression(const json_t *info, bool *known)
{
    const char *text = json_text(info, "compression");
    *known = true;
    if (*text == '\0') {
        return COMPRESSION_NOT_SUPPORTED;
    }
    for (int i = 0; compression_mode_names[i] != NULL; i++) {
        if (strcmp(compression_mode_names[i], text) == 0) {
            return (enum compression_mode)i;
        }
    }
    *known = false;
    return COMPRESSION_NOT_SUPPORTED;
}

enum compression_mode route_negotiate(enum compression_mode ours, enum compression_mode theirs)
{
    if (ours == COMPRESSION_NOT_SUPPORTED || theirs == COMPRESSION_NOT_SUPPORTED) {
        return COMPRESSION_NOT_SUPPORTED;
    }
    if (ours == COMPRESSION_OFF || theirs == COMPRESSION_OFF) {
        return COMPRESSION_OFF;
    }
    if (ours != COMPRESSION_ACCEPT) {
        return ours;
    }
    return theirs == COMPRESSION_ACCEPT    ? COMPRESSION_OFF
           : theirs == COMPRESSION_S2_AUTO ? COMPRESSION_S2_FAST
                                           : theirs;
}

void route_address(const struct route *r, const json_t *info, char *host, size_t size, int *port)
{
    const char *ip = json_text(info, "ip");
    struct url url = {0};
    bool told = *ip != '\0' && url_parse(bytes_of(ip), &url) == OK && url.port != 0;
    if (told) {
        (void)snprintf(host, size, "%s", url.host);
        *port = url.port;
    }
    url_deinit(&url);
    if (told) {
        return;
    }
    (void)snprintf(host, size, "%s", r->conn->remote_host);
    *port = (int)json_int(info, "port");
}
