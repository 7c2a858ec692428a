#include "core/config/conf.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/base/buffer.h"
#include "core/base/mem.h"
#include "core/config/conf_internal.h"

#define INCLUDE_DEPTH_MAX 16

struct scan {
    struct conf *conf;
    const char *file; /* owned by conf */
    const char *at, *end;
    const char *line_start;
    int line;
    int depth, include_depth;
    struct conf_value *scopes[NESTING_MAX]; /* enclosing maps, for variables */
    struct error *error;
};

const char *conf_keep(struct conf *conf, struct bytes text)
{
    VEC_RESERVE(conf->texts, conf->text_cap, conf->text_count);
    char *copy = mem_dup(text.ptr, text.len);
    conf->texts[conf->text_count++] = copy;
    return copy;
}

static void value_deinit(struct conf_value *value)
{
    for (uint32_t i = 0; i < value->count; i++) {
        value_deinit(&value->members[i].value);
    }
    free(value->members);
}

struct conf *conf_new(void)
{
    struct conf *conf = NEW(struct conf);
    conf->root.type = CONF_MAP;
    return conf;
}

void conf_free(struct conf *conf)
{
    if (conf != NULL) {
        value_deinit(&conf->root);
        for (uint32_t i = 0; i < conf->text_count; i++) {
            mem_free_secret(conf->texts[i]); /* passwords are among them */
        }
        free(conf->texts);
        free(conf);
    }
}

const struct conf_value *conf_root(const struct conf *conf)
{
    return &conf->root;
}

const char *conf_type_name(enum conf_type type)
{
    static const char *const names[] = {"string", "int64",          "float64",
                                        "bool",   "[]interface {}", "map[string]interface {}"};
    return names[type];
}

const struct conf_member *conf_find(const struct conf_value *map, const char *key)
{
    for (uint32_t i = map->count; i-- > 0;) {
        if (bytes_eq_nocase(map->members[i].key, bytes_of(key))) {
            return &map->members[i];
        }
    }
    return NULL;
}

struct conf_member *conf_add_member(struct conf_value *parent, struct bytes key)
{
    for (uint32_t i = 0; key.ptr != NULL && i < parent->count; i++) {
        if (bytes_eq(parent->members[i].key, key)) { /* same spelling: the last one wins */
            value_deinit(&parent->members[i].value);
            parent->members[i].value = (struct conf_value){0};
            return &parent->members[i];
        }
    }
    VEC_RESERVE(parent->members, parent->cap, parent->count);
    struct conf_member *m = &parent->members[parent->count++];
    *m = (struct conf_member){.key = key};
    return m;
}

/* --- characters --- */

static enum err fail(struct scan *s, const char *reason)
{
    return error_set(s->error, ERR_PARSE, "Parse error on line %d: '%s'", s->line, reason);
}

static enum err fail_char(struct scan *s, const char *expected)
{
    char reason[256];
    (void)snprintf(reason, sizeof reason, "%s, but got '%c' instead.", expected,
                   s->at < s->end ? *s->at : '\0');
    return fail(s, reason);
}

static bool at_end(const struct scan *s)
{
    return s->at >= s->end || *s->at == '\0';
}

static void step(struct scan *s)
{
    if (*s->at == '\n') {
        s->line++;
        s->line_start = s->at + 1;
    }
    s->at++;
}

static bool is_newline(char c)
{
    return c == '\n' || c == '\r';
}

static bool at_comment(const struct scan *s)
{
    return !at_end(s) &&
           (*s->at == '#' || (*s->at == '/' && s->at + 1 < s->end && s->at[1] == '/'));
}

static void skip_comment(struct scan *s)
{
    while (!at_end(s) && *s->at != '\n') {
        s->at++;
    }
}

static void skip_blanks(struct scan *s)
{
    while (!at_end(s) && (*s->at == ' ' || *s->at == '\t')) {
        s->at++;
    }
}

