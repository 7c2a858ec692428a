/* trireme, or nats-server by its other name: parses flags and files, wires the modules, runs until
 * a signal ends it.
 *
 * Order of start:  log → loops → broker → routes and peers → JetStream → monitoring → listeners
 * Order of stop:   monitoring → JetStream (leaders step aside, checkpoints) → clients → routes →
 * loops. Clients go before the routes: what they hear last of the other servers is where they go.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cluster/peers.h"
#include "cluster/routes.h"
#include "core/base/file_mode.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/broker/broker.h"
#include "core/net/files.h"
#include "command.h"
#include "core/config/options.h"
#include "core/config/reload.h"
#include "jetstream/jetstream.h"
#include "monitoring/monitoring.h"
#include "ports_file.h"

struct server {
    int argc;
    char **argv;
    struct configuration configuration;
    pthread_t signals; /* the thread that takes them */
    struct loops *loops;
    struct broker *broker;
    struct peers *peers;           /* NULL without cluster or JetStream */
    struct routes *routes;         /* NULL without cluster */
    struct jetstream *js;          /* NULL without JetStream */
    struct monitoring *monitoring; /* NULL without http_port */
    bool js_stopped;               /* by lame duck mode */
    sem_t done;
};

static void wait_for(sem_t *done)
{
    while (sem_wait(done) != 0) { /* EINTR */
    }
}

/* A reference for the broker. */
static struct tls_context *tls_context_of(const struct configuration *c)
{
    return c->tls == NULL ? NULL : tls_context_retain(c->tls);
}

static bool open_log(const struct options *o, struct error *error)
{
    struct log_options log = {.file = o->log_file,
                              .syslog = o->syslog,
                              .size_limit = o->log_size_limit,
                              .max_files = o->log_max_files,
                              .debug = o->debug,
                              .trace = o->trace,
                              .time = o->logtime,
                              .utc = o->logtime_utc};
    return log_open(&log, error) == OK;
}

static const char *signal_name(int number)
{
    return number == SIGINT    ? "interrupt"
           : number == SIGTERM ? "terminated"
           : number == SIGHUP  ? "hangup"
           : number == SIGUSR1 ? "user defined signal 1"
                               : "user defined signal 2";
}

/* --- start --- */

static void write_pid_file(const char *path)
{
    if (path == NULL) {
        return;
    }
    int fd = file_open_shared(path, O_WRONLY | O_TRUNC, 0644);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
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
    if (s->configuration.options->cluster.port != 0) {
        log_info("  Cluster:  %s", broker_cluster_name(s->broker));
    }
    log_info("  Name:     %s", broker_server_name(s->broker));
    if (s->configuration.options->jetstream) {
        hash_name8(bytes_of(broker_server_name(s->broker)), node);
        log_info("  Node:     %s", node);
    }
    log_info("  ID:       %s", broker_server_id(s->broker));
    if (s->configuration.options->config_file != NULL) {
        log_info("Using configuration file: %s (sha256:%s)", s->configuration.options->config_file,
                 s->configuration.options->config_digest);
    }
}

