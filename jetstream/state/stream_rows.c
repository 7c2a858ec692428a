/* Checkpoints of a stream (rows.h): what grows with the number of messages and subjects is in rows,
 * so that writing one costs what has changed, not what there is.
 *
 *   subjects  row: a number from 1 on, given when the subject is first written.
 *             varint count · varint last sequence · the subject
 *   entries   row: top bit · log index / 4096, for all MESSAGES entries with such an index.
 *             as in a whole state
 *
 * What limits have taken away at the front may still be in the first row of entries: first_seq of
 * the head says what counts. */
#include <stdlib.h>

#include "core/base/mem.h"
#include "jetstream/state/stream_internal.h"

#define ENTRY_ROWS UINT64_C(0x8000000000000000)
#define ROW_SHIFT  12

uint64_t stream_entry_row(uint64_t index)
{
    return ENTRY_ROWS | index >> ROW_SHIFT;
}

bool stream_is_entry_row(uint64_t row)
{
    return (row & ENTRY_ROWS) != 0;
}

/* Nobody writes checkpoints of what lives in memory. */
static bool notes_changes(const struct stream *s)
{
    return !s->config.memory && !s->changes.all;
}

void stream_subject_changed(struct stream *s, struct subject_state *subject)
{
    struct stream_changes *c = &s->changes;
    if (notes_changes(s) && !subject->changed) {
        subject->changed = true;
        VEC_RESERVE(c->subjects, c->subject_cap, c->subject_count);
        c->subjects[c->subject_count++] = subject;
    }
}

void stream_subject_gone(struct stream *s, struct subject_state *subject)
{
    subject->count = 0;
    stream_subject_changed(s, subject);
    if (!subject->changed) {
        free(subject);
    }
}

void stream_entry_changed(struct stream *s, uint64_t index)
{
    struct stream_changes *c = &s->changes;
    uint64_t row = stream_entry_row(index);
    if (!notes_changes(s)) {
        return;
    }
    uint32_t low = 0;
    uint32_t high = c->entry_row_count;
    if (high > 0 && c->entry_rows[high - 1] < row) { /* the usual case: it goes up */
        low = high;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c->entry_rows[middle] < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < c->entry_row_count && c->entry_rows[low] == row) {
        return;
    }
    VEC_RESERVE(c->entry_rows, c->entry_row_cap, c->entry_row_count);
    memmove(c->entry_rows + low + 1, c->entry_rows + low,
            (c->entry_row_count - low) * sizeof *c->entry_rows);
    c->entry_rows[low] = row;
    c->entry_row_count++;
}

static void forget_changes(struct stream *s)
{
    struct stream_changes *c = &s->changes;
    for (uint32_t i = 0; i < c->subject_count; i++) {
        c->subjects[i]->changed = false;
        if (c->subjects[i]->count == 0) {
            free(c->subjects[i]);
        }
    }
    free(c->subjects);
    free(c->entry_rows);
    *c = (struct stream_changes){.next_row = c->next_row, .first_entry_row = c->first_entry_row};
}

void stream_write_all_rows(struct stream *s)
{
    forget_changes(s);
    s->changes.all = true;
}

/* --- writing --- */

static void put_subject(struct stream *s, struct subject_state *subject,
                        const struct row_writer *rows, struct buffer *scratch)
{
    if (subject->row == 0) {
        subject->row = ++s->changes.next_row;
    }
    buffer_clear(scratch);
    buffer_put_varint(scratch, subject->count);
    buffer_put_varint(scratch, subject->last_seq);
    buffer_append(scratch, subject->subject, subject->len);
    rows->put(rows->arg, subject->row, buffer_bytes(scratch));
}

