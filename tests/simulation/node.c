/* A node: what the server does around Raft hosts and streams, done with the disk and network of
 * here. */
#include "simulation/simulator.h"

#include "core/base/json.h"

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
    disk_write(n, w);
}

unsigned node_number(raft_node id)
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
    return disk_read(&r->disk, index, e);
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

static struct row_write *add_row(struct pending_write *w)
{
    VEC_RESERVE(w->rows, w->row_cap, w->row_count);
    return &w->rows[w->row_count++];
}

static void put_row(void *arg, uint64_t row, struct bytes value)
{
    *add_row(arg) = (struct row_write){row, row + 1, blob_copy(value)};
}

static void remove_rows(void *arg, uint64_t from, uint64_t to)
{
    *add_row(arg) = (struct row_write){from, to, NULL};
}

struct rewriting {
    struct pending_write *write;
    const struct raft *raft;
};

static void rewrite_record(void *arg, uint64_t index, struct blob *data)
{
    struct rewriting *rw = arg;
    struct pending_write *w = rw->write;
    VEC_RESERVE(w->rewritten, w->rewritten_cap, w->rewritten_count);
    w->rewritten[w->rewritten_count++] =
        (struct raft_entry){index, raft_term_at(rw->raft, index), RAFT_ENTRY_DATA,
                            data == NULL ? NULL : blob_retain(data)};
    sim->rewrites += data != NULL;
}

static void remove_record(void *arg, uint64_t index)
{
    rewrite_record(arg, index, NULL);
}