static void write_ports_file(const struct server *s)
{
    const struct options *o = s->configuration.options;
    if (o->ports_file_dir != NULL) {
        ports_file_write(
            o->ports_file_dir, s->argv[0],
            &(struct ports){
                .clients = {o->host, broker_client_port(s->broker)},
                .monitoring = {o->http_host == NULL ? o->host : o->http_host,
                               s->monitoring == NULL ? 0 : monitoring_port(s->monitoring)},
                .cluster = {o->cluster.host, s->routes == NULL ? 0 : routes_port(s->routes)}});
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
    const struct options *o = s->configuration.options;
    unsigned loops = o->loops > 0 ? (unsigned)o->loops : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    s->loops = loops_start(loops > LOOPS_MAX ? LOOPS_MAX : loops);
    s->broker = broker_new(o, tls_context_of(&s->configuration), s->loops);
    banner(s);
    if (o->cluster.port != 0) {
        s->peers = o->jetstream ? peers_new(s->broker) : NULL;
        s->routes = routes_new(s->broker, s->peers);
    }
    if (o->jetstream && o->cluster.port != 0 && o->cluster.routes.count == 0) {
        return error_set(error, ERR_INVALID,
                         "Can't start JetStream: JetStream cluster requires configured routes or "
                         "solicited leafnode for the system account");
    }
    if (o->jetstream) {
        log_info("Starting JetStream");
        s->js = jetstream_new(s->broker, s->peers, s->routes, error);
        if (s->js == NULL) {
            return ERR_IO;
        }
    }
    enum err err = broker_bind(s->broker, error);
    if (err == OK && (o->http_port != 0 || o->https_port != 0)) {
        s->monitoring = monitoring_new(s->broker, s->routes, s->js);
        err = monitoring_listen(s->monitoring,
                                o->https_port != 0 ? s->configuration.monitoring_tls : NULL, error);
    }
    err = err == OK && s->routes != NULL
              ? routes_listen(s->routes, &s->configuration.routes_tls, error)
              : err;
    if (err == OK && s->peers != NULL) {
        loop_post(loops_at(s->loops, 0), start_peers, s->peers);
    }
    if (err == OK && s->js != NULL) { /* clients that get in find their streams */
        jetstream_start(s->js, on_jetstream_ready, s);
        wait_for(&s->done);
    }
    return err == OK ? broker_listen(s->broker, error) : err;
}

/* --- stop --- */

static void on_clients_closed(void *arg)
{
    struct server *s = arg;
    if (s->peers != NULL) {
        peers_shutdown(s->peers);
    }
    if (s->routes != NULL) {
        routes_shutdown(s->routes);
    }
    sem_post(&s->done);
}

static void stop_network(void *arg)
{
    struct server *s = arg;
    broker_shutdown(s->broker, on_clients_closed, s);
}

static void stop(void *arg)
{
    struct server *s = arg;
    if (s->monitoring != NULL) {
        monitoring_shutdown(s->monitoring);
    }
    if (s->js != NULL && !s->js_stopped) {
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

/* --- reload --- */

struct reload {
    struct server *server;
    const struct options *before;
    struct configuration fresh;
};

static void on_reloaded(void *arg)
{
    struct server *s = arg;
    sem_post(&s->done);
}

static bool same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static bool same_rules(const struct permission_rules *a, const struct permission_rules *b)
{
    bool same = a->count == b->count;
    for (uint32_t i = 0; i < a->count && same; i++) {
        same = strcmp(a->rules[i].subject, b->rules[i].subject) == 0;
    }
    return same;
}

/* Who may be a neighbour, what it may have, and how it is spoken to. */
static bool cluster_access_changed(const struct options *before, const struct options *after)
{
    const struct cluster_options *a = &before->cluster, *b = &after->cluster;
    return a->permissions.set != b->permissions.set ||
           !same_rules(&a->permissions.publish_allow, &b->permissions.publish_allow) ||
           !same_rules(&a->permissions.publish_deny, &b->permissions.publish_deny) ||
           !same_rules(&a->permissions.subscribe_allow, &b->permissions.subscribe_allow) ||
           !same_rules(&a->permissions.subscribe_deny, &b->permissions.subscribe_deny) ||
           !same_text(a->user, b->user) || !same_text(a->password, b->password) ||
           a->compression != b->compression || a->tls.set != b->tls.set ||
           a->pool_size != b->pool_size || !text_list_equal(&a->accounts, &b->accounts);
}

static void apply_reload(void *arg)
{
    struct reload *r = arg;
    broker_reload(r->server->broker, r->fresh.options, tls_context_of(&r->fresh), on_reloaded,
                  r->server);
    if (r->server->js != NULL) {
        jetstream_accounts_changed(r->server->js);
    }
    if (r->server->monitoring != NULL && r->fresh.options->https_port != 0) {
        monitoring_set_tls(r->server->monitoring, r->fresh.monitoring_tls);
    }
    if (r->server->routes != NULL) {
        routes_reload(r->server->routes, &r->fresh.routes_tls,
                      cluster_access_changed(r->before, r->fresh.options));
    }
}

static void free_options(void *arg)
{
    options_free(arg);
}

/* On a loop: readers of the old options are in the middle of a turn at most. */
static void retire_options(void *arg)
{
    loop_retire(free_options, arg);
}

/* All or nothing: what is wrong with the file, or cannot change while running, leaves everything as
 * it was. */
static void reload(struct server *s)
{
    struct reload r = {.server = s, .before = s->configuration.options};
    struct options *before = s->configuration.options;
    struct buffer changes = {0}, why = {0};
    struct error error;
    if (before->config_file == NULL) {
        log_error("Failed to reload server configuration: can only reload config when a file is "
                  "provided using -c or --config");
        return;
    }
    bool well = command_read_again(s->argc, s->argv, &r.fresh, &why);
    if (well && options_compare(before, r.fresh.options, &changes, &error) != OK) {
        buffer_append_text(&why, error.message);
        configuration_free(&r.fresh);
        well = false;
    }
    if (well && !open_log(r.fresh.options, &error)) {
        buffer_append_text(&why, error.message);
        configuration_free(&r.fresh);
        well = false;
    }
    if (!well) {
        log_error("Failed to reload server configuration: %.*s", BYTES_ARG(buffer_bytes(&why)));
    } else {
        loop_post(loops_at(s->loops, 0), apply_reload, &r);
        wait_for(&s->done);
        tls_context_release(s->configuration.tls);
        tls_context_release(s->configuration.monitoring_tls);
        tls_context_release(s->configuration.routes_tls.accept);
        tls_context_release(s->configuration.routes_tls.dial);
        s->configuration = r.fresh;
        if (!same_text(before->pid_file, r.fresh.options->pid_file)) {
            write_pid_file(r.fresh.options->pid_file);
        }
        if (!same_text(before->ports_file_dir, r.fresh.options->ports_file_dir)) {
            ports_file_remove(before->ports_file_dir, s->argv[0]);
            write_ports_file(s);
        }
        loop_post(loops_at(s->loops, 0), retire_options, before);
        struct bytes rest = buffer_bytes(&changes), line;
        while (bytes_token(&rest, '\n', &line)) {
            if (line.len > 0) {
                log_info("Reloaded: %.*s", BYTES_ARG(line));
            }
        }
        log_info("Reloaded server configuration (sha256:%s)", r.fresh.options->config_digest);
    }
    buffer_deinit(&changes);
    buffer_deinit(&why);
}

/* --- lame duck mode --- */

#define SIGNAL_LAME_DUCK_OVER (SIGRTMIN)

static void lame_duck_over(void *arg)
{
    struct server *s = arg;
    (void)pthread_kill(s->signals, SIGNAL_LAME_DUCK_OVER);
}

static void lame_duck_clients(void *arg)
{
    struct server *s = arg;
    if (s->routes != NULL) {
        routes_tell_lame_duck(s->routes);
    }
    broker_lame_duck_clients(s->broker, lame_duck_over, s);
}

static void lame_duck(void *arg)
{
    struct server *s = arg;
    broker_lame_duck(s->broker);
    if (s->js != NULL) { /* before the clients leave, so that other nodes lead their streams */
        s->js_stopped = true;
        jetstream_shutdown(s->js, lame_duck_clients, s);
    } else {
        lame_duck_clients(s);
    }
}

/* Signals are taken by this thread alone, one at a time. */
static void run_until_signal(struct server *s, const sigset_t *signals)
{
    bool ending = false; /* in lame duck mode: SIGTERM has to wait */
    s->signals = pthread_self();
    for (;;) {
        int number;
        if (sigwait(signals, &number) != 0) {
            continue;
        }
        if (number == SIGNAL_LAME_DUCK_OVER) {
            return;
        }
        log_info("Trapped \"%s\" signal", signal_name(number));
        if (number == SIGUSR1) {
            log_reopen();
        } else if (number == SIGHUP) {
            reload(s);
        } else if (number == SIGUSR2 && !ending) {
            ending = true;
            log_info("Entering lame duck mode, stop accepting new clients");
            loop_post(loops_at(s->loops, 0), lame_duck, s);
        } else if (number == SIGINT || (number == SIGTERM && !ending)) {
            return;
        }
    }
}

/* Beside clients: what the store keeps open (256, and what it is merging), neighbours, loops. */
#define FILES_RESERVE 512

static void raise_files(const struct options *o)
{
    unsigned files = files_raise_limit(FILES_RESERVE);
    int ceiling = files_ceiling(FILES_CLIENTS);
    if (o->max_connections > ceiling) {
        log_warn("max_connections is %lld, but a limit of %u file descriptors leaves %d to clients",
                 (long long)o->max_connections, files, ceiling);
    }
}

/* Memory holds keys, passwords and messages: no core dumps and no debugger of the same user, unless
 * they are asked for. A failed CHECK says in the log where it was. Sanitizers look at it
 * themselves. */
static void keep_memory_private(void)
{
    const char *wanted = getenv("TRIREME_CORE_DUMPS");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (wanted == NULL || strcmp(wanted, "1") != 0) {
        (void)prctl(PR_SET_DUMPABLE, 0);
    }
#else
    (void)wanted;
#endif
    json_wipe_freed();
}

int main(int argc, char **argv)
{
    int exit_code;
    struct server s = {.argc = argc, .argv = argv};
    struct error error = {0};
    if (!command_read(argc, argv, &s.configuration, &exit_code)) {
        return exit_code;
    }
    sigset_t signals;
    sigemptyset(&signals);
    const int handled[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGNAL_LAME_DUCK_OVER};
    for (size_t i = 0; i < sizeof handled / sizeof handled[0]; i++) {
        sigaddset(&signals, handled[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL); /* inherited by every thread */
    (void)signal(SIGPIPE, SIG_IGN);
    file_mode_private();
    keep_memory_private();
    if (!open_log(s.configuration.options, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    (void)sem_init(&s.done, 0, 0);
    raise_files(s.configuration.options);
    write_pid_file(s.configuration.options->pid_file);
    if (start(&s, &error) != OK) {
        log_fatal("%s", error.message);
        _exit(1); /* the loops hold nothing that needs an orderly end */
    }
    write_ports_file(&s);
    log_info("Server is ready");
    run_until_signal(&s, &signals);
    log_info("Initiating Shutdown...");
    loop_post(loops_at(s.loops, 0), stop, &s);
    wait_for(&s.done);
    ports_file_remove(s.configuration.options->ports_file_dir, argv[0]);
    loops_stop(s.loops);
    free_server(&s);
    broker_free(s.broker);
    loops_free(s.loops);
    log_info("Server Exiting..");
    configuration_free(&s.configuration);
    return 0;
}
