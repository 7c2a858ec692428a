/* nats-server's command line. Source: nats-server command-line reference, §1 to §3. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/config/options_internal.h"

const char options_usage[] =
    "Usage: nats-server [options]\n"
    "\n"
    "Server options:\n"
    "    -a, --addr, --net <host>         Bind to host address (default: 0.0.0.0)\n"
    "    -p, --port <port>                Use port for clients (default: 4222, -1: any free one)\n"
    "    -n, --name, --server_name <name> Server name (default: the server's id)\n"
    "    -P, --pid <file>                 File to store the process id in\n"
    "    -m, --http_port <port>           Use port for HTTP monitoring\n"
    "    -ms, --https_port <port>         Use port for HTTPS monitoring\n"
    "    -c, --config <file>              Configuration file\n"
    "    -t                               Test the configuration and exit\n"
    "    -sl, --signal <signal>[=<pid>]   Send a process a signal: ldm, stop, quit, term, reopen "
    "or\n"
    "                                     reload; <pid> is a number or a file that has it\n"
    "        --client_advertise <host>    Client URL to tell to other servers\n"
    "        --ports_file_dir <dir>       Create a ports file in this directory\n"
    "\n"
    "Logging options:\n"
    "    -l, --log <file>                 File to log to (default: standard error)\n"
    "        --log_size_limit <bytes>     Put the log file aside when it is that large\n"
    "    -s, --syslog                     Log to syslog\n"
    "        --max_traced_msg_len <len>   Bytes of a payload that are traced (default: all)\n"
    "    -T, --logtime                    Timestamp log entries (default: true)\n"
    "        --logtime_utc                Timestamps in UTC\n"
    "    -D, --debug                      Enable debugging output\n"
    "    -V, --trace                      Trace the raw protocol\n"
    "    -DV, -VV, -DVV                   Debug and trace\n"
    "\n"
    "JetStream options:\n"
    "    -js, --jetstream                 Enable JetStream\n"
    "    -sd, --store_dir <dir>           Set the storage directory\n"
    "        --force_recovery <names>     The majority is gone for good: go on with these servers\n"
    "\n"
    "Authorization options:\n"
    "        --user <user>, --pass <pass> User and password required for connections\n"
    "        --auth <token>               Authorization token required for connections\n"
    "\n"
    "TLS options:\n"
    "        --tls                        Require TLS of clients\n"
    "        --tlscert <file>             Server certificate\n"
    "        --tlskey <file>              Private key of the server certificate\n"
    "        --tlscacert <file>           CA certificates for verifying clients\n"
    "        --tlsverify                  Require and verify client certificates\n"
    "\n"
    "Cluster options:\n"
    "        --routes <url, ...>          Routes to solicit and connect to\n"
    "        --cluster <url>              Cluster URL of this server\n"
    "        --cluster_listen <url>       The same\n"
    "        --cluster_name <name>        Cluster name\n"
    "        --cluster_advertise <host>   Cluster URL to tell to other servers\n"
    "        --no_advertise               Do not tell known cluster addresses to clients\n"
    "        --connect_retries <number>   For implicit routes, number of connect retries\n"
    "\n"
    "Common options:\n"
    "    -h, --help                       Show this message\n"
    "    -v, --version                    Show version\n";

enum flag_kind { FLAG_TEXT, FLAG_BOOL, FLAG_INT };

struct flag {
    const char *name;
    enum flag_kind kind;
    bool (*apply)(struct options *o, const char *value); /* false: no such value */
};

static bool is_true(const char *value)
{
    return strchr("1tT", value[0]) != NULL;
}

#define TEXT_FLAG(name, field)                                                                     \
    static bool name(struct options *o, const char *value)                                         \
    {                                                                                              \
        option_set(&o->field, value);                                                              \
        return true;                                                                               \
    }
#define BOOL_FLAG(name, field)                                                                     \
    static bool name(struct options *o, const char *value)                                         \
    {                                                                                              \
        o->field = is_true(value);                                                                 \
        return true;                                                                               \
    }
