/* Records that hold mostly deleted messages, written anew with what is left of them; the design's
 * "the log is the stream" would keep the dead otherwise until everything ahead of them is gone.
 *
 * Only records that the log does not need any more: what is sent as log should be what was
 * proposed. What is sent with a snapshot, or to repair a record, may lack what its sender has
 * deleted; whoever is not as far as the sender finds out when it needs the message, or is to apply
 * the entry, and stalls (stream.h, ERR_IO). */
#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/mem.h"
#include "jetstream/state/stream_internal.h"

#define REWRITES_MAX 32 /* in one checkpoint: they are read and written on the stream's loop */

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_live(const struct stream *s, uint64_t seq)
{
    return seq >= s->totals.first_seq && !stream_is_deleted(s, seq);
}

static void rewrite(struct stream *s, const struct stream_entry *e,
                    const struct record_writer *records)
{
    struct messages_builder b = {0};
    struct messages_reader r;
    struct stored_message m;
    struct blob *record = s->read(s->arg, e->index);
    if (record == NULL || record->len < s->rewrite_least ||
        !messages_open(&r, blob_bytes(record)) || r.first_seq != e->first_seq ||
        r.left == e->live) { /* nothing to gain */
        blob_release(record);
        return;
    }
    remains_begin(&b, e->first_seq, r.base_ns);
    while (messages_next(&r, &m)) {
        if (is_live(s, m.seq) && !(BUG(BUG_REWRITES_WITH_LESS) && r.left == 0)) {
            remains_add(&b, &m);
        }
    }
    /* When something is missing, that must not be made official. */
    bool whole = b.count == e->live || (BUG(BUG_REWRITES_WITH_LESS) && b.count > 0);
    if (whole) {
        struct blob *remains = messages_finish(&b);
        records->put(records->arg, e->index, remains);
        blob_release(remains);
    }
    buffer_deinit(&b.data);
    blob_release(record);
}

void stream_rewrite(struct stream *s, uint64_t from, uint64_t to,
                    const struct record_writer *records)
{
    uint32_t left = 0;
    unsigned rewritten = 0;
    uint64_t before = UINT64_MAX;
    if (s->sparse_count > 0) {
        qsort(s->sparse, s->sparse_count, sizeof *s->sparse, ascending);
    }
    for (uint32_t i = 0; i < s->sparse_count; i++) {
        uint64_t index = s->sparse[i];
        if (index == before) {
            continue;
        }
        before = index;
        const struct stream_entry *e = stream_entry_at(s, index);
        bool dropped = e == NULL && index >= from && index < to;
        if ((index >= from && !dropped) || (e != NULL && rewritten == REWRITES_MAX)) {
            s->sparse[left++] = index; /* later */
        } else if (e == NULL && !dropped) {
            records->remove(records->arg, index);
        } else if (e != NULL && e != &s->entries[s->entries_from]) { /* limits take the first */
            rewrite(s, e, records);
            rewritten++;
        }
    }
    s->sparse_count = left;
}
