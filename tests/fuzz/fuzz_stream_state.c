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

/* A state, and, in the last `row_len` bytes, one of its rows. */
static void decode(struct stream *s, struct bytes input, size_t row_len)
{
    size_t cut = row_len < input.len ? input.len - row_len : input.len;
    struct bytes row = bytes_skip(input, cut);
    bool ok = stream_decode(s, bytes_make(input.ptr, cut)) == OK;
    if (ok && row.len > 0) {
        uint64_t number = (row.ptr[0] & 1) != 0 ? UINT64_C(1) << 63 : 1;
        ok = stream_decode_row(s, number, bytes_skip(row, 1)) == OK;
    }
    (void)(ok && stream_decode_end(s) == OK);
}

static void tell(void *arg, enum recovery_finding finding, uint64_t from, uint64_t to)
{
    (void)arg, (void)finding, (void)from, (void)to;
}

/* A record, then the rest as another, of a stream that has nothing else. Takes it. */
static struct stream *recover(struct stream *s, struct bytes input, size_t first_len)
{
    struct stream_recovery *r = stream_recovery_new(s, NULL, 0, 1, tell, NULL);
    size_t cut = first_len < input.len ? first_len : input.len;
    for (uint64_t index = 1; index <= 2; index++) {
        struct bytes record = index == 1 ? bytes_make(input.ptr, cut) : bytes_skip(input, cut);
        if (stream_recovery_record(r, index, record) != OK) {
            stream_recovery_missing(r);
        }
    }
    return stream_recovery_end(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream_config config = {
        .name = mem_strdup("S"), .max_msgs = -1, .max_bytes = -1, .duplicate_window_ns = 1000};
    struct stream *s = stream_new(&config, 1, read_nothing, NULL);
    struct bytes input = bytes_make(data, size);
    if (size > 0 && (data[0] & 0xc0) == 0xc0) {
        s = recover(s, bytes_skip(input, 1), data[0] & 0x3f);
    } else if (size > 0 && (data[0] & 0x80) != 0) {
        decode(s, bytes_skip(input, 1), data[0] & 0x3f);
    } else {
        struct apply_result result;
        (void)(stream_apply(s, 1, input, &result, NULL, NULL) == OK);
    }
    stream_free(s);
    return 0;
}
