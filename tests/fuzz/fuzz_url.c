/* URLs and addresses: what is taken is what a host, a port and a login may be, and what is shown in
 * public has no login. */
#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"
#include "core/base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_make((const char *)data, size);
    struct url url;
    struct buffer shown = {0};
    char *host;
    int port;
    if (url_parse(text, &url) == OK) {
        CHECK(url.host != NULL && url.port >= 0 && url.port <= PORT_MAX);
        CHECK(url.user != NULL || url.password == NULL);
        CHECK(strpbrk(url.host, " \r\n\t<>\"/?#@") == NULL && strlen(url.host) <= size);
    }
    url_deinit(&url);
    if (address_parse(text, &host, &port) == OK) {
        CHECK(port >= -1 && port <= PORT_MAX && strlen(host) <= size);
    }
    free(host);
    url_put_public(&shown, text);
    CHECK(shown.len == 0 || memchr(shown.data, '@', shown.len) == NULL || size < 3 ||
          memmem(data, size, "://", 3) != NULL);
    buffer_deinit(&shown);
    return 0;
}
