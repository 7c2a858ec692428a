#include <criterion/criterion.h>

#include "core/config/options.h"

/* Applies text; *report must be released by the caller. */
static struct options *apply(const char *text, struct option_report *report, struct error *error)
{
    struct conf *conf = conf_parse("test.conf", bytes_of(text), error);
    if (conf == NULL) {
        return NULL;
    }
    struct options *o = options_new();
    (void)options_apply_conf(o, conf, report);
    conf_free(conf);
    return o;
}

static void release(struct options *o, struct option_report *report)
{
    options_free(o);
    option_report_deinit(report);
}

Test(config, the_grammar_takes_its_many_forms)
{
    struct option_report report = {0};
    struct error error;
    struct options *o = apply("port: 4333 # comment\n"
                              "server_name = \"a\\tb\"\n"
                              "debug true\n"
                              "LIMIT: 8k\nmax_payload: $LIMIT; ping_interval: \"90s\"\n"
                              "cluster { name: C1, listen: 127.0.0.1:6333\n"
                              "  routes = [\n nats-route://a:1\n nats-route://b:2 ] }\n"
                              "jetstream { store_dir: '/x', max_file: \"1G\" }\n",
                              &report, &error);
    cr_assert_not_null(o, "%s", error.message);
    cr_assert_eq(report.errors.len, 0, "%.*s", BYTES_ARG(buffer_bytes(&report.errors)));
    cr_assert_eq(o->port, 4333);
    cr_assert_str_eq(o->server_name, "a\tb");
    cr_assert(o->debug);
    cr_assert_eq(o->max_payload, 8000);
    cr_assert_eq(o->ping_interval_ns, 90 * INT64_C(1000000000));
    cr_assert_eq(o->cluster.port, 6333);
    cr_assert_eq(o->cluster.routes.count, 2);
    cr_assert_eq(o->jetstream_max_file, 1 << 30);
    release(o, &report);
}

Test(config, problems_come_with_their_place)
{
    struct option_report report = {0};
    struct error error;
    struct options *o = apply("port: 1\n  prot: 2\nport: \"x\"\n", &report, &error);
    buffer_append_char(&report.errors, '\0');
    cr_assert_not_null(strstr(report.errors.data, "test.conf:2:3: unknown field \"prot\""), "%s",
                       report.errors.data);
    cr_assert_not_null(strstr(report.errors.data, "interface {} is string, not int64"));
    release(o, &report);
    cr_assert_null(apply("a: [1", &report, &error));
    cr_assert_not_null(strstr(error.message, "Parse error on line 1"));
}

Test(config, what_is_not_there_yet_is_noted)
{
    struct option_report report = {0};
    struct error error;
    struct options *o =
        apply("operator: x\nwebsocket { port: 1 }\nprof_port: 1\n", &report, &error);
    buffer_append_char(&report.notes, '\0');
    cr_assert_eq(report.errors.len, 0);
    cr_assert_eq(report.warnings.len, 0);
    cr_assert_not_null(strstr(report.notes.data, "\"operator\" is known but has no effect"));
    cr_assert_not_null(strstr(report.notes.data, "\"websocket\" is known but has no effect"));
    cr_assert_not_null(strstr(report.notes.data, "\"prof_port\" is known but has no effect"));
    cr_assert(o->operator_mode);
    release(o, &report);
}

Test(options, a_cluster_without_a_port_opens_nothing)
{
    static const struct {
        const char *conf;
        int port;
    } rows[] = {{"cluster {}", 0},
                {"cluster { name: x }", 0},
                {"cluster { name: x, host: \"127.0.0.1\" }", 0},
                {"cluster { name: x, routes: [\"nats://127.0.0.1:6222\"] }", 0},
                {"cluster { port: 0 }", 0},
                {"cluster { port: 6222 }", 6222},
                {"cluster { port: -1 }", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error;
        struct option_report report = {0};
        struct options *o = options_new();
        struct conf *conf = conf_parse("test.conf", bytes_of(rows[i].conf), &error);
        cr_assert_not_null(conf);
        cr_assert_eq(options_apply_conf(o, conf, &report), OK);
        cr_assert_eq(options_finish(o, &error), OK, "%s: %s", rows[i].conf, error.message);
        cr_assert_eq(o->cluster.port, rows[i].port, "%s", rows[i].conf);
        conf_free(conf);
        option_report_deinit(&report);
        options_free(o);
    }
}
