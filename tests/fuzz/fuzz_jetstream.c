/* Requests of the JetStream API, publishes, pulls and acknowledgements at a whole server in this
 * process: broker, loops, shards, RocksDB and memory store, over a socket, as a client sends them.
 *
 * The input is a program: each step draws a subject and a body, either raw bytes or JSON whose
 * members are those of the API with values at the ends of their ranges. What a step draws comes
 * from the input, so libFuzzer changes programs, not text. After each input the server must still
 * answer and must still be able to delete the streams: a loop that stands still is found by the
 * timeout. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/config/options.h"
#include "jetstream/jetstream.h"

/* --- the server --- */

static int client = -1;
static char received[1 << 20]; /* what came since the last barrier, cut to what fits */
static size_t received_len;

static void fail(const char *what)
{
    fprintf(stderr, "fuzz_jetstream: %s\n", what);
    abort();
}

static volatile int ready;

static void on_ready(void *arg)
{
    (void)arg;
    __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
}

static void send_all(struct bytes b)
{
    if (getenv("TRIREME_FUZZ_SHOW") != NULL) {
        fprintf(stderr, "%.*s", (int)b.len, (const char *)b.ptr);
    }
    while (b.len > 0) {
        ssize_t n = send(client, b.ptr, b.len, MSG_NOSIGNAL);
        if (n <= 0) {
            fail("the server has closed the connection");
        }
        b = bytes_skip(b, (size_t)n);
    }
}

/* Reads until `text` has come. */
static void await(const char *text)
{
    for (;;) {
        received[received_len] = 0;
        if (memmem(received, received_len, text, strlen(text)) != NULL) {
            return;
        }
        struct pollfd p = {.fd = client, .events = POLLIN};
        if (poll(&p, 1, 20000) <= 0) {
            fprintf(stderr, "waiting for \"%s\"; came: %.*s\n", text, (int)received_len, received);
            fail("no answer within 20 s");
        }
        if (received_len > sizeof received / 2) { /* keep the end: `text` may be torn */
            memmove(received, received + received_len - 64, 64);
            received_len = 64;
        }
        ssize_t n = recv(client, received + received_len, sizeof received / 4, 0);
        if (n <= 0) {
            fail("the server has closed the connection");
        }
        received_len += (size_t)n;
    }
}

static char folder[] = "/tmp/trireme-fuzz-XXXXXX";

static void remove_folder(void)
{
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    (void)!system(command);
}

static void start(void)
{
    struct error error = {0};
    struct log_options log = {.file = "/dev/null"};
    if (mkdtemp(folder) == NULL || log_open(&log, &error) != OK) {
        fail("no folder, or no log");
    }
    (void)atexit(remove_folder);
    struct options *o = options_new();
    option_set(&o->host, "127.0.0.1");
    o->port = -1;
    o->jetstream = true;
    o->jetstream_max_memory = 64 << 20;
    option_set(&o->store_dir, folder);
    if (options_finish(o, &error) != OK) {
        fail(error.message);
    }
    struct loops *loops = loops_start(2);
    struct broker *broker = broker_new(o, NULL, loops);
    struct jetstream *js = jetstream_new(broker, NULL, NULL, &error);
    if (js == NULL || broker_bind(broker, &error) != OK) {
        fail(error.message);
    }
    jetstream_start(js, on_ready, NULL);
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
        (void)poll(NULL, 0, 5);
    }
    if (broker_listen(broker, &error) != OK) {
        fail(error.message);
    }
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)broker_client_port(broker)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(client, (struct sockaddr *)&address, sizeof address) != 0) {
        fail("cannot connect");
    }
    send_all(BYTES_LIT("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n"
                       "SUB _INBOX.> 1\r\nPING\r\n"));
    await("PONG\r\n");
}

/* --- programs --- */

struct program {
    struct bytes rest;
};

static uint8_t next(struct program *p)
{
    if (p->rest.len == 0) {
        return 0;
    }
    uint8_t b = (uint8_t)p->rest.ptr[0];
    p->rest = bytes_skip(p->rest, 1);
    return b;
}

#define PICK(p, list) (list)[next(p) % (sizeof(list) / sizeof((list)[0]))]

