/* Pull requests and deliveries of one consumer, on the stream's leader. Consumers reference §5, §6.
 *
 *   request → queue → pump: choose messages, propose a DELIVER entry → applied at a quorum → send
 *
 * A message is sent only after its delivery is in the log, so consumer sequences and delivery
 * counts are never used twice, whoever leads next.
 *
 * (1) New messages are looked for from next_seq on: everything between it and the last one chosen,
 * proposals under way included, does not match.
 * (2) While a change of the consumer is under way nothing is chosen: a DELIVER entry behind it in
 * the log would count as delivered, and as seen, what the consumer is now (not) meant to have.
 * The same while messages are given back: a client that does so and asks for the next one wants
 * those first.
 * (3) A request leaves the queue when it is full, over, or its inbox has no interest; if deliveries
 * for it are still under way it is freed, and its last status sent, when they are done. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "jetstream/asset_internal.h"
#include "jetstream/state/request_fields.h"

#define DELIVER_COUNT_MAX 256           /* messages of one DELIVER entry */
#define DELIVER_BYTES_MAX (256u * 1024) /* and their bytes */
#define ACK_SUBJECT_MAX   (2 * JS_NAME_MAX + 128)
#define BATCH_LEAST       INT32_MAX  /* below zero; all are one message */
#define CLOCK_RETRY_NS    NS_PER_SEC /* while the clock is out of all bounds */

struct request {
    struct pulls *pulls;
    struct request *prev, *next; /* in the queue */
    struct request *ending_prev,
        *ending_next; /* in the list of those that end when nothing is left */
    bool ending;      /* it is in there */
    char *reply;
    int64_t left;       /* messages still wanted */
    int64_t less;       /* of them, as clients are told: it asked for none, or for less */
    int64_t bytes_left; /* with max_bytes */
    bool has_max_bytes, no_wait;
    int64_t expires_ns; /* monotonic; 0: never */
    int64_t heartbeat_ns, next_heartbeat_ns;
    struct loop_timer timer; /* while it is in the queue: the first of its times, or before */
    uint32_t under_way;
    bool over;       /* not in the queue any more */
    char status[64]; /* to send when nothing is under way; "" none */
};

struct pulls {
    struct asset *asset;
    struct consumer *consumer;
    uint64_t number; /* of the asset's: a consumer may be deleted, and another have its name */
    struct request *queue, *queue_end;
    struct request
        *ending; /* of the queue: no_wait, and has had something, or does not wait for it */
    uint32_t waiting;
    unsigned __int128 promised;    /* what the queue still wants */
    bool collected;                /* `due` is that of this turn */
    uint64_t next_seq, chosen_seq; /* chosen_seq: the last new one */
    uint32_t held;                 /* changes of the consumer under way */
    uint32_t settling;             /* negative acknowledgements under way */
    uint32_t new_under_way;        /* first deliveries proposed and not applied */
    struct map redelivering;       /* stream seq → anything: redeliveries under way */
    uint64_t *due;                 /* sequences to redeliver, ascending */
    uint32_t due_from, due_count, due_cap;
    struct loop_timer pump_timer; /* redeliveries, and searches */
    struct turn_task pump_task;
    struct delivery *under_way; /* list of DELIVER entries proposed */
    uint32_t choices_under_way; /* in them */
    struct internal_sub *acks, *requests;
};

struct choice {
    uint64_t seq;
    struct request *request;
    bool is_new;
};

struct delivery {        /* one DELIVER entry */
    struct pulls *pulls; /* NULL when the leader side has gone */
    struct delivery *next;
    struct choice *choices;
    uint32_t count, cap;
};

uint32_t pulls_waiting(const struct pulls *p)
{
    return p->waiting;
}

/* --- requests --- */

