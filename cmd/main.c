/* trireme, or nats-server by its other name: parses flags and files, wires the modules, runs until
 * a signal ends it.
 *
 * Order of start:  log → loops → broker → routes and peers → JetStream → monitoring → listeners
 * Order of stop:   monitoring → JetStream (leaders step aside, checkpoints) → routes → clients →
 * loops */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "cluster/peers.h"
#include "cluster/routes.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/broker/broker.h"
#include "core/config/options.h"
#include "jetstream/jetstream.h"
#include "monitoring/monitoring.h"

struct server {
    struct options *options;
    struct loops *loops;
    struct broker *broker;
    struct peers *peers;           /* NULL without cluster or JetStream */
    struct routes *routes;         /* NULL without cluster */
    struct jetstream *js;          /* NULL without JetStream */
    struct monitoring *monitoring; /* NULL without http_port */
    sem_t done;
};

/* --- options --- */

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

/* Reads flags, file, flags again. Returns NULL when the program is to end with *exit_code. */
static struct options *read_options(int argc, char **argv, int *exit_code)
{
    struct options *o = options_new();
    struct options_command command;
    struct option_report report = {0};
    struct error error;
    struct conf *conf = NULL;
    *exit_code = 1;
    enum err err = options_apply_flags(o, argc, argv, &command, &error);
    if (err != OK) {
        fprintf(stderr, "nats-server: %s\n", error.message);
        goto stop;
    }
    switch (command.action) {
    case OPTIONS_VERSION:
        print_version(argv[0]);
        *exit_code = 0;
        goto stop;
    case OPTIONS_HELP:
        printf("%s", options_usage);
        *exit_code = 0;
        goto stop;
    case OPTIONS_BAD_FLAG:
        fprintf(stderr, "%s\n", error.message);
        printf("%s", options_usage);
        *exit_code = 0;
        goto stop;
    case OPTIONS_SIGNAL:
        fprintf(stderr, "nats-server: --signal is not supported in this version yet; use kill\n");
        goto stop;
    case OPTIONS_TEST_CONFIG:
        if (o->config_file == NULL) {
            fprintf(stderr, "nats-server: must specify [-c, --config] option to check "
                            "configuration file syntax\n");
            goto stop;
        }
        break;
    case OPTIONS_RUN:
        break;
    }
    if (o->config_file != NULL) {
        conf = conf_load(o->config_file, &error);
        if (conf == NULL) {
            fprintf(stderr, "nats-server: %s\n", error.message);
            goto stop;
        }
        err = options_apply_conf(o, conf, &report);
        if (report.warnings.len > 0) {
            fprintf(stderr, "%.*s", BYTES_ARG(buffer_bytes(&report.warnings)));
        }
        if (err != OK) {
            fprintf(stderr, "nats-server: %.*s", BYTES_ARG(buffer_bytes(&report.errors)));
            goto stop;
        }
        if (command.action == OPTIONS_TEST_CONFIG) {
            if (report.warnings.len == 0) {
                fprintf(stderr, "nats-server: configuration file %s is valid\n", o->config_file);
                *exit_code = 0;
            }
            goto stop;
        }
    }
    err = options_apply_flags(o, argc, argv, &command, &error);
    err = err == OK ? options_finish(o, &error) : err;
    if (err != OK) {
        fprintf(stderr, "nats-server: %s\n", error.message);
        goto stop;
    }
    conf_free(conf);
    buffer_deinit(&report.errors);
    buffer_deinit(&report.warnings);
    return o;
stop:
    conf_free(conf);
    buffer_deinit(&report.errors);
    buffer_deinit(&report.warnings);
    free(command.signal);
    options_free(o);
    return NULL;
}

/* --- start --- */

static void write_pid_file(const char *path)
{
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        log_fatal("Could not write pidfile: open %s: %s", path, strerror(errno));
        exit(1);
    }
    fprintf(f, "%d", (int)getpid());
    (void)fclose(f);
}

static void banner(const struct server *s)
{
    char node[9];
    log_info("Starting nats-server");
    log_info("  Version:  %s (Trireme %s)", NATS_PROTOCOL_VERSION, TRIREME_VERSION);
    log_info("  Git:      [not set]");
    if (s->options->cluster_port != 0) {
        log_info("  Cluster:  %s",
                 s->options->cluster_name == NULL ? "" : s->options->cluster_name);
    }
    log_info("  Name:     %s", broker_server_name(s->broker));
    if (s->options->jetstream) {
        hash_name8(bytes_of(broker_server_name(s->broker)), node);
        log_info("  Node:     %s", node);
    }
    log_info("  ID:       %s", broker_server_id(s->broker));
    if (s->options->config_file != NULL) {
        log_info("Using configuration file: %s", s->options->config_file);
    }
}

static void on_jetstream_ready(void *arg)
{
    struct server *s = arg;
    sem_post(&s->done);
}

