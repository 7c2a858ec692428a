#include "jetstream/state/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"

#define PROTOCOL_VERSION "2.15.2" /* _nats.ver in replies */
#define DEFAULT_WINDOW   (120 * NS_PER_SEC)

bool js_name_is_valid(struct bytes name)
{
    if (name.len == 0) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.ptr[i] <= ' ' || strchr(".*>/\\", name.ptr[i]) != NULL) {
            return false;
        }
    }
    return true;
}

/* --- reading members by table --- */

enum field_kind { F_TEXT, F_INT, F_BOOL, F_TIME, F_ANY };

/* How one JSON member is taken. Unsupported ones are accepted only with their neutral value. */
struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    bool supported;
};

static const char *go_type(enum field_kind kind)
{
    return kind == F_TEXT ? "string" : kind == F_BOOL ? "bool" : "int64";
}

static const char *json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        return "string";
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_TRUE:
    case JSON_FALSE:
        return "bool";
    default:
        return "number";
    }
}

static bool bad_type(struct js_error *error, const char *object, const struct field *f,
                     const json_t *v)
{
    return js_failf(error, JS_INVALID_JSON,
                    "invalid JSON: json: cannot unmarshal %s into Go struct field %s.%s of type %s",
                    json_kind(v), object, f->name, go_type(f->kind));
}

/* null, false, 0, "", [], {} and Go's zero time ask for nothing. */
static bool is_neutral(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) ||
           (json_is_integer(v) && json_integer_value(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_string(v) && (strcmp(json_string_value(v), "none") == 0 ||
                                  strcmp(json_string_value(v), "default") == 0 ||
                                  strcmp(json_string_value(v), "0001-01-01T00:00:00Z") == 0));
}

static bool read_field(const char *object_name, const struct field *f, json_t *v, void *config,
                       struct js_error *error)
{
    char *base = (char *)config + f->offset;
    if (json_is_null(v)) {
        return true;
    }
    switch (f->kind) {
    case F_TEXT:
        if (!json_is_string(v)) {
            return bad_type(error, object_name, f, v);
        }
        free(*(char **)(void *)base);
        *(char **)(void *)base = json_string_length(v) == 0
                                     ? NULL
                                     : mem_dup(json_string_value(v), json_string_length(v));
        return true;
    case F_INT:
        if (!json_is_integer(v)) {
            return bad_type(error, object_name, f, v);
        }
        *(int64_t *)(void *)base = json_integer_value(v);
        return true;
    case F_BOOL:
        if (!json_is_boolean(v)) {
            return bad_type(error, object_name, f, v);
        }
        *(bool *)base = json_is_true(v);
        return true;
    case F_TIME:
        if (!json_is_string(v) ||
            !clock_parse_rfc3339(bytes_of(json_string_value(v)), (int64_t *)(void *)base)) {
            return js_failf(error, JS_INVALID_JSON, "invalid JSON: parsing time of %s", f->name);
        }
        return true;
    case F_ANY:
        return true;
    }
    return true;
}

/* Applies the table to every member; F_ANY members are left to the caller. */
static bool read_fields(const char *object_name, json_t *object, const struct field *fields,
                        void *config, struct js_error *error)
{
    const char *key;
    json_t *v;
    if (!json_is_object(object)) {
        return js_failf(error, JS_INVALID_JSON,
                        "invalid JSON: json: cannot unmarshal %s into Go value of type server.%s",
                        object == NULL ? "nothing" : json_kind(object), object_name);
    }
    json_object_foreach(object, key, v)
    {
        const struct field *f = fields;
        while (f->name != NULL && strcasecmp(f->name, key) != 0) {
            f++;
        }
        if (f->name == NULL) {
            return js_failf(error, JS_INVALID_JSON, "invalid JSON: json: unknown field \"%s\"",
                            key);
        }
        if (!f->supported) {
            if (!is_neutral(v)) {
                return js_unsupported(error, f->name);
            }
        } else if (!read_field(object_name, f, v, config, error)) {
            return false;
        }
    }
    return true;
}

