/* Go's way to read, which shows in which of several errors is told: the first wrong type or unknown
 * member is kept, and reading goes on; what a type reads itself (words, times) ends it at once.
 * Source: encoding/json, decode.go. */
#include "jetstream/state/fields.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/go_time.h"
#include "core/base/json_scan.h"
#include "core/base/mem.h"

#define PATH_MAX_LEN 200

struct reading {
    enum fields_text kind;
    struct buffer error;       /* the first; empty: none */
    struct buffer unsupported; /* the first that was asked for */
    char path[PATH_MAX_LEN];   /* of the members that are being read */
    size_t path_len;
};

/* Where a value belongs. */
struct place {
    const struct fields *table;
    const struct field *field;
    void *in; /* the struct; NULL: it is only looked at */
};

static void *place_of(const struct place *p)
{
    return p->in == NULL || p->field->size == 0 ? NULL : (char *)p->in + p->field->at;
}

static uint32_t *count_of(const struct place *p)
{
    return (uint32_t *)(void *)((char *)p->in + p->field->count_at);
}

/* --- errors --- */

static const char *go_type(const struct field *f)
{
    static const char *const types[] = {[FIELD_TEXT] = "string",
                                        [FIELD_BOOL] = "bool",
                                        [FIELD_INT] = "int64",
                                        [FIELD_UINT] = "uint64",
                                        [FIELD_DURATION] = "time.Duration",
                                        [FIELD_TIME] = "time.Time",
                                        [FIELD_WORD] = "string",
                                        [FIELD_TEXTS] = "[]string",
                                        [FIELD_DURATIONS] = "[]time.Duration",
                                        [FIELD_MAP] = "map[string]string",
                                        [FIELD_OBJECT] = "",
                                        [FIELD_OBJECTS] = ""};
    return f->go_type != NULL ? f->go_type : types[f->kind];
}

/* The value at p has the wrong type, or is a number out of range. */
static void wrong_type(struct reading *r, const struct place *p, struct bytes value,
                       bool with_number, const char *type_prefix, const char *type)
{
    if (r->error.len > 0) {
        return;
    }
    buffer_printf(&r->error, "json: cannot unmarshal %s",
                  json_scan_kind_name(json_scan_kind(value)));
    if (with_number) {
        buffer_append_char(&r->error, ' ');
        buffer_append_bytes(&r->error, value);
    }
    if (p->field == NULL) {
        buffer_printf(&r->error, " into Go value of type server.%s", p->table->go_type);
        return;
    }
    buffer_printf(&r->error, " into Go struct field %s.%s of type %s%s", p->table->go_type, r->path,
                  type_prefix, type);
}

static void wrong_kind(struct reading *r, const struct place *p, struct bytes value)
{
    const struct field *f = p->field;
    if (f->kind == FIELD_OBJECT) {
        wrong_type(r, p, value, false, "server.", f->table->go_type);
    } else if (f->kind == FIELD_OBJECTS) {
        wrong_type(r, p, value, false, f->go_type, f->table->go_type);
    } else {
        wrong_type(r, p, value, false, "", go_type(f));
    }
}

/* Somebody asks for what is not there. */
static void ask_unsupported(struct reading *r, const char *name, const char *word)
{
    if (r->unsupported.len == 0) {
        buffer_printf(&r->unsupported, "%s%s%s", name, word == NULL ? "" : " ",
                      word == NULL ? "" : word);
    }
}

static void asked(struct reading *r, const struct place *p)
{
    if (p->field->size == 0 && p->in != NULL) {
        ask_unsupported(r, p->field->name, NULL);
    }
}

/* --- scalars --- */

static char *decode_text(struct reading *r, struct bytes value)
{
    struct buffer text = {0};
    json_scan_unescape(json_scan_quoted(value), &text);
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL && r->error.len == 0) {
        buffer_append_text(&r->error, "text with a NUL byte");
    }
    char *out = text.len == 0 ? NULL : mem_dup(text.data, text.len);
    buffer_deinit(&text);
    return out;
}

