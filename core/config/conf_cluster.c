/* cluster{} */
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/url.h"
#include "core/config/take_internal.h"

static void on_cluster_name(struct context *c, const struct conf_member *m)
{
    take_name(c, m, "cluster name", &c->o->cluster.name);
}
static void on_cluster_listen(struct context *c, const struct conf_member *m)
{
    take_listen(c, m, &c->o->cluster.host, &c->o->cluster.port);
}
static void on_cluster_host(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->cluster.host);
}
static void on_cluster_port(struct context *c, const struct conf_member *m)
{
    take_port(c, m, &c->o->cluster.port);
}
static void add_route(struct context *c, const struct conf_member *m, const struct conf_value *v)
{
    struct url url = {0};
    bool good = v->type == CONF_STRING && url_parse(v->text, &url) == OK;
    if (good && url.host[0] != '\0' && url.port != 0) {
        text_list_add(&c->o->cluster.routes, v->text);
    } else {
        struct buffer shown = {0};
        url_put_public(&shown, v->text);
        complain(c, m, "error parsing route url [\"%.*s\"]%s", BYTES_ARG(buffer_bytes(&shown)),
                 good ? ": it needs a host and a port" : "");
        buffer_deinit(&shown);
    }
    url_deinit(&url);
}
static void on_routes(struct context *c, const struct conf_member *m)
{
    if (m->value.type == CONF_STRING) {
        add_route(c, m, &m->value);
    } else if (expect_type(c, m, CONF_ARRAY)) {
        for (uint32_t i = 0; i < m->value.count; i++) {
            add_route(c, m, &m->value.members[i].value);
        }
    }
}
static void on_cluster_authorization(struct context *c, const struct conf_member *m)
{
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (bytes_eq_nocase(f->key, BYTES_LIT("user")) ||
            bytes_eq_nocase(f->key, BYTES_LIT("username"))) {
            take_text(c, f, &c->o->cluster.user);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("pass")) ||
                   bytes_eq_nocase(f->key, BYTES_LIT("password"))) {
            take_text(c, f, &c->o->cluster.password);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("timeout"))) {
            if (!take_seconds(f, &c->o->cluster.auth_timeout_ns)) {
                take_duration(c, f, &c->o->cluster.auth_timeout_ns);
            }
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("users"))) {
            complain(c, f, "Cluster authorization does not allow multiple users");
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("token"))) {
            complain(c, f, "Cluster authorization does not support tokens");
        } else {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
}
static void on_no_advertise(struct context *c, const struct conf_member *m)
{
    take_bool(c, m, &c->o->cluster.no_advertise);
}
static void on_cluster_advertise(struct context *c, const struct conf_member *m)
{
    take_advertise(c, m, &c->o->cluster.advertise);
}
static void on_connect_retries(struct context *c, const struct conf_member *m)
{
    take_int(c, m, &c->o->cluster.connect_retries);
}

static void on_connect_backoff(struct context *c, const struct conf_member *m)
{
    take_bool(c, m, &c->o->cluster.connect_backoff);
}
static void on_pool_size(struct context *c, const struct conf_member *m)
{
    take_int32(c, m, &c->o->cluster.pool_size);
    if (c->o->cluster.pool_size > ROUTE_POOL_MAX) {
        complain(c, m, "pool_size can not be larger than %d", ROUTE_POOL_MAX);
    }
}
static void on_pinned_accounts(struct context *c, const struct conf_member *m)
{
    take_texts(c, m, &c->o->cluster.accounts);
    const struct text_list *list = &c->o->cluster.accounts;
    for (uint32_t i = 0; i < list->count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(list->items[i], list->items[k]) == 0) {
                complain(c, m, "found duplicate account name \"%s\" in pinned accounts list",
                         list->items[i]);
            }
        }
    }
}
static void on_cluster_tls(struct context *c, const struct conf_member *m)
{
    take_tls(c, m, &c->o->cluster.tls);
    c->o->cluster.tls.verify = true; /* neighbours always show who they are */
}
static void on_cluster_permissions(struct context *c, const struct conf_member *m)
{
    take_permissions(c, m, &c->o->cluster.permissions);
    if (c->o->cluster.permissions.responses_set) {
        complain(c, m, "Cluster permissions do not support dynamic responses");
    }
}

