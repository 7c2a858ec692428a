/* A group whose state, or a part of it or of its log, cannot be read, and which no other server
 * has: what is left of it is served, and what is not is reported (reliability rule 5). The records
 * say what they hold; the checkpoint, as far as it can be read, says what of that counts. A whole
 * checkpoint follows, so this is done once. */
#include <stdlib.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "jetstream/group/shard_internal.h"

struct recovery {
    struct group *group;
    struct loaded *loaded;
    raft_index known; /* the checkpoint's; 0: it is lost */
    raft_index last;  /* of the records so far */
    uint32_t run_cap;
    uint32_t refused;
    bool unknown; /* an entry is not understood */
};

static struct blob *read_record(void *arg, uint64_t index)
{
    struct group *g = arg;
    struct raft_entry e;
    bool kept;
    return store_get_entry(g->writes->store, g->id, index, &e, &kept) == OK ? e.data : NULL;
}

static enum err take_row(void *arg, uint64_t row, struct bytes value)
{
    struct group *g = arg;
    g->ops->recovery->row(g->owner, row, value);
    return OK;
}

static void add_run(struct recovery *r, const struct raft_entry *e)
{
    struct loaded *l = r->loaded;
    uint32_t *count = &l->config.run_count;
    if (*count == 0 || l->runs[*count - 1].term != e->term) {
        VEC_RESERVE(l->runs, r->run_cap, *count);
        l->runs[(*count)++] = (struct raft_run){e->index, e->term};
    }
}

/* False: others have come to belong to the group. */
static bool take_members(struct recovery *r, const struct raft_entry *e, struct bytes data)
{
    struct raft_members *members = &r->loaded->config.members;
    struct reader reader = reader_make(data);
    if (e->kind != RAFT_ENTRY_MEMBERS || e->index <= members->index) {
        return true;
    }
    members->index = e->index;
    return raft_members_decode(&reader, members) && members->count < 2;
}

static raft_index log_end(const struct recovery *r)
{
    return r->last > r->known ? r->last : r->known;
}

/* Records from <= … < to; 0: to the end. */
static void note_missing(struct recovery *r, raft_index from, raft_index to)
{
    struct group *g = r->group;
    if (to == 0) {
        log_error("JetStream group %llu: its records from %llu on are lost, if there were any",
                  (unsigned long long)g->id, (unsigned long long)from);
    } else {
        log_error("JetStream group %llu: its records %llu to %llu are lost",
                  (unsigned long long)g->id, (unsigned long long)from, (unsigned long long)to - 1);
        r->last = to - 1;
    }
    g->ops->recovery->missing(g->owner);
}

static bool take_record(struct recovery *r, const struct raft_entry *e)
{
    struct group *g = r->group;
    raft_index next = log_end(r) + 1;
    if (r->known > 0 && e->index > next) {
        note_missing(r, next, e->index);
    } else if (group_lost_entries(g, r->last + 1, e->index)) {
        note_missing(r, r->last + 1, e->index);
    }
    r->last = e->index;
    if (e->index > r->known) {
        add_run(r, e);
    }
    struct bytes data = e->data == NULL ? BYTES_NONE : blob_bytes(e->data);
    enum err err =
        e->kind == RAFT_ENTRY_DATA ? g->ops->recovery->record(g->owner, e->index, data) : OK;
    r->unknown = r->unknown || err == ERR_UNKNOWN || e->kind > RAFT_ENTRY_MEMBERS;
    r->refused += err != OK;
    return take_members(r, e, data);
}

/* Where reading can go on when it cannot at `index`; 0: nothing more of the group is there. */
static raft_index skip_damage(struct recovery *r, raft_index index)
{
    struct group *g = r->group;
    struct store_place at = {g->id, index};
    struct store_damage found;
    uint32_t count;
    bool end = store_scrub(g->writes->store, &at, 1, &found, 1, &count);
    if (count == 0 || found.states) {
        return !end && at.group == g->id ? at.index : 0;
    }
    bool more = at.group == g->id && at.index > index;
    note_missing(r, index, more ? at.index : 0);
    return more ? at.index : 0;
}

static bool take_records(struct recovery *r)
{
    struct raft_entry entries[AHEAD_ENTRIES];
    bool ok = true;
    raft_index index = 0;
    do {
        uint32_t count = store_get_entries(r->group->writes->store, r->group->id, index, entries,
                                           AHEAD_ENTRIES, AHEAD_BYTES);
        for (uint32_t i = 0; i < count; i++) {
            ok = ok && take_record(r, &entries[i]);
            index = entries[i].index + 1;
            blob_release(entries[i].data);
        }
        index = count > 0 ? index : skip_damage(r, index);
    } while (ok && index > 0);
    return ok;
}

static void forget_log(struct loaded *l)
{
    for (uint32_t i = 0; i < l->config.entry_count; i++) {
        blob_release(l->entries[i].data);
    }
    l->config.entry_count = 0;
    if (l->state == NULL) {
        free(l->runs);
        l->runs = NULL;
        l->config.run_count = 0;
        l->config.applied = 0;
    }
}

/* From here on no entry has been dropped. */
static raft_index log_from(struct group *g, const struct loaded *l)
{
    struct raft_entry first;
    bool kept;
    if (l->state != NULL) {
        return l->config.first;
    }
    if (store_get_entry(g->writes->store, g->id, 1, &first, &kept) != OK) {
        return UINT64_MAX;
    }
    blob_release(first.data);
    return 1;
}

enum err group_recover(struct group *g, struct loaded *l)
{
    const struct recovery_ops *ops = g->ops->recovery;
    if (ops == NULL) {
        return ERR_CORRUPT;
    }
    forget_log(l);
    struct recovery r = {.group = g, .loaded = l, .known = l->config.applied};
    r.run_cap = l->config.run_count;
    ops->begin(g->owner, l->state, r.known, log_from(g, l), read_record, g);
    bool ok = l->state == NULL || store_each_row(g->writes->store, g->id, take_row, g) != ERR_IO;
    ok = ok && take_records(&r);
    ops->end(g->owner);
    if (r.refused > 0) {
        log_error("JetStream group %llu: %u entries of its log made no sense any more and were "
                  "left out",
                  (unsigned long long)g->id, r.refused);
    }
    l->config.runs = l->runs;
    l->config.applied = log_end(&r);
    l->config.first = l->config.applied + 1;
    l->recovered = true;
    return r.unknown ? ERR_UNKNOWN : ok ? OK : ERR_CORRUPT;
}
