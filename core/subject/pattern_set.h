/* pattern_set: subjects with wildcards, each as often as it was added, so that one is compared with
 * thousands without a walk through all of them: a trie of their tokens.
 *
 * Asking for a subject without wildcards costs a step or two per token; a wildcard walks what is
 * below it, until something is found. Not synchronised. */
#ifndef CORE_SUBJECT_PATTERN_SET_H
#define CORE_SUBJECT_PATTERN_SET_H

#include "core/base/bytes.h"

struct pattern_set;

struct pattern_set *pattern_set_new(void);
/* NULL is nothing. */
void pattern_set_free(struct pattern_set *set);
/* Longer subjects are not in any set: nobody can publish to them (max_control_line), and a walk
 * goes as deep as they have tokens. */
#define PATTERN_BYTES_MAX 4096
/* Valid (subject.h), and so for all of these. */
void pattern_set_add(struct pattern_set *set, struct bytes pattern);
/* One that is there, once. */
void pattern_set_remove(struct pattern_set *set, struct bytes pattern);
bool pattern_set_has(const struct pattern_set *set, struct bytes pattern);
/* Is there a literal subject that matches both `pattern` and one of the set? */
bool pattern_set_overlaps(const struct pattern_set *set, struct bytes pattern);
/* Does one of the set match the literal subject, whose tokens mean themselves? */
bool pattern_set_matches(const struct pattern_set *set, struct bytes subject);
/* How many of the set cover `pattern` (subject_covers()), itself included; it stops counting at
 * `most`. */
uint32_t pattern_set_covering(const struct pattern_set *set, struct bytes pattern, uint32_t most);

#endif
