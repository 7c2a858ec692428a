/* json: jansson, with NATS's ways of printing. Keys keep their insertion order. */
#ifndef CORE_BASE_JSON_H
#define CORE_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "core/base/buffer.h"

/* From now on what jansson frees is overwritten first: a CONNECT has its password there. Once,
 * before anything else of jansson's. */
void json_wipe_freed(void);

/* Parses one object; at most 64 KiB × 16 of text and jansson's own depth limit. On failure returns
 * NULL and *reason (static or inside jansson's error) says why. */
json_t *json_parse(struct bytes text, json_error_t *reason);
/* What json_write() has written, whatever its length: escaping makes it up to six times as long as
 * the text that it came from. NULL: it is something else. */
json_t *json_read(struct bytes text);
/* Compact or indented text, with <, > and & escaped as Go's encoder does (\u003c …). */
void json_write(struct buffer *out, const json_t *value, int indent);
/* The same as a part of what is written elsewhere: all lines but the first begin `margin` further
 * to the right. */
void json_write_within(struct buffer *out, const json_t *value, int indent, int margin);
/* The same of an object with a member at least, without its end: others can be added behind. */
void json_write_open(struct buffer *out, const json_t *object, int indent, int margin);

/* `value` as a JSON string, in its quotes. */
void json_write_text(struct buffer *out, const char *value);
/* A string of any bytes: what is no UTF-8 becomes U+FFFD. */
json_t *json_bytes(struct bytes value);

/* Typed setters, so that call sites read as tables. */
void json_put(json_t *object, const char *key, json_t *value); /* steals value */
void json_put_int(json_t *object, const char *key, int64_t value);
void json_put_u64(json_t *object, const char *key, uint64_t value);
void json_put_text(json_t *object, const char *key, const char *value);
void json_put_bytes(json_t *object, const char *key, struct bytes value);
void json_put_bool(json_t *object, const char *key, bool value);
/* RFC 3339; 0 is NATS's unset time. */
void json_put_time(json_t *object, const char *key, int64_t ns);

/* Text of a member or "" when it is missing or not a string. */
const char *json_text(const json_t *object, const char *key);
int64_t json_int(const json_t *object, const char *key);
bool json_bool(const json_t *object, const char *key);

#endif
