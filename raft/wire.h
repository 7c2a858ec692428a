/* wire: Raft messages as bytes, for the peer connections. Versioned by the peer handshake. */
#ifndef RAFT_WIRE_H
#define RAFT_WIRE_H

#include "core/base/buffer.h"
#include "raft/raft.h"

/* Appends one message. Sender and receiver are known from the connection and not encoded. */
void raft_wire_encode(struct buffer *out, const struct raft_message *m);
/* Decodes one whole message; ERR_PARSE leaves *m empty. On success the caller deinits it; `from`
 * and `to` are left for the caller to fill in. */
MUST_USE enum err raft_wire_decode(struct bytes bytes, struct raft_message *m);
/* The group an encoded message is for, without decoding the rest; false when too short. */
bool raft_wire_group(struct bytes bytes, uint64_t *group);

#endif
