/* Consumers: the table of what they can be told, and the rules that a table does not say. Source:
 * JetStream consumers reference §1. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/subject/pattern_set.h"
#include "core/subject/subject.h"
#include "jetstream/state/config_internal.h"

#define ACK_WAIT (30 * NS_PER_SEC) /* the default */

/* Where num_replicas is stored, unless it is 0: among what belongs to the server, which versions
 * before 0.4 pass over; a num_replicas they would not understand. */
#define STORED_REPLICAS "_nats.num_replicas"

/* What clients say in more words than it is kept in. */
struct consumer_text {
    struct consumer_config config; /* without `filters` */
    char *durable_name, *filter;
    char **filters;
    uint32_t filter_count;
    uint64_t rate_limit;
    bool flow_control;
    int64_t heartbeat_ns;
};

struct request_text {
    char *stream;
    struct consumer_text config;
    enum consumer_action action;
    bool pedantic;
};

/* --- the table --- */

static const struct word deliver_policies[] = {
    {"all", DELIVER_ALL, false},
    {"last", DELIVER_LAST, false},
    {"new", DELIVER_NEW, false},
    {"by_start_sequence", DELIVER_BY_START_SEQUENCE, false},
    {"by_start_time", DELIVER_BY_START_TIME, false},
    {"undefined", DELIVER_ALL, false},
    {"last_per_subject", -1, true},
    {NULL, 0, false}};
static const struct word ack_policies[] = {{"none", ACK_NONE, false},
                                           {"explicit", ACK_EXPLICIT, false},
                                           {"all", -1, true},
                                           {"flow_control", -1, true},
                                           {NULL, 0, false}};
static const struct word replay_policies[] = {
    {"instant", 0, false}, {"original", 1, true}, {NULL, 0, false}};
static const struct word priority_policies[] = {{"none", 0, false},
                                                {"overflow", 1, true},
                                                {"pinned_client", 1, true},
                                                {"prioritized", 1, true},
                                                {NULL, 0, false}};
static const struct word actions[] = {{"", CONSUMER_CREATE_OR_UPDATE, false},
                                      {"create", CONSUMER_CREATE, false},
                                      {"update", CONSUMER_UPDATE, false},
                                      {NULL, 0, false}};

#define C(member) FIELD_AT(struct consumer_text, config.member)
#define T(member) FIELD_AT(struct consumer_text, member)

