#include "cluster/peers.h"

#include <stdio.h>
#include <stdlib.h>

#include "cluster/dial.h"
#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/url.h"

/* Life of a connection to a peer:
 *
 *   dialled:  connect → its INFO line → our TRIREME {…} → its TRIREME {…} → UP → frames → closed
 *   accepted: (routes.c) our INFO → its TRIREME {…} → our TRIREME {…} → UP → frames → closed
 *
 * Who dials says who it is only when the other side has shown that it is awake: one that stands
 * still must not find a heap of dead connections afterwards.
 *
 * (1) Peers are never removed, so names and ids stay valid.
 * (2) `conn` of a peer changes on loop 0 under the lock; other loops read it under the lock and may
 * use it until the end of their turn.
 * (3) Whoever was heard of is dialled by the node with the smaller id whenever no connection brings
 * anything, at the address that was heard of last: which of its incarnations' routes ended when
 * does not matter. A connection that is silent for STUCK_MS counts as none, for the machine at the
 * other end may have lost its power, and then nobody ends it; it is given up as soon as a new one
 * is answered.
 * (4) While a connection brings something, nobody else takes the node's name. */

#define PEERS_VERSION   2   /* of what is said between nodes: another one is refused */
#define REDIAL_MS       250 /* at first; then twice as long each time */
#define REDIAL_MAX_MS   4000
#define STEADY_MS       2000 /* a connection that lasted so long was none in vain */
#define STUCK_MS        2000
#define GREETING_MS     2000 /* for the other side's answer; a paused one takes longer */
#define DIAL_TIMEOUT_MS 1000
#define NODES_MAX       64

#define PEER_NAME_MAX      1024
#define GREETING_BYTES_MAX 65536
#define FRAME_INPUT_MAX    (PEERS_FRAME_MAX + (1u << 20)) /* a frame, and what came with its end */

enum frame_type { FRAME_HEARTBEAT = 0, FRAME_GROUP = 255 };

struct peer {
    struct peers *peers;
    uint64_t id;
    char *name;
    char *host; /* where it was last; NULL: no route has told */
    int port;
    char *certificate_name;   /* whom its certificate has to name, when there is TLS */
    struct conn *conn;        /* counted; NULL while down */
    struct buffer input;      /* its unfinished frame */
    struct conn *half;        /* counted; dialled, its greeting not yet here */
    struct buffer half_input; /* unfinished greeting */
    bool half_said_hello;
    int64_t half_since_ns, conn_since_ns; /* monotonic */
    struct dial *dial;
    struct loop_timer redial;
    unsigned tries;      /* in vain, since a connection was steady */
    bool told_of_wrong;  /* that somebody else answers at its address; once is enough */
    uint64_t group;      /* its meta group, as it has said last; 0: it has not */
    uint64_t told_group; /* ours, as it was told by the connection, or the half one */
    atomic_bool foreign; /* its group is not ours */
    atomic_bool up;
    atomic_int_fast64_t heard_ns; /* monotonic */
};

struct peers {
    struct broker *broker;
    struct tls_context *tls; /* counted: for dialling; NULL: plain */
    struct loop *loop;
    uint64_t self;
    uint64_t group; /* loop 0; 0: none, or it has no id */
    struct peers_callbacks callbacks;
    void *arg;
    pthread_mutex_t lock; /* guards list, count and every peer's conn */
    struct peer *list[NODES_MAX];
    unsigned count;
    struct loop_timer beat;
    bool stopping;
};

static struct peer *find_locked(struct peers *peers, uint64_t id)
{
    for (unsigned i = 0; i < peers->count; i++) {
        if (peers->list[i]->id == id) {
            return peers->list[i];
        }
    }
    return NULL;
}

static struct peer *find(struct peers *peers, uint64_t id)
{
    pthread_mutex_lock(&peers->lock);
    struct peer *peer = find_locked(peers, id);
    pthread_mutex_unlock(&peers->lock);
    return peer;
}

