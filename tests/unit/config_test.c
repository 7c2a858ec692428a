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

static struct options *finished(const char *text)
{
    struct error error;
    struct option_report report = {0};
    struct options *o = options_new();
    struct conf *conf = conf_parse("test.conf", bytes_of(text), &error);
    cr_assert_not_null(conf, "%s", text);
    cr_assert_eq(options_apply_conf(o, conf, &report), OK, "%s", text);
    cr_assert_eq(options_finish(o, &error), OK, "%s: %s", text, error.message);
    conf_free(conf);
    option_report_deinit(&report);
    return o;
}

Test(options, zero_is_the_default)
{
    static const char zeros[] =
        "max_payload: 0, max_pending: 0, max_control_line: 0, max_closed_clients: 0\n"
        "ping_interval: \"0s\", ping_max: 0, write_deadline: \"0s\", lame_duck_grace_period: "
        "\"0s\"\n"
        "connect_error_reports: 0, reconnect_error_reports: 0, authorization { timeout: 0 }\n"
        "cluster { port: -1, name: x, pool_size: 0, write_deadline: \"0s\", authorization { "
        "timeout: "
        "0 } }\n";
    struct options *o = finished(zeros), *d = finished("cluster { port: -1, name: x }");
    const int64_t pairs[][2] = {{o->max_payload, d->max_payload},
                                {o->max_pending, d->max_pending},
                                {o->max_control_line, d->max_control_line},
                                {o->max_closed_clients, d->max_closed_clients},
                                {o->ping_interval_ns, d->ping_interval_ns},
                                {o->ping_max, d->ping_max},
                                {o->write_deadline_ns, d->write_deadline_ns},
                                {o->lame_duck_grace_ns, d->lame_duck_grace_ns},
                                {o->connect_error_reports, d->connect_error_reports},
                                {o->reconnect_error_reports, d->reconnect_error_reports},
                                {o->auth_timeout_ns, d->auth_timeout_ns},
                                {o->cluster.pool_size, d->cluster.pool_size},
                                {o->cluster.write_deadline_ns, d->cluster.write_deadline_ns},
                                {o->cluster.auth_timeout_ns, d->cluster.auth_timeout_ns}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        cr_assert_eq(pairs[i][0], pairs[i][1], "row %zu", i);
        cr_assert_gt(pairs[i][1], 0, "row %zu", i);
    }
    options_free(o);
    options_free(d);
}

Test(options, a_login_waits_for_the_handshake)
{
    static const struct {
        const char *conf;
        int64_t tls_s, login_s;
    } rows[] = {
        {"debug: false", 2, 2},
        {"tls { cert_file: a, key_file: b }", 2, 3},
        {"tls { cert_file: a, key_file: b, timeout: 0 }", 2, 3},
        {"tls { cert_file: a, key_file: b, timeout: 5 }", 5, 6},
        {"tls { cert_file: a, key_file: b, timeout: 5 }, authorization { timeout: 1 }", 5, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct options *o = finished(rows[i].conf);
        cr_assert_eq(o->tls.timeout_ns, rows[i].tls_s * 1000000000, "%s", rows[i].conf);
        cr_assert_eq(o->auth_timeout_ns, rows[i].login_s * 1000000000, "%s", rows[i].conf);
        options_free(o);
    }
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
        struct options *o = finished(rows[i].conf);
        cr_assert_eq(o->cluster.port, rows[i].port, "%s", rows[i].conf);
        options_free(o);
    }
}

Test(conf, a_brace_that_closes_nothing)
{
    /* nats-server 2.15.2's answers to -t */
    static const struct {
        const char *text;
        bool good;
    } rows[] = {{"}", true},
                {"}\n", true},
                {"debug: true\n}\n", true},
                {"debug: true }\nport: 4222\n", true},
                {"accounts { A {} } }\nport: 4222\n", true},
                {"{ debug: true\nport: 4222\n}\ntrace: false\n", true},
                {"{ debug: true }\ntrace: false", true},
                {"{\ndebug: true\n", true},
                {"}\nport: 4222\n", false},
                {"debug: true\n}\nport: 4222\n", false},
                {"debug: true\n} port: 4222\n", false},
                {"accounts { A {} }\n}\nport: 4222\n", false},
                {"debug: true\n}\n}\n", false},
                {"debug: true\n}\n# comment\n", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error;
        struct conf *conf = conf_parse("test.conf", bytes_of(rows[i].text), &error);
        cr_assert_eq(conf != NULL, rows[i].good, "%s", rows[i].text);
        conf_free(conf);
    }
}