static void read_text(struct reading *r, const struct place *p, struct bytes value)
{
    char *text = decode_text(r, value);
    char **at = place_of(p);
    if (text != NULL) {
        asked(r, p);
    }
    if (at != NULL) {
        free(*at);
        *at = text;
    } else {
        free(text);
    }
}

/* As strconv reads decimal integers. */
static bool to_integer(struct bytes number, bool is_signed, uint64_t *magnitude, bool *negative)
{
    *negative = number.ptr[0] == '-';
    struct bytes digits = bytes_skip(number, *negative ? 1 : 0);
    if (!bytes_to_u64(digits, magnitude)) {
        return false;
    }
    return is_signed ? *magnitude <= (uint64_t)INT64_MAX + *negative : !*negative;
}

static void store_int(const struct place *p, int64_t value)
{
    void *at = place_of(p);
    if (at == NULL) {
        return;
    }
    if (p->field->size == sizeof(int)) {
        *(int *)at = value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int)value;
    } else {
        CHECK(p->field->size == sizeof(int64_t));
        *(int64_t *)at = value;
    }
}

static bool fits(const struct field *f, int64_t value)
{
    return f->go_type == NULL || strcmp(f->go_type, "int32") != 0 ||
           (value >= INT32_MIN && value <= INT32_MAX);
}

static void read_number(struct reading *r, const struct place *p, struct bytes value)
{
    const struct field *f = p->field;
    uint64_t magnitude;
    bool negative;
    bool is_signed = f->kind != FIELD_UINT;
    if (!to_integer(value, is_signed, &magnitude, &negative)) {
        wrong_type(r, p, value, true, "", go_type(f));
        return;
    }
    int64_t number = (int64_t)(negative ? 0 - magnitude : magnitude);
    if (is_signed && r->kind != FIELDS_STORED && !fits(f, number)) {
        wrong_type(r, p, value, true, "", go_type(f));
        return;
    }
    if (magnitude != 0 && !(negative && f->unlimited)) {
        asked(r, p);
    }
    if (is_signed) {
        store_int(p, number);
    } else if (place_of(p) != NULL) {
        *(uint64_t *)place_of(p) = magnitude;
    }
}

static int word_value(const struct place *p)
{
    const void *at = place_of(p);
    if (p->field->size == sizeof(bool)) {
        return *(const bool *)at;
    }
    CHECK(p->field->size == sizeof(int));
    return *(const int *)at;
}

static void store_word(const struct place *p, int value)
{
    void *at = place_of(p);
    if (at != NULL && p->field->size == sizeof(bool)) {
        *(bool *)at = value != 0;
    } else if (at != NULL) {
        CHECK(p->field->size == sizeof(int));
        *(int *)at = value;
    }
}

/* Of any type: words read themselves. */
static bool read_word(struct reading *r, const struct place *p, struct bytes value)
{
    const struct field *f = p->field;
    bool text = json_scan_kind(value) == JSON_STRING_;
    for (const struct word *w = f->words; text && w->text != NULL; w++) {
        struct bytes quoted = json_scan_quoted(value);
        if (f->any_case ? bytes_eq_nocase(quoted, bytes_of(w->text)) : bytes_is(quoted, w->text)) {
            if (w->unsupported) {
                ask_unsupported(r, f->name, w->text);
            } else if (w->value != 0) {
                asked(r, p);
            }
            store_word(p, w->value);
            return true;
        }
    }
    buffer_clear(&r->error);
    if (f->word_error == NULL) {
        buffer_append_text(&r->error, "can not unmarshal ");
        go_quote(&r->error, value);
    } else if (f->word_error[strlen(f->word_error) - 1] == ' ') {
        buffer_append_text(&r->error, f->word_error);
        buffer_append_bytes(&r->error, value);
    } else if (text || json_scan_kind(value) == JSON_NULL_) {
        buffer_append_text(&r->error, f->word_error);
    } else {
        wrong_type(r, p, value, false, "", "string");
    }
    return false;
}

