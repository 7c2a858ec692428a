#include "core/subject/trie.h"

#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/table.h"
#include "core/subject/subject.h"

/* A node stands for the tokens that lead to it; below it, by the next token, are further nodes. A
 * branch on which there is only one entry is no chain of nodes but the entry itself, a leaf: its
 * subject says what the tokens would be. So a million different subjects below one token cost a
 * pointer each, beside the subscriptions.
 *
 * (1) At least two entries are on a node and below it, the root excepted.
 * (2) `offset` is where the next token of every subject on or below a node begins; an entry whose
 *     subject ends before that is on the node itself. Wildcards are tokens like others here. */
struct node {
    struct table children;       /* struct branch of the literal tokens, as pointers */
    uintptr_t star, rest;        /* struct branch: '*' and '>'; 0: none */
    struct interest_entry **own; /* owned: entries that end here */
    uint32_t own_count, own_cap;
    uint32_t offset;
    uint32_t token_len;
    char token[]; /* the last one on the way here */
};

/* What hangs on a token, as one word: a node, or a leaf with its lowest bit set. */
#define LEAF_BIT ((uintptr_t)1)

struct trie {
    struct node *root;
};

static bool is_leaf(uintptr_t branch)
{
    return (branch & LEAF_BIT) != 0;
}

static struct interest_entry *leaf_of(uintptr_t branch)
{
    return (struct interest_entry *)(branch & ~LEAF_BIT);
}

static uintptr_t leaf_branch(struct interest_entry *entry)
{
    return (uintptr_t)entry | LEAF_BIT;
}

static struct node *node_of(uintptr_t branch)
{
    return (struct node *)branch;
}

static bool ends_before(const struct interest_entry *entry, uint32_t offset)
{
    return offset > entry->subject_len;
}

static struct bytes token_at(const struct interest_entry *entry, uint32_t offset)
{
    struct bytes rest = bytes_skip(interest_subject(entry), offset);
    struct bytes token = BYTES_NONE;
    (void)bytes_token(&rest, '.', &token);
    return token;
}

static struct bytes branch_token(const void *item, uint32_t offset)
{
    uintptr_t branch = (uintptr_t)item;
    if (is_leaf(branch)) {
        return token_at(leaf_of(branch), offset);
    }
    return bytes_make(node_of(branch)->token, node_of(branch)->token_len);
}

static struct node *node_new(struct bytes token, uint32_t offset)
{
    struct node *node = mem_zalloc(sizeof *node + token.len);
    node->offset = offset;
    node->token_len = (uint32_t)token.len;
    if (token.len > 0) {
        memcpy(node->token, token.ptr, token.len);
    }
    return node;
}

static bool node_is_empty(const struct node *node)
{
    return node->own_count == 0 && node->children.count == 0 && node->star == 0 && node->rest == 0;
}

static void node_free(struct node *node)
{
    free(node->own);
    table_clear(&node->children);
    free(node);
}

struct trie *trie_new(void)
{
    struct trie *trie = NEW(struct trie);
    trie->root = node_new(BYTES_NONE, 0);
    return trie;
}

void trie_free(struct trie *trie)
{
    CHECK(node_is_empty(trie->root));
    node_free(trie->root);
    free(trie);
}

/* --- changes --- */

/* Where the branch of a token is kept; NULL when there is none. */
static uintptr_t *find_branch(struct node *node, struct bytes token)
{
    if (bytes_is(token, "*")) {
        return node->star == 0 ? NULL : &node->star;
    }
    if (bytes_is(token, ">")) {
        return node->rest == 0 ? NULL : &node->rest;
    }
    return (uintptr_t *)table_find(&node->children, token, branch_token, node->offset);
}

static void add_leaf(struct node *node, struct interest_entry *entry)
{
    struct bytes token = token_at(entry, node->offset);
    if (bytes_is(token, "*")) {
        node->star = leaf_branch(entry);
    } else if (bytes_is(token, ">")) {
        node->rest = leaf_branch(entry);
    } else {
        table_add(&node->children, (void *)leaf_branch(entry), branch_token, node->offset);
    }
}

static void drop_branch(struct node *node, struct bytes token)
{
    if (bytes_is(token, "*")) {
        node->star = 0;
    } else if (bytes_is(token, ">")) {
        node->rest = 0;
    } else {
        (void)table_remove(&node->children, token, branch_token, node->offset);
    }
}

static void add_own(struct node *node, struct interest_entry *entry)
{
    VEC_RESERVE(node->own, node->own_cap, node->own_count);
    node->own[node->own_count++] = entry;
}

/* On a node without that token, or whose subject ends there. */
static void hang(struct node *node, struct interest_entry *entry)
{
    if (ends_before(entry, node->offset)) {
        add_own(node, entry);
    } else {
        add_leaf(node, entry);
    }
}

void trie_add(struct trie *trie, struct interest_entry *entry)
{
    struct node *node = trie->root;
    for (;;) {
        struct bytes token = token_at(entry, node->offset);
        uintptr_t *branch = ends_before(entry, node->offset) ? NULL : find_branch(node, token);
        if (branch == NULL) {
            hang(node, entry);
            return;
        }
        if (is_leaf(*branch)) { /* there are two now: the other one moves a step down */
            struct node *between = node_new(token, node->offset + (uint32_t)token.len + 1);
            hang(between, leaf_of(*branch));
            *branch = (uintptr_t)between;
        }
        node = node_of(*branch);
    }
}