/* Blanks, newlines and comments. */
static void skip_space(struct scan *s)
{
    while (!at_end(s)) {
        if (at_comment(s)) {
            skip_comment(s);
        } else if (isspace((unsigned char)*s->at)) {
            step(s);
        } else {
            return;
        }
    }
}

/* --- values --- */

static enum err parse_value(struct scan *s, struct conf_value *value);
static enum err parse_members(struct scan *s, struct conf_value *map, bool braces);

static void set_string(struct scan *s, struct conf_value *value, struct bytes text)
{
    value->type = CONF_STRING;
    value->text = bytes_make(conf_keep(s->conf, text), text.len);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* At a backslash; appends what it stands for. */
static enum err parse_escape(struct scan *s, struct buffer *out)
{
    s->at++;
    char c = at_end(s) ? '\0' : *s->at++;
    switch (c) {
    case 't':
        buffer_append_char(out, '\t');
        return OK;
    case 'n':
        buffer_append_char(out, '\n');
        return OK;
    case 'r':
        buffer_append_char(out, '\r');
        return OK;
    case '"':
    case '\\':
        buffer_append_char(out, c);
        return OK;
    case 'x':
        if (s->end - s->at >= 2 && hex_digit(s->at[0]) >= 0 && hex_digit(s->at[1]) >= 0) {
            buffer_append_char(out, (char)(hex_digit(s->at[0]) * 16 + hex_digit(s->at[1])));
            s->at += 2;
            return OK;
        }
        return fail(s, "Expected two hexadecimal digits after '\\x'");
    default:
        return fail(s,
                    "Invalid escape character. Only the following escape characters are allowed: "
                    "\\xXX, \\t, \\n, \\r, \\\", \\\\.");
    }
}

static enum err parse_quoted(struct scan *s, struct conf_value *value, char quote)
{
    struct buffer out = {0};
    enum err err = OK;
    s->at++;
    while (err == OK && !at_end(s) && *s->at != quote) {
        if (quote == '"' && *s->at == '\\') {
            err = parse_escape(s, &out);
        } else {
            buffer_append_char(&out, *s->at);
            step(s);
        }
    }
    if (err == OK && at_end(s)) {
        err = fail(s, "Unexpected EOF.");
    }
    if (err == OK) {
        s->at++;
        set_string(s, value, buffer_bytes(&out));
    }
    buffer_deinit(&out);
    return err;
}

/* ( raw text ) where the closing parenthesis stands alone at the start of a line */
static enum err parse_block(struct scan *s, struct conf_value *value)
{
    const char *start = ++s->at;
    while (!at_end(s)) {
        bool closes = *s->at == ')' && s->at == s->line_start &&
                      (s->at + 1 >= s->end || is_newline(s->at[1]));
        if (closes) {
            set_string(s, value, bytes_make(start, (size_t)(s->at - start)));
            s->at++;
            return OK;
        }
        step(s);
    }
    return fail(s, "Unexpected EOF processing block.");
}

static bool ends_bare(const struct scan *s)
{
    return at_end(s) || is_newline(*s->at) || *s->at == ' ' || *s->at == '\t' || *s->at == ';' ||
           *s->at == ',' || *s->at == ']' || *s->at == '}';
}

static void copy_value(struct scan *s, struct conf_value *to, const struct conf_value *from)
{
    *to = *from;
    to->members = NULL;
    to->count = to->cap = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        struct conf_member m = from->members[i];
        copy_value(s, &m.value, &from->members[i].value);
        VEC_RESERVE(to->members, to->cap, to->count);
        to->members[to->count++] = m;
    }
}