static json_t *member(json_t *object, const char *name)
{
    json_t *v = json_object_get(object, name);
    if (v == NULL) {
        const char *key;
        json_t *other;
        json_object_foreach(object, key, other)
        {
            if (strcasecmp(key, name) == 0) {
                return other;
            }
        }
    }
    return json_is_null(v) ? NULL : v;
}

/* The number of the word in `words` (NULL-terminated), or -1 with an error. Absent: `absent`. */
static int read_word(json_t *object, const char *name, const char *const *words, int absent,
                     struct js_error *error)
{
    json_t *v = json_object_get(object, name);
    if (v == NULL) {
        return absent;
    }
    const char *text = json_is_string(v) ? json_string_value(v) : NULL;
    for (int i = 0; text != NULL && words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            return i;
        }
    }
    char *shown = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)js_failf(error, JS_INVALID_JSON, "invalid JSON: can not unmarshal \"%s\"",
                   shown == NULL ? "" : shown);
    free(shown);
    return -1;
}

static bool read_list(json_t *object, const char *name, char ***list, uint32_t *count,
                      struct js_error *error)
{
    json_t *v = member(object, name);
    if (v == NULL) {
        return true;
    }
    if (!json_is_array(v)) {
        return js_failf(error, JS_INVALID_JSON,
                        "invalid JSON: json: cannot unmarshal %s into Go struct field .%s of type "
                        "[]string",
                        json_kind(v), name);
    }
    size_t i;
    json_t *item;
    *list = mem_zalloc((json_array_size(v) + 1) * sizeof **list);
    json_array_foreach(v, i, item)
    {
        if (!json_is_string(item)) {
            return js_failf(error, JS_INVALID_JSON,
                            "invalid JSON: json: cannot unmarshal %s into Go struct field .%s of "
                            "type string",
                            json_kind(item), name);
        }
        (*list)[(*count)++] = mem_dup(json_string_value(item), json_string_length(item));
    }
    return true;
}

static void free_list(char **list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(list[i]);
    }
    free(list);
}

/* Copies metadata without the keys that belong to the server. */
static bool read_metadata(json_t *object, json_t **metadata, struct js_error *error)
{
    json_t *v = member(object, "metadata");
    if (v == NULL) {
        return true;
    }
    if (!json_is_object(v)) {
        return js_failf(error, JS_INVALID_JSON,
                        "invalid JSON: json: cannot unmarshal %s into Go struct field .metadata of "
                        "type map[string]string",
                        json_kind(v));
    }
    const char *key;
    json_t *value;
    size_t bytes = 0;
    json_t *copy = json_object();
    json_object_foreach(v, key, value)
    {
        if (strncmp(key, "_nats.", 6) == 0) {
            continue;
        }
        if (!json_is_string(value)) {
            json_decref(copy);
            return js_failf(error, JS_INVALID_JSON, "invalid JSON: metadata \"%s\" is no string",
                            key);
        }
        bytes += strlen(key) + json_string_length(value);
        (void)json_object_set(copy, key, value);
    }
    if (bytes > 128 * 1024) {
        json_decref(copy);
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream metadata exceeds maximum size of 131072 bytes");
    }
    if (json_object_size(copy) == 0) {
        json_decref(copy);
        copy = NULL;
    }
    *metadata = copy;
    return true;
}

