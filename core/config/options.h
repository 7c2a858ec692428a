/* options: everything a server can be told, from flags and from the configuration file.
 *
 * A struct options and its strings are plain heap data, read-only once the server runs. */
#ifndef CORE_CONFIG_OPTIONS_H
#define CORE_CONFIG_OPTIONS_H

#include <stdint.h>

#include "core/base/buffer.h"
#include "core/base/err.h"
#include "core/base/tls_options.h"
#include "core/config/conf.h"

/* Subject patterns that are allowed and denied; `queue` of a subscribe rule may be NULL. */
struct permission_rule {
    char *subject;
    char *queue;
};
struct permission_rules {
    struct permission_rule *rules;
    uint32_t count, cap;
};
struct permissions {
    bool set;               /* false: everything is allowed */
    bool publish_allow_set; /* an allow list, even an empty one, excludes the rest */
    bool subscribe_allow_set;
    bool responses_set;           /* allow_responses */
    int64_t responses_max;        /* to each request; < 0: without limit */
    int64_t responses_expires_ns; /* < 0: never */
    struct permission_rules publish_allow, publish_deny;
    struct permission_rules subscribe_allow, subscribe_deny;
};

/* What kind of connection a user may come by: allowed_connection_types. */
enum connection_type {
    CONNECTION_STANDARD = 1,
    CONNECTION_WEBSOCKET = 2,
    CONNECTION_LEAFNODE = 4,
    CONNECTION_LEAFNODE_WS = 8,
    CONNECTION_MQTT = 16,
    CONNECTION_MQTT_WS = 32,
    CONNECTION_IN_PROCESS = 64
};

struct user_options {
    char *user; /* a public user nkey when `nkey` is set */
    bool nkey;
    char *password;            /* plain or bcrypt; NULL for nkeys */
    uint32_t connection_types; /* of enum connection_type; 0: any */
    bool proxy_required;       /* only by way of a trusted proxy */
    struct permissions permissions;
};

/* One row of mappings{}: where messages on `source` go instead. */
struct mapping_destination {
    char *subject;
    uint32_t weight; /* percent */
    char *cluster;   /* NULL: for servers of clusters that no other destination names */
};
struct mapping_options {
    char *source;
    struct mapping_destination *destinations;
    uint32_t count, cap;
};

enum response_type { RESPONSE_SINGLETON, RESPONSE_STREAM, RESPONSE_CHUNKED };

struct export_options {
    bool service; /* else a stream */
    char *subject;
    bool restricted; /* to the accounts listed */
    struct text_list accounts;
    enum response_type response;
    int64_t threshold_ns;    /* how long an answer is waited for */
    uint32_t token_position; /* of the importing account's name, from 1; 0: none */
};
struct import_options {
    bool service;
    char *account; /* that exports it */
    char *subject; /* as it is called there */
    char *local;   /* as it is called here */
    bool share;    /* the service is told who asks */
};

struct account_limits { /* -1: none */
    int64_t max_connections, max_subscriptions, max_payload;
};

struct account_options {
    char *name;
    struct mapping_options *mappings;
    uint32_t mapping_count, mapping_cap;
    struct export_options *exports;
    uint32_t export_count, export_cap;
    struct import_options *imports;
    uint32_t import_count, import_cap;
    struct account_limits limits;
    struct user_options *users;
    uint32_t user_count, user_cap;
    struct permissions default_permissions;
    bool jetstream;
};

enum compression_mode {
    COMPRESSION_NOT_SUPPORTED,
    COMPRESSION_OFF,
    COMPRESSION_ACCEPT, /* as the other side wants it */
    COMPRESSION_S2_AUTO,
    COMPRESSION_S2_UNCOMPRESSED,
    COMPRESSION_S2_FAST,
    COMPRESSION_S2_BETTER,
    COMPRESSION_S2_BEST
};
/* As the configuration and the wire have them. NULL-terminated, by enum compression_mode. */
extern const char *const compression_mode_names[];

#define ROUTE_POOL_MAX 64

/* cluster{} */
struct cluster_options {
    char *name; /* NULL: not given */
    char *host;
    int port; /* 0: no clustering */
    char *user, *password;
    int64_t auth_timeout_ns;
    char *advertise;
    bool no_advertise;
    struct text_list routes;
    bool routes_by_flags;    /* the file's do not count */
    int64_t connect_retries; /* of an address that others have told of */
    bool connect_backoff;
    int64_t pool_size;         /* connections per neighbour; < 0: one, and no pinned accounts */
    struct text_list accounts; /* that have connections of their own */
    struct tls_options tls;
    struct permissions permissions; /* publish: import, subscribe: export */
    enum compression_mode compression;
    int64_t rtt_thresholds_ns[3];       /* s2_auto: from the first on bytes are compressed */
    int64_t ping_interval_ns, ping_max; /* 0: as clients */
    int64_t write_deadline_ns;
};

