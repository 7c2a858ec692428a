/* go_time: RFC 3339 as Go's time.Time reads it from JSON, to the words of its errors. Any thread.
 */
#ifndef CORE_BASE_GO_TIME_H
#define CORE_BASE_GO_TIME_H

#include "core/base/buffer.h"

/* `text`: between the quotes. *ns since 1970, within ±TIME_MAX_NS, and not 0, which is NATS's unset
 * time: so is Go's zero time read. On failure appends to *error why. */
bool go_time_parse(struct bytes text, int64_t *ns, struct buffer *error);

#endif
