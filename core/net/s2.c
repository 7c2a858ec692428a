#include "core/net/s2.h"

#include <snappy-c.h>

#include "core/base/hash.h"
#include "core/base/mem.h"

/* A chunk:  u8 type · u24 length of the rest · rest
 *
 *   00  u32 masked CRC-32C of the decoded bytes · compressed block
 *   01  u32 masked CRC-32C · the bytes themselves
 *   80–fe  to be skipped; 02–7f  not known: an error
 *   ff  the identifier                                          (all little endian) */
enum { CHUNK_COMPRESSED = 0, CHUNK_PLAIN = 1, CHUNK_SKIPPABLE = 0x80, CHUNK_IDENTIFIER = 0xff };
#define HEADER_LEN  4
#define CRC_LEN     4
#define WRITE_BLOCK (64u << 10)
/* A compressed chunk is longer than what it decodes to by a little at most. */
#define CHUNK_MAX (S2_BLOCK_MAX + S2_BLOCK_MAX / 6 + 64)

static const char identifier[] = "\xff\x06\0\0S2sTwO";
#define IDENTIFIER_LEN (sizeof identifier - 1)

static uint32_t masked_crc(struct bytes b)
{
    uint32_t crc = hash_crc32c(0, b.ptr, b.len);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* --- blocks --- */

struct block {
    const uint8_t *at, *end;
    uint8_t *out;
    size_t len, cap; /* decoded so far; what the block says it decodes to */
    uint32_t last_offset;
};

static uint32_t take_le(struct block *b, unsigned bytes, bool *ok)
{
    if ((size_t)(b->end - b->at) < bytes) {
        *ok = false;
        return 0;
    }
    uint32_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint32_t)b->at[i] << (8 * i);
    }
    b->at += bytes;
    return v;
}

static bool literal(struct block *b, uint8_t tag)
{
    bool ok = true;
    size_t len = (size_t)(tag >> 2) + 1;
    if (len > 60) {
        len = (size_t)take_le(b, (unsigned)len - 60, &ok) + 1;
    }
    if (!ok || len > (size_t)(b->end - b->at) || len > b->cap - b->len) {
        return false;
    }
    memcpy(b->out + b->len, b->at, len);
    b->at += len;
    b->len += len;
    return true;
}

static bool copy(struct block *b, uint32_t offset, size_t len)
{
    if (offset == 0 || offset > b->len || len > b->cap - b->len) {
        return false;
    }
    b->last_offset = offset;
    uint8_t *to = b->out + b->len;
    const uint8_t *from = to - offset;
    for (size_t i = 0; i < len; i++) { /* they may overlap: that is how runs are written */
        to[i] = from[i];
    }
    b->len += len;
    return true;
}

/* An offset of 0 in the short form means the last one again, with a longer length. */
static bool repeat(struct block *b, uint8_t tag)
{
    bool ok = true;
    size_t len = (tag >> 2) & 7;
    switch (len) {
    case 5:
        len = 8 + (size_t)take_le(b, 1, &ok);
        break;
    case 6:
        len = 260 + (size_t)take_le(b, 2, &ok);
        break;
    case 7:
        len = 65540 + (size_t)take_le(b, 3, &ok);
        break;
    default:
        len += 4;
        break;
    }
    return ok && copy(b, b->last_offset, len);
}

static bool next_element(struct block *b)
{
    bool ok = true;
    uint8_t tag = *b->at++;
    uint32_t offset;
    switch (tag & 3) {
    case 0:
        return literal(b, tag);
    case 1:
        offset = (uint32_t)(tag >> 5) << 8 | take_le(b, 1, &ok);
        return ok && (offset == 0 ? repeat(b, tag) : copy(b, offset, 4 + ((tag >> 2) & 7)));
    case 2:
        offset = take_le(b, 2, &ok);
        return ok && copy(b, offset, (size_t)(tag >> 2) + 1);
    default:
        offset = take_le(b, 4, &ok);
        return ok && copy(b, offset, (size_t)(tag >> 2) + 1);
    }
}

/* Appends the decoded block. */
static enum err decode_block(struct bytes in, struct buffer *out)
{
    struct reader r = reader_make(in);
    uint64_t len = reader_varint(&r);
    if (r.bad || len > S2_BLOCK_MAX) {
        return ERR_CORRUPT;
    }
    if (!buffer_try_reserve(out, (size_t)len + 1)) {
        return ERR_NOMEM;
    }
    struct block b = {
        .at = r.at, .end = r.end, .out = (uint8_t *)out->data + out->len, .cap = (size_t)len};
    while (b.at < b.end) {
        if (!next_element(&b)) {
            return ERR_CORRUPT;
        }
    }
    out->len += b.len;
    return b.len == b.cap ? OK : ERR_CORRUPT;
}

/* --- reading --- */

static size_t chunk_length(const char *p)
{
    return (uint8_t)p[1] | (size_t)(uint8_t)p[2] << 8 | (size_t)(uint8_t)p[3] << 16;
}

