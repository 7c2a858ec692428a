/* The load generator of tests/bench: raw sockets, so that the server under test is what is slow.
 *
 *   load pub URL COUNT SIZE                     publishers without subscribers
 *   load fan URL COUNT SIZE SUBSCRIBERS [URL2]  one publisher; subscribers on URL2 or URL
 *   load tls URL COUNT SIZE CA                  one publisher, one subscriber, by libnats over TLS
 *   load request URL COUNT SIZE [RATE [URL2]]   one request at a time, answered on URL2; beside it,
 *                                               with RATE, a stream of RATE 1 KiB messages per
 *                                               second, 1:1
 *   load spread URL COUNT URL2…                 subscriptions on one node, until all others know
 *   load js URL COUNT SIZE REPLICAS [RATE]      publishes with at most 4,000 unacknowledged; with
 *                                               RATE so many per second, and how long each waits
 *   load js-idle URL COUNT                      makes R3 streams with one durable consumer each
 *   load hold URL CONNECTIONS                   opens them, one subscription each; see below
 *   load subs URL COUNT                         one connection, distinct subscriptions; see below
 *   load cycle URL CONNECTIONS                  opens and closes them, 100 at a time
 *   load churn URL SECONDS                      one SUB + UNSUB after another, beside a publisher
 *
 * Prints one line of numbers: see each function. `hold` and `subs` print "ready", wait for a line
 * on stdin, close everything, print "closed" and wait for another. Anything a server does that a
 * case does not expect ends the program with a message and 1. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nats/nats.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BUFFER  (256u * 1024)
#define WRITE_BUFFER (64u * 1024)
#define WINDOW_BYTES (8u << 20) /* published and not yet received: well below any max_pending */

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_s(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    (void)nanosleep(&t, NULL);
}