static struct peer *find_or_add(struct peers *peers, const char *name)
{
    uint64_t id = hash_node_id(bytes_of(name));
    struct peer *peer = find(peers, id);
    if (peer == NULL && peers->count < NODES_MAX) {
        peer = NEW(struct peer);
        peer->peers = peers;
        peer->id = id;
        peer->name = mem_strdup(name);
        pthread_mutex_lock(&peers->lock);
        peers->list[peers->count++] = peer;
        pthread_mutex_unlock(&peers->lock);
    }
    return peer;
}

/* --- up and down --- */

static void set_conn(struct peer *peer, struct conn *conn)
{
    pthread_mutex_lock(&peer->peers->lock);
    peer->conn = conn;
    pthread_mutex_unlock(&peer->peers->lock);
}

static void set_up(struct peer *peer, bool up)
{
    if (atomic_exchange(&peer->up, up) != up) {
        log_info("Peer connection to \"%s\" is %s", peer->name, up ? "up" : "down");
        if (peer->peers->callbacks.on_change != NULL) {
            peer->peers->callbacks.on_change(peer->peers->arg, peer->id, peer->name, up);
        }
    }
}

/* Before a connection is there for others to send by, and whenever one of the two has said more. */
static void compare_groups(struct peer *peer)
{
    uint64_t ours = peer->peers->group;
    bool foreign = ours != 0 && peer->group != 0 && peer->group != ours;
    if (atomic_exchange(&peer->foreign, foreign) == foreign) {
        return;
    }
    if (foreign) {
        log_error("Server \"%s\" belongs to another JetStream meta group (%016llx, this one to "
                  "%016llx): no consensus with it. One of the two has to join the other anew, with "
                  "an empty store",
                  peer->name, (unsigned long long)peer->group, (unsigned long long)ours);
        set_up(peer, false);
    }
}

static void tell_group(struct peer *peer)
{
    struct buffer b = {0};
    buffer_put_u64(&b, peer->peers->group);
    struct bytes body = buffer_bytes(&b);
    if (peers_send(peer->peers, peer->id, FRAME_GROUP, &body, 1)) {
        peer->told_group = peer->peers->group;
    }
    buffer_deinit(&b);
}

static void dial(struct peer *peer);

static void on_redial(void *arg)
{
    dial(arg);
}

static int64_t age_ms(int64_t since_ns)
{
    return (clock_mono_ns() - since_ns) / NS_PER_MS;
}

/* Invariant (3). */
static bool is_stuck(const struct peer *peer)
{
    return peer->conn != NULL && age_ms(atomic_load(&peer->heard_ns)) > STUCK_MS;
}

static bool is_to_be_dialled(const struct peer *peer)
{
    const struct peers *peers = peer->peers;
    return peers->self < peer->id && peer->host != NULL && !peers->stopping && peer->dial == NULL &&
           peer->half == NULL && (peer->conn == NULL || is_stuck(peer));
}

static void redial_later(struct peer *peer)
{
    if (is_to_be_dialled(peer) && !loop_timer_armed(&peer->redial)) {
        int64_t delay = peer->tries > 4 ? REDIAL_MAX_MS : (int64_t)REDIAL_MS << peer->tries;
        peer->tries++;
        loop_timer_arm(peer->peers->loop, &peer->redial, clock_mono_ns() + delay * NS_PER_MS,
                       on_redial, peer);
    }
}

static void on_close(struct conn *conn, enum close_reason reason)
{
    (void)reason;
    struct peer *peer = conn->owner;
    if (conn == peer->conn) {
        if (age_ms(peer->conn_since_ns) > STEADY_MS) {
            peer->tries = 0;
        }
        set_conn(peer, NULL);
        buffer_deinit(&peer->input);
        set_up(peer, false);
    } else {
        peer->half = NULL;
        buffer_deinit(&peer->half_input);
    }
    conn_release(conn);
    redial_later(peer);
}