static void send_status(struct pulls *p, const struct request *q, const char *status)
{
    struct buffer header = {0};
    buffer_printf(&header, "NATS/1.0 %s\r\n", status);
    bool counts = strcmp(status, "408 Request Timeout") == 0 ||
                  strcmp(status, "409 Message Size Exceeds MaxBytes") == 0 ||
                  strcmp(status, "409 Batch Completed") == 0 ||
                  strcmp(status, "409 Server Shutdown") == 0;
    if (counts) {
        buffer_printf(&header, "Nats-Pending-Messages: %lld\r\nNats-Pending-Bytes: %lld\r\n",
                      (long long)(q->left - q->less),
                      (long long)(q->has_max_bytes ? q->bytes_left : 0));
    }
    if (strcmp(status, "100 Idle Heartbeat") == 0) {
        buffer_printf(&header, "Nats-Last-Consumer: %llu\r\nNats-Last-Stream: %llu\r\n",
                      (unsigned long long)p->consumer->delivered_seq,
                      (unsigned long long)p->consumer->delivered_stream_seq);
    }
    buffer_append_text(&header, "\r\n");
    js_publish(p->asset->js, p->asset->account, bytes_of(q->reply), BYTES_NONE,
               buffer_bytes(&header), BYTES_NONE);
    buffer_deinit(&header);
}

static void request_free(struct request *q)
{
    free(q->reply);
    free(q);
}

/* Nothing here looks at all requests: there may be as many as max_waiting allows. */

static void append_request(struct pulls *p, struct request *q)
{
    q->prev = p->queue_end;
    q->next = NULL;
    *(p->queue_end == NULL ? &p->queue : &p->queue_end->next) = q;
    p->queue_end = q;
    p->waiting++;
    p->promised += (uint64_t)q->left;
}

static void take_from_queue(struct pulls *p, struct request *q)
{
    *(q->prev == NULL ? &p->queue : &q->prev->next) = q->next;
    *(q->next == NULL ? &p->queue_end : &q->next->prev) = q->prev;
    CHECK(p->waiting > 0);
    p->waiting--;
    p->promised -= (uint64_t)q->left;
}

static void add_ending(struct pulls *p, struct request *q)
{
    if (q->no_wait && !q->ending) {
        q->ending = true;
        q->ending_prev = NULL;
        q->ending_next = p->ending;
        if (p->ending != NULL) {
            p->ending->ending_prev = q;
        }
        p->ending = q;
    }
}

static void unlink_request(struct pulls *p, struct request *q)
{
    take_from_queue(p, q);
    loop_timer_cancel(asset_loop(p->asset), &q->timer);
    if (q->ending) {
        *(q->ending_prev == NULL ? &p->ending : &q->ending_prev->ending_next) = q->ending_next;
        if (q->ending_next != NULL) {
            q->ending_next->ending_prev = q->ending_prev;
        }
        q->ending = false;
    }
}

/* The request is over; "" sends nothing. */
static void finish(struct pulls *p, struct request *q, const char *status)
{
    if (q->over) {
        return;
    }
    unlink_request(p, q);
    q->over = true;
    (void)snprintf(q->status, sizeof q->status, "%s", status);
    if (q->under_way == 0) {
        if (*status != '\0') {
            send_status(p, q, status);
        }
        request_free(q);
    }
}

static void arm_request(struct request *q);

static void on_request_timer(void *arg)
{
    struct request *q = arg;
    int64_t now = clock_mono_ns();
    if (q->expires_ns > 0 && q->expires_ns <= now) {
        finish(q->pulls, q, "408 Request Timeout");
        return;
    }
    if (q->heartbeat_ns > 0 && q->next_heartbeat_ns <= now) {
        q->next_heartbeat_ns = time_after(now, q->heartbeat_ns);
        send_status(q->pulls, q, "100 Idle Heartbeat");
    }
    arm_request(q);
}