static json_t *metadata_json(const json_t *metadata, bool with_version)
{
    json_t *o = metadata == NULL ? json_object() : json_deep_copy(metadata);
    if (with_version) {
        json_put_text(o, "_nats.level", "0");
        json_put_text(o, "_nats.req.level", "0");
        json_put_text(o, "_nats.ver", PROTOCOL_VERSION);
    }
    return o;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

/* --- streams --- */

#define S(member) offsetof(struct stream_config, member)

static const struct field stream_fields[] = {
    {"name", F_TEXT, S(name), true},
    {"description", F_TEXT, S(description), true},
    {"subjects", F_ANY, 0, true},
    {"retention", F_ANY, 0, true},
    {"max_consumers", F_INT, S(max_consumers), true},
    {"max_msgs", F_INT, S(max_msgs), true},
    {"max_bytes", F_INT, S(max_bytes), true},
    {"max_age", F_INT, S(max_age_ns), true},
    {"max_msgs_per_subject", F_ANY, 0, true},
    {"max_msg_size", F_INT, S(max_msg_size), true},
    {"discard", F_ANY, 0, true},
    {"storage", F_ANY, 0, true},
    {"num_replicas", F_ANY, 0, true},
    {"no_ack", F_BOOL, S(no_ack), true},
    {"duplicate_window", F_INT, S(duplicate_window_ns), true},
    {"placement", F_ANY, 0, true},
    {"deny_delete", F_BOOL, S(deny_delete), true},
    {"deny_purge", F_BOOL, S(deny_purge), true},
    {"metadata", F_ANY, 0, true},
    {"consumer_limits", F_ANY, 0, false},
    {"pedantic", F_ANY, 0, true},
    {"mirror", F_ANY, 0, false},
    {"sources", F_ANY, 0, false},
    {"compression", F_ANY, 0, false},
    {"first_seq", F_ANY, 0, false},
    {"subject_transform", F_ANY, 0, false},
    {"republish", F_ANY, 0, false},
    {"allow_direct", F_ANY, 0, false},
    {"mirror_direct", F_ANY, 0, false},
    {"discard_new_per_subject", F_ANY, 0, false},
    {"sealed", F_ANY, 0, false},
    {"allow_rollup_hdrs", F_ANY, 0, false},
    {"allow_msg_ttl", F_ANY, 0, false},
    {"subject_delete_marker_ttl", F_ANY, 0, false},
    {"allow_msg_counter", F_ANY, 0, false},
    {"allow_atomic", F_ANY, 0, false},
    {"allow_msg_schedules", F_ANY, 0, false},
    {"persist_mode", F_ANY, 0, false},
    {"allow_batched", F_ANY, 0, false},
    {NULL, F_ANY, 0, false}};

void stream_config_deinit(struct stream_config *c)
{
    free(c->name);
    free(c->description);
    free_list(c->subjects, c->subject_count);
    free(c->placement_cluster);
    json_decref(c->metadata);
    *c = (struct stream_config){0};
}

static bool read_words(json_t *o, struct stream_config *c, struct js_error *error)
{
    static const char *const retention[] = {"limits", "interest", "workqueue", NULL};
    static const char *const storage[] = {"file", "memory", NULL};
    static const char *const discard[] = {"old", "new", "OLD", "NEW", NULL};
    int r = read_word(o, "retention", retention, 0, error);
    int s = r < 0 ? -1 : read_word(o, "storage", storage, 0, error);
    int d = s < 0 ? -1 : read_word(o, "discard", discard, 0, error);
    if (d < 0) {
        return false;
    }
    if (r != 0) {
        return js_unsupported(error, r == 1 ? "retention interest" : "retention workqueue");
    }
    c->memory = s == 1;
    c->discard = d % 2 == 0 ? DISCARD_OLD : DISCARD_NEW;
    return true;
}

static bool read_placement(json_t *o, struct stream_config *c, struct js_error *error)
{
    json_t *p = member(o, "placement");
    if (p == NULL) {
        return true;
    }
    if (!is_neutral(json_object_get(p, "tags") == NULL ? json_null()
                                                       : json_object_get(p, "tags"))) {
        return js_unsupported(error, "placement by tags");
    }
    if (*json_text(p, "preferred") != '\0') {
        return js_failf(error, JS_STREAM_CONFIG, "preferred server not permitted in placement");
    }
    const char *cluster = json_text(p, "cluster");
    c->placement_cluster = *cluster == '\0' ? NULL : mem_strdup(cluster);
    return true;
}

static void unlimited(int64_t *limit)
{
    if (*limit <= 0) {
        *limit = -1;
    }
}

static bool check_subjects(const struct stream_config *c, struct js_error *error)
{
    for (uint32_t i = 0; i < c->subject_count; i++) {
        struct bytes s = bytes_of(c->subjects[i]);
        if (!subject_is_valid(s)) {
            return js_failf(error, JS_STREAM_CONFIG, "invalid subject");
        }
        for (uint32_t k = 0; k < i; k++) {
            struct bytes other = bytes_of(c->subjects[k]);
            if (bytes_eq(s, other)) {
                return js_failf(error, JS_STREAM_CONFIG, "duplicate subjects detected");
            }
            if (subject_overlaps(s, other)) {
                return js_failf(error, JS_STREAM_CONFIG, "subject \"%s\" overlaps with \"%s\"",
                                c->subjects[i], c->subjects[k]);
            }
        }
        if (c->no_ack) {
            continue;
        }
        if (bytes_is(s, ">")) {
            return js_failf(error, JS_STREAM_CONFIG,
                            "capturing all subjects requires no-ack to be true");
        }
        bool js = subject_overlaps(s, BYTES_LIT("$JS.>")) ||
                  subject_overlaps(s, BYTES_LIT("$JSC.>")) ||
                  subject_overlaps(s, BYTES_LIT("$NRG.>"));
        if (js && !subject_covers(BYTES_LIT("$JS.EVENT.>"), s)) {
            return js_failf(error, JS_STREAM_CONFIG,
                            "subjects that overlap with jetstream api require no-ack to be true");
        }
        if (subject_overlaps(s, BYTES_LIT("$SYS.>")) &&
            !subject_covers(BYTES_LIT("$SYS.ACCOUNT.>"), s)) {
            return js_failf(error, JS_STREAM_CONFIG,
                            "subjects that overlap with system api require no-ack to be true");
        }
    }
    return true;
}

/* Order and texts: streams reference §1.1. */
static bool check_stream(struct stream_config *c, bool clustered, bool window_given,
                         struct js_error *error)
{
    if (c->name == NULL || !js_name_is_valid(bytes_of(c->name))) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream name is required and can not contain '.', "
                        "'*', '>', '\\', '/'");
    }
    if (strlen(c->name) > JS_NAME_MAX) {
        return js_failf(error, JS_STREAM_CONFIG, "stream name is too long, maximum allowed is 255");
    }
    if (c->description != NULL && strlen(c->description) > 4096) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream description is too long, maximum allowed is 4096");
    }
    if (c->replicas > 5) {
        return js_failf(error, JS_STREAM_CONFIG, "maximum replicas is 5");
    }
    if (c->replicas < 0) {
        return js_fail(error, JS_REPLICAS_NEGATIVE);
    }
    unlimited(&c->max_consumers);
    unlimited(&c->max_msgs);
    unlimited(&c->max_bytes);
    unlimited(&c->max_msg_size);
    if (c->max_age_ns < 0) {
        return js_failf(error, JS_STREAM_CONFIG, "max age can not be negative");
    }
    if (c->max_age_ns > 0 && c->max_age_ns < 100 * NS_PER_MS) {
        return js_failf(error, JS_STREAM_CONFIG, "max age needs to be >= 100ms");
    }
    if (!window_given || c->duplicate_window_ns == 0) {
        c->duplicate_window_ns =
            c->max_age_ns > 0 && c->max_age_ns < DEFAULT_WINDOW ? c->max_age_ns : DEFAULT_WINDOW;
    }
    if (c->duplicate_window_ns < 0) {
        return js_failf(error, JS_STREAM_CONFIG, "duplicates window can not be negative");
    }
    if (c->max_age_ns > 0 && c->duplicate_window_ns > c->max_age_ns) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "duplicates window can not be larger then max age");
    }
    if (c->duplicate_window_ns < 100 * NS_PER_MS) {
        return js_failf(error, JS_STREAM_CONFIG, "duplicates window needs to be >= 100ms");
    }
    if (c->replicas > 1 && !clustered) {
        return js_fail(error, JS_REPLICAS_UNCLUSTERED);
    }
    if (c->subject_count == 0) {
        c->subjects = mem_zalloc(2 * sizeof *c->subjects);
        c->subjects[c->subject_count++] = mem_strdup(c->name);
    }
    return check_subjects(c, error);
}

