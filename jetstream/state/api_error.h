/* api_error: what JetStream tells a client: code, err_code and text. Source: nats-server 2.15's
 * error table. Numbers and texts are part of the API: clients match on them. */
#ifndef JETSTREAM_STATE_API_ERROR_H
#define JETSTREAM_STATE_API_ERROR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"

enum js_err {
    JS_OK = 0,
    JS_ACCOUNT_RESOURCES = 10002,
    JS_BAD_REQUEST = 10003,
    JS_NO_PEERS = 10005,
    JS_NOT_AVAILABLE = 10008,
    JS_NOT_LEADER = 10009,
    JS_CLUSTER_REQUIRED = 10010,
    JS_CONSUMER_CREATE = 10012,
    JS_CONSUMER_NAME_EXISTS = 10013,
    JS_CONSUMER_NOT_FOUND = 10014,
    JS_CONSUMER_DURABLE_TOKENS = 10016,
    JS_CONSUMER_DURABLE_MISMATCH = 10017,
    JS_CONSUMER_DURABLE_MISSING = 10018,
    JS_EPHEMERAL_WITH_DURABLE = 10020,
    JS_INSUFFICIENT_RESOURCES = 10023,
    JS_INVALID_JSON = 10025,
    JS_MAX_CONSUMERS = 10026,
    JS_MEMORY_RESOURCES = 10028,
    JS_NO_MESSAGE = 10037,
    JS_NOT_EMPTY_REQUEST = 10038,
    JS_NOT_ENABLED_FOR_ACCOUNT = 10039,
    JS_SEQUENCE_NOT_FOUND = 10043,
    JS_SERVER_NOT_MEMBER = 10044,
    JS_STORAGE_RESOURCES = 10047,
    JS_STREAM_CONFIG = 10052,
    JS_MESSAGE_TOO_BIG = 10054,
    JS_NAME_MISMATCH = 10056,
    JS_MESSAGE_DELETE = 10057,
    JS_STREAM_NAME_EXISTS = 10058,
    JS_STREAM_NOT_FOUND = 10059,
    JS_EXPECTED_STREAM = 10060,
    JS_SUBJECT_OVERLAP = 10065,
    JS_WRONG_LAST_MSG_ID = 10070,
    JS_WRONG_LAST_SEQ = 10071,
    JS_REPLICAS_UNCLUSTERED = 10074,
    JS_NOT_ENABLED = 10076,
    JS_STORE_FAILED = 10077,
    JS_PULL_RATE_LIMIT = 10086,
    JS_PULL_HEARTBEAT = 10088,
    JS_PULL_FLOW_CONTROL = 10089,
    JS_DELIVER_POLICY = 10094,
    JS_HEADER_TOO_LARGE = 10097,
    JS_DURABLE_TOO_LONG = 10102,
    JS_DESCRIPTION_TOO_LONG = 10107,
    JS_SEALED = 10109,
    JS_PURGE_DENIED = 10110,
    JS_ROLLUP = 10111,
    JS_BACKOFF_TOO_LONG = 10116,
    JS_MAX_EXPIRES_SHORT = 10115,
    JS_STREAM_OFFLINE = 10118,
    JS_MAX_ACK_PENDING = 10121,
    JS_CONSUMER_REPLICAS = 10126,
    JS_CONSUMER_SEPARATORS = 10127,
    JS_STREAM_SEPARATORS = 10128,
    JS_FILTER_MISMATCH = 10131,
    JS_NAMES_DIFFER = 10132,
    JS_REPLICAS_NEGATIVE = 10133,
    JS_METADATA_LENGTH = 10135,
    JS_FILTERS_BOTH = 10136,
    JS_FILTERS_IN_SUBJECT = 10137,
    JS_FILTERS_OVERLAP = 10138,
    JS_FILTER_EMPTY = 10139,
    JS_CONSUMER_EXISTS = 10148,
    JS_CONSUMER_MISSING = 10149,
    JS_PEDANTIC = 10157,
    JS_DUPLICATE_IN_PROCESS = 10158,
    JS_TTL_DISABLED = 10166,
    JS_TOO_MANY = 10167,
    JS_COUNTER_DISABLED = 10168,
    JS_ATOMIC_DISABLED = 10174,
    JS_ACK_WAIT_NEGATIVE = 10183,
    JS_BACKOFF_NEGATIVE = 10184,
    JS_REQUIRED_LEVEL = 10185,
    JS_SCHEDULES_DISABLED = 10188,
    JS_STREAM_OFFLINE_REASON = 10194,
    JS_BATCH_DISABLED = 10205
};

struct js_error {
    enum js_err err; /* JS_OK: no error */
    char text[256];
};

/* HTTP-like code of an error; its fixed description ("" when the text is always given). */
int js_error_code(enum js_err err);
const char *js_error_text(enum js_err err);
/* Fills in the fixed text, or the one given. Returns false, so validators can end with it. */
bool js_fail(struct js_error *error, enum js_err err);
bool js_failf(struct js_error *error, enum js_err err, const char *format, ...) PRINTF_LIKE(3, 4);
/* E10052 with "… is not supported in this version yet": never ignore what somebody asked for. */
bool js_unsupported(struct js_error *error, const char *what);
/* {"code":…,"err_code":…,"description":…} */
json_t *js_error_json(const struct js_error *error);

#endif
