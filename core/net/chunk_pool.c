#include "core/net/chunk_pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/base/check.h"
#include "core/base/mem.h"

#ifdef __SANITIZE_ADDRESS__

/* Let the sanitizer see each block's life. */
void *chunk_pool_take(void)
{
    return malloc(CHUNK_POOL_BLOCK);
}

void chunk_pool_give(void *block)
{
    free(block);
}

#else

#define REGION_BLOCKS 64u

static struct {
    pthread_mutex_t lock; /* leaf */
    void **vacant;        /* blocks without pages */
    uint32_t count, cap;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Lock held. False without memory. */
static bool add_region(void)
{
    size_t bytes = (size_t)REGION_BLOCKS * CHUNK_POOL_BLOCK;
    char *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) {
        return false;
    }
    /* A huge page would be resident for one block of it. */
    (void)madvise(region, bytes, MADV_NOHUGEPAGE);
    for (uint32_t i = REGION_BLOCKS; i-- > 0;) {
        VEC_RESERVE(pool.vacant, pool.cap, pool.count);
        pool.vacant[pool.count++] = region + (size_t)i * CHUNK_POOL_BLOCK;
    }
    return true;
}

void *chunk_pool_take(void)
{
    void *block = NULL;
    pthread_mutex_lock(&pool.lock);
    if (pool.count > 0 || add_region()) {
        block = pool.vacant[--pool.count];
    }
    pthread_mutex_unlock(&pool.lock);
    return block;
}

void chunk_pool_give(void *block)
{
    CHECK((uintptr_t)block % 4096 == 0);
    (void)madvise(block, CHUNK_POOL_BLOCK, MADV_DONTNEED);
    pthread_mutex_lock(&pool.lock);
    VEC_RESERVE(pool.vacant, pool.cap, pool.count);
    pool.vacant[pool.count++] = block;
    pthread_mutex_unlock(&pool.lock);
}

#endif
