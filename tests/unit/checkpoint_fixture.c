#include "unit/checkpoint_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/mem.h"
#include "unit/stream_fixture.h"

static void save_row(void *arg, uint64_t row, struct bytes value)
{
    struct saved *saved = arg;
    blob_release(map_put_u64(&saved->rows, row, blob_copy(value)));
    saved->puts++;
}

void remove_rows(void *arg, uint64_t from, uint64_t to)
{
    struct saved *saved = arg;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&saved->rows, &i)) != NULL;) {
        uint64_t row;
        memcpy(&row, e->key.ptr, sizeof row);
        if (row >= from && row < to) {
            blob_release(map_remove_u64(&saved->rows, row));
        }
    }
}

/* How many rows it wrote. */
unsigned checkpoint(struct stream *s, struct saved *saved)
{
    const struct row_writer writer = {save_row, remove_rows, saved};
    buffer_clear(&saved->head);
    saved->puts = 0;
    stream_checkpoint(s, &saved->head, &writer);
    return saved->puts;
}

int by_row_number(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, (*(struct map_entry *const *)a)->key.ptr, sizeof x);
    memcpy(&y, (*(struct map_entry *const *)b)->key.ptr, sizeof y);
    return x < y ? -1 : x > y;
}

/* `without`: this row is missing; 0: none is. NULL: it is refused. */
struct stream *load(const struct saved *saved, uint64_t without)
{
    struct stream_config empty = {.name = mem_strdup("S")};
    struct stream *s = stream_new(&empty, 0, read_log, NULL);
    struct map_entry **rows = map_sorted(&saved->rows);
    enum err err = stream_decode(s, buffer_bytes(&saved->head));
    qsort(rows, saved->rows.count, sizeof *rows, by_row_number);
    for (uint32_t i = 0; i < saved->rows.count && err == OK; i++) {
        uint64_t row;
        memcpy(&row, rows[i]->key.ptr, sizeof row);
        err = row == without ? OK : stream_decode_row(s, row, blob_bytes(rows[i]->value));
    }
    free(rows);
    err = err == OK ? stream_decode_end(s) : err;
    if (err != OK) {
        stream_free(s);
        s = NULL;
    }
    return s;
}

void is_the_same(struct stream *s, struct stream *t)
{
    struct buffer a = {0}, b = {0};
    stream_encode_sorted(s, &a);
    stream_encode_sorted(t, &b);
    cr_assert(bytes_eq(buffer_bytes(&a), buffer_bytes(&b)));
    buffer_deinit(&a);
    buffer_deinit(&b);
}

void loads_as(const struct saved *saved, struct stream *s)
{
    struct stream *t = load(saved, 0);
    cr_assert_not_null(t);
    is_the_same(s, t);
    stream_free(t);
}

void saved_deinit(struct saved *saved)
{
    remove_rows(saved, 0, UINT64_MAX);
    map_deinit(&saved->rows);
    buffer_deinit(&saved->head);
}
