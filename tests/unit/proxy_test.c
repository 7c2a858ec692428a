#include <criterion/criterion.h>

#include "core/net/proxy.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

Test(proxy, headers)
{
    static const struct {
        const char *text;
        size_t len;
        enum proxy_result result;
        const char *host;
        int port;
    } rows[] = {
        {"PROXY TCP4 192.0.2.1 192.0.2.2 5000 4222\r\nPING", 46, PROXY_FOUND, "192.0.2.1", 5000},
        {"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", 32, PROXY_FOUND, "2001:db8::1", 1},
        {"PROXY UNKNOWN whatever\r\n", 24, PROXY_FOUND, NULL, 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 5000", 35, PROXY_MORE, NULL, 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 5000\r\n", 37, PROXY_BAD, NULL, 0},
        {"PROXY TCP4 ::1 ::2 5000 4222\r\n", 30, PROXY_BAD, NULL, 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 70000 4222\r\n", 43, PROXY_BAD, NULL, 0},
        {"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", 36, PROXY_BAD, NULL, 0},
        {"PRO", 3, PROXY_MORE, NULL, 0},
        {"PROVE", 5, PROXY_NONE, NULL, 0},
        {"CONNECT {}\r\n", 12, PROXY_NONE, NULL, 0},
        {V2 "\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x13\x88\x10\x7e", 28, PROXY_FOUND,
         "192.0.2.1", 5000},
        {V2 "\x20\x00\0\0", 16, PROXY_FOUND, NULL, 0}, /* LOCAL */
        {V2 "\x21\x11\0\x04\xc0\0\x02\x01", 20, PROXY_BAD, NULL, 0},
        {V2 "\x31\x11\0\0", 16, PROXY_BAD, NULL, 0},
        {V2 "\x21\x11\xff\xff", 16, PROXY_BAD, NULL, 0},
        {V2 "\x21", 13, PROXY_MORE, NULL, 0},
        {"\r\n\r\n\0\rX", 7, PROXY_BAD, NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct proxy_source source;
        size_t used;
        cr_assert_eq(proxy_parse(bytes_make(rows[i].text, rows[i].len), &source, &used),
                     rows[i].result, "row %zu", i);
        cr_assert_eq(source.known && rows[i].result == PROXY_FOUND, rows[i].host != NULL, "row %zu",
                     i);
        if (rows[i].host != NULL) {
            cr_assert_str_eq(source.host, rows[i].host);
            cr_assert_eq(source.port, rows[i].port);
        }
    }
}