static const char *const streams[] = {"S", "T", "U"};
static const char *const consumers[] = {"c", "d", "e"};
static const char *const subjects[] = {"a",   "a.1", "a.*", "a.>", "b", ">",   "*",        "",
                                       "a..", "$X",  "b.1", "c.>", ".", "a b", "$JS.API.>"};
static const char *const numbers[] = {"0",
                                      "1",
                                      "-1",
                                      "2",
                                      "3",
                                      "5",
                                      "100",
                                      "1000",
                                      "1000000",
                                      "100000000",
                                      "1000000000",
                                      "30000000000",
                                      "2147483647",
                                      "2147483648",
                                      "4294967295",
                                      "4294967296",
                                      "-2147483649",
                                      "3155760000000000000",
                                      "9223372036854775806",
                                      "9223372036854775807",
                                      "9223372036854775808",
                                      "18446744073709551614",
                                      "18446744073709551615",
                                      "18446744073709551616",
                                      "-9223372036854775808",
                                      "-9223372036854775809",
                                      "1e300",
                                      "1.5",
                                      "3.0"};
static const char *const members[] = {"name",
                                      "subjects",
                                      "retention",
                                      "max_consumers",
                                      "max_msgs",
                                      "max_bytes",
                                      "max_age",
                                      "max_msg_size",
                                      "discard",
                                      "storage",
                                      "num_replicas",
                                      "no_ack",
                                      "duplicate_window",
                                      "deny_delete",
                                      "deny_purge",
                                      "metadata",
                                      "description",
                                      "durable_name",
                                      "deliver_policy",
                                      "opt_start_seq",
                                      "opt_start_time",
                                      "ack_policy",
                                      "ack_wait",
                                      "max_deliver",
                                      "backoff",
                                      "filter_subject",
                                      "filter_subjects",
                                      "replay_policy",
                                      "max_waiting",
                                      "max_ack_pending",
                                      "max_batch",
                                      "max_expires",
                                      "max_bytes",
                                      "stream_name",
                                      "config",
                                      "action",
                                      "batch",
                                      "expires",
                                      "no_wait",
                                      "idle_heartbeat",
                                      "seq",
                                      "keep",
                                      "filter",
                                      "last_by_subj",
                                      "next_by_subj",
                                      "offset",
                                      "subjects_filter",
                                      "deleted_details",
                                      "no_erase",
                                      "delay",
                                      "subject",
                                      "pedantic",
                                      "min_pending",
                                      "group",
                                      "start_time",
                                      "inactive_threshold",
                                      "max_msgs_per_subject",
                                      "mem_storage",
                                      "placement",
                                      "first_seq"};
static const char *const words[] = {"limits",
                                    "interest",
                                    "workqueue",
                                    "file",
                                    "memory",
                                    "old",
                                    "new",
                                    "all",
                                    "last",
                                    "none",
                                    "explicit",
                                    "by_start_sequence",
                                    "by_start_time",
                                    "instant",
                                    "original",
                                    "create",
                                    "update",
                                    "S",
                                    "c",
                                    "9999-12-31T23:59:59Z",
                                    "2116-01-01T00:00:00Z",
                                    "1677-01-01T00:00:00Z",
                                    "1970-01-01T00:00:00Z"};

static void put_value(struct program *p, struct buffer *out, unsigned depth);

static void put_object(struct program *p, struct buffer *out, unsigned depth)
{
    unsigned count = next(p) % 8;
    buffer_append_char(out, '{');
    for (unsigned i = 0; i < count; i++) {
        buffer_printf(out, "%s\"%s\":", i > 0 ? "," : "", PICK(p, members));
        put_value(p, out, depth);
    }
    buffer_append_char(out, '}');
}

static void put_value(struct program *p, struct buffer *out, unsigned depth)
{
    switch (next(p) % 8) {
    case 0:
    case 1:
    case 2:
        buffer_append_text(out, PICK(p, numbers));
        return;
    case 3:
        buffer_printf(out, "\"%s\"", PICK(p, words));
        return;
    case 4:
        buffer_printf(out, "\"%s\"", PICK(p, subjects));
        return;
    case 5:
        buffer_append_text(out, next(p) & 1 ? "true" : next(p) & 1 ? "false" : "null");
        return;
    case 6:
        buffer_append_char(out, '[');
        for (unsigned i = 0, n = depth > 3 ? 0 : next(p) % 4; i < n; i++) {
            buffer_append_text(out, i > 0 ? "," : "");
            put_value(p, out, depth + 1);
        }
        buffer_append_char(out, ']');
        return;
    default:
        if (depth > 3) {
            buffer_append_text(out, "{}");
        } else {
            put_object(p, out, depth + 1);
        }
    }
}

