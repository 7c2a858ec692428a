/* Is an entry one that can be applied? Asked before it is proposed, by whoever made it. */
#include "core/base/json.h"
#include "core/base/time_math.h"
#include "jetstream/state/config.h"
#include "jetstream/state/entry.h"

static bool messages_are_understood(struct bytes entry)
{
    struct messages_reader r;
    struct stored_message m;
    if (!messages_open(&r, entry) || r.remains || r.left == 0 || r.first_seq > SEQ_LAST ||
        r.left > SEQ_LAST - r.first_seq + 1) {
        return false;
    }
    while (messages_next(&r, &m)) { /* to the end */
    }
    return r.reader.at == r.reader.end && !r.reader.bad;
}

static bool is_time(struct reader *r)
{
    uint64_t ns = reader_u64(r);
    return ns <= INT64_MAX && time_is_storable((int64_t)ns);
}

static bool read_consumer_config(json_t *json)
{
    struct consumer_config config;
    struct js_error error;
    bool ok = consumer_config_parse(json, &config, &error);
    bool named = ok && config.name != NULL;
    if (ok) {
        consumer_config_deinit(&config);
    }
    return named;
}

static bool is_config(struct reader *r, bool (*read)(json_t *json))
{
    struct bytes text = reader_bytes(r);
    json_t *json = r->bad ? NULL : json_read(text);
    bool ok = json_is_object(json) && read(json);
    json_decref(json);
    return ok;
}

static bool is_purge(struct reader *r)
{
    bool ok = reader_varint(r) <= SEQ_LAST + 1;
    (void)reader_varint(r);
    (void)reader_bytes(r);
    return ok && (reader_done(r) || reader_varint(r) <= SEQ_LAST + 1);
}

static bool are_sequences(struct reader *r, bool with_ops)
{
    bool ok = true;
    for (uint64_t left = reader_varint(r); left > 0 && ok && !r->bad; left--) {
        ok = !with_ops || reader_u8(r) <= ACK_OP_EXHAUSTED;
        ok = reader_varint(r) <= SEQ_LAST && ok;
        (void)(with_ops && reader_varint(r) > 0);
    }
    return ok;
}

bool entry_is_known(struct bytes entry)
{
    return entry.len > 0 && entry.ptr[0] >= ENTRY_MESSAGES && entry.ptr[0] <= ENTRY_REMAINS;
}

bool entry_is_understood(struct bytes entry)
{
    struct reader r = reader_make(entry);
    bool ok = false;
    switch (reader_u8(&r)) {
    case ENTRY_MESSAGES:
        return messages_are_understood(entry);
    case ENTRY_PURGE:
        ok = is_purge(&r);
        break;
    case ENTRY_DELETE:
    case ENTRY_EXPIRE:
        ok = reader_varint(&r) <= SEQ_LAST;
        break;
    case ENTRY_CONFIG:
        ok = is_config(&r, stream_config_is_understood);
        break;
    case ENTRY_CONSUMER:
        ok = is_time(&r) && is_config(&r, read_consumer_config);
        break;
    case ENTRY_CONSUMER_DELETE:
        ok = reader_bytes(&r).len > 0;
        break;
    case ENTRY_DELIVER:
        ok = reader_bytes(&r).len > 0 && is_time(&r) && are_sequences(&r, false);
        break;
    case ENTRY_ACKS:
        ok = reader_bytes(&r).len > 0 && is_time(&r) && are_sequences(&r, true);
        break;
    default: /* REMAINS is never proposed */
        break;
    }
    return ok && reader_done(&r);
}
