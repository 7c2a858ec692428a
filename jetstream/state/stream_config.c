/* Streams: the table of what they can be told, and the rules that a table does not say. Source:
 * JetStream streams reference §1. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/subject/pattern_set.h"
#include "core/subject/subject.h"
#include "jetstream/state/config_internal.h"

#define DEFAULT_WINDOW (120 * NS_PER_SEC)

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

/* --- what this version does not support: read, so that its types are checked, and refused --- */

static const struct field transform_rows[] = {
    {.name = "src", .kind = FIELD_TEXT}, {.name = "dest", .kind = FIELD_TEXT}, {0}};
static const struct fields transform_fields = {"SubjectTransformConfig", transform_rows, NULL};

static const struct field external_rows[] = {
    {.name = "api", .kind = FIELD_TEXT}, {.name = "deliver", .kind = FIELD_TEXT}, {0}};
static const struct fields external_fields = {"ExternalStream", external_rows, NULL};

static const struct field source_consumer_rows[] = {
    {.name = "name", .kind = FIELD_TEXT}, {.name = "deliver_subject", .kind = FIELD_TEXT}, {0}};
static const struct fields source_consumer_fields = {"StreamConsumerSource", source_consumer_rows,
                                                     NULL};

static const struct field source_rows[] = {
    {.name = "name", .kind = FIELD_TEXT},
    {.name = "opt_start_seq", .kind = FIELD_UINT},
    {.name = "opt_start_time", .kind = FIELD_TIME},
    {.name = "filter_subject", .kind = FIELD_TEXT},
    {.name = "subject_transforms",
     .kind = FIELD_OBJECTS,
     .go_type = "[]server.",
     .table = &transform_fields},
    {.name = "external", .kind = FIELD_OBJECT, .table = &external_fields},
    {.name = "consumer", .kind = FIELD_OBJECT, .table = &source_consumer_fields},
    {0}};
static const struct fields source_fields = {"StreamSource", source_rows, NULL};

static const struct field republish_rows[] = {{.name = "src", .kind = FIELD_TEXT},
                                              {.name = "dest", .kind = FIELD_TEXT},
                                              {.name = "headers_only", .kind = FIELD_BOOL},
                                              {0}};
static const struct fields republish_fields = {"RePublish", republish_rows, NULL};

static const struct field consumer_limits_rows[] = {
    {.name = "inactive_threshold", .kind = FIELD_DURATION},
    {.name = "max_ack_pending", .kind = FIELD_INT, .go_type = "int"},
    {0}};
static const struct fields consumer_limits_fields = {"StreamConsumerLimits", consumer_limits_rows,
                                                     NULL};

/* --- the table --- */

static const struct word retentions[] = {
    {"limits", 0, false}, {"interest", 1, true}, {"workqueue", 2, true}, {NULL, 0, false}};
static const struct word discards[] = {
    {"old", DISCARD_OLD, false}, {"new", DISCARD_NEW, false}, {NULL, 0, false}};
static const struct word storages[] = {
    {"file", false, false}, {"memory", true, false}, {NULL, 0, false}};
static const struct word compressions[] = {{"none", 0, false}, {"s2", 1, true}, {NULL, 0, false}};
static const struct word persist_modes[] = {
    {"default", 0, false}, {"", 0, false}, {"async", 1, true}, {NULL, 0, false}};

static const struct field placement_rows[] = {{.name = "cluster",
                                               .kind = FIELD_TEXT,
                                               .print = PRINT_SET,
                                               FIELD_AT(struct stream_placement, cluster)},
                                              {.name = "tags", .kind = FIELD_TEXTS},
                                              {.name = "preferred",
                                               .kind = FIELD_TEXT,
                                               .print = PRINT_NEVER,
                                               FIELD_AT(struct stream_placement, preferred)},
                                              {0}};
static const struct fields placement_fields = {"Placement", placement_rows, NULL};

#define CANNOT    "stream configuration update can not "
#define S(member) FIELD_AT(struct stream_config, member)

