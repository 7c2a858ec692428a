#include "core/net/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "core/net/socket.h"

#define DETECT_LEN  6 /* as many bytes tell a header from anything a client begins with */
#define V1_LINE_MAX 107
#define V2_HEAD_LEN 16

static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";
enum { V2_LOCAL = 0, V2_PROXY = 1 };
enum { V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21 };

static bool may_become(struct bytes in, const char *start)
{
    size_t len = in.len < DETECT_LEN ? in.len : DETECT_LEN;
    return memcmp(in.ptr, start, len) == 0;
}

/* --- version 1: a line of text --- */

static bool take_address(struct bytes text, int family, char host[INET6_ADDRSTRLEN])
{
    struct in6_addr address;
    if (text.len >= INET6_ADDRSTRLEN) {
        return false;
    }
    memcpy(host, text.ptr, text.len);
    host[text.len] = '\0';
    if (inet_pton(family, host, &address) != 1) {
        return false;
    }
    if (family == AF_INET6) {
        net_v6_text(&address, host);
    }
    return true;
}

static bool take_port(struct bytes text, int *port)
{
    uint64_t number;
    if (!bytes_to_u64(text, &number) || number > 65535) {
        return false;
    }
    *port = (int)number;
    return true;
}

/* PROXY TCP4|TCP6|UNKNOWN source destination source-port destination-port */
static enum proxy_result parse_v1(struct bytes in, struct proxy_source *source, size_t *used)
{
    size_t window = in.len < V1_LINE_MAX ? in.len : V1_LINE_MAX;
    const char *lf = memchr(in.ptr, '\n', window);
    if (lf == NULL) {
        return in.len >= V1_LINE_MAX ? PROXY_BAD : PROXY_MORE;
    }
    size_t len = (size_t)(lf - in.ptr);
    if (len == 0 || in.ptr[len - 1] != '\r') {
        return PROXY_BAD;
    }
    *used = len + 1;
    struct bytes rest = bytes_make(in.ptr, len - 1), word, from, to, from_port, to_port;
    (void)bytes_token(&rest, ' ', &word);
    if (!bytes_token(&rest, ' ', &word)) {
        return PROXY_BAD;
    }
    if (bytes_is(word, "UNKNOWN")) {
        return PROXY_FOUND;
    }
    int family = bytes_is(word, "TCP4") ? AF_INET : bytes_is(word, "TCP6") ? AF_INET6 : AF_UNSPEC;
    char ignored_host[INET6_ADDRSTRLEN];
    int ignored_port;
    bool good = family != AF_UNSPEC && bytes_token(&rest, ' ', &from) &&
                bytes_token(&rest, ' ', &to) && bytes_token(&rest, ' ', &from_port) &&
                bytes_token(&rest, ' ', &to_port) && rest.ptr == NULL &&
                take_address(from, family, source->host) &&
                take_address(to, family, ignored_host) && take_port(from_port, &source->port) &&
                take_port(to_port, &ignored_port);
    source->known = good;
    return good ? PROXY_FOUND : PROXY_BAD;
}

/* --- version 2: signature · u8 version and command · u8 family · u16 length · addresses --- */

static int get_be16(const char *p)
{
    return (int)(uint8_t)p[0] << 8 | (int)(uint8_t)p[1];
}

static enum proxy_result parse_v2(struct bytes in, struct proxy_source *source, size_t *used)
{
    size_t shown = in.len < sizeof v2_signature ? in.len : sizeof v2_signature;
    if (memcmp(in.ptr, v2_signature, shown) != 0) {
        return PROXY_BAD;
    }
    if (in.len < V2_HEAD_LEN) {
        return PROXY_MORE;
    }
    uint8_t command = (uint8_t)in.ptr[12], family = (uint8_t)in.ptr[13];
    size_t len = (size_t)get_be16(in.ptr + 14);
    if (command >> 4 != 2 || (command & 15) > V2_PROXY || V2_HEAD_LEN + len > PROXY_HEADER_MAX) {
        return PROXY_BAD;
    }
    if (in.len < V2_HEAD_LEN + len) {
        return PROXY_MORE;
    }
    *used = V2_HEAD_LEN + len;
    const char *at = in.ptr + V2_HEAD_LEN;
    if ((command & 15) == V2_LOCAL || family == V2_UNSPEC) {
        return PROXY_FOUND;
    }
    if (family == V2_TCP4 && len >= 12) {
        source->known = inet_ntop(AF_INET, at, source->host, sizeof source->host) != NULL;
        source->port = get_be16(at + 8);
    } else if (family == V2_TCP6 && len >= 36) {
        struct in6_addr address;
        memcpy(&address, at, sizeof address);
        net_v6_text(&address, source->host);
        source->known = true;
        source->port = get_be16(at + 32);
    }
    return source->known ? PROXY_FOUND : PROXY_BAD;
}

enum proxy_result proxy_parse(struct bytes in, struct proxy_source *source, size_t *used)
{
    *source = (struct proxy_source){0};
    *used = 0;
    bool v1 = in.len > 0 && may_become(in, "PROXY ");
    bool v2 = in.len > 0 && may_become(in, v2_signature);
    if (in.len > 0 && !v1 && !v2) {
        return PROXY_NONE;
    }
    if (in.len < DETECT_LEN) {
        return PROXY_MORE;
    }
    return v1 ? parse_v1(in, source, used) : parse_v2(in, source, used);
}
