/* Shared by the two syntaxes of a configuration: conf.c and yaml.c. */
#ifndef CORE_CONFIG_CONF_INTERNAL_H
#define CORE_CONFIG_CONF_INTERNAL_H

#include "core/config/conf.h"

#define NESTING_MAX 64

struct conf {
    struct conf_value root;
    char **texts; /* owned strings the tree points into */
    uint32_t text_count, text_cap;
};

/* An empty tree, whose root is a map. */
struct conf *conf_new(void);
/* A copy that lives as long as the tree. */
const char *conf_keep(struct conf *conf, struct bytes text);
/* A member of a map, which replaces one spelled the same; of an array with key.ptr NULL. */
struct conf_member *conf_add_member(struct conf_value *parent, struct bytes key);

#endif