/* As many raw bytes as the next one says. */
static void put_raw(struct program *p, struct buffer *out)
{
    size_t len = next(p);
    len = len < p->rest.len ? len : p->rest.len;
    buffer_append(out, p->rest.ptr, len);
    p->rest = bytes_skip(p->rest, len);
}

/* A stream that can be made, with some members drawn behind the ones it needs. */
static void put_stream(struct program *p, struct buffer *out, const char *name)
{
    buffer_printf(out, "{\"name\":\"%s\",\"subjects\":[\"%s\"],\"storage\":\"%s\"", name,
                  PICK(p, subjects), next(p) & 1 ? "memory" : "file");
    for (unsigned i = 0, n = next(p) % 4; i < n; i++) {
        buffer_printf(out, ",\"%s\":", PICK(p, members));
        put_value(p, out, 1);
    }
    buffer_append_char(out, '}');
}

static void put_consumer(struct program *p, struct buffer *out, const char *stream,
                         const char *name)
{
    buffer_printf(out,
                  "{\"stream_name\":\"%s\",\"config\":{\"durable_name\":\"%s\",\"ack_policy\":"
                  "\"%s\"",
                  stream, name, next(p) & 1 ? "explicit" : "none");
    for (unsigned i = 0, n = next(p) % 4; i < n; i++) {
        buffer_printf(out, ",\"%s\":", PICK(p, members));
        put_value(p, out, 1);
    }
    buffer_append_text(out, "}}");
}

static const char *const stream_verbs[] = {"INFO",    "PURGE",      "DELETE",          "UPDATE",
                                           "MSG.GET", "MSG.DELETE", "LEADER.STEPDOWN", "CREATE"};
static const char *const consumer_verbs[] = {"INFO",   "DELETE", "MSG.NEXT", "DURABLE.CREATE",
                                             "CREATE", "PAUSE",  "RESET"};

static void put_body(struct program *p, struct buffer *body)
{
    switch (next(p) % 4) {
    case 0:
        return;
    case 1:
        put_raw(p, body);
        return;
    case 2:
        buffer_append_text(body, PICK(p, numbers));
        return;
    default:
        put_object(p, body, 0);
    }
}

/* The reply subject of a delivered message, somewhere in what came: an acknowledgement's subject.
 */
static bool find_ack(struct program *p, struct buffer *subject)
{
    size_t from = received_len > 0 ? (next(p) * (size_t)257) % received_len : 0;
    const char *at = memmem(received + from, received_len - from, "$JS.ACK.", 8);
    if (at == NULL) {
        return false;
    }
    const char *end = at;
    while (end<received + received_len && * end> ' ') {
        end++;
    }
    buffer_append(subject, at, (size_t)(end - at));
    return true;
}

static const char *const headers[] = {"Nats-Msg-Id",
                                      "Nats-Expected-Stream",
                                      "Nats-Expected-Last-Sequence",
                                      "Nats-Expected-Last-Msg-Id",
                                      "Nats-Expected-Last-Subject-Sequence",
                                      "Nats-TTL",
                                      "Nats-Rollup",
                                      "Nats-Schedule",
                                      "Nats-Batch-Id",
                                      "Nats-Batch-Sequence",
                                      "Nats-Incr",
                                      "Nats-Required-Api-Level"};
static const char *const ack_words[] = {"+ACK", "-NAK", "+WPI", "+TERM", "+NXT", ""};

static void put_publish(struct program *p, struct buffer *subject, struct buffer *header)
{
    buffer_append_text(subject, PICK(p, subjects));
    unsigned count = next(p) % 4;
    if (count > 0) {
        buffer_append_text(header, "NATS/1.0\r\n");
        for (unsigned i = 0; i < count; i++) {
            buffer_printf(header, "%s: %s\r\n", PICK(p, headers), PICK(p, numbers));
        }
        buffer_append_text(header, "\r\n");
    }
}

