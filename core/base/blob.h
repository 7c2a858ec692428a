/* blob: immutable, counted bytes that several owners share: a log entry is at once in the Raft
 * window, in a store batch, on its way to followers and being delivered to consumers.
 * The count is atomic because the commit thread and the loops release independently. */
#ifndef CORE_BASE_BLOB_H
#define CORE_BASE_BLOB_H

#include <stdatomic.h>

#include "core/base/bytes.h"

struct blob {
    atomic_uint refs;
    uint32_t len;
    char data[];
};

/* One reference, contents undefined: fill before sharing. */
struct blob *blob_new(size_t len);
struct blob *blob_copy(struct bytes bytes);
struct blob *blob_retain(struct blob *b);
/* NULL is allowed. */
void blob_release(struct blob *b);
static inline struct bytes blob_bytes(const struct blob *b)
{
    return bytes_make(b->data, b->len);
}

#endif
