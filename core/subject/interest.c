#include "core/subject/interest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"

/* Trie: one node per token. Entries hang on the node of their last token. Most nodes have one child
 * and one entry, so these need no memory beside the node; a map of children is made for the second.
 *
 * (1) A node without entries and children is removed, so the trie is as large as the interest.
 * (2) generation[shard(first token)] or generation[WILD] changes after every change of entries that
 * a subject with that first token can match; a cached result carries both values from before its
 *     walk, so a change during the walk makes it stale, never wrongly valid. */
#define SHARDS 256
#define WILD   SHARDS

struct node {
    struct node *first;   /* the only literal child, while there is no map */
    struct map *children; /* token → struct node; its keys are the nodes' tokens */
    struct wildcards *wild;
    union {
        struct interest_entry *one;   /* cap 0 */
        struct interest_entry **many; /* owned */
    } entries;
    uint32_t count, cap;
    uint32_t token_len;
    char token[]; /* its name below its parent */
};

struct wildcards {
    struct node *star, *rest;
};

struct interest {
    pthread_rwlock_t lock;
    struct node *root;
    atomic_uint_fast64_t generation[SHARDS + 1];
    atomic_uint_fast64_t count, inserts;
};

struct cached {
    char *subject; /* owned; NULL: free slot */
    uint32_t subject_len;
    uint32_t shard;
    uint64_t shard_generation, wild_generation;
    struct interest_result result;
    void *memory; /* owned: one block for all arrays of the result */
};

struct interest_cache {
    struct cached slots[INTEREST_CACHE_SLOTS];
    struct cached *last; /* what was looked up last: streams of one subject hit it */
    struct interest_result nothing;
    uint64_t matches, misses;
};

static struct node *node_new(struct bytes token)
{
    struct node *node = mem_zalloc(sizeof *node + token.len);
    node->token_len = (uint32_t)token.len;
    if (token.len > 0) {
        memcpy(node->token, token.ptr, token.len);
    }
    return node;
}

static bool node_is_empty(const struct node *node)
{
    return node->count == 0 && node->first == NULL && node->children == NULL && node->wild == NULL;
}

static void node_free(struct node *node)
{
    CHECK(node_is_empty(node));
    free(node);
}

static struct bytes token_of(const struct node *node)
{
    return bytes_make(node->token, node->token_len);
}

static struct node *literal_child(const struct node *node, struct bytes token)
{
    if (node->children != NULL) {
        return map_get(node->children, token);
    }
    return node->first != NULL && bytes_eq(token_of(node->first), token) ? node->first : NULL;
}

struct interest *interest_new(void)
{
    struct interest *interest = NEW(struct interest);
    pthread_rwlock_init(&interest->lock, NULL);
    interest->root = node_new(BYTES_NONE);
    return interest;
}

void interest_free(struct interest *interest)
{
    if (interest != NULL) {
        CHECK(node_is_empty(interest->root));
        node_free(interest->root);
        pthread_rwlock_destroy(&interest->lock);
        free(interest);
    }
}

static struct bytes first_token(struct bytes subject)
{
    struct bytes token = BYTES_NONE;
    (void)bytes_token(&subject, '.', &token);
    return token;
}

static uint32_t shard_of(struct bytes subject)
{
    return (uint32_t)hash_bytes(first_token(subject)) % SHARDS;
}

static bool is_wild(struct bytes token)
{
    return token.len == 1 && (token.ptr[0] == '*' || token.ptr[0] == '>');
}

static void bump(struct interest *interest, struct bytes subject)
{
    uint32_t shard = is_wild(first_token(subject)) ? WILD : shard_of(subject);
    atomic_fetch_add(&interest->generation[shard], 1);
}

static struct node *child(struct node *node, struct bytes token, bool create)
{
    if (is_wild(token)) {
        if (node->wild == NULL && create) {
            node->wild = NEW(struct wildcards);
        }
        if (node->wild == NULL) {
            return NULL;
        }
        struct node **field = token.ptr[0] == '*' ? &node->wild->star : &node->wild->rest;
        if (*field == NULL && create) {
            *field = node_new(token);
        }
        return *field;
    }
    struct node *found = literal_child(node, token);
    if (found == NULL && create) {
        found = node_new(token);
        if (node->children == NULL && node->first == NULL) {
            node->first = found;
            return found;
        }
        if (node->children == NULL) {
            node->children = NEW(struct map);
            node->children->borrows_keys = true;
            (void)map_put(node->children, token_of(node->first), node->first);
            node->first = NULL;
        }
        (void)map_put(node->children, token_of(found), found);
    }
    return found;
}