/* A delivery puts the heartbeat off; the timer notices that when it comes. */
static void arm_request(struct request *q)
{
    int64_t due = q->expires_ns > 0 ? q->expires_ns : INT64_MAX;
    if (q->heartbeat_ns > 0 && q->next_heartbeat_ns < due) {
        due = q->next_heartbeat_ns;
    }
    if (due != INT64_MAX) {
        loop_timer_arm(asset_loop(q->pulls->asset), &q->timer, due, on_request_timer, q);
    }
}

#define STATUS_MAX 320

/* Go's strconv.Atoi, whose numbers are 64 bits wide. */
static bool to_int(struct bytes text, int64_t *value)
{
    uint64_t magnitude;
    bool negative = text.len > 0 && text.ptr[0] == '-';
    bool sign = negative || (text.len > 0 && text.ptr[0] == '+');
    if (!bytes_to_u64(bytes_skip(text, sign ? 1 : 0), &magnitude) || magnitude > INT64_MAX) {
        return false;
    }
    *value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return true;
}

static struct bytes trim(struct bytes text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.ptr[0]) != NULL) {
        text = bytes_skip(text, 1);
    }
    while (text.len > 0 && strchr(" \t\r\n", text.ptr[text.len - 1]) != NULL) {
        text.len--;
    }
    return text;
}

/* The body: nothing, a number, or an object; what is something else asks for one message. False
 * with the status that refuses it. */
static bool read_next(struct bytes body, struct next_request *n, char status[STATUS_MAX])
{
    struct js_error error;
    int64_t batch;
    body = trim(body);
    if (body.len > 0 && body.ptr[0] == '{') {
        if (!fields_read(&next_fields, FIELDS_LOOSE, body, n, &error)) {
            struct bytes why = bytes_of(error.text);
            const struct bytes prefix = BYTES_LIT("invalid JSON: ");
            why = bytes_starts(why, prefix) ? bytes_skip(why, prefix.len) : why;
            (void)snprintf(status, STATUS_MAX, "400 Bad Request - %.*s", BYTES_ARG(why));
            return false;
        }
    } else if (to_int(body, &batch)) {
        n->batch = batch;
    }
    n->heartbeat_ns = n->heartbeat_ns < 0 ? 0 : n->heartbeat_ns;
    if (n->heartbeat_ns > 0 && n->heartbeat_ns > n->expires_ns / 2) {
        (void)snprintf(status, STATUS_MAX, "400 Bad Request - heartbeat value too large");
        return false;
    }
    return true;
}

/* Against the consumer's caps, and for what only priority consumers take. */
static bool check_next(const struct consumer_config *c, const struct next_request *n,
                       char status[STATUS_MAX])
{
    if (c->max_batch > 0 && n->batch > c->max_batch) {
        (void)snprintf(status, STATUS_MAX, "409 Exceeded MaxRequestBatch of %lld",
                       (long long)c->max_batch);
    } else if (c->max_expires_ns > 0 && n->expires_ns > c->max_expires_ns) {
        char limit[CLOCK_DURATION_MAX];
        clock_format_duration(c->max_expires_ns, limit);
        (void)snprintf(status, STATUS_MAX, "409 Exceeded MaxRequestExpires of %s", limit);
    } else if (c->max_bytes > 0 && n->max_bytes > c->max_bytes) {
        (void)snprintf(status, STATUS_MAX, "409 Exceeded MaxRequestMaxBytes of %lld",
                       (long long)c->max_bytes);
    } else if (n->min_pending != 0 || n->min_ack_pending != 0) {
        (void)snprintf(status, STATUS_MAX, "400 Bad Request - Not a Overflow Priority consumer");
    } else if (n->id != NULL) {
        (void)snprintf(status, STATUS_MAX,
                       "400 Bad Request - Not a Pinned Client Priority consumer");
    } else if (n->priority < 0 || n->priority > 9) {
        (void)snprintf(status, STATUS_MAX, "400 Bad Request - Priority must be between 0 and 9");
    } else {
        return true;
    }
    return false;
}

