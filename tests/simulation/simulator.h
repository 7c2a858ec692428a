/* What the parts of the simulator share: the world of one seed.
 *
 *   simulator.c  faults, dispatching events, one seed from begin to end
 *   world.c      time, chance, the trace, the heap of events
 *   disk.c       a disk that forgets what was not synced, and is damaged
 *   node.c       a node: the callbacks of its Raft host and streams, its start and end
 *   clients.c    who publishes, reads, consumes and changes members
 *   checks.c     what has to be true at the end
 *
 * One thread; `sim` is the world that runs. */
#ifndef SIMULATION_SIMULATOR_H
#define SIMULATION_SIMULATOR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buffer.h"
#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/random.h"
#include "jetstream/state/publish.h"
#include "jetstream/state/stream.h"
#include "raft/host.h"

#define NODES_MAX  5
#define GROUPS_MAX 4
#define TICK_US    50000
#define MS         1000
#define START_NS   INT64_C(1700000000000000000)

/* --- what one seed draws: each family of faults is on or off --- */

struct plan {
    unsigned nodes, groups;
    unsigned delay_min_us, delay_mean_us;
    unsigned loss_percent; /* of frames: a reset, so all under way on that path is lost */
    bool cuts, crashes,
        power; /* power: a crash loses unsynced writes; else only the process dies */
    bool one_way;
    bool clogs;  /* what is sent is held back for a while, and comes then, in order */
    bool savage; /* faults come so close that they meet */
    bool damage; /* disks that lose what was synced, or everything */
    bool pauses;
    bool throttled;   /* snapshots go in small pieces, one a tick */
    bool io_errors;   /* syncs that fail, disks that are full */
    bool rots;        /* records go bad one by one, while the node runs */
    bool cut_changes; /* by leaders that have just been cut off, too: what is to be truncated */
    bool changes;     /* members come and go */
    bool deletes;     /* messages are deleted, in the middle of their records */
    bool requests;    /* of all kinds, with absurd numbers, and several at once */
    bool clocks;      /* that are set forth and back, over messages that expire */
    int64_t lease_ns; /* leaders read by lease, on clocks of different speed; 0: by rounds */
    unsigned voters;  /* at first: so many of the nodes, in every group others */
    unsigned sync_mean_us;
    unsigned checkpoint_every; /* entries */
    unsigned publishers;
    int64_t max_msgs;
    unsigned events;
};

struct disk_group {
    raft_term term;
    raft_node vote;
    bool unproven;
    struct map records; /* index → struct blob: encoded entry */
    uint32_t rotten;    /* so many records have gone bad in its life */
    raft_index last;    /* end of the contiguous log */
    raft_index state_index;
    struct blob *state; /* stream state, and runs */
    struct map rows;    /* of the state: number → struct blob */
    struct raft_run *runs;
    uint32_t run_count;
    struct raft_members members; /* as of state_index; count 0: those of the beginning */
    raft_index first;
};

enum write_kind { WRITE_PERSIST, WRITE_INSTALL, WRITE_CHECKPOINT };

struct row_write {
    uint64_t from, to;
    struct blob *value; /* of `from`; NULL: rows from <= … < to are gone */
};

/* A write that waits for its sync. Owned copies. */
struct pending_write {
    struct pending_write *next;
    enum write_kind kind;
    unsigned group;
    uint64_t seq;
    bool has_hard;
    raft_term term;
    raft_node vote;
    bool unproven;
    raft_index truncate_from;
    struct raft_entry *entries;
    uint32_t entry_count;
    bool kept;
    bool log_stays;   /* INSTALL */
    raft_index index; /* INSTALL, CHECKPOINT */
    struct blob *state;
    struct row_write *rows; /* in this order, before the state */
    uint32_t row_count, row_cap;
    struct raft_run *runs;
    uint32_t run_count;
    struct raft_members members;
    raft_index first; /* CHECKPOINT: entries below that are not in `keep` are dropped */
    raft_index *kept_below;
    uint32_t kept_count;
    struct raft_entry *rewritten; /* records; without data: removed */
    uint32_t rewritten_count, rewritten_cap;
};

struct node;

struct replica { /* one group on one node */
    struct node *node;
    unsigned number;
    struct raft_group *group;
    struct stream *stream;
    struct publisher publisher;
    bool leading;
    raft_index checkpointed, previous_checkpoint;
    uint64_t since_checkpoint;
    struct map waiting; /* log index → struct waiting */
    struct map reads;   /* id → the last sequence that had been acknowledged when it was asked */
    struct disk_group disk;
};

struct waiting { /* publishes to acknowledge when that entry is applied */
    raft_term term;
    uint64_t first_value, first_seq;
    uint32_t count;
};

struct node {
    unsigned number;
    raft_node id;
    bool alive, paused;
    uint64_t life; /* events of an earlier life are void */
    struct raft_host *host;
    struct replica replicas[GROUPS_MAX];
    struct pending_write *writes, **writes_end;
    bool syncing;
    bool sync_fails; /* the next one does */
    bool failed;     /* one has */
    bool processing_due;
    uint64_t clock_rate; /* its clock's nanoseconds in a microsecond */
    int64_t set_ns;      /* its wall clock, against the time of here */
};

struct acked {
    uint64_t value, seq;
};