/* In the order in which nats-server prints them. */
static const struct field stream_rows[] = {
    {.name = "name",
     .kind = FIELD_TEXT,
     .frozen = "stream configuration name must match original",
     S(name)},
    {.name = "description", .kind = FIELD_TEXT, .print = PRINT_SET, S(description)},
    {.name = "subjects",
     .kind = FIELD_TEXTS,
     .print = PRINT_SET,
     S(subjects),
     FIELD_COUNT(struct stream_config, subject_count)},
    {.name = "retention", .kind = FIELD_WORD, .words = retentions, .unsupported = "\"limits\""},
    {.name = "max_consumers", .kind = FIELD_INT, .go_type = "int", S(max_consumers)},
    {.name = "max_msgs", .kind = FIELD_INT, S(max_msgs)},
    {.name = "max_bytes", .kind = FIELD_INT, S(max_bytes)},
    {.name = "max_age", .kind = FIELD_DURATION, S(max_age_ns)},
    {.name = "max_msgs_per_subject", .kind = FIELD_INT, .unlimited = true, .unsupported = "-1"},
    {.name = "max_msg_size", .kind = FIELD_INT, .go_type = "int32", S(max_msg_size)},
    {.name = "discard", .kind = FIELD_WORD, .words = discards, .any_case = true, S(discard)},
    {.name = "storage",
     .kind = FIELD_WORD,
     .words = storages,
     .frozen = CANNOT "change storage type",
     S(memory)},
    {.name = "num_replicas",
     .kind = FIELD_INT,
     .go_type = "int",
     .frozen = "changing num_replicas of an existing stream",
     .frozen_unsupported = true,
     S(replicas)},
    {.name = "no_ack", .kind = FIELD_BOOL, .print = PRINT_SET, S(no_ack)},
    {.name = "duplicate_window", .kind = FIELD_DURATION, S(duplicate_window_ns)},
    {.name = "placement",
     .kind = FIELD_OBJECT,
     .print = PRINT_SET,
     .table = &placement_fields,
     S(placement)},
    {.name = "mirror", .kind = FIELD_OBJECT, .table = &source_fields},
    {.name = "sources", .kind = FIELD_OBJECTS, .go_type = "[]*server.", .table = &source_fields},
    {.name = "compression",
     .kind = FIELD_WORD,
     .words = compressions,
     .word_error = "unknown compression algorithm",
     .unsupported = "\"none\""},
    {.name = "first_seq", .kind = FIELD_UINT},
    {.name = "subject_transform", .kind = FIELD_OBJECT, .table = &transform_fields},
    {.name = "republish", .kind = FIELD_OBJECT, .table = &republish_fields},
    {.name = "allow_direct", .kind = FIELD_BOOL, .unsupported = "false"},
    {.name = "mirror_direct", .kind = FIELD_BOOL, .unsupported = "false"},
    {.name = "discard_new_per_subject", .kind = FIELD_BOOL},
    {.name = "sealed", .kind = FIELD_BOOL, .unsupported = "false"},
    {.name = "deny_delete",
     .kind = FIELD_BOOL,
     .frozen = CANNOT "cancel deny message deletes",
     .frozen_set = true,
     .stored_set = true,
     S(deny_delete)},
    {.name = "deny_purge",
     .kind = FIELD_BOOL,
     .frozen = CANNOT "cancel deny purge",
     .frozen_set = true,
     .stored_set = true,
     S(deny_purge)},
    {.name = "allow_rollup_hdrs", .kind = FIELD_BOOL, .unsupported = "false"},
    {.name = "consumer_limits",
     .kind = FIELD_OBJECT,
     .table = &consumer_limits_fields,
     .unsupported = "{}"},
    {.name = "allow_msg_ttl", .kind = FIELD_BOOL, .unsupported = "false"},
    {.name = "subject_delete_marker_ttl", .kind = FIELD_DURATION},
    {.name = "allow_msg_counter", .kind = FIELD_BOOL},
    {.name = "allow_atomic", .kind = FIELD_BOOL},
    {.name = "allow_msg_schedules", .kind = FIELD_BOOL},
    {.name = "persist_mode", .kind = FIELD_WORD, .words = persist_modes},
    {.name = "allow_batched", .kind = FIELD_BOOL},
    {.name = "metadata", .kind = FIELD_MAP, .stored_set = true, S(metadata)},
    {.name = "pedantic", .kind = FIELD_BOOL, .print = PRINT_NEVER, .embedded = "", S(pedantic)},
    {0}};
static const struct fields stream_fields = {"StreamConfigRequest", stream_rows, "StreamConfig"};

void stream_config_deinit(struct stream_config *c)
{
    fields_deinit(&stream_fields, c);
    *c = (struct stream_config){0};
}

/* --- rules --- */

