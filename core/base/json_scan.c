/* One pass, a byte at a time, with a bit per open object or array: text of any depth costs no
 * stack. The words are those of encoding/json's scanner. */
#include "core/base/json_scan.h"

#include <stdio.h>

#include "core/base/check.h"
#include "core/base/utf8.h"

enum expects {
    A_VALUE,        /* after a colon, or at the beginning */
    A_VALUE_OR_END, /* after [ */
    A_KEY_OR_END,   /* after { */
    A_KEY,          /* after a comma in an object */
    A_COLON,
    A_COMMA_OR_END
};

struct scan {
    struct bytes text; /* all of it */
    size_t at;
    char *error;
    uint32_t depth;
    uint8_t objects[JSON_SCAN_DEPTH_MAX / 8]; /* a bit each: object, else array */
};

enum step { STEP_OK, STEP_SHORT, STEP_BAD };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* `c` as a character literal of Go. */
static void quote_char(unsigned char c, char out[12])
{
    static const char names[] = "abtnvfr"; /* from 7 on */
    if (c == '\'' || c == '\\') {
        (void)snprintf(out, 12, "'\\%c'", c);
    } else if (c >= 7 && c <= 13) {
        (void)snprintf(out, 12, "'\\%c'", names[c - 7]);
    } else if (c < ' ' || c == 0x7f) {
        (void)snprintf(out, 12, "'\\x%02x'", c);
    } else if (c < 0x7f) {
        (void)snprintf(out, 12, "'%c'", c);
    } else if (c <= 0xa0 || c == 0xad) {
        (void)snprintf(out, 12, "'\\u%04x'", c);
    } else {
        (void)snprintf(out, 12, "'%c%c'", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
    }
}

/* The byte at s->at is wrong. */
static enum step bad(struct scan *s, const char *context)
{
    char shown[12];
    quote_char((unsigned char)s->text.ptr[s->at], shown);
    (void)snprintf(s->error, JSON_SCAN_ERROR_MAX, "invalid character %s %s", shown, context);
    return STEP_BAD;
}

static bool more(const struct scan *s)
{
    return s->at < s->text.len;
}

static enum step scan_string(struct scan *s)
{
    for (s->at++; more(s); s->at++) {
        unsigned char c = (unsigned char)s->text.ptr[s->at];
        if (c == '"') {
            s->at++;
            return STEP_OK;
        }
        if (c < ' ') {
            return bad(s, "in string literal");
        }
        if (c != '\\') {
            continue;
        }
        s->at++;
        if (!more(s)) {
            return STEP_SHORT;
        }
        char escape = s->text.ptr[s->at];
        if (escape == '\0' || strchr("bfnrt\\/\"u", escape) == NULL) {
            return bad(s, "in string escape code");
        }
        for (int i = 0; i < 4 && escape == 'u'; i++) {
            s->at++;
            if (!more(s)) {
                return STEP_SHORT;
            }
            char h = s->text.ptr[s->at];
            if (!is_digit(h) && !(h >= 'a' && h <= 'f') && !(h >= 'A' && h <= 'F')) {
                return bad(s, "in \\u hexadecimal character escape");
            }
        }
    }
    return STEP_SHORT;
}

/* One digit at least. */
static enum step scan_digits(struct scan *s, const char *context)
{
    if (!more(s)) {
        return STEP_SHORT;
    }
    if (!is_digit(s->text.ptr[s->at])) {
        return bad(s, context);
    }
    while (more(s) && is_digit(s->text.ptr[s->at])) {
        s->at++;
    }
    return STEP_OK;
}

static enum step scan_number(struct scan *s)
{
    enum step step = STEP_OK;
    if (s->text.ptr[s->at] == '-') {
        s->at++;
    }
    if (more(s) && s->text.ptr[s->at] == '0') {
        s->at++;
    } else {
        step = scan_digits(s, "in numeric literal");
    }
    if (step == STEP_OK && more(s) && s->text.ptr[s->at] == '.') {
        s->at++;
        step = scan_digits(s, "after decimal point in numeric literal");
    }
    if (step == STEP_OK && more(s) && (s->text.ptr[s->at] == 'e' || s->text.ptr[s->at] == 'E')) {
        s->at++;
        if (more(s) && (s->text.ptr[s->at] == '+' || s->text.ptr[s->at] == '-')) {
            s->at++;
        }
        step = scan_digits(s, "in exponent of numeric literal");
    }
    return step;
}

static enum step scan_literal(struct scan *s, const char *literal)
{
    for (size_t i = 1; literal[i] != '\0'; i++) {
        char context[48];
        s->at++;
        if (!more(s)) {
            return STEP_SHORT;
        }
        if (s->text.ptr[s->at] != literal[i]) {
            (void)snprintf(context, sizeof context, "in literal %s (expecting '%c')", literal,
                           literal[i]);
            return bad(s, context);
        }
    }
    s->at++;
    return STEP_OK;
}

static bool in_object(const struct scan *s)
{
    return (s->objects[(s->depth - 1) / 8] >> ((s->depth - 1) % 8) & 1) != 0;
}

static enum step open_nest(struct scan *s, bool object)
{
    if (s->depth == JSON_SCAN_DEPTH_MAX) {
        (void)snprintf(s->error, JSON_SCAN_ERROR_MAX, "exceeded max depth");
        return STEP_BAD;
    }
    uint8_t bit = (uint8_t)(1u << (s->depth % 8));
    uint8_t *byte = &s->objects[s->depth / 8];
    *byte = (uint8_t)(object ? *byte | bit : *byte & ~bit);
    s->depth++;
    s->at++;
    return STEP_OK;
}

/* A value begins: a scalar is passed, of an object or array the opening. */
static enum step begin_value(struct scan *s, enum expects *expects)
{
    char c = s->text.ptr[s->at];
    *expects = A_COMMA_OR_END;
    switch (c) {
    case '{':
        *expects = A_KEY_OR_END;
        return open_nest(s, true);
    case '[':
        *expects = A_VALUE_OR_END;
        return open_nest(s, false);
    case '"':
        return scan_string(s);
    case 't':
        return scan_literal(s, "true");
    case 'f':
        return scan_literal(s, "false");
    case 'n':
        return scan_literal(s, "null");
    default:
        return c == '-' || is_digit(c) ? scan_number(s) : bad(s, "looking for beginning of value");
    }
}

static enum step after_value(struct scan *s, enum expects *expects)
{
    char c = s->text.ptr[s->at];
    bool object = in_object(s);
    if (c == (object ? '}' : ']')) {
        s->depth--;
    } else if (c == ',') {
        *expects = object ? A_KEY : A_VALUE;
    } else {
        return bad(s, object ? "after object key:value pair" : "after array element");
    }
    s->at++;
    return STEP_OK;
}

static enum step one_step(struct scan *s, enum expects *expects)
{
    char c = s->text.ptr[s->at];
    switch (*expects) {
    case A_VALUE_OR_END:
    case A_KEY_OR_END:
        if (c == (*expects == A_KEY_OR_END ? '}' : ']')) {
            *expects = A_COMMA_OR_END;
            s->depth--;
            s->at++;
            return STEP_OK;
        }
        *expects = *expects == A_KEY_OR_END ? A_KEY : A_VALUE;
        return STEP_OK;
    case A_VALUE:
        return begin_value(s, expects);
    case A_KEY:
        *expects = A_COLON;
        return c == '"' ? scan_string(s) : bad(s, "looking for beginning of object key string");
    case A_COLON:
        *expects = A_VALUE;
        if (c != ':') {
            return bad(s, "after object key");
        }
        s->at++;
        return STEP_OK;
    case A_COMMA_OR_END:
        return after_value(s, expects);
    }
    return STEP_BAD;
}

/* From s->at, where no blank is. */
static enum step scan_value(struct scan *s)
{
    enum expects expects = A_VALUE;
    enum step step;
    do {
        step = one_step(s, &expects);
        while (step == STEP_OK && s->depth > 0 && more(s) && is_blank(s->text.ptr[s->at])) {
            s->at++;
        }
        if (step == STEP_OK && s->depth > 0 && !more(s)) {
            step = STEP_SHORT;
        }
    } while (step == STEP_OK && s->depth > 0);
    return step;
}

static struct bytes skip_blanks(struct bytes b)
{
    while (b.len > 0 && is_blank(b.ptr[0])) {
        b = bytes_skip(b, 1);
    }
    return b;
}

enum json_scan json_scan_next(struct bytes text, struct bytes *rest, struct bytes *value,
                              char error[JSON_SCAN_ERROR_MAX])
{
    struct bytes begin = skip_blanks(*rest);
    if (begin.len == 0) {
        return JSON_SCAN_END;
    }
    struct scan s;
    s.text = text;
    s.at = (size_t)(begin.ptr - text.ptr);
    s.error = error;
    s.depth = 0;
    enum step step = scan_value(&s);
    if (step == STEP_SHORT) {
        (void)snprintf(error, JSON_SCAN_ERROR_MAX, "unexpected EOF");
        return JSON_SCAN_BAD;
    }
    if (step == STEP_BAD) {
        size_t len = strlen(error);
        (void)snprintf(error + len, JSON_SCAN_ERROR_MAX - len, " at offset %zu", s.at + 1);
        return JSON_SCAN_BAD;
    }
    CHECK(s.at > (size_t)(begin.ptr - text.ptr) && s.at <= text.len);
    *value = bytes_make(begin.ptr, s.at - (size_t)(begin.ptr - text.ptr));
    *rest = bytes_make(text.ptr + s.at, text.len - s.at);
    return JSON_SCAN_VALUE;
}

bool json_scan_whole(struct bytes text, struct bytes *value, char error[JSON_SCAN_ERROR_MAX])
{
    struct bytes begin = skip_blanks(text);
    struct scan s;
    s.text = begin;
    s.at = 0;
    s.error = error;
    s.depth = 0;
    enum step step = begin.len == 0 ? STEP_SHORT : scan_value(&s);
    if (step == STEP_OK) {
        *value = bytes_make(begin.ptr, s.at);
        while (more(&s) && is_blank(s.text.ptr[s.at])) {
            s.at++;
        }
        step = more(&s) ? bad(&s, "after top-level value") : STEP_OK;
    }
    if (step == STEP_SHORT) {
        (void)snprintf(error, JSON_SCAN_ERROR_MAX, "unexpected end of JSON input");
    }
    return step == STEP_OK;
}

/* --- walking --- */

enum json_kind json_scan_kind(struct bytes value)
{
    CHECK(value.len > 0);
    switch (value.ptr[0]) {
    case 'n':
        return JSON_NULL_;
    case 't':
    case 'f':
        return JSON_BOOL_;
    case '"':
        return JSON_STRING_;
    case '[':
        return JSON_ARRAY_;
    case '{':
        return JSON_OBJECT_;
    default:
        return JSON_NUMBER_;
    }
}

const char *json_scan_kind_name(enum json_kind kind)
{
    static const char *const names[] = {"null", "bool", "number", "string", "array", "object"};
    return names[kind];
}

/* Behind the string, or the value, that begins at `at`. */
static size_t end_of(struct bytes b, size_t at)
{
    uint32_t depth = 0;
    do {
        char c = b.ptr[at];
        if (c == '"') {
            for (at++; b.ptr[at] != '"'; at++) {
                at += b.ptr[at] == '\\';
                CHECK(at < b.len);
            }
            at++;
        } else if (c == '{' || c == '[') {
            depth++;
            at++;
        } else if (c == '}' || c == ']') {
            depth--;
            at++;
        } else if (depth > 0) {
            at++;
        } else {
            while (at < b.len && !is_blank(b.ptr[at]) && strchr(",}]", b.ptr[at]) == NULL) {
                at++;
            }
        }
    } while (depth > 0 && at < b.len);
    CHECK(depth == 0 && at <= b.len);
    return at;
}

struct json_walk json_walk_begin(struct bytes value)
{
    CHECK(value.len >= 2 && (value.ptr[0] == '{' || value.ptr[0] == '['));
    struct bytes inside = bytes_make(value.ptr + 1, value.len - 2);
    return (struct json_walk){skip_blanks(inside), value.ptr[0] == '{'};
}

/* Takes what begins there. */
static struct bytes take(struct json_walk *w)
{
    size_t end = end_of(w->rest, 0);
    struct bytes taken = bytes_make(w->rest.ptr, end);
    w->rest = skip_blanks(bytes_skip(w->rest, end));
    return taken;
}

bool json_walk_next(struct json_walk *w, struct bytes *key, struct bytes *value)
{
    if (w->rest.len == 0) {
        return false;
    }
    *key = BYTES_NONE;
    if (w->object) {
        *key = json_scan_quoted(take(w));
        CHECK(w->rest.len > 0 && w->rest.ptr[0] == ':');
        w->rest = skip_blanks(bytes_skip(w->rest, 1));
    }
    *value = take(w);
    if (w->rest.len > 0) {
        CHECK(w->rest.ptr[0] == ',');
        w->rest = skip_blanks(bytes_skip(w->rest, 1));
    }
    return true;
}

struct bytes json_scan_quoted(struct bytes value)
{
    CHECK(value.len >= 2 && value.ptr[0] == '"');
    return bytes_make(value.ptr + 1, value.len - 2);
}

/* --- text --- */

static void put_utf8(struct buffer *out, uint32_t c)
{
    char b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6) {
        b[i] = (char)(0x80 | (c & 0x3f));
    }
    b[0] = (char)(first[n == 1 ? 0 : n] | c);
    buffer_append(out, b, n);
}