static bool read_time(struct reading *r, const struct place *p, struct bytes value)
{
    struct go_time time = {0};
    if (json_scan_kind(value) != JSON_STRING_) {
        buffer_clear(&r->error);
        buffer_append_text(&r->error, "Time.UnmarshalJSON: input is not a JSON string");
        return false;
    }
    struct buffer why = {0};
    bool ok = go_time_parse(json_scan_quoted(value), &time, &why);
    if (!ok) {
        buffer_clear(&r->error);
        buffer_append_bytes(&r->error, buffer_bytes(&why));
    } else {
        if (!go_time_is_zero(time)) {
            asked(r, p);
        }
        if (r->kind == FIELDS_STORED) {
            go_time_from_stored(&time);
        }
        if (place_of(p) != NULL) {
            *(struct go_time *)place_of(p) = time;
        }
    }
    buffer_deinit(&why);
    return ok;
}

/* --- lists and maps --- */

static void free_texts(char **texts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(texts[i]);
    }
    free(texts);
}

static void read_texts(struct reading *r, const struct place *p, struct bytes value)
{
    char **texts = NULL;
    uint32_t count = 0, cap = 0;
    struct bytes key, item;
    for (struct json_walk w = json_walk_begin(value); json_walk_next(&w, &key, &item);) {
        char *text = NULL;
        if (json_scan_kind(item) == JSON_STRING_) {
            text = decode_text(r, item);
        } else if (json_scan_kind(item) != JSON_NULL_) {
            wrong_type(r, p, item, false, "", "string");
        }
        VEC_RESERVE(texts, cap, count);
        texts[count++] = text == NULL ? mem_strdup("") : text;
    }
    if (count > 0) {
        asked(r, p);
    }
    char ***at = place_of(p);
    if (at == NULL) {
        free_texts(texts, count);
        return;
    }
    free_texts(*at, *count_of(p));
    *at = texts;
    *count_of(p) = count;
}

static void read_durations(struct reading *r, const struct place *p, struct bytes value)
{
    int64_t *list = NULL;
    uint32_t count = 0, cap = 0;
    struct bytes key, item;
    for (struct json_walk w = json_walk_begin(value); json_walk_next(&w, &key, &item);) {
        uint64_t magnitude = 0;
        bool negative = false;
        enum json_kind kind = json_scan_kind(item);
        if (kind == JSON_NUMBER_ ? !to_integer(item, true, &magnitude, &negative)
                                 : kind != JSON_NULL_) {
            wrong_type(r, p, item, kind == JSON_NUMBER_, "", "time.Duration");
        }
        VEC_RESERVE(list, cap, count);
        list[count++] = (int64_t)(negative ? 0 - magnitude : magnitude);
    }
    int64_t **at = place_of(p);
    CHECK(at != NULL);
    free(*at);
    *at = list;
    *count_of(p) = count;
}

/* Keys of the server (_nats.…) are left out. */
static void read_map(struct reading *r, const struct place *p, struct bytes value)
{
    json_t **at = place_of(p);
    struct bytes key, item;
    CHECK(at != NULL);
    for (struct json_walk w = json_walk_begin(value); json_walk_next(&w, &key, &item);) {
        struct buffer name = {0};
        json_scan_unescape(key, &name);
        char *text = NULL;
        if (json_scan_kind(item) == JSON_STRING_) {
            text = decode_text(r, item);
        } else if (json_scan_kind(item) != JSON_NULL_) {
            wrong_type(r, p, item, false, "", "string");
        }
        if (name.len > 0 && memchr(name.data, '\0', name.len) != NULL && r->error.len == 0) {
            buffer_append_text(&r->error, "text with a NUL byte");
        }
        buffer_append_char(&name, '\0');
        if (strncmp(name.data, "_nats.", 6) != 0) {
            *at = *at == NULL ? json_object() : *at;
            json_put_text(*at, name.data, text == NULL ? "" : text);
        }
        free(text);
        buffer_deinit(&name);
    }
}

/* --- objects --- */

static bool read_object(struct reading *r, const struct fields *table, struct bytes value,
                        void *into);