bool stream_config_parse(json_t *o, bool clustered, struct stream_config *c, struct js_error *error)
{
    *c = (struct stream_config){.replicas = 1};
    bool ok = read_fields("StreamConfig", o, stream_fields, c, error) &&
              read_list(o, "subjects", &c->subjects, &c->subject_count, error) &&
              read_words(o, c, error) && read_metadata(o, &c->metadata, error) &&
              read_placement(o, c, error);
    json_t *replicas = ok ? member(o, "num_replicas") : NULL;
    if (replicas != NULL) {
        int64_t n = json_integer_value(replicas);
        c->replicas = n < -1 ? -1 : n > 99 ? 99 : n == 0 ? 1 : (int)n;
    }
    json_t *per_subject = ok ? member(o, "max_msgs_per_subject") : NULL;
    if (ok && per_subject != NULL && json_integer_value(per_subject) > 0) {
        ok = js_unsupported(error, "max_msgs_per_subject");
    }
    if (ok && json_is_true(member(o, "pedantic"))) {
        ok = js_unsupported(error, "pedantic");
    }
    ok = ok && check_stream(c, clustered, member(o, "duplicate_window") != NULL, error);
    if (!ok) {
        stream_config_deinit(c);
    }
    return ok;
}

json_t *stream_config_json(const struct stream_config *c, bool for_clients)
{
    json_t *o = json_object();
    json_put_text(o, "name", c->name);
    if (c->description != NULL) {
        json_put_bytes(o, "description", bytes_of(c->description));
    }
    json_t *subjects = json_array();
    for (uint32_t i = 0; i < c->subject_count; i++) {
        (void)json_array_append_new(subjects, json_string(c->subjects[i]));
    }
    json_put(o, "subjects", subjects);
    if (for_clients) {
        json_put_text(o, "retention", "limits");
        json_put_int(o, "max_msgs_per_subject", -1);
    }
    json_put_int(o, "max_consumers", c->max_consumers);
    json_put_int(o, "max_msgs", c->max_msgs);
    json_put_int(o, "max_bytes", c->max_bytes);
    json_put_int(o, "max_age", c->max_age_ns);
    json_put_int(o, "max_msg_size", c->max_msg_size);
    json_put_text(o, "discard", c->discard == DISCARD_OLD ? "old" : "new");
    json_put_text(o, "storage", c->memory ? "memory" : "file");
    json_put_int(o, "num_replicas", c->replicas);
    if (c->no_ack) {
        json_put_bool(o, "no_ack", true);
    }
    json_put_int(o, "duplicate_window", c->duplicate_window_ns);
    if (c->placement_cluster != NULL) {
        json_t *placement = json_object();
        json_put_text(placement, "cluster", c->placement_cluster);
        json_put(o, "placement", placement);
    }
    if (for_clients || c->deny_delete) {
        json_put_bool(o, "deny_delete", c->deny_delete);
    }
    if (for_clients || c->deny_purge) {
        json_put_bool(o, "deny_purge", c->deny_purge);
    }
    if (for_clients) {
        json_put_text(o, "compression", "none");
        json_put_bool(o, "allow_direct", false);
        json_put_bool(o, "mirror_direct", false);
        json_put_bool(o, "sealed", false);
        json_put_bool(o, "allow_rollup_hdrs", false);
        json_put(o, "consumer_limits", json_object());
        json_put_bool(o, "allow_msg_ttl", false);
    }
    if (for_clients || json_object_size(c->metadata) > 0) {
        json_put(o, "metadata", metadata_json(c->metadata, for_clients));
    }
    return o;
}

