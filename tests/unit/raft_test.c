/* The Raft core by hand: three replicas whose disks and messages a test holds in its fingers. What
 * chance finds is the simulator's business; here are the cases that it meets too seldom. */
#include <criterion/criterion.h>

#include "core/base/mem.h"
#include "raft/raft.h"

#define NODES    3
#define LOG_MAX  64
#define MESSAGES 4096

struct replica {
    struct raft *raft;
    struct raft_entry disk[LOG_MAX]; /* by index */
    raft_index last;
    raft_term term;
    raft_node vote;
    bool unproven;
    raft_index unreadable; /* 0: none */
    uint64_t repaired;
    uint64_t applied, installed;
};

static struct replica replicas[NODES];
static int64_t now_ns; /* every replica's clock */
static int64_t lease_ns;
static struct raft_message mail[MESSAGES];
static unsigned mail_count;

static enum err read_entry(void *arg, raft_index index, struct raft_entry *e)
{
    struct replica *r = arg;
    if (index == r->unreadable || index > r->last) {
        return ERR_CORRUPT;
    }
    *e = r->disk[index];
    if (e->data != NULL) {
        (void)blob_retain(e->data);
    }
    return OK;
}

static enum err read_kept(void *arg, raft_index index, raft_index limit, struct raft_entry *e)
{
    return index > limit ? ERR_NOT_FOUND : read_entry(arg, index, e);
}

static enum err state(void *arg, raft_index *index, struct blob **out)
{
    struct replica *r = arg;
    *index = raft_applied(r->raft);
    *out = blob_copy(BYTES_LIT("state"));
    return OK;
}

static const struct raft_storage_ops storage = {read_entry, read_kept, state};

static void start(unsigned n, uint64_t seed)
{
    struct replica *r = &replicas[n];
    struct raft_config c = {.group = 1,
                            .self = n + 1,
                            .members.count = NODES,
                            .seed = seed,
                            .storage = &storage,
                            .arg = r,
                            .term = r->term,
                            .vote = r->vote,
                            .unproven = r->unproven,
                            .entries = r->disk + 1,
                            .entry_count = (uint32_t)r->last,
                            .lease_ns = lease_ns,
                            .clock = &now_ns};
    for (unsigned i = 0; i < NODES; i++) {
        c.members.list[i].node = i + 1;
    }
    r->raft = raft_new(&c);
    for (unsigned i = 0; i < NODES; i++) {
        raft_peer_up(r->raft, i + 1, true);
    }
}

static void put(struct replica *r, const struct raft_entry *e)
{
    cr_assert(e->index < LOG_MAX);
    blob_release(r->disk[e->index].data);
    r->disk[e->index] = *e;
    (void)(e->data == NULL ? NULL : blob_retain(e->data));
    if (e->index == r->unreadable) {
        r->unreadable = 0;
        r->repaired = e->index;
    }
    r->last = e->index > r->last ? e->index : r->last;
}

/* What a replica wants done: written at once, sent into `mail`, applied. */
static void settle(struct replica *r)
{
    struct raft_persist p;
    struct raft_message m;
    struct raft_install install;
    bool more = true;
    while (more) {
        more = false;
        while (raft_take_persist(r->raft, &p)) {
            more = true;
            if (p.has_hard_state) {
                r->term = p.term;
                r->vote = p.vote;
                r->unproven = p.unproven;
            }
            r->last = p.truncate_from > 0 ? p.truncate_from - 1 : r->last;
            for (uint32_t i = 0; i < p.entry_count; i++) {
                put(r, &p.entries[i]);
            }
            raft_persisted(r->raft, p.seq);
        }
        if (raft_take_install(r->raft, &install)) {
            r->installed = install.index;
            cr_expect(install.log_stays);
            blob_release(install.state);
            raft_persisted(r->raft, install.seq);
        }
        for (const struct raft_entry *e; (e = raft_next_committed(r->raft)) != NULL;) {
            r->applied = e->index;
        }
        while (raft_next_message(r->raft, &m)) {
            more = true;
            cr_assert(mail_count < MESSAGES);
            mail[mail_count++] = m;
        }
    }
}