static bool read_objects(struct reading *r, const struct place *p, struct bytes value)
{
    struct bytes key, item;
    for (struct json_walk w = json_walk_begin(value); json_walk_next(&w, &key, &item);) {
        asked(r, p);
        if (json_scan_kind(item) == JSON_OBJECT_) {
            if (!read_object(r, p->field->table, item, NULL)) {
                return false;
            }
        } else if (json_scan_kind(item) != JSON_NULL_) {
            wrong_type(r, p, item, false, "server.", p->field->table->go_type);
        }
    }
    return true;
}

/* Does an object that is not kept ask for something? */
static bool is_asking(struct bytes value)
{
    struct bytes key, item;
    for (struct json_walk w = json_walk_begin(value); json_walk_next(&w, &key, &item);) {
        bool nothing = bytes_is(item, "null") || bytes_is(item, "0") || bytes_is(item, "false") ||
                       bytes_is(item, "\"\"") || bytes_is(item, "[]") || bytes_is(item, "{}");
        if (!nothing) {
            return true;
        }
    }
    return false;
}

/* False: reading ends. */
static bool read_value(struct reading *r, const struct place *p, struct bytes value)
{
    const struct field *f = p->field;
    enum json_kind kind = json_scan_kind(value);
    if (f->kind == FIELD_WORD) {
        return read_word(r, p, value);
    }
    if (kind == JSON_NULL_) {
        return true;
    }
    static const enum json_kind wanted[] = {
        [FIELD_TEXT] = JSON_STRING_,     [FIELD_BOOL] = JSON_BOOL_,
        [FIELD_INT] = JSON_NUMBER_,      [FIELD_UINT] = JSON_NUMBER_,
        [FIELD_DURATION] = JSON_NUMBER_, [FIELD_TIME] = JSON_STRING_,
        [FIELD_WORD] = JSON_STRING_,     [FIELD_TEXTS] = JSON_ARRAY_,
        [FIELD_DURATIONS] = JSON_ARRAY_, [FIELD_MAP] = JSON_OBJECT_,
        [FIELD_OBJECT] = JSON_OBJECT_,   [FIELD_OBJECTS] = JSON_ARRAY_};
    if (f->kind != FIELD_TIME && kind != wanted[f->kind]) {
        wrong_kind(r, p, value);
        return true;
    }
    switch (f->kind) {
    case FIELD_TEXT:
        read_text(r, p, value);
        return true;
    case FIELD_BOOL:
        if (value.ptr[0] == 't') {
            asked(r, p);
        }
        if (place_of(p) != NULL) {
            *(bool *)place_of(p) = value.ptr[0] == 't';
        }
        return true;
    case FIELD_INT:
    case FIELD_UINT:
    case FIELD_DURATION:
        read_number(r, p, value);
        return true;
    case FIELD_TIME:
        return read_time(r, p, value);
    case FIELD_TEXTS:
        read_texts(r, p, value);
        return true;
    case FIELD_DURATIONS:
        read_durations(r, p, value);
        return true;
    case FIELD_MAP:
        read_map(r, p, value);
        return true;
    case FIELD_OBJECT:
        if (f->size == 0 && is_asking(value)) {
            asked(r, p);
        }
        return read_object(r, f->table, value, place_of(p));
    case FIELD_OBJECTS:
        return read_objects(r, p, value);
    case FIELD_WORD:
        break;
    }
    return true;
}

