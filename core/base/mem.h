/* mem: small allocations abort when memory is gone; sizes chosen by a peer use the try_ form. */
#ifndef CORE_BASE_MEM_H
#define CORE_BASE_MEM_H

#include <stddef.h>

/* Never NULL. */
void *mem_alloc(size_t bytes);
void *mem_zalloc(size_t bytes);
void *mem_realloc(void *old, size_t bytes);
char *mem_strdup(const char *text);
/* Copies `len` bytes and appends a NUL. */
char *mem_dup(const void *bytes, size_t len);

/* Overwrites the text before it is freed. NULL is allowed. */
void mem_free_secret(char *text);

/* NULL when memory is not to be had. */
void *mem_try_alloc(size_t bytes);

#define NEW(type) ((type *)mem_zalloc(sizeof(type)))

/* Makes room for one more element in a growing array: vec_grow(&items, &cap, count). */
#define VEC_RESERVE(items, cap, count)                                                             \
    do {                                                                                           \
        if ((count) >= (cap)) {                                                                    \
            (cap) = (cap) == 0 ? 4 : (cap)*2;                                                      \
            (items) = mem_realloc((items), (size_t)(cap) * sizeof *(items));                       \
        }                                                                                          \
    } while (0)

/* Gives freed memory back to the system, where the C library keeps it otherwise. Takes milliseconds
 * per hundred megabytes. */
void mem_give_back(void);
/* Blocks from so many bytes on go back to the system when they are freed, whatever lies beside
 * them. */
void mem_map_big_blocks(size_t bytes);

#endif
