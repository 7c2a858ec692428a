/* take: reads one configuration value into one field, or says in the report, with file, line and
 * column, why not. Wording: nats-server's. Shared by the files that know the options. */
#ifndef CORE_CONFIG_TAKE_INTERNAL_H
#define CORE_CONFIG_TAKE_INTERNAL_H

#include "core/config/options_internal.h"

struct context {
    struct options *o;
    struct option_report *report;
    bool account_users; /* accounts{} lists users */
    bool store_dir_set; /* by this file; flags may have set it before */
};

typedef void (*option_handler)(struct context *c, const struct conf_member *m);

/* `apply` NULL: the option is known, and has no effect yet. */
struct option_row {
    const char *name;
    option_handler apply;
};

/* "FILE:LINE:COLUMN: …" into the errors. */
void complain(struct context *c, const struct conf_member *m, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* "FILE:LINE:COLUMN: …" into the warnings. */
void warn(struct context *c, const struct conf_member *m, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* The same into the notes: the option is known, and not there yet. */
void note_no_effect(struct context *c, const struct conf_member *m);
/* … and what follows from that. */
void note_instead(struct context *c, const struct conf_member *m, const char *instead);
bool expect_type(struct context *c, const struct conf_member *m, enum conf_type type);
void take_text(struct context *c, const struct conf_member *m, char **field);
/* A string without spaces, which would part it in what others are told. `what` names it. */
void take_name(struct context *c, const struct conf_member *m, const char *what, char **field);
/* A string, or an array of strings. */
void take_texts(struct context *c, const struct conf_member *m, struct text_list *list);
void take_bool(struct context *c, const struct conf_member *m, bool *field);
/* JetStream, of the server or an account: a boolean, "enabled" or "disabled". */
void take_switch(struct context *c, const struct conf_member *m, bool *field);
void take_int(struct context *c, const struct conf_member *m, int64_t *field);
void take_int32(struct context *c, const struct conf_member *m, int64_t *field);
/* A number of seconds; false when the value is no number. */
bool take_seconds(const struct conf_member *m, int64_t *field);
/* "1m30s"; a number is seconds, with a warning. */
void take_duration(struct context *c, const struct conf_member *m, int64_t *field);
/* 4222 or "host:port" */
void take_listen(struct context *c, const struct conf_member *m, char **host, int *port);
/* A host, or a host and a port. */
void take_advertise(struct context *c, const struct conf_member *m, char **field);
void take_port(struct context *c, const struct conf_member *m, int *port);
/* Unquoted sizes are integers already; quoted ones end in K, M, G or T, base 1024. */
void take_size(struct context *c, const struct conf_member *m, int64_t *field);
/* Is the key one of these (NULL-terminated), case aside? */
bool key_in(struct bytes key, const char *const *names);
/* Calls the handler of each member; rows end with a NULL name. Others are errors. */
void apply_table(struct context *c, const struct conf_value *map, const struct option_row *rows);

/* permissions{}: publish (import) and subscribe (export), each allow and deny. */
void take_permissions(struct context *c, const struct conf_member *m, struct permissions *p);
void take_tls(struct context *c, const struct conf_member *m, struct tls_options *tls);

/* conf_exchange.c: what goes from one subject, or account, to another. */
void take_mappings(struct context *c, const struct conf_member *m, struct account_options *account);
void take_exports(struct context *c, const struct conf_member *m, struct account_options *account);
void take_imports(struct context *c, const struct conf_member *m, struct account_options *account);
/* When every account is known: is every import exported, and to whom it says? */
void check_exchange(struct context *c, const struct conf_member *accounts);

/* Blocks of the file, one per source file: conf_accounts.c, conf_cluster.c. */
void on_authorization(struct context *c, const struct conf_member *m);
void on_accounts(struct context *c, const struct conf_member *m);
/* When everything has been read: what contradicts authorization{}. */
void check_accounts(struct context *c, const struct conf_member *accounts);
void on_cluster(struct context *c, const struct conf_member *m);
/* conf_links.c: checked, and without effect. */
void on_leafnodes(struct context *c, const struct conf_member *m);
void on_gateway(struct context *c, const struct conf_member *m);

#endif
