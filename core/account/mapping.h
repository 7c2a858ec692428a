/* mapping: where messages on a subject go instead, by weight. NATS client protocol §12.
 *
 * Read-only once built; a reload builds others. */
#ifndef CORE_ACCOUNT_MAPPING_H
#define CORE_ACCOUNT_MAPPING_H

#include "core/base/buffer.h"
#include "core/base/random.h"
#include "core/config/options.h"

struct mappings;

/* Those of the account that hold in the cluster of that name (NULL: no cluster); NULL when there
 * are none. The configuration has been checked. */
struct mappings *mappings_new(const struct account_options *account, const char *cluster);
/* NULL is allowed. */
void mappings_free(struct mappings *mappings);

/* True when a mapping covers the subject: *out then holds where the message goes, empty for
 * nowhere. */
bool mappings_apply(const struct mappings *mappings, struct bytes subject, struct random *random,
                    struct buffer *out);

#endif
