#include "core/base/random.h"

#include <sys/random.h>

#include "core/base/check.h"

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void random_seed(struct random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) { /* splitmix64 */
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->s[i] = z ^ (z >> 31);
    }
}

uint64_t random_next(struct random *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t random_below(struct random *r, uint64_t bound)
{
    CHECK(bound > 0);
    return (uint64_t)(((__uint128_t)random_next(r) * bound) >> 64);
}

void random_system(void *bytes, size_t len)
{
    char *p = bytes;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        CHECK(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

uint64_t random_system_u64(void)
{
    uint64_t v;
    random_system(&v, sizeof v);
    return v;
}

void random_base62(char *text, size_t len)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < len; i++) {
        uint8_t byte;
        do {
            random_system(&byte, 1);
        } while (byte >= 248); /* 4 × 62: no bias */
        text[i] = digits[byte % 62];
    }
    text[len] = '\0';
}
