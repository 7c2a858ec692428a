/* A stream made anew from what is left of it on this server, the only one that has it: what is
 * lost, and what may be there again, stands in the log by sequence. */
#include "core/base/log.h"
#include "jetstream/asset_internal.h"

static void tell_finding(void *arg, enum recovery_finding finding, uint64_t from, uint64_t to)
{
    struct asset *a = arg;
    if (to == UINT64_MAX) {
        log_error("JetStream stream '%s > %s': messages from %llu on are lost, if there were any",
                  a->account->name, a->name, (unsigned long long)from);
        return;
    }
    log_error("JetStream stream '%s > %s': messages %llu to %llu %s", a->account->name, a->name,
              (unsigned long long)from, (unsigned long long)to,
              finding == RECOVERY_LOST ? "are lost, unless they had been deleted"
                                       : "are there, even if some of them had been deleted");
}

/* NULL: it makes no sense. */
static struct stream *decode_head(struct asset *a, const struct blob *head)
{
    struct stream *s = asset_new_stream(a);
    if (stream_decode(s, blob_bytes(head)) != OK) {
        stream_free(s);
        s = NULL;
    }
    return s;
}

/* Empty, with the configuration that holds now. */
static struct stream *begin_anew(struct asset *a)
{
    struct stream_config config;
    struct js_error error;
    const struct stream *assigned = a->stream;
    json_t *json = a->wanted_config != NULL ? json_incref(a->wanted_config)
                                            : stream_config_json(&assigned->config, false);
    CHECK(stream_config_parse(json, true, &config, &error)); /* as the meta group has it */
    json_decref(json);
    return stream_new(&config, assigned->created_ns, NULL, NULL);
}

static void recovery_begin(void *owner, const struct blob *head, uint64_t index, uint64_t log_from,
                           struct blob *(*read)(void *arg, uint64_t index), void *arg)
{
    struct asset *a = owner;
    struct stream *known = head == NULL ? NULL : decode_head(a, head);
    struct stream *s = known == NULL ? begin_anew(a) : decode_head(a, head);
    log_error("JetStream stream '%s > %s': its state is damaged, and made anew from its messages%s",
              a->account->name, a->name,
              known == NULL
                  ? ". So are its consumers and the message ids it has seen, as far as the log "
                    "still has them"
                  : "");
    s->read = read;
    s->arg = arg;
    a->recovery = stream_recovery_new(s, known, index, log_from, tell_finding, a);
}

static void recovery_row(void *owner, uint64_t row, struct bytes value)
{
    struct asset *a = owner;
    stream_recovery_row(a->recovery, row, value);
}

static enum err recovery_record(void *owner, uint64_t index, struct bytes entry)
{
    struct asset *a = owner;
    return entry_is_known(entry) ? stream_recovery_record(a->recovery, index, entry) : ERR_UNKNOWN;
}

static void recovery_missing(void *owner)
{
    struct asset *a = owner;
    stream_recovery_missing(a->recovery);
}

static void recovery_end(void *owner)
{
    struct asset *a = owner;
    struct stream *s = stream_recovery_end(a->recovery);
    a->recovery = NULL;
    asset_replace_stream(a, s);
}

const struct recovery_ops asset_recovery_ops = {.begin = recovery_begin,
                                                .row = recovery_row,
                                                .record = recovery_record,
                                                .missing = recovery_missing,
                                                .end = recovery_end};
