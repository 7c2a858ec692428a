/* The digest by which two configurations are compared: SHA-256 over the tree as compact JSON with
 * sorted keys, as Go's encoder prints it, and a newline. Configuration reference §7. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/base/utf8.h"
#include "core/config/conf.h"
#include "core/base/buffer.h"

static void put_string(struct buffer *out, struct bytes text)
{
    static const char plain[] = "\"\\\n\r\t\b\f";
    static const char escaped[] = "\"\\nrtbf";
    buffer_append_char(out, '"');
    while (text.len > 0) {
        unsigned char c = (unsigned char)text.ptr[0];
        const char *known = c == 0 ? NULL : strchr(plain, c);
        size_t len = utf8_sequence(text);
        if (known != NULL) {
            buffer_printf(out, "\\%c", escaped[known - plain]);
        } else if (c < 0x20 || c == '<' || c == '>' || c == '&') {
            buffer_printf(out, "\\u%04x", c);
        } else if (len == 0) {
            buffer_append_text(out, "\\ufffd");
        } else if (len == 3 && memcmp(text.ptr, "\xe2\x80", 2) == 0 &&
                   ((unsigned char)text.ptr[2] & 0xfe) == 0xa8) {
            buffer_printf(out, "\\u20%02x", 0x28 + ((unsigned char)text.ptr[2] & 1));
        } else {
            buffer_append(out, text.ptr, len);
        }
        text = bytes_skip(text, len == 0 ? 1 : len);
    }
    buffer_append_char(out, '"');
}

/* The shortest text that reads back as the same number. */
static void put_real(struct buffer *out, double value)
{
    char text[64];
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    buffer_append_text(out, text);
}

static int by_key(const void *a, const void *b)
{
    const struct conf_member *const *x = a;
    const struct conf_member *const *y = b;
    return bytes_cmp((*x)->key, (*y)->key);
}

static void put_value(struct buffer *out, const struct conf_value *v)
{
    const struct conf_member **sorted = mem_alloc((v->count + 1u) * sizeof *sorted);
    switch (v->type) {
    case CONF_STRING:
        put_string(out, v->text);
        break;
    case CONF_INT:
        buffer_printf(out, "%lld", (long long)v->integer);
        break;
    case CONF_FLOAT:
        put_real(out, v->real);
        break;
    case CONF_BOOL:
        buffer_append_text(out, v->integer != 0 ? "true" : "false");
        break;
    case CONF_ARRAY:
        buffer_append_char(out, '[');
        for (uint32_t i = 0; i < v->count; i++) {
            buffer_append_text(out, i > 0 ? "," : "");
            put_value(out, &v->members[i].value);
        }
        buffer_append_char(out, ']');
        break;
    case CONF_MAP:
        for (uint32_t i = 0; i < v->count; i++) {
            sorted[i] = &v->members[i];
        }
        qsort(sorted, v->count, sizeof *sorted, by_key);
        buffer_append_char(out, '{');
        for (uint32_t i = 0; i < v->count; i++) {
            buffer_append_text(out, i > 0 ? "," : "");
            put_string(out, sorted[i]->key);
            buffer_append_char(out, ':');
            put_value(out, &sorted[i]->value);
        }
        buffer_append_char(out, '}');
        break;
    }
    free(sorted);
}

void conf_digest(const struct conf *conf, char hex[65])
{
    struct buffer text = {0};
    uint8_t digest[32];
    put_value(&text, conf_root(conf));
    buffer_append_char(&text, '\n');
    hash_sha256(buffer_bytes(&text), digest);
    for (int i = 0; i < 32; i++) {
        (void)snprintf(hex + (ptrdiff_t)2 * i, 3, "%02x", digest[i]);
    }
    buffer_deinit(&text);
}
