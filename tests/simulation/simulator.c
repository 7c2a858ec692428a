/* simulator: a cluster of Raft hosts and streams under a virtual clock, network and disk, from one
 * seed.
 *
 *   simulator SEED [COUNT]     runs seeds SEED … SEED+COUNT-1; exit 1 and the seed when one fails
 *   simulator --trace SEED     prints every event
 *
 * Production objects: raft/ (core, host, wire) and jetstream/state (stream, consumers, publishing).
 * Ours here: a heap of events keyed (time, number), a network that delays, drops and cuts, a disk
 * that forgets what was not synced, and clients that publish, deliver and acknowledge.
 *
 * Checked during the run: the invariants asserted in the objects, and that no two replicas apply
 * different entries at one index. At the end, after healing: every group has a leader, replicas
 * have equal state byte for byte, every acknowledged message is there once with its sequence. The
 * same seed gives the same trace hash. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buffer.h"
#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/json.h"
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
    bool savage; /* faults come so close that they meet */
    bool damage; /* disks that lose what was synced, or everything */
    bool pauses;
    bool changes;    /* members come and go */
    unsigned voters; /* at first: so many of the nodes, in every group others */
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
    raft_index last;    /* end of the contiguous log */
    raft_index state_index;
    struct blob *state; /* stream state, and runs */
    struct raft_run *runs;
    uint32_t run_count;
    struct raft_members members; /* as of state_index; count 0: those of the beginning */
    raft_index first;
};

enum write_kind { WRITE_PERSIST, WRITE_INSTALL, WRITE_CHECKPOINT };

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
    raft_index index; /* INSTALL, CHECKPOINT */
    struct blob *state;
    struct raft_run *runs;
    uint32_t run_count;
    struct raft_members members;
    raft_index first; /* CHECKPOINT: entries below that are not in `keep` are dropped */
    raft_index *kept_below;
    uint32_t kept_count;
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
    bool processing_due;
};

struct acked {
    uint64_t value, seq;
};

struct sim {
    uint64_t seed;
    struct plan plan;
    struct random random;
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
    uint64_t next_value;
    uint64_t elections, acks, crashes, damages, changes, reads;
};

static struct sim *sim;

__attribute__((noreturn)) static void fail(const char *what)
{
    fprintf(stderr, "seed %llu FAILED at %llu us: %s\n", (unsigned long long)sim->seed,
            (unsigned long long)sim->now_us, what);
    exit(1);
}

/* A failed CHECK in the objects: say which seed it was. */
static void on_abort(int signal_number)
{
    (void)signal_number;
    fprintf(stderr, "seed %llu ABORTED at %llu us\n", (unsigned long long)sim->seed,
            (unsigned long long)sim->now_us);
}

static uint64_t draw(uint64_t bound)
{
    return random_below(&sim->random, bound);
}

static bool chance(unsigned percent)
{
    return draw(100) < percent;
}

static void note(const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t parts[4] = {sim->now_us, a, b, c};
    sim->hash =
        hash_bytes(bytes_make(parts, sizeof parts)) ^ (sim->hash * 31) ^ hash_bytes(bytes_of(what));
    if (sim->trace) {
        printf("%10llu %-12s %llu %llu %llu\n", (unsigned long long)sim->now_us, what,
               (unsigned long long)a, (unsigned long long)b, (unsigned long long)c);
    }
}

/* --- events --- */

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
    EV_HEAL
};

struct event {
    uint64_t time_us, number;
    enum event_kind kind;
    unsigned node, from;
    uint64_t life, epoch;
    struct blob *frame;
    bool up;
};

static bool earlier(const struct event *a, const struct event *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->number < b->number;
}

