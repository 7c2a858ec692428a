/* reload: what a new configuration changes, and whether a running server can take it.
 * Source: nats-server configuration reference §10. */
#ifndef CORE_CONFIG_RELOAD_H
#define CORE_CONFIG_RELOAD_H

#include "core/config/options.h"

/* Appends one line per changed option that can be reloaded to *changes ("debug = true\n"), in
 * nats-server's wording. ERR_INVALID, with *error filled, when something else has changed: then
 * nothing of the new configuration is to be used. */
MUST_USE enum err options_compare(const struct options *before, const struct options *after,
                                  struct buffer *changes, struct error *error);

#endif