/* Delivers everything, but nothing to or from `without` (0: nobody). */
static void deliver(raft_node without)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (replicas[i].raft != NULL) {
            settle(&replicas[i]);
        }
    }
    for (unsigned at = 0; at < mail_count; at++) {
        struct raft_message *m = &mail[at];
        struct replica *to = &replicas[m->to - 1];
        if (m->to != without && m->from != without && to->raft != NULL) {
            cr_assert(raft_step(to->raft, m));
            settle(to);
        }
        raft_message_deinit(m);
    }
    mail_count = 0;
}

static void tick_all(unsigned times, raft_node without)
{
    while (times-- > 0) {
        for (unsigned i = 0; i < NODES; i++) {
            if (replicas[i].raft != NULL) {
                raft_tick(replicas[i].raft);
            }
        }
        deliver(without);
    }
}

static struct replica *leader(void)
{
    struct replica *found = NULL;
    for (unsigned i = 0; i < NODES; i++) {
        if (replicas[i].raft != NULL && raft_is_leader(replicas[i].raft)) {
            found = &replicas[i];
        }
    }
    return found;
}

static struct replica *other_than(const struct replica *r)
{
    return r == &replicas[0] ? &replicas[1] : &replicas[0];
}

static void propose(const char *text)
{
    raft_index index;
    struct blob *data = blob_copy(bytes_of(text));
    cr_assert(raft_propose(leader()->raft, data, &index) == OK);
    deliver(0);
}

static void stop(struct replica *r)
{
    raft_free(r->raft);
    r->raft = NULL;
}

static void begin(bool unproven)
{
    memset(replicas, 0, sizeof replicas);
    for (unsigned i = 0; i < NODES; i++) {
        replicas[i].unproven = unproven;
        start(i, i + 1);
    }
    for (unsigned i = 0; i < 40 && leader() == NULL; i++) {
        tick_all(1, 0);
    }
    cr_assert(leader() != NULL);
}

static void end(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (replicas[i].raft != NULL) {
            stop(&replicas[i]);
        }
        for (unsigned k = 0; k < LOG_MAX; k++) {
            blob_release(replicas[i].disk[k].data);
        }
    }
    memset(replicas, 0, sizeof replicas);
}

Test(raft, all_in_doubt_agree_and_are_proven)
{
    begin(true);
    tick_all(20, 0);
    propose("x");
    tick_all(20, 0);
    for (unsigned i = 0; i < NODES; i++) {
        cr_expect(!raft_is_unproven(replicas[i].raft));
        cr_expect(replicas[i].applied == replicas[0].last);
    }
    end();
}

/* The votes of all made it leader, but those who gave them have begun another life before it could
 * prove them: nothing can be committed, so nobody can be proven, until there is another election.
 */
Test(raft, winner_whose_voters_forgot_steps_down)
{
    memset(replicas, 0, sizeof replicas);
    for (unsigned i = 0; i < NODES; i++) {
        replicas[i].unproven = true;
        start(i, i + 1);
    }
    for (unsigned i = 0; i < 40 && leader() == NULL; i++) {
        for (unsigned k = 0; k < NODES; k++) {
            raft_tick(replicas[k].raft);
        }
        for (unsigned round = 0; round < 6 && leader() == NULL; round++) { /* a step at a time */
            unsigned count = 0;
            static struct raft_message under_way[MESSAGES];
            for (unsigned k = 0; k < NODES; k++) {
                settle(&replicas[k]);
            }
            memcpy(under_way, mail, mail_count * sizeof *mail);
            count = mail_count;
            mail_count = 0;
            for (unsigned k = 0; k < count; k++) {
                if (leader() == NULL) {
                    cr_assert(raft_step(replicas[under_way[k].to - 1].raft, &under_way[k]));
                }
                raft_message_deinit(&under_way[k]);
            }
        }
    }
    struct replica *winner = leader();
    cr_assert(winner != NULL);
    for (unsigned i = 0; i < NODES; i++) {
        if (&replicas[i] != winner) {
            settle(&replicas[i]);
            stop(&replicas[i]);
            replicas[i].unproven = true;
            start(i, 100 + i);
        }
    }
    tick_all(100, 0);
    for (unsigned i = 0; i < NODES; i++) {
        cr_expect(!raft_is_unproven(replicas[i].raft), "%u", i);
    }
    end();
}