static void checkpoint(struct replica *r)
{
    struct pending_write *w = NEW(struct pending_write);
    const struct raft *raft = raft_group_raft(r->group);
    w->kind = WRITE_CHECKPOINT;
    w->group = r->number;
    w->index = raft_applied(raft);
    const struct row_writer rows = {put_row, remove_rows, w};
    struct buffer head = {0};
    stream_checkpoint(r->stream, &head, &rows);
    w->state = blob_copy(buffer_bytes(&head));
    buffer_deinit(&head);
    w->runs = copy_runs(raft, w->index, &w->run_count);
    w->members = *raft_members_at(raft, w->index);
    w->first = r->previous_checkpoint + 1;
    struct rewriting rewriting = {w, raft};
    const struct record_writer records = {rewrite_record, remove_record, &rewriting};
    stream_rewrite(r->stream, r->disk.first, w->first, &records);
    uint32_t cap = 0;
    for (uint64_t i = stream_next_kept_index(r->stream, 0); i < w->first;
         i = stream_next_kept_index(r->stream, i + 1)) {
        VEC_RESERVE(w->kept_below, cap, w->kept_count);
        w->kept_below[w->kept_count++] = i;
    }
    r->previous_checkpoint = r->checkpointed;
    r->checkpointed = w->index;
    r->since_checkpoint = 0;
    disk_write(r->node, w);
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

/* One that had gone bad here, and was fetched from a replica that had rewritten it: applying it
 * either needs no more than is left, or stalls. */
static bool is_rewritten(const struct raft_entry *e)
{
    return e->kind == RAFT_ENTRY_DATA && blob_bytes(e->data).ptr[0] == ENTRY_REMAINS;
}

/* `denied`, `consumers`: before. */
static void check_applied(const struct replica *r, const struct raft_entry *e,
                          const struct apply_result *result, bool denied, uint32_t consumers)
{
    const struct stream_config *c = &r->stream->config;
    bool more = r->stream->consumers.count > consumers;
    if (result->warning != NULL && blob_bytes(e->data).ptr[0] == ENTRY_MESSAGES) {
        fail("messages were ignored: the leader's view was not right");
    }
    if (more && c->max_consumers > 0 && r->stream->consumers.count > (uint64_t)c->max_consumers) {
        fail("there are more consumers than allowed");
    }
    if (denied && !c->deny_delete) {
        fail("deny_delete was undone");
    }
}

static bool on_apply(void *arg, const struct raft_entry *e)
{
    struct replica *r = arg;
    uint64_t content[2] = {e->term, e->data == NULL ? 1 : hash_bytes(blob_bytes(e->data))};
    uint64_t h = hash_bytes(bytes_make(content, sizeof content)) | 1;
    uint64_t known =
        is_rewritten(e) ? h : (uint64_t)(uintptr_t)map_get_u64(&sim->applied[r->number], e->index);
    if (known == 0) {
        (void)map_put_u64(&sim->applied[r->number], e->index, (void *)(uintptr_t)h);
    } else if (known != h) {
        fail("two replicas applied different entries at one index");
    }
    note("apply", r->node->number, e->index, h);
    if (e->kind == RAFT_ENTRY_DATA) {
        struct apply_result result;
        bool denied = r->stream->config.deny_delete;
        uint32_t consumers = r->stream->consumers.count;
        enum err err = stream_apply(r->stream, e->index, blob_bytes(e->data), &result, NULL, NULL);
        if (err == ERR_IO) {
            note("stall", r->node->number, e->index, 0);
            return false;
        }
        if (err != OK) {
            fail("an entry could not be applied");
        }
        check_applied(r, e, &result, denied, consumers);
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
    return true;
}

#define MAX_AGE_NS INT64_C(700000000)

static struct stream_config stream_config(void)
{
    json_t *o = json_object();
    struct stream_config config;
    struct js_error error;
    json_put_text(o, "name", "S");
    json_put_int(o, "max_msgs", sim->plan.max_msgs);
    if (sim->plan.clocks) {
        json_put_int(o, "max_age", MAX_AGE_NS);
    }
    json_put_int(o, "num_replicas", 3);
    CHECK(stream_config_parse(o, true, &config, &error));
    json_decref(o);
    return config;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, (*(struct map_entry *const *)a)->key.ptr, sizeof x);
    memcpy(&y, (*(struct map_entry *const *)b)->key.ptr, sizeof y);
    return x < y ? -1 : x > y;
}

static enum err decode_rows(struct stream *s, const struct map *rows)
{
    struct map_entry **sorted = map_sorted(rows);
    enum err err = OK;
    qsort(sorted, rows->count, sizeof *sorted, ascending);
    for (uint32_t i = 0; i < rows->count && err == OK; i++) {
        uint64_t row;
        memcpy(&row, sorted[i]->key.ptr, sizeof row);
        err = stream_decode_row(s, row, blob_bytes(sorted[i]->value));
    }
    free(sorted);
    return err;
}

/* A stream with the state of `encoded`, and the rows that the disk has; NULL: with that of the
 * beginning. */
static void reset_stream(struct replica *r, struct blob *encoded, const struct map *rows)
{
    struct stream_config config = stream_config();
    if (r->stream != NULL) {
        publisher_deinit(&r->publisher);
        stream_free(r->stream);
    }
    r->stream = stream_new(&config, START_NS, stream_read_entry, r);
    r->stream->rewrite_least = 0;
    if (encoded != NULL && (stream_decode(r->stream, blob_bytes(encoded)) != OK ||
                            (rows != NULL && decode_rows(r->stream, rows) != OK) ||
                            stream_decode_end(r->stream) != OK)) {
        fail("a state does not decode");
    }
    publisher_init(&r->publisher, r->stream);
}

static void on_install(void *arg, const struct raft_install *install)
{
    struct replica *r = arg;
    const struct raft *raft = raft_group_raft(r->group);
    reset_stream(r, install->state, NULL);
    struct pending_write *w = NEW(struct pending_write);
    remove_rows(w, 0, UINT64_MAX);
    w->kind = WRITE_INSTALL;
    w->group = r->number;
    w->seq = install->seq;
    w->log_stays = install->log_stays;
    w->index = install->index;
    w->state = blob_retain(install->state);
    w->runs = copy_runs(raft, install->index, &w->run_count);
    w->members = *raft_members_at(raft, install->index);
    r->previous_checkpoint = install->log_stays ? r->checkpointed : install->index;
    r->checkpointed = install->index;
    sim->states_taken += install->log_stays;
    disk_write(r->node, w);
    note("install", r->node->number, install->index, install->log_stays);
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

static void start_replica(struct node *n, unsigned g)
{
    struct replica *r = &n->replicas[g];
    struct disk_group *d = &r->disk;
    r->node = n;
    r->number = g;
    uint32_t count;
    struct raft_entry *entries = disk_log(d, &count);
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
    c.entries = entries;
    c.entry_count = count;
    r->group = raft_host_add(n->host, &c, &group_ops, r);
    for (uint32_t i = 0; i < count; i++) {
        blob_release(entries[i].data);
    }
    free(entries);
    reset_stream(r, d->state, &d->rows);
    r->leading = false;
    r->checkpointed = d->state_index;
    r->previous_checkpoint = d->first == 0 ? 0 : d->first - 1;
    r->since_checkpoint = 0;
}

int64_t wall_clock(const struct node *n)
{
    return START_NS + (int64_t)sim->now_us * 1000 + n->set_ns;
}

void tell_time(struct node *n)
{
    if (sim->plan.lease_ns > 0) {
        raft_host_set_time(n->host, (int64_t)((sim->now_us + 1) * n->clock_rate));
    }
}

void start_node(struct node *n)
{
    n->alive = true;
    n->paused = false;
    n->life++;
    n->syncing = n->processing_due = n->sync_fails = n->failed = false;
    n->writes = NULL;
    n->writes_end = &n->writes;
    n->host = raft_host_new(&host_io, n);
    raft_host_set_lease(n->host, sim->plan.lease_ns);
    tell_time(n);
    if (sim->plan.throttled && !sim->calm) {
        raft_host_set_snapshot_rate(n->host, 200);
    }
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

static void stop_replica(struct replica *r)
{
    raft_host_remove(r->node->host, r->group);
    publisher_deinit(&r->publisher);
    stream_free(r->stream);
    r->stream = NULL;
    forget_waiting(r);
    map_clear(&r->reads);
}

void stop_node(struct node *n, bool lose_unsynced)
{
    n->alive = false;
    disk_stop(n, lose_unsynced);
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        stop_replica(&n->replicas[g]);
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

raft_index next_damage(const struct replica *r, raft_index index)
{
    raft_index i = disk_next_rotten(&r->disk, index);
    while (i != UINT64_MAX && stream_next_kept_index(r->stream, i) != i) {
        i = disk_next_rotten(&r->disk, i + 1);
    }
    return i <= raft_commit(raft_group_raft(r->group)) ? i : UINT64_MAX;
}

void scrub_node(struct node *n)
{
    for (unsigned g = 0; g < sim->plan.groups; g++) {
        struct replica *r = &n->replicas[g];
        for (raft_index i = next_damage(r, 0); i != UINT64_MAX; i = next_damage(r, i + 1)) {
            raft_group_fetch(r->group, i);
        }
    }
    process_soon(n);
}