/* In the order in which nats-server prints them. */
static const struct field consumer_rows[] = {
    {.name = "durable_name", .kind = FIELD_TEXT, .print = PRINT_SET, T(durable_name)},
    {.name = "name", .kind = FIELD_TEXT, .print = PRINT_SET, C(name)},
    {.name = "description", .kind = FIELD_TEXT, .print = PRINT_SET, C(description)},
    {.name = "deliver_policy",
     .kind = FIELD_WORD,
     .words = deliver_policies,
     .frozen = "deliver policy can not be updated",
     C(deliver)},
    {.name = "opt_start_seq",
     .kind = FIELD_UINT,
     .print = PRINT_SET,
     .frozen = "start sequence can not be updated",
     C(opt_start_seq)},
    {.name = "opt_start_time",
     .kind = FIELD_TIME,
     .print = PRINT_SET,
     .frozen = "start time can not be updated",
     C(opt_start_time)},
    {.name = "ack_policy",
     .kind = FIELD_WORD,
     .words = ack_policies,
     .frozen = "ack policy can not be updated",
     C(ack)},
    {.name = "ack_wait", .kind = FIELD_DURATION, .print = PRINT_SET, C(ack_wait_ns)},
    {.name = "max_deliver",
     .kind = FIELD_INT,
     .go_type = "int",
     .print = PRINT_SET,
     C(max_deliver)},
    {.name = "backoff",
     .kind = FIELD_DURATIONS,
     .print = PRINT_SET,
     C(backoff_ns),
     FIELD_COUNT(struct consumer_text, config.backoff_count)},
    {.name = "filter_subject", .kind = FIELD_TEXT, .print = PRINT_SET, T(filter)},
    {.name = "filter_subjects",
     .kind = FIELD_TEXTS,
     .print = PRINT_SET,
     T(filters),
     FIELD_COUNT(struct consumer_text, filter_count)},
    {.name = "replay_policy",
     .kind = FIELD_WORD,
     .words = replay_policies,
     .unsupported = "\"instant\""},
    {.name = "rate_limit_bps", .kind = FIELD_UINT, .print = PRINT_NEVER, T(rate_limit)},
    {.name = "sample_freq", .kind = FIELD_TEXT},
    {.name = "max_waiting",
     .kind = FIELD_INT,
     .go_type = "int",
     .print = PRINT_SET,
     .frozen = "max waiting can not be updated",
     C(max_waiting)},
    {.name = "max_ack_pending",
     .kind = FIELD_INT,
     .go_type = "int",
     .print = PRINT_SET,
     C(max_ack_pending)},
    {.name = "flow_control", .kind = FIELD_BOOL, .print = PRINT_NEVER, T(flow_control)},
    {.name = "headers_only", .kind = FIELD_BOOL},
    {.name = "max_batch", .kind = FIELD_INT, .go_type = "int", .print = PRINT_SET, C(max_batch)},
    {.name = "max_expires", .kind = FIELD_DURATION, .print = PRINT_SET, C(max_expires_ns)},
    {.name = "max_bytes", .kind = FIELD_INT, .go_type = "int", .print = PRINT_SET, C(max_bytes)},
    {.name = "deliver_subject", .kind = FIELD_TEXT},
    {.name = "deliver_group", .kind = FIELD_TEXT},
    {.name = "idle_heartbeat", .kind = FIELD_DURATION, .print = PRINT_NEVER, T(heartbeat_ns)},
    {.name = "inactive_threshold", .kind = FIELD_DURATION, .unlimited = true},
    {.name = "num_replicas", .kind = FIELD_INT, .go_type = "int", .stored_set = true, C(replicas)},
    {.name = "mem_storage", .kind = FIELD_BOOL},
    {.name = "direct", .kind = FIELD_BOOL},
    {.name = "sourcing", .kind = FIELD_BOOL},
    {.name = "metadata", .kind = FIELD_MAP, C(metadata)},
    {.name = "pause_until", .kind = FIELD_TIME},
    {.name = "priority_groups", .kind = FIELD_TEXTS},
    {.name = "priority_policy",
     .kind = FIELD_WORD,
     .words = priority_policies,
     .word_error = "unknown priority policy: "},
    {.name = "priority_timeout", .kind = FIELD_DURATION, .unlimited = true},
    {0}};
static const struct fields consumer_fields = {"ConsumerConfig", consumer_rows, NULL};

static const struct field request_rows[] = {
    {.name = "stream_name", .kind = FIELD_TEXT, FIELD_AT(struct request_text, stream)},
    {.name = "config",
     .kind = FIELD_OBJECT,
     .table = &consumer_fields,
     FIELD_AT(struct request_text, config)},
    {.name = "action",
     .kind = FIELD_WORD,
     .words = actions,
     .word_error = "unknown consumer action: ",
     FIELD_AT(struct request_text, action)},
    {.name = "pedantic", .kind = FIELD_BOOL, FIELD_AT(struct request_text, pedantic)},
    {0}};
static const struct fields request_fields = {"CreateConsumerRequest", request_rows, NULL};

void consumer_config_deinit(struct consumer_config *c)
{
    free(c->name);
    free(c->description);
    free(c->backoff_ns);
    for (uint32_t i = 0; i < c->filter_count; i++) {
        free(c->filters[i]);
    }
    free(c->filters);
    pattern_set_free(c->filter_set);
    json_decref(c->metadata);
    *c = (struct consumer_config){0};
}

/* --- rules --- */

static bool start_conflict(struct js_error *error, const char *policy, const char *what)
{
    return js_failf(error, JS_DELIVER_POLICY, "consumer delivery policy is deliver %s, but %s",
                    policy, what);
}

static bool check_start(const struct consumer_config *c, struct js_error *error)
{
    static const char *const names[] = {"all", "last", "new", "by start sequence", "by start time"};
    const char *name = names[c->deliver];
    bool seq = c->opt_start_seq > 0;
    bool time = c->opt_start_time.set;
    if (c->deliver == DELIVER_BY_START_SEQUENCE) {
        if (!seq) {
            return start_conflict(error, name, "optional start sequence is not set");
        }
        if (time) {
            return start_conflict(error, name, "optional start time is also set");
        }
        return c->opt_start_seq <= INT64_MAX || /* no stream comes there */
               start_conflict(error, name, "optional start sequence is above 9223372036854775807");
    }
    if (c->deliver == DELIVER_BY_START_TIME) {
        if (!time) {
            return start_conflict(error, name, "optional start time is not set");
        }
        return !seq || start_conflict(error, name, "optional start start sequence is also set");
    }
    if (seq) {
        return start_conflict(error, name, "optional start sequence is also set");
    }
    return !time || start_conflict(error, name, "optional start time is also set");
}

