#include "core/base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"

void buffer_deinit(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

void buffer_deinit_secret(struct buffer *b)
{
    if (b->data != NULL) {
        explicit_bzero(b->data, b->cap);
    }
    buffer_deinit(b);
}

bool buffer_try_reserve(struct buffer *b, size_t more)
{
    if (b->cap - b->len >= more) {
        return true;
    }
    if (more > SIZE_MAX / 4 || b->len > SIZE_MAX / 4) {
        return false;
    }
    size_t cap = b->cap == 0 ? 64 : b->cap;
    while (cap - b->len < more) {
        cap *= 2;
    }
    char *data = realloc(b->data, cap);
    if (data == NULL) {
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

char *buffer_reserve(struct buffer *b, size_t more)
{
    CHECK(buffer_try_reserve(b, more));
    return b->data + b->len;
}

void buffer_append(struct buffer *b, const void *bytes, size_t len)
{
    if (len > 0) {
        memcpy(buffer_reserve(b, len), bytes, len);
        b->len += len;
    }
}

void buffer_append_bytes(struct buffer *b, struct bytes bytes)
{
    buffer_append(b, bytes.ptr, bytes.len);
}

void buffer_append_text(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}

void buffer_append_char(struct buffer *b, char c)
{
    buffer_append(b, &c, 1);
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    (void)vsnprintf(buffer_reserve(b, (size_t)len + 1), (size_t)len + 1, format, again);
    va_end(again);
    b->len += (size_t)len;
}

void buffer_consume(struct buffer *b, size_t count)
{
    CHECK(count <= b->len);
    if (count > 0) {
        memmove(b->data, b->data + count, b->len - count);
        b->len -= count;
    }
}

void buffer_put_u8(struct buffer *b, uint8_t v)
{
    buffer_append(b, &v, 1);
}

void buffer_put_u32(struct buffer *b, uint32_t v)
{
    uint8_t raw[4];
    for (int i = 0; i < 4; i++) {
        raw[i] = (uint8_t)(v >> (8 * i));
    }
    buffer_append(b, raw, sizeof raw);
}

void buffer_put_u64(struct buffer *b, uint64_t v)
{
    uint8_t raw[8];
    for (int i = 0; i < 8; i++) {
        raw[i] = (uint8_t)(v >> (8 * i));
    }
    buffer_append(b, raw, sizeof raw);
}

void buffer_put_varint(struct buffer *b, uint64_t v)
{
    uint8_t raw[10];
    size_t len = 0;
    while (v >= 0x80) {
        raw[len++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    raw[len++] = (uint8_t)v;
    buffer_append(b, raw, len);
}

void buffer_put_bytes(struct buffer *b, struct bytes v)
{
    buffer_put_varint(b, v.len);
    buffer_append_bytes(b, v);
}

struct reader reader_make(struct bytes bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.ptr;
    return (struct reader){at, bytes.len == 0 ? at : at + bytes.len, false};
}

struct bytes reader_take(struct reader *r, size_t len)
{
    if (r->bad || (size_t)(r->end - r->at) < len) {
        r->bad = true;
        return BYTES_NONE;
    }
    struct bytes taken = bytes_make(r->at, len);
    if (len > 0) {
        r->at += len;
    }
    return taken;
}

uint8_t reader_u8(struct reader *r)
{
    struct bytes raw = reader_take(r, 1);
    return raw.len == 1 ? (uint8_t)raw.ptr[0] : 0;
}

static uint64_t little_endian(struct bytes raw)
{
    uint64_t v = 0;
    for (size_t i = 0; i < raw.len; i++) {
        v |= (uint64_t)(uint8_t)raw.ptr[i] << (8 * i);
    }
    return v;
}

uint32_t reader_u32(struct reader *r)
{
    return (uint32_t)little_endian(reader_take(r, 4));
}

uint64_t reader_u64(struct reader *r)
{
    return little_endian(reader_take(r, 8));
}

uint64_t reader_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(r);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return r->bad ? 0 : v;
        }
    }
    r->bad = true;
    return 0;
}

int64_t reader_time(struct reader *r)
{
    return time_clamp((int64_t)reader_u64(r));
}

int64_t reader_deadline(struct reader *r)
{
    int64_t due = (int64_t)reader_u64(r);
    return due < 0 || due > TIME_MAX_NS ? TIME_MAX_NS : due;
}

struct bytes reader_bytes(struct reader *r)
{
    uint64_t len = reader_varint(r);
    if (r->bad || len > (uint64_t)(r->end - r->at)) {
        r->bad = true;
        return BYTES_NONE;
    }
    return reader_take(r, (size_t)len);
}
