/* Replication of one stream's log by three nodes in this process, over real sockets on loopback and
 * three stores: how many messages of 128 bytes a second, and how long one takes at half of that.
 *
 *   bench_replication FOLDER SECONDS
 *
 * Everything below the stream is what a server runs: peers, shards, the Raft host, the stores. What
 * is measured ends when the leader applies the entry, which a quorum has on disk then. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/gather.h"
#include "cluster/peers.h"
#include "cluster/routes.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "jetstream/group/shard.h"

#define NODES       3
#define GROUP       1
#define SAMPLES_MAX (8u << 20)
#define PACE_NS     NS_PER_MS

struct sent { /* an entry under way */
    int64_t *starts;
    uint32_t count;
};

struct node {
    struct options *options;
    struct loops *loops;
    struct broker *broker;
    struct peers *peers;
    struct routes *routes;
    struct shard *shard;
    struct group *group;
    char name[16];
};

static struct node nodes[NODES];
static sem_t connected, elected, over;

/* What the leader does; its loop's. */
static struct {
    struct node *node;
    struct gather gather;
    struct sent *sent; /* in log order: [sent_from, sent_count) */
    uint32_t sent_from, sent_count, sent_cap;
    uint32_t *samples; /* us */
    uint32_t sample_count;
    int64_t begun_ns, until_ns;
    uint64_t applied;
    unsigned waiting; /* producers; 0: paced */
    double rate;      /* paced: messages a second */
    uint64_t given;
    struct loop_timer pace;
    bool ended;
} load;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    _exit(1);
}

/* --- load, on the leader's loop --- */

static void submit(void *arg, struct blob *entry, int64_t *starts, uint32_t count)
{
    (void)arg;
    uint64_t index, term;
    if (group_propose(load.node->group, entry, &index, &term) != OK) {
        fail("the leader has changed");
    }
    VEC_RESERVE(load.sent, load.sent_cap, load.sent_count);
    load.sent[load.sent_count++] = (struct sent){starts, count};
}

static void end_if_over(int64_t now)
{
    if (now >= load.until_ns && load.sent_count == 0 && load.gather.count == 0 && !load.ended) {
        load.ended = true;
        sem_post(&over);
    }
}

static void on_pace(void *arg)
{
    (void)arg;
    int64_t now = clock_mono_ns();
    if (now >= load.until_ns) {
        end_if_over(now); /* the last message may have been applied in time */
        return;
    }
    uint64_t due = (uint64_t)((double)(now - load.begun_ns) / 1e9 * load.rate);
    for (; load.given < due; load.given++) {
        gather_add(&load.gather);
    }
    loop_timer_arm(shard_loop(load.node->shard), &load.pace, now + PACE_NS, on_pace, NULL);
}

static void begin(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < load.waiting; i++) {
        gather_add(&load.gather);
    }
    if (load.waiting == 0) {
        on_pace(NULL);
    }
}

static void on_applied(void)
{
    if (load.sent_from == load.sent_count) {
        return; /* the first entry of a term */
    }
    struct sent s = load.sent[load.sent_from++];
    if (load.sent_from == load.sent_count) {
        load.sent_from = load.sent_count = 0;
    }
    int64_t now = clock_mono_ns();
    bool ends = now >= load.until_ns;
    load.applied += s.count;
    for (uint32_t i = 0; i < s.count; i++) {
        if (load.sample_count < SAMPLES_MAX) {
            load.samples[load.sample_count++] = (uint32_t)((now - s.starts[i]) / 1000);
        }
        if (load.waiting > 0 && !ends) {
            gather_add(&load.gather);
        }
    }
    free(s.starts);
    end_if_over(now);
}

/* --- the group --- */

static enum err apply(void *owner, uint64_t index, uint64_t term, struct bytes entry)
{
    (void)index;
    (void)term;
    (void)entry;
    if (owner == load.node) {
        on_applied();
    }
    return OK;
}

static void encode(void *owner, struct buffer *out)
{
    (void)owner;
    (void)out;
}

static enum err decode(void *owner, struct bytes state)
{
    (void)owner;
    (void)state;
    return OK;
}

static void on_leader(void *owner, bool leader)
{
    if (leader) {
        load.node = owner;
        sem_post(&elected);
    }
}

/* All of them are messages. */
static uint64_t next_kept(void *owner, uint64_t index)
{
    (void)owner;
    return index == 0 ? 1 : index;
}

static const struct group_ops ops = {.apply = apply,
                                     .encode = encode,
                                     .decode = decode,
                                     .on_leader = on_leader,
                                     .next_kept = next_kept};

/* --- nodes --- */

/* Loop 0, which is the only one: the shard's. */
static void on_frame(void *arg, uint64_t from, uint8_t type, struct bytes body)
{
    struct node *n = arg;
    if (type == JS_FRAME_RAFT && n->shard != NULL) {
        const struct raft_sender sender = {from, false};
        CHECK(shard_receive(n->shard, sender, body));
    }
}

static void on_change(void *arg, uint64_t id, const char *name, bool up)
{
    struct node *n = arg;
    (void)name;
    shard_peer_changed(n->shard, id, up);
    if (up) {
        sem_post(&connected);
    }
}