/* False with the status line that refuses it. */
static bool parse_request(const struct pulls *p, struct bytes body, struct request *q,
                          char status[STATUS_MAX])
{
    struct next_request n = {0};
    bool ok = read_next(body, &n, status) && check_next(&p->consumer->config, &n, status);
    int64_t now = clock_mono_ns();
    q->left = n.batch > 0 ? n.batch : 1;
    q->less = n.batch > 0 ? 0 : 1 - (n.batch < -BATCH_LEAST ? -BATCH_LEAST : n.batch);
    q->has_max_bytes = n.max_bytes > 0;
    q->bytes_left = q->has_max_bytes ? n.max_bytes : 0;
    q->no_wait = n.no_wait;
    q->heartbeat_ns = n.heartbeat_ns;
    q->expires_ns = n.expires_ns != 0 ? time_after(now, n.expires_ns) : 0;
    q->next_heartbeat_ns = time_after(now, q->heartbeat_ns);
    fields_deinit(&next_fields, &n);
    return ok;
}

/* Messages that match, and were never chosen. */
static uint64_t fresh(const struct pulls *p)
{
    uint64_t left = consumer_left(p->asset->stream, p->consumer);
    return left > p->new_under_way ? left - p->new_under_way : 0;
}

/* What a no_wait request may count on now. */
static uint64_t available(const struct pulls *p)
{
    return fresh(p) + (p->due_count - p->due_from);
}

static void collect_due(struct pulls *p);

void pulls_request(struct pulls *p, struct bytes reply, struct bytes header, struct bytes body)
{
    struct request *q = NEW(struct request);
    char status[STATUS_MAX];
    struct bytes level;
    q->pulls = p;
    q->reply = mem_dup(reply.ptr, reply.len);
    uint64_t required;
    bool too_new = header_find(header, "Nats-Required-Api-Level", &level) &&
                   (!bytes_to_u64(level, &required) || required > JETSTREAM_API_LEVEL);
    const char *refusal = too_new                             ? "412 Required Api Level"
                          : parse_request(p, body, q, status) ? NULL
                                                              : status;
    if (refusal == NULL && p->waiting >= (uint64_t)p->consumer->config.max_waiting) {
        refusal = q->heartbeat_ns > 0 ? "" : "409 Exceeded MaxWaiting";
    }
    if (!p->collected) {
        collect_due(p);
    }
    if (refusal == NULL && q->no_wait && q->expires_ns == 0) {
        uint64_t there = available(p);
        refusal = there == 0                                ? "404 No Messages"
                  : p->promised >= there && p->promised > 0 ? "408 Requests Pending"
                                                            : NULL;
    }
    if (refusal != NULL) {
        if (*refusal != '\0') {
            send_status(p, q, refusal);
        }
        request_free(q);
        return;
    }
    append_request(p, q);
    if (q->expires_ns == 0) {
        add_ending(p, q);
    }
    arm_request(q);
    pulls_pump(p);
}

/* --- choosing --- */

static bool is_exhausted(const struct consumer *c, const struct pending_message *m)
{
    return c->config.max_deliver > 0 && m->deliveries >= c->config.max_deliver;
}

static void propose_exhausted(struct pulls *p, uint64_t seq, int64_t now)
{
    struct buffer entry = {0};
    buffer_put_u8(&entry, ENTRY_ACKS);
    buffer_put_bytes(&entry, bytes_of(p->consumer->config.name));
    buffer_put_u64(&entry, (uint64_t)now);
    buffer_put_varint(&entry, 1);
    buffer_put_u8(&entry, ACK_OP_EXHAUSTED);
    buffer_put_varint(&entry, seq);
    buffer_put_varint(&entry, 0);
    (void)asset_propose(p->asset, buffer_bytes(&entry), NULL, NULL);
    buffer_deinit(&entry);
}

static void on_pump_timer(void *arg)
{
    struct pulls *p = arg;
    pulls_pump(p);
}