struct sim {
    uint64_t seed;
    struct plan plan;
    /* The others are apart so that seeds keep their meaning. */
    struct random random, rot_random, cut_random, delete_random, lease_random, clog_random,
        request_random, clock_random;
    bool trace, calm;
    uint64_t now_us, event_number;
    struct event *heap;
    uint32_t heap_count, heap_cap;
    struct node nodes[NODES_MAX];
    bool cut[NODES_MAX][NODES_MAX];
    uint64_t path_epoch[NODES_MAX][NODES_MAX]; /* frames of an earlier connection are lost */
    uint64_t path_ready[NODES_MAX][NODES_MAX];
    uint64_t hash;
    struct map applied[GROUPS_MAX]; /* index → hash of the entry applied first by anybody */
    struct acked *acked[GROUPS_MAX];
    uint32_t acked_count[GROUPS_MAX], acked_cap[GROUPS_MAX];
    uint64_t last_acked[GROUPS_MAX];
    struct map deleted[GROUPS_MAX]; /* sequences that somebody wanted deleted → anything */
    uint64_t next_value;
    uint64_t elections, acks, crashes, damages, changes, reads, rots, states_taken, io_errors,
        rewrites;
};

enum event_kind {
    EV_TICK,
    EV_FRAME,
    EV_SYNC,
    EV_PROCESS,
    EV_PUBLISH,
    EV_FAULT,
    EV_RESTART,
    EV_RESUME,
    EV_PEER,
    EV_SPACE,
    EV_FAILED,
    EV_HEAL,
    EV_ISOLATE,
    EV_SILENCE
};

struct event {
    uint64_t time_us, number;
    enum event_kind kind;
    unsigned node, from;
    uint64_t life, epoch;
    struct blob *frame;
    bool up;
};

extern struct sim *sim;

/* --- world.c --- */

__attribute__((noreturn)) void fail(const char *what);
/* Below `bound`. */
uint64_t draw(uint64_t bound);
bool chance(unsigned percent);
/* draw() for what rots, for what leaders do that are cut off, for what is deleted, for leases, for
 * paths that are clogged, for requests, and for clocks that are set. */
uint64_t draw_rot(uint64_t bound);
uint64_t draw_cut(uint64_t bound);
uint64_t draw_delete(uint64_t bound);
uint64_t draw_lease(uint64_t bound);
uint64_t draw_clog(uint64_t bound);
uint64_t draw_request(uint64_t bound);
uint64_t draw_clock(uint64_t bound);
/* A line of the trace, part of its hash. */
void note(const char *what, uint64_t a, uint64_t b, uint64_t c);
/* Events come out in the order of (time, number). Takes what the event owns. */
void push(struct event e, uint64_t delay_us);
struct event pop(void);
/* The node's Raft host gets its turn when this one is over. */
void process_soon(struct node *n);

/* --- disk.c --- */

/* Takes the write; it is durable, and answered, by a later EV_SYNC. */
void disk_write(struct node *n, struct pending_write *w);
void disk_on_sync(struct node *n);
/* What waits is written (a killed process leaves that to the system) or, beginning somewhere, lost.
 */
void disk_stop(struct node *n, bool lose_unsynced);
/* ERR_NOT_FOUND. The reference is the caller's. */
enum err disk_read(const struct disk_group *d, raft_index index, struct raft_entry *e);
/* The log behind the state, as a restart finds it. Heap array, *count long. */
struct raft_entry *disk_log(struct disk_group *d, uint32_t *count);
/* The record at or behind `index` that went bad; UINT64_MAX: none. */
raft_index disk_next_rotten(const struct disk_group *d, raft_index index);
void disk_clear(struct disk_group *d);
/* Until all its groups are proven again and all its records readable, a node counts as damaged:
 * what it acknowledged before is on the others then. Not more at a time than the others can make up
 * for. */
bool is_damaged(const struct node *n);
unsigned damaged_nodes(void);
/* Of a running node: one of its records cannot be read any more. */
void rot_record(struct node *n);
/* Of a stopped node: the end of its logs is lost, or everything. */
void damage_node(struct node *n);

/* --- node.c --- */

unsigned node_number(raft_node id);
/* What its wall clock says. */
int64_t wall_clock(const struct node *n);
/* With a lease: the host's clock. */
void tell_time(struct node *n);
void start_node(struct node *n);
void stop_node(struct node *n, bool lose_unsynced);
/* A record at or behind `index` that went bad and is needed; UINT64_MAX: none. */
raft_index next_damage(const struct replica *r, raft_index index);
/* Those are fetched from the others. */
void scrub_node(struct node *n);

/* --- clients.c --- */

/* All of these as leader; else they do nothing. */
void publish(struct node *n, unsigned g);
/* By whoever believes to lead: how much it reads is compared when it may. */
void read_all(struct replica *r);
/* A consumer that delivers and acknowledges at random, and the other entries a stream can get. */
void consume(struct replica *r);
/* Deletes of some messages that lie together all but a few. */
void delete_some(struct replica *r);
/* Purges, changes of the configuration and of consumers, and others that concern what is not there;
 * what has been refused by the state as it is is not proposed. */
void request_some(struct replica *r);
/* What max_age has passed goes. */
void expire(struct replica *r);
/* `pick`: draw() or a like one. */
void change_members(struct replica *r, uint64_t (*pick)(uint64_t bound));

/* --- checks.c --- */

/* Every group has a leader, and its members all that it has. */
bool converged(void);
/* For whoever looks into a failed seed. */
void print_groups(void);
/* Fails when replicas differ or something acknowledged is missing. */
void check_end(void);

#endif
