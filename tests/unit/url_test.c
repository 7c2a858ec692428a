#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/url.h"

/* What Go's net/url makes of them, but for ports beyond 65535, a NUL, and texts without a scheme.
 */
static const struct {
    const char *text;
    const char *user, *password, *host;
    int port;
} good[] = {
    {"nats://a:4222", NULL, NULL, "a", 4222},
    {"nats://u:p@a:4222", "u", "p", "a", 4222},
    {"nats://u:p%40q%2f@a:4222", "u", "p@q/", "a", 4222},
    {"nats://u%3Ax:p@a:4222", "u:x", "p", "a", 4222},
    {"nats://u:p@q@a:4222", "u", "p@q", "a", 4222},
    {"nats://u@v:p@q@a:4222", "u@v", "p@q", "a", 4222},
    {"nats://u:p:q@a:4222", "u", "p:q", "a", 4222},
    {"nats://u+v:p+q@a:1", "u+v", "p+q", "a", 1},
    {"nats://u:p%20q@a:1", "u", "p q", "a", 1},
    {"nats://:p@a:4222", "", "p", "a", 4222},
    {"nats://u:@a:4222", "u", "", "a", 4222},
    {"nats://u@a:4222", "u", NULL, "a", 4222},
    {"nats://@a:4222", "", NULL, "a", 4222},
    {"nats://[::1]:4222", NULL, NULL, "::1", 4222},
    {"nats://[::1]", NULL, NULL, "::1", 0},
    {"nats://[::1%25eth0]:4222", NULL, NULL, "::1%eth0", 4222},
    {"nats://u:p@[fe80::1]:4222", "u", "p", "fe80::1", 4222},
    {"nats://a:", NULL, NULL, "a", 0},
    {"nats://a", NULL, NULL, "a", 0},
    {"nats://a:4222/path?q=1", NULL, NULL, "a", 4222},
    {"nats://a:4222/x@y", NULL, NULL, "a", 4222},
    {"nats://:4222", NULL, NULL, "", 4222},
    {"nats+tls://a_b.c-d:1", NULL, NULL, "a_b.c-d", 1},
    {"127.0.0.1:4222", NULL, NULL, "127.0.0.1", 4222},
    {"u:p@a:4222", "u", "p", "a", 4222},
};
static const char *const bad[] = {"nats://u:p%zz@a:4222", "nats://u:p%4@a:4222",
                                  "nats://u:p/q@a:4222",  "nats://u:p?q@a:4222",
                                  "nats://u:p#q@a:4222",  "nats://u:p q@a:4222",
                                  "nats://u:p<q@a:4222",  "nats://u:p\xc3\xa4@a:1",
                                  "nats://[::1]x:4222",   "nats://a:x",
                                  "nats://a:-1",          "nats://a:70000",
                                  "nats://a:65536",       "nats://a%20b:4222",
                                  "nats://a%41b:4222",    "nats://a b:1",
                                  "nats://[x]:1",         "nats://[]:1",
                                  "nats://[::1:1",        "nats://u:%00p@a:1",
                                  "nats://a\n:1",         "nats://a:99999999999999999999999"};

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

Test(url, is_read_as_go_reads_it)
{
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct url u;
        cr_assert_eq(url_parse(bytes_of(good[i].text), &u), OK, "%s", good[i].text);
        cr_assert(same(u.user, good[i].user) && same(u.password, good[i].password) &&
                      same(u.host, good[i].host) && u.port == good[i].port,
                  "%s", good[i].text);
        url_deinit(&u);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct url u;
        cr_assert_eq(url_parse(bytes_of(bad[i]), &u), ERR_INVALID, "%s", bad[i]);
        url_deinit(&u);
    }
}

Test(url, is_shown_without_its_login)
{
    static const char *const rows[][2] = {{"nats://u:p@q@a:1", "nats://a:1"},
                                          {"nats://u:p/x@a:1", "nats://a:1"},
                                          {"u:p@a:1", "a:1"},
                                          {"nats://a:1", "nats://a:1"},
                                          {"", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer shown = {0};
        url_put_public(&shown, bytes_of(rows[i][0]));
        cr_assert(bytes_is(buffer_bytes(&shown), rows[i][1]), "%s", rows[i][0]);
        buffer_deinit(&shown);
    }
}

Test(url, an_address_is_a_host_and_a_port)
{
    static const struct {
        const char *text, *host;
        int port;
    } rows[] = {{"127.0.0.1:4222", "127.0.0.1", 4222},
                {":4222", "", 4222},
                {"[::]:4222", "::", 4222},
                {"[::1%lo]:1", "::1%lo", 1},
                {"a:-1", "a", -1},
                {"a:0", "a", 0},
                {"a:65535", "a", 65535},
                {"a:65536", NULL, 0},
                {"a:-2", NULL, 0},
                {"a:", NULL, 0},
                {"a", NULL, 0},
                {"", NULL, 0},
                {"nats://a:1", NULL, 0},
                {"::1:4222", NULL, 0},
                {"[::1]", NULL, 0},
                {"[x]:1", NULL, 0},
                {"a:+1", NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *host = NULL;
        int port = 0;
        bool taken = address_parse(bytes_of(rows[i].text), &host, &port) == OK;
        cr_assert_eq(taken, rows[i].host != NULL, "%s", rows[i].text);
        cr_assert(same(host, rows[i].host) && (!taken || port == rows[i].port), "%s", rows[i].text);
        free(host);
    }
}
