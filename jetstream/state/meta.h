/* meta: the state machine of the meta group: which streams exist, and on which servers.
 * Deterministic; its entries are JSON, because they are few and people read them.
 *
 *   {"op":"create","account","stream","config":{…},"peers":["<hex
 * id>",…],"time":ns,"reply":subject}
 *   {"op":"update","account","stream","config":{…},"reply"}
 *   {"op":"delete","account","stream","reply"}
 *   {"op":"echo",  "account","stream","reply"}   asks the stream's leader to answer with its info
 *
 * With "checks":1 in it, what create and update were checked against is checked again where they
 * are applied, for others may have come between; that there is room, by "limit" of each server and
 * "clustered". Those of versions before that one have it not, and
 * are applied as they were then: their streams are there.
 *
 * A stream's Raft group gets an id that is never used again, from the index of its create entry, so
 * what is left of a deleted stream can never be taken for a new one of that name. */
#ifndef JETSTREAM_STATE_META_H
#define JETSTREAM_STATE_META_H

#include "core/base/blob.h"
#include "core/base/err.h"
#include "core/base/map.h"
#include "jetstream/state/config.h"

#define META_GROUP_ID    0  /* so that its shard is that of loop 0, whatever their number */
#define META_FIRST_GROUP 16 /* stream groups: this plus the index of their create entry */
#define META_PEERS_MAX   5

struct assignment {
    char *account, *stream;
    uint64_t group;
    uint64_t peers[META_PEERS_MAX];
    unsigned peer_count;
    int64_t created_ns;
    /* As JSON text, which takes a fifth of the memory of the object. Counted. */
    struct blob *first_config; /* as created: where every replica begins */
    struct blob *config;       /* as of now */
    char *subjects;            /* of `config`, a line each */
    int64_t reserved;          /* bytes: its max_bytes; 0 without a limit */
    bool memory;               /* of `config`: where the bytes are */
};

enum meta_change_kind { META_REFUSED, META_CREATED, META_UPDATED, META_DELETED, META_ECHO };

struct meta_change {
    enum meta_change_kind kind;
    struct assignment *assignment; /* META_DELETED: the caller's to free; META_REFUSED: NULL */
    struct js_error error;         /* META_REFUSED: why */
    const char *type;              /* and of which response */
    char *account;                 /* owned by the caller */
    char *reply;                   /* the same; NULL none */
    int64_t time_ns;
};

struct meta {
    struct map assignments; /* "account\nstream" → struct assignment */
    struct map subjects;    /* account → struct pattern_set: of all its streams */
};

void meta_init(struct meta *meta);
void meta_deinit(struct meta *meta);
void assignment_free(struct assignment *a);
/* A new object. */
json_t *assignment_config(const struct blob *text);
bool assignment_has_config(const struct assignment *a, const json_t *config);
/* The next of the subjects, *rest before it and behind it; false: that was the last. */
bool assignment_next_subject(struct bytes *rest, struct bytes *subject);
/* Applies an entry. Conflicts (create of an existing stream, subjects that another stream has by
 * now, …) come out as META_REFUSED or, for a create with the same configuration, as META_ECHO: the
 * first one wins. ERR_CORRUPT: it is not understood, and nothing has changed. */
MUST_USE enum err meta_apply(struct meta *meta, uint64_t index, struct bytes entry,
                             struct meta_change *change);
/* Can it be applied, whatever there is? What cannot must not be proposed: it would stop the meta
 * group on every server. */
bool meta_entry_is_understood(struct bytes entry);
void meta_encode(const struct meta *meta, struct buffer *out);
MUST_USE enum err meta_decode(struct meta *meta, struct bytes state);

struct assignment *meta_find(const struct meta *meta, struct bytes account, struct bytes stream);
/* Bytes that streams with a limit, but for `except` (NULL: all of them), may take of that node's
 * memory, or of its disk. Saturates. */
int64_t meta_reserved(const struct meta *meta, uint64_t node, bool memory,
                      const struct assignment *except);
/* May one more stream (or `known`, changed so) take what it may grow to of that node, where all
 * together may take `limit` (below 0: anything)? One without a limit asks for one byte. */
bool meta_has_room(const struct meta *meta, uint64_t node, int64_t limit,
                   const struct stream_config *config, const struct assignment *known);
/* What is said then; false. */
bool meta_no_room(bool clustered, bool memory, struct js_error *error);
/* Does one of these subjects overlap with those of another stream of the account? */
bool meta_overlaps(struct meta *meta, const char *account, const struct stream_config *config);
/* May a stream be created, or updated, so? False with an error for whoever asks. */
bool meta_check_create(struct meta *meta, const char *account, const struct stream_config *config,
                       struct js_error *error);
bool meta_check_update(struct meta *meta, const struct assignment *known,
                       const struct stream_config *config, struct js_error *error);

#endif
