#include "core/protocol/connect.h"

#include <strings.h>

#include "core/base/json.h"

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

/* NULL when it is absent or null. */
static json_t *present(json_t *object, const char *key)
{
    json_t *v = member_nocase(object, key);
    return json_is_null(v) ? NULL : v;
}

static bool read_bool(json_t *o, const char *key, bool *field)
{
    json_t *v = present(o, key);
    if (v == NULL) {
        return true;
    }
    *field = json_is_true(v);
    return json_is_boolean(v);
}

static bool read_text(json_t *o, const char *key, const char **field)
{
    json_t *v = present(o, key);
    if (v == NULL) {
        return true;
    }
    *field = json_string_value(v);
    return json_is_string(v);
}

static bool read_int(json_t *o, const char *key, int64_t *field)
{
    json_t *v = present(o, key);
    if (v == NULL) {
        return true;
    }
    *field = json_integer_value(v);
    return json_is_integer(v);
}

enum err connect_parse(struct connect *c, struct bytes text)
{
    json_error_t reason;
    json_t *o = bytes_is(text, "null") ? json_object() : json_parse(text, &reason);
    c->json = o;
    c->new_account = false;
    c->user = c->pass = c->auth_token = c->account = c->nkey = c->sig = c->jwt = "";
    c->name = c->lang = c->version = NULL;
    bool good =
        json_is_object(o) && read_bool(o, "verbose", &c->verbose) &&
        read_bool(o, "pedantic", &c->pedantic) && read_bool(o, "echo", &c->echo) &&
        read_bool(o, "headers", &c->headers) && read_bool(o, "no_responders", &c->no_responders) &&
        read_bool(o, "new_account", &c->new_account) && read_int(o, "protocol", &c->protocol) &&
        read_text(o, "user", &c->user) && read_text(o, "pass", &c->pass) &&
        read_text(o, "auth_token", &c->auth_token) && read_text(o, "account", &c->account) &&
        read_text(o, "nkey", &c->nkey) && read_text(o, "sig", &c->sig) &&
        read_text(o, "jwt", &c->jwt) && read_text(o, "name", &c->name) &&
        read_text(o, "lang", &c->lang) && read_text(o, "version", &c->version);
    return good ? OK : ERR_INVALID;
}

void connect_deinit(struct connect *c)
{
    json_decref(c->json);
    c->json = NULL;
}