static void send_hello(struct peer *peer, struct conn *conn)
{
    struct peers *peers = peer->peers;
    const struct options *o = broker_options(peers->broker);
    json_t *hello = json_object();
    json_put_text(hello, "name", broker_server_name(peers->broker));
    json_put_text(hello, "cluster", o->cluster.name == NULL ? "" : o->cluster.name);
    json_put_int(hello, "version", PEERS_VERSION);
    if (peers->group != 0) {
        json_put_int(hello, "group", (int64_t)peers->group);
    }
    peer->told_group = peers->group;
    if (o->cluster.user != NULL) {
        json_put_text(hello, "user", o->cluster.user);
        json_put_text(hello, "pass", o->cluster.password == NULL ? "" : o->cluster.password);
    }
    struct buffer line = {0};
    buffer_append_text(&line, "TRIREME ");
    json_write(&line, hello, 0);
    buffer_append_text(&line, "\r\n");
    conn_write(conn, buffer_bytes(&line));
    buffer_deinit(&line);
    json_decref(hello);
}

/* It is kept, logged and shown. */
static bool is_name(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f) {
            return false;
        }
    }
    return len > 0 && len <= PEER_NAME_MAX;
}

/* Half of the places are for those that routes have told of: whoever comes with many names takes
 * away nobody's. */
static bool has_place(struct peers *peers, const char *name)
{
    unsigned unknown = 0;
    for (unsigned i = 0; i < peers->count; i++) {
        unknown += peers->list[i]->host == NULL;
    }
    return unknown < NODES_MAX / 2 || find(peers, hash_node_id(bytes_of(name))) != NULL;
}

/* Returns the peer that said hello, and its group (0: none), or NULL when it may not. */
static struct peer *check_hello(struct peers *peers, struct bytes text, uint64_t *group)
{
    const struct options *o = broker_options(peers->broker);
    json_error_t reason;
    json_t *hello = json_parse(text, &reason);
    struct peer *peer = NULL;
    bool ok =
        json_is_object(hello) && json_int(hello, "version") == PEERS_VERSION &&
        strcmp(json_text(hello, "cluster"), o->cluster.name == NULL ? "" : o->cluster.name) == 0;
    if (ok && o->cluster.user != NULL) {
        /* As both have it in their files, be it a bcrypt hash: nothing slow on this loop. */
        const char *ours = o->cluster.password == NULL ? "" : o->cluster.password;
        ok = auth_equal(bytes_of(o->cluster.user), bytes_of(json_text(hello, "user"))) &&
             auth_equal(bytes_of(ours), bytes_of(json_text(hello, "pass")));
    }
    const char *name = json_text(hello, "name");
    if (ok && is_name(name) && strcmp(name, broker_server_name(peers->broker)) != 0 &&
        has_place(peers, name)) {
        peer = find_or_add(peers, name);
    }
    *group = (uint64_t)json_int(hello, "group");
    json_decref(hello);
    return peer;
}

static void become_up(struct peer *peer, struct conn *conn, uint64_t group)
{
    conn->max_pending = 0;
    peer->group = group;
    compare_groups(peer);
    loop_timer_cancel(peer->peers->loop, &peer->redial);
    set_conn(peer, conn);
    peer->conn_since_ns = clock_mono_ns();
    peer->told_of_wrong = false;
    atomic_store(&peer->heard_ns, peer->conn_since_ns);
    if (peer->told_group != peer->peers->group) {
        tell_group(peer);
    }
    set_up(peer, !atomic_load(&peer->foreign));
}

/* --- frames --- */

static uint32_t frame_length(const char *p)
{
    struct reader r = reader_make(bytes_make(p, 4));
    return reader_u32(&r);
}

