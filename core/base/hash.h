/* hash: checksums and hash functions. None of them is for passwords. */
#ifndef CORE_BASE_HASH_H
#define CORE_BASE_HASH_H

#include <stdint.h>

#include "core/base/bytes.h"

/* FNV-1a, 32 bits: account → route pool index, subject partitions (NATS). */
uint32_t hash_fnv1a(struct bytes b);
/* For tables in memory; the same on every node and run, so simulations repeat. */
uint64_t hash_bytes(struct bytes b);
/* CRC-32C (Castagnoli). Chain by passing the last result; start with 0. */
uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t len);
void hash_sha256(struct bytes b, uint8_t digest[32]);
/* The 8-character base62 id that NATS derives from a server or account name:
 * the first 8 bytes of SHA-256(name), each modulo 62. Writes 8 characters and a NUL. */
void hash_name8(struct bytes name, char id[9]);
/* A node's identity in Raft: the first 8 bytes of SHA-256(server name), big-endian; never 0. */
uint64_t hash_node_id(struct bytes name);

#endif
