/* INFO, CONNECT, and who a client is from then on. Everything here runs on the client's loop;
 * bcrypt comparisons run in the work pool. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/broker/client_internal.h"
#include "core/protocol/connect.h"
#include "core/runtime/work.h"
#include "core/subject/subject.h"

/* The smaller of the server's limit and the account's. */
static int64_t payload_limit(const struct client *c)
{
    int64_t server = broker_options(c->broker)->max_payload;
    int64_t account = atomic_load(&c->account->max_payload);
    return account >= 0 && account < server ? account : server;
}

/* --- INFO and CONNECT --- */

void client_send_info(struct client *c, bool connect_info)
{
    struct broker *b = c->broker;
    const struct options *o = broker_options(b);
    json_t *info = broker_identity_info(b);
    json_put_text(info, "host", o->host);
    json_put_int(info, "port", b->port);
    json_put_bool(info, "headers", !o->no_headers);
    if (auth_info_required(broker_auth(b))) {
        json_put_bool(info, "auth_required", true);
    }
    if (c->state == CLIENT_NEW && c->nonce[0] != '\0') {
        json_put_text(info, "nonce", c->nonce);
    }
    if (o->tls.set) {
        json_put_bool(info, o->allow_non_tls ? "tls_available" : "tls_required", true);
        if (o->tls.verify) {
            json_put_bool(info, "tls_verify", true);
        }
    }
    json_put_int(info, "max_payload", payload_limit(c));
    if (o->jetstream) {
        json_put_bool(info, "jetstream", true);
    }
    json_put_u64(info, "client_id", c->conn->id);
    json_put_text(info, "client_ip", c->conn->remote_host);
    if (o->cluster.port != 0) {
        json_put_text(info, "cluster", broker_cluster_name(b));
        if (!o->cluster.no_advertise) {
            json_put(info, "connect_urls", broker_connect_urls(b));
        }
    }
    if (broker_is_lame_duck(b)) {
        json_put_bool(info, "ldm", true);
    }
    if (connect_info) {
        json_put_bool(info, "connect_info", true);
        json_put_text(info, "remote_account", c->account->name);
        if (c->account->is_system) {
            json_put_bool(info, "acc_is_sys", true);
        }
    }
    json_put_int(info, "api_lvl", JETSTREAM_API_LEVEL);
    struct buffer line = {0};
    buffer_append_text(&line, "INFO ");
    json_write(&line, info, 0);
    buffer_append_text(&line, " \r\n");
    conn_write(c->conn, buffer_bytes(&line));
    buffer_deinit(&line);
    json_decref(info);
}

/* --- who a client is --- */

static struct account *account_of(const struct client *c, const struct auth_user *user)
{
    return user == NULL ? c->broker->global
                        : accounts_get(c->broker->accounts, bytes_of(user->account));
}

static void bind_user(struct client *c, const struct auth_user *user)
{
    struct account *account = account_of(c, user);
    if (c->account != account) {
        CHECK(c->subs.count == 0); /* they are in the index of the account before */
        atomic_fetch_sub(&c->account->connections, 1);
        atomic_fetch_add(&account->connections, 1);
    }
    c->account = account;
    c->user = user;
    atomic_store_explicit(&c->permissions, user == NULL ? NULL : user->permissions,
                          memory_order_release);
    map_clear(&c->publish_cache);
    c->may_repeat = false;
}

/* Before another CONNECT is judged. Whoever the client was, with all that it had as that: nothing
 * of one user's stays for the next, also while a secret is compared, or when the answer is no. */
static void log_out(struct client *c)
{
    client_drop_subscriptions(c);
    pthread_mutex_lock(&c->conn->lock);
    client_forget_replies(c);
    pthread_mutex_unlock(&c->conn->lock);
    bind_user(c, NULL);
    c->state = CLIENT_NEW;
    client_set_greeting(c, true);
}

