/* random: numbers for choices (queue members, back-off, ids); secrets come from the system. */
#ifndef CORE_BASE_RANDOM_H
#define CORE_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* xoshiro256**: fast, and the same sequence for the same seed. */
struct random {
    uint64_t s[4];
};
void random_seed(struct random *r, uint64_t seed);
uint64_t random_next(struct random *r);
/* 0 <= result < bound; bound > 0 */
uint64_t random_below(struct random *r, uint64_t bound);

/* From the system; aborts when it has none. */
void random_system(void *bytes, size_t len);
uint64_t random_system_u64(void);
/* `len` characters of 0-9A-Za-z and a NUL. */
void random_base62(char *text, size_t len);

#endif