/* Every name that nats-server knows for a mode; yes and no are "on" and "off". */
static bool take_mode(struct bytes text, enum compression_mode *mode)
{
    static const struct {
        const char *name;
        enum compression_mode mode;
    } names[] = {{"off", COMPRESSION_OFF},
                 {"disabled", COMPRESSION_OFF},
                 {"false", COMPRESSION_OFF},
                 {"on", COMPRESSION_S2_FAST},
                 {"enabled", COMPRESSION_S2_FAST},
                 {"true", COMPRESSION_S2_FAST},
                 {"accept", COMPRESSION_ACCEPT},
                 {"auto", COMPRESSION_S2_AUTO},
                 {"s2_auto", COMPRESSION_S2_AUTO},
                 {"fast", COMPRESSION_S2_FAST},
                 {"s2_fast", COMPRESSION_S2_FAST},
                 {"better", COMPRESSION_S2_BETTER},
                 {"s2_better", COMPRESSION_S2_BETTER},
                 {"best", COMPRESSION_S2_BEST},
                 {"s2_best", COMPRESSION_S2_BEST},
                 {"s2_uncompressed", COMPRESSION_S2_UNCOMPRESSED},
                 {"not_supported", COMPRESSION_NOT_SUPPORTED},
                 {"not supported", COMPRESSION_NOT_SUPPORTED}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (bytes_eq_nocase(text, bytes_of(names[i].name))) {
            *mode = names[i].mode;
            return true;
        }
    }
    return false;
}

static void take_thresholds(struct context *c, const struct conf_member *m)
{
    int64_t *thresholds = c->o->cluster.rtt_thresholds_ns;
    if (!expect_type(c, m, CONF_ARRAY)) {
        return;
    }
    if (m->value.count > 4) {
        complain(c, m, "compression mode \"s2_auto\" should have no more than 4 RTT thresholds");
        return;
    }
    for (uint32_t i = 0; i < m->value.count && i < 3; i++) {
        const struct conf_value *v = &m->value.members[i].value;
        if (v->type != CONF_STRING || !clock_parse_duration(v->text, &thresholds[i]) ||
            thresholds[i] < 0) {
            complain(c, m, "an RTT threshold is no duration");
        } else if (i > 0 && thresholds[i] != 0 && thresholds[i] < thresholds[i - 1]) {
            complain(c, m,
                     "the compression mode \"s2_auto\" RTT threshold values need to be "
                     "in ascending order");
        }
    }
}

static void on_compression(struct context *c, const struct conf_member *m)
{
    static const char *const thresholds[] = {"rtt_thresholds", "thresholds", "rtts", "rtt", NULL};
    enum compression_mode *mode = &c->o->cluster.compression;
    if (m->value.type == CONF_BOOL) {
        *mode = m->value.integer != 0 ? COMPRESSION_S2_FAST : COMPRESSION_OFF;
    } else if (m->value.type == CONF_STRING) {
        if (!take_mode(m->value.text, mode)) {
            complain(c, m, "unsupported compression mode \"%.*s\"", BYTES_ARG(m->value.text));
        }
    } else if (expect_type(c, m, CONF_MAP)) {
        for (uint32_t i = 0; i < m->value.count; i++) {
            const struct conf_member *f = &m->value.members[i];
            if (bytes_eq_nocase(f->key, BYTES_LIT("mode"))) {
                on_compression(c, f);
            } else if (key_in(f->key, thresholds)) {
                take_thresholds(c, f);
            } else {
                complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
            }
        }
    }
}
static void on_cluster_ping_interval(struct context *c, const struct conf_member *m)
{
    take_duration(c, m, &c->o->cluster.ping_interval_ns);
    if (c->o->cluster.ping_interval_ns > 30 * NS_PER_SEC) {
        warn(c, m, "Cluster 'ping_interval' will reset to 30s which is the max for routes");
        c->o->cluster.ping_interval_ns = 30 * NS_PER_SEC;
    }
}
static void on_cluster_ping_max(struct context *c, const struct conf_member *m)
{
    take_int32(c, m, &c->o->cluster.ping_max);
}
static void on_cluster_write_deadline(struct context *c, const struct conf_member *m)
{
    take_duration(c, m, &c->o->cluster.write_deadline_ns);
}

static const struct option_row cluster_rows[] = {{"name", on_cluster_name},
                                                 {"listen", on_cluster_listen},
                                                 {"host", on_cluster_host},
                                                 {"net", on_cluster_host},
                                                 {"port", on_cluster_port},
                                                 {"routes", on_routes},
                                                 {"authorization", on_cluster_authorization},
                                                 {"no_advertise", on_no_advertise},
                                                 {"advertise", on_cluster_advertise},
                                                 {"cluster_advertise", on_cluster_advertise},
                                                 {"connect_retries", on_connect_retries},
                                                 {"tls", on_cluster_tls},
                                                 {"permissions", on_cluster_permissions},
                                                 {"accounts", on_pinned_accounts},
                                                 {"connect_backoff", on_connect_backoff},
                                                 {"pool_size", on_pool_size},
                                                 {"compression", on_compression},
                                                 {"ping_interval", on_cluster_ping_interval},
                                                 {"ping_max", on_cluster_ping_max},
                                                 {"write_deadline", on_cluster_write_deadline},
                                                 {"write_timeout", NULL},
                                                 {NULL, NULL}};

void on_cluster(struct context *c, const struct conf_member *m)
{
    if (expect_type(c, m, CONF_MAP)) { /* without a port no door is opened */
        apply_table(c, &m->value, cluster_rows);
    }
}
