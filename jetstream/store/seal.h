/* seal: records are encrypted before they go to disk (jetstream { key, cipher, prev_key }).
 *
 * The records' key is random, made once per store, and kept in the store under a key derived from
 * the configured one. So another configured key costs one small record: a store that opens with
 * prev_key is kept under the new key from then on.
 *
 * Each record has a key of its own, derived from where it belongs and a random number in front of
 * it, so that no pair of key and nonce is ever used twice, however often a place is written again.
 *
 *   sealed:  16 random bytes · ciphertext · 16 bytes of authentication
 *
 * Ciphers: AES-256-GCM (mbedTLS), ChaCha20-Poly1305 (libsodium). Threads: any, once opened. */
#ifndef JETSTREAM_STORE_SEAL_H
#define JETSTREAM_STORE_SEAL_H

#include "core/base/buffer.h"
#include "core/base/err.h"

enum seal_cipher { SEAL_CHACHAPOLY = 1, SEAL_AES = 2 };

#define SEAL_OVERHEAD 32 /* bytes */

struct seal;

/* A new records' key, for a store that has none. */
struct seal *seal_new(enum seal_cipher cipher);
void seal_free(struct seal *seal);
/* The records' key under `key`, to be kept in the store. */
void seal_wrap(const struct seal *seal, struct bytes key, struct buffer *out);
/* NULL when it is not the right key, or damaged. */
struct seal *seal_unwrap(struct bytes wrapped, struct bytes key);

/* `place`: where the record belongs, authenticated with it. Appends. */
void seal_close(const struct seal *seal, struct bytes place, struct bytes plain,
                struct buffer *out);
/* ERR_CORRUPT when it was not sealed by this for that place. Appends. */
MUST_USE enum err seal_open(const struct seal *seal, struct bytes place, struct bytes sealed,
                            struct buffer *out);

#endif