/* What is below the least becomes that. */
static bool refuse_lower(const struct consumer_text *t, struct js_error *error)
{
    const struct consumer_config *c = &t->config;
    const struct {
        int64_t value, least;
        const char *text;
    } rules[] = {{c->max_deliver, -1, "max_deliver must be set to -1"},
                 {c->max_waiting, 0, "max_waiting must not be negative"},
                 {c->max_ack_pending, -1, "max_ack_pending must be set to -1"},
                 {c->max_batch, 0, "max_batch must not be negative"},
                 {c->max_expires_ns, 0, "max_expires must not be negative"},
                 {c->max_bytes, 0, "max_bytes must not be negative"},
                 {t->heartbeat_ns, 0, "idle_heartbeat must not be negative"}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].value < rules[i].least) {
            return js_failf(error, JS_PEDANTIC, "pedantic mode: %s", rules[i].text);
        }
    }
    return true;
}

/* Pedantic clients want to be told of what is not as they said. */
static bool check_pedantic(const struct consumer_text *t, struct js_error *error)
{
    const struct consumer_config *c = &t->config;
    int64_t wait = c->ack_wait_ns == 0 && c->ack == ACK_EXPLICIT ? ACK_WAIT : c->ack_wait_ns;
    if (!refuse_lower(t, error)) {
        return false;
    }
    return c->backoff_count == 0 || c->backoff_ns[0] == wait ||
           js_failf(error, JS_PEDANTIC,
                    "pedantic mode: first backoff value has to equal batch AckWait");
}

static void set_defaults(struct consumer_config *c)
{
    if (c->max_deliver == 0 || c->max_deliver < -1) {
        c->max_deliver = -1;
    }
    if (c->ack == ACK_EXPLICIT && c->ack_wait_ns == 0) {
        c->ack_wait_ns = ACK_WAIT;
    }
    if (c->backoff_count > 0) {
        c->ack_wait_ns = c->backoff_ns[0];
    }
    if (c->ack == ACK_EXPLICIT && c->max_ack_pending == 0) {
        c->max_ack_pending = 1000;
    }
    if (c->max_waiting <= 0) {
        c->max_waiting = 512;
    }
    int64_t *const caps[] = {&c->max_batch, &c->max_expires_ns, &c->max_bytes};
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        *caps[i] = *caps[i] < 0 ? 0 : *caps[i];
    }
    c->max_ack_pending = c->max_ack_pending < -1 ? -1 : c->max_ack_pending;
}

static bool check_times(const struct consumer_config *c, struct js_error *error)
{
    for (uint32_t i = 0; i < c->backoff_count; i++) {
        if (c->backoff_ns[i] < 0) {
            return js_fail(error, JS_BACKOFF_NEGATIVE);
        }
    }
    if (c->ack_wait_ns < 0) {
        return js_fail(error, JS_ACK_WAIT_NEGATIVE);
    }
    return c->max_deliver == -1 || (int64_t)c->backoff_count <= c->max_deliver ||
           js_fail(error, JS_BACKOFF_TOO_LONG);
}

/* What only consumers that push may have, and what pulls are capped by. */
static bool check_pull(const struct consumer_text *t, struct js_error *error)
{
    enum js_err err = t->rate_limit > 0     ? JS_PULL_RATE_LIMIT
                      : t->heartbeat_ns > 0 ? JS_PULL_HEARTBEAT
                      : t->flow_control     ? JS_PULL_FLOW_CONTROL
                      : t->config.max_expires_ns > 0 && t->config.max_expires_ns < NS_PER_MS
                          ? JS_MAX_EXPIRES_SHORT
                          : JS_OK;
    return err == JS_OK || js_fail(error, err);
}

/* Up to so many filters are compared with one by one. */
#define FILTERS_FEW 8