static void push(struct event e, uint64_t delay_us)
{
    e.time_us = sim->now_us + delay_us;
    e.number = sim->event_number++;
    VEC_RESERVE(sim->heap, sim->heap_cap, sim->heap_count);
    uint32_t at = sim->heap_count++;
    while (at > 0 && earlier(&e, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = e;
}

static struct event pop(void)
{
    struct event top = sim->heap[0];
    struct event last = sim->heap[--sim->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= sim->heap_count) {
            break;
        }
        if (child + 1 < sim->heap_count && earlier(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (!earlier(&sim->heap[child], &last)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    if (sim->heap_count > 0) {
        sim->heap[at] = last;
    }
    return top;
}

static void process_soon(struct node *n)
{
    if (n->alive && !n->processing_due) {
        n->processing_due = true;
        push((struct event){.kind = EV_PROCESS, .node = n->number, .life = n->life}, 1);
    }
}

/* --- disk --- */

static void write_free(struct pending_write *w)
{
    for (uint32_t i = 0; i < w->entry_count; i++) {
        blob_release(w->entries[i].data);
    }
    free(w->entries);
    blob_release(w->state);
    free(w->runs);
    free(w->kept_below);
    free(w);
}

#define KEPT 0x80 /* with the kind: a record of a snapshot, not part of the log */

static struct blob *encode_entry(const struct raft_entry *e, bool kept)
{
    struct buffer b = {0};
    buffer_put_u64(&b, e->term);
    buffer_put_u8(&b, (uint8_t)(e->kind | (kept ? KEPT : 0)));
    if (e->data != NULL) {
        buffer_append_bytes(&b, blob_bytes(e->data));
    }
    struct blob *blob = blob_copy(buffer_bytes(&b));
    buffer_deinit(&b);
    return blob;
}

static struct raft_entry decode_entry(raft_index index, const struct blob *blob)
{
    struct reader r = reader_make(blob_bytes(blob));
    struct raft_entry e = {.index = index};
    e.term = reader_u64(&r);
    e.kind = (uint8_t)(reader_u8(&r) & 0x7f);
    if (e.kind != RAFT_ENTRY_NOOP) {
        e.data = blob_copy(bytes_make(r.at, (size_t)(r.end - r.at)));
    }
    return e;
}

static void disk_delete(struct disk_group *d, raft_index index)
{
    blob_release(map_remove_u64(&d->records, index));
}

/* Deletes records at and above `from`. */
static void disk_delete_from(struct disk_group *d, raft_index from)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&d->records, &i)) != NULL;) {
        uint64_t index;
        memcpy(&index, e->key.ptr, sizeof index);
        if (index >= from) {
            disk_delete(d, index);
        }
    }
}

static void disk_apply(struct replica *r, struct pending_write *w)
{
    struct disk_group *d = &r->disk;
    if (w->has_hard) {
        d->term = w->term;
        d->vote = w->vote;
        d->unproven = w->unproven;
    }
    if (w->truncate_from > 0) {
        disk_delete_from(d, w->truncate_from);
        d->last = w->truncate_from - 1;
    }
    for (uint32_t i = 0; i < w->entry_count; i++) {
        blob_release(
            map_put_u64(&d->records, w->entries[i].index, encode_entry(&w->entries[i], w->kept)));
        if (!w->kept) {
            d->last = w->entries[i].index;
        }
    }
    if (w->kind != WRITE_PERSIST) {
        blob_release(d->state);
        d->state = blob_retain(w->state);
        free(d->runs);
        d->runs = w->runs;
        w->runs = NULL;
        d->run_count = w->run_count;
        d->members = w->members;
        d->state_index = w->index;
    }
    if (w->kind == WRITE_INSTALL) {
        disk_delete_from(d, w->index + 1);
        d->last = w->index;
        d->first = w->index + 1;
    }
    if (w->kind == WRITE_CHECKPOINT && w->first > d->first) {
        struct map_entry *e;
        for (uint32_t i = 0; (e = map_next(&d->records, &i)) != NULL;) {
            uint64_t index;
            memcpy(&index, e->key.ptr, sizeof index);
            bool kept = index >= w->first;
            for (uint32_t k = 0; k < w->kept_count && !kept; k++) {
                kept = w->kept_below[k] == index;
            }
            if (!kept) {
                disk_delete(d, index);
            }
        }
        d->first = w->first;
    }
}

static void start_sync(struct node *n)
{
    if (!n->syncing && n->writes != NULL) {
        n->syncing = true;
        push((struct event){.kind = EV_SYNC, .node = n->number, .life = n->life},
             50 + draw(2 * sim->plan.sync_mean_us + 1));
    }
}

static void queue_write(struct node *n, struct pending_write *w)
{
    w->next = NULL;
    *n->writes_end = w;
    n->writes_end = &w->next;
    start_sync(n);
}

static void on_sync(struct node *n)
{
    struct pending_write *w = n->writes;
    n->writes = NULL;
    n->writes_end = &n->writes;
    n->syncing = false;
    while (w != NULL) {
        struct pending_write *next = w->next;
        struct replica *r = &n->replicas[w->group];
        disk_apply(r, w);
        if (w->kind != WRITE_CHECKPOINT) {
            raft_group_persisted(r->group, w->seq);
        } else {
            raft_compacted(raft_group_raft(r->group), w->first);
        }
        write_free(w);
        w = next;
    }
    start_sync(n);
    process_soon(n);
}

/* --- host callbacks --- */

static struct raft_run *copy_runs(const struct raft *raft, raft_index upto, uint32_t *count)
{
    uint32_t n;
    const struct raft_run *runs = raft_runs(raft, &n);
    struct raft_run *copy = mem_alloc((n + 1) * sizeof *copy);
    *count = 0;
    for (uint32_t i = 0; i < n && runs[i].first <= upto; i++) {
        copy[(*count)++] = runs[i];
    }
    return copy;
}

static void on_persist(void *arg, struct raft_group *group, const struct raft_persist *p)
{
    struct node *n = arg;
    struct replica *r = raft_group_owner(group);
    struct pending_write *w = NEW(struct pending_write);
    w->kind = WRITE_PERSIST;
    w->group = r->number;
    w->seq = p->seq;
    w->has_hard = p->has_hard_state;
    w->term = p->term;
    w->vote = p->vote;
    w->unproven = p->unproven;
    w->truncate_from = p->truncate_from;
    w->kept = p->kept_records;
    w->entries = mem_alloc((p->entry_count + 1) * sizeof *w->entries);
    for (uint32_t i = 0; i < p->entry_count; i++) {
        w->entries[w->entry_count] = p->entries[i];
        if (p->entries[i].data != NULL) {
            (void)blob_retain(p->entries[i].data);
        }
        w->entry_count++;
    }
    queue_write(n, w);
}

static unsigned node_number(raft_node id)
{
    return (unsigned)(id - 100);
}

static void on_send(void *arg, raft_node to_id, struct bytes frame)
{
    struct node *n = arg;
    unsigned to = node_number(to_id);
    if (sim->cut[n->number][to] || !sim->nodes[to].alive) {
        return;
    }
    if (!sim->calm && chance(sim->plan.loss_percent)) {
        sim->path_epoch[n->number][to]++; /* connection reset: all under way is lost */
        note("reset", n->number, to, 0);
        push(
            (struct event){
                .kind = EV_PEER, .node = n->number, .from = to, .life = n->life, .up = true},
            5 * MS);
        return;
    }
    uint64_t delay = sim->plan.delay_min_us + draw(2 * sim->plan.delay_mean_us + 1);
    uint64_t ready = sim->now_us + delay;
    if (ready <= sim->path_ready[n->number][to]) { /* TCP keeps the order */
        ready = sim->path_ready[n->number][to] + 1;
    }
    sim->path_ready[n->number][to] = ready;
    push((struct event){.kind = EV_FRAME,
                        .node = to,
                        .from = n->number,
                        .life = sim->nodes[to].life,
                        .epoch = sim->path_epoch[n->number][to],
                        .frame = blob_copy(frame)},
         ready - sim->now_us);
}

static const struct raft_host_io host_io = {on_persist, on_send};

static enum err read_record(struct replica *r, raft_index index, struct raft_entry *e)
{
    const struct raft_entry *memory = raft_peek(raft_group_raft(r->group), index);
    if (memory != NULL) {
        *e = *memory;
        if (e->data != NULL) {
            (void)blob_retain(e->data);
        }
        return OK;
    }
    struct blob *blob = map_get_u64(&r->disk.records, index);
    if (blob == NULL) {
        return ERR_NOT_FOUND;
    }
    *e = decode_entry(index, blob);
    return OK;
}

static enum err on_read(void *arg, raft_index index, struct raft_entry *e)
{
    return read_record(arg, index, e);
}

static enum err on_read_kept(void *arg, raft_index index, raft_index limit, struct raft_entry *e)
{
    struct replica *r = arg;
    uint64_t next = stream_next_kept_index(r->stream, index);
    if (next > limit) {
        return ERR_NOT_FOUND;
    }
    enum err err = read_record(r, next, e);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

static struct blob *encode_state(struct replica *r)
{
    struct buffer b = {0};
    stream_encode(r->stream, &b);
    struct blob *blob = blob_copy(buffer_bytes(&b));
    buffer_deinit(&b);
    return blob;
}

/* The latest state is the live one: the group's applied index. */
static enum err on_state(void *arg, raft_index *index, struct blob **state)
{
    struct replica *r = arg;
    *index = raft_applied(raft_group_raft(r->group));
    *state = encode_state(r);
    return OK;
}

static struct blob *stream_read_entry(void *arg, uint64_t index)
{
    struct replica *r = arg;
    struct raft_entry e;
    return read_record(r, index, &e) == OK ? e.data : NULL;
}

static void checkpoint(struct replica *r)
{
    struct pending_write *w = NEW(struct pending_write);
    const struct raft *raft = raft_group_raft(r->group);
    w->kind = WRITE_CHECKPOINT;
    w->group = r->number;
    w->index = raft_applied(raft);
    w->state = encode_state(r);
    w->runs = copy_runs(raft, w->index, &w->run_count);
    w->members = *raft_members_at(raft, w->index);
    w->first = r->previous_checkpoint + 1;
    uint32_t cap = 0;
    for (uint64_t i = stream_next_kept_index(r->stream, 0); i < w->first;
         i = stream_next_kept_index(r->stream, i + 1)) {
        VEC_RESERVE(w->kept_below, cap, w->kept_count);
        w->kept_below[w->kept_count++] = i;
    }
    r->previous_checkpoint = r->checkpointed;
    r->checkpointed = w->index;
    r->since_checkpoint = 0;
    queue_write(r->node, w);
}

static void acknowledge(struct replica *r, const struct waiting *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        VEC_RESERVE(sim->acked[r->number], sim->acked_cap[r->number], sim->acked_count[r->number]);
        sim->acked[r->number][sim->acked_count[r->number]++] =
            (struct acked){w->first_value + i, w->first_seq + i};
        sim->acks++;
        if (w->first_seq + i > sim->last_acked[r->number]) {
            sim->last_acked[r->number] = w->first_seq + i;
        }
    }
}

static void on_apply(void *arg, const struct raft_entry *e)
{
    struct replica *r = arg;
    uint64_t content[2] = {e->term, e->data == NULL ? 1 : hash_bytes(blob_bytes(e->data))};
    uint64_t h = hash_bytes(bytes_make(content, sizeof content)) | 1;
    uint64_t known = (uint64_t)(uintptr_t)map_get_u64(&sim->applied[r->number], e->index);
    if (known == 0) {
        (void)map_put_u64(&sim->applied[r->number], e->index, (void *)(uintptr_t)h);
    } else if (known != h) {
        fail("two replicas applied different entries at one index");
    }
    note("apply", r->node->number, e->index, h);
    if (e->kind == RAFT_ENTRY_DATA) {
        struct apply_result result;
        if (stream_apply(r->stream, e->index, blob_bytes(e->data), &result, NULL, NULL) != OK) {
            fail("an entry could not be applied");
        }
    }
    if (r->leading) {
        publisher_applied(&r->publisher, r->stream->totals.last_seq);
    }
    struct waiting *w = map_remove_u64(&r->waiting, e->index);
    if (w != NULL) {
        if (w->term == e->term) { /* else another leader's entry took the place: unknown outcome */
            acknowledge(r, w);
        }
        free(w);
    }
    if (++r->since_checkpoint >= sim->plan.checkpoint_every) {
        checkpoint(r);
    }
}

static void on_install(void *arg, raft_index index, struct blob *state, uint64_t seq)
{
    struct replica *r = arg;
    struct stream_config config = {.name = mem_strdup("S")};
    stream_free(r->stream);
    r->stream = stream_new(&config, 0, stream_read_entry, r);
    if (stream_decode(r->stream, blob_bytes(state)) != OK) {
        fail("a snapshot does not decode");
    }
    publisher_deinit(&r->publisher);
    publisher_init(&r->publisher, r->stream);
    struct pending_write *w = NEW(struct pending_write);
    w->kind = WRITE_INSTALL;
    w->group = r->number;
    w->seq = seq;
    w->index = index;
    w->state = blob_retain(state);
    w->runs = copy_runs(raft_group_raft(r->group), index, &w->run_count);
    w->members = *raft_members_at(raft_group_raft(r->group), index);
    r->checkpointed = r->previous_checkpoint = index;
    queue_write(r->node, w);
    note("install", r->node->number, index, 0);
}

static void forget_waiting(struct replica *r)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&r->waiting, &i)) != NULL;) {
        free(e->value);
    }
    map_clear(&r->waiting);
}

