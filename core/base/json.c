#include "core/base/json.h"

#include <malloc.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/utf8.h"

static void wipe_and_free(void *p)
{
    if (p != NULL) {
        explicit_bzero(p, malloc_usable_size(p));
        free(p);
    }
}

void json_wipe_freed(void)
{
    json_set_alloc_funcs(malloc, wipe_and_free);
}

json_t *json_parse(struct bytes text, json_error_t *reason)
{
    if (text.len > (1u << 20)) {
        *reason = (json_error_t){.text = "document too large"};
        return NULL;
    }
    return json_loadb(text.ptr, text.len, 0, reason);
}

json_t *json_read(struct bytes text)
{
    json_error_t reason;
    return text.len == 0 ? NULL : json_loadb(text.ptr, text.len, JSON_DECODE_ANY, &reason);
}

static int append_escaped(const char *text, size_t len, void *out)
{
    struct buffer *b = out;
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        const char *escape = text[i] == '<'   ? "\\u003c"
                             : text[i] == '>' ? "\\u003e"
                             : text[i] == '&' ? "\\u0026"
                                              : NULL;
        if (escape != NULL) {
            buffer_append(b, text + from, i - from);
            buffer_append_text(b, escape);
            from = i + 1;
        }
    }
    buffer_append(b, text + from, len - from);
    return 0;
}

void json_write(struct buffer *out, const json_t *value, int indent)
{
    size_t flags = JSON_ENCODE_ANY | (indent > 0 ? JSON_INDENT((size_t)indent) : JSON_COMPACT);
    (void)json_dump_callback(value, append_escaped, out, flags);
}

void json_write_within(struct buffer *out, const json_t *value, int indent, int margin)
{
    struct buffer text = {0};
    json_write(&text, value, indent);
    struct bytes rest = buffer_bytes(&text);
    for (const char *end; (end = memchr(rest.ptr, '\n', rest.len)) != NULL;) {
        size_t line = (size_t)(end - rest.ptr) + 1; /* in strings it is escaped */
        buffer_append(out, rest.ptr, line);
        memset(buffer_reserve(out, (size_t)margin), ' ', (size_t)margin);
        out->len += (size_t)margin;
        rest = bytes_skip(rest, line);
    }
    buffer_append_bytes(out, rest);
    buffer_deinit(&text);
}

void json_write_open(struct buffer *out, const json_t *object, int indent, int margin)
{
    CHECK(json_object_size(object) > 0);
    json_write_within(out, object, indent, margin);
    CHECK(out->data[out->len - 1] == '}');
    for (out->len--; out->data[out->len - 1] == ' ' || out->data[out->len - 1] == '\n';) {
        out->len--;
    }
}

/* Bytes that are no UTF-8 (jansson refuses them) become U+FFFD, each, as with Go's encoder. */
static json_t *repaired(struct bytes value)
{
    struct buffer text = {0};
    while (value.len > 0) {
        size_t good = utf8_sequence(value);
        buffer_append_bytes(&text,
                            good > 0 ? bytes_make(value.ptr, good) : BYTES_LIT("\xef\xbf\xbd"));
        value = bytes_skip(value, good > 0 ? good : 1);
    }
    json_t *string = json_stringn(text.data, text.len);
    buffer_deinit(&text);
    return string;
}

json_t *json_bytes(struct bytes value)
{
    json_t *text = json_stringn(value.ptr == NULL ? "" : value.ptr, value.len);
    return text != NULL ? text : repaired(value);
}

void json_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set(object, key, value) != 0) { /* the key is no UTF-8 */
        json_t *text = json_bytes(bytes_of(key));
        (void)json_object_set(object, json_string_value(text), value);
        json_decref(text);
    }
    json_decref(value);
}

void json_put_int(json_t *object, const char *key, int64_t value)
{
    json_put(object, key, json_integer(value));
}

void json_put_u64(json_t *object, const char *key, uint64_t value)
{
    json_put(object, key, json_integer((json_int_t)value));
}

void json_put_text(json_t *object, const char *key, const char *value)
{
    if (value != NULL) {
        json_put(object, key, json_bytes(bytes_of(value)));
    }
}

void json_put_bytes(json_t *object, const char *key, struct bytes value)
{
    json_put(object, key, json_bytes(value));
}

void json_write_text(struct buffer *out, const char *value)
{
    json_t *text = json_bytes(bytes_of(value));
    json_write(out, text, 0);
    json_decref(text);
}

void json_put_bool(json_t *object, const char *key, bool value)
{
    json_put(object, key, json_boolean(value));
}

void json_put_time(json_t *object, const char *key, int64_t ns)
{
    char text[CLOCK_RFC3339_MAX];
    clock_format_rfc3339(ns, text);
    json_put_text(object, key, text);
}

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

int64_t json_int(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

bool json_bool(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}