bool stream_config_equal(const struct stream_config *a, const struct stream_config *b)
{
    json_t *x = stream_config_json(a, false);
    json_t *y = stream_config_json(b, false);
    bool equal = json_equal(x, y) != 0;
    json_decref(x);
    json_decref(y);
    return equal;
}

bool stream_config_check_update(const struct stream_config *old, const struct stream_config *new,
                                struct js_error *error)
{
    if (strcmp(old->name, new->name) != 0) {
        return js_failf(error, JS_STREAM_CONFIG, "stream configuration name must match original");
    }
    if (old->memory != new->memory) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream configuration update can not change storage type");
    }
    if (old->deny_delete && !new->deny_delete) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream configuration update can not cancel deny message deletes");
    }
    if (old->deny_purge && !new->deny_purge) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream configuration update can not cancel deny purge");
    }
    if (old->replicas != new->replicas) {
        return js_unsupported(error, "changing num_replicas of an existing stream");
    }
    if (!same_text(old->placement_cluster, new->placement_cluster)) {
        return js_unsupported(error, "moving an existing stream");
    }
    return true;
}

/* --- consumers --- */

struct consumer_fields {
    struct consumer_config config;
    char *durable_name, *filter;
    int64_t start_seq;
    int64_t idle_heartbeat, inactive_threshold;
};
#define CF(member) offsetof(struct consumer_fields, member)
#define CC(member) offsetof(struct consumer_fields, config.member)

