#include "jetstream/state/meta.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/time_math.h"
#include "core/subject/pattern_set.h"
#include "core/subject/subject.h"

void meta_init(struct meta *meta)
{
    *meta = (struct meta){0};
}

void assignment_free(struct assignment *a)
{
    if (a != NULL) {
        blob_release(a->config);
        blob_release(a->first_config);
        free(a->subjects);
        free(a->account);
        free(a->stream);
        free(a);
    }
}

json_t *assignment_config(const struct blob *text)
{
    json_t *o = json_read(blob_bytes(text));
    CHECK(json_is_object(o)); /* written from an object */
    return o;
}

bool assignment_has_config(const struct assignment *a, const json_t *config)
{
    json_t *own = assignment_config(a->config);
    bool same = json_equal(own, config) != 0;
    json_decref(own);
    return same;
}

bool assignment_next_subject(struct bytes *rest, struct bytes *subject)
{
    return bytes_token(rest, '\n', subject);
}

/* --- the subjects of all streams --- */

static struct pattern_set *subjects_of(struct meta *meta, const char *account)
{
    struct pattern_set *set = map_get(&meta->subjects, bytes_of(account));
    if (set == NULL) {
        set = pattern_set_new();
        (void)map_put(&meta->subjects, bytes_of(account), set);
    }
    return set;
}

static void claim_subjects(struct meta *meta, const struct assignment *a)
{
    struct pattern_set *set = subjects_of(meta, a->account);
    struct bytes rest = bytes_of(a->subjects);
    struct bytes subject;
    while (assignment_next_subject(&rest, &subject)) {
        pattern_set_add(set, subject);
    }
}

static void give_up_subjects(struct meta *meta, const struct assignment *a)
{
    struct pattern_set *set = subjects_of(meta, a->account);
    struct bytes rest = bytes_of(a->subjects);
    struct bytes subject;
    while (assignment_next_subject(&rest, &subject)) {
        pattern_set_remove(set, subject);
    }
}

/* --- assignments --- */

static void set_config(struct assignment *a, const json_t *config)
{
    struct buffer text = {0}, subjects = {0};
    size_t i;
    json_t *subject;
    json_write(&text, config, 0);
    json_array_foreach(json_object_get(config, "subjects"), i, subject)
    {
        if (json_is_string(subject)) {
            buffer_append_text(&subjects, i == 0 ? "" : "\n");
            buffer_append_text(&subjects, json_string_value(subject));
        }
    }
    buffer_append_char(&subjects, '\0');
    blob_release(a->config);
    int64_t limit = json_int(config, "max_bytes");
    a->reserved = limit > 0 ? limit : 0;
    a->memory = strcmp(json_text(config, "storage"), "memory") == 0;
    free(a->subjects);
    a->config = blob_copy(buffer_bytes(&text));
    a->subjects = mem_strdup(subjects.data);
    buffer_deinit(&text);
    buffer_deinit(&subjects);
}

void meta_deinit(struct meta *meta)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&meta->assignments, &i)) != NULL;) {
        assignment_free(e->value);
    }
    map_deinit(&meta->assignments);
    for (uint32_t i = 0; (e = map_next(&meta->subjects, &i)) != NULL;) {
        pattern_set_free(e->value);
    }
    map_deinit(&meta->subjects);
}

static struct buffer make_key(struct bytes account, struct bytes stream)
{
    struct buffer key = {0};
    buffer_append_bytes(&key, account);
    buffer_append_char(&key, '\n');
    buffer_append_bytes(&key, stream);
    return key;
}

struct assignment *meta_find(const struct meta *meta, struct bytes account, struct bytes stream)
{
    struct buffer key = make_key(account, stream);
    struct assignment *a = map_get(&meta->assignments, buffer_bytes(&key));
    buffer_deinit(&key);
    return a;
}

bool meta_overlaps(struct meta *meta, const char *account, const struct stream_config *config)
{
    struct assignment *own = meta_find(meta, bytes_of(account), bytes_of(config->name));
    struct pattern_set *set = subjects_of(meta, account);
    bool overlap = false;
    if (own != NULL) {
        give_up_subjects(meta, own); /* it may well overlap with itself as it was */
    }
    for (uint32_t i = 0; i < config->subject_count && !overlap; i++) {
        overlap = pattern_set_overlaps(set, bytes_of(config->subjects[i]));
    }
    if (own != NULL) {
        claim_subjects(meta, own);
    }
    return overlap;
}

bool meta_check_create(struct meta *meta, const char *account, const struct stream_config *config,
                       struct js_error *error)
{
    return !meta_overlaps(meta, account, config) || js_fail(error, JS_SUBJECT_OVERLAP);
}

bool meta_check_update(struct meta *meta, const struct assignment *known,
                       const struct stream_config *config, struct js_error *error)
{
    if (meta_overlaps(meta, known->account, config)) {
        return js_fail(error, JS_SUBJECT_OVERLAP);
    }
    struct stream_config old;
    json_t *before = assignment_config(known->config);
    bool ok = stream_config_parse(before, true, &old, error);
    json_decref(before);
    if (ok) {
        ok = stream_config_check_update(&old, config, error);
        stream_config_deinit(&old);
    }
    return ok;
}

