/* HTTP requests: one head, and a connection's bytes, which in any pieces are the same requests. */
#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "monitoring/http_input.h"

static void parse_one(const uint8_t *data, size_t size)
{
    struct http_head head;
    (void)http_head_parse(&head, bytes_make(data, size));
    CHECK(head.path != NULL && head.count <= HTTP_PARAMETERS_MAX);
    for (unsigned i = 0; i < head.count; i++) {
        CHECK(http_head_query(&head, head.names[i]) != NULL);
    }
    struct buffer location = {0};
    http_put_location(&location, head.path, head.query);
    for (size_t i = 0; i < location.len; i++) { /* nothing that ends a header's line */
        CHECK(location.data[i] > ' ' && location.data[i] < 0x7f);
    }
    buffer_deinit(&location);
    http_head_deinit(&head);
}

static uint64_t mix(uint64_t h, const char *text)
{
    return (h * 31) ^ (text == NULL ? 7 : hash_bytes(bytes_of(text)));
}

/* A fingerprint of what a server would do that is sent these bytes, `step` at a time, and that
 * takes a request only when it has answered the one before. */
static uint64_t serve(const uint8_t *data, size_t size, size_t step)
{
    struct http_input in = {0};
    struct http_head head;
    enum http_input_status status = HTTP_INPUT_MORE;
    uint64_t h = 1;
    for (size_t from = 0; from < size; from += step) {
        size_t len = size - from < step ? size - from : step;
        char *piece = malloc(len); /* exactly as long as the input: reading past it is seen */
        CHECK(piece != NULL);
        memcpy(piece, data + from, len);
        http_input_feed(&in, bytes_make(piece, len));
        free(piece);
        CHECK(in.bytes.len <= HTTP_HEADERS_MAX + step);
        while ((status = http_input_next(&in, &head)) != HTTP_INPUT_MORE) {
            h = mix(mix(h * 31 + (uint64_t)status, head.path), head.query);
            h = h * 31 + head.body_len * 2 + head.is_head;
            bool last = status != HTTP_INPUT_REQUEST || !head.keep_alive;
            http_head_deinit(&head);
            CHECK(!last ||
                  (http_input_next(&in, &head) == HTTP_INPUT_MORE && !http_input_is_amid(&in)));
        }
    }
    h = h * 2 + http_input_is_amid(&in);
    http_input_deinit(&in);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_one(data, size);
    uint64_t whole = serve(data, size, size == 0 ? 1 : size);
    CHECK(serve(data, size, 1) == whole);
    CHECK(serve(data, size, 7) == whole);
    return 0;
}