static enum err resolve_variable(struct scan *s, struct conf_value *value, struct bytes name)
{
    for (int i = s->depth; i >= 0; i--) {
        struct conf_value *scope = s->scopes[i];
        for (uint32_t k = scope->count; k-- > 0;) {
            if (bytes_eq(scope->members[k].key, name)) {
                scope->members[k].used_as_variable = true;
                copy_value(s, value, &scope->members[k].value);
                return OK;
            }
        }
    }
    char *variable = mem_dup(name.ptr, name.len);
    const char *text = getenv(variable);
    enum err err = OK;
    if (text == NULL) {
        err =
            error_set(s->error, ERR_PARSE,
                      "variable reference for '%s' on line %d can not be found", variable, s->line);
    } else if (*text == '\0') {
        set_string(s, value, BYTES_NONE);
    } else if (s->include_depth >= INCLUDE_DEPTH_MAX) {
        err = error_set(s->error, ERR_PARSE, "variable reference cycle for '%s'", variable);
    } else {
        const char *kept = conf_keep(s->conf, bytes_of(text));
        struct scan inner = *s;
        inner.at = inner.line_start = kept;
        inner.end = kept + strlen(kept);
        inner.include_depth++;
        err = parse_value(&inner, value);
        skip_space(&inner);
        if (err == OK && !at_end(&inner)) {
            err = error_set(s->error, ERR_PARSE,
                            "variable reference for '%s' on line %d could not be parsed", variable,
                            s->line);
        }
    }
    free(variable);
    return err;
}

static bool is_word(struct bytes text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (bytes_eq_nocase(text, bytes_of(*words))) {
            return true;
        }
    }
    return false;
}

static enum err parse_bare(struct scan *s, struct conf_value *value)
{
    static const char *const yes[] = {"true", "yes", "on", NULL};
    static const char *const no[] = {"false", "no", "off", NULL};
    struct buffer out = {0};
    enum err err = OK;
    bool escaped = false;
    while (err == OK && !ends_bare(s)) {
        if (*s->at == '\\') {
            escaped = true;
            err = parse_escape(s, &out);
        } else if (*s->at == '\'') { /* ends the value and is swallowed */
            s->at++;
            break;
        } else {
            buffer_append_char(&out, *s->at++);
        }
    }
    struct bytes text = buffer_bytes(&out);
    if (err != OK) {
        /* reported */
    } else if (!escaped && (is_word(text, yes) || is_word(text, no))) {
        *value = (struct conf_value){.type = CONF_BOOL, .integer = is_word(text, yes)};
    } else if (!escaped && text.len > 1 && text.ptr[0] == '$' &&
               !bytes_starts(text, BYTES_LIT("$2a$"))) {
        err = resolve_variable(s, value, bytes_skip(text, 1));
    } else {
        set_string(s, value, text);
    }
    buffer_deinit(&out);
    return err;
}

static int64_t size_factor(char letter, bool binary)
{
    static const char letters[] = "kmgtpe";
    int64_t base = binary ? 1024 : 1000;
    int64_t factor = 1;
    for (int i = 0; letters[i] != '\0'; i++) {
        factor *= base;
        if (tolower((unsigned char)letter) == letters[i]) {
            return factor;
        }
    }
    return 0;
}