/* False: nonsense. */
static bool take_frame(struct peer *peer, uint8_t type, struct bytes body)
{
    if (type == FRAME_GROUP) {
        struct reader r = reader_make(body);
        peer->group = reader_u64(&r);
        compare_groups(peer);
        return reader_done(&r);
    }
    if (type != FRAME_HEARTBEAT && !atomic_load(&peer->foreign) &&
        peer->peers->callbacks.on_frame != NULL) {
        peer->peers->callbacks.on_frame(peer->peers->arg, peer->id, type, body);
    }
    return true;
}

/* Handles whole frames in data; returns the bytes used, or SIZE_MAX for nonsense. */
static size_t take_frames(struct peer *peer, struct conn *conn, const char *data, size_t len)
{
    size_t at = 0;
    while (len - at >= 5) {
        uint32_t body = frame_length(data + at);
        if (body < 1 || body > PEERS_FRAME_MAX) {
            return SIZE_MAX;
        }
        if (len - at < 4 + (size_t)body) {
            break;
        }
        uint8_t type = (uint8_t)data[at + 4];
        if (!take_frame(peer, type, bytes_make(data + at + 5, body - 1))) {
            return SIZE_MAX;
        }
        if (peer->conn != conn) {
            return len; /* closed meanwhile */
        }
        at += 4 + (size_t)body;
    }
    return at;
}

/* A line of one we dialled. False: it is not whom we look for. */
static bool take_greeting_line(struct peer *peer, struct conn *conn, struct bytes line)
{
    if (bytes_starts(line, BYTES_LIT("-ERR"))) {
        return false;
    }
    if (!peer->half_said_hello && bytes_starts(line, BYTES_LIT("INFO "))) {
        peer->half_said_hello = true;
        if (peer->conn != NULL) { /* stuck: invariant (4) holds there, too */
            log_info("Peer connection to \"%s\" is stuck, and replaced", peer->name);
            conn_close(peer->conn, CLOSE_STALE);
        }
        send_hello(peer, conn);
    } else if (bytes_starts(line, BYTES_LIT("TRIREME "))) {
        uint64_t group;
        if (!peer->half_said_hello ||
            check_hello(peer->peers, bytes_skip(line, 8), &group) != peer) {
            return false;
        }
        peer->half = NULL;
        become_up(peer, conn, group);
    }
    return true;
}

/* Up to the line with which it becomes the peer's connection. Returns bytes used, SIZE_MAX: no. */
static size_t take_greeting(struct peer *peer, struct conn *conn, const char *data, size_t len)
{
    size_t at = 0;
    const char *lf;
    while (conn == peer->half && (lf = memchr(data + at, '\n', len - at)) != NULL) {
        struct bytes line = bytes_make(data + at, (size_t)(lf - data) - at);
        at = (size_t)(lf - data) + 1;
        if (!take_greeting_line(peer, conn, line)) {
            return SIZE_MAX;
        }
    }
    return at;
}

/* Uses what there is by `take`, and keeps the rest in `kept`. False: nonsense, or too much. */
static bool take_input(struct peer *peer, struct conn *conn, struct buffer *kept,
                       struct bytes bytes, size_t limit,
                       size_t (*take)(struct peer *peer, struct conn *conn, const char *data,
                                      size_t len))
{
    if (kept->len == 0) {
        size_t used = take(peer, conn, bytes.ptr, bytes.len);
        bool ok = used != SIZE_MAX && bytes.len - used <= limit;
        if (ok && used < bytes.len && !conn->closed) {
            buffer_append(kept, bytes.ptr + used, bytes.len - used);
        }
        return ok;
    }
    if (kept->len + bytes.len > limit || !buffer_try_reserve(kept, bytes.len)) {
        return false;
    }
    buffer_append_bytes(kept, bytes);
    struct buffer whole = *kept; /* ours while it is looked at: the connection may end meanwhile */
    *kept = (struct buffer){0};
    size_t used = take(peer, conn, whole.data, whole.len);
    if (used != SIZE_MAX && used < whole.len && !conn->closed) {
        buffer_consume(&whole, used);
        *kept = whole;
        return true;
    }
    buffer_deinit(&whole);
    return used != SIZE_MAX;
}