/* --- one connection --- */

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR) {
            die("write: %s", strerror(errno));
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void send_text(int fd, const char *text)
{
    send_all(fd, text, strlen(text));
}

/* Reads lines until one starts with `start`; it is in `line`. Only while no messages flow. */
static void expect_line(int fd, const char *start, char *line, size_t cap)
{
    for (;;) {
        size_t len = 0;
        char c = 0;
        while (c != '\n') {
            if (read(fd, &c, 1) != 1) {
                die("connection closed while waiting for %s", start);
            }
            if (len < cap - 1) {
                line[len++] = c;
            }
        }
        line[len] = '\0';
        if (strncmp(line, start, strlen(start)) == 0) {
            return;
        }
        if (strncmp(line, "-ERR", 4) == 0) {
            die("%s", line);
        }
    }
}

static void sync_up(int fd)
{
    char line[128];
    send_text(fd, "PING\r\n");
    expect_line(fd, "PONG", line, sizeof line);
}

static struct sockaddr_in address_of(const char *url)
{
    const char *colon = strrchr(url, ':');
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (colon == NULL) {
        die("%s: want nats://127.0.0.1:PORT", url);
    }
    address.sin_port = htons((uint16_t)strtol(colon + 1, NULL, 10));
    return address;
}

static int open_client(const char *url)
{
    struct sockaddr_in address = address_of(url);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        die("connect %s: %s", url, strerror(errno));
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    send_text(fd, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\","
                  "\"protocol\":1,\"headers\":true,\"no_responders\":true}\r\n");
    sync_up(fd);
    return fd;
}

/* --- receiving frames of one size --- */

struct receiver {
    pthread_t thread;
    int fd;
    size_t size;        /* payload bytes per message */
    long want;          /* messages */
    atomic_long *least; /* or NULL: this receiver's count, for the publisher's window */
};

/* Counts MSG frames. All are as long as the first, but for the reply subjects that only requests
 * have; INFO and PING lines may come between. */
static void *receive(void *arg)
{
    struct receiver *r = arg;
    char *buffer = malloc(READ_BUFFER);
    size_t have = 0;
    long seen = 0;
    while (seen < r->want) {
        ssize_t n = read(r->fd, buffer + have, READ_BUFFER - have);
        if (n <= 0) {
            die("the subscriber was cut off after %ld of %ld messages", seen, r->want);
        }
        have += (size_t)n;
        size_t at = 0;
        for (;;) {
            const char *lf = memchr(buffer + at, '\n', have - at);
            if (lf == NULL) {
                break;
            }
            size_t line = (size_t)(lf - (buffer + at)) + 1;
            if (buffer[at] != 'M') {
                if (buffer[at] == '-') {
                    die("%.*s", (int)line, buffer + at);
                }
                at += line;
                continue;
            }
            if (have - at < line + r->size + 2) {
                break;
            }
            at += line + r->size + 2;
            seen++;
        }
        memmove(buffer, buffer + at, have - at);
        have -= at;
        if (r->least != NULL) {
            atomic_store_explicit(r->least, seen, memory_order_relaxed);
        }
    }
    free(buffer);
    return NULL;
}

/* --- pub, fan --- */

/* One buffer of whole PUB frames; returns how many are in it. */
static long fill_frames(char *buffer, size_t cap, const char *subject, size_t size, size_t *len)
{
    char head[64];
    size_t head_len = (size_t)snprintf(head, sizeof head, "PUB %s %zu\r\n", subject, size);
    size_t frame = head_len + size + 2;
    long count = (long)(cap / frame);
    for (long i = 0; i < count; i++) {
        char *at = buffer + (size_t)i * frame;
        memcpy(at, head, head_len);
        memset(at + head_len, 'x', size);
        memcpy(at + head_len + size, "\r\n", 2);
    }
    *len = (size_t)count * frame;
    return count;
}

struct counters {
    atomic_long *each;
    int count;
};

static long slowest(const struct counters *c)
{
    long least = -1;
    for (int i = 0; i < c->count; i++) {
        long n = atomic_load_explicit(&c->each[i], memory_order_relaxed);
        least = least < 0 || n < least ? n : least;
    }
    return least;
}

static void publish(int fd, const char *subject, long count, size_t size, const struct counters *c)
{
    size_t cap = WRITE_BUFFER > size + 128 ? WRITE_BUFFER : size + 128;
    char *buffer = malloc(cap);
    size_t len;
    long per_buffer = fill_frames(buffer, cap, subject, size, &len);
    long window = (long)(WINDOW_BYTES / (size + 32));
    size_t frame = len / (size_t)per_buffer;
    for (long sent = 0; sent < count;) {
        long now = count - sent < per_buffer ? count - sent : per_buffer;
        while (c != NULL && sent + now - slowest(c) > window) {
            sleep_s(50e-6);
        }
        send_all(fd, buffer, (size_t)now * frame);
        sent += now;
    }
    free(buffer);
}

/* Prints: messages per second. */
static void run_pub(const char *url, long count, size_t size)
{
    int fd = open_client(url);
    double start = now_s();
    publish(fd, "bench", count, size, NULL);
    sync_up(fd);
    printf("%.0f\n", (double)count / (now_s() - start));
    close(fd);
}

/* Until what is published on `fd` reaches subscribers of the server `there`: interest has crossed
 * the route. */
static void await_interest(int fd, const char *there)
{
    char line[256];
    int probe = open_client(there);
    send_text(probe, "SUB bench.ready 1\r\n");
    sync_up(probe);
    send_text(fd, "SUB answer 9\r\n");
    struct pollfd fds[] = {{probe, POLLIN, 0}, {fd, POLLIN, 0}};
    while ((fds[0].revents & POLLIN) == 0) {
        send_text(fd, "PUB bench.ready answer 0\r\n\r\n");
        if (poll(fds, 2, 5000) <= 0) {
            die("no interest from %s", there);
        }
        if (fds[1].revents & POLLIN) { /* the 503, or one of the lines behind it */
            if (read(fd, line, sizeof line) <= 0) {
                die("cut off");
            }
            sleep_s(0.01);
        }
    }
    close(probe);
}

/* Prints: messages published per second, till the last subscriber has the last one. */
static void run_fan(const char *url, long count, size_t size, int subscribers, const char *there)
{
    struct receiver *r = calloc((size_t)subscribers, sizeof *r);
    struct counters counters = {calloc((size_t)subscribers, sizeof(atomic_long)), subscribers};
    for (int i = 0; i < subscribers; i++) {
        r[i] = (struct receiver){
            .fd = open_client(there), .size = size, .want = count, .least = &counters.each[i]};
        send_text(r[i].fd, "SUB bench 1\r\n");
        sync_up(r[i].fd);
    }
    int fd = open_client(url);
    if (strcmp(url, there) != 0) {
        await_interest(fd, there);
    }
    for (int i = 0; i < subscribers; i++) {
        pthread_create(&r[i].thread, NULL, receive, &r[i]);
    }
    double start = now_s();
    publish(fd, "bench", count, size, &counters);
    for (int i = 0; i < subscribers; i++) {
        pthread_join(r[i].thread, NULL);
        close(r[i].fd);
    }
    printf("%.0f\n", (double)count / (now_s() - start));
    close(fd);
    free(counters.each);
    free(r);
}

/* --- tls --- */

static atomic_long tls_seen;

static void on_tls_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
    (void)nc, (void)sub, (void)closure;
    atomic_fetch_add_explicit(&tls_seen, 1, memory_order_relaxed);
    natsMsg_Destroy(msg);
}