/* Returns where in the array the next row begins. */
static uint32_t put_entries(const struct stream *s, uint64_t row, const struct row_writer *rows,
                            struct buffer *scratch)
{
    uint32_t from = stream_entry_position(s, (row & ~ENTRY_ROWS) << ROW_SHIFT);
    uint32_t to = stream_entry_position(s, ((row & ~ENTRY_ROWS) + 1) << ROW_SHIFT);
    bool any = false;
    for (uint32_t i = from; i < to && !any; i++) {
        any = s->entries[i].live > 0;
    }
    if (any) {
        buffer_clear(scratch);
        stream_encode_entries(s, from, to, scratch);
        rows->put(rows->arg, row, buffer_bytes(scratch));
    } else {
        rows->remove(rows->arg, row, row + 1);
    }
    return to;
}

static void write_everything(struct stream *s, const struct row_writer *rows,
                             struct buffer *scratch)
{
    struct map_entry *e;
    rows->remove(rows->arg, 0, UINT64_MAX);
    s->changes.next_row = 0;
    for (uint32_t i = 0; (e = map_next(&s->subjects, &i)) != NULL;) {
        struct subject_state *subject = e->value;
        subject->row = 0;
        put_subject(s, subject, rows, scratch);
    }
    for (uint32_t i = s->entries_from; i < s->entries_count;) {
        i = put_entries(s, stream_entry_row(s->entries[i].index), rows, scratch);
    }
}

static void write_subjects(struct stream *s, const struct row_writer *rows, struct buffer *scratch)
{
    for (uint32_t i = 0; i < s->changes.subject_count; i++) {
        struct subject_state *subject = s->changes.subjects[i];
        if (subject->count > 0) {
            put_subject(s, subject, rows, scratch);
        } else if (subject->row != 0) {
            rows->remove(rows->arg, subject->row, subject->row + 1);
        }
    }
}

static void write_entries(struct stream *s, const struct row_writer *rows, struct buffer *scratch)
{
    struct stream_changes *c = &s->changes;
    bool any = s->entries_from < s->entries_count;
    uint64_t first = any ? stream_entry_row(s->entries[s->entries_from].index) : UINT64_MAX;
    if (c->first_entry_row < first) {
        rows->remove(rows->arg, c->first_entry_row, first);
    }
    for (uint32_t i = 0; i < c->entry_row_count; i++) {
        if (c->entry_rows[i] >= first) {
            (void)put_entries(s, c->entry_rows[i], rows, scratch);
        }
    }
}

void stream_checkpoint(struct stream *s, struct buffer *head, const struct row_writer *rows)
{
    struct buffer scratch = {0};
    if (s->changes.all) {
        write_everything(s, rows, &scratch);
    } else {
        write_subjects(s, rows, &scratch);
        write_entries(s, rows, &scratch);
    }
    bool any = s->entries_from < s->entries_count;
    s->changes.first_entry_row =
        any ? stream_entry_row(s->entries[s->entries_from].index) : ENTRY_ROWS;
    forget_changes(s);
    buffer_deinit(&scratch);
    stream_encode_head(s, head);
}

/* --- reading --- */

static enum err read_subject(struct stream *s, uint64_t row, struct reader *r)
{
    uint64_t count = reader_varint(r);
    uint64_t last_seq = reader_varint(r);
    struct bytes name = bytes_make(r->at, (size_t)(r->end - r->at));
    if (r->bad || count == 0 || name.len == 0 || map_get(&s->subjects, name) != NULL) {
        return ERR_CORRUPT;
    }
    struct subject_state *subject = stream_add_subject(s, name);
    subject->count = count;
    subject->last_seq = last_seq;
    subject->row = row;
    s->changes.next_row = row > s->changes.next_row ? row : s->changes.next_row;
    return OK;
}

enum err stream_decode_row(struct stream *s, uint64_t row, struct bytes value)
{
    struct reader r = reader_make(value);
    if (!stream_is_entry_row(row)) {
        return read_subject(s, row, &r);
    }
    stream_decode_entries(s, &r);
    return reader_done(&r) ? OK : ERR_CORRUPT;
}

enum err stream_decode_end(struct stream *s)
{
    if (s->changes.all) { /* it came in one piece */
        return OK;
    }
    s->changes.first_entry_row =
        s->entries_count == 0 ? ENTRY_ROWS : stream_entry_row(s->entries[0].index);
    return stream_decode_settle(s) ? OK : ERR_CORRUPT;
}
