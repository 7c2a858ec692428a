/* Typed reading of configuration values. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/config/take_internal.h"

static void report(struct buffer *lines, const struct conf_member *m, const char *format,
                   va_list args)
{
    char text[512];
    (void)vsnprintf(text, sizeof text, format, args);
    buffer_printf(lines, "%s:%d:%d: %s\n", m->file, m->line, m->column, text);
}

void complain(struct context *c, const struct conf_member *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(&c->report->errors, m, format, args);
    va_end(args);
}

void warn(struct context *c, const struct conf_member *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(&c->report->warnings, m, format, args);
    va_end(args);
}

static void note(struct context *c, const struct conf_member *m, const char *colon,
                 const char *instead)
{
    buffer_printf(&c->report->notes,
                  "%s:%d:%d: option \"%.*s\" is known but has no effect in this version yet%s%s\n",
                  m->file, m->line, m->column, BYTES_ARG(m->key), colon, instead);
}

void note_no_effect(struct context *c, const struct conf_member *m)
{
    note(c, m, "", "");
}

void note_instead(struct context *c, const struct conf_member *m, const char *instead)
{
    note(c, m, ": ", instead);
}

bool expect_type(struct context *c, const struct conf_member *m, enum conf_type type)
{
    if (m->value.type == type) {
        return true;
    }
    complain(c, m, "interface conversion: interface {} is %s, not %s",
             conf_type_name(m->value.type), conf_type_name(type));
    return false;
}

void take_text(struct context *c, const struct conf_member *m, char **field)
{
    if (expect_type(c, m, CONF_STRING)) {
        option_set(field, m->value.text.ptr);
    }
}

void take_name(struct context *c, const struct conf_member *m, const char *what, char **field)
{
    take_text(c, m, field);
    if (m->value.type == CONF_STRING && strchr(m->value.text.ptr, ' ') != NULL) {
        complain(c, m, "%s cannot contain spaces", what);
    }
}

void take_bool(struct context *c, const struct conf_member *m, bool *field)
{
    if (expect_type(c, m, CONF_BOOL)) {
        *field = m->value.integer != 0;
    }
}

void take_switch(struct context *c, const struct conf_member *m, bool *field)
{
    static const char *const on[] = {"enabled", "enable", NULL};
    static const char *const off[] = {"disabled", "disable", NULL};
    if (m->value.type == CONF_BOOL) {
        *field = m->value.integer != 0;
    } else if (m->value.type != CONF_STRING) {
        complain(c, m, "Expected map, bool or string to define JetStream, got %s",
                 conf_type_name(m->value.type));
    } else if (key_in(m->value.text, on) || key_in(m->value.text, off)) {
        *field = key_in(m->value.text, on);
    } else {
        complain(c, m, "Expected 'enabled' or 'disabled' for string value, got '%.*s'",
                 BYTES_ARG(m->value.text));
    }
}

void take_int(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (expect_type(c, m, CONF_INT)) {
        *field = m->value.integer;
    }
}

void take_int32(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (expect_type(c, m, CONF_INT)) {
        if (m->value.integer > INT32_MAX) {
            complain(c, m, "%.*s value is too big", BYTES_ARG(m->key));
            return;
        }
        *field = m->value.integer;
    }
}

bool take_seconds(const struct conf_member *m, int64_t *field)
{
    if (m->value.type != CONF_INT && m->value.type != CONF_FLOAT) {
        return false;
    }
    *field = clock_seconds(m->value.type == CONF_INT ? (double)m->value.integer : m->value.real);
    return true;
}

void take_duration(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (take_seconds(m, field)) {
        warn(c, m, "invalid use of field \"%.*s\": %.*s should be converted to a duration",
             BYTES_ARG(m->key), BYTES_ARG(m->key));
    } else if (expect_type(c, m, CONF_STRING) && !clock_parse_duration(m->value.text, field)) {
        complain(c, m, "error parsing %.*s: time: invalid duration \"%.*s\"", BYTES_ARG(m->key),
                 BYTES_ARG(m->value.text));
    }
}

void take_texts(struct context *c, const struct conf_member *m, struct text_list *list)
{
    if (m->value.type == CONF_STRING) {
        text_list_add(list, m->value.text);
        return;
    }
    if (m->value.type != CONF_ARRAY) {
        complain(c, m, "%.*s: expected a string or an array of strings, got %s", BYTES_ARG(m->key),
                 conf_type_name(m->value.type));
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_value *v = &m->value.members[i].value;
        if (v->type != CONF_STRING) {
            complain(c, m, "%.*s: expected strings in the array, got %s", BYTES_ARG(m->key),
                     conf_type_name(v->type));
        } else {
            text_list_add(list, v->text);
        }
    }
}

/* 4222 or "host:port" */
void take_listen(struct context *c, const struct conf_member *m, char **host, int *port)
{
    if (m->value.type == CONF_INT) {
        take_port(c, m, port);
        return;
    }
    if (!expect_type(c, m, CONF_STRING)) {
        return;
    }
    char *name;
    if (address_parse(m->value.text, &name, port) == OK) {
        option_set(host, name);
        free(name);
        return;
    }
    const char *colon = memrchr(m->value.text.ptr, ':', m->value.text.len);
    if (colon != NULL) {
        complain(c, m, "could not parse port \"%s\"", colon + 1);
    } else {
        complain(c, m, "could not parse address string \"%.*s\"", BYTES_ARG(m->value.text));
    }
}