/* Integers with size suffixes, floats; everything else that begins with a digit is a string. */
static enum err parse_number(struct scan *s, struct conf_value *value)
{
    const char *start = s->at;
    if (*s->at == '-') {
        s->at++;
        if (at_end(s) || !isdigit((unsigned char)*s->at)) {
            return fail_char(s, "Expected a digit");
        }
    }
    while (!ends_bare(s)) {
        s->at++;
    }
    struct bytes text = bytes_make(start, (size_t)(s->at - start));
    char copy[64];
    if (text.len >= sizeof copy) {
        set_string(s, value, text);
        return OK;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    char *rest;
    errno = 0;
    long long integer = strtoll(copy, &rest, 10);
    bool overflow = errno == ERANGE;
    if (*rest == '\0') {
        if (overflow) {
            return error_set(s->error, ERR_PARSE, "integer '%s' is out of the range", copy);
        }
        *value = (struct conf_value){.type = CONF_INT, .integer = integer};
        return OK;
    }
    int64_t factor = size_factor(rest[0], rest[1] != '\0');
    if (factor != 0 && (rest[1] == '\0' || strcasecmp(rest + 1, "b") == 0 ||
                        strcasecmp(rest + 1, "i") == 0 || strcasecmp(rest + 1, "ib") == 0)) {
        int64_t scaled;
        if (overflow || __builtin_mul_overflow(integer, factor, &scaled)) {
            return error_set(s->error, ERR_PARSE, "integer '%s' is out of the range", copy);
        }
        *value = (struct conf_value){.type = CONF_INT, .integer = scaled};
        return OK;
    }
    size_t digits = strspn(rest + 1, "0123456789");
    if (rest[0] == '.' && digits > 0 && rest[1 + digits] == '\0') {
        *value = (struct conf_value){.type = CONF_FLOAT, .real = strtod(copy, NULL)};
        return OK;
    }
    set_string(s, value, text);
    return OK;
}

static enum err parse_array(struct scan *s, struct conf_value *array)
{
    array->type = CONF_ARRAY;
    s->at++;
    for (;;) {
        skip_space(s);
        if (at_end(s)) {
            return fail(s, "Unexpected EOF.");
        }
        if (*s->at == ']') {
            s->at++;
            return OK;
        }
        if (*s->at == ',') {
            return fail(s, "Unexpected array value terminator ','.");
        }
        struct conf_member *m = conf_add_member(array, BYTES_NONE);
        m->file = s->file;
        m->line = s->line;
        struct conf_value value = {0};
        enum err err = parse_value(s, &value);
        array->members[array->count - 1].value = value;
        if (err != OK) {
            return err;
        }
        int line = s->line;
        skip_space(s);
        if (!at_end(s) && *s->at == ',') {
            s->at++;
        } else if (!at_end(s) && *s->at != ']' && s->line == line) {
            return fail_char(s, "Expected an array value terminator \",\" or an array terminator "
                                "\"]\"");
        }
    }
}

static enum err parse_value(struct scan *s, struct conf_value *value)
{
    if (at_end(s)) {
        return fail(s, "Unexpected EOF.");
    }
    switch (*s->at) {
    case '{':
        if (s->depth + 1 >= NESTING_MAX) {
            return fail(s, "Nested too deeply");
        }
        value->type = CONF_MAP;
        s->at++;
        s->scopes[++s->depth] = value;
        enum err err = parse_members(s, value, true);
        s->depth--;
        return err;
    case '[':
        if (s->depth + 1 >= NESTING_MAX) {
            return fail(s, "Nested too deeply");
        }
        s->scopes[s->depth + 1] = s->scopes[s->depth];
        s->depth++;
        err = parse_array(s, value);
        s->depth--;
        return err;
    case '"':
    case '\'':
        return parse_quoted(s, value, *s->at);
    case '(':
        return parse_block(s, value);
    case '.':
        return fail(s, "Floats must start with a digit");
    default:
        return isdigit((unsigned char)*s->at) || *s->at == '-' ? parse_number(s, value)
                                                               : parse_bare(s, value);
    }
}

static enum err parse_key(struct scan *s, struct bytes *key, bool *quoted)
{
    *quoted = *s->at == '"' || *s->at == '\'';
    if (*quoted) {
        char quote = *s->at++;
        const char *start = s->at;
        while (!at_end(s) && *s->at != quote) {
            step(s);
        }
        if (at_end(s)) {
            return fail(s, "Unexpected EOF.");
        }
        *key = bytes_make(start, (size_t)(s->at++ - start));
    } else {
        const char *start = s->at;
        while (!at_end(s) && !isspace((unsigned char)*s->at) && *s->at != '=' && *s->at != ':') {
            s->at++;
        }
        *key = bytes_make(start, (size_t)(s->at - start));
        if (key->len == 0) {
            char reason[48];
            (void)snprintf(reason, sizeof reason, "Unexpected key separator '%c'", *s->at);
            return fail(s, reason);
        }
    }
    *key = bytes_make(conf_keep(s->conf, *key), key->len);
    return OK;
}

static enum err load_into(struct scan *outer, struct bytes name, const char *path,
                          struct conf_value *map);

/* include path: relative to the folder of this file, merged into the current map */
static enum err parse_include(struct scan *s, struct conf_value *map)
{
    skip_blanks(s);
    struct bytes name;
    if (!at_end(s) && (*s->at == '"' || *s->at == '\'')) {
        char quote = *s->at++;
        const char *start = s->at;
        while (!at_end(s) && *s->at != quote && *s->at != '\n') {
            s->at++;
        }
        name = bytes_make(start, (size_t)(s->at - start));
        s->at += !at_end(s) && *s->at == quote;
    } else {
        const char *start = s->at;
        while (!at_end(s) && !isspace((unsigned char)*s->at) && *s->at != ';' && *s->at != '}') {
            s->at++;
        }
        name = bytes_make(start, (size_t)(s->at - start));
    }
    if (name.len == 0) {
        return fail(s, "Expected include value but found new line");
    }
    if (s->include_depth >= INCLUDE_DEPTH_MAX) {
        return fail(s, "Includes nested too deeply");
    }
    const char *slash = strrchr(s->file, '/');
    struct buffer path = {0};
    if (slash != NULL) {
        buffer_append(&path, s->file, (size_t)(slash - s->file) + 1);
    }
    buffer_append_bytes(&path, name);
    const char *kept = conf_keep(s->conf, buffer_bytes(&path));
    buffer_deinit(&path);
    return load_into(s, name, kept, map);
}

/* A brace that closes nothing, where a key would be: to nats-server a key. Without a value, at the
 * end of the file, it says nothing. */
static enum err stray_brace(struct scan *s)
{
    int line = s->line, column = (int)(s->at - s->line_start) + (s->line == 1 ? 0 : 1);
    s->at++;
    for (const char *p = s->at; p < s->end; p++) {
        if (!isspace((unsigned char)*p)) {
            return error_set(s->error, ERR_PARSE, "%s:%d:%d: unknown field \"}\"", s->file, line,
                             column);
        }
    }
    return OK;
}

static enum err parse_members(struct scan *s, struct conf_value *map, bool braces)
{
    bool opened = false; /* a brace around the whole file */
    int value_line = 0;  /* where the last value ended */
    for (;;) {
        skip_space(s);
        if (at_end(s)) {
            return braces ? fail(s, "Unexpected EOF processing map.") : OK;
        }
        if (*s->at == '}') {
            if (!braces && !opened && s->line != value_line) {
                enum err err = stray_brace(s);
                if (err != OK) {
                    return err;
                }
                continue;
            }
            s->at++;
            if (braces) {
                return OK;
            }
            opened = false; /* or it ends a value: that is ignored */
            continue;
        }
        if (*s->at == ',' || *s->at == ';') {
            s->at++;
            continue;
        }
        if (!braces && *s->at == '{') { /* braces around the whole file */
            s->at++;
            opened = true;
            continue;
        }
        int line = s->line;
        int column = (int)(s->at - s->line_start) + (s->line == 1 ? 0 : 1);
        struct bytes key;
        bool quoted;
        enum err err = parse_key(s, &key, &quoted);
        if (err != OK) {
            return err;
        }
        if (!quoted && bytes_eq_nocase(key, BYTES_LIT("include")) && !at_end(s) &&
            isspace((unsigned char)*s->at)) {
            err = parse_include(s, map);
            if (err != OK) {
                return err;
            }
            continue;
        }
        skip_blanks(s);
        bool separated = !at_end(s) && (*s->at == '=' || *s->at == ':');
        if (separated) {
            s->at++;
            skip_blanks(s);
            if (!at_end(s) && is_newline(*s->at) && !braces) {
                return fail(s, "Expected value but found new line");
            }
        }
        skip_space(s);
        if (at_end(s)) {
            return error_set(s->error, ERR_PARSE, "config is invalid (%s:%d:%d)", s->file, s->line,
                             (int)(s->at - s->line_start));
        }
        if (separated && braces && (*s->at == ',' || *s->at == ';')) {
            return fail(s, *s->at == ',' ? "Unexpected map value terminator \",\"."
                                         : "Unexpected map value terminator \";\".");
        }
        if (separated && braces && *s->at == '}') { /* nats-server: an unknown field */
            return error_set(s->error, ERR_PARSE, "%s:%d:%d: \"%.*s\" has no value", s->file, line,
                             column, BYTES_ARG(key));
        }
        struct conf_value value = {0};
        err = parse_value(s, &value);
        struct conf_member *m = conf_add_member(map, key);
        m->value = value;
        m->file = s->file;
        m->line = line;
        m->column = column + (quoted ? 1 : 0);
        if (err != OK) {
            return err;
        }
        value_line = s->line;
        skip_blanks(s);
        if (!at_end(s) && !at_comment(s) && !is_newline(*s->at) && *s->at != ',' && *s->at != ';' &&
            *s->at != '}') {
            return fail_char(s, braces ? "Expected a map value terminator ',' or a map terminator "
                                         "'}'"
                                       : "Expected a top-level value to end with a new line, "
                                         "comment or EOF");
        }
    }
}

static enum err read_file(const char *path, struct buffer *out, struct error *error)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return error_set(error, ERR_IO, "open %s: %s", path,
                         errno == ENOENT ? "no such file or directory" : strerror(errno));
    }
    char chunk[4096];
    size_t n;
    struct stat st;
    /* no copies behind it: there are secrets in it */
    (void)buffer_reserve(out, fstat(fileno(f), &st) == 0 && st.st_size < (64 << 20)
                                  ? (size_t)st.st_size + sizeof chunk
                                  : sizeof chunk);
    (void)setvbuf(f, NULL, _IONBF, 0);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && out->len < (64u << 20)) {
        buffer_append(out, chunk, n);
    }
    bool failed = ferror(f) != 0;
    explicit_bzero(chunk, sizeof chunk);
    (void)fclose(f);
    return failed ? error_set(error, ERR_IO, "read %s: %s", path, strerror(errno)) : OK;
}