static void on_data(struct conn *conn, const char *data, size_t len)
{
    struct peer *peer = conn->owner;
    struct bytes bytes = bytes_make(data, len);
    bool right = true;
    if (conn == peer->half) {
        right = take_input(peer, conn, &peer->half_input, bytes, GREETING_BYTES_MAX, take_greeting);
        if (conn == peer->conn) { /* it has become that one; what follows are frames */
            struct buffer rest = peer->half_input;
            peer->half_input = (struct buffer){0};
            right = right && take_input(peer, conn, &peer->input, buffer_bytes(&rest),
                                        FRAME_INPUT_MAX, take_frames);
            buffer_deinit(&rest);
        }
    } else {
        atomic_store(&peer->heard_ns, clock_mono_ns());
        right = take_input(peer, conn, &peer->input, bytes, FRAME_INPUT_MAX, take_frames);
    }
    if (!right && !conn->closed) {
        if (!peer->told_of_wrong) {
            log_error("Peer connection to \"%s\": malformed data, or another server, closing",
                      peer->name);
            peer->told_of_wrong = true;
        }
        conn_close(conn, CLOSE_PROTOCOL_VIOLATION);
    }
}

static void on_tls(struct conn *conn, const char *failure)
{
    struct peer *peer = conn->owner;
    if (failure != NULL) {
        log_error("Peer connection to \"%s\": TLS handshake error: %s", peer->name, failure);
        conn_close(conn, CLOSE_TLS_HANDSHAKE);
    }
}

static const struct conn_ops peer_ops = {
    .on_data = on_data, .on_tls = on_tls, .on_close = on_close};

static void on_refused_close(struct conn *conn, enum close_reason reason)
{
    (void)reason;
    conn_release(conn);
}

static const struct conn_ops refused_ops = {.on_close = on_refused_close};

void peers_take_over(struct peers *peers, struct conn *conn, struct bytes hello, const char *rest,
                     size_t rest_len)
{
    uint64_t group;
    struct peer *peer = peers->stopping ? NULL : check_hello(peers, hello, &group);
    bool taken = peer != NULL && atomic_load(&peer->up); /* invariant (4) */
    if (peer == NULL || taken) {
        log_error("%s - Peer connection refused: %s",
                  address_text(conn->remote_host, conn->remote_port).text,
                  taken ? "a server of that name is connected already"
                        : "wrong cluster name, credentials or version");
        conn_hand_over(conn, &refused_ops, NULL);
        conn_close(conn, CLOSE_AUTH_FAILURE);
        return;
    }
    if (peer->conn != NULL) {
        conn_close(peer->conn, CLOSE_DUPLICATE_ROUTE); /* the peer has started anew */
    }
    conn_hand_over(conn, &peer_ops, peer);
    send_hello(peer, conn);
    become_up(peer, conn, group);
    if (rest_len > 0) {
        on_data(conn, rest, rest_len);
    }
}

/* --- dialling --- */

static void on_dialled(void *arg, int fd, const struct error *error)
{
    (void)error; /* the route's own dialling reports unreachable neighbours */
    struct peer *peer = arg;
    struct peers *peers = peer->peers;
    peer->dial = NULL;
    if (fd < 0) {
        redial_later(peer);
        return;
    }
    struct conn *conn = conn_open(peers->loop, fd, broker_next_id(peers->broker), &peer_ops, peer);
    peer->half = conn;
    peer->half_said_hello = false;
    peer->half_since_ns = clock_mono_ns();
    if (peers->tls != NULL) {
        conn_start_tls(conn, peers->tls, peer->certificate_name);
    }
}

static void dial(struct peer *peer)
{
    if (is_to_be_dialled(peer)) {
        peer->dial = dial_start(peer->host, peer->port, DIAL_TIMEOUT_MS, on_dialled, peer);
    }
}

