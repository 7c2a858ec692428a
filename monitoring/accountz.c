/* /accountz: what the configuration says of an account, and how it is used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "monitoring/monitoring_internal.h"

static json_t *mappings_json(const struct account_options *o)
{
    json_t *all = json_object();
    for (uint32_t i = 0; i < o->mapping_count; i++) {
        json_t *list = json_array();
        for (uint32_t k = 0; k < o->mappings[i].count; k++) {
            const struct mapping_destination *d = &o->mappings[i].destinations[k];
            json_t *one = json_object();
            json_put_text(one, "subject", d->subject);
            json_put_int(one, "weight", d->weight);
            if (d->cluster != NULL) {
                json_put_text(one, "cluster", d->cluster);
            }
            (void)json_array_append_new(list, one);
        }
        json_put(all, o->mappings[i].source, list);
    }
    return all;
}

static json_t *exports_json(const struct account_options *o)
{
    static const char *const types[] = {"Singleton", "Streamed", "Chunked"};
    json_t *list = json_array();
    for (uint32_t i = 0; i < o->export_count; i++) {
        const struct export_options *e = &o->exports[i];
        json_t *one = json_object();
        json_put_text(one, "subject", e->subject);
        json_put_text(one, "type", e->service ? "service" : "stream");
        if (e->service) {
            json_put_text(one, "response_type", types[e->response]);
        }
        if (e->restricted) {
            json_t *accounts = json_array();
            for (uint32_t k = 0; k < e->accounts.count; k++) {
                (void)json_array_append_new(accounts, json_string(e->accounts.items[k]));
            }
            json_put(one, "approved_accounts", accounts);
        }
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *imports_json(const struct account_options *o)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < o->import_count; i++) {
        const struct import_options *import = &o->imports[i];
        json_t *one = json_object();
        json_put_text(one, "subject", import->subject);
        json_put_text(one, "account", import->account);
        if (import->service) {
            json_put_text(one, "to", import->local);
        }
        json_put_text(one, "local_subject", import->local);
        json_put_text(one, "type", import->service ? "service" : "stream");
        json_put_bool(one, "invalid", false); /* the configuration was refused otherwise */
        json_put_bool(one, "share", import->share);
        json_put_bool(one, "tracking", false);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *detail(const struct monitoring *m, struct account *a)
{
    const struct account_options *o =
        options_find_account(broker_options(m->broker), bytes_of(a->name));
    json_t *d = json_object();
    json_put_text(d, "account_name", a->name);
    json_put_time(d, "update_time", broker_config_time_ns(m->broker));
    if (a->is_system) {
        json_put_bool(d, "is_system", true);
    }
    json_put_bool(d, "expired", false); /* only accounts of JWTs do */
    json_put_bool(d, "complete", true);
    json_put_bool(d, "jetstream_enabled", atomic_load(&a->jetstream));
    json_put_int(d, "leafnode_connections", 0);
    json_put_int(d, "client_connections", atomic_load(&a->connections));
    json_put_u64(d, "subscriptions", interest_count(a->interest));
    if (o != NULL && o->mapping_count > 0) {
        json_put(d, "mappings", mappings_json(o));
    }
    if (o != NULL && o->export_count > 0) {
        json_put(d, "exports", exports_json(o));
    }
    if (o != NULL && o->import_count > 0) {
        json_put(d, "imports", imports_json(o));
    }
    return d;
}

void on_accountz(struct monitoring *m, struct http_request *q)
{
    const char *name = http_query(q, "acc");
    struct account **list = accounts_list(broker_accounts(m->broker));
    struct account *found = NULL;
    const char *system = NULL;
    json_t *names = json_array();
    for (uint32_t i = 0; list[i] != NULL; i++) {
        (void)json_array_append_new(names, json_string(list[i]->name));
        system = list[i]->is_system ? list[i]->name : system;
        found = name != NULL && strcmp(list[i]->name, name) == 0 ? list[i] : found;
    }
    free(list);
    if (name != NULL && *name != '\0' && found == NULL) {
        char text[256];
        (void)snprintf(text, sizeof text, "Account %.150s does not exist", name);
        json_decref(names);
        reply_bad(q, text);
        return;
    }
    json_t *o = json_object();
    json_put_text(o, "server_id", broker_server_id(m->broker));
    json_put_time(o, "now", clock_now_ns());
    if (system != NULL) {
        json_put_text(o, "system_account", system);
    }
    if (found == NULL) {
        json_put(o, "accounts", names);
    } else {
        json_decref(names);
        json_put(o, "account_detail", detail(m, found));
    }
    reply_json(q, 200, o, 2);
}