/* Lower case, and the two letters of Unicode that fold to one of ASCII. */
static void fold(struct bytes name, struct buffer *out)
{
    while (name.len > 0) {
        size_t len = 1;
        if (bytes_starts(name, BYTES_LIT("\xc5\xbf"))) {
            buffer_append_char(out, 's');
            len = 2;
        } else if (bytes_starts(name, BYTES_LIT("\xe2\x84\xaa"))) {
            buffer_append_char(out, 'k');
            len = 3;
        } else {
            char c = name.ptr[0];
            buffer_append_char(out, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
        }
        name = bytes_skip(name, len);
    }
}

/* The row of that name, or what comes nearest to it. */
static const struct field *find_row(const struct fields *table, struct bytes name)
{
    const struct field *found = NULL;
    for (const struct field *f = table->rows; f->name != NULL && found == NULL; f++) {
        found = bytes_is(name, f->name) ? f : NULL;
    }
    struct buffer folded = {0};
    fold(name, &folded);
    for (const struct field *f = table->rows; f->name != NULL && found == NULL; f++) {
        found = bytes_is(buffer_bytes(&folded), f->name) ? f : NULL;
    }
    buffer_deinit(&folded);
    return found;
}

/* "Embedded.name" behind what is there; returns the length to go back to. */
static size_t push_path(struct reading *r, const struct fields *table, const struct field *f)
{
    size_t before = r->path_len;
    const char *embedded = f->embedded != NULL ? f->embedded : table->embedded;
    embedded = embedded == NULL ? "" : embedded;
    int n = snprintf(r->path + before, PATH_MAX_LEN - before, "%s%s%s%s", before > 0 ? "." : "",
                     embedded, *embedded == '\0' ? "" : ".", f->name);
    CHECK(n > 0 && (size_t)n < PATH_MAX_LEN - before); /* tables are as deep as they are written */
    r->path_len += (size_t)n;
    return before;
}

static bool read_object(struct reading *r, const struct fields *table, struct bytes value,
                        void *into)
{
    struct bytes quoted, item;
    bool ok = true;
    for (struct json_walk w = json_walk_begin(value); ok && json_walk_next(&w, &quoted, &item);) {
        struct buffer name = {0};
        json_scan_unescape(quoted, &name);
        const struct field *f = find_row(table, buffer_bytes(&name));
        if (f != NULL) {
            const struct place p = {table, f, into};
            size_t before = push_path(r, table, f);
            ok = read_value(r, &p, item);
            r->path_len = before;
            r->path[before] = '\0';
        } else if (r->kind != FIELDS_LOOSE && r->error.len == 0) {
            buffer_append_text(&r->error, "json: unknown field ");
            go_quote(&r->error, buffer_bytes(&name));
        }
        buffer_deinit(&name);
    }
    return ok;
}

static bool read_top(struct reading *r, const struct fields *table, struct bytes value, void *into)
{
    enum json_kind kind = json_scan_kind(value);
    if (kind == JSON_OBJECT_) {
        return read_object(r, table, value, into) && r->error.len == 0;
    }
    if (kind != JSON_NULL_) {
        const struct place p = {.table = table};
        wrong_type(r, &p, value, false, "", "");
    }
    return r->error.len == 0;
}

bool fields_read(const struct fields *table, enum fields_text kind, struct bytes text, void *into,
                 struct js_error *error)
{
    struct reading r = {.kind = kind};
    struct bytes value;
    char syntax[JSON_SCAN_ERROR_MAX] = "";
    enum json_scan next = JSON_SCAN_END;
    if (kind == FIELDS_LOOSE) {
        if (!json_scan_whole(text, &value, syntax)) {
            next = JSON_SCAN_BAD;
        } else {
            (void)read_top(&r, table, value, into);
        }
    } else {
        struct bytes rest = text;
        while ((next = json_scan_next(text, &rest, &value, syntax)) == JSON_SCAN_VALUE &&
               read_top(&r, table, value, into)) {
        }
    }
    if (next == JSON_SCAN_BAD) {
        buffer_clear(&r.error);
        buffer_append_text(&r.error, syntax);
    }
    bool ok = false;
    if (r.error.len > 0) {
        (void)js_failf(error, JS_INVALID_JSON, "invalid JSON: %.*s",
                       BYTES_ARG(buffer_bytes(&r.error)));
    } else if (r.unsupported.len > 0) {
        buffer_append_char(&r.unsupported, '\0');
        (void)js_unsupported(error, r.unsupported.data);
    } else {
        ok = true;
    }
    buffer_deinit(&r.error);
    buffer_deinit(&r.unsupported);
    return ok;
}

bool fields_text_is_json(struct bytes text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.ptr[0]) != NULL) {
        text = bytes_skip(text, 1);
    }
    return text.len > 0 && (text.ptr[0] == '{' || text.ptr[0] == '[');
}