static const struct field consumer_fields[] = {
    {"durable_name", F_TEXT, CF(durable_name), true},
    {"name", F_TEXT, CC(name), true},
    {"description", F_TEXT, CC(description), true},
    {"deliver_policy", F_ANY, 0, true},
    {"opt_start_seq", F_INT, CF(start_seq), true},
    {"opt_start_time", F_TIME, CC(opt_start_time_ns), true},
    {"ack_policy", F_ANY, 0, true},
    {"ack_wait", F_INT, CC(ack_wait_ns), true},
    {"max_deliver", F_INT, CC(max_deliver), true},
    {"backoff", F_ANY, 0, true},
    {"filter_subject", F_TEXT, CF(filter), true},
    {"filter_subjects", F_ANY, 0, true},
    {"replay_policy", F_ANY, 0, true},
    {"max_waiting", F_INT, CC(max_waiting), true},
    {"max_ack_pending", F_INT, CC(max_ack_pending), true},
    {"max_batch", F_INT, CC(max_batch), true},
    {"max_expires", F_INT, CC(max_expires_ns), true},
    {"max_bytes", F_INT, CC(max_bytes), true},
    {"num_replicas", F_ANY, 0, false},
    {"metadata", F_ANY, 0, true},
    {"inactive_threshold", F_ANY, 0, false},
    {"rate_limit_bps", F_ANY, 0, false},
    {"sample_freq", F_ANY, 0, false},
    {"flow_control", F_ANY, 0, false},
    {"headers_only", F_ANY, 0, false},
    {"deliver_subject", F_ANY, 0, false},
    {"deliver_group", F_ANY, 0, false},
    {"idle_heartbeat", F_ANY, 0, false},
    {"mem_storage", F_ANY, 0, false},
    {"direct", F_ANY, 0, false},
    {"sourcing", F_ANY, 0, false},
    {"pause_until", F_ANY, 0, false},
    {"priority_groups", F_ANY, 0, false},
    {"priority_policy", F_ANY, 0, false},
    {"priority_timeout", F_ANY, 0, false},
    {NULL, F_ANY, 0, false}};

void consumer_config_deinit(struct consumer_config *c)
{
    free(c->name);
    free(c->description);
    free(c->backoff_ns);
    free_list(c->filters, c->filter_count);
    json_decref(c->metadata);
    *c = (struct consumer_config){0};
}

static bool read_policies(json_t *o, struct consumer_config *c, struct js_error *error)
{
    static const char *const deliver[] = {
        "all",       "last", "new", "by_start_sequence", "by_start_time", "last_per_subject",
        "undefined", NULL};
    static const char *const ack[] = {"none", "explicit", "all", "flow_control", NULL};
    static const char *const replay[] = {"instant", "original", NULL};
    int d = read_word(o, "deliver_policy", deliver, 0, error);
    int a = d < 0 ? -1 : read_word(o, "ack_policy", ack, 0, error);
    int r = a < 0 ? -1 : read_word(o, "replay_policy", replay, 0, error);
    if (r < 0) {
        return false;
    }
    if (d == 5) {
        return js_unsupported(error, "deliver_policy last_per_subject");
    }
    if (a > 1) {
        return js_unsupported(error, a == 2 ? "ack_policy all" : "ack_policy flow_control");
    }
    if (r == 1) {
        return js_unsupported(error, "replay_policy original");
    }
    c->deliver = d == 6 ? DELIVER_ALL : (enum deliver_policy)d;
    c->ack = (enum ack_policy)a;
    return true;
}

