/* fields: what clients say in JSON, by table. A row says what a member is and where it is kept, how
 * it is printed, what an update may do to it; reading, refusing, printing and comparing follow from
 * that, and a new member is one row. Reading is that of Go's encoding/json, to the words of its
 * errors.
 *
 * Any thread. */
#ifndef JETSTREAM_STATE_FIELDS_H
#define JETSTREAM_STATE_FIELDS_H

#include <stddef.h>

#include "core/base/buffer.h"
#include "core/base/json.h"
#include "jetstream/state/api_error.h"

/* And how it is kept. */
enum field_kind {
    FIELD_TEXT,      /* char *, owned; NULL: "" */
    FIELD_BOOL,      /* bool */
    FIELD_INT,       /* int64_t, or a narrower one, then at most what fits */
    FIELD_UINT,      /* uint64_t */
    FIELD_DURATION,  /* int64_t, ns */
    FIELD_TIME,      /* struct go_time */
    FIELD_WORD,      /* an enum or bool: a value of `words` */
    FIELD_TEXTS,     /* char **, owned, as is what it points to; NULL: none */
    FIELD_DURATIONS, /* int64_t *, owned; NULL: none */
    FIELD_MAP,       /* json_t *, owned: text to text; NULL: none */
    FIELD_OBJECT,    /* a struct, in place: `table` */
    FIELD_OBJECTS    /* a list of those; not kept: rows without a place only */
};

struct word {
    const char *text; /* NULL ends the list; the first of a value is printed */
    int value;
    bool unsupported; /* understood, and refused */
};

enum field_print {
    PRINT_ALWAYS,
    PRINT_SET,   /* unless it is zero, as Go's omitempty */
    PRINT_NEVER, /* of requests */
};

struct field {
    const char *name; /* NULL ends the table */
    enum field_kind kind;
    enum field_print print;
    const char *go_type; /* "int32"; NULL: what the kind is mostly */
    const struct word *words;
    const struct fields *table;
    const char
        *embedded; /* the struct that Go has it in inside the table's; for errors. "": none */
    const char *word_error;  /* FIELD_WORD: what comes before the raw text; NULL: as most have it */
    const char *unsupported; /* a row without a place: printed to clients; NULL: not printed */
    const char *frozen;      /* an update may not change it: the error; NULL: it may */
    bool frozen_set;         /* …: only what was set may not be cleared */
    bool frozen_unsupported; /* …: and `frozen` is what is not supported */
    bool stored_set;         /* in the stored form only unless zero */
    bool unlimited;          /* a row without a place: below zero is nothing, too */
    bool any_case;           /* FIELD_WORD: in capitals, too */
    uint16_t size;         /* of the place; 0: there is none, only what asks for nothing is taken */
    uint32_t at, count_at; /* the place; of lists, also the uint32_t of their length */
};

struct fields {
    const char *go_type; /* of the struct, in errors */
    const struct field *rows;
    const char *embedded; /* of rows that do not say it themselves */
};

/* The place of a row. */
#define FIELD_AT(type, member)                                                                     \
    .size = (uint16_t)sizeof(((type *)0)->member), .at = (uint32_t)offsetof(type, member)
#define FIELD_COUNT(type, member) .count_at = (uint32_t)offsetof(type, member)

enum fields_text {
    FIELDS_REQUEST, /* any number of values, unknown members are errors */
    FIELDS_LOOSE,   /* one value, unknown members are passed over */
    FIELDS_STORED   /* written by fields_json(), by this version or another: no ranges */
};
/* Reads into a struct of zeros and defaults. What the table does not support and the text asks for
 * is refused by name (JS_STREAM_CONFIG), everything else that is wrong as JS_INVALID_JSON; then
 * fields_deinit() is still due. Empty text is an empty object. */
bool fields_read(const struct fields *table, enum fields_text kind, struct bytes text, void *into,
                 struct js_error *error);
/* Bodies that may be left out are read only when they begin like JSON. */
bool fields_text_is_json(struct bytes text);
/* Blanks, or an object without members. */
bool fields_text_is_empty(struct bytes text);
void fields_deinit(const struct fields *table, void *of);
/* `stored`: as short as it can be read from. */
json_t *fields_json(const struct fields *table, const void *of, bool stored);
bool fields_equal(const struct fields *table, const void *a, const void *b);
/* May `old` become `new`? */
bool fields_check_update(const struct fields *table, const void *old, const void *new,
                         enum js_err refusal, struct js_error *error);

#endif
