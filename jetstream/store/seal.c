#include "jetstream/store/seal.h"

#include <mbedtls/gcm.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/base/random.h"

#define KEY_LEN    32
#define RANDOM_LEN 16
#define TAG_LEN    16
#define NONCE_LEN  12

struct seal {
    enum seal_cipher cipher;
    uint8_t key[KEY_LEN];
};

/* BLAKE2b, keyed: contexts keep keys for different uses apart. */
static void derive(uint8_t out[KEY_LEN], const uint8_t *key, size_t key_len, const char *context,
                   struct bytes a, struct bytes b)
{
    crypto_generichash_state state;
    CHECK(sodium_init() >= 0);
    CHECK(crypto_generichash_init(&state, key, key_len, KEY_LEN) == 0);
    crypto_generichash_update(&state, (const uint8_t *)context, strlen(context) + 1);
    crypto_generichash_update(&state, (const uint8_t *)a.ptr, a.len);
    crypto_generichash_update(&state, (const uint8_t *)b.ptr, b.len);
    crypto_generichash_final(&state, out, KEY_LEN);
}

/* One key, one message: the nonce may stand still. */
static const uint8_t nonce[NONCE_LEN];

static void encrypt(enum seal_cipher cipher, const uint8_t key[KEY_LEN], struct bytes place,
                    struct bytes plain, uint8_t *out)
{
    const uint8_t *in = (const uint8_t *)plain.ptr, *ad = (const uint8_t *)place.ptr;
    if (cipher == SEAL_CHACHAPOLY) {
        crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, plain.len, ad, place.len, NULL,
                                                  nonce, key);
        return;
    }
    mbedtls_gcm_context gcm;
    mbedtls_gcm_init(&gcm);
    CHECK(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 8 * KEY_LEN) == 0);
    CHECK(mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, plain.len, nonce, NONCE_LEN, ad,
                                    place.len, in, out, TAG_LEN, out + plain.len) == 0);
    mbedtls_gcm_free(&gcm);
}

static bool decrypt(enum seal_cipher cipher, const uint8_t key[KEY_LEN], struct bytes place,
                    struct bytes sealed, uint8_t *out)
{
    const uint8_t *in = (const uint8_t *)sealed.ptr, *ad = (const uint8_t *)place.ptr;
    if (cipher == SEAL_CHACHAPOLY) {
        return crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, sealed.len, ad,
                                                         place.len, nonce, key) == 0;
    }
    mbedtls_gcm_context gcm;
    mbedtls_gcm_init(&gcm);
    CHECK(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 8 * KEY_LEN) == 0);
    size_t len = sealed.len - TAG_LEN;
    bool good = mbedtls_gcm_auth_decrypt(&gcm, len, nonce, NONCE_LEN, ad, place.len, in + len,
                                         TAG_LEN, in, out) == 0;
    mbedtls_gcm_free(&gcm);
    return good;
}

/* random · ciphertext and tag, under a key derived from `key`, the place and the random number */
static void close_under(enum seal_cipher cipher, const uint8_t *key, size_t key_len,
                        const char *context, struct bytes place, struct bytes plain,
                        struct buffer *out)
{
    uint8_t own[KEY_LEN];
    char *p = buffer_reserve(out, RANDOM_LEN + plain.len + TAG_LEN);
    random_system(p, RANDOM_LEN);
    derive(own, key, key_len, context, place, bytes_make(p, RANDOM_LEN));
    encrypt(cipher, own, place, plain, (uint8_t *)p + RANDOM_LEN);
    out->len += RANDOM_LEN + plain.len + TAG_LEN;
    sodium_memzero(own, sizeof own);
}

static bool open_under(enum seal_cipher cipher, const uint8_t *key, size_t key_len,
                       const char *context, struct bytes place, struct bytes sealed,
                       struct buffer *out)
{
    uint8_t own[KEY_LEN];
    if (sealed.len < SEAL_OVERHEAD) {
        return false;
    }
    struct bytes body = bytes_skip(sealed, RANDOM_LEN);
    char *p = buffer_reserve(out, body.len);
    derive(own, key, key_len, context, place, bytes_make(sealed.ptr, RANDOM_LEN));
    bool good = decrypt(cipher, own, place, body, (uint8_t *)p);
    out->len += good ? body.len - TAG_LEN : 0;
    sodium_memzero(own, sizeof own);
    return good;
}

/* --- the records' key --- */

struct seal *seal_new(enum seal_cipher cipher)
{
    struct seal *s = NEW(struct seal);
    s->cipher = cipher;
    random_system(s->key, KEY_LEN);
    return s;
}

void seal_free(struct seal *s)
{
    if (s != NULL) {
        sodium_memzero(s->key, KEY_LEN);
        free(s);
    }
}

/* Keys that people choose may have any length; the hash takes 64 bytes at most. */
static void master(uint8_t out[KEY_LEN], struct bytes key)
{
    derive(out, NULL, 0, "trireme configured key", key, BYTES_NONE);
}

#define WRAP_CONTEXT "trireme records' key"

void seal_wrap(const struct seal *s, struct bytes key, struct buffer *out)
{
    uint8_t kek[KEY_LEN];
    char cipher = (char)s->cipher;
    master(kek, key);
    buffer_append_char(out, cipher);
    close_under(SEAL_CHACHAPOLY, kek, KEY_LEN, WRAP_CONTEXT, bytes_make(&cipher, 1),
                bytes_make(s->key, KEY_LEN), out);
    sodium_memzero(kek, sizeof kek);
}

struct seal *seal_unwrap(struct bytes wrapped, struct bytes key)
{
    uint8_t kek[KEY_LEN];
    struct buffer plain = {0};
    struct seal *s = NULL;
    if (wrapped.len < 1) {
        return NULL;
    }
    master(kek, key);
    uint8_t cipher = (uint8_t)wrapped.ptr[0];
    bool good = open_under(SEAL_CHACHAPOLY, kek, KEY_LEN, WRAP_CONTEXT, bytes_make(wrapped.ptr, 1),
                           bytes_skip(wrapped, 1), &plain);
    if (good && plain.len == KEY_LEN && (cipher == SEAL_CHACHAPOLY || cipher == SEAL_AES)) {
        s = NEW(struct seal);
        s->cipher = (enum seal_cipher)cipher;
        memcpy(s->key, plain.data, KEY_LEN);
    }
    if (plain.data != NULL) {
        sodium_memzero(plain.data, plain.len);
    }
    buffer_deinit(&plain);
    sodium_memzero(kek, sizeof kek);
    return s;
}

/* --- records --- */

void seal_close(const struct seal *s, struct bytes place, struct bytes plain, struct buffer *out)
{
    close_under(s->cipher, s->key, KEY_LEN, "trireme record", place, plain, out);
}

enum err seal_open(const struct seal *s, struct bytes place, struct bytes sealed,
                   struct buffer *out)
{
    return open_under(s->cipher, s->key, KEY_LEN, "trireme record", place, sealed, out)
               ? OK
               : ERR_CORRUPT;
}
