/* bytes: a borrowed run of bytes. Subjects and payloads are not C strings and may hold any byte. */
#ifndef CORE_BASE_BYTES_H
#define CORE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const char *ptr;
    size_t len;
};

#define BYTES_LIT(s) ((struct bytes){(s), sizeof(s) - 1})
#define BYTES_NONE   ((struct bytes){NULL, 0})
/* For printf("%.*s"). */
#define BYTES_ARG(b) (int)(b).len, (b).ptr

static inline struct bytes bytes_make(const void *ptr, size_t len)
{
    return (struct bytes){(const char *)ptr, len};
}

static inline struct bytes bytes_of(const char *text)
{
    return (struct bytes){text, text == NULL ? 0 : strlen(text)};
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool bytes_is(struct bytes a, const char *text)
{
    return bytes_eq(a, bytes_of(text));
}

static inline bool bytes_starts(struct bytes a, struct bytes prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool bytes_ends(struct bytes a, struct bytes suffix)
{
    return a.len >= suffix.len &&
           (suffix.len == 0 || memcmp(a.ptr + (a.len - suffix.len), suffix.ptr, suffix.len) == 0);
}

static inline struct bytes bytes_skip(struct bytes a, size_t count)
{
    return count >= a.len ? BYTES_NONE : (struct bytes){a.ptr + count, a.len - count};
}

/* <0, 0, >0 in byte order; a prefix sorts first. */
int bytes_cmp(struct bytes a, struct bytes b);
bool bytes_eq_nocase(struct bytes a, struct bytes b);
/* Cuts the first token ending at `separator` (or the end) off *rest; false when *rest is used up
 * (ptr == NULL). "a." yields "a" and then an empty token. */
bool bytes_token(struct bytes *rest, char separator, struct bytes *token);
/* 1 to 19 decimal digits and nothing else. */
bool bytes_to_u64(struct bytes a, uint64_t *value);

#endif
