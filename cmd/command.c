#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/broker/broker.h"
#include "send_signal.h"

static void print_version(const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *name = slash == NULL ? program : slash + 1;
    if (strcmp(name, "nats-server") == 0) {
        printf("nats-server: v%s\n", NATS_PROTOCOL_VERSION);
    } else {
        printf("trireme: v%s (nats-server protocol v%s)\n", TRIREME_VERSION, NATS_PROTOCOL_VERSION);
    }
}

/* Applies the file named in the options. What is wrong with it goes to *why. */
static bool apply_file(struct options *o, struct option_report *report, struct buffer *why,
                       bool *empty)
{
    struct error error;
    struct conf *conf = conf_load(o->config_file, &error);
    if (conf == NULL) {
        buffer_append_text(why, error.message);
        buffer_append_char(why, '\n');
        return false;
    }
    enum err err = options_apply_conf(o, conf, report);
    if (report->errors.len > 0) { /* as many lines as there are mistakes, and an empty one */
        buffer_append_bytes(why, buffer_bytes(&report->errors));
        buffer_append_char(why, '\n');
    }
    *empty = conf_root(conf)->count == 0;
    conf_digest(conf, o->config_digest);
    conf_free(conf);
    return err == OK;
}

/* NULL with *why said, and the place of the block when it is in the file. */
static struct tls_context *load_block(const struct tls_options *tls, enum tls_role role,
                                      struct buffer *why)
{
    struct error error;
    struct tls_context *context = tls_context_new(tls, role, &error);
    if (context == NULL) {
        buffer_printf(why, "%s%s%s\n", tls->place == NULL ? "" : tls->place,
                      tls->place == NULL ? "" : ": ", error.message);
    }
    return context;
}

static bool load_routes_tls(struct configuration *c, struct buffer *why)
{
    const struct tls_options *tls = &c->options->cluster.tls;
    if (tls->set) {
        c->routes_tls.accept = load_block(tls, TLS_SERVER, why);
        c->routes_tls.dial = c->routes_tls.accept == NULL ? NULL : load_block(tls, TLS_CLIENT, why);
    }
    return !tls->set || c->routes_tls.dial != NULL;
}

static bool load_tls(struct configuration *c, struct buffer *why)
{
    if (!load_routes_tls(c, why)) {
        return false;
    }
    if (!c->options->tls.set) {
        return true;
    }
    struct tls_options open = c->options->tls; /* borrows */
    open.verify = false;
    c->tls = load_block(&c->options->tls, TLS_SERVER, why);
    c->monitoring_tls = c->tls == NULL ? NULL : load_block(&open, TLS_SERVER, why);
    return c->monitoring_tls != NULL;
}

static bool finish(struct configuration *c, int argc, char **argv, struct buffer *why)
{
    struct options_command command;
    struct error error;
    enum err err = options_apply_flags(c->options, argc, argv, &command, &error);
    free(command.signal);
    err = err == OK ? options_finish(c->options, &error) : err;
    if (err != OK) {
        buffer_printf(why, "%s\n", error.message);
    }
    return err == OK && load_tls(c, why);
}

static void print_problem(const struct buffer *why)
{
    fprintf(stderr, "nats-server: %.*s", BYTES_ARG(buffer_bytes(why)));
}

/* The file, checked only (-t): a warning is as bad as an error. */
static int test_config(struct configuration *c, bool well, bool empty,
                       const struct option_report *report, struct buffer *why)
{
    if (well && empty) {
        buffer_printf(why, "%s: config has no values or is empty\n\n", c->options->config_file);
        well = false;
    }
    if (!well || !load_tls(c, why)) {
        print_problem(why);
        return 1;
    }
    if (report->warnings.len > 0) {
        return 1;
    }
    fprintf(stderr, "nats-server: configuration file %s is valid (sha256:%s)\n",
            c->options->config_file, c->options->config_digest);
    return 0;
}

/* False when the program ends here. */
static bool read_file_and_flags(int argc, char **argv, const struct options_command *command,
                                struct configuration *c, int *exit_code)
{
    struct option_report report = {0};
    struct buffer why = {0};
    bool well = true, empty = false;
    if (c->options->config_file != NULL) {
        well = apply_file(c->options, &report, &why, &empty);
        fprintf(stderr, "%.*s%.*s", BYTES_ARG(buffer_bytes(&report.warnings)),
                BYTES_ARG(buffer_bytes(&report.notes)));
    }
    bool runs = false;
    *exit_code = 1;
    if (command->action == OPTIONS_TEST_CONFIG) {
        *exit_code = test_config(c, well, empty, &report, &why);
    } else {
        runs = well && finish(c, argc, argv, &why);
        if (!runs) {
            print_problem(&why);
        }
    }
    option_report_deinit(&report);
    buffer_deinit(&why);
    return runs;
}

void configuration_free(struct configuration *c)
{
    options_free(c->options);
    tls_context_release(c->tls);
    tls_context_release(c->monitoring_tls);
    tls_context_release(c->routes_tls.accept);
    tls_context_release(c->routes_tls.dial);
    *c = (struct configuration){0};
}

bool command_read(int argc, char **argv, struct configuration *c, int *exit_code)
{
    struct options_command command;
    struct error error;
    bool runs = false;
    *c = (struct configuration){.options = options_new()};
    *exit_code = 1;
    if (options_apply_flags(c->options, argc, argv, &command, &error) != OK) {
        fprintf(stderr, "nats-server: %s\n", error.message);
    } else {
        switch (command.action) {
        case OPTIONS_VERSION:
            print_version(argv[0]);
            *exit_code = 0;
            break;
        case OPTIONS_BAD_FLAG:
            fprintf(stderr, "%s\n", error.message);
            /* fall through */
        case OPTIONS_HELP:
            printf("%s", options_usage);
            *exit_code = 0;
            break;
        case OPTIONS_SIGNAL:
            *exit_code = send_signal(command.signal);
            break;
        case OPTIONS_TEST_CONFIG:
            if (c->options->config_file == NULL) {
                fprintf(stderr, "nats-server: must specify [-c, --config] option to check "
                                "configuration file syntax\n");
                break;
            }
            /* fall through */
        case OPTIONS_RUN:
            runs = read_file_and_flags(argc, argv, &command, c, exit_code);
            break;
        }
    }
    free(command.signal);
    if (!runs) {
        configuration_free(c);
    }
    return runs;
}

bool command_read_again(int argc, char **argv, struct configuration *c, struct buffer *why)
{
    struct options_command command;
    struct error error;
    struct option_report report = {0}; /* what it warns of was said at the start */
    bool empty;
    *c = (struct configuration){.options = options_new()};
    bool well = options_apply_flags(c->options, argc, argv, &command, &error) == OK;
    free(command.signal);
    well = well && apply_file(c->options, &report, why, &empty) && finish(c, argc, argv, why);
    option_report_deinit(&report);
    if (!well) {
        configuration_free(c);
    }
    return well;
}