static void on_leader(void *arg, bool leader)
{
    struct replica *r = arg;
    r->leading = leader;
    sim->elections += leader;
    note("leader", r->node->number, r->number, leader);
    if (leader) {
        publisher_reset(&r->publisher);
    } else {
        forget_waiting(r);
    }
}

static void on_read_allowed(void *arg, uint64_t id, bool allowed)
{
    struct replica *r = arg;
    uint64_t acked = (uint64_t)(uintptr_t)map_remove_u64(&r->reads, id) - 1;
    note("read", r->node->number, id, allowed);
    sim->reads += allowed;
    if (allowed && r->stream->totals.last_seq < acked) {
        fail("a read does not see what had been acknowledged");
    }
}

static const struct raft_group_ops group_ops = {
    {on_read, on_read_kept, on_state}, on_apply, on_install, on_leader, on_read_allowed};

/* --- nodes --- */

static struct stream_config stream_config(void)
{
    json_t *o = json_object();
    struct stream_config config;
    struct js_error error;
    json_put_text(o, "name", "S");
    json_put_int(o, "max_msgs", sim->plan.max_msgs);
    json_put_int(o, "num_replicas", 3);
    CHECK(stream_config_parse(o, true, &config, &error));
    json_decref(o);
    return config;
}

static void start_replica(struct node *n, unsigned g)
{
    struct replica *r = &n->replicas[g];
    struct disk_group *d = &r->disk;
    r->node = n;
    r->number = g;
    struct stream_config config = stream_config();
    r->stream = stream_new(&config, START_NS, stream_read_entry, r);
    struct raft_config c = {.group = g + 1,
                            .self = n->id,
                            .members = d->members,
                            .seed = sim->seed * 1000 + n->number * 10 + g + n->life * 7919,
                            .term = d->term,
                            .vote = d->vote,
                            .unproven = d->unproven,
                            .applied = d->state_index,
                            .first = d->first,
                            .runs = d->runs,
                            .run_count = d->run_count};
    if (c.members.count == 0) {
        c.members.count = sim->plan.voters;
        for (unsigned i = 0; i < sim->plan.voters; i++) {
            c.members.list[i].node = sim->nodes[(i + g) % sim->plan.nodes].id;
        }
    }
    struct raft_entry *entries = NULL;
    uint32_t count = 0, cap = 0;
    for (raft_index i = d->state_index + 1;; i++) {
        struct blob *blob = map_get_u64(&d->records, i);
        if (blob == NULL || (blob->data[8] & KEPT) != 0) {
            break;
        }
        VEC_RESERVE(entries, cap, count);
        entries[count++] = decode_entry(i, blob);
    }
    c.entries = entries;
    c.entry_count = count;
    r->group = raft_host_add(n->host, &c, &group_ops, r);
    for (uint32_t i = 0; i < count; i++) {
        blob_release(entries[i].data);
    }
    free(entries);
    if (d->state != NULL && stream_decode(r->stream, blob_bytes(d->state)) != OK) {
        fail("a checkpoint does not decode");
    }
    publisher_init(&r->publisher, r->stream);
    r->leading = false;
    r->checkpointed = d->state_index;
    r->previous_checkpoint = d->first == 0 ? 0 : d->first - 1;
    r->since_checkpoint = 0;
}