static enum err parse_into(struct conf *conf, const char *file, struct bytes text,
                           int include_depth, struct conf_value *map, struct error *error)
{
    const char *kept = conf_keep(conf, text);
    struct scan s = {.conf = conf,
                     .file = file,
                     .at = kept,
                     .end = kept + text.len,
                     .line_start = kept,
                     .line = 1,
                     .include_depth = include_depth,
                     .error = error};
    s.scopes[0] = map;
    return parse_members(&s, map, false);
}

static enum err load_into(struct scan *outer, struct bytes name, const char *path,
                          struct conf_value *map)
{
    struct buffer text = {0};
    struct error reason = {0};
    enum err err = read_file(path, &text, &reason);
    struct conf_value included = {.type = CONF_MAP}; /* its own scope for variables */
    if (err == OK) {
        err = parse_into(outer->conf, path, buffer_bytes(&text), outer->include_depth + 1,
                         &included, &reason);
    }
    for (uint32_t i = 0; err == OK && i < included.count; i++) {
        *conf_add_member(map, included.members[i].key) = included.members[i];
        included.members[i].value = (struct conf_value){0};
    }
    if (err != OK) {
        (void)error_set(outer->error, err, "error parsing include file '%.*s', %.400s",
                        BYTES_ARG(name), reason.message);
    }
    value_deinit(&included);
    buffer_deinit_secret(&text);
    return err;
}

struct conf *conf_parse(const char *name, struct bytes text, struct error *error)
{
    struct conf *conf = conf_new();
    const char *file = conf_keep(conf, bytes_of(name));
    if (parse_into(conf, file, text, 0, &conf->root, error) != OK) {
        conf_free(conf);
        return NULL;
    }
    return conf;
}

static bool is_yaml(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

struct conf *conf_load(const char *path, struct error *error)
{
    struct buffer text = {0};
    struct conf *conf = NULL;
    if (read_file(path, &text, error) == OK) {
        conf = is_yaml(path) ? conf_parse_yaml(path, buffer_bytes(&text), error)
                             : conf_parse(path, buffer_bytes(&text), error);
    }
    buffer_deinit_secret(&text);
    return conf;
}
