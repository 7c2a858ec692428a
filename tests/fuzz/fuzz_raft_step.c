/* A Raft group in its host, among members, learners and strangers who say anything at all, over a
 * disk that answers late. Whatever comes, no invariant of the code may break; and after a restart
 * from what the disk has the group goes on.
 *
 * The input is a list of steps: a byte says which kind, the bytes behind it how. */
#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "raft/host.h"
#include "raft/wire.h"

#define GROUP      7
#define SELF       1
#define NODES      6 /* 1 to 3 vote at first, 4 learns, others are strangers */
#define DISK_MAX   4096
#define SENT_MAX   64
#define STEPS_MAX  2000
#define LAST_INDEX (DISK_MAX - 1)

/* Requests in the order taken; those of one turn reach the disk together. */
struct request {
    uint64_t seq;
    unsigned turn;
    bool has_hard_state, kept_records, is_install, log_stays;
    raft_term term;
    raft_node vote;
    bool unproven;
    raft_index proven_since, truncate_from, installed;
    struct raft_entry *entries;
    uint32_t entry_count;
    struct blob *state;
    struct raft_run *runs;
    uint32_t run_count;
    struct raft_members members;
};

static struct {
    struct raft_host *host;
    struct raft_group *group;
    raft_index applied;
    int64_t now;
    unsigned turn;
    unsigned refused;
    struct request *queue;
    uint32_t queue_count, queue_cap, queue_done;
    /* On disk. */
    struct raft_entry log[DISK_MAX];
    bool kept[DISK_MAX];
    raft_term term;
    raft_node vote;
    bool unproven;
    raft_index proven_since, checkpoint;
    struct raft_run *runs;
    uint32_t run_count;
    struct raft_members members;
} w;

struct input {
    const uint8_t *at, *end;
};

static uint8_t byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* `likely`, near it, small, or anything. */
static uint64_t number(struct input *in, uint64_t likely)
{
    uint8_t b = byte(in);
    if (b < 160) {
        return likely;
    }
    if (b < 208) {
        return likely + b - 184;
    }
    if (b < 224) {
        return b - 208;
    }
    uint64_t any = 0;
    for (int i = 0; i < (b & 7) + 1; i++) {
        any = any << 8 | byte(in);
    }
    return any;
}

/* --- the disk --- */

static struct raft *raft(void)
{
    return raft_group_raft(w.group);
}

static void forget_entry(raft_index i)
{
    blob_release(w.log[i].data);
    w.log[i] = (struct raft_entry){0};
    w.kept[i] = false;
}

static void write_entry(const struct raft_entry *e, bool kept)
{
    if (e->index > LAST_INDEX) {
        return; /* a disk that is not that large forgets */
    }
    forget_entry(e->index);
    w.log[e->index] = *e;
    w.kept[e->index] = kept;
    (void)(e->data == NULL ? NULL : blob_retain(e->data));
}

static void request_deinit(struct request *q)
{
    for (uint32_t i = 0; i < q->entry_count; i++) {
        blob_release(q->entries[i].data);
    }
    free(q->entries);
    free(q->runs);
    blob_release(q->state);
}

static struct raft_run *copy_runs(raft_index until, uint32_t *count)
{
    const struct raft_run *runs = raft_runs(raft(), count);
    while (*count > 0 && runs[*count - 1].first > until) {
        --*count;
    }
    struct raft_run *copy = mem_alloc((*count + 1) * sizeof *copy);
    if (*count > 0) {
        memcpy(copy, runs, *count * sizeof *copy);
    }
    return copy;
}

static struct request *enqueue(void)
{
    VEC_RESERVE(w.queue, w.queue_cap, w.queue_count);
    w.queue[w.queue_count] = (struct request){.turn = w.turn};
    return &w.queue[w.queue_count++];
}

static void on_persist(void *arg, struct raft_group *group, const struct raft_persist *p)
{
    (void)arg;
    (void)group;
    struct request *q = enqueue();
    *q = (struct request){.seq = p->seq,
                          .turn = w.turn,
                          .has_hard_state = p->has_hard_state,
                          .kept_records = p->kept_records,
                          .term = p->term,
                          .vote = p->vote,
                          .unproven = p->unproven,
                          .proven_since = p->proven_since,
                          .truncate_from = p->truncate_from,
                          .entry_count = p->entry_count};
    q->entries = mem_alloc((p->entry_count + 1) * sizeof *q->entries);
    for (uint32_t i = 0; i < p->entry_count; i++) {
        q->entries[i] = p->entries[i];
        (void)(p->entries[i].data == NULL ? NULL : blob_retain(p->entries[i].data));
    }
}

static void cut(raft_index from)
{
    for (raft_index i = from; i <= LAST_INDEX; i++) {
        forget_entry(i);
    }
}

