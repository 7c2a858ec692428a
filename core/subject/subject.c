#include "core/subject/subject.h"

static bool is_star(struct bytes token)
{
    return token.len == 1 && token.ptr[0] == '*';
}

static bool is_rest(struct bytes token)
{
    return token.len == 1 && token.ptr[0] == '>';
}

bool subject_is_valid(struct bytes subject)
{
    if (subject.len == 0) {
        return false;
    }
    for (size_t i = 0; i < subject.len; i++) {
        if ((unsigned char)subject.ptr[i] <= ' ' || subject.ptr[i] == 0x7f) {
            return false;
        }
    }
    struct bytes rest = subject;
    struct bytes token;
    while (bytes_token(&rest, '.', &token)) {
        if (token.len == 0 || (is_rest(token) && rest.ptr != NULL)) {
            return false;
        }
    }
    return true;
}

bool subject_has_wildcard(struct bytes subject)
{
    struct bytes rest = subject;
    struct bytes token;
    while (bytes_token(&rest, '.', &token)) {
        if (is_star(token) || is_rest(token)) {
            return true;
        }
    }
    return false;
}

bool subject_is_literal(struct bytes subject)
{
    return subject_is_valid(subject) && !subject_has_wildcard(subject);
}

bool subject_matches(struct bytes pattern, struct bytes subject)
{
    struct bytes p;
    struct bytes s;
    while (bytes_token(&pattern, '.', &p)) {
        if (!bytes_token(&subject, '.', &s)) {
            return false;
        }
        if (is_rest(p) && pattern.ptr == NULL) {
            return true;
        }
        if (!is_star(p) && !bytes_eq(p, s)) {
            return false;
        }
    }
    return subject.ptr == NULL;
}

bool subject_covers(struct bytes pattern, struct bytes part)
{
    struct bytes p;
    struct bytes s;
    while (bytes_token(&pattern, '.', &p)) {
        if (!bytes_token(&part, '.', &s)) {
            return false;
        }
        if (is_rest(p)) {
            return true;
        }
        if (is_rest(s) || (is_star(s) && !is_star(p))) {
            return false;
        }
        if (!is_star(p) && !bytes_eq(p, s)) {
            return false;
        }
    }
    return part.ptr == NULL;
}

bool subject_overlaps(struct bytes a, struct bytes b)
{
    struct bytes x;
    struct bytes y;
    for (;;) {
        bool more_a = bytes_token(&a, '.', &x);
        bool more_b = bytes_token(&b, '.', &y);
        if (!more_a || !more_b) {
            return more_a == more_b;
        }
        if (is_rest(x) || is_rest(y)) {
            return true;
        }
        if (!is_star(x) && !is_star(y) && !bytes_eq(x, y)) {
            return false;
        }
    }
}

unsigned subject_token_count(struct bytes subject)
{
    unsigned count = 1;
    for (size_t i = 0; i < subject.len; i++) {
        count += subject.ptr[i] == '.';
    }
    return count;
}