static bool check_filters(struct consumer_config *c, struct js_error *error)
{
    for (uint32_t i = 0; i < c->filter_count; i++) {
        if (c->filters[i][0] == '\0') {
            return js_fail(error, JS_FILTER_EMPTY);
        }
    }
    struct pattern_set *set = pattern_set_new();
    bool valid = true, apart = true;
    for (uint32_t i = 0; i < c->filter_count && valid; i++) {
        struct bytes f = bytes_of(c->filters[i]);
        valid = subject_is_valid(f) && f.len <= PATTERN_BYTES_MAX;
        if (valid) {
            pattern_set_add(set, f);
        }
    }
    for (uint32_t i = 0; i < c->filter_count && valid && apart; i++) {
        apart = pattern_set_covering(set, bytes_of(c->filters[i]), 2) == 1; /* itself */
    }
    if (valid && apart && c->filter_count > FILTERS_FEW) {
        c->filter_set = set;
    } else {
        pattern_set_free(set);
    }
    return !valid ? js_failf(error, JS_STREAM_CONFIG, "invalid subject")
                  : apart || js_fail(error, JS_FILTERS_OVERLAP);
}

static bool check_replicas(const struct consumer_config *c, const struct consumer_subject *s,
                           struct js_error *error)
{
    enum js_err err = c->replicas > 0 && c->replicas > s->replicas ? JS_CONSUMER_REPLICAS
                      : c->replicas < 0                            ? JS_REPLICAS_NEGATIVE
                                                                   : JS_OK;
    return err == JS_OK || js_fail(error, err);
}

/* In the order of consumers reference §1.2. `s`: NULL: not from a request. */
static bool check_consumer(struct consumer_text *t, const struct consumer_subject *s,
                           struct js_error *error)
{
    struct consumer_config *c = &t->config;
    if ((s != NULL && !check_replicas(c, s, error)) || !check_times(c, error)) {
        return false;
    }
    if (c->description != NULL && strlen(c->description) > 4096) {
        return js_fail(error, JS_DESCRIPTION_TOO_LONG);
    }
    if (!check_pull(t, error)) {
        return false;
    }
    if (t->filter != NULL && t->filter_count > 0) {
        return js_fail(error, JS_FILTERS_BOTH);
    }
    if (!check_filters(c, error) || !check_start(c, error)) {
        return false;
    }
    if (config_metadata_bytes(c->metadata) > METADATA_MAX) {
        return js_fail(error, JS_METADATA_LENGTH);
    }
    return s == NULL || c->replicas == 0 || c->replicas == s->replicas ||
           js_unsupported(error, "num_replicas below the stream's");
}

/* From the words to what is kept, all of which is taken. */
static bool take(struct consumer_text *t, const struct consumer_subject *s, bool pedantic,
                 struct consumer_config *config, struct js_error *error)
{
    struct consumer_config *c = &t->config;
    c->filter_was_list = t->filter_count > 0;
    c->filters = t->filters;
    c->filter_count = t->filter_count;
    if (t->filter != NULL && t->filter_count == 0) {
        free(c->filters);
        c->filters = mem_zalloc(sizeof *c->filters);
        c->filters[c->filter_count++] = mem_strdup(t->filter);
    }
    if (t->durable_name != NULL) {
        free(c->name);
        c->name = mem_strdup(t->durable_name);
        c->durable = true;
    }
    bool ok = !pedantic || check_pedantic(t, error);
    set_defaults(c);
    ok = ok && check_consumer(t, s, error);
    free(t->durable_name);
    free(t->filter);
    *config = *c;
    *t = (struct consumer_text){0};
    if (!ok) {
        consumer_config_deinit(config);
    }
    return ok;
}

