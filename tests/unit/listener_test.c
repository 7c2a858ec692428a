#include "core/net/listener.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/net/socket.h"

enum { FILES = 64 };

struct setting {
    struct loop *loop;
    int port, listen_fd;
    struct listener *listener;
    sem_t accepted, done;
    atomic_int crowded;
};

static void on_accept(void *arg, int fd, bool crowded)
{
    struct setting *s = arg;
    (void)close(fd);
    atomic_fetch_add(&s->crowded, crowded);
    (void)sem_post(&s->accepted);
}

static void begin(void *arg)
{
    struct setting *s = arg;
    s->listener = listener_open(s->loop, s->listen_fd, "test", FILES_CLIENTS, on_accept, s);
    (void)sem_post(&s->done);
}

static void end(void *arg)
{
    struct setting *s = arg;
    listener_close(s->listener);
    (void)sem_post(&s->done);
}

static int dial(const struct setting *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(fd >= 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static bool accepted_within(struct setting *s, int ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    return sem_timedwait(&s->accepted, &until) == 0;
}

/* Descriptors run out while connections come: accepting fails, rests, and goes on once there are
 * some again; without turning round and round meanwhile. */
Test(listener, survives_the_end_of_descriptors)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max = FILES;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(files_raise_limit(32), FILES);
    cr_assert_eq(files_ceiling(FILES_CLIENTS), 32);
    cr_assert(files_ceiling(FILES_CLIENTS) < files_ceiling(FILES_MONITORING));
    cr_assert(files_ceiling(FILES_MONITORING) < files_ceiling(FILES_SERVERS));
    cr_assert(files_ceiling(FILES_SERVERS) < FILES);

    struct setting s = {0};
    struct error error = {0};
    (void)sem_init(&s.accepted, 0, 0);
    (void)sem_init(&s.done, 0, 0);
    s.port = -1;
    s.listen_fd = net_bind("127.0.0.1", &s.port, &error);
    cr_assert(s.listen_fd >= 0 && net_listen(s.listen_fd, &error) == OK, "%s", error.message);
    struct loops *loops = loops_start(1);
    s.loop = loops_at(loops, 0);
    loop_post(s.loop, begin, &s);
    (void)sem_wait(&s.done);
    int first = dial(&s);
    cr_assert(accepted_within(&s, 10000));
    cr_assert_eq(atomic_load(&s.crowded), 0);

    int waiting[2] = {dial(&s), -1}, taken[FILES], count = 0;
    cr_assert(accepted_within(&s, 10000));
    waiting[1] = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(waiting[1] >= 0);
    while (count < FILES && (taken[count] = dup(0)) >= 0) {
        count++;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(connect(waiting[1], (struct sockaddr *)&to, sizeof to), 0);
    clock_t before = clock();
    cr_assert_not(accepted_within(&s, 300));
    cr_assert(clock() - before < CLOCKS_PER_SEC / 10, "it spins");
    (void)close(taken[--count]);
    cr_assert(accepted_within(&s, 10000));
    cr_assert_eq(atomic_load(&s.crowded), 1); /* far above the ceiling */
    while (count > 0) {
        (void)close(taken[--count]);
    }
    (void)close(first);
    (void)close(waiting[0]);
    (void)close(waiting[1]);
    loop_post(s.loop, end, &s);
    (void)sem_wait(&s.done);
    loops_stop(loops);
    loops_free(loops);
}
