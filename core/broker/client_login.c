/* INFO, CONNECT, and who a client is from then on. Everything here runs on the client's loop;
 * bcrypt comparisons run in the work pool. */
#include <stdlib.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/broker/client_internal.h"
#include "core/subject/subject.h"

/* --- INFO and CONNECT --- */

void client_send_info(struct client *c, bool connect_info)
{
    struct broker *b = c->broker;
    json_t *info = broker_identity_info(b);
    json_put_text(info, "host", b->options->host);
    json_put_int(info, "port", b->port);
    json_put_bool(info, "headers", true);
    if (auth_info_required(b->auth)) {
        json_put_bool(info, "auth_required", true);
    }
    json_put_int(info, "max_payload", b->options->max_payload);
    if (b->options->jetstream) {
        json_put_bool(info, "jetstream", true);
    }
    json_put_u64(info, "client_id", c->conn->id);
    json_put_text(info, "client_ip", c->conn->remote_host);
    if (b->options->cluster_port != 0) {
        json_put_text(info, "cluster",
                      b->options->cluster_name == NULL ? "" : b->options->cluster_name);
        if (!b->options->no_advertise) {
            json_t *urls = broker_own_urls(b);
            pthread_mutex_lock(&b->info_lock);
            (void)json_array_extend(urls, b->neighbour_urls);
            pthread_mutex_unlock(&b->info_lock);
            json_put(info, "connect_urls", urls);
        }
    }
    if (connect_info) {
        json_put_bool(info, "connect_info", true);
        json_put_text(info, "remote_account", c->account->name);
        if (c->account->is_system) {
            json_put_bool(info, "acc_is_sys", true);
        }
    }
    if (JETSTREAM_API_LEVEL > 0) {
        json_put_int(info, "api_lvl", JETSTREAM_API_LEVEL);
    }
    struct buffer line = {0};
    buffer_append_text(&line, "INFO ");
    json_write(&line, info, 0);
    buffer_append_text(&line, " \r\n");
    conn_write(c->conn, buffer_bytes(&line));
    buffer_deinit(&line);
    json_decref(info);
}

static void bind_user(struct client *c, const struct auth_user *user)
{
    struct account *account = user == NULL
                                  ? c->broker->global
                                  : accounts_get(c->broker->accounts, bytes_of(user->account));
    if (c->account != account) {
        atomic_fetch_sub(&c->account->connections, 1);
        atomic_fetch_add(&account->connections, 1);
    }
    c->account = account;
    c->user = user;
    c->permissions = user == NULL ? NULL : user->permissions;
    map_clear(&c->publish_cache);
}

static void refuse_login(struct client *c, struct bytes user)
{
    if (user.len > 0) {
        log_error("%s - authentication error - User \"%.*s\"", client_prefix(c).text,
                  BYTES_ARG(user));
    } else {
        log_error("%s - authentication error", client_prefix(c).text);
    }
    client_send_err(c, "Authorization Violation");
    client_close(c, CLOSE_AUTH_FAILURE);
}

static void become_ready(struct client *c, const struct auth_user *user)
{
    bind_user(c, user);
    c->state = CLIENT_READY;
    int64_t first = c->broker->options->ping_interval_ns;
    client_arm_ping(c, first < 2 * NS_PER_SEC ? first : 2 * NS_PER_SEC);
    client_send_ok(c);
}

/* bcrypt takes milliseconds: it runs in the work pool, with its inputs along. */
struct bcrypt_work {
    uv_work_t work;
    struct conn *conn; /* counted */
    const struct auth_user *user;
    char *password;
    size_t password_len;
    bool equal;
};

void client_process(struct client *c, const char *data, size_t len);

static void on_bcrypt_work(uv_work_t *work)
{
    struct bcrypt_work *w = work->data;
    w->equal = auth_check_bcrypt(w->user->password, bytes_make(w->password, w->password_len));
}

static void on_bcrypt_done(uv_work_t *work, int status)
{
    struct bcrypt_work *w = work->data;
    struct conn *conn = w->conn;
    loop_enter(conn->loop);
    if (!conn->closed) {
        struct client *c = conn->owner;
        struct buffer held = c->held;
        c->held = (struct buffer){0};
        if (status != 0 || !w->equal) {
            refuse_login(c, bytes_of(w->user->name));
        } else {
            become_ready(c, w->user);
            conn_resume(conn);
            client_process(c, held.data, held.len);
        }
        buffer_deinit(&held);
    }
    explicit_bzero(w->password, w->password_len);
    free(w->password);
    free(w);
    conn_release(conn);
}