Test(raft, record_gone_bad_comes_back_from_another_replica)
{
    begin(false);
    propose("a");
    propose("b");
    tick_all(4, 0);
    for (unsigned i = 0; i < NODES; i++) {
        raft_trim_memory(replicas[i].raft, 0);
    }
    struct replica *r = leader();
    r->unreadable = 2;
    raft_fetch(r->raft, 2);
    deliver(0);
    cr_expect(r->repaired == 2);
    cr_expect(bytes_is(blob_bytes(r->disk[2].data), "a"));
    end();
}

Test(raft, record_that_nobody_has_stays_bad)
{
    begin(false);
    propose("a");
    tick_all(4, 0);
    for (unsigned i = 0; i < NODES; i++) {
        raft_trim_memory(replicas[i].raft, 0);
        replicas[i].unreadable = 2;
    }
    for (unsigned i = 0; i < 4; i++) {
        raft_fetch(replicas[0].raft, 2);
        deliver(0);
    }
    cr_expect(replicas[0].repaired == 0);
    end();
}

/* It keeps its log, acknowledges, does not lead, and gets the leader's state. */
Test(raft, stalled_replica_gets_a_state_and_keeps_its_log)
{
    begin(false);
    propose("a");
    struct replica *first = leader();
    raft_stall(first->raft);
    cr_expect(!raft_is_leader(first->raft));
    raft_node self = (raft_node)(first - replicas) + 1;
    for (unsigned i = 0; i < 40 && leader() == NULL; i++) {
        tick_all(1, 0);
    }
    cr_assert(leader() != NULL && leader() != first);
    cr_expect(raft_is_stalled(first->raft) || first->installed > 0);
    tick_all(20, 0);
    cr_expect(first->installed > 0);
    cr_expect(!raft_is_stalled(first->raft));
    propose("b");
    tick_all(4, 0);
    cr_expect(first->applied == leader()->last, "node %llu", (unsigned long long)self);
    cr_expect(bytes_is(blob_bytes(first->disk[2].data), "a"));
    end();
}

Test(raft, stalled_replica_counts_for_the_quorum)
{
    begin(false);
    struct replica *r = other_than(leader());
    raft_stall(r->raft);
    raft_node third = 0;
    for (unsigned i = 0; i < NODES; i++) {
        third = &replicas[i] != r && &replicas[i] != leader() ? i + 1 : third;
    }
    raft_index index;
    cr_assert(raft_propose(leader()->raft, blob_copy(BYTES_LIT("a")), &index) == OK);
    deliver(third);
    cr_expect(raft_commit(leader()->raft) == index);
    end();
}

/* It must not fall silent instead, and be taken for a leader for ever. */
Test(raft, idle_leader_that_is_alone_steps_down)
{
    begin(false);
    tick_all(30, 0);
    struct replica *alone = leader();
    raft_node self = (raft_node)(alone - replicas) + 1;
    cr_expect(raft_is_quiesced(alone->raft));
    for (unsigned i = 0; i < NODES; i++) {
        raft_peer_up(alone->raft, i + 1, false);
    }
    for (unsigned i = 0; i < 60; i++) {
        raft_tick(alone->raft);
        settle(alone);
    }
    cr_expect(!raft_is_leader(alone->raft));
    deliver(self);
    end();
}

Test(raft, forced_recovery_goes_on_alone_and_stays_so)
{
    begin(false);
    propose("a");
    tick_all(4, 0);
    struct replica *r = &replicas[2];
    raft_node self = 3;
    for (unsigned i = 0; i < NODES; i++) {
        stop(&replicas[i]);
    }
    for (unsigned life = 0; life < 2; life++) { /* the second time nobody forces anything */
        struct raft_config c = {.group = 1,
                                .self = self,
                                .members.count = NODES,
                                .members.list = {{1}, {2}, {3}},
                                .seed = 7,
                                .storage = &storage,
                                .arg = r,
                                .term = r->term,
                                .vote = r->vote,
                                .survivors = life == 0 ? &self : NULL,
                                .survivor_count = life == 0,
                                .entries = r->disk + 1,
                                .entry_count = (uint32_t)r->last};
        r->raft = raft_new(&c);
        tick_all(20, 0);
        cr_assert(raft_is_leader(r->raft), "life %u", life);
        cr_expect(raft_members(r->raft)->count == 1);
        cr_expect(raft_commit(r->raft) == r->last);
        stop(r);
    }
    cr_expect(bytes_is(blob_bytes(r->disk[2].data), "a"));
    end();
}

