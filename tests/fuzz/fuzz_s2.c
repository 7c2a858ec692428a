/* Compressed streams: any bytes decode, in any pieces, to the same or to an error. */
#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/net/s2.h"

static uint64_t run(struct bytes in, size_t step)
{
    struct s2_reader r = {0};
    struct buffer out = {0};
    uint64_t h = 1;
    enum err err = OK;
    while (in.len > 0 && err == OK) {
        struct bytes part = bytes_make(in.ptr, in.len < step ? in.len : step);
        in = bytes_skip(in, part.len);
        while ((err = s2_read(&r, &part, &out)) == OK && out.len > 0) {
            CHECK(out.len <= S2_BLOCK_MAX + (1u << 24));
            h = h * 31 + hash_bytes(buffer_bytes(&out));
            buffer_clear(&out);
        }
    }
    buffer_deinit(&out);
    s2_reader_deinit(&r);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_make(data, size);
    CHECK(run(in, size + 1) == run(in, 3));
    struct buffer stream = {0};
    s2_write(in, true, &stream);
    CHECK(size == 0 || run(buffer_bytes(&stream), stream.len) != 1);
    buffer_deinit(&stream);
    return 0;
}
