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
/* Calls back on loop 0 with an array of all streams this server has a replica of: name, account,
 * leading, replicas, info (as STREAM.INFO), consumers. `summary`: of info only what sums are made
 * of. The array is borrowed. */
void jetstream_describe(struct jetstream *js, bool summary,
                        void (*done)(void *arg, json_t *streams), void *arg);
/* Of a description of a stream, its member "info". */
bool jetstream_is_in_memory(const json_t *info);
/* The meta group as /jsz shows it; NULL without cluster. New reference. */
json_t *jetstream_meta_json(struct jetstream *js);
struct jetstream_totals {
    uint64_t api_total, api_errors;
    const char *store_dir;
    int64_t max_file, max_memory;
};
struct jetstream_totals jetstream_totals(const struct jetstream *js);

#endif
