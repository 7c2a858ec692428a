/* A stream from what is left of it, when its checkpoint cannot be read and nobody else has it.
 *
 * The records of the log are gone through in order. Of those that the checkpoint stood for all
 * messages come back of which its rows do not say that they were deleted. What is behind, or all of
 * it when the head of the checkpoint is lost, is applied as ever, but may leave out sequences. */
#include <stdlib.h>

#include "core/base/mem.h"
#include "jetstream/state/stream_internal.h"

struct range {
    uint64_t from, to; /* sequences; to 0: none */
};

struct stream_recovery {
    struct stream *stream; /* what comes of it */
    struct stream *known;  /* the checkpoint, as far as it could be read; NULL: not even its head */
    struct map known_rows; /* row → anything; of entries only */
    bool behind;           /* past what the checkpoint stands for */
    uint64_t known_up_to;  /* log index */
    uint64_t log_from;     /* log index: from there on nothing has been dropped */
    struct map consumers;  /* the stream's, while they could not follow */
    bool missing;          /* records are, in front of the next one */
    struct range doubtful; /* may have been deleted; not told yet */
    stream_recovery_cb tell;
    void *arg;
};

struct stream_recovery *stream_recovery_new(struct stream *stream, struct stream *known,
                                            uint64_t known_up_to, uint64_t log_from,
                                            stream_recovery_cb tell, void *arg)
{
    struct stream_recovery *r = NEW(struct stream_recovery);
    r->stream = stream;
    r->known = known;
    r->known_up_to = known == NULL ? 0 : known_up_to;
    r->log_from = log_from;
    r->consumers = stream->consumers;
    stream->consumers = (struct map){0};
    r->behind = known == NULL;
    r->tell = tell;
    r->arg = arg;
    stream_forget_messages(stream);
    stream->totals.last_seq = known == NULL ? 0 : known->totals.first_seq - 1; /* so far */
    return r;
}

void stream_recovery_row(struct stream_recovery *r, uint64_t row, struct bytes value)
{
    if (r->known != NULL && stream_is_entry_row(row) &&
        stream_decode_row(r->known, row, value) == OK) {
        (void)map_put_u64(&r->known_rows, row, r);
    }
}

void stream_recovery_missing(struct stream_recovery *r)
{
    r->missing = true;
}

static void tell_doubtful(struct stream_recovery *r)
{
    if (r->doubtful.to != 0) {
        r->tell(r->arg, RECOVERY_DOUBTFUL, r->doubtful.from, r->doubtful.to);
        r->doubtful.to = 0;
    }
}

static void add_doubtful(struct stream_recovery *r, uint64_t from, uint64_t to)
{
    if (r->doubtful.to + 1 != from) {
        tell_doubtful(r);
        r->doubtful.from = from;
    }
    r->doubtful.to = to;
}

/* Sequences up to `seq` have been, and are not there. */
static void skip_to(struct stream_recovery *r, uint64_t seq)
{
    struct stream_totals *t = &r->stream->totals;
    if (seq <= t->last_seq) {
        return;
    }
    if (r->missing) {
        r->tell(r->arg, RECOVERY_LOST, t->last_seq + 1, seq);
    }
    if (t->messages > 0) {
        holes_add(&r->stream->deleted, t->last_seq + 1, seq);
    } else {
        t->first_seq = seq + 1;
    }
    t->last_seq = seq;
}

/* Does the checkpoint, as far as it could be read, tell of the record at `index`? */
static bool is_known(const struct stream_recovery *r, uint64_t index)
{
    bool whole = r->known != NULL && r->known->changes.all; /* without rows */
    return whole || map_get_u64(&r->known_rows, stream_entry_row(index)) != NULL;
}

static bool is_deleted(struct stream_recovery *r, uint64_t index, uint64_t seq)
{
    bool known = is_known(r, index);
    if (!known && index < r->log_from) { /* else what deleted it comes behind it */
        add_doubtful(r, seq, seq);
    }
    return known && (stream_entry_at(r->known, index) == NULL || stream_is_deleted(r->known, seq));
}