static void start_node(struct node *n)
{
    n->alive = true;
    n->paused = false;
    n->life++;
    n->syncing = n->processing_due = false;
    n->writes = NULL;
    n->writes_end = &n->writes;
    n->host = raft_host_new(&host_io, n);
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        start_replica(n, g);
    }
    push((struct event){.kind = EV_TICK, .node = n->number, .life = n->life}, draw(TICK_US));
    for (unsigned i = 0; i < sim->plan.nodes; i++) {
        if (i != n->number) {
            push(
                (struct event){
                    .kind = EV_PEER, .node = n->number, .from = i, .life = n->life, .up = true},
                MS);
            push((struct event){.kind = EV_PEER,
                                .node = i,
                                .from = n->number,
                                .life = sim->nodes[i].life,
                                .up = true},
                 MS);
        }
    }
    note("start", n->number, n->life, 0);
}

static void stop_node(struct node *n, bool lose_unsynced)
{
    n->alive = false;
    while (n->writes != NULL) {
        struct pending_write *w = n->writes;
        n->writes = w->next;
        /* A killed process leaves its written data to the system; a power cut does not. The order
         * of writes is kept either way, so what survives is a prefix. */
        if (!lose_unsynced || chance(20)) {
            disk_apply(&n->replicas[w->group], w);
        } else {
            lose_unsynced = true;
            while (n->writes != NULL) {
                struct pending_write *lost = n->writes;
                n->writes = lost->next;
                write_free(lost);
            }
        }
        write_free(w);
    }
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        struct replica *r = &n->replicas[g];
        raft_host_remove(n->host, r->group);
        publisher_deinit(&r->publisher);
        stream_free(r->stream);
        forget_waiting(r);
        map_clear(&r->reads);
    }
    raft_host_free(n->host);
    sim->crashes++;
    for (unsigned i = 0; i < sim->plan.nodes; i++) {
        sim->path_epoch[n->number][i]++;
        sim->path_epoch[i][n->number]++;
        push((struct event){.kind = EV_PEER,
                            .node = i,
                            .from = n->number,
                            .life = sim->nodes[i].life,
                            .up = false},
             2 * MS);
    }
    note("stop", n->number, lose_unsynced, 0);
}