#define PORT_FLAG(name, field)                                                                     \
    static bool name(struct options *o, const char *value)                                         \
    {                                                                                              \
        long port = strtol(value, NULL, 0);                                                        \
        o->field = (int)port;                                                                      \
        return port >= -1 && port <= PORT_MAX;                                                     \
    }

TEXT_FLAG(set_host, host)
TEXT_FLAG(set_name, server_name)
TEXT_FLAG(set_pid, pid_file)
TEXT_FLAG(set_ports_file_dir, ports_file_dir)
TEXT_FLAG(set_config, config_file)
TEXT_FLAG(set_log, log_file)
TEXT_FLAG(set_store_dir, store_dir)
TEXT_FLAG(set_user, user)
TEXT_FLAG(set_pass, password)
TEXT_FLAG(set_token, token)
TEXT_FLAG(set_cluster_name, cluster.name)
BOOL_FLAG(set_logtime, logtime)
BOOL_FLAG(set_logtime_utc, logtime_utc)
BOOL_FLAG(set_syslog, syslog)
BOOL_FLAG(set_debug, debug)
BOOL_FLAG(set_trace, trace)
BOOL_FLAG(set_jetstream, jetstream)
BOOL_FLAG(set_no_advertise, cluster.no_advertise)
static bool set_client_advertise(struct options *o, const char *value)
{
    option_set(&o->client_advertise, value);
    return option_is_advertisable(value);
}

static bool set_cluster_advertise(struct options *o, const char *value)
{
    option_set(&o->cluster.advertise, value);
    return option_is_advertisable(value);
}

static bool set_log_size_limit(struct options *o, const char *value)
{
    o->log_size_limit = strtoll(value, NULL, 0);
    return true;
}

static bool set_max_traced(struct options *o, const char *value)
{
    o->max_traced_msg_len = strtoll(value, NULL, 0);
    return true;
}

PORT_FLAG(set_port, port)
PORT_FLAG(set_http_port, http_port)
PORT_FLAG(set_https_port, https_port)

static bool set_connect_retries(struct options *o, const char *value)
{
    o->cluster.connect_retries = strtoll(value, NULL, 0);
    return true;
}

/* Any of the -tls flags puts these files in the place of the file's tls block. */
static void own_tls(struct options *o)
{
    if (!o->tls_by_flags) {
        tls_options_deinit(&o->tls);
        o->tls = tls_options_default();
        o->tls.set = o->tls_by_flags = true;
    }
}

static bool set_tls(struct options *o, const char *value)
{
    own_tls(o);
    o->tls.set = is_true(value);
    return true;
}

static bool set_tls_cert(struct options *o, const char *value)
{
    own_tls(o);
    option_set(&o->tls.cert_file, value);
    return true;
}

static bool set_tls_key(struct options *o, const char *value)
{
    own_tls(o);
    option_set(&o->tls.key_file, value);
    return true;
}

static bool set_tls_ca(struct options *o, const char *value)
{
    own_tls(o);
    option_set(&o->tls.ca_file, value);
    return true;
}

static bool set_tls_verify(struct options *o, const char *value)
{
    own_tls(o);
    o->tls.verify = is_true(value);
    return true;
}

static bool set_debug_trace(struct options *o, const char *value)
{
    o->debug = o->trace = is_true(value);
    return true;
}

static void set_list(struct text_list *list, const char *value)
{
    struct bytes rest = bytes_of(value);
    struct bytes text;
    text_list_clear(list);
    while (bytes_token(&rest, ',', &text)) {
        while (text.len > 0 && text.ptr[0] == ' ') {
            text = bytes_skip(text, 1);
        }
        if (text.len > 0) {
            text_list_add(list, text);
        }
    }
}

static bool set_routes(struct options *o, const char *value)
{
    set_list(&o->cluster.routes, value);
    o->cluster.routes_by_flags = o->cluster.routes.count > 0;
    bool good = true;
    for (uint32_t i = 0; i < o->cluster.routes.count && good; i++) {
        struct url url = {0};
        good = url_parse(bytes_of(o->cluster.routes.items[i]), &url) == OK && url.host[0] != '\0' &&
               url.port != 0;
        url_deinit(&url);
    }
    return good;
}

static bool set_force_recovery(struct options *o, const char *value)
{
    set_list(&o->force_recovery, value);
    return true;
}

