#include "core/base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"

#ifdef __GLIBC__ /* known from here on */
#include <malloc.h>
#endif

void *mem_alloc(size_t bytes)
{
    void *p = malloc(bytes == 0 ? 1 : bytes);
    CHECK(p != NULL);
    return p;
}

void *mem_zalloc(size_t bytes)
{
    void *p = calloc(1, bytes == 0 ? 1 : bytes);
    CHECK(p != NULL);
    return p;
}

void *mem_realloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes == 0 ? 1 : bytes);
    CHECK(p != NULL);
    return p;
}

char *mem_strdup(const char *text)
{
    return mem_dup(text, strlen(text));
}

char *mem_dup(const void *bytes, size_t len)
{
    char *p = mem_alloc(len + 1);
    if (len > 0) {
        memcpy(p, bytes, len);
    }
    p[len] = '\0';
    return p;
}

void mem_free_secret(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

void *mem_try_alloc(size_t bytes)
{
    return malloc(bytes == 0 ? 1 : bytes);
}

void mem_give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void mem_map_big_blocks(size_t bytes)
{
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, (int)bytes);
#else
    (void)bytes;
#endif
}