static void add_entry(struct node *node, struct interest_entry *entry)
{
    if (node->count == 0) {
        node->entries.one = entry;
    } else {
        if (node->cap == 0) {
            struct interest_entry *one = node->entries.one;
            node->cap = 2;
            node->entries.many = mem_alloc(node->cap * sizeof(struct interest_entry *));
            node->entries.many[0] = one;
        }
        VEC_RESERVE(node->entries.many, node->cap, node->count);
        node->entries.many[node->count] = entry;
    }
    node->count++;
}

static void remove_entry(struct node *node, const struct interest_entry *entry)
{
    if (node->cap == 0) {
        CHECK(node->count == 1 && node->entries.one == entry);
        node->entries.one = NULL;
        node->count = 0;
        return;
    }
    struct interest_entry **many = node->entries.many;
    uint32_t i = 0;
    while (i < node->count && many[i] != entry) {
        i++;
    }
    CHECK(i < node->count);
    many[i] = many[--node->count];
    if (node->count <= 1) {
        node->entries.one = node->count == 1 ? many[0] : NULL;
        node->cap = 0;
        free(many);
    }
}

void interest_add(struct interest *interest, struct interest_entry *entry)
{
    pthread_rwlock_wrlock(&interest->lock);
    struct node *node = interest->root;
    struct bytes rest = entry->subject;
    struct bytes token;
    while (bytes_token(&rest, '.', &token)) {
        node = child(node, token, true);
    }
    add_entry(node, entry);
    pthread_rwlock_unlock(&interest->lock);
    atomic_fetch_add(&interest->count, 1);
    atomic_fetch_add(&interest->inserts, 1);
    bump(interest, entry->subject);
}

/* Removes the entry below `node`; afterwards the caller prunes children that became empty. */
static void remove_below(struct node *node, struct bytes rest, struct interest_entry *entry)
{
    struct bytes token;
    if (!bytes_token(&rest, '.', &token)) {
        remove_entry(node, entry);
        return;
    }
    struct node *next = child(node, token, false);
    CHECK(next != NULL);
    remove_below(next, rest, entry);
    if (!node_is_empty(next)) {
        return;
    }
    if (is_wild(token)) {
        *(token.ptr[0] == '*' ? &node->wild->star : &node->wild->rest) = NULL;
        if (node->wild->star == NULL && node->wild->rest == NULL) {
            free(node->wild);
            node->wild = NULL;
        }
    } else if (next == node->first) {
        node->first = NULL;
    } else {
        (void)map_remove(node->children, token);
        if (node->children->count == 0) {
            map_deinit(node->children);
            free(node->children);
            node->children = NULL;
        }
    }
    node_free(next);
}

void interest_remove(struct interest *interest, struct interest_entry *entry)
{
    pthread_rwlock_wrlock(&interest->lock);
    remove_below(interest->root, entry->subject, entry);
    pthread_rwlock_unlock(&interest->lock);
    atomic_fetch_sub(&interest->count, 1);
    bump(interest, entry->subject);
}

void interest_touch(struct interest *interest, struct interest_entry *entry)
{
    bump(interest, entry->subject);
}

uint64_t interest_count(const struct interest *interest)
{
    return atomic_load_explicit(&interest->count, memory_order_relaxed);
}

/* --- matching --- */

struct found {
    struct interest_entry **entries;
    uint32_t count, cap;
};

static void collect(const struct node *node, struct found *found)
{
    for (uint32_t i = 0; node != NULL && i < node->count; i++) {
        VEC_RESERVE(found->entries, found->cap, found->count);
        found->entries[found->count++] = node->cap == 0 ? node->entries.one : node->entries.many[i];
    }
}

static void walk(const struct node *node, struct bytes rest, struct found *found)
{
    struct bytes token;
    if (!bytes_token(&rest, '.', &token)) {
        collect(node, found);
        return;
    }
    if (node->wild != NULL) {
        collect(node->wild->rest, found);
        if (node->wild->star != NULL) {
            walk(node->wild->star, rest, found);
        }
    }
    const struct node *next = literal_child(node, token);
    if (next != NULL) {
        walk(next, rest, found);
    }
}