static void must(natsStatus status)
{
    if (status != NATS_OK) {
        die("libnats: %s", natsStatus_GetText(status));
    }
}

/* Prints: messages per second. */
static void run_tls(const char *url, long count, size_t size, const char *ca)
{
    natsOptions *options;
    natsConnection *from, *to;
    natsSubscription *sub;
    must(natsOptions_Create(&options));
    must(natsOptions_SetURL(options, url));
    must(natsOptions_LoadCATrustedCertificates(options, ca));
    must(natsOptions_SetSecure(options, true));
    must(natsConnection_Connect(&from, options));
    must(natsConnection_Connect(&to, options));
    must(natsConnection_Subscribe(&sub, to, "bench", on_tls_message, NULL));
    must(natsSubscription_SetPendingLimits(sub, -1, -1));
    must(natsConnection_Flush(to));
    char *payload = calloc(1, size);
    double start = now_s();
    for (long i = 0; i < count; i++) {
        while (i - atomic_load_explicit(&tls_seen, memory_order_relaxed) > 50000) {
            sleep_s(50e-6);
        }
        must(natsConnection_Publish(from, "bench", payload, (int)size));
    }
    must(natsConnection_Flush(from));
    while (atomic_load(&tls_seen) < count) {
        sleep_s(50e-6);
    }
    printf("%.0f\n", (double)count / (now_s() - start));
    free(payload);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(from);
    natsConnection_Destroy(to);
    natsOptions_Destroy(options);
    nats_Close();
}

/* --- request --- */

struct stream_load {
    pthread_t thread, receiver_thread;
    int from, to;
    long rate; /* messages per second */
    atomic_bool stop;
    atomic_long sent, received;
};

static void *stream_receive(void *arg)
{
    struct stream_load *s = arg;
    char *buffer = malloc(READ_BUFFER);
    long bytes = 0;
    const long frame = (long)strlen("MSG load 1 1024\r\n") + 1024 + 2;
    for (ssize_t n; (n = read(s->to, buffer, READ_BUFFER)) > 0;) {
        bytes += n;
        atomic_store_explicit(&s->received, bytes / frame, memory_order_relaxed);
    }
    free(buffer);
    return NULL;
}

