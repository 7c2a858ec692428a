/* cluster{} */
#include <stdlib.h>

#include "core/config/take_internal.h"

static void on_cluster_name(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->cluster_name);
}
static void on_cluster_listen(struct context *c, const struct conf_member *m)
{
    take_listen(c, m, &c->o->cluster_host, &c->o->cluster_port);
}
static void on_cluster_host(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->cluster_host);
}
static void on_cluster_port(struct context *c, const struct conf_member *m)
{
    take_port(c, m, &c->o->cluster_port);
}
static void on_routes(struct context *c, const struct conf_member *m)
{
    if (m->value.type == CONF_STRING) {
        text_list_add(&c->o->routes, m->value.text);
        return;
    }
    if (!expect_type(c, m, CONF_ARRAY)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_value *v = &m->value.members[i].value;
        char *user, *password, *host;
        int port;
        if (v->type != CONF_STRING ||
            option_parse_url(v->text.ptr, &user, &password, &host, &port) != OK) {
            complain(c, m, "error parsing route url [\"%.*s\"]", BYTES_ARG(v->text));
            continue;
        }
        free(user);
        free(password);
        free(host);
        text_list_add(&c->o->routes, v->text);
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
            take_text(c, f, &c->o->cluster_user);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("pass")) ||
                   bytes_eq_nocase(f->key, BYTES_LIT("password"))) {
            take_text(c, f, &c->o->cluster_password);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("timeout"))) {
            warn_no_effect(c, f);
        } else {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
}
static void on_no_advertise(struct context *c, const struct conf_member *m)
{
    take_bool(c, m, &c->o->no_advertise);
}
static void on_cluster_advertise(struct context *c, const struct conf_member *m)
{
    take_text(c, m, &c->o->cluster_advertise);
}
static void on_connect_retries(struct context *c, const struct conf_member *m)
{
    take_int(c, m, &c->o->connect_retries);
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
                                                 {"tls", refuse},
                                                 {"permissions", refuse},
                                                 {"accounts", NULL},
                                                 {"connect_backoff", NULL},
                                                 {"pool_size", NULL},
                                                 {"compression", NULL},
                                                 {"ping_interval", NULL},
                                                 {"ping_max", NULL},
                                                 {"write_deadline", NULL},
                                                 {"write_timeout", NULL},
                                                 {NULL, NULL}};

void on_cluster(struct context *c, const struct conf_member *m)
{
    if (expect_type(c, m, CONF_MAP)) {
        if (c->o->cluster_port == 0) {
            c->o->cluster_port = 6222;
        }
        apply_table(c, &m->value, cluster_rows);
    }
}
