#include "core/base/bytes.h"

#include <strings.h>

int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    if (order != 0) {
        return order;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

bool bytes_eq_nocase(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

bool bytes_token(struct bytes *rest, char separator, struct bytes *token)
{
    if (rest->ptr == NULL) {
        return false;
    }
    const char *end = rest->len == 0 ? NULL : memchr(rest->ptr, separator, rest->len);
    if (end == NULL) {
        *token = *rest;
        *rest = BYTES_NONE;
        return true;
    }
    size_t len = (size_t)(end - rest->ptr);
    *token = bytes_make(rest->ptr, len);
    *rest = bytes_make(end + 1, rest->len - len - 1);
    return true;
}

bool bytes_to_u64(struct bytes a, uint64_t *value)
{
    if (a.len == 0 || a.len > 20) {
        return false;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < a.len; i++) {
        unsigned digit = (unsigned)(unsigned char)a.ptr[i] - '0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    *value = v;
    return true;
}
