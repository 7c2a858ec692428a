/* Raft messages of a peer: whatever decodes encodes to something that decodes the same. */
#include "core/base/check.h"
#include "raft/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_message m;
    if (raft_wire_decode(bytes_make(data, size), &m) == OK) {
        struct buffer again = {0};
        struct buffer third = {0};
        struct raft_message n;
        raft_wire_encode(&again, &m);
        CHECK(raft_wire_decode(buffer_bytes(&again), &n) == OK);
        raft_wire_encode(&third, &n);
        CHECK(bytes_eq(buffer_bytes(&again), buffer_bytes(&third)));
        buffer_deinit(&again);
        buffer_deinit(&third);
        raft_message_deinit(&n);
        raft_message_deinit(&m);
    }
    return 0;
}
