/* The store alone: how many synced appends per second, with so many producers waiting.
 *
 *   bench_store FOLDER SECONDS
 *
 * Prints the disk's own fdatasync time, then for 1, 64 and 512 producers the entries per second and
 * the mean time of one. A producer appends 128 bytes, waits until they are on disk, and begins
 * anew: all to one group, then each to its own. Last, how many entries a second can be read in
 * order. */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/random.h"
#include "jetstream/store.h"

#define LONGEST_GROUP (1 + 1 + 64 + 1) /* 512 producers, one group: the first of that run */

struct group {
    uint64_t id, last;
};

struct producer {
    struct run *run;
    struct group *group;
    struct blob *payload;
};

struct run {
    struct store *store;
    int64_t until_ns;
    unsigned running;
    uint64_t written;
    sem_t over;
};

static void append_next(struct producer *p);

static void on_written(void *arg, enum err err)
{
    struct producer *p = arg;
    if (err != OK) {
        fprintf(stderr, "a write failed\n");
        exit(1);
    }
    p->run->written++;
    if (clock_mono_ns() < p->run->until_ns) {
        append_next(p);
    } else if (--p->run->running == 0) {
        sem_post(&p->run->over);
    }
}

static void append_next(struct producer *p)
{
    struct store_batch *b = store_batch_new();
    struct raft_entry e = {++p->group->last, 1, RAFT_ENTRY_DATA, p->payload};
    store_put_entry(b, p->group->id, &e, false);
    store_submit(p->run->store, b, true, on_written, p);
}

static void start_producer(void *arg)
{
    append_next(arg);
}

static double measure(struct store *store, struct loop *loop, unsigned producers,
                      unsigned group_count, int64_t seconds)
{
    static uint64_t last_group;
    struct run run = {.store = store, .running = producers};
    (void)sem_init(&run.over, 0, 0);
    struct producer *all = mem_zalloc(producers * sizeof *all);
    struct group *groups = mem_zalloc(group_count * sizeof *groups);
    char bytes[128];
    random_system(bytes, sizeof bytes);
    int64_t start = clock_mono_ns();
    run.until_ns = start + seconds * NS_PER_SEC;
    for (unsigned i = 0; i < group_count; i++) {
        groups[i].id = ++last_group;
    }
    for (unsigned i = 0; i < producers; i++) {
        all[i] = (struct producer){&run, &groups[i % group_count],
                                   blob_copy(bytes_make(bytes, sizeof bytes))};
        loop_post(loop, start_producer, &all[i]);
    }
    while (sem_wait(&run.over) != 0) { /* interrupted by a signal */
    }
    double taken = (double)(clock_mono_ns() - start) / 1e9;
    for (unsigned i = 0; i < producers; i++) {
        blob_release(all[i].payload);
    }
    free(all);
    free(groups);
    (void)sem_destroy(&run.over);
    return (double)run.written / taken;
}

/* Entries per second, of the group that has the most. */
static double read_all(struct store *store, uint64_t group)
{
    struct raft_entry entries[64];
    raft_index index = 1;
    uint32_t count;
    int64_t start = clock_mono_ns();
    while ((count = store_get_entries(store, group, index, entries, 64, 1u << 18)) > 0) {
        for (uint32_t i = 0; i < count; i++) {
            blob_release(entries[i].data);
        }
        index += count;
    }
    return (double)(index - 1) / ((double)(clock_mono_ns() - start) / 1e9);
}

/* Microseconds for 512 bytes behind the others and their way to the disk. */
static double disk_us(const char *folder)
{
    char path[4096], block[512] = {0};
    enum { ROUNDS = 500 };
    (void)snprintf(path, sizeof path, "%s/fdatasync", folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0640);
    int64_t start = clock_mono_ns();
    for (int i = 0; i < ROUNDS; i++) {
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block || fdatasync(fd) != 0) {
            perror(path);
            exit(1);
        }
    }
    close(fd);
    return (double)(clock_mono_ns() - start) / ROUNDS / 1e3;
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
    (void)snprintf(folder, sizeof folder, "%s/store", argv[1]);
    struct store *store = store_open(folder, &keys, &error);
    if (store == NULL) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    struct loops *loops = loops_start(1);
    printf("fdatasync of the disk: %.0f us\n", disk_us(argv[1]));
    static const unsigned producers[] = {1, 64, 512};
    for (int i = 0; i < 3; i++) {
        for (unsigned groups = 1; groups <= producers[i]; groups += producers[i] - 1) {
            double rate =
                measure(store, loops_at(loops, 0), producers[i], groups, strtol(argv[2], NULL, 10));
            printf("%u waiting, %u group%s: %.0f entries/s, %.0f us each\n", producers[i], groups,
                   groups == 1 ? "" : "s", rate, 1e6 * producers[i] / rate);
            if (producers[i] == 1) {
                break;
            }
        }
    }
    printf("read in order: %.0f entries/s\n", read_all(store, LONGEST_GROUP));
    loops_stop(loops);
    store_close(store);
    loops_free(loops);
    return 0;
}
