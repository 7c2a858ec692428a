#include <criterion/criterion.h>

#include "core/base/clock.h"
#include "core/config/reload.h"

static void expect_duration(int64_t ns, const char *text)
{
    char out[CLOCK_DURATION_MAX];
    clock_format_duration(ns, out);
    cr_assert_str_eq(out, text);
}

Test(clock, durations_read_like_go_prints_them)
{
    expect_duration(0, "0s");
    expect_duration(1, "1ns");
    expect_duration(1500, "1.5\xc2\xb5s");
    expect_duration(250 * NS_PER_MS, "250ms");
    expect_duration(1500 * NS_PER_MS, "1.5s");
    expect_duration(120 * NS_PER_SEC, "2m0s");
    expect_duration(3600 * NS_PER_SEC + 5 * NS_PER_MS, "1h0m0.005s");
    expect_duration(-NS_PER_SEC, "-1s");
}

Test(reload, changes_are_listed_and_what_cannot_change_is_refused)
{
    struct options *before = options_new(), *after = options_new();
    struct buffer changes = {0};
    struct error error;
    after->max_payload = 10;
    after->ping_interval_ns = 30 * NS_PER_SEC;
    option_set(&after->log_file, "/x");
    cr_assert_eq(options_compare(before, after, &changes, &error), OK);
    buffer_append_char(&changes, '\0');
    cr_assert_str_eq(changes.data, "log_file = /x\nmax_payload = 10\nping_interval = 30s\n"
                                   "authorization users\naccounts\n");
    after->port = 99;
    cr_assert_eq(options_compare(before, after, &changes, &error), ERR_INVALID);
    cr_assert_str_eq(error.message, "config reload not supported for Port: old=4222, new=99");
    buffer_deinit(&changes);
    options_free(before);
    options_free(after);
}

Test(config, the_digest_does_not_depend_on_how_the_file_is_written)
{
    static const struct {
        const char *text, *digest; /* as nats-server prints it */
    } cases[] = {
        {"port: 4222", "797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e"},
        {"# x\nport = 4222;", "797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e"},
        {"debug: on\nport 4222",
         "8d697893eada17225f028a97ac0a0cfbd85dfb1fe0f606aa6f327a81bf911795"},
        {"{\"port\": 4222, \"debug\": true}",
         "8d697893eada17225f028a97ac0a0cfbd85dfb1fe0f606aa6f327a81bf911795"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error;
        char hex[65];
        struct conf *conf = conf_parse("t", bytes_of(cases[i].text), &error);
        conf_digest(conf, hex);
        cr_assert_str_eq(hex, cases[i].digest, "%s", cases[i].text);
        conf_free(conf);
    }
}