/* --- damaged disks --- */

/* Not more at a time than the others can make up for; a node counts until all its groups are proven
 * again, and what it acknowledged before is on the others then. */
static unsigned damaged_nodes(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sim->plan.nodes; i++) {
        bool damaged = false;
        for (unsigned g = 0; g < sim->plan.groups; g++) {
            damaged = damaged || sim->nodes[i].replicas[g].disk.unproven;
        }
        count += damaged;
    }
    return count;
}

static void disk_clear(struct disk_group *d)
{
    disk_delete_from(d, 0);
    map_deinit(&d->records);
    blob_release(d->state);
    free(d->runs);
    *d = (struct disk_group){.unproven = true};
}

/* The log's end is lost, synced or not; with it what the hard state has said since. */
static void disk_lose_tail(struct disk_group *d)
{
    raft_index end = d->state_index;
    while (map_get_u64(&d->records, end + 1) != NULL) {
        end++;
    }
    raft_index cut = d->state_index + 1 + draw(end - d->state_index + 1);
    disk_delete_from(d, cut);
    d->last = cut - 1;
    d->term = d->run_count > 0 ? d->runs[d->run_count - 1].term : 0;
    for (raft_index i = d->state_index + 1; i < cut; i++) {
        struct raft_entry e = decode_entry(i, map_get_u64(&d->records, i));
        d->term = e.term > d->term ? e.term : d->term;
        blob_release(e.data);
    }
    d->vote = 0;
    d->unproven = true;
}

static void damage_node(struct node *n)
{
    bool wipe = chance(50);
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        struct disk_group *d = &n->replicas[g].disk;
        if (wipe) {
            disk_clear(d);
        } else {
            disk_lose_tail(d);
        }
    }
    sim->damages++;
    note("damage", n->number, wipe, 0);
}

/* --- clients --- */

static void publish(struct node *n, unsigned g)
{
    struct replica *r = &n->replicas[g];
    if (!r->leading) {
        return;
    }
    int64_t now = START_NS + (int64_t)sim->now_us * 1000;
    struct messages_builder b = {0};
    uint32_t count = 1 + (uint32_t)draw(5);
    struct waiting *w = NEW(struct waiting);
    w->first_value = sim->next_value;
    for (uint32_t i = 0; i < count; i++) {
        char body[64], header[96];
        snprintf(body, sizeof body, "value %llu", (unsigned long long)sim->next_value);
        snprintf(header, sizeof header, "NATS/1.0\r\nNats-Msg-Id: %llu\r\n\r\n",
                 (unsigned long long)sim->next_value++);
        struct publish_decision d =
            publisher_decide(&r->publisher, BYTES_LIT("S"), bytes_of(header), bytes_of(body), now);
        if (d.action != PUBLISH_STORE) {
            fail("a new message was refused");
        }
        if (i == 0) {
            messages_begin(&b, d.seq, now);
            w->first_seq = d.seq;
        }
        messages_add(&b, now, BYTES_LIT("S"), bytes_of(header), bytes_of(body));
    }
    w->count = count;
    raft_index index;
    struct blob *entry = messages_finish(&b);
    buffer_deinit(&b.data);
    if (raft_group_propose(r->group, entry, &index) != OK) {
        blob_release(entry);
        free(w);
        return;
    }
    w->term = raft_term_now(raft_group_raft(r->group));
    free(map_put_u64(&r->waiting, index, w));
}

static void propose_bytes(struct replica *r, struct buffer *b)
{
    raft_index index;
    struct blob *entry = blob_copy(buffer_bytes(b));
    if (raft_group_propose(r->group, entry, &index) != OK) {
        blob_release(entry);
    }
    buffer_deinit(b);
}

/* By whoever believes to lead: how much it reads is compared when it may. */
static void read_all(struct replica *r)
{
    uint64_t id;
    if (raft_group_read(r->group, &id) == OK) {
        (void)map_put_u64(&r->reads, id, (void *)(uintptr_t)(sim->last_acked[r->number] + 1));
    }
}

/* A consumer that delivers and acknowledges at random, and the other entries a stream can get. */
static void consume(struct replica *r)
{
    int64_t now = START_NS + (int64_t)sim->now_us * 1000;
    struct buffer b = {0};
    struct consumer *c = map_get(&r->stream->consumers, BYTES_LIT("C"));
    struct stored_message m;
    unsigned what = (unsigned)draw(20);
    if (c == NULL) {
        buffer_put_u8(&b, ENTRY_CONSUMER);
        buffer_put_u64(&b, (uint64_t)now);
        buffer_put_bytes(&b, BYTES_LIT("{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}"));
    } else if (what < 10 &&
               stream_next(r->stream, c->delivered_stream_seq + 1, NULL, 0, &m) == OK) {
        buffer_put_u8(&b, ENTRY_DELIVER);
        buffer_put_bytes(&b, BYTES_LIT("C"));
        buffer_put_u64(&b, (uint64_t)now);
        buffer_put_varint(&b, 1);
        buffer_put_varint(&b, m.seq);
    } else if (what < 17 && c->ack_pending > 0) {
        buffer_put_u8(&b, ENTRY_ACKS);
        buffer_put_bytes(&b, BYTES_LIT("C"));
        buffer_put_u64(&b, (uint64_t)now);
        buffer_put_varint(&b, 1);
        buffer_put_u8(&b, (uint8_t)draw(4));
        buffer_put_varint(&b, c->floor_stream_seq + 1 + draw(5));
        buffer_put_varint(&b, draw(1000));
    } else if (what == 17 && r->stream->totals.messages > 3) {
        buffer_put_u8(&b, ENTRY_EXPIRE);
        buffer_put_varint(&b, r->stream->totals.first_seq);
    } else {
        return;
    }
    propose_bytes(r, &b);
}