/* False when the account has as many connections as it may have: the client is closed then. */
static bool become_ready(struct client *c, const struct auth_user *user)
{
    const struct account *account = account_of(c, user);
    int64_t limit = atomic_load(&account->max_connections);
    if (limit >= 0 && account != c->account && atomic_load(&account->connections) >= limit) {
        client_fail(c, "maximum account active connections exceeded",
                    CLOSE_MAX_ACCOUNT_CONNECTIONS);
        return false;
    }
    bind_user(c, user);
    c->parser.max_payload = (uint32_t)payload_limit(c);
    c->state = CLIENT_READY;
    client_set_greeting(c, false);
    int64_t first = broker_options(c->broker)->ping_interval_ns;
    client_arm_ping(c, first < 2 * NS_PER_SEC ? first : 2 * NS_PER_SEC);
    return true;
}

/* --- refusing --- */

static void refuse_login(struct client *c, struct bytes user)
{
    if (c->state == CLIENT_READY) {
        log_out(c);
    }
    if (user.len > 0) {
        log_error("%s - authentication error - User \"%.*s\"", client_prefix(c).text,
                  BYTES_ARG(user));
    } else {
        log_error("%s - authentication error", client_prefix(c).text);
    }
    client_send_err(c, "Authorization Violation");
    client_close(c, CLOSE_AUTH_FAILURE);
}

/* --- secrets whose comparison takes milliseconds: in the work pool, with their inputs along --- */

struct login_work {
    struct work work;  /* first: where the rest is */
    struct conn *conn; /* counted */
    struct auth_work *auth;
    bool right;
};

static void on_work(struct work *work)
{
    struct login_work *w = (struct login_work *)work;
    w->right = auth_work_run(w->auth);
}

static bool work_is_dead(struct work *work)
{
    return conn_is_gone(((struct login_work *)work)->conn);
}

/* Resumes a client whose log-in has been settled, with what came meanwhile. */
static void go_on(struct client *c)
{
    struct buffer held = c->held;
    c->held = (struct buffer){0};
    atomic_store(&c->conn->holds_input, false);
    conn_resume(c->conn);
    client_process(c, held.data, held.len);
    buffer_deinit(&held);
}

static void login_succeeded(struct client *c, struct bytes user)
{
    login_limits_succeeded(c->broker->login_limits, net_source(c->conn->remote_host), user,
                           clock_mono_ns());
}

static void on_work_done(struct work *work, bool ran)
{
    struct login_work *w = (struct login_work *)work;
    struct conn *conn = w->conn;
    if (!conn->closed && !ran && conn_is_gone(conn)) {
        client_close(conn->owner, CLOSE_CLIENT);
    } else if (!conn->closed && !ran) {
        /* No answer that would make the client believe its secret wrong. */
        client_fail(conn->owner, "Authentication Timeout", CLOSE_AUTH_TIMEOUT);
    } else if (!conn->closed) {
        struct client *c = conn->owner;
        /* asked again: a reload may have come between */
        const struct auth_user *user =
            w->right ? auth_work_user(broker_auth(c->broker), w->auth) : NULL;
        struct bytes name = bytes_of(auth_work_name(w->auth));
        if (user == NULL) {
            refuse_login(c, name);
        } else if (become_ready(c, user)) {
            login_succeeded(c, name);
            client_send_ok(c);
            go_on(c);
        }
    }
    auth_work_free(w->auth);
    free(w);
    conn_release(conn);
}

static void verify(struct client *c, struct auth_work *auth)
{
    struct login_work *w = NEW(struct login_work);
    w->work = (struct work){.run = on_work,
                            .done = on_work_done,
                            .is_dead = work_is_dead,
                            .source = net_source(c->conn->remote_host)};
    w->conn = conn_retain(c->conn);
    w->auth = auth;
    c->state = CLIENT_VERIFYING;
    conn_pause(c->conn);
    work_submit(c->home->loop, auth_work_is_quick(auth) ? WORK_SIGNATURES : WORK_PASSWORDS,
                &w->work);
}

/* verify_and_map: the user of the client's certificate, "" when it is nobody's. */
static const char *mapped_user(const struct client *c)
{
    struct tls_names names = {0};
    const char *user = NULL;
    if (c->conn->secured && tls_peer_names(c->conn->tls, &names)) {
        user = auth_user_of_certificate(broker_auth(c->broker), &names.alternative, names.subject);
        if (user == NULL) {
            log_error("%s - no user for the certificate of \"%s\"", client_prefix(c).text,
                      names.subject);
        }
    }
    tls_names_deinit(&names);
    return user == NULL ? "" : user;
}