bool fields_text_is_empty(struct bytes text)
{
    char error[JSON_SCAN_ERROR_MAX];
    struct bytes value, key, rest = text;
    if (json_scan_next(text, &rest, &value, error) == JSON_SCAN_END) {
        return true;
    }
    if (!json_scan_whole(text, &value, error) || json_scan_kind(value) != JSON_OBJECT_) {
        return false;
    }
    struct json_walk walk = json_walk_begin(value);
    return !json_walk_next(&walk, &key, &value);
}

/* --- the rest --- */

void fields_deinit(const struct fields *table, void *of)
{
    for (const struct field *f = table->rows; f->name != NULL; f++) {
        const struct place p = {table, f, of};
        void *at = place_of(&p);
        if (at == NULL) {
            continue;
        }
        switch (f->kind) {
        case FIELD_TEXT:
            free(*(char **)at);
            *(char **)at = NULL;
            break;
        case FIELD_TEXTS:
            free_texts(*(char ***)at, *count_of(&p));
            *(char ***)at = NULL;
            *count_of(&p) = 0;
            break;
        case FIELD_DURATIONS:
            free(*(int64_t **)at);
            *(int64_t **)at = NULL;
            *count_of(&p) = 0;
            break;
        case FIELD_MAP:
            json_decref(*(json_t **)at);
            *(json_t **)at = NULL;
            break;
        case FIELD_OBJECT:
            fields_deinit(f->table, at);
            break;
        default:
            break;
        }
    }
}

static int64_t int_value(const struct place *p)
{
    const void *at = place_of(p);
    return p->field->size == sizeof(int) ? *(const int *)at : *(const int64_t *)at;
}

static bool is_zero(const struct place *p)
{
    const void *at = place_of(p);
    switch (p->field->kind) {
    case FIELD_TEXT:
        return *(char *const *)at == NULL;
    case FIELD_BOOL:
        return !*(const bool *)at;
    case FIELD_INT:
    case FIELD_DURATION:
        return int_value(p) == 0;
    case FIELD_TIME:
        return !((const struct go_time *)at)->set;
    case FIELD_UINT:
        return *(const uint64_t *)at == 0;
    case FIELD_WORD:
        return word_value(p) == 0;
    case FIELD_TEXTS:
    case FIELD_DURATIONS:
        return *count_of(p) == 0;
    case FIELD_MAP:
        return json_object_size(*(json_t *const *)at) == 0;
    case FIELD_OBJECT: {
        for (const struct field *f = p->field->table->rows; f->name != NULL; f++) {
            const struct place inner = {p->field->table, f, (void *)(uintptr_t)at};
            if (f->size > 0 && !is_zero(&inner)) {
                return false;
            }
        }
        return true;
    }
    case FIELD_OBJECTS:
        break;
    }
    return true;
}

static json_t *list_json(const struct place *p)
{
    json_t *list = json_array();
    const void *at = place_of(p);
    for (uint32_t i = 0; i < *count_of(p); i++) {
        json_t *item = p->field->kind == FIELD_TEXTS ? json_string_nocheck((*(char **const *)at)[i])
                                                     : json_integer((*(int64_t *const *)at)[i]);
        (void)json_array_append_new(list, item);
    }
    return list;
}

static const char *word_text(const struct field *f, int value)
{
    for (const struct word *w = f->words; w->text != NULL; w++) {
        if (w->value == value) {
            return w->text;
        }
    }
    CHECK(false); /* only values of the list are kept */
    return "";
}

static void put_time(json_t *o, const char *name, struct go_time time, bool stored)
{
    char text[GO_TIME_MAX];
    if (stored) {
        go_time_print_stored(time, text);
    } else {
        go_time_print(time, text);
    }
    json_put_text(o, name, text);
}