bool meta_has_room(const struct meta *meta, uint64_t node, int64_t limit,
                   const struct stream_config *config, const struct assignment *known)
{
    int64_t wanted = config->max_bytes > 0 ? config->max_bytes : 1;
    return limit < 0 ||
           (wanted <= limit && meta_reserved(meta, node, config->memory, known) <= limit - wanted);
}

bool meta_no_room(bool clustered, bool memory, struct js_error *error)
{
    if (!clustered) {
        return js_fail(error, memory ? JS_MEMORY_RESOURCES : JS_STORAGE_RESOURCES);
    }
    return js_failf(error, JS_NO_PEERS, "no suitable peers for placement, insufficient %s",
                    memory ? "memory" : "storage");
}

int64_t meta_reserved(const struct meta *meta, uint64_t node, bool memory,
                      const struct assignment *except)
{
    int64_t sum = 0;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&meta->assignments, &i)) != NULL;) {
        const struct assignment *a = e->value;
        bool here = false;
        for (unsigned k = 0; k < a->peer_count; k++) {
            here = here || a->peers[k] == node;
        }
        if (here && a != except && a->memory == memory &&
            __builtin_add_overflow(sum, a->reserved, &sum)) {
            return INT64_MAX;
        }
    }
    return sum;
}

static json_t *assignment_json(const struct assignment *a)
{
    json_t *o = json_object();
    json_put_text(o, "account", a->account);
    json_put_text(o, "stream", a->stream);
    json_put_u64(o, "group", a->group);
    json_put_int(o, "created", a->created_ns);
    json_t *peers = json_array();
    for (unsigned i = 0; i < a->peer_count; i++) {
        char hex[20];
        (void)snprintf(hex, sizeof hex, "%016llx", (unsigned long long)a->peers[i]);
        (void)json_array_append_new(peers, json_string(hex));
    }
    json_put(o, "peers", peers);
    if (a->first_config != a->config) {
        json_put(o, "first_config", assignment_config(a->first_config));
    }
    json_put(o, "config", assignment_config(a->config));
    return o;
}

static bool read_peers(const json_t *list, struct assignment *a)
{
    size_t i;
    json_t *peer;
    json_array_foreach(list, i, peer)
    {
        if (!json_is_string(peer) || a->peer_count == META_PEERS_MAX) {
            return false;
        }
        a->peers[a->peer_count++] = strtoull(json_string_value(peer), NULL, 16);
    }
    return a->peer_count > 0;
}

static struct assignment *new_assignment(const json_t *o, const char *created)
{
    struct assignment *a = NEW(struct assignment);
    a->account = mem_strdup(json_text(o, "account"));
    a->stream = mem_strdup(json_text(o, "stream"));
    a->group = (uint64_t)json_int(o, "group");
    a->created_ns = time_clamp(json_int(o, created));
    json_t *config = json_object_get(o, "config");
    json_t *first = json_object_get(o, "first_config");
    if (!read_peers(json_object_get(o, "peers"), a) || !json_is_object(config) ||
        (first != NULL && !json_is_object(first))) {
        assignment_free(a);
        return NULL;
    }
    set_config(a, first == NULL ? config : first);
    a->first_config = blob_retain(a->config);
    if (first != NULL && !json_equal(first, config)) {
        set_config(a, config);
    }
    return a;
}

static void store(struct meta *meta, struct assignment *a)
{
    struct buffer key = make_key(bytes_of(a->account), bytes_of(a->stream));
    (void)map_put(&meta->assignments, buffer_bytes(&key), a);
    buffer_deinit(&key);
    claim_subjects(meta, a);
}

/* --- applying --- */

/* Reads the configuration of an entry that is to be checked again; true: go on without, or it is
 * fine. */
static bool check_again(struct meta *meta, const struct assignment *known,
                        const struct assignment *fresh, const json_t *o, struct js_error *error)
{
    struct stream_config config;
    if (json_int(o, "checks") == 0) {
        return true;
    }
    if (!stream_config_parse(json_object_get(o, "config"), true, &config, error)) {
        return false;
    }
    bool ok = known == NULL ? meta_check_create(meta, json_text(o, "account"), &config, error)
                            : meta_check_update(meta, known, &config, error);
    int64_t limit = json_object_get(o, "limit") == NULL ? -1 : json_int(o, "limit");
    bool grows = known == NULL || (known->reserved > 0 && config.max_bytes > known->reserved);
    const struct assignment *a = known == NULL ? fresh : known;
    for (unsigned i = 0; i < a->peer_count && ok && grows; i++) {
        ok = meta_has_room(meta, a->peers[i], limit, &config, known) ||
             meta_no_room(json_bool(o, "clustered"), config.memory, error);
    }
    stream_config_deinit(&config);
    return ok;
}

