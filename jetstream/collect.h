/* collect: answers that need every server: what each knows of the streams it leads is asked for
 * over the peer connections and put together. Loop 0. */
#ifndef JETSTREAM_COLLECT_H
#define JETSTREAM_COLLECT_H

#include "jetstream/jetstream_internal.h"

/* STREAM.LIST: takes `response` and `names`, the page of names to describe. */
void collect_stream_list(struct jetstream *js, struct account *account, struct bytes reply,
                         json_t *response, json_t *names);
void collect_account_info(struct jetstream *js, struct account *account, struct bytes reply);

/* Frames of other servers. */
void collect_on_ask(struct jetstream *js, uint64_t node, struct bytes body);
void collect_on_counts(struct jetstream *js, uint64_t node, struct bytes body);
void collect_on_answer(struct jetstream *js, uint64_t node, struct bytes body);
/* Its answers are not waited for any more. */
void collect_peer_gone(struct jetstream *js, uint64_t node);
/* Frees what waits. */
void collect_stop(struct jetstream *js);

struct collect_wanted {
    bool only_leader;    /* streams that this server leads */
    bool summary;        /* asset_summary() of each, not asset_describe() */
    const char *account; /* NULL: of all */
    json_t *names;       /* array: these; NULL: all */
};
/* What this server knows, all loops: done(arg, array), on loop 0; the array is borrowed. */
void collect_here(struct jetstream *js, const struct collect_wanted *wanted,
                  void (*done)(void *arg, json_t *streams), void *arg);

#endif