/* `due_ns`: monotonic. */
static void pump_at(struct pulls *p, int64_t due_ns)
{
    if (!loop_timer_armed(&p->pump_timer) || due_ns < p->pump_timer.due_ns) {
        loop_timer_arm(asset_loop(p->asset), &p->pump_timer, due_ns, on_pump_timer, p);
    }
}

/* Gathers what is due for redelivery, and arms the timer for what will be. By the monotonic clock:
 * the other one may be set back. */
static void collect_due(struct pulls *p)
{
    struct consumer *c = p->consumer;
    int64_t wall;
    bool right = asset_clock(&wall);
    int64_t now = clock_mono_ns();
    int64_t next = INT64_MAX;
    p->due_from = p->due_count = 0;
    p->collected = true;
    for (uint32_t i = c->pending_from; i < c->pending_count && right; i++) {
        struct pending_message *m = &c->pending[i];
        if ((m->stream_seq >> 63) != 0 || map_get_u64(&p->redelivering, m->stream_seq) != NULL) {
            continue;
        }
        m->due_mono_ns = consumer_due_mono_ns(c, m, wall, now); /* and there it stays */
        if (m->due_mono_ns > now) {
            next = m->due_mono_ns < next ? m->due_mono_ns : next;
        } else if (is_exhausted(c, m)) {
            (void)map_put_u64(&p->redelivering, m->stream_seq, p);
            advise_max_deliver(p->asset, p->consumer, m->stream_seq, m->deliveries);
            propose_exhausted(p, m->stream_seq, wall);
        } else {
            VEC_RESERVE(p->due, p->due_cap, p->due_count);
            p->due[p->due_count++] = m->stream_seq;
        }
    }
    if (next != INT64_MAX) {
        pump_at(p, next);
    }
}

static bool may_deliver_new(const struct pulls *p)
{
    const struct consumer *c = p->consumer;
    return c->config.ack == ACK_NONE || c->config.max_ack_pending <= 0 ||
           c->ack_pending + p->new_under_way < (uint64_t)c->config.max_ack_pending;
}

/* Is it only for now that a message cannot be read? Then delivery goes on when it is repaired, in
 * order; what is lost for good is left out, the log says what that is. */
static bool comes_back(const struct pulls *p, enum err err)
{
    return err == ERR_CORRUPT && group_has_others(p->asset->group);
}

/* The next new one. Where the search has come to is kept, found or not. */
static bool choose_new(struct pulls *p, size_t *budget, struct choice *choice,
                       struct stored_message *m)
{
    struct stream *s = p->asset->stream;
    const struct consumer_config *config = &p->consumer->config;
    if (p->next_seq <= p->consumer->delivered_stream_seq) {
        p->next_seq = p->consumer->delivered_stream_seq + 1;
    }
    enum err err;
    while ((err = stream_search(s, p->next_seq, consumer_filters(config), budget, m)) ==
               ERR_CORRUPT &&
           !comes_back(p, err)) {
        p->next_seq = m->seq + 1;
    }
    if (err == OK) {
        *choice = (struct choice){.seq = m->seq, .is_new = true};
    } else if (err == ERR_BUSY) {
        p->next_seq = m->seq;
        pump_at(p, clock_mono_ns());
    } else if (err == ERR_NOT_FOUND) {
        p->next_seq = s->totals.last_seq + 1;
    }
    return err == OK;
}

/* The next message to deliver, redeliveries first; false when there is none now. */
static bool choose(struct pulls *p, size_t *budget, struct choice *choice, struct stored_message *m)
{
    struct stream *s = p->asset->stream;
    while (p->due_from < p->due_count) {
        uint64_t seq = p->due[p->due_from];
        enum err err = stream_read(s, seq, m);
        if (err == OK) {
            *choice = (struct choice){.seq = seq};
            return true;
        }
        if (comes_back(p, err)) {
            return false;
        }
        p->due_from++; /* removed meanwhile, or lost */
    }
    /* Without a filter the next one is found at once, or there is none: no need to count. */
    bool any = !p->consumer->has_filter || fresh(p) > 0;
    return may_deliver_new(p) && any && choose_new(p, budget, choice, m);
}

