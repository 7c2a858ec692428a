/* mappings, exports and imports: what goes from one subject, or account, to another. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/config/take_internal.h"
#include "core/subject/subject.h"
#include "core/subject/transform.h"

#define THRESHOLD_NS (120 * NS_PER_SEC) /* response_threshold */

void account_exchange_free(struct account_options *a)
{
    for (uint32_t i = 0; i < a->mapping_count; i++) {
        struct mapping_options *m = &a->mappings[i];
        for (uint32_t k = 0; k < m->count; k++) {
            free(m->destinations[k].subject);
            free(m->destinations[k].cluster);
        }
        free(m->destinations);
        free(m->source);
    }
    for (uint32_t i = 0; i < a->export_count; i++) {
        free(a->exports[i].subject);
        text_list_clear(&a->exports[i].accounts);
    }
    for (uint32_t i = 0; i < a->import_count; i++) {
        free(a->imports[i].account);
        free(a->imports[i].subject);
        free(a->imports[i].local);
    }
    free(a->mappings);
    free(a->exports);
    free(a->imports);
}

/* --- mappings --- */

/* 50, "50%" or 50% (which the grammar reads as a string) */
static bool take_weight(struct context *c, const struct conf_member *m, uint32_t *weight)
{
    int64_t value = -1;
    if (m->value.type == CONF_INT) {
        value = m->value.integer;
    } else if (m->value.type == CONF_STRING) {
        char *rest;
        value = strtoll(m->value.text.ptr, &rest, 10);
        bool percent = rest != m->value.text.ptr && (*rest == '\0' || strcmp(rest, "%") == 0);
        value = percent ? value : -1;
    }
    if (value < 0 || value > 100) {
        complain(c, m, "Invalid weight %lld for mapping destination", (long long)value);
        return false;
    }
    *weight = (uint32_t)value;
    return true;
}

static void add_destination(struct mapping_options *mapping, struct bytes subject, uint32_t weight,
                            char *cluster)
{
    VEC_RESERVE(mapping->destinations, mapping->cap, mapping->count);
    mapping->destinations[mapping->count++] =
        (struct mapping_destination){mem_dup(subject.ptr, subject.len), weight, cluster};
}

static void take_destination(struct context *c, const struct conf_member *m,
                             struct mapping_options *mapping)
{
    static const char *const name[] = {"destination", "dest", NULL};
    struct bytes subject = BYTES_NONE;
    uint32_t weight = 0;
    bool weighted = false;
    char *cluster = NULL;
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (key_in(f->key, name)) {
            subject = expect_type(c, f, CONF_STRING) ? f->value.text : BYTES_NONE;
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("weight"))) {
            weighted = true;
            (void)take_weight(c, f, &weight);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("cluster"))) {
            take_text(c, f, &cluster);
        } else {
            complain(c, f, "Unknown field \"%.*s\" for mapping destination", BYTES_ARG(f->key));
        }
    }
    if (!weighted) {
        complain(c, m, "Missing weight for mapping destination \"%.*s\"", BYTES_ARG(subject));
    }
    add_destination(mapping, subject, weight, cluster);
}

static bool same_cluster(const struct mapping_destination *a, const struct mapping_destination *b)
{
    return (a->cluster == NULL) == (b->cluster == NULL) &&
           (a->cluster == NULL || strcmp(a->cluster, b->cluster) == 0);
}

static void check_mapping(struct context *c, const struct conf_member *at,
                          const struct mapping_options *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct mapping_destination *d = &m->destinations[i];
        uint32_t total = 0;
        for (uint32_t k = 0; k < m->count; k++) {
            if (!same_cluster(d, &m->destinations[k])) {
                continue;
            }
            total += m->destinations[k].weight;
            if (k < i && strcmp(m->destinations[k].subject, d->subject) == 0) {
                complain(c, at, "Error adding mapping for \"%s\" : duplicate entry for \"%s\"",
                         m->source, d->subject);
                return;
            }
        }
        struct error error;
        struct transform *t = transform_new(bytes_of(m->source), bytes_of(d->subject), &error);
        if (t == NULL) {
            complain(c, at, "Error adding mapping for \"%s\" to \"%s\" : %s", m->source, d->subject,
                     error.message);
            return;
        }
        transform_free(t);
        if (total > 100) {
            complain(c, at, "Error adding mapping for \"%s\" : total weight needs to be <= 100",
                     m->source);
            return;
        }
    }
}

