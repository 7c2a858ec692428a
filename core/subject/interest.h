/* interest: who wants what, per account.
 *
 * A trie of subject tokens (trie.h), shared by all loops. Writers serialize on a lock. A reader
 * asks its own cache of results first: a result is valid while the generation counters of its
 * subject stand still (one counter per hash of the first token, one for subscriptions whose first
 * token is a wildcard). On a miss it walks the trie under the read lock and keeps the result.
 *
 * A result is an array ready to walk, owned by the reading loop's cache and valid until that loop's
 * next interest_match(). The subscribers in it stay allocated until the end of the loop's turn
 * (core/runtime/loop.h, Epochs), though they may have been removed meanwhile.
 *
 * Threads: interest_add/remove any thread; interest_match on a loop. Lock order: the lock is a
 * leaf. */
#ifndef CORE_SUBJECT_INTEREST_H
#define CORE_SUBJECT_INTEREST_H

#include <stdint.h>

#include "core/base/bytes.h"

struct interest;
struct interest_cache;

/* Embedded in the subscriber's own struct. Immutable between add and remove, but for `weight`,
 * which interest_set_weight() changes: who matches finds it in the result, and nowhere else. */
struct interest_entry {
    const char *text; /* borrowed: the subject, and the queue group's name right behind it */
    uint32_t subject_len;
    uint32_t queue_len; /* 0: plain subscription */
    uint32_t weight;    /* members this entry stands for in its queue group, > 0; 1: a local one */
    uint8_t kind;       /* the broker's: who it is (client, link, internal) */
};

static inline struct bytes interest_subject(const struct interest_entry *e)
{
    return bytes_make(e->text, e->subject_len);
}

/* ptr NULL without. */
static inline struct bytes interest_queue(const struct interest_entry *e)
{
    return e->queue_len == 0 ? BYTES_NONE : bytes_make(e->text + e->subject_len, e->queue_len);
}

/* Fills the entry, and copies subject and queue (which may be BYTES_NONE) to `text`, where there is
 * room for both. */
void interest_entry_init(struct interest_entry *e, char *text, struct bytes subject,
                         struct bytes queue, uint8_t kind);

struct interest_member {
    struct interest_entry *entry;
    uint64_t weight_to; /* of this member and all before it, as the match found them */
};
struct interest_group {
    struct bytes name; /* borrowed from a member */
    struct interest_member *members;
    uint32_t count;  /* > 0 */
    uint64_t weight; /* of all members, > 0; 2^32 members of 2^32 each have room */
};

/* Plain entries of one subject in `plain`, queue groups merged by queue name across subjects
 * (NATS client protocol §7.1). */
struct interest_result {
    struct interest_entry **plain;
    uint32_t plain_count;
    struct interest_group *groups;
    uint32_t group_count;
};

struct interest *interest_new(void);
/* Must be empty of entries. */
void interest_free(struct interest *interest);
void interest_add(struct interest *interest, struct interest_entry *entry);
/* After this no new result contains the entry; hand it to loop_retire() to free it. */
void interest_remove(struct interest *interest, struct interest_entry *entry);
/* Of an entry that is in the index; results computed from now on have it. weight > 0. */
void interest_set_weight(struct interest *interest, struct interest_entry *entry, uint32_t weight);
/* Never NULL; empty for subjects that are not valid literals (empty tokens match nothing). */
const struct interest_result *interest_match(struct interest *interest,
                                             struct interest_cache *cache, struct bytes subject);
/* The member that `draw` falls on when each takes as much room as its weight; draw < weight. */
uint32_t interest_group_pick(const struct interest_group *group, uint64_t draw);
uint64_t interest_count(const struct interest *interest);

struct interest_stats {
    uint64_t subscriptions, inserts, removes; /* of indexes */
    uint64_t matches, hits;                   /* of caches: looked up, and found there */
    uint64_t cached, max_fanout, fanout;      /* results kept; subscribers in the largest, in all */
};
/* Adds to *stats. Either may be NULL; the cache must be the current loop's. */
void interest_stats(const struct interest *interest, const struct interest_cache *cache,
                    struct interest_stats *stats);

/* One per (loop, account); bounded at INTEREST_CACHE_SLOTS results. */
#define INTEREST_CACHE_SLOTS 2048
struct interest_cache *interest_cache_new(void);
void interest_cache_free(struct interest_cache *cache);

#endif