static void take_choice(struct pulls *p, const struct choice *choice)
{
    if (choice->is_new) {
        p->chosen_seq = choice->seq;
        p->next_seq = choice->seq + 1;
        p->new_under_way++;
    } else {
        p->due_from++;
        (void)map_put_u64(&p->redelivering, choice->seq, p);
    }
}

/* Where the client acknowledges a message; `left`: what comes behind it. Consumers reference §4. */
static size_t put_ack_subject(const struct pulls *p, char text[ACK_SUBJECT_MAX],
                              const struct stored_message *m, uint64_t deliveries,
                              uint64_t consumer_seq, uint64_t left)
{
    int n = snprintf(text, ACK_SUBJECT_MAX, "$JS.ACK.%s.%s.%llu.%llu.%llu.%lld.%llu",
                     p->asset->name, p->consumer->config.name, (unsigned long long)deliveries,
                     (unsigned long long)m->seq, (unsigned long long)consumer_seq,
                     (long long)m->time_ns, (unsigned long long)left);
    CHECK(n > 0 && n < ACK_SUBJECT_MAX);
    return (size_t)n;
}

/* Size of a delivery as max_bytes counts it: subject, ack subject, headers and payload. `before`:
 * how many go before it in its entry. */
static int64_t delivery_bytes(struct pulls *p, const struct choice *choice,
                              const struct stored_message *m, uint32_t before)
{
    char text[ACK_SUBJECT_MAX];
    const struct pending_message *pending = consumer_pending(p->consumer, m->seq);
    uint64_t deliveries = pending == NULL ? 1 : (uint64_t)pending->deliveries + 1;
    uint64_t number = p->consumer->delivered_seq + p->choices_under_way + before + 1;
    uint64_t left = fresh(p);
    left -= choice->is_new && left > 0 ? 1 : 0;
    size_t ack = put_ack_subject(p, text, m, deliveries, number, left);
    return (int64_t)(m->subject.len + ack + m->header.len + m->body.len);
}

/* The head of the queue that can take the message, its bytes counted; requests it does not fit are
 * ended. */
static struct request *taker(struct pulls *p, const struct choice *choice,
                             const struct stored_message *m, uint32_t before)
{
    while (p->queue != NULL) {
        struct request *q = p->queue;
        int64_t bytes = q->has_max_bytes ? delivery_bytes(p, choice, m, before) : 0;
        if (!broker_has_interest(p->asset->account, bytes_of(q->reply))) {
            finish(p, q, "");
        } else if (bytes > q->bytes_left) {
            finish(p, q, "409 Message Size Exceeds MaxBytes");
        } else {
            q->bytes_left -= bytes;
            /* What is full to the byte ends with this one. */
            if (q->has_max_bytes && q->bytes_left == 0) {
                p->promised -= (uint64_t)q->left - 1;
                q->left = 1;
            }
            return q;
        }
    }
    return NULL;
}

static void assign(struct pulls *p, struct request *q)
{
    q->left--;
    p->promised--;
    q->under_way++;
    add_ending(p, q);
    q->next_heartbeat_ns = time_after(clock_mono_ns(), q->heartbeat_ns);
    if (q->left == 0) {
        finish(p, q, q->has_max_bytes && q->bytes_left > 0 ? "409 Batch Completed" : "");
        return;
    }
    take_from_queue(p, q); /* round robin: to the tail */
    append_request(p, q);
}

/* --- delivering --- */