/* A snapshot that comes late, of a point that the log has long passed, takes nothing away. */
Test(raft, older_snapshot_leaves_what_follows_it)
{
    begin(false);
    propose("a");
    propose("b");
    tick_all(4, 0);
    struct replica *from = leader();
    struct replica *to = other_than(from);
    raft_index last = raft_last(to->raft);
    struct raft_run run = {1, raft_term_now(from->raft)};
    struct raft_message m = {.type = RAFT_SNAPSHOT,
                             .group = 1,
                             .from = (raft_node)(from - replicas) + 1,
                             .to = (raft_node)(to - replicas) + 1,
                             .term = raft_term_now(from->raft),
                             .index = 2,
                             .index_term = raft_term_now(from->raft),
                             .commit = 1,
                             .first = true,
                             .last = true,
                             .state = blob_copy(BYTES_LIT("state")),
                             .runs = &run,
                             .run_count = 1,
                             .members = *raft_members(from->raft)};
    cr_assert(raft_step(to->raft, &m));
    blob_release(m.state);
    settle(to);
    cr_expect(raft_last(to->raft) == last);
    cr_expect(to->installed == 0);
    cr_expect(bytes_is(blob_bytes(to->disk[3].data), "b"));
    end();
}

/* --- what nobody says who keeps to the rules --- */

/* An APPEND with one entry, as `from` would send it. */
static bool append_to(struct replica *to, raft_node from, raft_term term, raft_index index,
                      raft_term entry_term, bool stranger)
{
    struct raft_entry e = {index, entry_term, RAFT_ENTRY_DATA, blob_copy(BYTES_LIT("forged"))};
    struct raft_message m = {.type = RAFT_APPEND,
                             .group = 1,
                             .from = from,
                             .term = term,
                             .index = index - 1,
                             .index_term = raft_term_at(to->raft, index - 1),
                             .commit = index,
                             .entries = &e,
                             .entry_count = 1,
                             .stranger = stranger};
    bool possible = raft_step(to->raft, &m);
    blob_release(e.data);
    return possible;
}

Test(raft, second_leader_of_our_term_is_refused)
{
    begin(false);
    propose("a");
    struct replica *r = leader();
    raft_term term = raft_term_now(r->raft);
    raft_index last = raft_last(r->raft);
    raft_node other = (raft_node)(other_than(r) - replicas) + 1;
    cr_expect(!append_to(r, other, term, last + 1, term, false));
    cr_expect(raft_is_leader(r->raft) && raft_last(r->raft) == last);
    end();
}

Test(raft, committed_entries_are_not_replaced)
{
    begin(false);
    propose("a");
    tick_all(4, 0);
    struct replica *r = other_than(leader());
    raft_node first = (raft_node)(leader() - replicas) + 1;
    raft_term term = raft_term_now(r->raft);
    cr_assert(raft_commit(r->raft) == 2);
    cr_expect(!append_to(r, first, term + 1, 2, term + 1, false));
    cr_expect(raft_term_now(r->raft) == term && raft_last(r->raft) == 2);
    cr_expect(bytes_is(blob_bytes(r->disk[2].data), "a"));
    end();
}

Test(raft, strangers_move_nothing)
{
    begin(false);
    propose("a");
    tick_all(4, 0);
    struct replica *r = leader();
    raft_term term = raft_term_now(r->raft);
    cr_expect(append_to(r, 77, term + 1, 3, term + 1, true));
    for (enum raft_message_type type = RAFT_PREVOTE; type < RAFT_MESSAGE_TYPES; type++) {
        struct raft_message m = {.type = type,
                                 .group = 1,
                                 .from = 77,
                                 .term = term + 5,
                                 .index = 9,
                                 .index_term = term + 5,
                                 .reject = true,
                                 .stranger = true};
        cr_expect(raft_step(r->raft, &m));
        struct raft_message out;
        cr_expect(raft_is_leader(r->raft) && raft_term_now(r->raft) == term, "type %d", type);
        cr_expect(!raft_next_message(r->raft, &out), "type %d is answered", type);
    }
    /* A leader that has not arrived in our membership yet, but that somebody vouches for. */
    cr_expect(append_to(r, 77, term + 1, 3, term + 1, false));
    cr_expect(raft_leader(r->raft) == 77 && raft_last(r->raft) == 3);
    end();
}

