/* A disk per node: volatile until synced; and what can happen to it. */
#include "simulation/simulator.h"

static void write_free(struct pending_write *w)
{
    for (uint32_t i = 0; i < w->entry_count; i++) {
        blob_release(w->entries[i].data);
    }
    free(w->entries);
    blob_release(w->state);
    for (uint32_t i = 0; i < w->row_count; i++) {
        blob_release(w->rows[i].value);
    }
    free(w->rows);
    for (uint32_t i = 0; i < w->rewritten_count; i++) {
        blob_release(w->rewritten[i].data);
    }
    free(w->rewritten);
    free(w->runs);
    free(w->kept_below);
    free(w);
}

#define ROTTEN 0x40 /* the same: it cannot be read any more */
#define KEPT   0x80 /* with the kind: a record of a snapshot, not part of the log */

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
    e.kind = (uint8_t)(reader_u8(&r) & 0x3f);
    if (e.kind != RAFT_ENTRY_NOOP) {
        e.data = blob_copy(bytes_make(r.at, (size_t)(r.end - r.at)));
    }
    return e;
}

static void disk_delete(struct disk_group *d, raft_index index)
{
    blob_release(map_remove_u64(&d->records, index));
}

/* Deletes what has a number from <= … < to. */
static void delete_numbers(struct map *m, uint64_t from, uint64_t to)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(m, &i)) != NULL;) {
        uint64_t number;
        memcpy(&number, e->key.ptr, sizeof number);
        if (number >= from && number < to) {
            blob_release(map_remove_u64(m, number));
        }
    }
}

static void disk_delete_from(struct disk_group *d, raft_index from)
{
    delete_numbers(&d->records, from, UINT64_MAX);
}

static void rewrite_records(struct disk_group *d, struct pending_write *w)
{
    for (uint32_t i = 0; i < w->rewritten_count; i++) {
        const struct raft_entry *e = &w->rewritten[i];
        blob_release(e->data == NULL ? map_remove_u64(&d->records, e->index)
                                     : map_put_u64(&d->records, e->index, encode_entry(e, false)));
    }
}

static void write_rows(struct disk_group *d, struct pending_write *w)
{
    for (uint32_t i = 0; i < w->row_count; i++) {
        struct row_write *row = &w->rows[i];
        if (row->value == NULL) {
            delete_numbers(&d->rows, row->from, row->to);
        } else {
            blob_release(map_put_u64(&d->rows, row->from, blob_retain(row->value)));
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
        write_rows(d, w);
        rewrite_records(d, w);
        blob_release(d->state);
        d->state = blob_retain(w->state);
        free(d->runs);
        d->runs = w->runs;
        w->runs = NULL;
        d->run_count = w->run_count;
        d->members = w->members;
        d->state_index = w->index;
    }
    if (w->kind == WRITE_INSTALL && !w->log_stays) {
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

void disk_write(struct node *n, struct pending_write *w)
{
    if (n->failed) {
        write_free(w);
        return;
    }
    w->next = NULL;
    *n->writes_end = w;
    n->writes_end = &w->next;
    start_sync(n);
}

/* Reliability rule 4: the store accepts nothing any more, and whoever watches restarts the process.
 */
static void fail_store(struct node *n, struct pending_write *w)
{
    n->failed = true;
    for (bool there = true; w != NULL;) { /* a part of what it was to write may have got there */
        struct pending_write *next = w->next;
        there = there && draw_rot(2) == 0;
        if (there) {
            disk_apply(&n->replicas[w->group], w);
        }
        write_free(w);
        w = next;
    }
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        raft_group_poison(n->replicas[g].group);
    }
    push((struct event){.kind = EV_FAILED, .node = n->number, .life = n->life},
         draw_rot(1000 * MS));
    process_soon(n);
}

void disk_on_sync(struct node *n)
{
    struct pending_write *w = n->writes;
    n->writes = NULL;
    n->writes_end = &n->writes;
    n->syncing = false;
    if (n->sync_fails) {
        fail_store(n, w);
        return;
    }
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

enum err disk_read(const struct disk_group *d, raft_index index, struct raft_entry *e)
{
    struct blob *blob = map_get_u64(&d->records, index);
    if (blob == NULL) {
        return ERR_NOT_FOUND;
    }
    if ((blob->data[8] & ROTTEN) != 0) {
        return ERR_CORRUPT;
    }
    *e = decode_entry(index, blob);
    return OK;
}

/* A record that cannot be read ends the log, and what this node has acknowledged behind it is not
 * there any more. */
struct raft_entry *disk_log(struct disk_group *d, uint32_t *count)
{
    struct raft_entry *entries = NULL;
    uint32_t cap = 0;
    *count = 0;
    for (raft_index i = d->state_index + 1;; i++) {
        struct blob *blob = map_get_u64(&d->records, i);
        if (blob == NULL || (blob->data[8] & KEPT) != 0) {
            return entries;
        }
        if ((blob->data[8] & ROTTEN) != 0) {
            d->unproven = true;
            disk_delete_from(d, i);
            d->last = i - 1;
            return entries;
        }
        VEC_RESERVE(entries, cap, *count);
        entries[(*count)++] = decode_entry(i, blob);
    }
}

void disk_stop(struct node *n, bool lose_unsynced)
{
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
}

/* --- damaged disks --- */

bool is_damaged(const struct node *n)
{
    bool damaged = false;
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        const struct disk_group *d = &n->replicas[g].disk;
        /* One that has stalled needs a state from the others, however whole its log is by now. */
        bool stalled = n->alive && raft_is_stalled(raft_group_raft(n->replicas[g].group));
        damaged = damaged || stalled || d->unproven || disk_next_rotten(d, 0) != UINT64_MAX;
    }
    return damaged;
}

unsigned damaged_nodes(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sim->plan.nodes; i++) {
        count += is_damaged(&sim->nodes[i]);
    }
    return count;
}

void disk_clear(struct disk_group *d)
{
    disk_delete_from(d, 0);
    delete_numbers(&d->rows, 0, UINT64_MAX);
    map_deinit(&d->records);
    map_deinit(&d->rows);
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

static void rot_one(struct node *n)
{
    unsigned g = (unsigned)draw_rot(sim->plan.groups);
    struct disk_group *d = &n->replicas[g].disk;
    raft_index index = 1 + draw_rot(d->last + 1);
    for (unsigned tries = 0; tries < 50 && map_get_u64(&d->records, index) == NULL; tries++) {
        index++; /* often only kept ones are there */
    }
    struct blob *blob = map_get_u64(&d->records, index);
    if (blob != NULL) {
        blob->data[8] |= ROTTEN;
        d->rotten++;
        sim->rots++;
        note("rot", n->number, g, index);
    }
}

void rot_record(struct node *n)
{
    rot_one(n);
    if (draw_rot(5) == 0) { /* a write that went astray: where it belongs is what was before */
        rot_one(n);
    }
}

raft_index disk_next_rotten(const struct disk_group *d, raft_index index)
{
    raft_index found = UINT64_MAX;
    struct map_entry *e;
    for (uint32_t i = 0; d->rotten > 0 && (e = map_next(&d->records, &i)) != NULL;) {
        const struct blob *blob = e->value;
        uint64_t at;
        memcpy(&at, e->key.ptr, sizeof at);
        found = (blob->data[8] & ROTTEN) != 0 && at >= index && at < found ? at : found;
    }
    return found;
}

void damage_node(struct node *n)
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