static void send_message(struct pulls *p, const struct choice *choice, uint64_t consumer_seq,
                         uint64_t left)
{
    struct asset *a = p->asset;
    struct stored_message m;
    if (stream_read(a->stream, choice->seq, &m) != OK) {
        return; /* limits or a purge took it while it was under way */
    }
    struct pending_message *pending = consumer_pending(p->consumer, choice->seq);
    char reply[ACK_SUBJECT_MAX];
    size_t n = put_ack_subject(p, reply, &m, pending == NULL ? 1 : pending->deliveries,
                               consumer_seq, left);
    struct buffer payload = {0};
    struct bytes bytes = m.body;
    if (m.header.len > 0) {
        buffer_append_bytes(&payload, m.header);
        buffer_append_bytes(&payload, m.body);
        bytes = buffer_bytes(&payload);
    }
    struct message message = {.subject = bytes_of(choice->request->reply),
                              .shown = m.subject,
                              .reply = bytes_make(reply, n),
                              .payload = bytes,
                              .header_len = (uint32_t)m.header.len};
    (void)broker_publish(a->js->broker, a->account, &message);
    buffer_deinit(&payload);
}

static void release_request(struct pulls *p, struct request *q)
{
    if (--q->under_way == 0 && q->over) {
        if (q->status[0] != '\0') {
            send_status(p, q, q->status);
        }
        request_free(q);
    }
}

static void delivery_free(struct delivery *d)
{
    free(d->choices);
    free(d);
}

/* A no_wait request that has had what there was ends here. */
static void end_no_wait(struct pulls *p)
{
    while (p->ending != NULL && available(p) == 0) {
        finish(p, p->ending, "404 No Messages");
    }
}

static void on_delivered(struct asset *a, void *arg, bool applied,
                         const struct apply_result *result)
{
    (void)a;
    (void)result;
    struct delivery *d = arg;
    struct pulls *p = d->pulls;
    if (p == NULL) {
        delivery_free(d);
        return;
    }
    for (struct delivery **at = &p->under_way; *at != NULL; at = &(*at)->next) {
        if (*at == d) {
            *at = d->next;
            break;
        }
    }
    CHECK(p->choices_under_way >= d->count);
    p->choices_under_way -= d->count;
    uint64_t left = consumer_left(p->asset->stream, p->consumer);
    uint64_t fresh = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        fresh += d->choices[i].is_new;
    }
    for (uint32_t i = 0; i < d->count; i++) {
        const struct choice *choice = &d->choices[i];
        if (choice->is_new) {
            p->new_under_way--;
            fresh--;
        } else {
            (void)map_remove_u64(&p->redelivering, choice->seq);
        }
        if (applied) {
            send_message(p, choice, p->consumer->delivered_seq - (d->count - 1 - i), left + fresh);
        }
        release_request(p, choice->request);
    }
    delivery_free(d);
    if (applied) {
        pulls_pump(p);
    }
}

static void pump(void *arg)
{
    struct pulls *p = arg;
    int64_t wall;
    if (!p->asset->leading || p->held > 0 || p->settling > 0) {
        return;
    }
    collect_due(p);
    p->collected = false; /* what comes in the next turn looks again */
    if (!asset_clock(&wall)) {
        pump_at(p, time_after(clock_mono_ns(), CLOCK_RETRY_NS));
        return;
    }
    struct delivery *d = NULL;
    size_t bytes = 0, budget = SEARCH_BYTES;
    struct choice choice;
    struct stored_message m;
    while (p->queue != NULL &&
           (d == NULL || (d->count < DELIVER_COUNT_MAX && bytes < DELIVER_BYTES_MAX)) &&
           choose(p, &budget, &choice, &m)) {
        struct request *q = taker(p, &choice, &m, d == NULL ? 0 : d->count);
        if (q == NULL) {
            break;
        }
        choice.request = q;
        if (d == NULL) {
            d = NEW(struct delivery);
            d->pulls = p;
        }
        VEC_RESERVE(d->choices, d->cap, d->count);
        d->choices[d->count++] = choice;
        bytes += m.body.len;
        take_choice(p, &choice);
        assign(p, q);
    }
    if (d == NULL) {
        end_no_wait(p);
        return;
    }
    bool full = d->count == DELIVER_COUNT_MAX || bytes >= DELIVER_BYTES_MAX;
    struct buffer entry = {0};
    buffer_put_u8(&entry, ENTRY_DELIVER);
    buffer_put_bytes(&entry, bytes_of(p->consumer->config.name));
    buffer_put_u64(&entry, (uint64_t)wall);
    buffer_put_varint(&entry, d->count);
    for (uint32_t i = 0; i < d->count; i++) {
        buffer_put_varint(&entry, d->choices[i].seq);
    }
    d->next = p->under_way;
    p->under_way = d;
    p->choices_under_way += d->count;
    if (!asset_propose(p->asset, buffer_bytes(&entry), on_delivered, d)) {
        on_delivered(p->asset, d, false, NULL);
        full = false;
    }
    buffer_deinit(&entry);
    if (full) {
        pulls_pump(p);
    } else {
        end_no_wait(p);
    }
}