void take_mappings(struct context *c, const struct conf_member *m, struct account_options *account)
{
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (!subject_is_valid(f->key)) {
            complain(c, f, "Subject \"%.*s\" is not a valid subject", BYTES_ARG(f->key));
            continue;
        }
        VEC_RESERVE(account->mappings, account->mapping_cap, account->mapping_count);
        struct mapping_options *mapping = &account->mappings[account->mapping_count++];
        *mapping = (struct mapping_options){.source = mem_dup(f->key.ptr, f->key.len)};
        if (f->value.type == CONF_STRING) {
            add_destination(mapping, f->value.text, 100, NULL);
        } else if (f->value.type == CONF_MAP) {
            take_destination(c, f, mapping);
        } else if (expect_type(c, f, CONF_ARRAY)) {
            for (uint32_t k = 0; k < f->value.count; k++) {
                struct conf_member entry = f->value.members[k];
                entry.file = entry.file == NULL ? f->file : entry.file;
                if (entry.value.type != CONF_MAP) {
                    complain(c, f, "Expected an entry for the mapping destination");
                } else {
                    take_destination(c, &entry, mapping);
                }
            }
        }
        check_mapping(c, f, mapping);
    }
}

/* --- exports --- */

static void take_response(struct context *c, const struct conf_member *m, struct export_options *e)
{
    static const char *const single[] = {"single", "singleton", NULL};
    static const char *const chunked[] = {"chunk", "chunked", NULL};
    if (!expect_type(c, m, CONF_STRING)) {
        return;
    }
    if (key_in(m->value.text, single)) {
        e->response = RESPONSE_SINGLETON;
    } else if (bytes_eq_nocase(m->value.text, BYTES_LIT("stream"))) {
        e->response = RESPONSE_STREAM;
    } else if (key_in(m->value.text, chunked)) {
        e->response = RESPONSE_CHUNKED;
    } else {
        complain(c, m, "Unknown response type: \"%.*s\"", BYTES_ARG(m->value.text));
    }
}

static void take_subject_of(struct context *c, const struct conf_member *m, bool service,
                            struct export_options *e)
{
    if (e->subject != NULL) {
        complain(c, m, "Detected %s \"%.*s\" but already saw a %s", service ? "service" : "stream",
                 BYTES_ARG(m->value.text), e->service ? "service" : "stream");
        return;
    }
    e->service = service;
    take_text(c, m, &e->subject);
    if (e->subject != NULL && !subject_is_valid(bytes_of(e->subject))) {
        complain(c, m, "subject \"%s\" is not a valid subject", e->subject);
    }
}

/* Is the token at this place, the first being 1, a "*"? */
static bool is_wildcard_at(struct bytes subject, int64_t position)
{
    struct bytes token = {0};
    int64_t at = 0;
    while (at < position && bytes_token(&subject, '.', &token)) {
        at++;
    }
    return at > 0 && at == position && bytes_eq(token, BYTES_LIT("*"));
}

static void take_export(struct context *c, const struct conf_member *m, struct export_options *e)
{
    static const char *const response[] = {"response", "response_type", NULL};
    static const char *const threshold[] = {"threshold", "response_threshold", "response_max_time",
                                            "response_time", NULL};
    const struct conf_member *only_services = NULL;
    const char *directive = "";
    int64_t position = 0;
    e->threshold_ns = THRESHOLD_NS;
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (bytes_eq_nocase(f->key, BYTES_LIT("stream"))) {
            take_subject_of(c, f, false, e);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("service"))) {
            take_subject_of(c, f, true, e);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("accounts"))) {
            e->restricted = true;
            take_texts(c, f, &e->accounts);
        } else if (key_in(f->key, response)) {
            only_services = f;
            directive = "response";
            take_response(c, f, e);
        } else if (key_in(f->key, threshold)) {
            only_services = f;
            directive = "response";
            take_duration(c, f, &e->threshold_ns);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("account_token_position"))) {
            take_int(c, f, &position);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("latency")) ||
                   bytes_eq_nocase(f->key, BYTES_LIT("allow_trace"))) {
            note_no_effect(c, f);
        } else if (!f->used_as_variable) {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
    if (e->subject == NULL) {
        complain(c, m, "Expected a stream or a service to export");
    } else if (position != 0 && !is_wildcard_at(bytes_of(e->subject), position)) {
        complain(
            c, m,
            "Error adding %s export \"%s\": invalid subject, account_token_position %lld is no "
            "'*' in it",
            e->service ? "service" : "stream", e->subject, (long long)position);
    } else if (only_services != NULL && !e->service) {
        complain(c, only_services, "Detected %s directive on non-service", directive);
    } else {
        e->token_position = (uint32_t)position;
    }
}

