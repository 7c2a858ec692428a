/* mark: how far this node has promised to have come, kept apart from what it has promised.
 *
 * A store numbers its commits and has the number of the last one inside; the mark has it outside. A
 * store that is behind its mark when it is opened has lost what was acknowledged: rotted, cut,
 * restored from an old copy, or never really written (reliability rule 2).
 *
 * One file with two slots that are written in turn, each with a checksum, so that a torn write
 * costs the newest only. The mark is written after the commit it stands for, so it is never ahead
 * of an intact store. It goes to the system with every commit and to the disk every MARK_SYNC_NS: a
 * power cut can set it back by that much, but what a power cut takes from the end of the store then
 * had not been acknowledged, or the disk has lied.
 *
 * Owner: the commit thread. */
#ifndef JETSTREAM_STORE_MARK_H
#define JETSTREAM_STORE_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

#define MARK_SYNC_NS INT64_C(100000000)

struct mark {
    int fd; /* -1: closed */
    unsigned slot;
    int64_t synced_ns; /* monotonic */
};

/* Opens or makes the file. *number: what it says; *known false: it is new, or cannot be read. */
MUST_USE enum err mark_open(struct mark *m, const char *path, uint64_t *number, bool *known,
                            struct error *error);
/* ERR_IO: as bad as a failed commit. */
MUST_USE enum err mark_set(struct mark *m, uint64_t number);
void mark_close(struct mark *m);

#endif
