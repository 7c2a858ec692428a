/* Shared by stream_config.c and consumer_config.c. */
#ifndef JETSTREAM_STATE_CONFIG_INTERNAL_H
#define JETSTREAM_STATE_CONFIG_INTERNAL_H

#include "jetstream/state/config.h"
#include "jetstream/state/fields.h"

#define METADATA_MAX (128 * 1024) /* bytes of keys and values */

/* Bytes of keys and values. */
size_t config_metadata_bytes(const json_t *metadata);
/* What the server adds to metadata in all replies. */
void config_put_required(json_t *metadata);

#endif