static enum err apply_create(struct meta *meta, uint64_t index, const json_t *o,
                             struct assignment *known, struct meta_change *change)
{
    if (known != NULL && assignment_has_config(known, json_object_get(o, "config"))) {
        change->kind = META_ECHO;
        change->assignment = known;
        return OK;
    }
    if (known != NULL) {
        (void)js_fail(&change->error, JS_STREAM_NAME_EXISTS);
        return OK;
    }
    struct assignment *a = new_assignment(o, "time");
    if (a == NULL) {
        return ERR_CORRUPT;
    }
    if (!check_again(meta, NULL, a, o, &change->error)) {
        assignment_free(a);
        return OK;
    }
    a->group = META_FIRST_GROUP + index;
    store(meta, a);
    change->kind = META_CREATED;
    change->assignment = a;
    return OK;
}

static enum err apply_update(struct meta *meta, const json_t *o, struct assignment *known,
                             struct meta_change *change)
{
    const json_t *config = json_object_get(o, "config");
    if (!json_is_object(config)) {
        return ERR_CORRUPT;
    }
    if (check_again(meta, known, NULL, o, &change->error)) {
        give_up_subjects(meta, known);
        set_config(known, config);
        claim_subjects(meta, known);
        change->kind = META_UPDATED;
        change->assignment = known;
    }
    return OK;
}

static void apply_delete(struct meta *meta, struct assignment *known, struct meta_change *change)
{
    struct buffer key = make_key(bytes_of(known->account), bytes_of(known->stream));
    (void)map_remove(&meta->assignments, buffer_bytes(&key));
    buffer_deinit(&key);
    give_up_subjects(meta, known);
    change->kind = META_DELETED;
    change->assignment = known;
}

struct meta_op {
    const char *op, *type;
    enum { CREATE, UPDATE, DELETE, ECHO } what;
};

/* NULL: it is not one that this version knows. */
static const struct meta_op *op_of(const json_t *o)
{
    static const struct meta_op ops[] = {{"create", "stream_create_response", CREATE},
                                         {"update", "stream_update_response", UPDATE},
                                         {"delete", "stream_delete_response", DELETE},
                                         {"echo", "stream_create_response", ECHO}};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i].op, json_text(o, "op")) == 0) {
            return &ops[i];
        }
    }
    return NULL;
}

static enum err apply_op(struct meta *meta, uint64_t index, const json_t *o,
                         struct meta_change *change)
{
    const struct meta_op *op = op_of(o);
    struct assignment *known =
        meta_find(meta, bytes_of(json_text(o, "account")), bytes_of(json_text(o, "stream")));
    if (op == NULL) {
        return ERR_CORRUPT;
    }
    change->type = op->type;
    if (op->what == CREATE) {
        return apply_create(meta, index, o, known, change);
    }
    if (known == NULL) { /* deleted meanwhile */
        (void)js_fail(&change->error, JS_STREAM_NOT_FOUND);
        return OK;
    }
    if (op->what == UPDATE) {
        return apply_update(meta, o, known, change);
    }
    if (op->what == DELETE) {
        apply_delete(meta, known, change);
    } else {
        change->kind = META_ECHO;
        change->assignment = known;
    }
    return OK;
}

enum err meta_apply(struct meta *meta, uint64_t index, struct bytes entry,
                    struct meta_change *change)
{
    *change = (struct meta_change){0};
    json_t *o = json_read(entry);
    enum err err = json_is_object(o) ? apply_op(meta, index, o, change) : ERR_CORRUPT;
    const char *reply = json_text(o, "reply");
    if (err == OK) {
        change->reply = *reply == '\0' ? NULL : mem_strdup(reply);
        change->account = mem_strdup(json_text(o, "account"));
    }
    change->time_ns = json_int(o, "time");
    json_decref(o);
    return err;
}

bool meta_entry_is_understood(struct bytes entry)
{
    json_t *o = json_read(entry);
    const struct meta_op *op = op_of(o);
    int64_t time = json_int(o, "time");
    bool ok = json_is_object(o) && op != NULL && *json_text(o, "account") != '\0' &&
              *json_text(o, "stream") != '\0' && time_is_storable(time);
    if (ok && op->what == CREATE) {
        struct assignment *a = new_assignment(o, "time");
        ok = a != NULL;
        assignment_free(a);
    }
    if (ok && (op->what == CREATE || op->what == UPDATE)) {
        ok = stream_config_is_understood(json_object_get(o, "config"));
    }
    json_decref(o);
    return ok;
}

void meta_encode(const struct meta *meta, struct buffer *out)
{
    json_t *list = json_array();
    struct map_entry **sorted = map_sorted(&meta->assignments);
    for (uint32_t i = 0; sorted[i] != NULL; i++) {
        (void)json_array_append_new(list, assignment_json(sorted[i]->value));
    }
    free(sorted);
    json_write(out, list, 0);
    json_decref(list);
}

enum err meta_decode(struct meta *meta, struct bytes state)
{
    json_t *list = json_read(state);
    if (!json_is_array(list)) {
        json_decref(list);
        return ERR_CORRUPT;
    }
    meta_deinit(meta);
    enum err err = OK;
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        struct assignment *a = new_assignment(o, "created");
        if (a == NULL) {
            err = ERR_CORRUPT;
            break;
        }
        store(meta, a);
    }
    json_decref(list);
    return err;
}