static enum err data_chunk(uint8_t type, struct bytes body, struct buffer *out)
{
    struct reader r = reader_make(body);
    uint32_t crc = reader_u32(&r);
    size_t before = out->len;
    if (r.bad) {
        return ERR_CORRUPT;
    }
    struct bytes data = bytes_skip(body, CRC_LEN);
    enum err err = OK;
    if (type == CHUNK_COMPRESSED) {
        err = decode_block(data, out);
    } else if (buffer_try_reserve(out, data.len + 1)) {
        buffer_append_bytes(out, data);
    } else {
        err = ERR_NOMEM;
    }
    if (err == OK && masked_crc(bytes_make(out->data + before, out->len - before)) != crc) {
        err = ERR_CORRUPT;
    }
    return err;
}

static enum err take_chunk(struct s2_reader *r, const char *chunk, size_t len, struct buffer *out)
{
    uint8_t type = (uint8_t)chunk[0];
    struct bytes body = bytes_make(chunk + HEADER_LEN, len - HEADER_LEN);
    if (type == CHUNK_IDENTIFIER) {
        r->identified = bytes_is(body, "S2sTwO") || bytes_is(body, "sNaPpY");
        return r->identified ? OK : ERR_CORRUPT;
    }
    if (!r->identified) {
        return ERR_CORRUPT;
    }
    if (type == CHUNK_COMPRESSED || type == CHUNK_PLAIN) {
        return data_chunk(type, body, out);
    }
    return type >= CHUNK_SKIPPABLE ? OK : ERR_CORRUPT;
}

/* Moves bytes of the input to the unfinished chunk. True when it is whole then. */
static bool complete(struct s2_reader *r, struct bytes *in, enum err *err)
{
    for (;;) {
        size_t needed = HEADER_LEN;
        if (r->partial.len >= HEADER_LEN) {
            needed += chunk_length(r->partial.data);
        }
        if (needed > CHUNK_MAX) {
            *err = ERR_CORRUPT;
            return false;
        }
        if (r->partial.len >= HEADER_LEN && r->partial.len == needed) {
            return true;
        }
        size_t missing = needed - r->partial.len;
        size_t more = missing < in->len ? missing : in->len;
        if (more == 0) {
            return false;
        }
        if (!buffer_try_reserve(&r->partial, more)) {
            *err = ERR_NOMEM;
            return false;
        }
        buffer_append(&r->partial, in->ptr, more);
        *in = bytes_skip(*in, more);
    }
}

/* The first byte tells plain text from a stream, long before what it says is the length. */
static bool begins_wrong(const struct s2_reader *r, struct bytes in)
{
    struct bytes start = r->partial.len > 0 ? buffer_bytes(&r->partial) : in;
    return start.len > 0 && !r->identified && (uint8_t)start.ptr[0] != CHUNK_IDENTIFIER;
}

enum err s2_read(struct s2_reader *r, struct bytes *in, struct buffer *out)
{
    enum err err = OK;
    while (out->len == 0 && err == OK) {
        if (begins_wrong(r, *in)) {
            return ERR_CORRUPT;
        }
        size_t len = in->len < HEADER_LEN ? SIZE_MAX : HEADER_LEN + chunk_length(in->ptr);
        if (r->partial.len == 0 && len <= in->len) {
            err = len > CHUNK_MAX ? ERR_CORRUPT : take_chunk(r, in->ptr, len, out);
            *in = bytes_skip(*in, len);
        } else if (complete(r, in, &err)) {
            err = take_chunk(r, r->partial.data, r->partial.len, out);
            buffer_deinit(&r->partial);
        } else {
            break;
        }
    }
    return err;
}

void s2_reader_deinit(struct s2_reader *r)
{
    buffer_deinit(&r->partial);
}

/* --- writing --- */

static void put_header(char *p, uint8_t type, size_t len)
{
    p[0] = (char)type;
    for (int i = 0; i < 3; i++) {
        p[1 + i] = (char)(len >> (8 * i));
    }
}

static void put_chunk(struct bytes plain, bool compress, struct buffer *out)
{
    size_t room = snappy_max_compressed_length(plain.len);
    char *start = buffer_reserve(out, HEADER_LEN + CRC_LEN + (room > plain.len ? room : plain.len));
    char *body = start + HEADER_LEN + CRC_LEN;
    uint32_t crc = masked_crc(plain);
    size_t len = room;
    uint8_t type = CHUNK_COMPRESSED;
    if (!compress || snappy_compress(plain.ptr, plain.len, body, &len) != SNAPPY_OK ||
        len >= plain.len) { /* it does not pay */
        type = CHUNK_PLAIN;
        len = plain.len;
        memcpy(body, plain.ptr, len);
    }
    put_header(start, type, CRC_LEN + len);
    for (int i = 0; i < CRC_LEN; i++) {
        start[HEADER_LEN + i] = (char)(crc >> (8 * i));
    }
    out->len += HEADER_LEN + CRC_LEN + len;
}

void s2_write(struct bytes plain, bool compress, struct buffer *out)
{
    buffer_append(out, identifier, IDENTIFIER_LEN);
    while (plain.len > 0) {
        size_t len = plain.len < WRITE_BLOCK ? plain.len : WRITE_BLOCK;
        put_chunk(bytes_make(plain.ptr, len), compress, out);
        plain = bytes_skip(plain, len);
    }
}