void take_exports(struct context *c, const struct conf_member *m, struct account_options *account)
{
    if (m->value.type != CONF_ARRAY) {
        complain(c, m, "Exports should be an array, got %s", conf_type_name(m->value.type));
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        struct conf_member entry = m->value.members[i];
        entry.file = entry.file == NULL ? m->file : entry.file;
        if (entry.value.type != CONF_MAP) {
            complain(c, m, "Export Items should be a map with type entry");
            continue;
        }
        VEC_RESERVE(account->exports, account->export_cap, account->export_count);
        account->exports[account->export_count] = (struct export_options){0};
        take_export(c, &entry, &account->exports[account->export_count++]);
    }
}

/* --- imports --- */

static void take_origin(struct context *c, const struct conf_member *m, bool service,
                        struct import_options *import)
{
    import->service = service;
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (bytes_eq_nocase(f->key, BYTES_LIT("account"))) {
            take_text(c, f, &import->account);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("subject"))) {
            take_text(c, f, &import->subject);
        } else if (!f->used_as_variable) {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
    if (import->account == NULL || import->subject == NULL) {
        complain(c, m, "Expect an account name and a subject");
    } else if (!subject_is_valid(bytes_of(import->subject))) {
        complain(c, m, "subject \"%s\" is not a valid subject", import->subject);
    }
}

static void take_import(struct context *c, const struct conf_member *m,
                        struct import_options *import)
{
    char *prefix = NULL;
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        bool service = bytes_eq_nocase(f->key, BYTES_LIT("service"));
        if (service || bytes_eq_nocase(f->key, BYTES_LIT("stream"))) {
            if (import->account != NULL) {
                complain(c, f, "Detected a second stream or service in one import");
                continue;
            }
            take_origin(c, f, service, import);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("prefix"))) {
            take_text(c, f, &prefix);
            if (prefix != NULL && !subject_is_literal(bytes_of(prefix))) {
                complain(c, f, "stream import prefix can not contain wildcard tokens");
            }
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("to"))) {
            take_text(c, f, &import->local);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("share"))) {
            take_bool(c, f, &import->share);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("allow_trace"))) {
            note_no_effect(c, f);
        } else if (!f->used_as_variable) {
            complain(c, f, "unknown field \"%.*s\"", BYTES_ARG(f->key));
        }
    }
    if (import->account == NULL || import->subject == NULL) {
        if (c->report->errors.len == 0) { /* else it has been said */
            complain(c, m, "Expect an account name and a subject");
        }
        import->subject = import->subject == NULL ? mem_strdup("") : import->subject;
        import->account = import->account == NULL ? mem_strdup("") : import->account;
    }
    if (prefix != NULL && import->local != NULL) {
        complain(c, m, "Stream import can not have a 'prefix' and a 'to' property");
    }
    if (import->local == NULL) {
        struct buffer local = {0};
        if (prefix != NULL && !import->service) {
            buffer_printf(&local, "%s.", prefix);
        }
        buffer_append_text(&local, import->subject);
        buffer_append_char(&local, '\0');
        import->local = local.data;
    }
    free(prefix);
}

void take_imports(struct context *c, const struct conf_member *m, struct account_options *account)
{
    if (m->value.type != CONF_ARRAY) {
        complain(c, m, "Imports should be an array, got %s", conf_type_name(m->value.type));
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        struct conf_member entry = m->value.members[i];
        entry.file = entry.file == NULL ? m->file : entry.file;
        if (entry.value.type != CONF_MAP) {
            complain(c, m, "Import Items should be a map with type entry");
            continue;
        }
        VEC_RESERVE(account->imports, account->import_cap, account->import_count);
        struct import_options *import = &account->imports[account->import_count++];
        *import = (struct import_options){0};
        take_import(c, &entry, import);
        for (uint32_t k = 0; import->service && k + 1 < account->import_count; k++) {
            const struct import_options *other = &account->imports[k];
            if (other->service && strcmp(other->local, import->local) == 0 &&
                strcmp(other->account, import->account) == 0) {
                complain(c, &entry,
                         "Duplicate service import subject \"%s\", previously used in import for "
                         "account \"%s\", subject \"%s\"",
                         import->local, other->account, other->subject);
            }
        }
    }
}

