#include "monitoring/monitoring_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"

/* request → endpoint table → (gather from the loops) → JSON. Fields and their order: NATS
 * monitoring reference. */

/* NULL without JetStream; also in lame duck mode, which ends it before the clients have gone. */
struct jetstream *live_jetstream(const struct monitoring *m)
{
    return broker_is_lame_duck(m->broker) ? NULL : m->js;
}

void scrape_free(struct scrape *s)
{
    free(s->account);
    free(s->user);
    free(s->test);
    buffer_deinit(&s->walk.page);
    client_page_deinit(&s->page);
    buffer_deinit(&s->routes.text);
    buffer_deinit(&s->account_text);
    free(s->all_accounts);
    for (uint32_t i = 0; i < s->listing_count; i++) {
        buffer_deinit(&s->listings[i].streams);
    }
    free(s->listings);
    map_deinit(&s->by_account);
    for (size_t i = 0; i < sizeof s->rows / sizeof s->rows[0]; i++) {
        buffer_deinit(&s->rows[i]);
    }
    free(s);
}

struct scrape *scrape_new(struct monitoring *m, struct http_request *q)
{
    struct scrape *s = NEW(struct scrape);
    s->m = m;
    s->request = q;
    return s;
}

void reply_json(struct http_request *q, int status, json_t *body, int indent)
{
    struct buffer text = {0};
    json_write(&text, body, indent);
    http_reply(q, status, "application/json", buffer_bytes(&text));
    buffer_deinit(&text);
    json_decref(body);
}

void reply_json_list(struct http_request *q, json_t *body, const char *name, struct bytes list,
                     struct bytes rest)
{
    struct buffer head = {0};
    json_write_open(&head, body, 2, 0);
    buffer_printf(&head, ",\n  \"%s\": [%s", name, list.len > 0 ? "\n" : "");
    const struct bytes parts[] = {buffer_bytes(&head), list,
                                  list.len > 0 ? BYTES_LIT("\n  ]") : BYTES_LIT("]"), rest,
                                  BYTES_LIT("\n}")};
    http_reply_parts(q, 200, "application/json", parts, sizeof parts / sizeof parts[0]);
    buffer_deinit(&head);
    json_decref(body);
}

void reply_bad(struct http_request *q, const char *text)
{
    http_reply(q, 400, "text/plain; charset=utf-8", bytes_of(text));
}

/* --- parameters --- */

/* False after a 400 has been sent. */
bool query_bool(struct http_request *q, const char *name, bool *value)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True", NULL};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False", "", NULL};
    const char *text = http_query(q, name);
    *value = false;
    if (text == NULL) {
        return true;
    }
    for (int i = 0; yes[i] != NULL; i++) {
        if (strcmp(text, yes[i]) == 0) {
            *value = true;
            return true;
        }
    }
    for (int i = 0; no[i] != NULL; i++) {
        if (strcmp(text, no[i]) == 0) {
            return true;
        }
    }
    char message[256];
    (void)snprintf(message, sizeof message,
                   "Error decoding boolean for '%s': strconv.ParseBool: parsing \"%.100s\": "
                   "invalid syntax",
                   name, text);
    reply_bad(q, message);
    return false;
}

bool query_int(struct http_request *q, const char *name, int64_t *value)
{
    const char *text = http_query(q, name);
    if (text == NULL || *text == '\0') {
        return true;
    }
    char *rest;
    *value = strtoll(text, &rest, 10);
    if (*rest == '\0') {
        return true;
    }
    char message[256];
    (void)snprintf(message, sizeof message,
                   "Error decoding int for '%s': strconv.Atoi: parsing \"%.100s\": invalid syntax",
                   name, text);
    reply_bad(q, message);
    return false;
}

bool query_page(struct http_request *q, struct scrape *s)
{
    s->offset = 0;
    s->limit = 0;
    if (!query_int(q, "offset", &s->offset) || !query_int(q, "limit", &s->limit)) {
        return false;
    }
    s->offset = s->offset < 0 ? 0 : s->offset > LIST_MAX ? LIST_MAX : s->offset;
    s->limit = s->limit <= 0 ? 1024 : s->limit > LIST_MAX ? LIST_MAX : s->limit;
    return true;
}

static void on_root(struct monitoring *m, struct http_request *q)
{
    (void)m;
    static const char page[] =
        "<!DOCTYPE html><html lang=\"en\"><head><title>Trireme</title></head><body>"
        "<h1>Trireme</h1><ul><li><a href=\"./varz\">General</a></li>"
        "<li><a href=\"./jsz\">JetStream</a></li><li><a href=\"./connz\">Connections</a></li>"
        "<li><a href=\"./routez\">Routes</a></li>"
        "<li><a href=\"./subsz\">Subscriptions</a></li>"
        "<li><a href=\"./accountz\">Accounts</a></li><li><a href=\"./healthz\">Health</a></li>"
        "<li><a href=\"./metrics\">Metrics</a></li></ul></body></html>\n";
    http_reply(q, 200, "text/html; charset=utf-8", bytes_of(page));
}

