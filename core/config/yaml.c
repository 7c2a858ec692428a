/* YAML as another way to write a configuration. The same options, the same types:
 *
 *   plain scalars   true, false, yes, no, on, off: booleans; 42, -1: integers; 8K, 8M, 8MB, 8MiB
 *                   (upper case): sizes as in .conf files; 1.5: a number; $NAME: the environment's
 *                   text, read as a plain scalar; all else, 2m and 500ms among it, is a string
 *   quoted, | , >   strings
 *
 * One document; aliases are followed, but the whole may not have more than NODES_MAX values. */
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "core/base/buffer.h"
#include "core/base/mem.h"
#include "core/config/conf_internal.h"

#define NODES_MAX 100000

struct reading {
    struct conf *conf;
    yaml_document_t *document;
    const char *file; /* owned by conf */
    uint32_t nodes;
    struct error *error;
};

static enum err fail(const struct reading *r, yaml_mark_t at, const char *what)
{
    return error_set(r->error, ERR_PARSE, "%s:%zu:%zu: %s", r->file, at.line + 1, at.column + 1,
                     what);
}

static bool is_bool(struct bytes text, bool *value)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};
    for (int i = 0; i < 3; i++) {
        *value = bytes_eq_nocase(text, bytes_of(yes[i]));
        if (*value || bytes_eq_nocase(text, bytes_of(no[i]))) {
            return true;
        }
    }
    return false;
}

/* "", K, KB, KiB, … → what to multiply by; 0 when it is none of these. */
static int64_t unit_of(const char *suffix)
{
    static const char letters[] = "KMGTPE";
    if (*suffix == '\0') {
        return 1;
    }
    const char *letter = strchr(letters, suffix[0]);
    if (letter == NULL) {
        return 0;
    }
    bool binary = strcmp(suffix + 1, "B") == 0 || strcmp(suffix + 1, "i") == 0 ||
                  strcmp(suffix + 1, "iB") == 0;
    if (suffix[1] != '\0' && !binary) {
        return 0;
    }
    int64_t unit = 1;
    for (const char *l = letters; l <= letter; l++) {
        unit *= binary ? 1024 : 1000;
    }
    return unit;
}

static bool is_integer(const char *text, int64_t *value)
{
    char *rest;
    if (strchr("+-0123456789", text[0]) == NULL) {
        return false;
    }
    long long number = strtoll(text, &rest, 10);
    int64_t unit = rest == text ? 0 : unit_of(rest);
    return unit > 0 && !__builtin_mul_overflow((int64_t)number, unit, value);
}

static bool is_real(const char *text, double *value)
{
    char *rest;
    *value = strtod(text, &rest);
    return strchr("-.0123456789", text[0]) != NULL && *rest == '\0' &&
           strspn(text, "-.0123456789") == strlen(text);
}

static void read_plain(struct reading *r, struct bytes text, struct conf_value *value)
{
    const char *kept = conf_keep(r->conf, text);
    bool truth;
    if (text.len > 1 && text.ptr[0] == '$' && memcmp(text.ptr, "$2", 2) != 0 &&
        getenv(kept + 1) != NULL) {
        text = bytes_of(getenv(kept + 1));
        kept = conf_keep(r->conf, text);
    }
    *value = (struct conf_value){.type = CONF_STRING, .text = bytes_make(kept, text.len)};
    if (text.len == 0) {
        return;
    }
    if (is_bool(text, &truth)) {
        value->type = CONF_BOOL;
        value->integer = truth;
    } else if (is_integer(kept, &value->integer)) {
        value->type = CONF_INT;
    } else if (is_real(kept, &value->real)) {
        value->type = CONF_FLOAT;
    }
}

static enum err read_node(struct reading *r, int index, int depth, struct conf_value *value);

static void place(const struct reading *r, struct conf_member *m, const yaml_node_t *node)
{
    m->file = r->file;
    m->line = (int)node->start_mark.line + 1;
    m->column = (int)node->start_mark.column + 1;
}

static enum err read_map(struct reading *r, const yaml_node_t *node, int depth,
                         struct conf_value *value)
{
    value->type = CONF_MAP;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(r->document, pair->key);
        if (key->type != YAML_SCALAR_NODE) {
            return fail(r, key->start_mark, "a key has to be text");
        }
        struct bytes name = bytes_make(key->data.scalar.value, key->data.scalar.length);
        struct conf_value read = {0};
        enum err err = read_node(r, pair->value, depth, &read);
        struct conf_member *m =
            conf_add_member(value, bytes_make(conf_keep(r->conf, name), name.len));
        m->value = read; /* also half of it: it goes with the tree */
        place(r, m, key);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

static enum err read_list(struct reading *r, const yaml_node_t *node, int depth,
                          struct conf_value *value)
{
    value->type = CONF_ARRAY;
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        struct conf_value read = {0};
        enum err err = read_node(r, *item, depth, &read);
        struct conf_member *m = conf_add_member(value, BYTES_NONE);
        m->value = read;
        place(r, m, yaml_document_get_node(r->document, *item));
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

static enum err read_node(struct reading *r, int index, int depth, struct conf_value *value)
{
    const yaml_node_t *node = yaml_document_get_node(r->document, index);
    if (depth > NESTING_MAX || ++r->nodes > NODES_MAX) {
        return fail(r, node->start_mark, "nested too deeply, or too large");
    }
    if (node->type == YAML_MAPPING_NODE) {
        return read_map(r, node, depth + 1, value);
    }
    if (node->type == YAML_SEQUENCE_NODE) {
        return read_list(r, node, depth + 1, value);
    }
    struct bytes text = bytes_make(node->data.scalar.value, node->data.scalar.length);
    if (memchr(text.len == 0 ? "" : text.ptr, '\0', text.len) != NULL) {
        return fail(r, node->start_mark, "text with a NUL byte");
    }
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        read_plain(r, text, value);
    } else {
        *value = (struct conf_value){.type = CONF_STRING,
                                     .text = bytes_make(conf_keep(r->conf, text), text.len)};
    }
    return OK;
}

static enum err read_document(struct reading *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(r->document);
    if (root == NULL) {
        return OK; /* empty: no options */
    }
    if (root->type != YAML_MAPPING_NODE) {
        return fail(r, root->start_mark, "expected a mapping of options");
    }
    return read_map(r, root, 0, &r->conf->root);
}

struct conf *conf_parse_yaml(const char *name, struct bytes text, struct error *error)
{
    yaml_parser_t parser;
    yaml_document_t document;
    struct conf *conf = conf_new();
    struct reading r = {conf, &document, conf_keep(conf, bytes_of(name)), 0, error};
    CHECK(yaml_parser_initialize(&parser) != 0);
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.len == 0 ? "" : text.ptr),
                                 text.len);
    enum err err;
    if (yaml_parser_load(&parser, &document) != 0) {
        err = read_document(&r);
        yaml_document_delete(&document);
    } else {
        err = fail(&r, parser.problem_mark, parser.problem == NULL ? "unreadable" : parser.problem);
    }
    yaml_parser_delete(&parser);
    if (err != OK) {
        conf_free(conf);
        return NULL;
    }
    return conf;
}
