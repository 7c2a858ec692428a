/* The store alone: how many synced appends per second, with so many producers waiting.
 *
 *   bench_store FOLDER SECONDS
 *
 * A producer hands over a message of 128 bytes, waits until it is on disk, and begins anew. What is
 * printed: the disk's own fdatasync time beside that of one producer, in turns, for a disk has its
 * moods; then, for 64 and 512 producers, messages per second and the mean time of one,
 *
 *   - all to one stream, whose leader makes one record of what comes in a turn of its loop,
 *   - all to one group, each message a record,
 *   - each producer to a group of its own;
 *
 * last, how many records, and messages, a second can be read in order. */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/gather.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "jetstream/store/store.h"

struct run;

struct group {
    struct run *run;
    uint64_t id, last;
    struct gather gather;
};

struct run {
    struct store *store;
    int64_t until_ns;
    unsigned groups;
    struct group *group;
    unsigned running; /* producers */
    uint64_t written;
    sem_t over;
};

/* An entry under way. */
struct written {
    struct group *group;
    uint32_t count;
};

static void on_written(void *arg, enum err err)
{
    struct written *w = arg;
    struct run *run = w->group->run;
    if (err != OK) {
        fprintf(stderr, "a write failed\n");
        exit(1);
    }
    run->written += w->count;
    bool over = clock_mono_ns() >= run->until_ns;
    for (uint32_t i = 0; i < w->count && !over; i++) {
        gather_add(&w->group->gather);
    }
    run->running -= over ? w->count : 0;
    if (run->running == 0) {
        sem_post(&run->over);
    }
    free(w);
}

static void submit(void *arg, struct blob *entry, int64_t *starts, uint32_t count)
{
    struct group *g = arg;
    struct written *w = NEW(struct written);
    *w = (struct written){g, count};
    struct store_batch *b = store_batch_new();
    store_put_entry(b, g->id, &(struct raft_entry){++g->last, 1, RAFT_ENTRY_DATA, entry}, false);
    store_submit(g->run->store, b, true, on_written, w);
    blob_release(entry);
    free(starts);
}

static void start(void *arg)
{
    struct run *run = arg;
    for (unsigned i = 0; i < run->running; i++) {
        gather_add(&run->group[i % run->groups].gather);
    }
}

struct measured {
    uint64_t group; /* the first */
    double rate;    /* messages a second */
};

static struct measured measure(struct store *store, struct loop *loop, unsigned producers,
                               unsigned groups, size_t limit, int64_t duration_ns)
{
    static uint64_t last_group;
    struct run run = {.store = store, .groups = groups, .running = producers};
    (void)sem_init(&run.over, 0, 0);
    run.group = mem_zalloc(groups * sizeof *run.group);
    for (unsigned i = 0; i < groups; i++) {
        struct group *g = &run.group[i];
        g->run = &run;
        g->id = ++last_group;
        gather_init(&g->gather, loop, limit, submit, g);
    }
    int64_t begin = clock_mono_ns();
    run.until_ns = begin + duration_ns;
    loop_post(loop, start, &run);
    while (sem_wait(&run.over) != 0) { /* interrupted by a signal */
    }
    double rate = (double)run.written / ((double)(clock_mono_ns() - begin) / 1e9);
    for (unsigned i = 0; i < groups; i++) {
        gather_deinit(&run.group[i].gather);
    }
    free(run.group);
    (void)sem_destroy(&run.over);
    return (struct measured){last_group - groups + 1, rate};
}

/* Returns the id of the first group. */
static uint64_t report(struct store *store, struct loop *loop, unsigned producers, unsigned groups,
                       size_t limit, int64_t seconds)
{
    struct measured m = measure(store, loop, producers, groups, limit, seconds * NS_PER_SEC);
    printf("%u waiting, %s: %.0f messages/s, %.0f us each\n", producers,
           limit > 1    ? "1 stream"
           : groups > 1 ? "a group each"
                        : "1 group",
           m.rate, 1e6 * producers / m.rate);
    return m.group;
}

static void read_all(struct store *store, uint64_t group, const char *name)
{
    struct raft_entry entries[64];
    raft_index index = 1;
    uint64_t messages = 0;
    uint32_t count;
    int64_t begin = clock_mono_ns();
    while ((count = store_get_entries(store, group, index, entries, 64, 1u << 18)) > 0) {
        for (uint32_t i = 0; i < count; i++) {
            struct messages_reader reader;
            struct stored_message m;
            if (messages_open(&reader, blob_bytes(entries[i].data))) {
                while (messages_next(&reader, &m)) {
                    messages++;
                }
            }
            blob_release(entries[i].data);
        }
        index += count;
    }
    double seconds = (double)(clock_mono_ns() - begin) / 1e9;
    printf("read in order, %s: %.0f messages/s in %.0f records/s\n", name,
           (double)messages / seconds, (double)(index - 1) / seconds);
}

/* Microseconds for 256 bytes behind the others, about what a record of one message takes in the
 * store's log, and their way to the disk. */
static double disk_us(int fd, int64_t duration_ns)
{
    char block[256] = {0};
    int64_t begin = clock_mono_ns();
    int64_t until = begin + duration_ns;
    int rounds = 0;
    do {
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block || fdatasync(fd) != 0) {
            perror("fdatasync");
            exit(1);
        }
        rounds++;
    } while (clock_mono_ns() < until);
    return (double)(clock_mono_ns() - begin) / rounds / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void one_beside_disk(struct store *store, struct loop *loop, const char *folder,
                            int64_t seconds)
{
    enum { TURNS = 15 };
    char path[4096];
    double disk[TURNS], one[TURNS];
    (void)snprintf(path, sizeof path, "%s/fdatasync", folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0640);
    for (int i = 0; i < TURNS; i++) {
        int64_t duration_ns = seconds * NS_PER_SEC / TURNS;
        disk[i] = disk_us(fd, duration_ns);
        one[i] = 1e6 / measure(store, loop, 1, 1, 1, duration_ns).rate;
    }
    (void)close(fd);
    qsort(disk, TURNS, sizeof *disk, by_size);
    qsort(one, TURNS, sizeof *one, by_size);
    printf("fdatasync of the disk: %.0f us; 1 waiting: %.0f us; %.2f times (medians of %d turns)\n",
           disk[TURNS / 2], one[TURNS / 2], one[TURNS / 2] / disk[TURNS / 2], TURNS);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_store FOLDER SECONDS\n");
        return 2;
    }
    char folder[4096];
    struct error error;
    const struct store_keys keys = {0};
    const size_t batch = 64u * 1024;
    long seconds = strtol(argv[2], NULL, 10);
    (void)snprintf(folder, sizeof folder, "%s/store", argv[1]);
    struct store *store = store_open(folder, &keys, &error);
    if (store == NULL) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    struct loops *loops = loops_start(1);
    struct loop *loop = loops_at(loops, 0);
    one_beside_disk(store, loop, argv[1], seconds);
    (void)report(store, loop, 64, 1, batch, seconds);
    (void)report(store, loop, 64, 1, 1, seconds);
    (void)report(store, loop, 64, 64, 1, seconds);
    uint64_t stream = report(store, loop, 512, 1, batch, seconds);
    uint64_t records = report(store, loop, 512, 1, 1, seconds);
    (void)report(store, loop, 512, 512, 1, seconds);
    read_all(store, stream, "a stream");
    read_all(store, records, "each a record");
    loops_stop(loops);
    store_close(store);
    loops_free(loops);
    return 0;
}