static void start_peers(void *arg)
{
    peers_start(arg);
}

static void open_group(void *arg)
{
    struct node *n = arg;
    struct error error;
    uint64_t voters[NODES];
    for (unsigned i = 0; i < NODES; i++) {
        voters[i] = hash_node_id(bytes_of(nodes[i].name));
    }
    n->group = group_open(n->shard, GROUP, voters, NODES, false, true, &ops, n, &error);
    if (n->group == NULL) {
        fail(error.message);
    }
}

static struct options *make_options(const char *name, int seed_port)
{
    char route[64];
    struct error error;
    struct options_command command = {0};
    struct options *o = options_new();
    (void)snprintf(route, sizeof route, "nats-route://127.0.0.1:%d", seed_port);
    char *argv[] = {"bench_replication",
                    "--jetstream",
                    "--name",
                    (char *)name,
                    "--addr",
                    "127.0.0.1",
                    "--port",
                    "-1",
                    "--cluster_name",
                    "bench",
                    "--cluster",
                    "nats://127.0.0.1:-1",
                    "--routes",
                    route,
                    NULL};
    int argc = seed_port == 0 ? 12 : 14;
    if (options_apply_flags(o, argc, argv, &command, &error) != OK ||
        options_finish(o, &error) != OK) {
        fail(error.message);
    }
    return o;
}

static void start_node(struct node *n, const char *folder, int seed_port)
{
    char path[4096];
    struct error error;
    const struct store_keys keys = {0};
    const struct routes_tls plain = {0};
    const struct peers_callbacks callbacks = {on_frame, on_change};
    n->options = make_options(n->name, seed_port);
    n->loops = loops_start(1);
    n->broker = broker_new(n->options, NULL, n->loops);
    n->peers = peers_new(n->broker);
    n->routes = routes_new(n->broker, n->peers);
    (void)snprintf(path, sizeof path, "%s/%s", folder, n->name);
    struct store *store = store_open(path, &keys, &error);
    if (store == NULL) {
        fail(error.message);
    }
    n->shard = shard_new(loops_at(n->loops, 0), store, store_open_memory(-1), n->peers,
                         peers_self(n->peers));
    peers_set_callbacks(n->peers, &callbacks, n);
    if (broker_bind(n->broker, &error) != OK || routes_listen(n->routes, &plain, &error) != OK) {
        fail(error.message);
    }
    loop_post(loops_at(n->loops, 0), start_peers, n->peers);
    loop_post(loops_at(n->loops, 0), open_group, n);
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0) { /* interrupted by a signal */
    }
}

/* Returns messages per second. */
static double measure(const char *name, unsigned waiting, double rate, size_t limit, long seconds)
{
    struct loop *loop = shard_loop(load.node->shard);
    gather_init(&load.gather, loop, limit, submit, NULL);
    load.waiting = waiting;
    load.rate = rate;
    load.applied = load.given = load.sample_count = 0;
    load.ended = false;
    load.begun_ns = clock_mono_ns();
    load.until_ns = load.begun_ns + seconds * NS_PER_SEC;
    loop_post(loop, begin, NULL);
    wait_for(&over);
    double reached = (double)load.applied / ((double)(clock_mono_ns() - load.begun_ns) / 1e9);
    uint32_t n = load.sample_count;
    qsort(load.samples, n, sizeof *load.samples, ascending);
    printf("%s: %.0f messages/s, p50 %.2f ms, p99 %.2f ms, longest %.1f ms\n", name, reached,
           load.samples[n / 2] / 1e3, load.samples[(size_t)n * 99 / 100] / 1e3,
           load.samples[n - 1] / 1e3);
    gather_deinit(&load.gather);
    return reached;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_replication FOLDER SECONDS\n");
        return 2;
    }
    long seconds = strtol(argv[2], NULL, 10);
    (void)sem_init(&connected, 0, 0);
    (void)sem_init(&elected, 0, 0);
    (void)sem_init(&over, 0, 0);
    load.samples = mem_alloc(SAMPLES_MAX * sizeof *load.samples);
    for (unsigned i = 0; i < NODES; i++) {
        (void)snprintf(nodes[i].name, sizeof nodes[i].name, "node-%u", i + 1);
    }
    for (unsigned i = 0; i < NODES; i++) {
        start_node(&nodes[i], argv[1], i == 0 ? 0 : routes_port(nodes[0].routes));
    }
    for (unsigned i = 0; i < NODES * (NODES - 1); i++) { /* each sees all others */
        wait_for(&connected);
    }
    wait_for(&elected);
    const size_t batch = 64u * 1024;
    (void)measure("64 waiting", 64, 0, batch, seconds);
    (void)measure("512 waiting", 512, 0, batch, seconds);
    (void)measure("4096 waiting", 4096, 0, batch, seconds);
    (void)measure("512 waiting, each an entry", 512, 0, 1, seconds);
    (void)measure("75,000 a second", 0, 75000, batch, seconds);
    (void)measure("75,000 a second, each an entry", 0, 75000, 1, seconds);
    fflush(stdout);
    _exit(0); /* nothing here needs an orderly end */
}