static bool set_limits(struct stream_config *c, struct js_error *error)
{
    const struct {
        int64_t *limit;
        const char *name;
    } limits[] = {{&c->max_msgs, "max_msgs"},
                  {&c->max_bytes, "max_bytes"},
                  {&c->max_msg_size, "max_msg_size"},
                  {&c->max_consumers, "max_consumers"}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        int64_t *limit = limits[i].limit;
        if (c->pedantic && *limit < -1) {
            return js_failf(error, JS_PEDANTIC, "pedantic mode: %s must be set to -1",
                            limits[i].name);
        }
        *limit = *limit <= 0 ? -1 : *limit;
    }
    return true;
}

static bool set_window(struct stream_config *c, struct js_error *error)
{
    if (c->duplicate_window_ns == 0) {
        bool short_lived = c->max_age_ns > 0 && c->max_age_ns < DEFAULT_WINDOW;
        if (short_lived && c->pedantic) {
            return js_failf(error, JS_PEDANTIC,
                            "pedantic mode: duplicate window cannot be bigger than max age");
        }
        c->duplicate_window_ns = short_lived ? c->max_age_ns : DEFAULT_WINDOW;
    }
    return true;
}

/* Without no_ack, whoever publishes there would be answered. */
static bool check_acks(struct bytes s, struct js_error *error)
{
    if (bytes_is(s, ">")) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "capturing all subjects requires no-ack to be true");
    }
    bool js = subject_overlaps(s, BYTES_LIT("$JS.>")) || subject_overlaps(s, BYTES_LIT("$JSC.>")) ||
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
    return true;
}

static bool is_pattern(struct bytes s)
{
    return subject_is_valid(s) && s.len <= PATTERN_BYTES_MAX;
}

/* The first subject that has something in common with one behind it; subject_count: none. */
static uint32_t first_overlapping(const struct stream_config *c)
{
    struct pattern_set *behind = pattern_set_new();
    uint32_t found = c->subject_count;
    for (uint32_t i = c->subject_count; i-- > 0;) {
        struct bytes s = bytes_of(c->subjects[i]);
        if (is_pattern(s)) {
            found = pattern_set_overlaps(behind, s) ? i : found;
            pattern_set_add(behind, s);
        }
    }
    pattern_set_free(behind);
    return found;
}

static bool refuse_overlap(const struct stream_config *c, uint32_t i, struct js_error *error)
{
    uint32_t k = i + 1;
    while (!subject_overlaps(bytes_of(c->subjects[i]), bytes_of(c->subjects[k]))) {
        k++;
    }
    return js_failf(error, JS_STREAM_CONFIG, "subject \"%s\" overlaps with \"%s\"", c->subjects[i],
                    c->subjects[k]);
}

static bool check_subjects(const struct stream_config *c, struct js_error *error)
{
    uint32_t overlapping = first_overlapping(c);
    for (uint32_t i = 0; i < c->subject_count; i++) {
        struct bytes s = bytes_of(c->subjects[i]);
        if (!is_pattern(s)) {
            return js_failf(error, JS_STREAM_CONFIG, "invalid subject");
        }
        if (!c->no_ack && !check_acks(s, error)) {
            return false;
        }
        if (i == overlapping) {
            return refuse_overlap(c, i, error);
        }
    }
    return true;
}

/* Order and texts: streams reference §1.1. */
static bool check_stream(struct stream_config *c, struct js_error *error)
{
    if (c->name == NULL || !js_name_is_valid(bytes_of(c->name))) {
        return js_failf(error, JS_STREAM_CONFIG, "stream name is required and " JS_NAME_RULE);
    }
    if (strlen(c->name) > JS_NAME_MAX) {
        return js_failf(error, JS_STREAM_CONFIG, "stream name is too long, maximum allowed is 255");
    }
    if (c->description != NULL && strlen(c->description) > 4096) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream description is too long, maximum allowed is 4096");
    }
    if (config_metadata_bytes(c->metadata) > METADATA_MAX) {
        return js_failf(error, JS_STREAM_CONFIG,
                        "stream metadata exceeds maximum size of 131072 bytes");
    }
    c->replicas = c->replicas == 0 ? 1 : c->replicas;
    if (c->replicas > 5) {
        return js_failf(error, JS_STREAM_CONFIG, "maximum replicas is 5");
    }
    if (c->replicas < 0) {
        return js_fail(error, JS_REPLICAS_NEGATIVE);
    }
    if (!set_limits(c, error)) {
        return false;
    }
    if (c->max_age_ns < 0) {
        return js_failf(error, JS_STREAM_CONFIG, "max age can not be negative");
    }
    if (c->max_age_ns > 0 && c->max_age_ns < 100 * NS_PER_MS) {
        return js_failf(error, JS_STREAM_CONFIG, "max age needs to be >= 100ms");
    }
    if (!set_window(c, error)) {
        return false;
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
    if (c->subject_count == 0) {
        c->subjects = mem_zalloc(2 * sizeof *c->subjects);
        c->subjects[c->subject_count++] = mem_strdup(c->name);
    }
    if (!check_subjects(c, error)) {
        return false;
    }
    return c->placement.preferred == NULL ||
           js_failf(error, JS_STREAM_CONFIG, "preferred server not permitted in placement");
}