void peers_learn(struct peers *peers, const char *name, const char *host, int port,
                 const char *certificate_name)
{
    struct peer *peer = find_or_add(peers, name);
    if (peer == NULL) {
        log_error("More than %d Trireme nodes in one cluster: \"%s\" is left out", NODES_MAX, name);
        return;
    }
    option_set(&peer->certificate_name, certificate_name);
    if (peer->host != NULL && strcmp(peer->host, host) == 0 && peer->port == port) {
        return;
    }
    option_set(&peer->host, host);
    peer->port = port;
    peer->tries = 0;
    loop_timer_cancel(peers->loop, &peer->redial);
    dial(peer);
}

void peers_break_off(struct peers *peers, uint64_t node, const char *why)
{
    struct peer *peer = find(peers, node);
    if (peer != NULL && peer->conn != NULL) {
        log_error("Peer connection to \"%s\": %s, closing", peer->name, why);
        conn_close(peer->conn, CLOSE_PROTOCOL_VIOLATION);
    }
}

/* --- heartbeat --- */

static void on_beat(void *arg)
{
    struct peers *peers = arg;
    int64_t now = clock_mono_ns();
    for (unsigned i = 0; i < peers->count; i++) {
        struct peer *peer = peers->list[i];
        if (peer->half != NULL && age_ms(peer->half_since_ns) > GREETING_MS) {
            conn_close(peer->half, CLOSE_AUTH_TIMEOUT);
        }
        if (peer->conn != NULL) {
            (void)peers_send(peers, peer->id, FRAME_HEARTBEAT, NULL, 0);
            /* Silent but connected: paused, or behind a cut. The connection is kept, for then it
             * may come back; consensus must not count on the node meanwhile. */
            bool heard = now - atomic_load(&peer->heard_ns) < PEERS_SILENCE_MS * NS_PER_MS;
            set_up(peer, heard && !atomic_load(&peer->foreign));
        }
        redial_later(peer);
    }
    loop_timer_arm(peers->loop, &peers->beat, now + PEERS_HEARTBEAT_MS * NS_PER_MS, on_beat, peers);
}

/* --- sending --- */

bool peers_send(struct peers *peers, uint64_t node, uint8_t type, const struct bytes *parts,
                unsigned part_count)
{
    pthread_mutex_lock(&peers->lock);
    struct peer *peer = find_locked(peers, node);
    struct conn *conn = peer == NULL ? NULL : peer->conn;
    bool ours = type == FRAME_HEARTBEAT || type == FRAME_GROUP;
    bool refused = peer != NULL && atomic_load(&peer->foreign) && !ours;
    pthread_mutex_unlock(&peers->lock);
    if (conn == NULL || refused) {
        return false;
    }
    size_t len = 1;
    for (unsigned i = 0; i < part_count; i++) {
        len += parts[i].len;
    }
    if (len > PEERS_FRAME_MAX) {
        log_error("A frame of %zu bytes for node %llx is too long, and dropped", len,
                  (unsigned long long)node);
        return false;
    }
    char *p = conn_begin_within(conn, PEERS_PENDING_MAX, 4 + len);
    if (p == NULL) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        *p++ = (char)(len >> (8 * i));
    }
    *p++ = (char)type;
    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].len > 0) {
            memcpy(p, parts[i].ptr, parts[i].len);
            p += parts[i].len;
        }
    }
    (void)conn_end(conn, 1, len);
    return true;
}

/* --- life and questions --- */

struct peers *peers_new(struct broker *broker)
{
    struct peers *peers = NEW(struct peers);
    peers->broker = broker;
    peers->loop = loops_at(broker_loops(broker), 0);
    peers->self = hash_node_id(bytes_of(broker_server_name(broker)));
    pthread_mutex_init(&peers->lock, NULL);
    return peers;
}