/* One operation of a client into `out`. */
static void step(struct program *p, struct buffer *out)
{
    struct buffer subject = {0}, header = {0}, body = {0};
    const char *stream = PICK(p, streams), *consumer = PICK(p, consumers);
    switch (next(p) % 10) {
    case 0:
        buffer_printf(&subject, "$JS.API.STREAM.%s.%s", next(p) & 3 ? "CREATE" : "UPDATE", stream);
        put_stream(p, &body, stream);
        break;
    case 1:
        buffer_printf(&subject, "$JS.API.CONSUMER.%s.%s.%s",
                      next(p) & 1 ? "CREATE" : "DURABLE.CREATE", stream, consumer);
        put_consumer(p, &body, stream, consumer);
        break;
    case 2:
        buffer_printf(&subject, "$JS.API.STREAM.%s.%s", PICK(p, stream_verbs), stream);
        put_body(p, &body);
        break;
    case 3:
        buffer_printf(&subject, "$JS.API.CONSUMER.%s.%s.%s", PICK(p, consumer_verbs), stream,
                      consumer);
        put_body(p, &body);
        break;
    case 4:
        buffer_printf(&subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream, consumer);
        put_body(p, &body);
        break;
    case 5: {
        static const char *const lists[] = {"STREAM.NAMES",
                                            "STREAM.LIST",
                                            "CONSUMER.NAMES.S",
                                            "CONSUMER.LIST.S",
                                            "INFO",
                                            "DIRECT.GET.S",
                                            ""};
        buffer_printf(&subject, "$JS.API.%s", PICK(p, lists));
        put_body(p, &body);
        break;
    }
    case 6:
    case 7:
        put_publish(p, &subject, &header);
        put_raw(p, &body);
        break;
    default:
        if (!find_ack(p, &subject)) {
            buffer_printf(&subject, "$JS.ACK.%s.%s.%s.%s.%s.%s.%s", stream, consumer,
                          PICK(p, numbers), PICK(p, numbers), PICK(p, numbers), PICK(p, numbers),
                          PICK(p, numbers));
        }
        buffer_append_text(&body, PICK(p, ack_words));
        if (next(p) & 1) {
            buffer_append_char(&body, ' ');
            put_body(p, &body);
        }
    }
    /* The line must be one, and its subject one token: the parser has a target of its own. */
    bool well = subject.len > 0;
    for (size_t i = 0; i < subject.len; i++) {
        well = well && subject.data[i] > ' ';
    }
    if (well && header.len > 0) {
        buffer_printf(out, "HPUB %.*s _INBOX.r %zu %zu\r\n", (int)subject.len, subject.data,
                      header.len, header.len + body.len);
    } else if (well) {
        buffer_printf(out, "PUB %.*s _INBOX.r %zu\r\n", (int)subject.len, subject.data, body.len);
    }
    if (well) {
        buffer_append_bytes(out, buffer_bytes(&header));
        buffer_append_bytes(out, buffer_bytes(&body));
        buffer_append_text(out, "\r\n");
    }
    buffer_deinit(&subject);
    buffer_deinit(&header);
    buffer_deinit(&body);
}

static void request(const char *subject, const char *reply, const char *wanted)
{
    struct buffer out = {0};
    buffer_printf(&out, "PUB %s _INBOX.%s 0\r\n\r\n", subject, reply);
    send_all(buffer_bytes(&out));
    await(wanted);
    buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (client < 0) {
        start();
    }
    struct program p = {bytes_make(data, size)};
    struct buffer out = {0};
    received_len = 0;
    for (unsigned steps = 0; p.rest.len > 0 && steps < 64; steps++) {
        step(&p, &out);
        if (next(&p) % 4 == 0) { /* mostly several in one segment */
            buffer_append_text(&out, "PING\r\n");
            send_all(buffer_bytes(&out));
            buffer_clear(&out);
            await("PONG\r\n");
        }
    }
    send_all(buffer_bytes(&out));
    buffer_deinit(&out);
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        char subject[64], reply[16], wanted[64];
        (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.DELETE.%s", streams[i]);
        (void)snprintf(reply, sizeof reply, "end%zu", i);
        (void)snprintf(wanted, sizeof wanted, "MSG _INBOX.%s 1 ", reply);
        request(subject, reply, wanted);
    }
    return 0;
}