/* --- do they fit together? --- */

const struct export_options *options_find_export(const struct account_options *exporter,
                                                 const struct import_options *import,
                                                 struct bytes subject, const char *importer)
{
    for (uint32_t i = 0; i < exporter->export_count; i++) {
        const struct export_options *e = &exporter->exports[i];
        if (e->service != import->service || !subject_covers(bytes_of(e->subject), subject)) {
            continue;
        }
        bool listed = !e->restricted;
        for (uint32_t k = 0; k < e->accounts.count; k++) {
            listed = listed || strcmp(e->accounts.items[k], importer) == 0;
        }
        struct bytes rest = subject, token = BYTES_NONE;
        for (uint32_t k = 0; k < e->token_position && bytes_token(&rest, '.', &token); k++) {
        }
        if (listed && (e->token_position == 0 || bytes_is(token, importer))) {
            return e;
        }
    }
    return NULL;
}

struct transform *options_import_transform(const struct import_options *import, struct error *error)
{
    return import->service
               ? transform_new_strict(bytes_of(import->local), bytes_of(import->subject), error)
               : transform_new_strict(bytes_of(import->subject), bytes_of(import->local), error);
}

/* Does following the imports of `account` from `subject` lead to `goal`? */
static bool leads_to(const struct options *o, const char *account, struct bytes subject,
                     const char *goal, bool service, unsigned depth)
{
    if (strcmp(account, goal) == 0 || depth > o->account_count) {
        return true;
    }
    const struct account_options *a = options_find_account(o, bytes_of(account));
    for (uint32_t i = 0; a != NULL && i < a->import_count; i++) {
        const struct import_options *next = &a->imports[i];
        if (next->service == service && subject_overlaps(bytes_of(next->local), subject) &&
            leads_to(o, next->account, bytes_of(next->subject), goal, service, depth + 1)) {
            return true;
        }
    }
    return false;
}

static void check_import(struct context *c, const struct conf_member *at,
                         const struct account_options *importer, uint32_t index)
{
    const struct import_options *import = &importer->imports[index];
    const char *kind = import->service ? "service" : "stream";
    const struct account_options *exporter = options_find_account(c->o, bytes_of(import->account));
    struct error error;
    if (exporter == NULL) {
        complain(c, at, "\"%s\" account not defined for %s import", import->account, kind);
        return;
    }
    struct transform *t = options_import_transform(import, &error);
    if (t == NULL) {
        complain(c, at,
                 "Error adding %s import \"%s\": failed to create mapping transform for %s import "
                 "subject from \"%s\" to \"%s\": %s",
                 kind, import->subject, kind, import->service ? import->local : import->subject,
                 import->service ? import->subject : import->local, error.message);
        return;
    }
    struct bytes remote = import->service ? transform_target(t) : bytes_of(import->subject);
    const char *problem = NULL;
    if (options_find_export(exporter, import, remote, importer->name) == NULL) {
        problem =
            import->service ? "service import not authorized" : "stream import not authorized";
    } else if (leads_to(c->o, import->account, remote, importer->name, import->service, 0)) {
        problem = "import forms a cycle";
    }
    for (uint32_t k = 0; k < index && !import->service; k++) {
        const struct import_options *other = &importer->imports[k];
        bool same = !other->service && strcmp(other->account, import->account) == 0 &&
                    strcmp(other->subject, import->subject) == 0 &&
                    strcmp(other->local, import->local) == 0;
        problem = same ? "stream import already exists" : problem;
    }
    if (problem != NULL) {
        complain(c, at, "Error adding %s import \"%s\": %s", kind, import->subject, problem);
    }
    transform_free(t);
}

void check_exchange(struct context *c, const struct conf_member *accounts)
{
    for (uint32_t a = 0; a < c->o->account_count; a++) {
        const struct account_options *account = &c->o->accounts[a];
        for (uint32_t i = 0; i < account->export_count; i++) {
            const struct export_options *e = &account->exports[i];
            for (uint32_t k = 0; k < e->accounts.count; k++) {
                if (options_find_account(c->o, bytes_of(e->accounts.items[k])) == NULL) {
                    complain(c, accounts, "\"%s\" account not defined for %s export",
                             e->accounts.items[k], e->service ? "service" : "stream");
                }
            }
        }
        for (uint32_t i = 0; i < account->import_count; i++) {
            check_import(c, accounts, account, i);
        }
    }
}
