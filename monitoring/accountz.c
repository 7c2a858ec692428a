/* /accountz: what the configuration says of an account, and how it is used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "monitoring/monitoring_internal.h"

/* names of all, or sections of one's configuration, as text in slices → what is short → reply.
 *
 * Between two slices a reload may replace the configuration: the walk goes on in the new one, at
 * the same place. */

/* --- sections; `index` is below the count --- */

static json_t *destination(const struct mapping_destination *d)
{
    json_t *one = json_object();
    json_put_text(one, "subject", d->subject);
    json_put_int(one, "weight", d->weight);
    if (d->cluster != NULL) {
        json_put_text(one, "cluster", d->cluster);
    }
    return one;
}

static json_t *mapping(const struct account_options *o, uint32_t index)
{
    json_t *list = json_array();
    for (uint32_t k = 0; k < o->mappings[index].count; k++) {
        (void)json_array_append_new(list, destination(&o->mappings[index].destinations[k]));
    }
    return list;
}

static json_t *export(const struct account_options *o, uint32_t index)
{
    static const char *const types[] = {"Singleton", "Streamed", "Chunked"};
    const struct export_options *e = &o->exports[index];
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
    return one;
}

static json_t *import(const struct account_options *o, uint32_t index)
{
    const struct import_options *i = &o->imports[index];
    json_t *one = json_object();
    json_put_text(one, "subject", i->subject);
    json_put_text(one, "account", i->account);
    if (i->service) {
        json_put_text(one, "to", i->local);
    }
    json_put_text(one, "local_subject", i->local);
    json_put_text(one, "type", i->service ? "service" : "stream");
    json_put_bool(one, "invalid", false); /* the configuration was refused otherwise */
    json_put_bool(one, "share", i->share);
    json_put_bool(one, "tracking", false);
    return one;
}

enum { MAPPINGS, EXPORTS, IMPORTS, SECTIONS };

static uint32_t section_count(const struct account_options *o, unsigned section)
{
    return section == MAPPINGS  ? o->mapping_count
           : section == EXPORTS ? o->export_count
                                : o->import_count;
}

static void append_item(struct buffer *out, const struct account_options *o, unsigned section,
                        uint32_t index)
{
    static const char *const begins[SECTIONS] = {",\n    \"mappings\": {", ",\n    \"exports\": [",
                                                 ",\n    \"imports\": ["};
    buffer_append_text(out, index == 0 ? begins[section] : ",");
    buffer_append_text(out, "\n      ");
    if (section == MAPPINGS) {
        json_write_text(out, o->mappings[index].source);
        buffer_append_text(out, ": ");
    }
    json_t *item = section == MAPPINGS  ? mapping(o, index)
                   : section == EXPORTS ? export(o, index)
                                        : import(o, index);
    json_write_within(out, item, 2, 6);
    json_decref(item);
}

static bool write_sections(struct scrape *s)
{
    int64_t until = clock_mono_ns() + SCRAPE_SLICE_NS;
    const struct account_options *o =
        options_find_account(broker_options(s->m->broker), bytes_of(s->described->name));
    for (; s->section < SECTIONS; s->section++, s->position = 0) {
        while (o != NULL && s->position < section_count(o, s->section)) {
            if (clock_mono_ns() >= until) {
                return false;
            }
            append_item(&s->account_text, o, s->section, s->position++);
        }
        if (s->position > 0) {
            buffer_append_text(&s->account_text, s->section == MAPPINGS ? "\n    }" : "\n    ]");
        }
    }
    return true;
}

static bool write_names(struct scrape *s)
{
    int64_t until = clock_mono_ns() + SCRAPE_SLICE_NS;
    for (; s->all_accounts[s->position] != NULL; s->position++) {
        if (clock_mono_ns() >= until) {
            return false;
        }
        buffer_append_text(&s->account_text, s->position == 0 ? "    " : ",\n    ");
        json_write_text(&s->account_text, s->all_accounts[s->position]->name);
    }
    return true;
}

/* --- the answer --- */

static json_t *detail(const struct monitoring *m, const struct account *a)
{
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
    return d;
}

static void reply_detail(struct scrape *s, json_t *body)
{
    struct buffer head = {0};
    json_t *d = detail(s->m, s->described);
    json_write_open(&head, body, 2, 0);
    buffer_append_text(&head, ",\n  \"account_detail\": ");
    json_write_open(&head, d, 2, 2);
    const struct bytes parts[] = {buffer_bytes(&head), buffer_bytes(&s->account_text),
                                  BYTES_LIT("\n  }\n}")};
    http_reply_parts(s->request, 200, "application/json", parts, sizeof parts / sizeof parts[0]);
    buffer_deinit(&head);
    json_decref(d);
    json_decref(body);
}

static void written(void *arg)
{
    struct scrape *s = arg;
    json_t *o = json_object();
    json_put_text(o, "server_id", broker_server_id(s->m->broker));
    json_put_time(o, "now", clock_now_ns());
    json_put_text(o, "system_account", broker_system_account(s->m->broker)->name);
    if (s->described != NULL) {
        reply_detail(s, o);
    } else {
        reply_json_list(s->request, o, "accounts", buffer_bytes(&s->account_text), BYTES_NONE);
    }
    scrape_free(s);
}

static bool write_slice(void *arg, struct loop *loop)
{
    struct scrape *s = arg;
    return loop_index(loop) != 0 || (s->described != NULL ? write_sections(s) : write_names(s));
}

void on_accountz(struct monitoring *m, struct http_request *q)
{
    const char *name = http_query(q, "acc");
    bool named = name != NULL && *name != '\0';
    struct account *described =
        named ? accounts_find(broker_accounts(m->broker), bytes_of(name)) : NULL;
    if (named && described == NULL) {
        char text[256];
        (void)snprintf(text, sizeof text, "Account %.150s does not exist", name);
        reply_bad(q, text);
        return;
    }
    struct scrape *s = scrape_new(m, q);
    s->described = described;
    s->all_accounts = described == NULL ? accounts_list(broker_accounts(m->broker)) : NULL;
    broker_gather_in_slices(m->broker, write_slice, written, s);
}
