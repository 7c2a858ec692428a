/* conf: nats-server's configuration grammar, read into a tree. JSON with its freedoms: comments,
 * bare keys and values, `=`, `:` or a blank between them, size suffixes, variables, includes.
 *
 * The tree and all text in it belong to one struct conf and go with it. */
#ifndef CORE_CONFIG_CONF_H
#define CORE_CONFIG_CONF_H

#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/err.h"

enum conf_type { CONF_STRING, CONF_INT, CONF_FLOAT, CONF_BOOL, CONF_ARRAY, CONF_MAP };

struct conf_value {
    enum conf_type type;
    struct bytes text;           /* CONF_STRING; also a NUL-terminated C string */
    int64_t integer;             /* CONF_INT; CONF_BOOL as 0 or 1 */
    double real;                 /* CONF_FLOAT */
    struct conf_member *members; /* CONF_MAP, CONF_ARRAY (keys empty), in file order */
    uint32_t count, cap;
};

struct conf_member {
    struct bytes key; /* as spelled */
    struct conf_value value;
    const char *file; /* where the key stands */
    int line, column;
    bool used_as_variable; /* then an unknown option is tolerated */
};

struct conf; /* owns the tree */

/* Reads the file and what it includes; as YAML when its name ends in .yaml or .yml. On failure
 * returns NULL and fills *error with nats-server's wording ("Parse error on line N: '…'"). */
struct conf *conf_load(const char *path, struct error *error);
/* The same for text; `name` stands for the file in messages. Includes are relative to its folder.
 */
struct conf *conf_parse(const char *name, struct bytes text, struct error *error);
/* YAML (1.1, by libyaml) into the same tree. */
struct conf *conf_parse_yaml(const char *name, struct bytes text, struct error *error);
const struct conf_value *conf_root(const struct conf *conf);
/* SHA-256 of what the file says, in hex: comments, order and syntax do not matter. */
void conf_digest(const struct conf *conf, char hex[65]);
void conf_free(struct conf *conf);

/* "string", "int64", …: type names as nats-server's messages spell them. */
const char *conf_type_name(enum conf_type type);
/* Last member of that key, compared without case; NULL when there is none. */
const struct conf_member *conf_find(const struct conf_value *map, const char *key);

#endif