/* A record below the log's end: it holds nothing that limits or whoever waits still have to see. */
static enum err take_messages(struct stream_recovery *r, uint64_t index,
                              struct messages_reader reader)
{
    struct stream *s = r->stream;
    struct stored_message m;
    uint64_t end = s->entries_count == 0 ? 0
                                         : s->entries[s->entries_count - 1].first_seq +
                                               s->entries[s->entries_count - 1].count;
    if (reader.first_seq < end) {
        return ERR_CORRUPT;
    }
    struct stream_entry e = {.index = index, .first_seq = reader.first_seq};
    uint64_t last = r->behind ? SEQ_LAST : r->known->totals.last_seq;
    while (messages_next(&reader, &m) && m.seq <= last && m.seq - e.first_seq < UINT32_MAX) {
        e.count = (uint32_t)(m.seq + 1 - e.first_seq);
        if (m.seq > s->totals.last_seq && !is_deleted(r, index, m.seq)) {
            skip_to(r, m.seq - 1);
            stream_count_message(s, &m);
            e.live++;
            r->missing = false; /* in front of deleted ones it stays open */
        }
    }
    if (e.live > 0) {
        VEC_RESERVE(s->entries, s->entries_cap, s->entries_count);
        s->entries[s->entries_count++] = e;
        if (e.live <= e.count / 2) {
            stream_note_sparse(s, &e);
        }
    }
    return OK;
}

/* An entry that the checkpoint stands for, but perhaps not with all of its rows: of those that take
 * messages away individually the log still has the last ones. What a purge keeps depends on what
 * was there; and limits and ages have moved first_seq, which is known. */
static enum err take_deletion(struct stream_recovery *r, uint64_t index, struct bytes entry)
{
    struct stream *s = r->stream;
    struct apply_result result;
    struct reader reader = reader_make(entry);
    uint8_t kind = reader_u8(&reader);
    (void)reader_varint(&reader);
    bool keeps = kind == ENTRY_PURGE && reader_varint(&reader) > 0;
    if (keeps && s->totals.messages > 0 && !r->known->changes.all) {
        add_doubtful(r, s->totals.first_seq, s->totals.last_seq);
    }
    return kind == ENTRY_DELETE || (kind == ENTRY_PURGE && !keeps)
               ? stream_apply(s, index, entry, &result, NULL, NULL)
               : OK;
}

/* That was all that the checkpoint stands for. */
static void settle_known(struct stream_recovery *r)
{
    if (!r->behind) {
        struct stream *s = r->stream;
        skip_to(r, r->known->totals.last_seq);
        s->totals.last_ns = r->known->totals.last_ns;
        s->consumers = r->consumers;
        consumers_on_loss(s);
        r->behind = true;
    }
}

enum err stream_recovery_record(struct stream_recovery *r, uint64_t index, struct bytes entry)
{
    struct messages_reader reader;
    struct apply_result result;
    bool messages = messages_open(&reader, entry);
    bool config = entry.len > 0 && entry.ptr[0] == ENTRY_CONFIG;
    if (messages && reader.first_seq > SEQ_LAST) {
        return ERR_CORRUPT;
    }
    if (index <= r->known_up_to) {
        return messages ? take_messages(r, index, reader) : take_deletion(r, index, entry);
    }
    settle_known(r);
    if (messages && reader.remains) {
        return take_messages(r, index, reader);
    }
    if (config && r->known == NULL) {
        return OK; /* the last one is known from elsewhere, and an older one may take away more */
    }
    if (messages) {
        skip_to(r, reader.first_seq - 1);
        r->missing = false;
    }
    if (messages && index < r->log_from) {
        add_doubtful(r, reader.first_seq, reader.first_seq + reader.left - 1);
    }
    return stream_apply(r->stream, index, entry, &result, NULL, NULL);
}

struct stream *stream_recovery_end(struct stream_recovery *r)
{
    struct stream *s = r->stream;
    settle_known(r);
    tell_doubtful(r);
    if (r->missing) {
        r->tell(r->arg, RECOVERY_LOST, s->totals.last_seq + 1, UINT64_MAX);
    }
    stream_write_all_rows(s);
    if (r->known != NULL) {
        stream_free(r->known);
    }
    map_deinit(&r->known_rows);
    free(r);
    return s;
}