/* --- members --- */

static bool is_member(const struct raft_members *m, raft_node node, unsigned *at)
{
    for (*at = 0; *at < m->count; ++*at) {
        if (m->list[*at].node == node) {
            return true;
        }
    }
    return false;
}

/* The leader lets somebody in, makes a learner a voter, or sends somebody away. Three voters stay,
 * so that a damaged disk is still one of a minority. */
static void change_members(struct replica *r)
{
    const struct raft *raft = raft_group_raft(r->group);
    struct raft_members m = *raft_members(raft);
    raft_node voters[RAFT_VOTERS_MAX];
    unsigned at;
    raft_node node = sim->nodes[draw(sim->plan.nodes)].id;
    if (!is_member(&m, node, &at)) {
        m.list[m.count++] = (struct raft_member){node, chance(80)};
    } else if (m.list[at].learner && chance(70)) {
        m.list[at].learner = false;
    } else if (m.list[at].learner || raft_voters(raft, voters) > 3) {
        if (chance(30)) {
            m.list[at].learner = true;
        } else {
            m.list[at] = m.list[--m.count];
        }
    } else {
        return;
    }
    raft_index index;
    enum err err = raft_group_change_members(r->group, &m, &index);
    sim->changes += err == OK;
    note("members", r->node->number, node, err == OK ? index : 0);
    process_soon(r->node);
}

/* --- running --- */

static void on_fault(void)
{
    const struct plan *p = &sim->plan;
    unsigned n = (unsigned)draw(p->nodes);
    unsigned other = (unsigned)draw(p->nodes);
    switch (draw(4)) {
    case 0:
        if (p->crashes && sim->nodes[n].alive) {
            unsigned victims = chance(5) ? p->nodes : 1;
            /* Not while members change: an election of all whose winner has voted itself out can be
             * left without proven voters when one of them restarts (seed 20261128290, open). */
            bool doubt = victims > 1 && p->damage && chance(50) && damaged_nodes() == 0;
            doubt = doubt && !p->changes;
            for (unsigned i = 0; i < victims; i++) {
                struct node *victim = &sim->nodes[(n + i) % p->nodes];
                if (victim->alive) {
                    stop_node(victim, p->power);
                    for (unsigned g = 0; g < p->groups && doubt; g++) {
                        victim->replicas[g].disk.unproven = true; /* nobody is sure of anything */
                    }
                    if (victims == 1 && p->damage && chance(50) &&
                        damaged_nodes() < (p->voters - 1) / 2) {
                        damage_node(victim);
                    }
                    push((struct event){.kind = EV_RESTART, .node = victim->number},
                         10 * MS + draw(2000 * MS));
                }
            }
        }
        break;
    case 1:
        if (p->cuts && n != other) {
            sim->cut[n][other] = true;
            sim->path_epoch[n][other]++;
            if (!p->one_way) {
                sim->cut[other][n] = true;
                sim->path_epoch[other][n]++;
            }
            note("cut", n, other, p->one_way);
            push((struct event){.kind = EV_HEAL, .node = n, .from = other}, draw(3000 * MS));
        }
        break;
    case 2:
        if (p->pauses && sim->nodes[n].alive && !sim->nodes[n].paused) {
            sim->nodes[n].paused = true;
            note("pause", n, 0, 0);
            push((struct event){.kind = EV_RESUME, .node = n, .life = sim->nodes[n].life},
                 draw(1500 * MS));
        }
        break;
    default:
        break;
    }
}

static void on_frame(struct node *n, const struct event *e)
{
    if (e->epoch != sim->path_epoch[e->from][n->number] || sim->cut[e->from][n->number]) {
        return;
    }
    struct reader r = reader_make(blob_bytes(e->frame));
    while (r.at < r.end) {
        struct bytes message = reader_bytes(&r);
        if (r.bad || !raft_host_receive(n->host, sim->nodes[e->from].id, n->id, message)) {
            fail("a frame does not decode");
        }
    }
    process_soon(n);
}

static void heal_path(unsigned a, unsigned b)
{
    sim->cut[a][b] = sim->cut[b][a] = false;
    for (int k = 0; k < 2; k++) {
        unsigned x = k == 0 ? a : b;
        push((struct event){.kind = EV_PEER,
                            .node = x,
                            .from = k == 0 ? b : a,
                            .life = sim->nodes[x].life,
                            .up = true},
             MS);
    }
}

