/* imports: what one account has of others. NATS client protocol §13.
 *
 * Read-only once built; a reload builds others. The accounts it names live as long as the server.
 */
#ifndef CORE_ACCOUNT_IMPORTS_H
#define CORE_ACCOUNT_IMPORTS_H

#include "core/account/account.h"
#include "core/config/options.h"
#include "core/subject/transform.h"

/* Subscriptions here that overlap the local subjects also subscribe there. */
struct stream_import {
    struct account *importer, *exporter; /* borrowed */
    struct transform *transform;         /* owned, strict: from the exporter's subjects to ours */
};

/* A subscription of its own in the importing account: what is published here goes there. */
struct service_import {
    struct interest_entry entry;         /* first: the index hands out pointers to it */
    struct account *importer, *exporter; /* borrowed */
    struct transform *transform;         /* owned, strict: from our subjects to the exporter's */
    enum response_type response;
    int64_t threshold_ns;
    bool share;
};

struct imports {
    struct stream_import *streams;
    uint32_t stream_count;
    struct service_import *services;
    uint32_t service_count;
    struct buffer key; /* the same for two configurations that say the same */
};

/* `kind` is put into the services' entries. NULL when the account imports nothing. The
 * configuration has been checked. */
struct imports *imports_new(struct accounts *accounts, struct account *importer,
                            const struct options *options, uint8_t kind);
/* The services' entries must be out of the index. NULL is allowed. */
void imports_free(struct imports *imports);
bool imports_equal(const struct imports *a, const struct imports *b);

/* How the subscription `subject`, of the importing account, is to be made in the exporting one.
 * False when it wants nothing of this import. */
bool stream_import_subject(const struct stream_import *import, struct bytes subject,
                           struct buffer *out);

#endif