/* Consumers reference §1.1. The subject's name is the consumer's. */
static bool check_names(const struct consumer_subject *s, struct request_text *t,
                        struct js_error *error)
{
    struct consumer_text *c = &t->config;
    if (t->stream == NULL || strcmp(t->stream, s->stream) != 0) {
        return js_fail(error, JS_NAME_MISMATCH);
    }
    const char *name = s->consumer != NULL ? s->consumer : c->config.name;
    if (name != NULL && strpbrk(name, "/\\") != NULL) {
        return js_fail(error, JS_CONSUMER_SEPARATORS);
    }
    if (s->durable_form && c->durable_name == NULL) {
        return js_fail(error, JS_CONSUMER_DURABLE_MISSING);
    }
    if (s->consumer == NULL && c->durable_name != NULL) {
        return js_fail(error, JS_EPHEMERAL_WITH_DURABLE);
    }
    if (c->durable_name != NULL && strcmp(c->durable_name, s->consumer) != 0) {
        return js_fail(error, JS_CONSUMER_DURABLE_MISMATCH);
    }
    if (s->filter != NULL && c->filter_count > 0) {
        return js_fail(error, JS_FILTERS_IN_SUBJECT);
    }
    if (s->filter != NULL && (c->filter == NULL || strcmp(c->filter, s->filter) != 0)) {
        return js_fail(error, JS_FILTER_MISMATCH);
    }
    if (!s->clustered && c->config.replicas > 1) {
        return js_fail(error, JS_REPLICAS_UNCLUSTERED);
    }
    if (s->replicas == 0) {
        return js_fail(error, JS_STREAM_NOT_FOUND);
    }
    if (c->durable_name == NULL) {
        return js_unsupported(error, "a consumer without durable_name (ephemeral)");
    }
    if (!js_name_is_valid(bytes_of(c->durable_name))) {
        return js_failf(error, JS_STREAM_CONFIG, "consumer durable name " JS_NAME_RULE);
    }
    return strlen(c->durable_name) <= JS_NAME_MAX || js_fail(error, JS_DURABLE_TOO_LONG);
}

static int stored_replicas(const json_t *o)
{
    uint64_t replicas = 0;
    const char *text = json_text(json_object_get(o, "metadata"), STORED_REPLICAS);
    return bytes_to_u64(bytes_of(text), &replicas) && replicas <= INT32_MAX ? (int)replicas : 0;
}

static void store_replicas(json_t *o, int replicas)
{
    char text[12];
    (void)snprintf(text, sizeof text, "%d", replicas);
    json_put_text(json_object_get(o, "metadata"), STORED_REPLICAS, text);
    (void)json_object_del(o, "num_replicas");
}

bool consumer_config_parse(json_t *o, struct consumer_config *config, struct js_error *error)
{
    struct consumer_text t = {0};
    struct buffer text = {0};
    *config = (struct consumer_config){0};
    json_write(&text, o, 0);
    bool ok = fields_read(&consumer_fields, FIELDS_STORED, buffer_bytes(&text), &t, error) &&
              take(&t, NULL, false, config, error);
    fields_deinit(&consumer_fields, &t);
    buffer_deinit(&text);
    if (ok && config->replicas == 0) {
        config->replicas = stored_replicas(o);
    }
    return ok;
}

bool consumer_config_read(struct bytes text, const struct consumer_subject *subject,
                          struct consumer_config *config, enum consumer_action *action,
                          struct js_error *error)
{
    struct request_text t = {0};
    *config = (struct consumer_config){0};
    bool known = fields_read(&request_fields, FIELDS_REQUEST, text, &t, error);
    struct js_error names = {0};
    if (!known && error->err == JS_STREAM_CONFIG && !check_names(subject, &t, &names) &&
        names.err != JS_STREAM_CONFIG) {
        *error = names; /* before what is not supported: nats-server supports it */
    }
    bool ok = known && check_names(subject, &t, error) &&
              take(&t.config, subject, t.pedantic, config, error);
    *action = t.action;
    fields_deinit(&request_fields, &t);
    return ok;
}

/* In clients' words; borrows all of it. */
static struct consumer_text in_words(const struct consumer_config *c)
{
    struct consumer_text t = {.config = *c, .durable_name = c->durable ? c->name : NULL};
    if (c->filter_count == 1 && !c->filter_was_list) {
        t.filter = c->filters[0];
    } else {
        t.filters = c->filters;
        t.filter_count = c->filter_count;
    }
    return t;
}

json_t *consumer_config_json(const struct consumer_config *c, bool for_clients)
{
    struct consumer_text t = in_words(c);
    json_t *o = fields_json(&consumer_fields, &t, !for_clients);
    if (for_clients) {
        config_put_required(json_object_get(o, "metadata"));
    } else if (c->replicas != 0) {
        store_replicas(o, c->replicas);
    }
    return o;
}

bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b)
{
    struct consumer_text x = in_words(a), y = in_words(b);
    return fields_equal(&consumer_fields, &x, &y);
}

bool consumer_config_check_update(const struct consumer_config *old,
                                  const struct consumer_config *new, struct js_error *error)
{
    struct consumer_text x = in_words(old), y = in_words(new);
    return fields_check_update(&consumer_fields, &x, &y, JS_CONSUMER_CREATE, error);
}
