#include "core/base/hash.h"

#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

uint32_t hash_fnv1a(struct bytes b)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < b.len; i++) {
        h = (h ^ (uint8_t)b.ptr[i]) * 16777619u;
    }
    return h;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

uint64_t hash_bytes(struct bytes b)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ b.len;
    const char *p = b.ptr;
    size_t left = b.len;
    while (left >= 16) {
        h = mix(load64(p) ^ 0xe7037ed1a0b428dbu, load64(p + 8) ^ h);
        p += 16;
        left -= 16;
    }
    uint64_t low = 0;
    uint64_t high = 0;
    if (left > 8) {
        low = load64(p);
        memcpy(&high, p + 8, left - 8);
    } else if (left > 0) {
        memcpy(&low, p, left);
    }
    h = mix(low ^ 0xa0761d6478bd642fu, high ^ h);
    return mix(h ^ 0x589965cc75374cc3u, 0x1d8e4e27c47d124fu ^ b.len);
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p,
                                                                  size_t len)
{
    uint64_t c = crc;
    while (len >= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        c = _mm_crc32_u64(c, v);
        p += 8;
        len -= 8;
    }
    uint32_t c32 = (uint32_t)c;
    while (len-- > 0) {
        c32 = _mm_crc32_u8(c32, *p++);
    }
    return c32;
}
#endif

static uint32_t crc32c_portable(uint32_t crc, const uint8_t *p, size_t len)
{
    while (len-- > 0) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
        }
    }
    return crc;
}

uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t len)
{
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc32c_hardware(crc, bytes, len);
    }
#endif
    return ~crc32c_portable(crc, bytes, len);
}

void hash_sha256(struct bytes b, uint8_t digest[32])
{
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    (void)mbedtls_sha256((const unsigned char *)b.ptr, b.len, digest, 0);
#else
    (void)mbedtls_sha256_ret((const unsigned char *)b.ptr, b.len, digest, 0);
#endif
}

void hash_name8(struct bytes name, char id[9])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint8_t digest[32];
    hash_sha256(name, digest);
    for (int i = 0; i < 8; i++) {
        id[i] = digits[digest[i] % 62];
    }
    id[8] = '\0';
}

uint64_t hash_node_id(struct bytes name)
{
    uint8_t digest[32];
    hash_sha256(name, digest);
    uint64_t id = 0;
    for (int i = 0; i < 8; i++) {
        id = id << 8 | digest[i];
    }
    return id == 0 ? 1 : id;
}
