/* The head of an HTTP request. */
#include "core/base/check.h"
#include "monitoring/http_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head head;
    (void)http_head_parse(&head, bytes_make(data, size));
    CHECK(head.path != NULL && head.count <= HTTP_PARAMETERS_MAX);
    for (unsigned i = 0; i < head.count; i++) {
        CHECK(http_head_query(&head, head.names[i]) != NULL);
    }
    http_head_deinit(&head);
    return 0;
}
