/* PROXY headers: any bytes, and every beginning of them. */
#include "core/base/check.h"
#include "core/net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_source source;
    size_t used;
    struct bytes in = bytes_make(data, size);
    enum proxy_result whole = proxy_parse(in, &source, &used);
    CHECK(used <= size && (whole == PROXY_FOUND || !source.known));
    for (size_t i = 1; i < size && i < PROXY_HEADER_MAX; i++) { /* a decision is never taken back */
        enum proxy_result part = proxy_parse(bytes_make(data, i), &source, &used);
        CHECK(part == PROXY_MORE || part == whole);
    }
    return 0;
}
