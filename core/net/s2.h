/* s2: the stream format in which servers compress what they say to each other, both ways. No I/O.
 *
 * Every write is a whole stream, beginning with the identifier; a reader takes any number of them.
 * What we write are Snappy's blocks (libsnappy), which every S2 reader understands; what we read
 * may use S2's repeat codes, too.
 * Source: the S2 extension of Snappy's framing format; NATS route protocol §7. */
#ifndef CORE_NET_S2_H
#define CORE_NET_S2_H

#include "core/base/buffer.h"
#include "core/base/err.h"

#define S2_BLOCK_MAX (4u << 20) /* bytes that a block may decode to */

struct s2_reader {
    struct buffer partial; /* an unfinished chunk */
    bool identified;       /* the identifier has been seen */
};

void s2_reader_deinit(struct s2_reader *r);
/* Decodes one chunk with content into `out`, which is empty, and advances *in; `out` stays empty
 * when the input is used up. So memory is bounded by one block, however well it was compressed.
 * ERR_CORRUPT for nonsense and wrong checksums: the connection is to be closed. ERR_NOMEM. */
MUST_USE enum err s2_read(struct s2_reader *r, struct bytes *in, struct buffer *out);
/* Appends one stream. `compress` false: the same framing around the bytes as they are. */
void s2_write(struct bytes plain, bool compress, struct buffer *out);

#endif
