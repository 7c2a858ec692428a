/* trie: the entries of an interest index by the tokens of their subjects.
 *
 * Not synchronised: core/subject/interest.h is what others use. */
#ifndef CORE_SUBJECT_TRIE_H
#define CORE_SUBJECT_TRIE_H

#include "core/subject/interest.h"

struct trie;

struct trie *trie_new(void);
/* Must be empty. */
void trie_free(struct trie *trie);
void trie_add(struct trie *trie, struct interest_entry *entry);
/* It must be there. */
void trie_remove(struct trie *trie, struct interest_entry *entry);

/* Entries found; a growing array that the caller frees. */
struct trie_found {
    struct trie_hit {
        struct interest_entry *entry;
        uint32_t weight; /* the entry's, now: it may be another one once the lock is let go */
    } * hits;
    uint32_t count, cap;
};
/* Every entry whose subject matches the literal `subject`, which has no empty token. */
void trie_match(const struct trie *trie, struct bytes subject, struct trie_found *found);

#endif
