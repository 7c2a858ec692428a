#include "jetstream/state/api_error.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/base/json.h"

static const struct {
    enum js_err err;
    int code;
    const char *text;
} table[] = {
    {JS_ACCOUNT_RESOURCES, 400, "resource limits exceeded for account"},
    {JS_BAD_REQUEST, 400, "bad request"},
    {JS_NO_PEERS, 400, "no suitable peers for placement"},
    {JS_NOT_LEADER, 500, "JetStream cluster can not handle request"},
    {JS_NOT_AVAILABLE, 503, "JetStream system temporarily unavailable"},
    {JS_CLUSTER_REQUIRED, 503, "JetStream clustering support required"},
    {JS_CONSUMER_CREATE, 500, "consumer creation failed"},
    {JS_CONSUMER_NAME_EXISTS, 400, "consumer name already in use"},
    {JS_CONSUMER_NOT_FOUND, 404, "consumer not found"},
    {JS_CONSUMER_DURABLE_TOKENS, 400,
     "consumer expected to be durable but no durable name set in subject"},
    {JS_CONSUMER_DURABLE_MISMATCH, 400,
     "consumer name in subject does not match durable name in request"},
    {JS_CONSUMER_DURABLE_MISSING, 400,
     "consumer expected to be durable but a durable name was not set"},
    {JS_EPHEMERAL_WITH_DURABLE, 400,
     "consumer expected to be ephemeral but a durable name was set in request"},
    {JS_INSUFFICIENT_RESOURCES, 503, "insufficient resources"},
    {JS_INVALID_JSON, 400, "invalid JSON"},
    {JS_MAX_CONSUMERS, 400, "maximum consumers limit reached"},
    {JS_MEMORY_RESOURCES, 500, "insufficient memory resources available"},
    {JS_NO_MESSAGE, 404, "no message found"},
    {JS_NOT_EMPTY_REQUEST, 400, "expected an empty request payload"},
    {JS_NOT_ENABLED_FOR_ACCOUNT, 503, "JetStream not enabled for account"},
    {JS_SEQUENCE_NOT_FOUND, 400, "sequence not found"},
    {JS_SERVER_NOT_MEMBER, 400, "server is not a member of the cluster"},
    {JS_STORAGE_RESOURCES, 500, "insufficient storage resources available"},
    {JS_STREAM_CONFIG, 500, ""},
    {JS_MESSAGE_TOO_BIG, 400, "message size exceeds maximum allowed"},
    {JS_NAME_MISMATCH, 400, "stream name in subject does not match request"},
    {JS_MESSAGE_DELETE, 500, ""},
    {JS_STREAM_NAME_EXISTS, 400, "stream name already in use with a different configuration"},
    {JS_STREAM_NOT_FOUND, 404, "stream not found"},
    {JS_EXPECTED_STREAM, 400, "expected stream does not match"},
    {JS_SUBJECT_OVERLAP, 400, "subjects overlap with an existing stream"},
    {JS_WRONG_LAST_MSG_ID, 400, "wrong last msg ID"},
    {JS_WRONG_LAST_SEQ, 400, "wrong last sequence"},
    {JS_REPLICAS_UNCLUSTERED, 500, "replicas > 1 not supported in non-clustered mode"},
    {JS_NOT_ENABLED, 503, "JetStream not enabled"},
    {JS_STORE_FAILED, 503, ""},
    {JS_HEADER_TOO_LARGE, 400, "header size exceeds maximum allowed of 64k"},
    {JS_DURABLE_TOO_LONG, 400, "consumer name is too long, maximum allowed is 255"},
    {JS_DESCRIPTION_TOO_LONG, 400, "consumer description is too long, maximum allowed is 4096"},
    {JS_SEALED, 400, "invalid operation on sealed stream"},
    {JS_PURGE_DENIED, 500, "stream purge not permitted"},
    {JS_ROLLUP, 500, "rollup not permitted"},
    {JS_BACKOFF_TOO_LONG, 400, "max deliver is required to be > length of backoff values"},
    {JS_STREAM_OFFLINE, 500, "stream is offline"},
    {JS_MAX_ACK_PENDING, 400, "consumer max ack pending exceeds system limit"},
    {JS_CONSUMER_REPLICAS, 400, "consumer config replica count exceeds parent stream"},
    {JS_FILTER_MISMATCH, 400,
     "Consumer create request did not match filtered subject from create subject"},
    {JS_NAMES_DIFFER, 400, "Consumer Durable and Name have to be equal if both are provided"},
    {JS_REPLICAS_NEGATIVE, 400, "replicas count cannot be negative"},
    {JS_FILTERS_BOTH, 400, "consumer cannot have both FilterSubject and FilterSubjects specified"},
    {JS_FILTERS_OVERLAP, 400, "consumer subject filters cannot overlap"},
    {JS_FILTER_EMPTY, 400, "consumer filter in FilterSubjects cannot be empty"},
    {JS_CONSUMER_EXISTS, 400, "consumer already exists"},
    {JS_CONSUMER_MISSING, 400, "consumer does not exist"},
    {JS_PEDANTIC, 400, ""},
    {JS_DUPLICATE_IN_PROCESS, 409, "duplicate message id is in process"},
    {JS_TTL_DISABLED, 400, "per-message TTL is disabled"},
    {JS_TOO_MANY, 429, "too many requests"},
    {JS_COUNTER_DISABLED, 400, "message counters is disabled"},
    {JS_ATOMIC_DISABLED, 400, "atomic publish is disabled"},
    {JS_ACK_WAIT_NEGATIVE, 400, "consumer ack wait needs to be positive"},
    {JS_REQUIRED_LEVEL, 412, "JetStream minimum api level required"},
    {JS_PULL_RATE_LIMIT, 400, "consumer in pull mode can not have rate limit set"},
    {JS_PULL_HEARTBEAT, 400, "consumer idle heartbeat requires a push based consumer"},
    {JS_PULL_FLOW_CONTROL, 400, "consumer flow control requires a push based consumer"},
    {JS_DELIVER_POLICY, 400, ""},
    {JS_CONSUMER_SEPARATORS, 400, "Consumer name can not contain path separators"},
    {JS_STREAM_SEPARATORS, 400, "Stream name can not contain path separators"},
    {JS_METADATA_LENGTH, 400, "consumer metadata exceeds maximum size of 128KB"},
    {JS_FILTERS_IN_SUBJECT, 400,
     "consumer with multiple subject filters cannot use subject based API"},
    {JS_BACKOFF_NEGATIVE, 400, "consumer backoff needs to be positive"},
    {JS_BATCH_DISABLED, 400, "batch publish is disabled"},
    {JS_MAX_EXPIRES_SHORT, 400, "consumer max request expires needs to be >= 1ms"},
    {JS_SCHEDULES_DISABLED, 400, "message schedules is disabled"},
    {JS_STREAM_OFFLINE_REASON, 500, ""},
};

int js_error_code(enum js_err err)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].err == err) {
            return table[i].code;
        }
    }
    return 500;
}

const char *js_error_text(enum js_err err)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].err == err) {
            return table[i].text;
        }
    }
    return "";
}

bool js_fail(struct js_error *error, enum js_err err)
{
    return js_failf(error, err, "%s", js_error_text(err));
}

bool js_failf(struct js_error *error, enum js_err err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error->err = err;
    (void)vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return false;
}

bool js_unsupported(struct js_error *error, const char *what)
{
    return js_failf(error, JS_STREAM_CONFIG, "%s is not supported in this version yet", what);
}

json_t *js_error_json(const struct js_error *error)
{
    json_t *o = json_object();
    json_put_int(o, "code", js_error_code(error->err));
    json_put_int(o, "err_code", error->err);
    json_put_text(o, "description", error->text);
    return o;
}