/* --- dispatch --- */

static const struct {
    const char *path;
    const char *counted_as; /* NULL: as the path */
    void (*handler)(struct monitoring *m, struct http_request *q);
} endpoints[] = {{"/", NULL, on_root},
                 {"/varz", NULL, on_varz},
                 {"/connz", NULL, on_connz},
                 {"/routez", NULL, on_routez},
                 {"/subsz", NULL, on_subsz},
                 {"/subscriptionsz", "/subsz", on_subsz},
                 {"/accountz", NULL, on_accountz},
                 {"/healthz", NULL, on_healthz},
                 {"/jsz", NULL, on_jsz},
                 {"/metrics", NULL, on_metrics}};

/* "//varz", "/./varz" and "/x/../varz" are sent to the path they mean, as some probes ask that way.
 * Go's path.Clean, with a slash at the end kept. Returns whether it changed anything. */
static bool clean_path(const char *path, struct buffer *cleaned)
{
    const char *rest = path;
    while (*rest == '/') {
        while (*rest == '/') {
            rest++;
        }
        size_t len = strcspn(rest, "/");
        struct bytes name = bytes_make(rest, len);
        rest += len;
        if (bytes_is(name, "..")) {
            while (cleaned->len > 0 && cleaned->data[--cleaned->len] != '/') {
            }
        } else if (len > 0 && !bytes_is(name, ".")) {
            buffer_append_char(cleaned, '/');
            buffer_append_bytes(cleaned, name);
        }
    }
    bool slash = rest > path && rest[-1] == '/';
    if (cleaned->len == 0 || slash) {
        buffer_append_char(cleaned, '/');
    }
    buffer_append_char(cleaned, '\0');
    return strcmp(cleaned->data, path) != 0;
}

/* The path behind http_base_path ("/nats"; NULL: none), "/" for the base itself; NULL when it is
 * not below it. */
static const char *below_base(const char *base, const char *path)
{
    size_t len = base == NULL ? 0 : strlen(base);
    if (len == 0) {
        return path;
    }
    if (strncmp(path, base, len) != 0) {
        return NULL;
    }
    return path[len] == '\0' ? "/" : path[len] == '/' && path[len + 1] != '\0' ? path + len : NULL;
}

static void on_request(void *arg, struct http_request *q)
{
    struct monitoring *m = arg;
    const char *path = http_path(q);
    struct buffer cleaned = {0};
    bool moved = clean_path(path, &cleaned);
    if (moved) {
        http_redirect(q, cleaned.data);
    }
    buffer_deinit(&cleaned);
    if (moved) {
        return;
    }
    path = below_base(broker_options(m->broker)->http_base_path, path);
    for (size_t i = 0; path != NULL && i < sizeof endpoints / sizeof endpoints[0]; i++) {
        if (strcmp(endpoints[i].path, path) == 0) {
            const char *name = endpoints[i].counted_as == NULL ? path : endpoints[i].counted_as;
            json_put_int(m->requests, name, json_int(m->requests, name) + 1);
            endpoints[i].handler(m, q);
            return;
        }
    }
    http_reply(q, 404, "text/plain; charset=utf-8", BYTES_LIT("404 page not found\n"));
}

struct monitoring *monitoring_new(struct broker *broker, struct routes *routes,
                                  struct jetstream *js)
{
    struct monitoring *m = NEW(struct monitoring);
    m->broker = broker;
    m->routes = routes;
    m->js = js;
    m->requests = json_object();
    return m;
}

enum err monitoring_listen(struct monitoring *m, struct tls_context *tls, struct error *error)
{
    const struct options *o = broker_options(m->broker);
    const char *host = o->http_host == NULL ? o->host : o->http_host;
    bool secure = tls != NULL;
    m->port = secure ? o->https_port : o->http_port;
    m->http = http_listen(m->broker, host, &m->port, tls, on_request, m, error);
    if (m->http == NULL) {
        return ERR_IO;
    }
    log_info("Starting http%s monitor on %s", secure ? "s" : "", address_text(host, m->port).text);
    return OK;
}

void monitoring_set_tls(struct monitoring *m, struct tls_context *tls)
{
    http_set_tls(m->http, tls);
}

void monitoring_shutdown(struct monitoring *m)
{
    if (m->http != NULL) {
        http_shutdown(m->http);
    }
}

void monitoring_free(struct monitoring *m)
{
    http_free(m->http);
    json_decref(m->requests);
    free(m);
}

int monitoring_port(const struct monitoring *m)
{
    return m->port;
}