static void verify_bcrypt(struct client *c, const struct auth_user *user, struct bytes password)
{
    struct bcrypt_work *w = NEW(struct bcrypt_work);
    w->work.data = w;
    w->conn = conn_retain(c->conn);
    w->user = user;
    w->password = mem_dup(password.ptr, password.len);
    w->password_len = password.len;
    c->state = CLIENT_VERIFYING;
    conn_pause(c->conn);
    CHECK(uv_queue_work(loop_uv(c->home->loop), &w->work, on_bcrypt_work, on_bcrypt_done) == 0);
}

static json_t *member_nocase(json_t *object, const char *key)
{
    json_t *exact = json_object_get(object, key);
    if (exact != NULL) {
        return exact;
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (strcasecmp(name, key) == 0) {
            return value;
        }
    }
    return NULL;
}

/* Reads a member of the right type into *field; false when it is there with a wrong type. */
static bool read_bool(json_t *o, const char *key, bool *field)
{
    json_t *v = member_nocase(o, key);
    if (v == NULL || json_is_null(v)) {
        return true;
    }
    *field = json_is_true(v);
    return json_is_boolean(v);
}

static bool read_text(json_t *o, const char *key, const char **field)
{
    json_t *v = member_nocase(o, key);
    if (v == NULL || json_is_null(v)) {
        return true;
    }
    *field = json_string_value(v);
    return json_is_string(v);
}

static void set_text(char **field, const char *value)
{
    free(*field);
    *field = value == NULL || *value == '\0' ? NULL : mem_dup(value, strnlen(value, 256));
}

void client_on_connect(struct client *c, const struct proto_op *op)
{
    json_error_t reason;
    json_t *o = json_parse(op->args, &reason);
    const char *user = "", *pass = "", *token = "", *account = "", *nkey = "", *jwt = "";
    const char *name = NULL, *lang = NULL, *version = NULL;
    bool new_account = false;
    c->verbose = c->pedantic = c->echo = true;
    c->headers = c->no_responders = false;
    c->protocol = 0;
    bool well_formed = json_is_object(o) && read_bool(o, "verbose", &c->verbose) &&
                       read_bool(o, "pedantic", &c->pedantic) && read_bool(o, "echo", &c->echo) &&
                       read_bool(o, "headers", &c->headers) &&
                       read_bool(o, "no_responders", &c->no_responders) &&
                       read_bool(o, "new_account", &new_account) && read_text(o, "user", &user) &&
                       read_text(o, "pass", &pass) && read_text(o, "auth_token", &token) &&
                       read_text(o, "account", &account) && read_text(o, "nkey", &nkey) &&
                       read_text(o, "jwt", &jwt) && read_text(o, "name", &name) &&
                       read_text(o, "lang", &lang) && read_text(o, "version", &version);
    json_t *protocol = well_formed ? member_nocase(o, "protocol") : NULL;
    if (!well_formed || (protocol != NULL && !json_is_integer(protocol))) {
        json_decref(o);
        client_close(c, CLOSE_PARSE_ERROR);
        return;
    }
    c->protocol = (int)json_integer_value(protocol);
    c->parser.headers = c->headers;
    set_text(&c->name, name);
    set_text(&c->lang, lang);
    set_text(&c->version, version);
    client_drop_subscriptions(c); /* a second CONNECT starts over */
    if (c->protocol != 0 && c->protocol != 1) {
        client_fail(c, "invalid client protocol", CLOSE_BAD_PROTOCOL_VERSION);
    } else if (c->no_responders && !c->headers) {
        client_fail(c, "no responders requires headers support", CLOSE_NO_RESPONDERS_NEED_HEADERS);
    } else if (*account != '\0' || new_account) {
        refuse_login(c, bytes_of(user));
    } else {
        struct auth_credentials credentials = {bytes_of(user), bytes_of(pass), bytes_of(token)};
        const struct auth_user *who;
        switch (auth_check(c->broker->auth, &credentials, &who)) {
        case AUTH_OK:
            become_ready(c, who);
            break;
        case AUTH_REFUSED:
            refuse_login(c, credentials.user);
            break;
        case AUTH_NEEDS_BCRYPT:
            verify_bcrypt(c, who,
                          credentials.password.len > 0 ? credentials.password
                          : credentials.token.len > 0  ? credentials.token
                                                       : credentials.user);
            break;
        }
    }
    json_decref(o);
}

/* The first operation is not CONNECT: fine when nobody needs credentials, or there is a user for
 * those who have none. One admission function for all paths (GHSA-hmmp). */
bool client_admit(struct client *c)
{
    struct auth_credentials none = {0};
    const struct auth_user *who;
    if (auth_check(c->broker->auth, &none, &who) != AUTH_OK) {
        refuse_login(c, BYTES_NONE);
        return false;
    }
    bind_user(c, who);
    c->state = CLIENT_READY;
    client_arm_ping(c, c->broker->options->ping_interval_ns);
    return true;
}