static void write_request(struct request *q)
{
    if (q->has_hard_state) {
        w.term = q->term;
        w.vote = q->vote;
        w.unproven = q->unproven;
        w.proven_since = q->proven_since;
    }
    if (q->truncate_from != 0) {
        cut(q->truncate_from);
    }
    for (uint32_t i = 0; i < q->entry_count; i++) {
        write_entry(&q->entries[i], q->kept_records);
    }
    if (q->is_install) {
        w.checkpoint = q->installed;
        if (!q->log_stays) {
            cut(q->installed + 1);
        }
        free(w.runs);
        w.runs = q->runs;
        w.run_count = q->run_count;
        q->runs = NULL;
        w.members = q->members;
    }
}

/* The requests of the next `turns` turns are done. */
static void complete(unsigned turns)
{
    uint64_t seq = 0;
    for (unsigned last = w.turn + 1; w.queue_done < w.queue_count;) {
        struct request *q = &w.queue[w.queue_done];
        if (q->turn != last && turns-- == 0) {
            break;
        }
        last = q->turn;
        write_request(q);
        seq = q->seq;
        request_deinit(q);
        w.queue_done++;
    }
    if (seq != 0) {
        raft_group_persisted(w.group, seq);
    }
}

static void on_send(void *arg, raft_node to, struct bytes frame)
{
    (void)arg;
    CHECK(to != SELF);
    struct reader r = reader_make(frame);
    while (r.at < r.end) { /* what we say must be what others take */
        struct raft_message m;
        CHECK(raft_wire_decode(reader_bytes(&r), &m) == OK ||
              raft_term_now(raft()) >= RAFT_NUMBER_MAX / 2 ||
              raft_last(raft()) >= RAFT_NUMBER_MAX / 2);
        raft_message_deinit(&m);
    }
}

static enum err on_read(void *arg, raft_index index, struct raft_entry *e)
{
    (void)arg;
    if (index > LAST_INDEX || w.log[index].index == 0) {
        return ERR_NOT_FOUND;
    }
    *e = w.log[index];
    (void)(e->data == NULL ? NULL : blob_retain(e->data));
    return OK;
}