static bool has_secret(const struct auth_credentials *credentials)
{
    return credentials->password.len > 0 || credentials->token.len > 0 || credentials->nkey.len > 0;
}

static struct bytes name_of(const struct auth_credentials *credentials)
{
    return credentials->user.len > 0 ? credentials->user : credentials->nkey;
}

/* The one admission function for all paths (GHSA-hmmp). False: refused, or not known yet. */
static bool admit(struct client *c, struct auth_credentials *credentials)
{
    const struct auth_user *user;
    struct auth_work *work;
    credentials->nonce = bytes_of(c->nonce);
    credentials->type = CONNECTION_STANDARD;
    c->anonymous = credentials->user.len == 0 && credentials->password.len == 0 &&
                   credentials->token.len == 0 && credentials->nkey.len == 0;
    if (auth_maps_certificates(broker_auth(c->broker))) {
        credentials->mapped_user = bytes_of(mapped_user(c));
        c->anonymous = false;
        if (credentials->user.len > 0) {
            log_warn("%s - User \"%.*s\" found in connect proto, but user required from cert",
                     client_prefix(c).text, BYTES_ARG(credentials->user));
        }
    }
    switch (auth_check(broker_auth(c->broker), credentials, &user, &work)) {
    case AUTH_OK:
        if (has_secret(credentials)) {
            login_succeeded(c, name_of(credentials));
        }
        return become_ready(c, user);
    case AUTH_REFUSED:
        refuse_login(c, name_of(credentials));
        return false;
    case AUTH_NEEDS_WORK:
        verify(c, work);
        return false;
    }
    return false;
}

void client_reauthorize(struct client *c)
{
    const struct options *o = broker_options(c->broker);
    const struct auth *auth = broker_auth(c->broker);
    c->parser.max_line = (uint32_t)o->max_control_line;
    c->parser.max_payload = (uint32_t)payload_limit(c);
    c->conn->write_deadline_ns = o->write_deadline_ns;
    if (c->state != CLIENT_READY) {
        CHECK(c->user == NULL && c->subs.count == 0);
        return; /* it is judged when it logs in */
    }
    const struct auth_user *user = NULL;
    bool stays = true;
    if (c->anonymous) {
        struct auth_credentials none = {.type = CONNECTION_STANDARD};
        struct auth_work *work;
        stays = auth_check(auth, &none, &user, &work) == AUTH_OK;
        auth_work_free(work);
    } else if (auth_required(auth)) {
        user = c->user == NULL ? NULL : auth_renew(auth, c->user);
        stays = user != NULL;
    }
    if (!stays || account_of(c, user) != c->account) {
        log_error("%s - not authorized any more by the new configuration", client_prefix(c).text);
        client_fail(c, "Authorization Violation", CLOSE_AUTH_FAILURE);
        return;
    }
    bind_user(c, user);
    client_drop_forbidden_subscriptions(c);
    client_remake_shadows(c);
}

/* --- CONNECT --- */

static void set_text(char **field, const char *value)
{
    if (value == NULL) {
        return;
    }
    free(*field);
    *field = *value == '\0' ? NULL : mem_dup(value, strnlen(value, 256));
}

/* A second CONNECT without credentials goes on with those of the first. */
static bool stays_who_it_is(const struct client *c, const struct auth_credentials *credentials)
{
    return c->state == CLIENT_READY && !c->anonymous && credentials->user.len == 0 &&
           credentials->password.len == 0 && credentials->token.len == 0 &&
           credentials->nkey.len == 0;
}

static struct auth_credentials credentials_of(const struct connect *said)
{
    return (struct auth_credentials){.user = bytes_of(said->user),
                                     .password = bytes_of(said->pass),
                                     .token = bytes_of(said->auth_token),
                                     .nkey = bytes_of(said->nkey),
                                     .signature = bytes_of(said->sig)};
}

/* How long this attempt waits before it is judged; see login_limits.h. */
static int64_t attempt_waits(struct client *c, const struct auth_credentials *credentials)
{
    if (!has_secret(credentials) || !auth_required(broker_auth(c->broker))) {
        return 0;
    }
    return login_limits_begin(c->broker->login_limits, net_source(c->conn->remote_host),
                              name_of(credentials), clock_mono_ns());
}

