/* scrub: the look for damage in the background. Everything in the store is read once in
 * `scrub_interval`, not faster than `scrub_rate`, in the work pool; what cannot be read is told to
 * the shards, whose groups fetch it from other replicas.
 *
 * Loop 0. */
#ifndef JETSTREAM_SCRUB_H
#define JETSTREAM_SCRUB_H

#include "jetstream/jetstream_internal.h"

struct scrub;

/* NULL when the options say that there is none. */
struct scrub *scrub_start(struct jetstream *js);
/* `done` when the store is not read any more, perhaps from within; then the scrub is gone. NULL is
 * allowed. */
void scrub_stop(struct scrub *scrub, void (*done)(void *arg), void *arg);

#endif