static enum err on_read_kept(void *arg, raft_index index, raft_index limit, struct raft_entry *e)
{
    for (; index <= limit && index <= LAST_INDEX; index++) {
        if (on_read(arg, index, e) == OK) {
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

static enum err on_state(void *arg, raft_index *index, struct blob **state)
{
    (void)arg;
    *index = w.applied;
    *state = blob_copy(BYTES_LIT("the state"));
    return OK;
}

static bool on_apply(void *arg, const struct raft_entry *e)
{
    (void)arg;
    w.applied = e->index;
    return e->data == NULL || e->data->len == 0 || e->data->data[0] != '!'; /* it cannot */
}

static void on_install(void *arg, const struct raft_install *install)
{
    (void)arg;
    w.applied = install->index;
    struct request *q = enqueue();
    q->seq = install->seq;
    q->is_install = true;
    q->log_stays = install->log_stays;
    q->installed = install->index;
    q->runs = copy_runs(install->index, &q->run_count);
    q->members = *raft_members_at(raft(), install->index);
}

static void on_leader(void *arg, bool leader)
{
    (void)arg;
    (void)leader;
}

static void on_read_answered(void *arg, uint64_t id, bool allowed)
{
    (void)arg;
    (void)id;
    (void)allowed;
}

static const struct raft_host_io io = {on_persist, on_send};
static const struct raft_group_ops ops = {
    {on_read, on_read_kept, on_state}, on_apply, on_install, on_leader, on_read_answered};

/* --- life --- */

static void open_group(void)
{
    struct raft_config config = {.group = GROUP,
                                 .self = SELF,
                                 .members = w.members,
                                 .seed = 1,
                                 .term = w.term,
                                 .vote = w.vote,
                                 .unproven = w.unproven,
                                 .proven_since = w.proven_since,
                                 .applied = w.checkpoint,
                                 .first = w.checkpoint + 1,
                                 .runs = w.runs,
                                 .run_count = w.run_count};
    for (raft_index i = w.checkpoint + 1; i <= LAST_INDEX && w.log[i].index != 0 && !w.kept[i];
         i++) {
        config.entry_count++;
    }
    config.entries = w.checkpoint < LAST_INDEX ? &w.log[w.checkpoint + 1] : NULL;
    w.applied = w.checkpoint;
    w.group = raft_host_add(w.host, &config, &ops, NULL);
}

/* What is not on disk yet is lost. */
static void restart(void)
{
    raft_host_remove(w.host, w.group);
    while (w.queue_done < w.queue_count) {
        request_deinit(&w.queue[w.queue_done++]);
    }
    w.queue_count = w.queue_done = 0;
    open_group();
}

static void checkpoint(void)
{
    const struct raft *r = raft();
    if (raft_is_installing(r) || raft_is_stalled(r) || w.applied != raft_applied(r)) {
        return;
    }
    complete(UINT32_MAX); /* it stands on all that was persisted before */
    free(w.runs);
    w.runs = copy_runs(w.applied, &w.run_count);
    w.members = *raft_members_at(r, w.applied);
    w.checkpoint = w.applied;
}

/* --- steps --- */

static void deliver(struct input *in, struct bytes message)
{
    uint8_t who = byte(in);
    const struct raft_sender from = {1 + (who + 1u) % NODES, (who & 128) != 0};
    w.refused += raft_host_receive(w.host, from, SELF, message) ? 0 : 1;
}

static void deliver_any(struct input *in)
{
    size_t len = byte(in);
    size_t left = (size_t)(in->end - in->at);
    len = len < left ? len : left;
    struct bytes message = bytes_make((const char *)in->at, len);
    in->at += len;
    deliver(in, message);
}

static struct blob *any_data(struct input *in, uint8_t kind)
{
    if (kind == RAFT_ENTRY_NOOP) {
        return NULL;
    }
    if (kind == RAFT_ENTRY_DATA) {
        char c = (char)byte(in);
        return blob_copy(bytes_make(&c, 1));
    }
    struct buffer b = {0};
    struct raft_members m = {.count = 1 + byte(in) % 4};
    for (unsigned i = 0; i < m.count; i++) {
        m.list[i] = (struct raft_member){1 + i + byte(in) % 2, byte(in) % 4 == 0};
    }
    raft_members_encode(&m, &b);
    struct blob *data = blob_copy(buffer_bytes(&b));
    buffer_deinit(&b);
    return data;
}

static void fill_entries(struct input *in, struct raft_message *m)
{
    m->entry_count = byte(in) % 5;
    m->entries = mem_zalloc((m->entry_count + 1) * sizeof *m->entries);
    raft_index index = m->type == RAFT_APPEND ? m->index : number(in, raft_commit(raft()));
    raft_term term = m->type == RAFT_APPEND ? m->index_term : 1;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        uint8_t how = byte(in);
        index += m->type == RAFT_APPEND ? 1 : 1 + how % 3;
        term += how >> 6;
        uint8_t kind = how % 16 < 12 ? RAFT_ENTRY_DATA : how % 16 - 12 > 2 ? 0 : how % 16 - 12;
        m->entries[i] = (struct raft_entry){index, term, kind, any_data(in, kind)};
    }
}

static void fill_state(struct input *in, struct raft_message *m)
{
    m->state = blob_copy(BYTES_LIT("another"));
    if (m->last) {
        m->runs = mem_zalloc(2 * sizeof *m->runs);
        m->run_count = m->index == 0 ? 0 : 1;
        m->runs[0] = (struct raft_run){1, m->index_term};
        m->members = w.members;
        m->members.index = number(in, m->index);
    }
}

/* What members might say, but at the wrong time. */
static void deliver_likely(struct input *in)
{
    struct raft *r = raft();
    struct raft_message m = {.type = 1 + byte(in) % (RAFT_MESSAGE_TYPES - 1), .group = GROUP};
    uint8_t flags = byte(in);
    m.term = number(in, raft_term_now(r));
    m.index = number(in, raft_last(r));
    m.index_term = (flags & 64) != 0 ? number(in, raft_term_now(r)) : raft_term_at(r, m.index);
    m.commit = number(in, raft_commit(r));
    m.reject = flags & 1;
    m.forced = flags & 2;
    m.first = flags & 4;
    m.last = flags & 8;
    m.unproven = flags & 16;
    m.life = m.unproven ? 1 + byte(in) % 2 : 0;
    m.round = (flags & 32) != 0 ? number(in, 1) : 0;
    if (m.type == RAFT_SNAPSHOT && (m.last || (flags & 128) != 0)) {
        fill_state(in, &m);
    } else if (m.type == RAFT_APPEND || m.type == RAFT_SNAPSHOT || m.type == RAFT_FETCHED) {
        fill_entries(in, &m);
    }
    struct buffer b = {0};
    raft_wire_encode(&b, &m);
    deliver(in, buffer_bytes(&b));
    buffer_deinit(&b);
    raft_message_deinit(&m);
}

static void turn(void)
{
    raft_host_process(w.host);
    w.turn++;
}

/* As members do: one message of node 2. */
static void say(const struct raft_message *m)
{
    const struct raft_sender from = {2, false};
    struct buffer b = {0};
    raft_wire_encode(&b, m);
    w.refused += raft_host_receive(w.host, from, SELF, buffer_bytes(&b)) ? 0 : 1;
    buffer_deinit(&b);
    turn();
}

static void elect_us(void)
{
    for (int i = 0; i < 2 * RAFT_ELECTION_TICKS && !raft_is_leader(raft()); i++) {
        w.now += RAFT_LEASE_MAX_NS;
        raft_host_set_time(w.host, w.now);
        raft_host_tick(w.host);
        turn();
    }
    say(&(struct raft_message){
        .type = RAFT_PREVOTE_REPLY, .group = GROUP, .term = raft_term_now(raft()) + 1});
    complete(UINT32_MAX);
    turn();
    say(&(struct raft_message){
        .type = RAFT_VOTE_REPLY, .group = GROUP, .term = raft_term_now(raft())});
    complete(UINT32_MAX);
    turn();
}

static void acknowledge(void)
{
    say(&(struct raft_message){.type = RAFT_APPEND_REPLY,
                               .group = GROUP,
                               .term = raft_term_now(raft()),
                               .index = raft_last(raft())});
}

/* Node 2 leads, and has committed what it sends. */
static void follow(void)
{
    struct raft *r = raft();
    raft_term term = raft_term_now(r) + (raft_leader(r) != 2);
    raft_index last = raft_last(r);
    struct raft_entry entries[2];
    for (unsigned i = 0; i < 2; i++) {
        entries[i] =
            (struct raft_entry){last + 1 + i, term, RAFT_ENTRY_DATA, blob_copy(BYTES_LIT("x"))};
    }
    say(&(struct raft_message){.type = RAFT_APPEND,
                               .group = GROUP,
                               .term = term,
                               .index = last,
                               .index_term = raft_term_at(r, last),
                               .commit = last + 2,
                               .entries = entries,
                               .entry_count = 2});
    blob_release(entries[0].data);
    blob_release(entries[1].data);
}

static void change_members(struct input *in)
{
    struct raft_members m = *raft_members(raft());
    unsigned at = raft_members_find(&m, 1 + byte(in) % NODES);
    raft_index index;
    if (at < m.count) {
        m.list[at].learner = !m.list[at].learner;
    } else if (m.count < RAFT_MEMBERS_MAX) {
        m.list[m.count++] = (struct raft_member){1 + byte(in) % NODES, true};
    }
    (void)raft_group_change_members(w.group, &m, &index);
}

static void propose(struct input *in)
{
    raft_index index;
    struct blob *data = any_data(in, RAFT_ENTRY_DATA);
    if (raft_group_propose(w.group, data, &index) != OK) {
        blob_release(data);
    }
}

static void step(struct input *in)
{
    uint64_t id;
    switch (byte(in) % 20) {
    case 12:
        elect_us();
        break;
    case 13:
        acknowledge();
        break;
    case 14:
        follow();
        break;
    case 0:
        deliver_any(in);
        break;
    case 1:
        raft_host_tick(w.host);
        break;
    case 2:
        propose(in);
        break;
    case 3:
    case 4:
        complete(1 + byte(in) % 4);
        break;
    case 5:
        raft_host_peer(w.host, 1 + byte(in) % NODES, byte(in) % 2 == 0);
        break;
    case 6:
        change_members(in);
        break;
    case 7:
        w.refused += raft_group_read(w.group, &id) != OK ? 1 : 0;
        break;
    case 8:
        if (raft_commit(raft()) > 0) {
            raft_group_fetch(w.group, 1 + number(in, 0) % raft_commit(raft()));
        }
        break;
    case 9:
        raft_group_yield(w.group);
        break;
    case 10:
        checkpoint();
        if (byte(in) % 2 == 0) {
            raft_compacted(raft(), w.checkpoint);
        }
        break;
    case 11:
        if (byte(in) % 4 == 0) {
            restart();
        }
        break;
    default:
        deliver_likely(in);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    w.host = raft_host_new(&io, NULL);
    w.members =
        (struct raft_members){.count = 4, .list = {{1, false}, {2, false}, {3, false}, {4, true}}};
    if (byte(&in) % 2 == 0) {
        raft_host_set_lease(w.host, RAFT_LEASE_MAX_NS);
    }
    open_group();
    for (unsigned n = 0; n < STEPS_MAX && in.at < in.end; n++) {
        uint8_t more = byte(&in);
        raft_host_set_time(w.host, w.now += more % 4 * INT64_C(20000000));
        step(&in);
        if (more % 8 != 7) {
            turn();
        }
    }
    raft_host_process(w.host);
    complete(byte(&in));
    restart();
    raft_host_process(w.host);
    raft_host_remove(w.host, w.group);
    raft_host_free(w.host);
    while (w.queue_done < w.queue_count) {
        request_deinit(&w.queue[w.queue_done++]);
    }
    free(w.queue);
    free(w.runs);
    cut(0);
    memset(&w, 0, sizeof w);
    return 0;
}