void pulls_pump(struct pulls *p)
{
    /* At the end of the turn: acks, stores and requests of one turn lead to one entry. */
    loop_at_turn_end(asset_loop(p->asset), &p->pump_task);
}

uint64_t pulls_settle(struct pulls *p)
{
    p->settling++;
    return p->number;
}

void pulls_settled(struct pulls *p, uint64_t number)
{
    if (number == p->number) {
        CHECK(p->settling > 0);
        p->settling--;
    }
}

uint64_t pulls_hold(struct pulls *p)
{
    p->held++;
    return p->number;
}

void pulls_release(struct pulls *p, uint64_t hold)
{
    if (hold != p->number) {
        return;
    }
    CHECK(p->held > 0);
    p->held--;
    p->next_seq = p->chosen_seq + 1; /* what did not match may do so now */
    pulls_pump(p);
}

/* --- life --- */

/* For this consumer alone: who asks for one that is not there is told at once that nobody answers.
 */
static struct internal_sub *subscribe(struct pulls *p, const char *prefix, const char *suffix,
                                      internal_cb cb)
{
    struct asset *a = p->asset;
    struct buffer subject = {0};
    buffer_printf(&subject, "%s%s.%s%s", prefix, a->name, p->consumer->config.name, suffix);
    struct internal_sub *sub = broker_subscribe(a->js->broker, a->account, buffer_bytes(&subject),
                                                BYTES_NONE, asset_loop(a), cb, a);
    buffer_deinit(&subject);
    return sub;
}

struct pulls *pulls_new(struct asset *asset, struct consumer *consumer)
{
    struct pulls *p = NEW(struct pulls);
    p->asset = asset;
    p->consumer = consumer;
    p->number = ++asset->pulls_made;
    p->chosen_seq = consumer->delivered_stream_seq;
    p->next_seq = p->chosen_seq + 1;
    p->pump_task.run = pump;
    p->pump_task.arg = p;
    p->acks = subscribe(p, "$JS.ACK.", ".>", asset_on_acks);
    p->requests = subscribe(p, "$JS.API.CONSUMER.MSG.NEXT.", "", asset_on_pulls);
    pulls_pump(p); /* timers of what is pending already */
    return p;
}

void pulls_free(struct pulls *p, const char *status)
{
    struct loop *loop = asset_loop(p->asset);
    broker_unsubscribe(p->asset->js->broker, p->acks);
    broker_unsubscribe(p->asset->js->broker, p->requests);
    for (struct delivery *d = p->under_way; d != NULL; d = d->next) {
        d->pulls = NULL;
        for (uint32_t i = 0; i < d->count; i++) {
            struct request *q = d->choices[i].request;
            if (--q->under_way == 0 && q->over) {
                request_free(q);
            }
        }
    }
    while (p->queue != NULL) {
        finish(p, p->queue, status);
    }
    loop_timer_cancel(loop, &p->pump_timer);
    map_deinit(&p->redelivering);
    free(p->due);
    loop_cancel_turn_end(loop, &p->pump_task);
    free(p);
}
