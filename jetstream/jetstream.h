/* jetstream: streams and consumers of one server. Wires store, shards, the meta group, the assets
 * and the API together.
 *
 *   group/     per loop: Raft host, store batches, checkpoints
 *   meta_group.c  the meta group: assignments, placement, decisions on create, update, delete
 *   asset.c    one stream on this server: publishing, its API, its consumers
 *   pull.c     pull requests and deliveries of one consumer, on the stream's leader
 *   api.c      $JS.API.>: parses subjects, finds who answers
 *   collect.c  questions that need all servers: STREAM.LIST, account info */
#ifndef JETSTREAM_JETSTREAM_H
#define JETSTREAM_JETSTREAM_H

#include "cluster/peers.h"
#include "cluster/routes.h"
#include "core/broker/broker.h"

struct jetstream;

/* Opens the store. `peers` and `routes` NULL without cluster. NULL with *error filled. */
struct jetstream *jetstream_new(struct broker *broker, struct peers *peers, struct routes *routes,
                                struct error *error);
/* Starts the groups; any thread. Without cluster, `ready` runs once (on loop 0) when every stream
 * that can be is led again, at the latest after READY_MAX_MS; in a cluster at once, for that may
 * take as long as the other servers. */
void jetstream_start(struct jetstream *js, void (*ready)(void *), void *arg);
/* Loop 0: accounts may have got, or lost, JetStream by a reload: the API answers in those that
 * have it. Streams stay. */
void jetstream_accounts_changed(struct jetstream *js);
/* Loop 0: leaders step aside, groups are checkpointed and closed; then `done` on loop 0. */
void jetstream_shutdown(struct jetstream *js, void (*done)(void *), void *arg);
/* After the loops have stopped. */
void jetstream_free(struct jetstream *js);

/* --- monitoring; loop 0 --- */

/* Why this server's part in the meta group is not healthy, or NULL. */
const char *jetstream_meta_health(struct jetstream *js);
/* The same, and every stream with a replica here: it must know a leader and have applied what it
 * knows to be committed. Calls back on loop 0; the text (NULL: healthy) lives during the call. */
void jetstream_health(struct jetstream *js, void (*done)(void *arg, const char *problem),
                      void *arg);
/* The names of servers of the meta group to which there is no consensus connection: with too many
 * of them missing nothing can be decided. NULL: there are none. New reference. */
json_t *jetstream_missing_peers(struct jetstream *js);
/* The names of servers that are connected and belong to another meta group, so that there is no
 * consensus with them. NULL: there are none. New reference. */
json_t *jetstream_foreign_peers(struct jetstream *js);
/* What sums are made of. */
struct stream_figures {
    const char *account, *name; /* borrowed */
    bool leading, memory;
    unsigned replicas, consumers;
    uint64_t messages, bytes, last_seq;
};
/* Where a walk over a loop's streams stands between two slices; all zero before. */
struct asset_walk {
    struct asset *asset; /* borrowed: the next one; one that goes moves the walk on */
    bool begun;          /* on this loop, whose list it is in */
    bool moved;          /* since it was last looked at */
    struct asset_walk *next;
};
/* All streams that this server has a replica of. The caller fills the first part and zeroes the
 * rest. */
struct stream_walk {
    /* Any loop, one stream after the other. Returns where a description is to be appended, as an
     * item of a list in /jsz and with a comma before it unless the buffer is empty; NULL: nowhere.
     */
    struct buffer *(*on_stream)(void *arg, const struct stream_figures *figures);
    void *arg;
    bool consumers, config; /* are part of a description */

    struct buffer *out; /* borrowed: a description is being written there */
    struct heap names;  /* of its consumers; owned */
    enum { STREAM_WALK_NAMES, STREAM_WALK_SORT, STREAM_WALK_CONSUMERS } stage;
    uint32_t position;    /* among the consumers, then among the names */
    const char *previous; /* borrowed: of the names, the last one that was written */
    struct asset_walk at;
};
/* A slice, as broker_gather_in_slices() runs them: false when there is more to do on the loop. */
bool jetstream_walk_streams(struct stream_walk *walk);
/* The meta group as /jsz shows it; NULL without cluster. New reference. */
json_t *jetstream_meta_json(struct jetstream *js);
struct jetstream_totals {
    uint64_t api_total, api_errors;
    const char *store_dir;
    int64_t max_file, max_memory;
};
struct jetstream_totals jetstream_totals(const struct jetstream *js);

#endif
