/* command: from the program's arguments to what it is to do. */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include "core/config/options.h"
#include "cluster/routes.h"
#include "core/net/tls.h"

struct configuration {
    struct options *options;            /* owned */
    struct tls_context *tls;            /* counted: of the client port; NULL without */
    struct tls_context *monitoring_tls; /* the same, and nobody is asked for a certificate */
    struct routes_tls routes_tls;       /* counted: of the cluster port */
};

/* What main() begins with: answers --version, --help, -t, --signal and mistakes by itself. False
 * when the program is to end with *exit_code. */
bool command_read(int argc, char **argv, struct configuration *c, int *exit_code);
/* The same file and flags again, for a reload. On failure *error says why, in as many lines as
 * there are mistakes, for the caller to free. */
bool command_read_again(int argc, char **argv, struct configuration *c, struct buffer *why);

/* Frees what it owns. */
void configuration_free(struct configuration *c);

#endif