void take_advertise(struct context *c, const struct conf_member *m, char **field)
{
    if (expect_type(c, m, CONF_STRING)) {
        option_set(field, m->value.text.ptr);
        if (!option_is_advertisable(*field)) {
            complain(c, m, "%.*s: \"%s\" is no host with a port", BYTES_ARG(m->key), *field);
        }
    }
}

void take_port(struct context *c, const struct conf_member *m, int *port)
{
    int64_t value = *port;
    take_int(c, m, &value);
    if (value < -1 || value > 65535) {
        complain(c, m, "port %lld is out of range", (long long)value);
    } else {
        *port = (int)value;
    }
}

/* Calls `apply` for each member found in `rows`; a row without handler warns; others are errors. */
void apply_table(struct context *c, const struct conf_value *map, const struct option_row *rows)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct conf_member *m = &map->members[i];
        const struct option_row *row = rows;
        while (row->name != NULL && !bytes_eq_nocase(m->key, bytes_of(row->name))) {
            row++;
        }
        if (row->name == NULL) {
            if (!m->used_as_variable) {
                complain(c, m, "unknown field \"%.*s\"", BYTES_ARG(m->key));
            }
        } else if (row->apply == NULL) {
            note_no_effect(c, m);
        } else {
            row->apply(c, m);
        }
    }
}

/* Unquoted sizes are integers already; quoted ones end in K, M, G or T, base 1024. */
void take_size(struct context *c, const struct conf_member *m, int64_t *field)
{
    if (m->value.type == CONF_INT) {
        *field = m->value.integer;
        return;
    }
    if (!expect_type(c, m, CONF_STRING)) {
        return;
    }
    char *rest;
    long long value = strtoll(m->value.text.ptr, &rest, 10);
    const char *units = "KMGT";
    const char *unit = rest[0] == '\0' ? NULL : strchr(units, rest[0]);
    if (m->value.text.len == 0) {
        *field = 0;
    } else if (unit == NULL || rest[1] != '\0' || rest == m->value.text.ptr) {
        complain(c, m, "%.*s sizes defined as strings must end in K, M, G, T", BYTES_ARG(m->key));
    } else {
        int64_t size = INT64_C(1) << (10 * (unit - units + 1));
        if (__builtin_mul_overflow((int64_t)value, size, field)) {
            complain(c, m, "%.*s is out of the range", BYTES_ARG(m->key));
        }
    }
}

bool key_in(struct bytes key, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (bytes_eq_nocase(key, bytes_of(*names))) {
            return true;
        }
    }
    return false;
}
