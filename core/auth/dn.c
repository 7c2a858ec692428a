#include "core/auth/dn.h"

#include <ctype.h>
#include <stdint.h>

#define ATTRIBUTES_MAX 32
#define VALUE_MAX      512

struct attribute {
    uint32_t rdn; /* which one it is part of, from 0 */
    struct bytes type;
    char value[VALUE_MAX];
    size_t value_len;
};

struct dn {
    struct attribute attributes[ATTRIBUTES_MAX];
    uint32_t count;
};

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static struct bytes trim(struct bytes b)
{
    while (b.len > 0 && b.ptr[0] == ' ') {
        b = bytes_skip(b, 1);
    }
    while (b.len > 0 && b.ptr[b.len - 1] == ' ') {
        b.len--;
    }
    return b;
}

/* Reads a value up to an unescaped ',', ';' or '+', which stays in *rest. */
static bool read_value(struct bytes *rest, struct attribute *a)
{
    size_t kept = 0; /* blanks behind it are not part of the value, unless escaped */
    a->value_len = 0;
    while (rest->len > 0 && strchr(",;+", rest->ptr[0]) == NULL) {
        char c = rest->ptr[0];
        bool escaped = c == '\\';
        size_t used = 1;
        if (escaped && rest->len >= 3 && hex_digit(rest->ptr[1]) >= 0 &&
            hex_digit(rest->ptr[2]) >= 0) {
            c = (char)(hex_digit(rest->ptr[1]) << 4 | hex_digit(rest->ptr[2]));
            used = 3;
        } else if (escaped && rest->len >= 2) {
            c = rest->ptr[1];
            used = 2;
        } else if (escaped) {
            return false;
        }
        *rest = bytes_skip(*rest, used);
        if (a->value_len == 0 && c == ' ' && !escaped) {
            continue;
        }
        if (a->value_len == VALUE_MAX) {
            return false;
        }
        a->value[a->value_len++] = c;
        kept = c == ' ' && !escaped ? kept : a->value_len;
    }
    a->value_len = kept;
    return true;
}

static bool parse(struct bytes text, struct dn *dn)
{
    uint32_t rdn = 0;
    dn->count = 0;
    while (text.len > 0) {
        if (dn->count == ATTRIBUTES_MAX) {
            return false;
        }
        struct attribute *a = &dn->attributes[dn->count++];
        const char *equals = memchr(text.ptr, '=', text.len);
        if (equals == NULL) {
            return false;
        }
        a->rdn = rdn;
        a->type = trim(bytes_make(text.ptr, (size_t)(equals - text.ptr)));
        text = bytes_skip(text, (size_t)(equals - text.ptr) + 1);
        bool separated = false;
        for (size_t i = 0; i < a->type.len; i++) {
            separated = separated || strchr(",;+", a->type.ptr[i]) != NULL;
        }
        if (a->type.len == 0 || separated || !read_value(&text, a)) {
            return false;
        }
        if (text.len > 0) {
            rdn += text.ptr[0] != '+';
            text = bytes_skip(text, 1);
            if (text.len == 0) {
                return false; /* a separator with nothing behind it */
            }
        }
    }
    return dn->count > 0;
}

static bool same_attribute(const struct attribute *a, const struct attribute *b)
{
    return bytes_eq_nocase(a->type, b->type) &&
           bytes_eq(bytes_make(a->value, a->value_len), bytes_make(b->value, b->value_len));
}

static uint32_t rdn_size(const struct dn *dn, uint32_t rdn)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < dn->count; i++) {
        n += dn->attributes[i].rdn == rdn;
    }
    return n;
}

/* Do RDN `x` of a and RDN `y` of b hold the same attributes, each as often? */
static bool same_rdn(const struct dn *a, uint32_t x, const struct dn *b, uint32_t y)
{
    if (rdn_size(a, x) != rdn_size(b, y)) {
        return false;
    }
    bool used[ATTRIBUTES_MAX] = {false};
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->attributes[i].rdn != x) {
            continue;
        }
        uint32_t k = 0;
        while (k < b->count && (used[k] || b->attributes[k].rdn != y ||
                                !same_attribute(&a->attributes[i], &b->attributes[k]))) {
            k++;
        }
        if (k == b->count) {
            return false;
        }
        used[k] = true;
    }
    return true;
}

bool dn_equal(struct bytes a_text, struct bytes b_text, bool ordered)
{
    struct dn a, b;
    if (!parse(a_text, &a) || !parse(b_text, &b) || a.count != b.count) {
        return false;
    }
    uint32_t a_rdns = a.attributes[a.count - 1].rdn + 1;
    uint32_t b_rdns = b.attributes[b.count - 1].rdn + 1;
    bool used[ATTRIBUTES_MAX] = {false};
    for (uint32_t x = 0; x < a_rdns; x++) {
        uint32_t y = ordered ? x : 0;
        while (!ordered && y < b_rdns && (used[y] || !same_rdn(&a, x, &b, y))) {
            y++;
        }
        if (y >= b_rdns || (ordered && !same_rdn(&a, x, &b, y))) {
            return false;
        }
        used[y] = true;
    }
    return a_rdns == b_rdns;
}
