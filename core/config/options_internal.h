/* Shared by options.c, options_conf.c and flags.c. */
#ifndef CORE_CONFIG_OPTIONS_INTERNAL_H
#define CORE_CONFIG_OPTIONS_INTERNAL_H

#include "core/config/options.h"

/* Mappings, exports and imports. */
void account_exchange_free(struct account_options *a);
void permissions_free(struct permissions *p);
/* The account of that name, created when it is new. */
struct account_options *options_account(struct options *o, struct bytes name);

/* A host, or a host and a port. */
bool option_is_advertisable(const char *text);

#endif