/* The port -1, which takes any, is no part of a URL. */
static bool set_cluster(struct options *o, const char *value)
{
    struct cluster_options *c = &o->cluster;
    struct bytes text = bytes_of(value);
    struct url url;
    if (text.len == 0) {
        c->port = 0;
        return true;
    }
    bool any = text.len > 3 && memcmp(text.ptr + text.len - 3, ":-1", 3) == 0;
    text.len -= any ? 3 : 0;
    if (url_parse(text, &url) != OK) {
        return false;
    }
    bool good = (any || url.port != 0) && (url.user == NULL || url.password != NULL);
    if (good) {
        option_set(&c->host, url.host);
        option_set(&c->user, url.user); /* what the file says of them does not count any more */
        option_set(&c->password, url.password);
        c->port = any ? -1 : url.port;
    }
    url_deinit(&url);
    return good;
}

static const struct flag flags[] = {{"a", FLAG_TEXT, set_host},
                                    {"addr", FLAG_TEXT, set_host},
                                    {"net", FLAG_TEXT, set_host},
                                    {"p", FLAG_INT, set_port},
                                    {"port", FLAG_INT, set_port},
                                    {"n", FLAG_TEXT, set_name},
                                    {"name", FLAG_TEXT, set_name},
                                    {"server_name", FLAG_TEXT, set_name},
                                    {"client_advertise", FLAG_TEXT, set_client_advertise},
                                    {"P", FLAG_TEXT, set_pid},
                                    {"pid", FLAG_TEXT, set_pid},
                                    {"ports_file_dir", FLAG_TEXT, set_ports_file_dir},
                                    {"m", FLAG_INT, set_http_port},
                                    {"http_port", FLAG_INT, set_http_port},
                                    {"ms", FLAG_INT, set_https_port},
                                    {"https_port", FLAG_INT, set_https_port},
                                    {"c", FLAG_TEXT, set_config},
                                    {"config", FLAG_TEXT, set_config},
                                    {"l", FLAG_TEXT, set_log},
                                    {"log", FLAG_TEXT, set_log},
                                    {"log_size_limit", FLAG_INT, set_log_size_limit},
                                    {"s", FLAG_BOOL, set_syslog},
                                    {"syslog", FLAG_BOOL, set_syslog},
                                    {"max_traced_msg_len", FLAG_INT, set_max_traced},
                                    {"T", FLAG_BOOL, set_logtime},
                                    {"logtime", FLAG_BOOL, set_logtime},
                                    {"logtime_utc", FLAG_BOOL, set_logtime_utc},
                                    {"D", FLAG_BOOL, set_debug},
                                    {"debug", FLAG_BOOL, set_debug},
                                    {"V", FLAG_BOOL, set_trace},
                                    {"trace", FLAG_BOOL, set_trace},
                                    {"VV", FLAG_BOOL, set_trace},
                                    {"DV", FLAG_BOOL, set_debug_trace},
                                    {"DVV", FLAG_BOOL, set_debug_trace},
                                    {"js", FLAG_BOOL, set_jetstream},
                                    {"jetstream", FLAG_BOOL, set_jetstream},
                                    {"sd", FLAG_TEXT, set_store_dir},
                                    {"store_dir", FLAG_TEXT, set_store_dir},
                                    {"force_recovery", FLAG_TEXT, set_force_recovery},
                                    {"user", FLAG_TEXT, set_user},
                                    {"pass", FLAG_TEXT, set_pass},
                                    {"auth", FLAG_TEXT, set_token},
                                    {"tls", FLAG_BOOL, set_tls},
                                    {"tlscert", FLAG_TEXT, set_tls_cert},
                                    {"tlskey", FLAG_TEXT, set_tls_key},
                                    {"tlscacert", FLAG_TEXT, set_tls_ca},
                                    {"tlsverify", FLAG_BOOL, set_tls_verify},
                                    {"cluster", FLAG_TEXT, set_cluster},
                                    {"cluster_listen", FLAG_TEXT, set_cluster},
                                    {"cluster_name", FLAG_TEXT, set_cluster_name},
                                    {"cluster_advertise", FLAG_TEXT, set_cluster_advertise},
                                    {"routes", FLAG_TEXT, set_routes},
                                    {"no_advertise", FLAG_BOOL, set_no_advertise},
                                    {"connect_retries", FLAG_INT, set_connect_retries}};

