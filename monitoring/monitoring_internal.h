/* Shared by the endpoints. All of it runs on loop 0. */
#ifndef MONITORING_MONITORING_INTERNAL_H
#define MONITORING_MONITORING_INTERNAL_H

#include "core/base/json.h"
#include "monitoring/http.h"
#include "monitoring/monitoring.h"

struct monitoring {
    struct broker *broker;
    struct routes *routes;
    struct jetstream *js;
    struct http_server *http;
    int port;
    json_t *requests; /* path → count: http_req_stats */
};

struct js_totals {
    int64_t bytes, memory_bytes, messages, streams, consumers, ha_assets; /* bytes: on disk */
};

/* One scrape that waits for the loops. */
struct scrape {
    struct monitoring *m;
    struct http_request *request;
    struct client_page page;        /* connz */
    char *user;                     /* connz: only this one's */
    char *test;                     /* subsz: only what this subject reaches */
    struct interest_stats interest; /* subsz: summed over the loops */
    struct subscription_walk walk;  /* subsz */
    int64_t offset, limit;
    struct route_walk routes;      /* routez */
    struct account **all_accounts; /* accountz: to be named; owned, NULL-terminated */
    struct account *described;     /* accountz: or this one */
    struct buffer account_text;    /* accountz: what has been written */
    uint32_t position;             /* accountz: among the accounts or the items of … */
    unsigned section;              /* … this section of the configuration */
    bool streams, subscriptions;
    struct stream_walk streams_walk;  /* jsz, varz, metrics */
    struct js_totals totals;          /* the same */
    struct account_listing *listings; /* owned; jsz: one for each account on the page */
    uint32_t listing_count, js_accounts;
    struct map by_account; /* name → one of them */
    struct buffer rows[4]; /* metrics: of each kind those of all streams */
    char *account;
    bool details;
};
/* An account in /jsz. */
struct account_listing {
    const struct account *account;
    uint64_t used[2];      /* bytes on disk, in memory */
    struct buffer streams; /* their descriptions */
};
struct scrape *scrape_new(struct monitoring *m, struct http_request *q);
void scrape_free(struct scrape *s);

/* NULL without JetStream; also in lame duck mode, which ends it before the clients have gone. */
struct jetstream *live_jetstream(const struct monitoring *m);

#define SCRAPE_SLICE_NS (NS_PER_MS / 2) /* of a turn */

/* Takes the body. */
void reply_json(struct http_request *q, int status, json_t *body, int indent);
/* The same with another member behind those of `body`: a list of objects, as text. `rest`: what
 * follows it, as text that begins with a comma. */
void reply_json_list(struct http_request *q, json_t *body, const char *name, struct bytes list,
                     struct bytes rest);
void reply_bad(struct http_request *q, const char *text);
/* Parameters; false after a 400 has been sent. */
bool query_bool(struct http_request *q, const char *name, bool *value);
/* offset and limit, brought into the range 0 … LIST_MAX, 1 … LIST_MAX. */
#define LIST_MAX 1000000
bool query_page(struct http_request *q, struct scrape *s);
bool query_int(struct http_request *q, const char *name, int64_t *value);

void sum_stream(struct js_totals *totals, const struct stream_figures *figures);
/* Walks all streams in slices: `on_stream` as in struct stream_walk, with the scrape as its arg. */
void walk_streams(struct scrape *s,
                  struct buffer *(*on_stream)(void *arg, const struct stream_figures *figures),
                  void (*done)(void *arg));
uint32_t count_js_accounts(const struct monitoring *m);
json_t *js_config_json(const struct monitoring *m);
json_t *js_api_json(const struct monitoring *m);
json_t *js_stats_json(const struct monitoring *m, const struct js_totals *t);
int64_t resident_bytes(void);
double cpu_seconds(void);

void on_varz(struct monitoring *m, struct http_request *q);
void on_connz(struct monitoring *m, struct http_request *q);
void on_subsz(struct monitoring *m, struct http_request *q);
void on_accountz(struct monitoring *m, struct http_request *q);
void on_routez(struct monitoring *m, struct http_request *q);
void on_healthz(struct monitoring *m, struct http_request *q);
void on_jsz(struct monitoring *m, struct http_request *q);
void on_metrics(struct monitoring *m, struct http_request *q);

#endif
