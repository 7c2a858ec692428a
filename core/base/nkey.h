/* nkey: public keys in NATS's text form: base32, without padding, of a prefix byte, the 32 bytes of
 * the Ed25519 key and a CRC-16 of both. Source: nkeys documentation; signatures by libsodium. */
#ifndef CORE_BASE_NKEY_H
#define CORE_BASE_NKEY_H

#include <stdint.h>

#include "core/base/bytes.h"

#define NKEY_TEXT_MAX 57 /* 56 characters and a NUL */

/* The first character of the text. */
enum nkey_kind { NKEY_ACCOUNT = 'A', NKEY_SERVER = 'N', NKEY_USER = 'U' };

/* False unless it is a public key of that kind: length, alphabet, prefix and checksum are right. */
bool nkey_decode(struct bytes text, enum nkey_kind kind, uint8_t key[32]);
void nkey_encode(enum nkey_kind kind, const uint8_t key[32], char text[NKEY_TEXT_MAX]);
/* A new server key's public half; its private half is not kept. */
void nkey_new_server(char text[NKEY_TEXT_MAX]);
/* `signature` is base64, url-safe or standard, padded or not, as clients send it, over the bytes of
 * `message`. False for any other input as well. Takes some 100 µs. */
bool nkey_verify(const uint8_t key[32], struct bytes message, struct bytes signature);

#endif