void peers_set_callbacks(struct peers *peers, const struct peers_callbacks *callbacks, void *arg)
{
    peers->callbacks = *callbacks;
    peers->arg = arg;
}

void peers_start(struct peers *peers)
{
    on_beat(peers);
}

void peers_set_tls(struct peers *peers, struct tls_context *dial)
{
    tls_context_release(peers->tls);
    peers->tls = dial == NULL ? NULL : tls_context_retain(dial);
}

void peers_set_group(struct peers *peers, uint64_t group)
{
    CHECK(loop_is_current(peers->loop) && group != 0);
    peers->group = group;
    for (unsigned i = 0; i < peers->count; i++) {
        compare_groups(peers->list[i]);
        if (peers->list[i]->conn != NULL) {
            tell_group(peers->list[i]);
        }
    }
}

uint64_t peers_group(struct peers *peers, uint64_t node)
{
    const struct peer *peer = find(peers, node);
    return node == peers->self ? peers->group : peer == NULL ? 0 : peer->group;
}

void peers_shutdown(struct peers *peers)
{
    CHECK(loop_is_current(peers->loop));
    peers->stopping = true;
    loop_timer_cancel(peers->loop, &peers->beat);
    for (unsigned i = 0; i < peers->count; i++) {
        struct peer *peer = peers->list[i];
        loop_timer_cancel(peers->loop, &peer->redial);
        if (peer->dial != NULL) {
            dial_cancel(peer->dial);
            peer->dial = NULL;
        }
        if (peer->half != NULL) {
            conn_close(peer->half, CLOSE_SERVER_SHUTDOWN);
        }
        if (peer->conn != NULL) {
            conn_close(peer->conn, CLOSE_SERVER_SHUTDOWN);
        }
    }
}

void peers_free(struct peers *peers)
{
    for (unsigned i = 0; i < peers->count; i++) {
        buffer_deinit(&peers->list[i]->input);
        buffer_deinit(&peers->list[i]->half_input);
        free(peers->list[i]->name);
        free(peers->list[i]->host);
        free(peers->list[i]->certificate_name);
        free(peers->list[i]);
    }
    tls_context_release(peers->tls);
    pthread_mutex_destroy(&peers->lock);
    free(peers);
}

uint64_t peers_self(const struct peers *peers)
{
    return peers->self;
}

struct peer_node *peers_nodes(struct peers *peers, unsigned *count)
{
    pthread_mutex_lock(&peers->lock);
    struct peer_node *nodes = mem_alloc((peers->count + 1) * sizeof *nodes);
    nodes[0] = (struct peer_node){peers->self, broker_server_name(peers->broker), true,
                                  clock_mono_ns(), false};
    for (unsigned i = 0; i < peers->count; i++) {
        const struct peer *peer = peers->list[i];
        nodes[i + 1] = (struct peer_node){peer->id, peer->name, atomic_load(&peer->up),
                                          atomic_load(&peer->heard_ns),
                                          peer->conn != NULL && atomic_load(&peer->foreign)};
    }
    *count = peers->count + 1;
    pthread_mutex_unlock(&peers->lock);
    return nodes;
}

bool peers_is_up(struct peers *peers, uint64_t node)
{
    if (node == peers->self) {
        return true;
    }
    struct peer *peer = find(peers, node);
    return peer != NULL && atomic_load(&peer->up);
}

int64_t peers_silence_ns(struct peers *peers, uint64_t node)
{
    struct peer *peer = find(peers, node);
    int64_t heard = peer == NULL ? 0 : atomic_load(&peer->heard_ns);
    return heard == 0 ? 0 : clock_mono_ns() - heard + 1;
}

const char *peers_name(struct peers *peers, uint64_t node)
{
    if (node == peers->self) {
        return broker_server_name(peers->broker);
    }
    struct peer *peer = find(peers, node);
    return peer == NULL ? NULL : peer->name;
}