static void put_value(json_t *o, const struct place *p, bool stored)
{
    const struct field *f = p->field;
    const void *at = place_of(p);
    switch (f->kind) {
    case FIELD_TEXT:
        json_put_text(o, f->name, *(char *const *)at == NULL ? "" : *(char *const *)at);
        break;
    case FIELD_BOOL:
        json_put_bool(o, f->name, *(const bool *)at);
        break;
    case FIELD_INT:
    case FIELD_DURATION:
        json_put_int(o, f->name, int_value(p));
        break;
    case FIELD_UINT:
        json_put_u64(o, f->name, *(const uint64_t *)at);
        break;
    case FIELD_TIME:
        put_time(o, f->name, *(const struct go_time *)at, stored);
        break;
    case FIELD_WORD:
        json_put_text(o, f->name, word_text(f, word_value(p)));
        break;
    case FIELD_TEXTS:
    case FIELD_DURATIONS:
        json_put(o, f->name, list_json(p));
        break;
    case FIELD_MAP:
        json_put(o, f->name,
                 *(json_t *const *)at == NULL ? json_object()
                                              : json_deep_copy(*(json_t *const *)at));
        break;
    case FIELD_OBJECT:
        json_put(o, f->name, fields_json(f->table, at, stored));
        break;
    case FIELD_OBJECTS:
        break;
    }
}

json_t *fields_json(const struct fields *table, const void *of, bool stored)
{
    json_t *o = json_object();
    for (const struct field *f = table->rows; f->name != NULL; f++) {
        const struct place p = {table, f, (void *)(uintptr_t)of};
        if (f->size == 0) {
            if (f->unsupported != NULL && !stored) {
                json_put(o, f->name, json_loads(f->unsupported, JSON_DECODE_ANY, NULL));
            }
            continue;
        }
        bool set = f->print != PRINT_ALWAYS || (stored && f->stored_set);
        if (f->print != PRINT_NEVER && !(set && is_zero(&p))) {
            put_value(o, &p, stored);
        }
    }
    return o;
}

static bool same_value(const struct place *a, const struct place *b)
{
    const void *x = place_of(a), *y = place_of(b);
    switch (a->field->kind) {
    case FIELD_TEXT: {
        const char *s = *(char *const *)x, *t = *(char *const *)y;
        return strcmp(s == NULL ? "" : s, t == NULL ? "" : t) == 0;
    }
    case FIELD_TEXTS: {
        char **s = *(char **const *)x, **t = *(char **const *)y;
        bool same = *count_of(a) == *count_of(b);
        for (uint32_t i = 0; same && i < *count_of(a); i++) {
            same = strcmp(s[i], t[i]) == 0;
        }
        return same;
    }
    case FIELD_DURATIONS:
        return *count_of(a) == *count_of(b) &&
               (*count_of(a) == 0 || memcmp(*(int64_t *const *)x, *(int64_t *const *)y,
                                            *count_of(a) * sizeof(int64_t)) == 0);
    case FIELD_MAP:
        return (is_zero(a) && is_zero(b)) ||
               json_equal(*(json_t *const *)x, *(json_t *const *)y) != 0;
    case FIELD_OBJECT:
        return fields_equal(a->field->table, x, y);
    case FIELD_TIME: {
        const struct go_time *s = x, *t = y;
        return s->set == t->set && s->ns == t->ns;
    }
    default:
        return memcmp(x, y, a->field->size) == 0;
    }
}

bool fields_equal(const struct fields *table, const void *a, const void *b)
{
    for (const struct field *f = table->rows; f->name != NULL; f++) {
        const struct place x = {table, f, (void *)(uintptr_t)a};
        const struct place y = {table, f, (void *)(uintptr_t)b};
        if (f->size > 0 && !same_value(&x, &y)) {
            return false;
        }
    }
    return true;
}

bool fields_check_update(const struct fields *table, const void *old, const void *new,
                         enum js_err refusal, struct js_error *error)
{
    for (const struct field *f = table->rows; f->name != NULL; f++) {
        const struct place x = {table, f, (void *)(uintptr_t)old};
        const struct place y = {table, f, (void *)(uintptr_t) new};
        if (f->frozen == NULL || (f->frozen_set && is_zero(&x)) || same_value(&x, &y)) {
            continue;
        }
        return f->frozen_unsupported ? js_unsupported(error, f->frozen)
                                     : js_failf(error, refusal, "%s", f->frozen);
    }
    return true;
}
