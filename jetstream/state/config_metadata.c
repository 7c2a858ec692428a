#include "jetstream/state/config_internal.h"

#define PROTOCOL_VERSION "2.15.2" /* _nats.ver in replies */

size_t config_metadata_bytes(const json_t *metadata)
{
    const char *key;
    json_t *value;
    size_t bytes = 0;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        bytes += strlen(key) + json_string_length(value);
    }
    return bytes;
}

void config_put_required(json_t *metadata)
{
    json_put_text(metadata, "_nats.req.level", "0");
}

void config_put_server(json_t *config)
{
    json_t *metadata = json_object_get(config, "metadata");
    json_put_text(metadata, "_nats.level", "0");
    json_put_text(metadata, "_nats.ver", PROTOCOL_VERSION);
}