static void dispatch(struct event e)
{
    struct node *n = &sim->nodes[e.node];
    if (e.kind == EV_RESTART) {
        if (!n->alive) {
            start_node(n);
        }
        return;
    }
    if (e.kind == EV_HEAL) {
        heal_path(e.node, e.from);
        return;
    }
    if (e.kind == EV_FAULT) {
        if (!sim->calm) {
            on_fault();
            push((struct event){.kind = EV_FAULT},
                 sim->plan.savage ? 5 * MS + draw(200 * MS) : 50 * MS + draw(1000 * MS));
        }
        return;
    }
    if (e.kind == EV_PUBLISH) {
        if (!sim->calm) {
            unsigned g = (unsigned)draw(sim->plan.groups);
            for (unsigned i = 0; i < sim->plan.nodes; i++) {
                if (sim->nodes[i].alive && !sim->nodes[i].paused) {
                    publish(&sim->nodes[i], g);
                    if (sim->nodes[i].replicas[g].leading && chance(20)) {
                        read_all(&sim->nodes[i].replicas[g]);
                    }
                    if (sim->plan.changes && sim->nodes[i].replicas[g].leading && chance(4)) {
                        change_members(&sim->nodes[i].replicas[g]);
                    }
                    if (sim->nodes[i].replicas[g].leading && chance(60)) {
                        consume(&sim->nodes[i].replicas[g]);
                    }
                    process_soon(&sim->nodes[i]);
                }
            }
            push((struct event){.kind = EV_PUBLISH}, draw(20 * MS));
        }
        return;
    }
    if (!n->alive || e.life != n->life) {
        blob_release(e.frame);
        return;
    }
    if (e.kind == EV_RESUME) {
        n->paused = false;
        return;
    }
    if (n->paused) { /* the process stands still: everything comes later, in order */
        push(e, 20 * MS);
        return;
    }
    switch (e.kind) {
    case EV_TICK:
        raft_host_tick(n->host);
        process_soon(n);
        push((struct event){.kind = EV_TICK, .node = e.node, .life = e.life}, TICK_US);
        break;
    case EV_FRAME:
        on_frame(n, &e);
        blob_release(e.frame);
        break;
    case EV_SYNC:
        on_sync(n);
        break;
    case EV_PROCESS:
        n->processing_due = false;
        raft_host_process(n->host);
        break;
    case EV_PEER:
        if (e.up ? sim->nodes[e.from].alive && !sim->cut[e.node][e.from] : true) {
            raft_host_peer(n->host, sim->nodes[e.from].id, e.up);
            process_soon(n);
        }
        break;
    default:
        break;
    }
}

static void run_until(uint64_t time_us)
{
    while (sim->heap_count > 0 && sim->heap[0].time_us <= time_us) {
        struct event e = pop();
        sim->now_us = e.time_us;
        dispatch(e);
    }
    sim->now_us = time_us;
}

/* Of the latest term; NULL: nobody leads. */
static struct replica *leader_of(unsigned g)
{
    struct replica *found = NULL;
    for (unsigned i = 0; i < sim->plan.nodes; i++) {
        struct replica *r = &sim->nodes[i].replicas[g];
        const struct raft *raft = raft_group_raft(r->group);
        if (raft_is_ready_leader(raft) &&
            (found == NULL || raft_term_now(raft) > raft_term_now(raft_group_raft(found->group)))) {
            found = r;
        }
    }
    return found;
}

static bool converged(void)
{
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        const struct replica *leader = leader_of(g);
        if (leader == NULL) {
            return false;
        }
        raft_index applied = raft_applied(raft_group_raft(leader->group));
        const struct raft_members *members = raft_members(raft_group_raft(leader->group));
        for (unsigned i = 0; i < members->count; i++) {
            const struct node *n = &sim->nodes[node_number(members->list[i].node)];
            const struct raft *raft = raft_group_raft(n->replicas[g].group);
            if (raft_is_unproven(raft) || raft_applied(raft) != applied ||
                raft_commit(raft) != raft_last(raft)) {
                return false;
            }
        }
    }
    return true;
}

/* For whoever looks into a failed seed. */
static void print_groups(void)
{
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        for (unsigned i = 0; i < sim->plan.nodes; i++) {
            const struct raft *raft = raft_group_raft(sim->nodes[i].replicas[g].group);
            const struct raft_members *m = raft_members(raft);
            fprintf(stderr,
                    "group %u node %u: %s%s term %llu, leader %llu, log ..%llu, committed %llu, "
                    "applied %llu, members since %llu:",
                    g, i, raft_is_leader(raft) ? "leads, " : "",
                    raft_is_unproven(raft) ? "unproven, " : "",
                    (unsigned long long)raft_term_now(raft), (unsigned long long)raft_leader(raft),
                    (unsigned long long)raft_last(raft), (unsigned long long)raft_commit(raft),
                    (unsigned long long)raft_applied(raft), (unsigned long long)m->index);
            for (unsigned k = 0; k < m->count; k++) {
                fprintf(stderr, " %u%s", node_number(m->list[k].node),
                        m->list[k].learner ? " (learns)" : "");
            }
            fprintf(stderr, "\n");
        }
    }
}

static void check_end(void)
{
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        struct buffer first = {0};
        const struct replica *leader = leader_of(g);
        const struct raft_members *members = raft_members(raft_group_raft(leader->group));
        unsigned at;
        stream_encode(leader->stream, &first);
        for (unsigned i = 0; i < sim->plan.nodes; i++) {
            struct buffer state = {0};
            if (!is_member(members, sim->nodes[i].id, &at)) {
                continue;
            }
            stream_encode(sim->nodes[i].replicas[g].stream, &state);
            if (!bytes_eq(buffer_bytes(&first), buffer_bytes(&state))) {
                fail("replicas have different states");
            }
            buffer_deinit(&state);
        }
        buffer_deinit(&first);
        struct stream *s = leader->stream;
        for (uint32_t k = 0; k < sim->acked_count[g]; k++) {
            const struct acked *a = &sim->acked[g][k];
            if (a->seq < s->totals.first_seq) {
                continue; /* limits and expiry took it */
            }
            for (unsigned i = 0; i < sim->plan.nodes; i++) {
                struct stored_message m;
                char body[64];
                if (!is_member(members, sim->nodes[i].id, &at)) {
                    continue;
                }
                snprintf(body, sizeof body, "value %llu", (unsigned long long)a->value);
                enum err err = stream_read(sim->nodes[i].replicas[g].stream, a->seq, &m);
                if (err != OK || !bytes_is(m.body, body)) {
                    fprintf(stderr,
                            "node %u group %u seq %llu of %llu..%llu: %s, \"%.*s\" not %s\n", i, g,
                            (unsigned long long)a->seq, (unsigned long long)s->totals.first_seq,
                            (unsigned long long)s->totals.last_seq, err_name(err),
                            err == OK ? (int)m.body.len : 0, err == OK ? m.body.ptr : "", body);
                    fail("an acknowledged message is lost or replaced");
                }
            }
        }
    }
}

