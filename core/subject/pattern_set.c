#include "core/subject/pattern_set.h"

#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/map.h"
#include "core/base/mem.h"

/* Recursion ends at the depth of the deepest pattern: PATTERN_BYTES_MAX / 2.
 *
 * (1) A node has something below or at it: `here` patterns end there, `rest` go on with '>'. */
struct node {
    struct map tokens; /* literal token → struct node */
    struct node *any;  /* '*'; NULL none */
    uint32_t here, rest;
};

struct pattern_set {
    struct node root;
};

struct pattern_set *pattern_set_new(void)
{
    return NEW(struct pattern_set);
}

static void node_deinit(struct node *n);

static void node_free(struct node *n)
{
    if (n != NULL) {
        node_deinit(n);
        free(n);
    }
}

static void node_deinit(struct node *n)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&n->tokens, &i)) != NULL;) {
        node_free(e->value);
    }
    map_deinit(&n->tokens);
    node_free(n->any);
}

void pattern_set_free(struct pattern_set *set)
{
    if (set != NULL) {
        node_deinit(&set->root);
        free(set);
    }
}

void pattern_set_add(struct pattern_set *set, struct bytes pattern)
{
    struct node *n = &set->root;
    struct bytes token;
    if (pattern.len > PATTERN_BYTES_MAX) {
        return;
    }
    while (bytes_token(&pattern, '.', &token)) {
        if (bytes_is(token, ">")) {
            n->rest++;
            return;
        }
        struct node *next = bytes_is(token, "*") ? n->any : map_get(&n->tokens, token);
        if (next == NULL) {
            next = NEW(struct node);
            if (bytes_is(token, "*")) {
                n->any = next;
            } else {
                (void)map_put(&n->tokens, token, next);
            }
        }
        n = next;
    }
    n->here++;
}

static bool is_empty(const struct node *n)
{
    return n->here == 0 && n->rest == 0 && n->any == NULL && n->tokens.count == 0;
}

static void take_out(struct node *n, struct bytes rest)
{
    struct bytes token;
    if (!bytes_token(&rest, '.', &token)) {
        CHECK(n->here > 0);
        n->here--;
    } else if (bytes_is(token, ">")) {
        CHECK(n->rest > 0);
        n->rest--;
    } else if (bytes_is(token, "*")) {
        CHECK(n->any != NULL);
        take_out(n->any, rest);
        if (is_empty(n->any)) {
            node_free(n->any);
            n->any = NULL;
        }
    } else {
        struct node *next = map_get(&n->tokens, token);
        CHECK(next != NULL);
        take_out(next, rest);
        if (is_empty(next)) {
            node_free(map_remove(&n->tokens, token));
        }
    }
}

void pattern_set_remove(struct pattern_set *set, struct bytes pattern)
{
    if (pattern.len <= PATTERN_BYTES_MAX) {
        take_out(&set->root, pattern);
    }
}

bool pattern_set_has(const struct pattern_set *set, struct bytes pattern)
{
    const struct node *n = &set->root;
    struct bytes token;
    while (n != NULL && bytes_token(&pattern, '.', &token)) {
        if (bytes_is(token, ">")) {
            return n->rest > 0;
        }
        n = bytes_is(token, "*") ? n->any : map_get(&n->tokens, token);
    }
    return n != NULL && n->here > 0;
}

static bool overlaps(const struct node *n, struct bytes rest)
{
    struct bytes token;
    struct map_entry *e;
    if (n == NULL) {
        return false;
    }
    if (!bytes_token(&rest, '.', &token)) {
        return n->here > 0;
    }
    if (n->rest > 0) {
        return true;
    }
    if (bytes_is(token, ">")) { /* whatever is below has one token more, at least */
        return n->any != NULL || n->tokens.count > 0;
    }
    if (!bytes_is(token, "*")) {
        return overlaps(n->any, rest) || overlaps(map_get(&n->tokens, token), rest);
    }
    for (uint32_t i = 0; (e = map_next(&n->tokens, &i)) != NULL;) {
        if (overlaps(e->value, rest)) {
            return true;
        }
    }
    return overlaps(n->any, rest);
}

bool pattern_set_overlaps(const struct pattern_set *set, struct bytes pattern)
{
    return pattern.len <= PATTERN_BYTES_MAX && overlaps(&set->root, pattern);
}

static uint32_t covering(const struct node *n, struct bytes rest, uint32_t most)
{
    struct bytes token;
    if (n == NULL || most == 0) {
        return 0;
    }
    if (!bytes_token(&rest, '.', &token)) {
        return n->here < most ? n->here : most;
    }
    uint32_t found = n->rest < most ? n->rest : most;
    if (bytes_is(token, ">")) {
        return found;
    }
    found += covering(n->any, rest, most - found);
    return bytes_is(token, "*") ? found
                                : found + covering(map_get(&n->tokens, token), rest, most - found);
}

uint32_t pattern_set_covering(const struct pattern_set *set, struct bytes pattern, uint32_t most)
{
    return pattern.len > PATTERN_BYTES_MAX ? 0 : covering(&set->root, pattern, most);
}

static bool matches(const struct node *n, struct bytes rest)
{
    struct bytes token;
    if (n == NULL) {
        return false;
    }
    if (!bytes_token(&rest, '.', &token)) {
        return n->here > 0;
    }
    return n->rest > 0 || matches(n->any, rest) || matches(map_get(&n->tokens, token), rest);
}

bool pattern_set_matches(const struct pattern_set *set, struct bytes subject)
{
    return matches(&set->root, subject);
}