/* Sorts what was found into plain entries and groups, all in one block of memory. */
static void build_result(struct cached *slot, const struct found *found)
{
    uint32_t plain = 0;
    for (uint32_t i = 0; i < found->count; i++) {
        plain += found->entries[i]->queue.ptr == NULL;
    }
    uint32_t queued = found->count - plain;
    size_t pointers = (size_t)found->count * sizeof(void *);
    char *memory = mem_alloc(pointers + queued * sizeof(struct interest_group) + 1);
    struct interest_entry **all = (struct interest_entry **)(void *)memory;
    struct interest_group *groups = (struct interest_group *)(void *)(memory + pointers);
    struct interest_result *r = &slot->result;
    *r = (struct interest_result){all, 0, groups, 0};
    for (uint32_t i = 0; i < found->count; i++) {
        if (found->entries[i]->queue.ptr == NULL) {
            all[r->plain_count++] = found->entries[i];
        }
    }
    struct interest_entry **next = all + plain;
    for (uint32_t i = 0; i < found->count; i++) {
        struct bytes name = found->entries[i]->queue;
        bool first = name.ptr != NULL;
        for (uint32_t k = 0; first && k < r->group_count; k++) {
            first = !bytes_eq(groups[k].name, name);
        }
        if (!first) {
            continue;
        }
        struct interest_group *group = &groups[r->group_count++];
        *group = (struct interest_group){name, next, 0, 0};
        for (uint32_t k = i; k < found->count; k++) {
            struct interest_entry *e = found->entries[k];
            if (e->queue.ptr != NULL && bytes_eq(e->queue, name)) {
                group->members[group->count++] = e;
                group->weight += e->weight;
                next++;
            }
        }
    }
    slot->memory = memory;
}

static void clear_slot(struct cached *slot)
{
    free(slot->subject);
    free(slot->memory);
    *slot = (struct cached){0};
}

static bool is_current(struct interest *interest, const struct cached *slot)
{
    return slot->shard_generation == atomic_load(&interest->generation[slot->shard]) &&
           slot->wild_generation == atomic_load(&interest->generation[WILD]);
}

static bool is_for(const struct cached *slot, struct bytes subject)
{
    return slot->subject != NULL && slot->subject_len == subject.len &&
           memcmp(slot->subject, subject.ptr, subject.len) == 0;
}

/* Published subjects may hold wildcard bytes, which then count as literal tokens, but an empty
 * token matches nothing. */
static bool has_empty_token(struct bytes subject)
{
    if (subject.len == 0 || subject.ptr[0] == '.' || subject.ptr[subject.len - 1] == '.') {
        return true;
    }
    for (size_t i = 1; i < subject.len; i++) {
        if (subject.ptr[i] == '.' && subject.ptr[i - 1] == '.') {
            return true;
        }
    }
    return false;
}

const struct interest_result *interest_match(struct interest *interest,
                                             struct interest_cache *cache, struct bytes subject)
{
    struct cached *slot = cache->last;
    cache->matches++;
    if (slot != NULL && is_for(slot, subject) && is_current(interest, slot)) {
        return &slot->result;
    }
    slot = &cache->slots[hash_bytes(subject) % INTEREST_CACHE_SLOTS];
    if (is_for(slot, subject) && is_current(interest, slot)) {
        cache->last = slot;
        return &slot->result;
    }
    if (has_empty_token(subject)) {
        return &cache->nothing;
    }
    cache->misses++;
    clear_slot(slot);
    slot->shard = shard_of(subject);
    slot->shard_generation = atomic_load(&interest->generation[slot->shard]);
    slot->wild_generation = atomic_load(&interest->generation[WILD]);
    struct found found = {0};
    pthread_rwlock_rdlock(&interest->lock);
    walk(interest->root, subject, &found);
    pthread_rwlock_unlock(&interest->lock);
    build_result(slot, &found);
    free(found.entries);
    slot->subject = mem_dup(subject.ptr, subject.len);
    slot->subject_len = (uint32_t)subject.len;
    cache->last = slot;
    return &slot->result;
}

struct interest_cache *interest_cache_new(void)
{
    return NEW(struct interest_cache);
}

void interest_cache_free(struct interest_cache *cache)
{
    if (cache != NULL) {
        for (uint32_t i = 0; i < INTEREST_CACHE_SLOTS; i++) {
            clear_slot(&cache->slots[i]);
        }
        free(cache);
    }
}

void interest_stats(const struct interest *interest, const struct interest_cache *cache,
                    struct interest_stats *stats)
{
    if (interest != NULL) {
        uint64_t count = atomic_load(&interest->count), inserts = atomic_load(&interest->inserts);
        stats->subscriptions += count;
        stats->inserts += inserts;
        stats->removes += inserts > count ? inserts - count : 0;
    }
    if (cache == NULL) {
        return;
    }
    stats->matches += cache->matches;
    stats->hits += cache->matches - cache->misses;
    for (uint32_t i = 0; i < INTEREST_CACHE_SLOTS; i++) {
        const struct cached *slot = &cache->slots[i];
        uint64_t fanout = slot->result.plain_count + (uint64_t)slot->result.group_count;
        if (slot->subject != NULL) {
            stats->cached++;
            stats->fanout += fanout;
            stats->max_fanout = fanout > stats->max_fanout ? fanout : stats->max_fanout;
        }
    }
}