static void draw_plan(struct plan *p)
{
    p->nodes = chance(15) ? 1 : chance(25) ? 5 : 3;
    p->groups = 1 + (unsigned)draw(GROUPS_MAX);
    p->delay_min_us = (unsigned)draw(2 * MS);
    p->delay_mean_us = (unsigned)draw(chance(50) ? 1 * MS : 30 * MS);
    p->loss_percent = chance(50) ? 0 : (unsigned)draw(5);
    p->cuts = chance(50);
    p->one_way = chance(50);
    p->crashes = chance(70);
    p->power = chance(50);
    p->savage = chance(30);
    p->damage = chance(50);
    p->pauses = chance(50);
    p->sync_mean_us = (unsigned)draw(chance(50) ? 500 : 20 * MS);
    p->checkpoint_every = 2 + (unsigned)draw(chance(50) ? 20 : 500);
    p->max_msgs = chance(50) ? -1 : (int64_t)(5 + draw(200));
    p->changes = p->nodes > 1 && chance(40);
    if (p->changes) {
        p->nodes = 5;
    }
    p->voters = p->changes ? 3 + (unsigned)draw(2) : p->nodes;
}

/* Runs one seed; returns its trace hash. */
static uint64_t run_seed(uint64_t seed, bool trace, struct sim *totals)
{
    struct sim s = {.seed = seed, .trace = trace, .next_value = 1};
    sim = &s;
    random_seed(&s.random, seed);
    draw_plan(&s.plan);
    for (unsigned i = 0; i < s.plan.nodes; i++) {
        s.nodes[i].number = i;
        s.nodes[i].id = 100 + i;
    }
    for (unsigned i = 0; i < s.plan.nodes; i++) {
        start_node(&s.nodes[i]);
    }
    push((struct event){.kind = EV_PUBLISH}, 500 * MS);
    push((struct event){.kind = EV_FAULT}, 1000 * MS);
    run_until(UINT64_C(10000) * MS);
    /* Liveness: no more faults; everything must come together within a bound. */
    s.calm = true;
    for (unsigned i = 0; i < s.plan.nodes; i++) {
        if (!s.nodes[i].alive) {
            start_node(&s.nodes[i]);
        }
        s.nodes[i].paused = false;
        for (unsigned k = 0; k < i; k++) {
            heal_path(i, k);
        }
    }
    uint64_t limit = s.now_us + UINT64_C(30000) * MS;
    while (s.now_us < limit && !(s.now_us > UINT64_C(11000) * MS && converged())) {
        run_until(s.now_us + 100 * MS);
    }
    if (!converged()) {
        print_groups();
        fail("the cluster did not come together after the faults had ended");
    }
    check_end();
    totals->elections += s.elections;
    totals->acks += s.acks;
    totals->crashes += s.crashes;
    totals->damages += s.damages;
    totals->changes += s.changes;
    totals->reads += s.reads;
    for (unsigned i = 0; i < s.plan.nodes; i++) {
        stop_node(&s.nodes[i], true);
        for (unsigned g = 0; g < s.plan.groups; g++) {
            struct disk_group *d = &s.nodes[i].replicas[g].disk;
            disk_clear(d);
        }
    }
    for (unsigned g = 0; g < GROUPS_MAX; g++) {
        map_deinit(&s.applied[g]);
        free(s.acked[g]);
    }
    while (s.heap_count > 0) {
        blob_release(pop().frame);
    }
    free(s.heap);
    return s.hash;
}

int main(int argc, char **argv)
{
    bool trace = argc > 2 && strcmp(argv[1], "--trace") == 0;
    if (argc < 2) {
        fprintf(stderr, "usage: simulator SEED [COUNT] | --trace SEED\n");
        return 2;
    }
    uint64_t seed = strtoull(argv[trace ? 2 : 1], NULL, 10);
    uint64_t count = !trace && argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct sim totals = {0};
    (void)signal(SIGABRT, on_abort);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t hash = run_seed(seed + i, trace, &totals);
        if (i % 50 == 0 && run_seed(seed + i, false, &totals) != hash) {
            fail("the same seed gave two traces");
        }
        if (count == 1) {
            printf("seed %llu hash %016llx\n", (unsigned long long)seed, (unsigned long long)hash);
        }
    }
    printf("%llu seeds from %llu: %llu elections, %llu acknowledged messages, %llu crashes, "
           "%llu damaged disks, %llu changes of members, %llu reads\n",
           (unsigned long long)count, (unsigned long long)seed,
           (unsigned long long)totals.elections, (unsigned long long)totals.acks,
           (unsigned long long)totals.crashes, (unsigned long long)totals.damages,
           (unsigned long long)totals.changes, (unsigned long long)totals.reads);
    return 0;
}