static bool read_backoff(json_t *o, struct consumer_config *c, struct js_error *error)
{
    json_t *list = member(o, "backoff");
    size_t i;
    json_t *v;
    if (list == NULL || json_array_size(list) == 0) {
        return true;
    }
    c->backoff_ns = mem_zalloc(json_array_size(list) * sizeof *c->backoff_ns);
    json_array_foreach(list, i, v)
    {
        if (!json_is_integer(v) || json_integer_value(v) < 0) {
            return js_failf(error, JS_INVALID_JSON, "invalid JSON: backoff must be durations");
        }
        c->backoff_ns[c->backoff_count++] = json_integer_value(v);
    }
    return true;
}

static bool start_conflict(struct js_error *error, const char *policy, const char *what)
{
    return js_failf(error, (enum js_err)10094, "consumer delivery policy is deliver %s, but %s",
                    policy, what);
}

static bool check_start(const struct consumer_config *c, struct js_error *error)
{
    static const char *const names[] = {"all", "last", "new", "by start sequence", "by start time"};
    const char *name = names[c->deliver];
    bool seq = c->opt_start_seq > 0;
    bool time = c->opt_start_time_ns != 0;
    if (c->deliver == DELIVER_BY_START_SEQUENCE) {
        if (!seq) {
            return start_conflict(error, name, "optional start sequence is not set");
        }
        return !time || start_conflict(error, name, "optional start time is also set");
    }
    if (c->deliver == DELIVER_BY_START_TIME) {
        if (!time) {
            return start_conflict(error, name, "optional start time is not set");
        }
        return !seq || start_conflict(error, name, "optional start sequence is also set");
    }
    if (seq) {
        return start_conflict(error, name, "optional start sequence is also set");
    }
    return !time || start_conflict(error, name, "optional start time is also set");
}

/* Defaults first, then the rules in the order of consumers reference §1.2. */
static bool check_consumer(struct consumer_config *c, struct js_error *error)
{
    if (c->max_deliver == 0 || c->max_deliver < -1) {
        c->max_deliver = -1;
    }
    if (c->ack_wait_ns < 0) {
        return js_fail(error, JS_ACK_WAIT_NEGATIVE);
    }
    if (c->ack == ACK_EXPLICIT) {
        if (c->backoff_count > 0) {
            c->ack_wait_ns = c->backoff_ns[0];
        } else if (c->ack_wait_ns == 0) {
            c->ack_wait_ns = 30 * NS_PER_SEC;
        }
        if (c->max_ack_pending == 0) {
            c->max_ack_pending = 1000;
        }
    }
    if (c->max_waiting <= 0) {
        c->max_waiting = 512;
    }
    if (c->max_deliver != -1 && (int64_t)c->backoff_count > c->max_deliver) {
        return js_fail(error, JS_BACKOFF_TOO_LONG);
    }
    if (c->description != NULL && strlen(c->description) > 4096) {
        return js_fail(error, JS_DESCRIPTION_TOO_LONG);
    }
    for (uint32_t i = 0; i < c->filter_count; i++) {
        struct bytes f = bytes_of(c->filters[i]);
        if (f.len == 0) {
            return js_fail(error, JS_FILTER_EMPTY);
        }
        if (!subject_is_valid(f)) {
            return js_failf(error, JS_STREAM_CONFIG, "invalid subject");
        }
        for (uint32_t k = 0; k < c->filter_count; k++) {
            if (k != i && subject_covers(bytes_of(c->filters[k]), f)) {
                return js_fail(error, JS_FILTERS_OVERLAP);
            }
        }
    }
    return check_start(c, error);
}

