#include "core/base/nkey.h"

#include <sodium.h>

#include "core/base/check.h"

#define RAW_LEN 35 /* prefix, key, CRC */

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* CRC-16/XMODEM */
static uint16_t crc16(const uint8_t *bytes, size_t len)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc ^ (bytes[i] << 8));
        for (int k = 0; k < 8; k++) {
            crc = (uint16_t)((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
        }
    }
    return crc;
}

static uint8_t prefix_of(enum nkey_kind kind)
{
    return (uint8_t)((strchr(base32, (char)kind) - base32) << 3);
}

bool nkey_decode(struct bytes text, enum nkey_kind kind, uint8_t key[32])
{
    uint8_t raw[RAW_LEN];
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;
    if (text.len != NKEY_TEXT_MAX - 1) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        const char *digit = text.ptr[i] == '\0' ? NULL : strchr(base32, text.ptr[i]);
        if (digit == NULL) {
            return false;
        }
        bits = bits << 5 | (uint32_t)(digit - base32);
        have += 5;
        if (have >= 8) {
            have -= 8;
            raw[n++] = (uint8_t)(bits >> have);
        }
    }
    CHECK(n == RAW_LEN); /* 56 × 5 = 35 × 8 */
    uint16_t crc = crc16(raw, RAW_LEN - 2);
    if (raw[0] != prefix_of(kind) || raw[33] != (crc & 0xff) || raw[34] != crc >> 8) {
        return false;
    }
    memcpy(key, raw + 1, 32);
    return true;
}

void nkey_encode(enum nkey_kind kind, const uint8_t key[32], char text[NKEY_TEXT_MAX])
{
    uint8_t raw[RAW_LEN];
    raw[0] = prefix_of(kind);
    memcpy(raw + 1, key, 32);
    uint16_t crc = crc16(raw, RAW_LEN - 2);
    raw[33] = (uint8_t)(crc & 0xff);
    raw[34] = (uint8_t)(crc >> 8);
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;
    for (size_t i = 0; i < RAW_LEN; i++) {
        bits = bits << 8 | raw[i];
        have += 8;
        while (have >= 5) {
            have -= 5;
            text[n++] = base32[bits >> have & 31];
        }
    }
    text[n] = '\0';
}

void nkey_new_server(char text[NKEY_TEXT_MAX])
{
    CHECK(sodium_init() >= 0);
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret_key[crypto_sign_SECRETKEYBYTES];
    (void)crypto_sign_keypair(public_key, secret_key);
    sodium_memzero(secret_key, sizeof secret_key);
    nkey_encode(NKEY_SERVER, public_key, text);
}

bool nkey_verify(const uint8_t key[32], struct bytes message, struct bytes signature)
{
    static const int variants[] = {sodium_base64_VARIANT_URLSAFE_NO_PADDING,
                                   sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_URLSAFE,
                                   sodium_base64_VARIANT_ORIGINAL_NO_PADDING};
    uint8_t raw[crypto_sign_BYTES];
    CHECK(sodium_init() >= 0);
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        size_t len = 0;
        if (sodium_base642bin(raw, sizeof raw, signature.ptr, signature.len, NULL, &len, NULL,
                              variants[i]) == 0 &&
            len == sizeof raw) {
            return crypto_sign_verify_detached(raw, (const uint8_t *)message.ptr, message.len,
                                               key) == 0;
        }
    }
    return false;
}
