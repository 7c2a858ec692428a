#include "core/subject/interest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/subject/trie.h"

/* (1) generation[shard(first token)] or generation[WILD] changes after every change of entries that
 * a subject with that first token can match; a cached result carries both values from before its
 *     walk, so a change during the walk makes it stale, never wrongly valid. */
#define SHARDS 256
#define WILD   SHARDS

struct interest {
    pthread_rwlock_t lock;
    struct trie *trie;
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

void interest_entry_init(struct interest_entry *e, char *text, struct bytes subject,
                         struct bytes queue, uint8_t kind)
{
    memcpy(text, subject.ptr, subject.len);
    if (queue.len > 0) {
        memcpy(text + subject.len, queue.ptr, queue.len);
    }
    *e = (struct interest_entry){text, (uint32_t)subject.len, (uint32_t)queue.len, .weight = 1,
                                 .kind = kind};
}

struct interest *interest_new(void)
{
    struct interest *interest = NEW(struct interest);
    pthread_rwlock_init(&interest->lock, NULL);
    interest->trie = trie_new();
    return interest;
}

void interest_free(struct interest *interest)
{
    if (interest != NULL) {
        trie_free(interest->trie);
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

void interest_add(struct interest *interest, struct interest_entry *entry)
{
    pthread_rwlock_wrlock(&interest->lock);
    trie_add(interest->trie, entry);
    pthread_rwlock_unlock(&interest->lock);
    atomic_fetch_add(&interest->count, 1);
    atomic_fetch_add(&interest->inserts, 1);
    bump(interest, interest_subject(entry));
}

void interest_remove(struct interest *interest, struct interest_entry *entry)
{
    pthread_rwlock_wrlock(&interest->lock);
    trie_remove(interest->trie, entry);
    pthread_rwlock_unlock(&interest->lock);
    atomic_fetch_sub(&interest->count, 1);
    bump(interest, interest_subject(entry));
}

void interest_set_weight(struct interest *interest, struct interest_entry *entry, uint32_t weight)
{
    CHECK(weight > 0);
    pthread_rwlock_wrlock(&interest->lock);
    entry->weight = weight;
    pthread_rwlock_unlock(&interest->lock);
    bump(interest, interest_subject(entry));
}

uint64_t interest_count(const struct interest *interest)
{
    return atomic_load_explicit(&interest->count, memory_order_relaxed);
}

/* --- matching --- */

/* By name of the group: members of one stand together. */
static int compare_hits(const void *a, const void *b)
{
    struct bytes x = interest_queue(((const struct trie_hit *)a)->entry);
    struct bytes y = interest_queue(((const struct trie_hit *)b)->entry);
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : (x.len > y.len) - (x.len < y.len);
}

/* Plain entries to the front, whatever their order. Returns how many there are. */
static uint32_t partition(struct trie_found *found)
{
    uint32_t plain = 0;
    for (uint32_t i = 0; i < found->count; i++) {
        if (found->hits[i].entry->queue_len == 0) {
            struct trie_hit hit = found->hits[i];
            found->hits[i] = found->hits[plain];
            found->hits[plain++] = hit;
        }
    }
    return plain;
}

/* Sorts what was found into plain entries and groups, all in one block of memory: a queue group may
 * have any name and number, so nothing here is quadratic in them. */
static void build_result(struct cached *slot, struct trie_found *found)
{
    uint32_t plain = partition(found);
    uint32_t queued = found->count - plain;
    struct trie_hit *hits = queued > 0 ? found->hits + plain : NULL; /* nothing was found at all? */
    if (queued > 1) {
        qsort(hits, queued, sizeof *hits, compare_hits);
    }
    size_t members_at = (size_t)plain * sizeof(struct interest_entry *);
    size_t groups_at = members_at + (size_t)queued * sizeof(struct interest_member);
    char *memory = mem_alloc(groups_at + (size_t)queued * sizeof(struct interest_group) + 1);
    struct interest_entry **all = (struct interest_entry **)(void *)memory;
    struct interest_member *members = (struct interest_member *)(void *)(memory + members_at);
    struct interest_group *groups = (struct interest_group *)(void *)(memory + groups_at);
    struct interest_group *group = NULL;
    for (uint32_t i = 0; i < plain; i++) {
        all[i] = found->hits[i].entry;
    }
    uint32_t group_count = 0;
    for (uint32_t i = 0; i < queued; i++) {
        struct bytes name = interest_queue(hits[i].entry);
        if (group == NULL || !bytes_eq(group->name, name)) {
            group = &groups[group_count++];
            *group = (struct interest_group){.name = name, .members = &members[i]};
        }
        CHECK(hits[i].weight > 0);
        group->weight += hits[i].weight;
        group->members[group->count++] = (struct interest_member){hits[i].entry, group->weight};
    }
    slot->result = (struct interest_result){all, plain, groups, group_count};
    slot->memory = memory;
}

uint32_t interest_group_pick(const struct interest_group *group, uint64_t draw)
{
    CHECK(draw < group->weight);
    uint32_t low = 0, high = group->count - 1; /* the first whose weight_to is beyond the draw */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (group->members[middle].weight_to > draw) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
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
    struct trie_found found = {0};
    pthread_rwlock_rdlock(&interest->lock);
    trie_match(interest->trie, subject, &found);
    pthread_rwlock_unlock(&interest->lock);
    build_result(slot, &found);
    free(found.hits);
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
