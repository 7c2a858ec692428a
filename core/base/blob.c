#include "core/base/blob.h"

#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/mem.h"

struct blob *blob_new(size_t len)
{
    CHECK(len <= UINT32_MAX);
    struct blob *b = mem_alloc(sizeof *b + len);
    atomic_init(&b->refs, 1);
    b->len = (uint32_t)len;
    return b;
}

struct blob *blob_copy(struct bytes bytes)
{
    struct blob *b = blob_new(bytes.len);
    if (bytes.len > 0) {
        memcpy(b->data, bytes.ptr, bytes.len);
    }
    return b;
}

struct blob *blob_retain(struct blob *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_release(struct blob *b)
{
    if (b != NULL && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        free(b);
    }
}