/* What a request is for. */
struct target {
    struct bytes name; /* ptr NULL: any */
    bool update, exists, clustered;
};

static bool check_name(const struct stream_config *c, const struct target *t,
                       struct js_error *error)
{
    if (t->name.ptr == NULL) {
        return true;
    }
    if (!bytes_is(t->name, c->name == NULL ? "" : c->name)) {
        return js_fail(error, JS_NAME_MISMATCH);
    }
    return strpbrk(c->name, "/\\") == NULL || js_fail(error, JS_STREAM_SEPARATORS);
}

/* STREAM.CREATE looks at the name before it validates, UPDATE thereafter. */
static bool check_request(struct stream_config *c, const struct target *t, struct js_error *error)
{
    if (!t->update && !check_name(c, t, error)) {
        return false;
    }
    if (!check_stream(c, error) || (t->update && !check_name(c, t, error))) {
        return false;
    }
    if (t->update && !t->exists) {
        return js_fail(error, JS_STREAM_NOT_FOUND);
    }
    return c->replicas <= 1 || t->clustered || js_fail(error, JS_REPLICAS_UNCLUSTERED);
}

static bool read(enum fields_text kind, struct bytes text, const struct target *t,
                 struct stream_config *c, struct js_error *error)
{
    *c = (struct stream_config){0};
    bool ok = fields_read(&stream_fields, kind, text, c, error);
    struct js_error wrong = {0};
    /* before what is not supported: nats-server supports it */
    if ((ok || error->err == JS_STREAM_CONFIG) && !check_request(c, t, &wrong)) {
        *error = wrong;
        ok = false;
    }
    c->pedantic = false;
    if (!ok) {
        stream_config_deinit(c);
    }
    return ok;
}

bool stream_config_read(struct bytes text, struct bytes name, bool clustered,
                        struct stream_config *c, struct js_error *error)
{
    const struct target t = {.name = name, .clustered = clustered};
    return read(FIELDS_REQUEST, text, &t, c, error);
}

bool stream_config_read_update(struct bytes text, struct bytes name, bool exists, bool clustered,
                               struct stream_config *c, struct js_error *error)
{
    const struct target t = {name, true, exists, clustered};
    return read(FIELDS_REQUEST, text, &t, c, error);
}

bool stream_config_parse(json_t *o, bool clustered, struct stream_config *c, struct js_error *error)
{
    struct buffer text = {0};
    json_write(&text, o, 0);
    const struct target t = {.clustered = clustered};
    bool ok = read(FIELDS_STORED, buffer_bytes(&text), &t, c, error);
    buffer_deinit(&text);
    return ok;
}

bool stream_config_is_understood(json_t *o)
{
    struct stream_config config;
    struct js_error error;
    bool ok = stream_config_parse(o, true, &config, &error);
    if (ok) {
        stream_config_deinit(&config);
    }
    return ok;
}

json_t *stream_config_json(const struct stream_config *c, bool for_clients)
{
    json_t *o = fields_json(&stream_fields, c, !for_clients);
    if (for_clients) {
        config_put_required(json_object_get(o, "metadata"));
    }
    return o;
}

bool stream_config_equal(const struct stream_config *a, const struct stream_config *b)
{
    return fields_equal(&stream_fields, a, b);
}

bool stream_config_check_update(const struct stream_config *old, const struct stream_config *new,
                                struct js_error *error)
{
    return fields_check_update(&stream_fields, old, new, JS_STREAM_CONFIG, error);
}

bool stream_config_check_place(const struct stream_config *old, const struct stream_config *new,
                               struct js_error *error)
{
    return fields_equal(&placement_fields, &old->placement, &new->placement) ||
           js_unsupported(error, "moving an existing stream");
}