static void start_peers(void *arg)
{
    peers_start(arg);
}

/* ERR with *error filled: the caller logs it and ends the program. */
static enum err start(struct server *s, struct error *error)
{
    const struct options *o = s->options;
    unsigned loops = o->loops > 0 ? (unsigned)o->loops : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    s->loops = loops_start(loops > LOOPS_MAX ? LOOPS_MAX : loops);
    s->broker = broker_new(o, s->loops);
    banner(s);
    if (o->cluster_port != 0) {
        s->peers = o->jetstream ? peers_new(s->broker) : NULL;
        s->routes = routes_new(s->broker, s->peers);
    }
    if (o->jetstream) {
        log_info("Starting JetStream");
        s->js = jetstream_new(s->broker, s->peers, s->routes, error);
        if (s->js == NULL) {
            return ERR_IO;
        }
    }
    enum err err = broker_bind(s->broker, error);
    if (err == OK && o->http_port != 0) {
        s->monitoring = monitoring_new(s->broker, s->routes, s->js);
        err = monitoring_listen(s->monitoring, error);
    }
    err = err == OK && s->routes != NULL ? routes_listen(s->routes, error) : err;
    if (err == OK && s->peers != NULL) {
        loop_post(loops_at(s->loops, 0), start_peers, s->peers);
    }
    if (err == OK && s->js != NULL) { /* clients that get in find their streams */
        jetstream_start(s->js, on_jetstream_ready, s);
        while (sem_wait(&s->done) != 0) {
        }
    }
    return err == OK ? broker_listen(s->broker, error) : err;
}

/* --- stop --- */

static void on_clients_closed(void *arg)
{
    struct server *s = arg;
    sem_post(&s->done);
}

static void stop_network(void *arg)
{
    struct server *s = arg;
    if (s->peers != NULL) {
        peers_shutdown(s->peers);
    }
    if (s->routes != NULL) {
        routes_shutdown(s->routes);
    }
    broker_shutdown(s->broker, on_clients_closed, s);
}

static void stop(void *arg)
{
    struct server *s = arg;
    if (s->monitoring != NULL) {
        monitoring_shutdown(s->monitoring);
    }
    if (s->js != NULL) {
        jetstream_shutdown(s->js, stop_network, s);
    } else {
        stop_network(s);
    }
}

static void free_server(struct server *s)
{
    if (s->js != NULL) {
        jetstream_free(s->js);
    }
    if (s->monitoring != NULL) {
        monitoring_free(s->monitoring);
    }
    if (s->routes != NULL) {
        routes_free(s->routes);
    }
    if (s->peers != NULL) {
        peers_free(s->peers);
    }
}

/* Signals are taken by this thread alone, one at a time. */
static void run_until_signal(const sigset_t *signals)
{
    for (;;) {
        int signal_number;
        if (sigwait(signals, &signal_number) != 0) {
            continue;
        }
        switch (signal_number) {
        case SIGUSR1:
            log_info("Trapped \"user defined signal 1\" signal");
            log_reopen();
            break;
        case SIGHUP:
            log_info("Trapped \"hangup\" signal");
            log_warn("Reloading the configuration is not supported in this version yet; "
                     "restart the server");
            break;
        case SIGUSR2:
            log_info("Trapped \"user defined signal 2\" signal");
            log_warn("Lame duck mode is not supported in this version yet: shutting down");
            return;
        default:
            log_info("Trapped \"%s\" signal", signal_number == SIGINT ? "interrupt" : "terminated");
            return;
        }
    }
}

int main(int argc, char **argv)
{
    int exit_code;
    struct server s = {0};
    struct error error = {0};
    s.options = read_options(argc, argv, &exit_code);
    if (s.options == NULL) {
        return exit_code;
    }
    sigset_t signals;
    sigemptyset(&signals);
    static const int handled[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof handled / sizeof handled[0]; i++) {
        sigaddset(&signals, handled[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL); /* inherited by every thread */
    (void)signal(SIGPIPE, SIG_IGN);
    struct log_options log = {s.options->log_file, s.options->debug, s.options->trace,
                              s.options->logtime, s.options->logtime_utc};
    if (log_open(&log, &error) != OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    (void)sem_init(&s.done, 0, 0);
    if (s.options->pid_file != NULL) {
        write_pid_file(s.options->pid_file);
    }
    if (start(&s, &error) != OK) {
        log_fatal("%s", error.message);
        _exit(1); /* the loops hold nothing that needs an orderly end */
    }
    log_info("Server is ready");
    run_until_signal(&signals);
    log_info("Initiating Shutdown...");
    loop_post(loops_at(s.loops, 0), stop, &s);
    while (sem_wait(&s.done) != 0) {
    }
    loops_stop(s.loops);
    free_server(&s);
    broker_free(s.broker);
    loops_free(s.loops);
    log_info("Server Exiting..");
    options_free(s.options);
    return 0;
}
