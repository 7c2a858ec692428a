/* Shared by the files that make up a shard:
 *
 *   shard.c       the loop's turn: what all groups want written, and its completion
 *   load.c        opening a group from what the store has of it; footprints
 *   group.c       a group for Raft and for its owner: applying, reading, proposing, its end
 *   checkpoint.c  the state to disk, and the log cut behind it
 *   admit.c       steps towards another membership
 *   repair.c      records that cannot be read
 *   recover.c     a state that cannot be read, and that nobody else has
 */
#ifndef JETSTREAM_GROUP_SHARD_INTERNAL_H
#define JETSTREAM_GROUP_SHARD_INTERNAL_H

#include "core/base/map.h"
#include "jetstream/group/shard.h"

#define AHEAD_ENTRIES 64
#define AHEAD_BYTES   (256u << 10)

/* What the groups on one store want written in this turn. */
struct writes {
    struct store *store;       /* borrowed */
    struct store_batch *batch; /* NULL while nothing is to write */
    struct commit *commit;     /* who waits for it */
};

/* Entries of a group that cannot be read, and that it needs. */
struct damage {
    raft_index *list; /* in the order found; owned */
    uint32_t count, cap;
    struct map known; /* those in the list: index → anything */
    uint32_t next;    /* where to go on asking for them */
};

struct shard {
    struct loop *loop;
    struct writes disk, memory;
    struct peers *peers; /* borrowed; NULL without cluster */
    uint64_t self;
    uint64_t survivors[RAFT_MEMBERS_MAX];
    unsigned survivor_count; /* 0: no recovery is forced */
    struct raft_host *host;
    struct turn_task process;
    struct loop_timer tick;
    struct loop_timer repair; /* armed while there is something to fetch */
    uint64_t next_life;
    struct group **groups;
    uint32_t group_count, group_cap;
};

/* Entries read ahead of whoever reads in order. */
struct ahead {
    uint32_t at, count;
    struct raft_entry entries[AHEAD_ENTRIES];
};

struct group {
    struct shard *shard;
    struct writes *writes; /* the shard's, of the store that it lives in */
    struct raft_group *raft_group;
    uint64_t id, life;
    const struct group_ops *ops;
    void *owner;
    raft_index checkpointed, previous; /* indexes of the last two checkpoints */
    raft_index first;                  /* entries below may be dropped ones */
    raft_index trimmed;                /* nothing at all is stored below */
    size_t bytes_since;                /* of log, since the last checkpoint */
    size_t state_bytes;                /* that it wrote */
    int64_t room_made_ns, yielded_ns;
    raft_index read_last; /* by group_read() */
    struct ahead *ahead;  /* NULL: nothing */
    struct damage damage;
    uint64_t persisted;     /* request of Raft's that its store has completed */
    bool footprint_pending; /* then Raft does not hear of that yet */
    bool checkpointing, broken;
    char problem[160]; /* broken: why */
};

/* What a group begins with. */
struct loaded {
    struct raft_config config;  /* its runs and entries are those below */
    struct raft_run *runs;      /* owned */
    struct raft_entry *entries; /* owned, with a reference to the data of each */
    uint32_t entry_cap;
    struct blob *state; /* counted; NULL: none */
    bool recovered;     /* the store does not have what this is */
};

/* --- shard.c --- */

/* Something may have come out of the groups: look at the end of the turn, and tick while needed. */
void shard_kick(struct shard *shard);
/* What goes to that store at the end of this turn. Borrowed. */
struct store_batch *shard_batch(struct shard *shard, struct writes *writes);
/* The same, of the store that the group lives in. */
struct store_batch *group_batch(struct group *group);

enum done_what { DONE_PERSISTED, DONE_CHECKPOINT, DONE_FOOTPRINT };
/* When this turn's batch of `writes` is on the disk the group goes on; if it fails, the group
 * stops. number: PERSISTED: Raft's request; CHECKPOINT: the first index that is left; else 0. */
void shard_await(struct group *group, struct writes *writes, enum done_what what, uint64_t number);
enum raft_room shard_room(struct store *disk);

/* --- load.c --- */

/* A group in memory: the note on the disk that it has been here is written again. */
void group_renew_footprint(struct group *group);
/* To the owner; `stored`: with the rows that the store has. ERR_UNKNOWN: it is not understood;
 * ERR_CORRUPT: rows of it are lost. */
MUST_USE enum err group_decode_state(struct group *group, const struct blob *state, bool stored);

/* --- group.c --- */

extern const struct raft_group_ops group_raft_ops;

static inline bool group_in_memory(const struct group *g)
{
    return g->writes == &g->shard->memory;
}

/* It takes part no more on this server, everything that is stored of it is kept. `why`: for the log
 * and for group_problem(). */
void group_break(struct group *group, const char *why);
void group_forget_ahead(struct group *group);

/* --- checkpoint.c --- */

/* The state as of now, to disk; false: there is none to write, or one is on its way. */
bool group_checkpoint(struct group *group);
/* The same, when enough of log has gathered. */
void group_checkpoint_if_due(struct group *group);
/* The owner's state is whole, and that of applied(). */
bool group_may_checkpoint(const struct group *group);
/* Whether or not one is on its way. group_may_checkpoint(). */
void group_write_checkpoint(struct group *group);
/* Appends the record of a state at `index` as load.c reads it. */
void group_put_state(struct buffer *out, struct group *group, raft_index index, struct bytes state);
/* Test builds read what they have just written; others do nothing. */
void group_check_state(struct group *group, struct bytes head);

/* --- repair.c --- */

/* The record at `index` was found unreadable. */
void group_note_damage(struct group *group, raft_index index);
/* The same for what was lost when the store was rebuilt. */
void group_note_lost(struct group *group);
/* Was its state among that? */
bool group_lost_state(const struct group *group);
/* Were entries from <= … < to? */
bool group_lost_entries(const struct group *group, raft_index from, raft_index to);
void group_forget_damage(struct group *group);

/* --- recover.c --- */

/* Fills `loaded` and the owner's state from the records. ERR_CORRUPT: that cannot be done. */
MUST_USE enum err group_recover(struct group *group, struct loaded *loaded);

#endif
