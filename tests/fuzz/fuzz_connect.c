/* The JSON of a CONNECT line. */
#include "core/base/check.h"
#include "core/protocol/connect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct connect c = {.protocol = 1};
    if (connect_parse(&c, bytes_make(data, size)) == OK) {
        CHECK(c.user != NULL && c.pass != NULL && c.auth_token != NULL && c.account != NULL &&
              c.nkey != NULL && c.sig != NULL && c.jwt != NULL);
    }
    connect_deinit(&c);
    return 0;
}
