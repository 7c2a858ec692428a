/* Log entries and checkpoints of a stream, as a damaged or hostile peer might send them. */
#include "core/base/json.h"
#include "core/base/mem.h"
#include "jetstream/state/stream.h"

static struct blob *read_nothing(void *arg, uint64_t index)
{
    (void)arg;
    (void)index;
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream_config config = {
        .name = mem_strdup("S"), .max_msgs = -1, .max_bytes = -1, .duplicate_window_ns = 1000};
    struct stream *s = stream_new(&config, 1, read_nothing, NULL);
    struct bytes input = bytes_make(data, size);
    if (size > 0 && (data[0] & 0x80) != 0) {
        (void)(stream_decode(s, bytes_skip(input, 1)) == OK);
    } else {
        struct apply_result result;
        (void)(stream_apply(s, 1, input, &result, NULL, NULL) == OK);
    }
    stream_free(s);
    return 0;
}
