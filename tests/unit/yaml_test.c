#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/config/options.h"

static struct conf *load(const char *text, struct error *error)
{
    char path[] = "/tmp/trireme-yaml-XXXXXX.yaml";
    int fd = mkstemps(path, 5);
    cr_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    struct conf *conf = conf_load(path, error);
    unlink(path);
    return conf;
}

Test(yaml, says_the_same_as_a_conf_file)
{
    static const char yaml[] =
        "port: 4333   # comment\n"
        "server_name: \"a\"\n"
        "max_payload: 8K\n"
        "max_control_line: 4KiB\n"
        "debug: true\n"
        "ping_interval: 90s\n"
        "write_deadline: '5s'\n"
        "authorization:\n"
        "  timeout: 1.5\n"
        "  users:\n"
        "    - { user: u, password: \"1234\", permissions: { publish: \"_INBOX.>\" } }\n"
        "cluster:\n"
        "  name: C1\n"
        "  listen: 127.0.0.1:6333\n"
        "  routes: [ \"nats-route://a:1\", nats-route://b:2 ]\n";
    static const char text[] = "port: 4333\nserver_name: \"a\"\nmax_payload: 8K\n"
                               "max_control_line: 4KiB\ndebug: true\nping_interval: 90s\n"
                               "write_deadline: '5s'\n"
                               "authorization { timeout: 1.5, users: [ { user: u, password: "
                               "\"1234\", permissions: { publish: \"_INBOX.>\" } } ] }\n"
                               "cluster { name: C1, listen: \"127.0.0.1:6333\", routes: [ "
                               "\"nats-route://a:1\", \"nats-route://b:2\" ] }\n";
    struct error error;
    char a[65], b[65];
    struct conf *from_yaml = load(yaml, &error);
    cr_assert_not_null(from_yaml, "%s", error.message);
    struct conf *from_conf = conf_parse("x.conf", bytes_of(text), &error);
    cr_assert_not_null(from_conf, "%s", error.message);
    conf_digest(from_yaml, a);
    conf_digest(from_conf, b);
    cr_assert_str_eq(a, b);
    conf_free(from_yaml);
    conf_free(from_conf);
}

Test(yaml, durations_and_hashes_stay_text)
{
    static const char *const texts[] = {"2m",       "500ms", "1e5", "$2a$04$abc",
                                        "10.0.0.1", "8kb",   "-",   "1.2.3"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct error error;
        char yaml[64];
        snprintf(yaml, sizeof yaml, "x: %s\n", texts[i]);
        struct conf *conf = load(yaml, &error);
        if (conf == NULL) {
            cr_assert_str_eq(texts[i], "-"); /* "x: -" is a list in YAML */
            continue;
        }
        const struct conf_member *m = conf_find(conf_root(conf), "x");
        cr_assert_eq(m->value.type, CONF_STRING, "%s", texts[i]);
        conf_free(conf);
    }
}

Test(yaml, mistakes_have_a_place)
{
    static const struct {
        const char *text, *message;
    } cases[] = {{"a: [1\nb: 2\n", ":2:"},
                 {"- 1\n", "expected a mapping of options"},
                 {"? [a]\n: 1\n", "a key has to be text"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error;
        cr_assert_null(load(cases[i].text, &error), "%s", cases[i].text);
        cr_assert_not_null(strstr(error.message, cases[i].message), "%s", error.message);
    }
}

Test(yaml, a_billion_laughs_are_cut_short)
{
    struct error error;
    struct conf *conf =
        load("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
             "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"
             "e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e]\n",
             &error);
    cr_assert_null(conf);
    cr_assert_not_null(strstr(error.message, "too large"), "%s", error.message);
}

Test(yaml, the_environment_fills_in)
{
    struct error error;
    setenv("TRIREME_TEST_PORT", "4999", 1);
    struct conf *conf = load("port: $TRIREME_TEST_PORT\n", &error);
    cr_assert_eq(conf_find(conf_root(conf), "port")->value.integer, 4999);
    conf_free(conf);
}