struct options {
    char *config_file;      /* NULL without */
    char config_digest[65]; /* SHA-256 of what it says, hex; empty without a file */
    char *server_name;      /* NULL: the server's id */
    char *host;
    int port; /* -1: any free port */
    char *client_advertise;
    char *http_host;      /* NULL: host */
    int http_port;        /* 0: off */
    int https_port;       /* 0: off; not together with http_port */
    char *http_base_path; /* "/nats"; NULL: none */
    char *pid_file;
    char *ports_file_dir;
    int loops; /* event-loop threads; 0: one per core */

    bool debug, trace, logtime, logtime_utc;
    char *log_file;
    bool syslog;
    int64_t log_size_limit, log_max_files;
    int64_t max_traced_msg_len; /* bytes of a payload that a trace line shows; 0: all */
    bool trace_headers;         /* traces show headers and not bodies */

    int64_t max_payload, max_control_line, max_pending, max_connections, max_subscriptions;
    int64_t max_sub_tokens;     /* of a subscription's subject; 0: no limit */
    bool no_headers;            /* no_header_support */
    int64_t max_closed_clients; /* kept for /connz?state=closed */
    int64_t connect_error_reports, reconnect_error_reports; /* every n-th is logged */
    bool proxy_protocol;                                    /* on the client port */
    bool no_producer_stall;                                 /* no_fast_producer_stall */
    int64_t ping_interval_ns, ping_max, write_deadline_ns;
    int64_t auth_timeout_ns; /* 0 until options_finish() */
    int64_t lame_duck_grace_ns, lame_duck_duration_ns;

    bool authorization_block;         /* there is one, whatever it says */
    char *user, *password, *token;    /* single credentials of authorization{} */
    struct account_options *accounts; /* [0] is $G, which authorization{} fills */
    uint32_t account_count, account_cap;
    char *system_account;
    char *no_auth_user;
    /* What this version lacks may cost logins, but lets nobody in who should not be. */
    bool operator_mode;  /* logins are JWTs that an operator vouches for, and nothing else */
    bool proxy_required; /* logins come through trusted proxies only */
    bool auth_callout;   /* a service decides about everybody but callout_users */
    struct text_list callout_users;

    struct tls_options tls; /* of the client port */
    bool tls_by_flags;      /* the -tls flags replace the file's block */
    bool allow_non_tls;     /* plain clients as well */

    struct cluster_options cluster;

    bool jetstream;
    char *store_dir;                                  /* NULL: a temporary folder */
    int64_t jetstream_max_file, jetstream_max_memory; /* bytes; -1: not given */
    struct text_list force_recovery;          /* names of the servers that are left; empty: none */
    int64_t scrub_rate;                       /* bytes/s, of the look for damage; 0: none */
    int64_t scrub_interval_ns;                /* from the beginning of one to that of the next */
    int64_t read_lease_ns;                    /* of leaders; 0: they ask before they read */
    char *jetstream_key, *jetstream_prev_key; /* of the encryption at rest; NULL: none */
    bool jetstream_aes;                       /* its cipher; else ChaCha20-Poly1305 */
    struct text_list tags;
    struct text_list metadata_keys, metadata_values; /* server_metadata: as many of each */
};

/* What there is to say about the file and the flags, one line each. Warnings are nats-server's, and
 * to -t as bad as errors; notes are about what this version lacks, and change no verdict. */
struct option_report {
    struct buffer errors, warnings, notes;
};

void option_report_deinit(struct option_report *report);

struct options *options_new(void);
void options_free(struct options *o);
/* Applies a parsed file over `o`. ERR_INVALID when report->errors is not empty afterwards. */
enum err options_apply_conf(struct options *o, const struct conf *conf,
                            struct option_report *report);
/* Fills in what depends on several options (cluster name, store_dir) and refuses contradictions. */
MUST_USE enum err options_finish(struct options *o, struct error *error);

enum options_action {
    OPTIONS_RUN,
    OPTIONS_VERSION,
    OPTIONS_HELP,
    OPTIONS_TEST_CONFIG,
    OPTIONS_SIGNAL,
    OPTIONS_BAD_FLAG
};
struct options_command {
    enum options_action action;
    char *signal; /* OPTIONS_SIGNAL: "reload" or "reload=<pid>" */
};
/* Parses nats-server's flags. Called twice: first to find the configuration file, then over its
 * values, because flags win. Fills *error for OPTIONS_BAD_FLAG and for ERR results. */
MUST_USE enum err options_apply_flags(struct options *o, int argc, char *const argv[],
                                      struct options_command *command, struct error *error);
extern const char options_usage[];

/* NULL when no account of that name is configured. */
const struct account_options *options_find_account(const struct options *o, struct bytes name);
struct transform;
/* The export that lets the account named `importer` have this; `subject` is the import's as the
 * exporting account calls it, with '*' for its wildcards. NULL: nobody may. */
const struct export_options *options_find_export(const struct account_options *exporter,
                                                 const struct import_options *import,
                                                 struct bytes subject, const char *importer);
/* A strict one: of a service from here to there, of a stream from there to here. */
struct transform *options_import_transform(const struct import_options *import,
                                           struct error *error);
/* Replaces an owned string. NULL clears it. */
void option_set(char **field, const char *value);

#endif