static void remove_own(struct node *node, const struct interest_entry *entry)
{
    uint32_t i = 0;
    while (i < node->own_count && node->own[i] != entry) {
        i++;
    }
    CHECK(i < node->own_count);
    node->own[i] = node->own[--node->own_count];
    if (node->own_count == 0) {
        free(node->own);
        node->own = NULL;
        node->own_cap = 0;
    }
}

static uint32_t branch_count(const struct node *node)
{
    return node->children.count + (node->star != 0) + (node->rest != 0);
}

/* The branch of a node that has one and nothing else, or 0. */
static uintptr_t only_branch(const struct node *node)
{
    if (node->own_count != 0 || branch_count(node) != 1) {
        return 0;
    }
    uint32_t i = 0;
    return node->star != 0   ? node->star
           : node->rest != 0 ? node->rest
                             : (uintptr_t)table_next(&node->children, &i);
}

/* The only entry on the node and below it, or NULL when there are more. Invariant (1) saves the
 * look into nodes below: there are two at least. */
static struct interest_entry *only_entry(const struct node *node)
{
    if (node->own_count == 1 && branch_count(node) == 0) {
        return node->own[0];
    }
    uintptr_t branch = only_branch(node);
    return is_leaf(branch) ? leaf_of(branch) : NULL;
}

/* The nodes that lead to one entry only, from the branch down, become that entry. */
static void collapse(uintptr_t *branch, struct interest_entry *only)
{
    uintptr_t at = *branch;
    *branch = leaf_branch(only); /* the same token: it may take the node's place */
    while (at != 0 && !is_leaf(at)) {
        struct node *node = node_of(at);
        at = only_branch(node);
        node_free(node);
    }
}

void trie_remove(struct trie *trie, struct interest_entry *entry)
{
    struct node *node = trie->root;
    uintptr_t *chain = NULL; /* what leads to the node without a fork in between */
    while (!ends_before(entry, node->offset)) {
        struct bytes token = token_at(entry, node->offset);
        uintptr_t *branch = find_branch(node, token);
        CHECK(branch != NULL);
        if (is_leaf(*branch)) {
            CHECK(leaf_of(*branch) == entry);
            drop_branch(node, token);
            entry = NULL;
            break;
        }
        if (chain == NULL || only_branch(node) == 0) {
            chain = branch;
        }
        node = node_of(*branch);
    }
    if (entry != NULL) {
        remove_own(node, entry);
    }
    struct interest_entry *only = chain == NULL ? NULL : only_entry(node);
    if (only != NULL) {
        collapse(chain, only);
    }
}

/* --- matching --- */

static void take(struct trie_found *found, struct interest_entry *entry)
{
    VEC_RESERVE(found->hits, found->cap, found->count);
    found->hits[found->count++] = (struct trie_hit){entry, entry->weight};
}

static void take_own(struct trie_found *found, const struct node *node)
{
    for (uint32_t i = 0; i < node->own_count; i++) {
        take(found, node->own[i]);
    }
}

/* Everything below '>' ends with it. */
static void take_rest(struct trie_found *found, uintptr_t branch)
{
    if (is_leaf(branch)) {
        take(found, leaf_of(branch));
    } else if (branch != 0) {
        take_own(found, node_of(branch));
    }
}

/* The part of the leaf's subject that begins at `offset` against what is left of the literal;
 * either may have ended (ptr NULL). */
static void take_leaf(struct trie_found *found, struct interest_entry *leaf, uint32_t offset,
                      struct bytes rest)
{
    if (ends_before(leaf, offset)
            ? rest.ptr == NULL
            : rest.ptr != NULL &&
                  subject_matches(bytes_skip(interest_subject(leaf), offset), rest)) {
        take(found, leaf);
    }
}

/* A node, and what of the literal is to be found below it. */
struct step {
    const struct node *node;
    struct bytes rest;
};

struct steps {
    struct step *items;
    uint32_t count, cap;
};

static void follow(uintptr_t branch, uint32_t offset, struct bytes rest, struct trie_found *found,
                   struct steps *ahead)
{
    if (is_leaf(branch)) {
        take_leaf(found, leaf_of(branch), offset, rest);
    } else if (branch != 0) {
        VEC_RESERVE(ahead->items, ahead->cap, ahead->count);
        ahead->items[ahead->count++] = (struct step){node_of(branch), rest};
    }
}

static void look_at(const struct node *node, struct bytes rest, struct trie_found *found,
                    struct steps *ahead)
{
    struct bytes token;
    if (!bytes_token(&rest, '.', &token)) {
        take_own(found, node);
        return;
    }
    take_rest(found, node->rest);
    follow(node->star, node->offset + 2, rest, found, ahead);
    uintptr_t branch = (uintptr_t)table_get(&node->children, token, branch_token, node->offset);
    follow(branch, node->offset + (uint32_t)token.len + 1, rest, found, ahead);
}

/* Not by recursion: a subject may have as many tokens as a control line has room for. */
void trie_match(const struct trie *trie, struct bytes subject, struct trie_found *found)
{
    struct steps ahead = {0};
    look_at(trie->root, subject, found, &ahead);
    while (ahead.count > 0) {
        struct step next = ahead.items[--ahead.count];
        look_at(next.node, next.rest, found, &ahead);
    }
    free(ahead.items);
}
