/* buffer: bytes that grow at the end. The owner decides how large they may get. */
#ifndef CORE_BASE_BUFFER_H
#define CORE_BASE_BUFFER_H

#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/check.h"

struct buffer {
    char *data; /* owned; NULL while empty and never used */
    size_t len;
    size_t cap;
};

void buffer_deinit(struct buffer *b);
/* Overwrites the bytes first. */
void buffer_deinit_secret(struct buffer *b);
static inline void buffer_clear(struct buffer *b)
{
    b->len = 0;
}
static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return bytes_make(b->data, b->len);
}
/* Room for `more` bytes behind the end; returns where they go. Aborts without memory. */
char *buffer_reserve(struct buffer *b, size_t more);
/* The same, false without memory; for sizes that a peer chooses. */
MUST_USE bool buffer_try_reserve(struct buffer *b, size_t more);
void buffer_append(struct buffer *b, const void *bytes, size_t len);
void buffer_append_bytes(struct buffer *b, struct bytes bytes);
void buffer_append_text(struct buffer *b, const char *text);
void buffer_append_char(struct buffer *b, char c);
void buffer_printf(struct buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);
/* Drops `count` bytes from the front. */
void buffer_consume(struct buffer *b, size_t count);

/* Little-endian integers and LEB128 varints, as used in log records and peer frames. */
void buffer_put_u8(struct buffer *b, uint8_t v);
void buffer_put_u32(struct buffer *b, uint32_t v);
void buffer_put_u64(struct buffer *b, uint64_t v);
void buffer_put_varint(struct buffer *b, uint64_t v);
/* varint length, then the bytes */
void buffer_put_bytes(struct buffer *b, struct bytes v);

/* reader: bounds-checked reading of what buffer_put_ wrote. After a short read `bad` is set and
 * every further result is zero or empty, so a decoder checks once at its end. */
struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};
struct reader reader_make(struct bytes bytes);
uint8_t reader_u8(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
uint64_t reader_varint(struct reader *r);
/* A point in time, written as u64 ns. What is outside of 1970 to TIME_MAX_NS was written by whoever
 * had a wrong clock, and becomes the nearest end. */
int64_t reader_time(struct reader *r);
/* When a wait is over. Before 1970: it was too long for the sum that was written. */
int64_t reader_deadline(struct reader *r);
/* Borrows from the bytes given to reader_make(). */
struct bytes reader_bytes(struct reader *r);
struct bytes reader_take(struct reader *r, size_t len);
static inline bool reader_done(const struct reader *r)
{
    return !r->bad && r->at == r->end;
}

#endif
