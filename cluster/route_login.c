/* Credentials of routes. A bcrypt password takes milliseconds to compare, so that happens in the
 * work pool; the connection is paused meanwhile, and what came with its CONNECT is held. */
#include <stdlib.h>

#include "cluster/route_internal.h"
#include "core/auth/auth.h"
#include "core/base/check.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/runtime/work.h"

struct route_login {
    struct work work;  /* first: where the rest is */
    struct conn *conn; /* counted */
    char *user, *password;
    char *given_user, *given_password;
    char *cluster;
    bool dynamic, right;
};

static void on_work(struct work *work)
{
    struct route_login *l = (struct route_login *)work;
    l->right = auth_matches(l->user, l->password, l->given_user, l->given_password);
}

static void login_free(struct route_login *l)
{
    free(l->user);
    mem_free_secret(l->password);
    free(l->given_user);
    mem_free_secret(l->given_password);
    free(l->cluster);
    conn_release(l->conn);
    free(l);
}

static void decide(struct route *r, bool right, const char *cluster, bool dynamic)
{
    if (right) {
        route_admit(r, cluster, dynamic);
    } else {
        route_fail(r, CLOSE_AUTH_FAILURE, "Authorization Violation");
    }
}

/* Routes never half-close. */
static bool is_dead(struct work *work)
{
    return conn_is_gone(((struct route_login *)work)->conn);
}

/* A reload that changed the credentials meanwhile has closed the connection. */
static void on_work_done(struct work *work, bool ran)
{
    struct route_login *l = (struct route_login *)work;
    if (!l->conn->closed) {
        struct route *r = l->conn->owner;
        struct buffer held = r->held;
        r->held = (struct buffer){0};
        r->verifying = false;
        decide(r, ran && l->right, l->cluster, l->dynamic);
        if (!l->conn->closed) {
            conn_resume(l->conn);
            route_process(r, held.data, held.len);
        }
        buffer_deinit(&held);
    }
    login_free(l);
}

/* verify_and_map: the certificate says who it is, and there is no further secret, as in
 * nats-server: without a user to be named nobody is let in. */
static bool is_named_by_certificate(const struct route *r)
{
    struct tls_names names = {0};
    bool named =
        r->conn->secured && tls_peer_names(r->conn->tls, &names) &&
        auth_certificate_names(routes_options(r->routes)->user, &names.alternative, names.subject);
    tls_names_deinit(&names);
    return named;
}

void route_check_login(struct route *r, const json_t *connect)
{
    const struct cluster_options *o = routes_options(r->routes);
    const char *user = json_text(connect, "user");
    const char *password = json_text(connect, "pass");
    const char *cluster = json_text(connect, "cluster");
    bool dynamic = json_bool(connect, "cluster_dynamic");
    if (o->tls.verify_and_map) {
        decide(r, is_named_by_certificate(r), cluster, dynamic);
        return;
    }
    if (!auth_is_slow(o->password)) {
        decide(r, auth_matches(o->user, o->password, user, password), cluster, dynamic);
        return;
    }
    struct route_login *l = NEW(struct route_login);
    l->work = (struct work){.run = on_work,
                            .done = on_work_done,
                            .is_dead = is_dead,
                            .source = net_source(r->conn->remote_host)};
    l->conn = conn_retain(r->conn);
    l->user = mem_strdup(o->user);
    l->password = mem_strdup(o->password);
    l->given_user = mem_strdup(user);
    l->given_password = mem_strdup(password);
    l->cluster = mem_strdup(cluster);
    l->dynamic = dynamic;
    r->verifying = true;
    conn_pause(r->conn);
    work_submit(r->conn->loop, WORK_PASSWORDS, &l->work);
}
