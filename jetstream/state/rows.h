/* rows: how a state is kept in parts. A checkpoint is a head, written whole each time, and numbered
 * rows, of which only those are written that have changed since the checkpoint before. And how
 * records are written anew that hold more than they need to. */
#ifndef JETSTREAM_STATE_ROWS_H
#define JETSTREAM_STATE_ROWS_H

#include <stdint.h>

#include "core/base/blob.h"

/* Where a state puts its rows. Calls come in the order in which they count. */
struct row_writer {
    /* The value is borrowed for the call. */
    void (*put)(void *arg, uint64_t row, struct bytes value);
    /* Rows from <= … < to are gone. */
    void (*remove)(void *arg, uint64_t from, uint64_t to);
    void *arg;
};

/* Where records of the log go. */
struct record_writer {
    /* Instead of the one at `index`. The blob is borrowed for the call. */
    void (*put)(void *arg, uint64_t index, struct blob *data);
    void (*remove)(void *arg, uint64_t index);
    void *arg;
};

#endif
