/* connect: what a CONNECT line says. Source: NATS client protocol §3.
 *
 * Read as nats-server reads it: member names whatever their case, unknown ones ignored, null like
 * absent, a wrong type an error. */
#ifndef CORE_PROTOCOL_CONNECT_H
#define CORE_PROTOCOL_CONNECT_H

#include <jansson.h>

#include "core/base/bytes.h"
#include "core/base/err.h"

/* Texts are borrowed from `json`, and "" when absent, but for the last three, which are NULL then.
 */
struct connect {
    json_t *json; /* owned */
    bool verbose, pedantic, echo, headers, no_responders;
    bool new_account;
    int64_t protocol;
    const char *user, *pass, *auth_token, *account, *nkey, *sig, *jwt;
    const char *name, *lang, *version;
};

/* Reads over *c: what the line leaves out keeps the value that it has; texts are cleared first.
 * ERR_INVALID for what is no object or has a member of a wrong type. */
MUST_USE enum err connect_parse(struct connect *c, struct bytes text);
void connect_deinit(struct connect *c);

#endif