static void *stream_send(void *arg)
{
    struct stream_load *s = arg;
    char buffer[16 * 1100];
    size_t len;
    long per_buffer = fill_frames(buffer, sizeof buffer, "load", 1024, &len);
    double start = now_s();
    for (long sent = 0; !atomic_load(&s->stop); sent += per_buffer) {
        double due = start + (double)sent / (double)s->rate;
        for (double wait; (wait = due - now_s()) > 0;) {
            sleep_s(wait);
        }
        while (sent - atomic_load(&s->received) > 8000 && !atomic_load(&s->stop)) {
            sleep_s(50e-6);
        }
        send_all(s->from, buffer, len);
        atomic_store(&s->sent, sent + per_buffer);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *answer(void *arg)
{
    int fd = *(int *)arg;
    char *buffer = malloc(READ_BUFFER), out[512];
    size_t have = 0;
    for (ssize_t n; (n = read(fd, buffer + have, READ_BUFFER - have)) > 0;) {
        have += (size_t)n;
        size_t at = 0;
        for (;;) { /* MSG service 1 REPLY SIZE */
            const char *lf = memchr(buffer + at, '\n', have - at);
            char reply[64];
            size_t size;
            if (lf == NULL) {
                break;
            }
            size_t line = (size_t)(lf - (buffer + at)) + 1;
            if (buffer[at] != 'M') {
                at += line;
                continue;
            }
            if (sscanf(buffer + at, "MSG service 1 %63s %zu", reply, &size) != 2) {
                die("not a request: %.*s", (int)line, buffer + at);
            }
            if (have - at < line + size + 2) {
                break;
            }
            int len = snprintf(out, sizeof out, "PUB %s 2\r\nok\r\n", reply);
            send_all(fd, out, (size_t)len);
            at += line + size + 2;
        }
        memmove(buffer, buffer + at, have - at);
        have -= at;
    }
    free(buffer);
    return NULL;
}

/* Prints: requests per second, p50 and p99 in microseconds, stream messages per second. */
static void run_request(const char *url, long count, size_t size, long rate,
                        const char *service_url)
{
    struct stream_load load = {.rate = rate};
    int service = open_client(service_url), fd = open_client(url);
    pthread_t service_thread;
    send_text(service, "SUB service 1\r\n");
    sync_up(service);
    pthread_create(&service_thread, NULL, answer, &service);
    if (rate > 0) {
        load.from = open_client(url);
        load.to = open_client(url);
        send_text(load.to, "SUB load 1\r\n");
        sync_up(load.to);
        pthread_create(&load.receiver_thread, NULL, stream_receive, &load);
        pthread_create(&load.thread, NULL, stream_send, &load);
    }
    send_text(fd, "SUB inbox.* 1\r\n");
    sync_up(fd);
    char frame[16384], line[16384];
    size_t len;
    long frames = fill_frames(frame, sizeof frame, "service inbox.1", size, &len);
    len /= (size_t)frames;
    double *took = calloc((size_t)count, sizeof *took);
    double start = now_s();
    long before = atomic_load(&load.received);
    for (long i = 0; i < count; i++) {
        double sent = now_s();
        send_all(fd, frame, len);
        size_t have = 0;
        const char *end = NULL;
        while (end == NULL) { /* the whole answer: "MSG inbox.1 1 2\r\nok\r\n" */
            ssize_t n = read(fd, line + have, sizeof line - 1 - have);
            if (n <= 0) {
                die("no answer to request %ld", i);
            }
            have += (size_t)n;
            line[have] = '\0';
            end = strstr(line, "ok\r\n");
        }
        took[i] = now_s() - sent;
    }
    double elapsed = now_s() - start;
    long streamed = atomic_load(&load.received) - before;
    if (rate > 0) {
        atomic_store(&load.stop, true);
        pthread_join(load.thread, NULL);
        (void)shutdown(load.to, SHUT_RDWR);
        pthread_join(load.receiver_thread, NULL);
    }
    (void)shutdown(service, SHUT_RDWR);
    pthread_join(service_thread, NULL);
    qsort(took, (size_t)count, sizeof *took, by_value);
    printf("%.0f %.1f %.1f %.0f\n", (double)count / elapsed, took[count / 2] * 1e6,
           took[count * 99 / 100] * 1e6, (double)streamed / elapsed);
    free(took);
}

/* --- JetStream --- */

/* One API request; the answer must not hold an error. */
static void ask(int fd, const char *subject, const char *request)
{
    static char line[65536];
    (void)snprintf(line, sizeof line, "PUB %s api.answer %zu\r\n%s\r\n", subject, strlen(request),
                   request);
    send_text(fd, line);
    expect_line(fd, "MSG api.answer", line, sizeof line);
    expect_line(fd, "{", line, sizeof line);
    if (strstr(line, "\"error\"") != NULL) {
        die("%s: %s", subject, line);
    }
}

static int open_api(const char *url)
{
    int fd = open_client(url);
    send_text(fd, "SUB api.* 7\r\n");
    sync_up(fd);
    return fd;
}

/* Of `count` times in seconds, which are sorted, in microseconds. */
static double percentile(const double *sorted, long count, double part)
{
    return sorted[(long)((double)(count - 1) * part)] * 1e6;
}

/* Prints: acknowledged messages per second; with a rate also p50 and p99 of the time from sending
 * to the acknowledgement, in microseconds. */
static void run_js(const char *url, long count, size_t size, int replicas, long rate)
{
    char request[256];
    int api = open_api(url), fd = open_client(url);
    (void)snprintf(request, sizeof request,
                   "{\"name\":\"BENCH\",\"subjects\":[\"bench\"],\"num_replicas\":%d,"
                   "\"retention\":\"limits\",\"storage\":\"file\"}",
                   replicas);
    ask(api, "$JS.API.STREAM.CREATE.BENCH", request);
    send_text(fd, "SUB ack 1\r\n");
    sync_up(fd);
    char *frames = malloc(WRITE_BUFFER), *in = malloc(READ_BUFFER);
    size_t len, have = 0;
    long per_buffer = fill_frames(frames, WRITE_BUFFER, "bench ack", size, &len);
    size_t frame = len / (size_t)per_buffer;
    double start = now_s();
    double *times = malloc((size_t)count * sizeof *times); /* sent at, then waited */
    long sent = 0, acked = 0;
    while (acked < count) {
        long room = 4000 - (sent - acked);
        long due = rate == 0 ? count : (long)((now_s() - start) * (double)rate);
        long left = (due < count ? due : count) - sent;
        long send_now = left < room ? left : room;
        send_now = send_now < per_buffer ? send_now : per_buffer;
        if (send_now > 0 && (rate > 0 || send_now >= 64 || sent + send_now == count)) {
            double now = now_s();
            for (long i = 0; i < send_now; i++) {
                times[sent + i] = now;
            }
            send_all(fd, frames, (size_t)send_now * frame);
            sent += send_now;
            continue;
        }
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (rate > 0 && poll(&ready, 1, 1) == 0) {
            continue;
        }
        ssize_t n = read(fd, in + have, READ_BUFFER - have);
        if (n <= 0) {
            die("cut off after %ld acknowledgements", acked);
        }
        have += (size_t)n;
        size_t at = 0;
        for (;;) {
            const char *lf = memchr(in + at, '\n', have - at);
            if (lf == NULL) {
                break;
            }
            if (in[at] == '{') {
                if (memmem(in + at, (size_t)(lf - (in + at)), "\"error\"", 7) != NULL) {
                    die("%.*s", (int)(lf - (in + at)), in + at);
                }
                times[acked] = now_s() - times[acked]; /* in the order sent */
                acked++;
            } else if (in[at] == 'H' || in[at] == '-') {
                die("%.*s", (int)(lf - (in + at)), in + at);
            }
            at = (size_t)(lf - in) + 1;
        }
        memmove(in, in + at, have - at);
        have -= at;
    }
    printf("%.0f", (double)count / (now_s() - start));
    if (rate > 0) {
        qsort(times, (size_t)count, sizeof *times, by_value);
        printf(" %.0f %.0f", percentile(times, count, 0.5), percentile(times, count, 0.99));
    }
    printf("\n");
    free(times);
    free(frames);
    free(in);
}

static void run_js_idle(const char *url, long count)
{
    char subject[128], request[512];
    int fd = open_api(url);
    for (long i = 0; i < count; i++) {
        (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.CREATE.IDLE%ld", i);
        (void)snprintf(request, sizeof request,
                       "{\"name\":\"IDLE%ld\",\"subjects\":[\"idle.%ld\"],\"num_replicas\":3,"
                       "\"retention\":\"limits\",\"storage\":\"file\"}",
                       i, i);
        ask(fd, subject, request);
        (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.IDLE%ld.c", i);
        (void)snprintf(request, sizeof request,
                       "{\"stream_name\":\"IDLE%ld\",\"config\":{\"durable_name\":\"c\","
                       "\"ack_policy\":\"explicit\",\"deliver_policy\":\"all\"}}",
                       i);
        ask(fd, subject, request);
    }
    printf("0\n");
}

/* --- many connections, many subscriptions --- */

static void await_word(const char *said)
{
    char line[64];
    puts(said);
    (void)fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        die("stdin ended");
    }
}

static void run_hold(const char *url, int connections)
{
    int *fds = calloc((size_t)connections, sizeof *fds);
    char line[64];
    for (int i = 0; i < connections; i++) {
        fds[i] = open_client(url);
        (void)snprintf(line, sizeof line, "SUB hold.%d 1\r\n", i);
        send_text(fds[i], line);
        sync_up(fds[i]);
    }
    await_word("ready");
    for (int i = 0; i < connections; i++) {
        close(fds[i]);
    }
    free(fds);
    await_word("closed");
}

/* Distinct ones; returns when the server has them. `buffer`: WRITE_BUFFER bytes. */
static void subscribe_all(int fd, long count, char *buffer)
{
    size_t len = 0;
    for (long i = 0; i < count; i++) {
        len += (size_t)snprintf(buffer + len, WRITE_BUFFER - len, "SUB devices.%ld.state %ld\r\n",
                                i, i + 1);
        if (len > WRITE_BUFFER - 128 || i + 1 == count) {
            send_all(fd, buffer, len);
            len = 0;
        }
    }
    sync_up(fd);
}

static void run_subs(const char *url, long count)
{
    int fd = open_client(url);
    char *buffer = malloc(WRITE_BUFFER);
    subscribe_all(fd, count, buffer);
    free(buffer);
    await_word("ready");
    close(fd);
    await_word("closed");
}

/* Until a publish at each of the others reaches the last of the subscriptions. Prints: seconds. */
static void run_spread(const char *url, long count, char **others, int other_count)
{
    int fd = open_client(url);
    char *buffer = malloc(WRITE_BUFFER), line[256];
    double start = now_s();
    subscribe_all(fd, count, buffer);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    for (int k = 0; k < other_count; k++) {
        int from = open_client(others[k]);
        (void)snprintf(line, sizeof line, "PUB devices.%ld.state 0\r\n\r\n", count - 1);
        for (bool came = false; !came; sleep_s(1e-3)) {
            send_text(from, line);
            came = read(fd, buffer, WRITE_BUFFER) > 0;
        }
        close(from);
        sleep_s(20e-3); /* further copies of the probe */
        while (read(fd, buffer, WRITE_BUFFER) > 0) {
        }
    }
    printf("%.3f\n", now_s() - start - 20e-3 * other_count);
    free(buffer);
    close(fd);
}

/* Prints: connections per second. */
static void run_cycle(const char *url, long connections)
{
    enum { TOGETHER = 100 };
    int fds[TOGETHER];
    double start = now_s();
    for (long done = 0; done < connections; done += TOGETHER) {
        for (int i = 0; i < TOGETHER; i++) {
            fds[i] = open_client(url);
            send_text(fds[i], "SUB cycle 1\r\n");
        }
        for (int i = 0; i < TOGETHER; i++) {
            close(fds[i]);
        }
    }
    printf("%.0f\n", (double)connections / (now_s() - start));
}

struct churn {
    const char *url;
    double until;
    long done;
};

static void *churn_subscriptions(void *arg)
{
    struct churn *c = arg;
    int fd = open_client(c->url);
    char *buffer = malloc(WRITE_BUFFER);
    while (now_s() < c->until) {
        size_t len = 0;
        for (int i = 0; i < 500; i++) {
            len += (size_t)snprintf(buffer + len, WRITE_BUFFER - len,
                                    "SUB churn.%ld 1\r\nUNSUB 1\r\n", c->done++ % 5000);
        }
        send_all(fd, buffer, len);
        sync_up(fd);
    }
    free(buffer);
    close(fd);
    return NULL;
}

/* Prints: messages published per second, SUB + UNSUB pairs per second. */
static void run_churn(const char *url, double seconds)
{
    struct churn churn = {url, now_s() + seconds, 0};
    pthread_t thread;
    int fd = open_client(url);
    long sent = 0;
    pthread_create(&thread, NULL, churn_subscriptions, &churn);
    while (now_s() < churn.until) {
        publish(fd, "bench", 10000, 128, NULL);
        sync_up(fd);
        sent += 10000;
    }
    pthread_join(thread, NULL);
    printf("%.0f %.0f\n", (double)sent / seconds, (double)churn.done / seconds);
}

static long number(char **argv, int argc, int i, long missing)
{
    return i < argc ? strtol(argv[i], NULL, 10) : missing;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        die("load MODE URL COUNT …: the modes are at the top of load.c");
    }
    const char *mode = argv[1], *url = argv[2];
    long count = number(argv, argc, 3, 0);
    size_t size = (size_t)number(argv, argc, 4, 0);
    if (strcmp(mode, "pub") == 0) {
        run_pub(url, count, size);
    } else if (strcmp(mode, "fan") == 0) {
        run_fan(url, count, size, (int)number(argv, argc, 5, 1), argc > 6 ? argv[6] : url);
    } else if (strcmp(mode, "tls") == 0 && argc > 5) {
        run_tls(url, count, size, argv[5]);
    } else if (strcmp(mode, "request") == 0) {
        run_request(url, count, size, number(argv, argc, 5, 0), argc > 6 ? argv[6] : url);
    } else if (strcmp(mode, "spread") == 0 && argc > 4) {
        run_spread(url, count, &argv[4], argc - 4);
    } else if (strcmp(mode, "js") == 0) {
        run_js(url, count, size, (int)number(argv, argc, 5, 1), number(argv, argc, 6, 0));
    } else if (strcmp(mode, "js-idle") == 0) {
        run_js_idle(url, count);
    } else if (strcmp(mode, "hold") == 0) {
        run_hold(url, (int)count);
    } else if (strcmp(mode, "subs") == 0) {
        run_subs(url, count);
    } else if (strcmp(mode, "cycle") == 0) {
        run_cycle(url, count);
    } else if (strcmp(mode, "churn") == 0) {
        run_churn(url, (double)count);
    } else {
        die("no mode %s", mode);
    }
    return 0;
}