static const char *const unsupported_flags[] = {"r", "remote_syslog", "profile", "help_tls", NULL};

static const struct flag *find_flag(const char *name)
{
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(flags[i].name, name) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

static bool is_bool_word(const char *value)
{
    static const char *const words[] = {"1", "t", "T", "true",  "TRUE",  "True",
                                        "0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i], value) == 0) {
            return true;
        }
    }
    return false;
}

static enum err bad_flag(struct options_command *command, struct error *error, const char *format,
                         const char *a, const char *b)
{
    command->action = OPTIONS_BAD_FLAG;
    (void)error_set(error, ERR_INVALID, "%s", "");
    (void)snprintf(error->message, sizeof error->message, format, a, b);
    return OK;
}

enum err options_apply_flags(struct options *o, int argc, char *const argv[],
                             struct options_command *command, struct error *error)
{
    *command = (struct options_command){.action = OPTIONS_RUN};
    o->cluster.routes_by_flags = false;
    o->tls_by_flags = false; /* the flags are applied twice, and the file in between */
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (word[0] != '-' || word[1] == '\0') {
            if (strcasecmp(word, "version") == 0) {
                command->action = OPTIONS_VERSION;
                return OK;
            }
            if (strcasecmp(word, "help") == 0) {
                command->action = OPTIONS_HELP;
                return OK;
            }
            return error_set(error, ERR_INVALID, "unrecognized command: \"%s\"", word);
        }
        if (strcmp(word, "--") == 0) {
            break;
        }
        const char *start = word + (word[1] == '-' ? 2 : 1);
        const char *equals = strchr(start, '=');
        char name[64];
        size_t len = equals == NULL ? strlen(start) : (size_t)(equals - start);
        len = len < sizeof name ? len : sizeof name - 1;
        memcpy(name, start, len);
        name[len] = '\0';
        if (strcmp(name, "v") == 0 || strcmp(name, "version") == 0) {
            command->action = OPTIONS_VERSION;
            return OK;
        }
        if (strcmp(name, "h") == 0 || strcmp(name, "help") == 0) {
            command->action = OPTIONS_HELP;
            return OK;
        }
        if (strcmp(name, "t") == 0) {
            command->action = OPTIONS_TEST_CONFIG;
            continue;
        }
        for (const char *const *u = unsupported_flags; *u != NULL; u++) {
            if (strcmp(*u, name) == 0) {
                return error_set(error, ERR_INVALID,
                                 "flag -%s is not supported in this version yet", name);
            }
        }
        bool is_signal = strcmp(name, "sl") == 0 || strcmp(name, "signal") == 0;
        const struct flag *flag = is_signal ? NULL : find_flag(name);
        if (flag == NULL && !is_signal) {
            return bad_flag(command, error, "flag provided but not defined: -%s", name, "");
        }
        if (flag != NULL && flag->kind == FLAG_BOOL) {
            const char *value = equals == NULL ? "true" : equals + 1;
            if (!is_bool_word(value)) {
                return bad_flag(command, error, "invalid boolean value \"%s\" for -%s: parse error",
                                value, name);
            }
            (void)flag->apply(o, value);
            continue;
        }
        const char *value = equals != NULL ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL) {
            return bad_flag(command, error, "flag needs an argument: -%s", name, "");
        }
        if (is_signal) {
            command->action = OPTIONS_SIGNAL;
            option_set(&command->signal, value);
            continue;
        }
        if (flag->kind == FLAG_INT) {
            char *rest;
            (void)strtol(value, &rest, 0);
            if (*value == '\0' || *rest != '\0') {
                return bad_flag(command, error, "invalid value \"%s\" for flag -%s: parse error",
                                value, name);
            }
        }
        if (!flag->apply(o, value)) { /* not shown: it may hold a password */
            return error_set(error, ERR_INVALID, "the value of flag -%s cannot be used", name);
        }
    }
    return OK;
}