#define NOT_UTF8 UINT32_MAX

/* The character at the front and its length; NOT_UTF8 and 1. */
static uint32_t utf8_at(struct bytes b, size_t *len)
{
    size_t n = utf8_sequence(b);
    *len = n == 0 ? 1 : n;
    if (n == 0) {
        return NOT_UTF8;
    }
    uint32_t first = (uint8_t)b.ptr[0];
    uint32_t value = n == 1 ? first : first & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        value = value << 6 | ((uint8_t)b.ptr[i] & 0x3fu);
    }
    return value;
}

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        v = v << 4 | (uint32_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

/* What a backslash begins; returns its length. */
static size_t put_escape(struct buffer *out, struct bytes b)
{
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *letter = strchr(letters, b.ptr[1]);
    if (b.ptr[1] != 'u') {
        buffer_append_char(out, letter == NULL ? b.ptr[1] : values[letter - letters]);
        return 2;
    }
    uint32_t c = hex4(b.ptr + 2);
    if (c >= 0xd800 && c < 0xdc00 && b.len >= 12 && b.ptr[6] == '\\' && b.ptr[7] == 'u') {
        uint32_t low = hex4(b.ptr + 8);
        if (low >= 0xdc00 && low < 0xe000) {
            put_utf8(out, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
            return 12;
        }
    }
    put_utf8(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
    return 6;
}

void json_scan_unescape(struct bytes quoted, struct buffer *out)
{
    while (quoted.len > 0) {
        size_t len;
        if (quoted.ptr[0] == '\\') {
            len = put_escape(out, quoted);
        } else {
            uint32_t c = utf8_at(quoted, &len);
            put_utf8(out, c == NOT_UTF8 ? 0xfffd : c);
        }
        quoted = bytes_skip(quoted, len);
    }
}

void go_quote(struct buffer *out, struct bytes text)
{
    static const char names[] = "abtnvfr"; /* from 7 on */
    buffer_append_char(out, '"');
    while (text.len > 0) {
        size_t len;
        uint32_t c = utf8_at(text, &len);
        if (c == NOT_UTF8 || c == 0x7f || (c < ' ' && (c < 7 || c > 13))) {
            buffer_printf(out, "\\x%02x", (unsigned char)text.ptr[0]);
        } else if (c < ' ') {
            buffer_printf(out, "\\%c", names[c - 7]);
        } else if (c == '"' || c == '\\') {
            buffer_printf(out, "\\%c", (char)c);
        } else if ((c > 0x7f && c <= 0xa0) || c == 0xad || c == 0xfeff || c == 0x200b) {
            buffer_printf(out, "\\u%04x", (unsigned)c);
        } else {
            buffer_append(out, text.ptr, len);
        }
        text = bytes_skip(text, len);
    }
    buffer_append_char(out, '"');
}
