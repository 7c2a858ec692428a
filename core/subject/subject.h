/* subject: the rules for subjects and their wildcards. NATS client protocol, §2.2.
 *
 * Tokens are separated by '.', and are not empty. '*' stands for one token, '>' for one or more and
 * comes last; both count only as whole tokens. */
#ifndef CORE_SUBJECT_SUBJECT_H
#define CORE_SUBJECT_SUBJECT_H

#include "core/base/bytes.h"

/* No empty token, no byte <= ' ', '>' only last. Wildcards allowed. */
bool subject_is_valid(struct bytes subject);
/* Valid and without wildcards. */
bool subject_is_literal(struct bytes subject);
/* True when a token is '*' or '>'. */
bool subject_has_wildcard(struct bytes subject);
/* Does `pattern` cover the literal `subject`? Wildcards inside `subject` count as literal tokens.
 */
bool subject_matches(struct bytes pattern, struct bytes subject);
/* Does every subject matched by `part` also match `pattern`? */
bool subject_covers(struct bytes pattern, struct bytes part);
/* Is there a literal subject that both match? */
bool subject_overlaps(struct bytes a, struct bytes b);
unsigned subject_token_count(struct bytes subject);

#endif
