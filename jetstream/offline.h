/* offline: streams that this server has a replica of and does not serve: their state, or an entry
 * of their log, is whole but not understood. Everything that is stored of them stays as it is until
 * a version that understands it is started, or the stream is deleted. /healthz says so, and whoever
 * asks for one. Loop 0. */
#ifndef JETSTREAM_OFFLINE_H
#define JETSTREAM_OFFLINE_H

#include "jetstream/jetstream_internal.h"

/* Any loop. `group`: of the stream that is meant; `why` for people. */
void offline_tell(struct jetstream *js, const char *account, const char *stream, uint64_t group,
                  const char *why);
/* Answers a request for such a stream: at once when this is the only replica; else only one that
 * describes (`info`), and late, for another replica may serve it. */
void offline_answer(struct jetstream *js, const struct hosted *h, struct account *account,
                    struct bytes reply, const char *type, bool info);
/* What is not answered yet never is. */
void offline_stop(struct jetstream *js);

#endif