static void judge(struct client *c, const struct connect *said)
{
    struct auth_credentials credentials = credentials_of(said);
    if (admit(c, &credentials)) {
        client_send_ok(c);
    }
}

static void on_not_judged(void *arg)
{
    client_fail(arg, "Authentication Timeout", CLOSE_AUTH_TIMEOUT);
}

static void on_turn_to_be_judged(void *arg)
{
    struct client *c = arg;
    struct conn *conn = c->conn;
    struct buffer line = c->waiting_connect;
    c->waiting_connect = (struct buffer){0};
    c->state = CLIENT_NEW;
    struct connect said = {0};
    CHECK(connect_parse(&said, buffer_bytes(&line)) == OK); /* as it was before */
    judge(c, &said);
    connect_deinit(&said);
    buffer_deinit_secret(&line);
    if (conn->closed) {
        return;
    }
    if (c->state == CLIENT_READY) {
        go_on(c);
    } else { /* the pool has it */
        loop_timer_arm(c->home->loop, &c->timer,
                       clock_mono_ns() + broker_options(c->broker)->auth_timeout_ns, on_not_judged,
                       c);
    }
}

static void log_in(struct client *c, const struct connect *said, struct bytes line)
{
    struct auth_credentials credentials = credentials_of(said);
    if (stays_who_it_is(c, &credentials)) {
        client_send_ok(c);
        return;
    }
    /* A reload may have opened the door a moment ago, and this client is judged by it later. */
    bool moves = auth_required(broker_auth(c->broker)) || account_of(c, NULL) != c->account;
    if (c->state == CLIENT_READY && moves) {
        log_out(c);
    }
    int64_t wait = attempt_waits(c, &credentials);
    if (wait == 0) {
        judge(c, said);
        return;
    }
    bool judged = wait > 0;
    c->state = judged ? CLIENT_VERIFYING : CLIENT_REFUSED;
    conn_pause(c->conn);
    if (judged) {
        buffer_append(&c->waiting_connect, line.ptr, line.len);
    }
    loop_timer_arm(c->home->loop, &c->timer, clock_mono_ns() + (judged ? wait : LOGIN_WAIT_MAX_NS),
                   judged ? on_turn_to_be_judged : on_not_judged, c);
}

static void on_connect(struct client *c, const struct proto_op *op)
{
    /* What a second CONNECT leaves out stays as the first had it. */
    struct connect said = {.verbose = c->verbose,
                           .pedantic = c->pedantic,
                           .echo = c->echo,
                           .headers = c->headers,
                           .no_responders = c->no_responders,
                           .protocol = c->protocol};
    if (connect_parse(&said, op->args) != OK) {
        connect_deinit(&said);
        client_close(c, CLOSE_PARSE_ERROR);
        return;
    }
    bool protocol_known = said.protocol == 0 || said.protocol == 1;
    c->verbose = said.verbose;
    c->pedantic = said.pedantic;
    c->echo = said.echo;
    c->no_responders = said.no_responders;
    c->protocol = protocol_known ? (int)said.protocol : 0;
    c->headers = said.headers && !broker_options(c->broker)->no_headers;
    c->parser.headers = c->headers;
    set_text(&c->name, said.name);
    set_text(&c->lang, said.lang);
    set_text(&c->version, said.version);
    if (c->connect_seen) {
        client_drop_subscriptions(c); /* a second CONNECT starts over */
    }
    c->connect_seen = true;
    if (!protocol_known) {
        client_fail(c, "invalid client protocol", CLOSE_BAD_PROTOCOL_VERSION);
    } else if (c->no_responders && !c->headers) {
        client_fail(c, "no responders requires headers support", CLOSE_NO_RESPONDERS_NEED_HEADERS);
    } else if (*said.account != '\0' || said.new_account) {
        refuse_login(c, bytes_of(said.user));
    } else {
        log_in(c, &said, op->args);
    }
    connect_deinit(&said);
}

/* The line is not left in the buffer that it was read into: there is a secret in it. */
void client_on_connect(struct client *c, const struct proto_op *op)
{
    on_connect(c, op);
    explicit_bzero((char *)op->args.ptr, op->args.len);
}

/* Fine when nobody needs credentials, or there is a user for those who have none. */
bool client_admit(struct client *c)
{
    struct auth_credentials none = {0};
    return admit(c, &none);
}
