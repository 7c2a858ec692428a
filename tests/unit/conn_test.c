#include "core/net/conn.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 96 * 1024 };

struct setting {
    struct loop *loop;
    struct conn *conn;
    int fds[2];
    sem_t busy, free, done;
    uint64_t units_per_byte;
    size_t left, first, largest_later; /* of the burst that is being read */
};

static void on_data(struct conn *conn, const char *data, size_t len)
{
    struct setting *s = conn->owner;
    (void)data;
    conn_charge(conn, len * s->units_per_byte);
    if (s->first == 0) {
        s->first = len;
    } else if (len > s->largest_later) {
        s->largest_later = len;
    }
    s->left -= len;
    if (s->left == 0) {
        (void)sem_post(&s->done);
    }
}

static void on_close(struct conn *conn, enum close_reason reason)
{
    struct setting *s = conn->owner;
    (void)reason;
    conn_release(conn);
    (void)sem_post(&s->done);
}

static const struct conn_ops ops = {.on_data = on_data, .on_close = on_close};

static void begin(void *arg)
{
    struct setting *s = arg;
    s->conn = conn_open(s->loop, s->fds[0], 1, &ops, s);
}

static void end(void *arg)
{
    conn_close(((struct setting *)arg)->conn, CLOSE_CLIENT);
}

static void hold_loop(void *arg)
{
    struct setting *s = arg;
    (void)sem_post(&s->busy);
    (void)sem_wait(&s->free);
}

static void await(sem_t *event)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    cr_assert_eq(sem_timedwait(event, &until), 0);
}

/* All of it is there before the first of it is read. */
static void burst(struct setting *s, uint64_t units_per_byte)
{
    static char bytes[BURST];
    loop_post(s->loop, hold_loop, s);
    await(&s->busy);
    s->units_per_byte = units_per_byte;
    s->left = BURST;
    s->first = s->largest_later = 0;
    cr_assert_eq(send(s->fds[1], bytes, BURST, MSG_DONTWAIT), BURST);
    (void)sem_post(&s->free);
    await(&s->done);
}

/* Whose input is dear is read in small pieces, so that others have their turn between them; whose
 * input is cheap, in large ones. */
Test(conn, reads_as_much_as_a_turn_has_time_for)
{
    struct setting s = {0};
    (void)sem_init(&s.busy, 0, 0);
    (void)sem_init(&s.free, 0, 0);
    (void)sem_init(&s.done, 0, 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s.fds), 0);
    int room = 4 * BURST;
    cr_assert_eq(setsockopt(s.fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    struct loops *loops = loops_start(1);
    s.loop = loops_at(loops, 0);
    loop_post(s.loop, begin, &s);

    burst(&s, 0);
    size_t at_first = s.first;
    cr_assert(s.largest_later > at_first, "%zu after %zu", s.largest_later, at_first);
    burst(&s, CONN_TURN_COST / 4096); /* 4 KiB are a turn's share */
    cr_assert(s.first > 4096 && s.largest_later <= 4096, "%zu, %zu", s.first, s.largest_later);
    burst(&s, CONN_TURN_COST); /* not even a byte: some are read all the same */
    cr_assert(s.first <= 4096 && s.largest_later <= 1024, "%zu, %zu", s.first, s.largest_later);
    burst(&s, 0);
    cr_assert(s.first <= 1024 && s.largest_later > at_first, "%zu, %zu", s.first, s.largest_later);

    loop_post(s.loop, end, &s);
    await(&s.done);
    loops_stop(loops);
    loops_free(loops);
    (void)close(s.fds[1]);
}