bool consumer_config_parse(json_t *o, struct consumer_config *config, struct js_error *error)
{
    struct consumer_fields f = {0};
    struct consumer_config *c = &f.config;
    bool ok = read_fields("ConsumerConfig", o, consumer_fields, &f, error) &&
              read_policies(o, c, error) && read_backoff(o, c, error) &&
              read_metadata(o, &c->metadata, error) &&
              read_list(o, "filter_subjects", &c->filters, &c->filter_count, error);
    c->filter_was_list = c->filter_count > 0;
    if (ok && f.filter != NULL) {
        if (c->filter_count > 0) {
            ok = js_fail(error, JS_FILTERS_BOTH);
        } else {
            free(c->filters);
            c->filters = mem_zalloc(2 * sizeof *c->filters);
            c->filters[c->filter_count++] = mem_strdup(f.filter);
        }
    }
    if (ok && f.start_seq < 0) {
        ok = js_failf(error, JS_INVALID_JSON, "invalid JSON: opt_start_seq must not be negative");
    }
    c->opt_start_seq = (uint64_t)f.start_seq;
    if (ok && f.durable_name != NULL) {
        if (c->name != NULL && strcmp(c->name, f.durable_name) != 0) {
            ok = js_fail(error, JS_NAMES_DIFFER);
        }
        free(c->name);
        c->name = mem_strdup(f.durable_name);
        c->durable = true;
    }
    ok = ok && check_consumer(c, error);
    free(f.durable_name);
    free(f.filter);
    if (!ok) {
        consumer_config_deinit(c);
    }
    *config = *c;
    return ok;
}

json_t *consumer_config_json(const struct consumer_config *c, bool with_version)
{
    static const char *const deliver[] = {"all", "last", "new", "by_start_sequence",
                                          "by_start_time"};
    json_t *o = json_object();
    if (c->durable) {
        json_put_text(o, "durable_name", c->name);
    }
    json_put_text(o, "name", c->name);
    if (c->description != NULL) {
        json_put_bytes(o, "description", bytes_of(c->description));
    }
    json_put_text(o, "deliver_policy", deliver[c->deliver]);
    if (c->opt_start_seq > 0) {
        json_put_u64(o, "opt_start_seq", c->opt_start_seq);
    }
    if (c->opt_start_time_ns != 0) {
        json_put_time(o, "opt_start_time", c->opt_start_time_ns);
    }
    json_put_text(o, "ack_policy", c->ack == ACK_NONE ? "none" : "explicit");
    if (c->ack_wait_ns > 0) {
        json_put_int(o, "ack_wait", c->ack_wait_ns);
    }
    json_put_int(o, "max_deliver", c->max_deliver);
    if (c->backoff_count > 0) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < c->backoff_count; i++) {
            (void)json_array_append_new(list, json_integer(c->backoff_ns[i]));
        }
        json_put(o, "backoff", list);
    }
    if (c->filter_count == 1 && !c->filter_was_list) {
        json_put_text(o, "filter_subject", c->filters[0]);
    } else if (c->filter_count > 0) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < c->filter_count; i++) {
            (void)json_array_append_new(list, json_string(c->filters[i]));
        }
        json_put(o, "filter_subjects", list);
    }
    json_put_text(o, "replay_policy", "instant");
    json_put_int(o, "max_waiting", c->max_waiting);
    if (c->max_ack_pending != 0) {
        json_put_int(o, "max_ack_pending", c->max_ack_pending);
    }
    if (c->max_batch > 0) {
        json_put_int(o, "max_batch", c->max_batch);
    }
    if (c->max_expires_ns > 0) {
        json_put_int(o, "max_expires", c->max_expires_ns);
    }
    if (c->max_bytes > 0) {
        json_put_int(o, "max_bytes", c->max_bytes);
    }
    json_put_int(o, "num_replicas", 0);
    json_put(o, "metadata", metadata_json(c->metadata, with_version));
    return o;
}

bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b)
{
    json_t *x = consumer_config_json(a, false);
    json_t *y = consumer_config_json(b, false);
    bool equal = json_equal(x, y) != 0;
    json_decref(x);
    json_decref(y);
    return equal;
}

bool consumer_config_check_update(const struct consumer_config *old,
                                  const struct consumer_config *new, struct js_error *error)
{
    const char *text =
        old->deliver != new->deliver                       ? "deliver policy can not be updated"
        : old->opt_start_seq != new->opt_start_seq         ? "start sequence can not be updated"
        : old->opt_start_time_ns != new->opt_start_time_ns ? "start time can not be updated"
        : old->ack != new->ack                             ? "ack policy can not be updated"
        : old->max_waiting != new->max_waiting             ? "max waiting can not be updated"
                                                           : NULL;
    return text == NULL || js_failf(error, JS_CONSUMER_CREATE, "%s", text);
}