/* Who only learns may answer, and is listened to; but it can depose nobody. */
Test(raft, learner_that_nobody_vouches_for_cannot_depose)
{
    begin(false);
    struct replica *r = leader();
    struct raft_members members = *raft_members(r->raft);
    raft_index index;
    tick_all(4, 0);
    members.list[members.count++] = (struct raft_member){77, true};
    cr_assert(raft_change_members(r->raft, &members, &index) == OK);
    raft_term term = raft_term_now(r->raft);
    for (unsigned higher = 0; higher < 2; higher++) {
        struct raft_message m = {.type = RAFT_APPEND_REPLY,
                                 .group = 1,
                                 .from = 77,
                                 .term = term + higher,
                                 .index = 1,
                                 .stranger = true};
        cr_expect(raft_step(r->raft, &m));
        cr_expect(raft_is_leader(r->raft) && raft_term_now(r->raft) == term);
        cr_expect(raft_peer_state(r->raft, 77).match == 1);
    }
    for (uint32_t i = 0; i < mail_count; i++) {
        raft_message_deinit(&mail[i]);
    }
    mail_count = 0;
    end();
}

/* --- leases --- */

#define LEASE INT64_C(200000000)

/* Three replicas with a leader that has just been promised everything; its number. */
static unsigned begin_with_lease(void)
{
    now_ns = 1000 * LEASE;
    lease_ns = LEASE;
    begin(false);
    propose("x");
    tick_all(RAFT_HEARTBEAT_TICKS, 0);
    return (unsigned)(leader() - replicas);
}

static void end_with_lease(void)
{
    end();
    lease_ns = 0;
}

static bool reads_at_once(struct replica *r)
{
    uint64_t id;
    struct raft_read read = {0};
    return raft_read(r->raft, &id) == OK && raft_next_read(r->raft, &read) && read.allowed;
}

/* Followers that see their leader's connection break, and tick for so long. True: there is another
 * leader, which does not count the first one's vote. */
static bool others_elect(unsigned first, unsigned ticks)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (i != first) {
            raft_peer_up(replicas[i].raft, first + 1, false);
        }
    }
    for (unsigned t = 0; t < ticks; t++) {
        for (unsigned i = 0; i < NODES; i++) {
            if (i != first) {
                raft_tick(replicas[i].raft);
            }
        }
        deliver(first + 1);
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (i != first && raft_is_leader(replicas[i].raft)) {
            return true;
        }
    }
    return false;
}

Test(raft, leader_reads_by_lease_until_promises_end)
{
    unsigned first = begin_with_lease();
    cr_expect(reads_at_once(&replicas[first]));
    now_ns += LEASE * 7 / 8 - 1;
    cr_expect(reads_at_once(&replicas[first]));
    cr_expect(!others_elect(first, 40), "elected against a promise");
    now_ns += 1;
    cr_expect(!reads_at_once(&replicas[first]), "counted promises to their end");
    now_ns += LEASE / 8;
    cr_expect(others_elect(first, 40), "promises have ended");
    end_with_lease();
}

Test(raft, who_starts_anew_may_have_promised)
{
    unsigned first = begin_with_lease();
    for (unsigned i = 0; i < NODES; i++) {
        if (i != first) {
            stop(&replicas[i]);
            start(i, 77 + i);
        }
    }
    cr_expect(reads_at_once(&replicas[first]));
    cr_expect(!others_elect(first, 40));
    now_ns += RAFT_LEASE_MAX_NS;
    cr_expect(others_elect(first, 40));
    end_with_lease();
}

Test(raft, transfer_ends_the_lease)
{
    unsigned first = begin_with_lease();
    raft_transfer(replicas[first].raft, 0);
    cr_expect(!reads_at_once(&replicas[first]));
    deliver(0);
    cr_assert(leader() != &replicas[first]);
    tick_all(RAFT_HEARTBEAT_TICKS, 0);
    cr_expect(reads_at_once(leader()));
    end_with_lease();
}
