/* How the meta group comes to be, once, and never twice from one configuration. Loop 0.
 *
 * A server that has the list of voters on disk uses it. One that has none waits until somebody is
 * connected at every address that its routes name. Those of them, and of whom they have told, that
 * take part in consensus are its view; servers without JetStream are none of it. Then
 *
 *   every server tells the others its view, again and again → the one with the smallest id of a
 *   view, when all of it have told the same, takes it for the first voters, on its disk → whoever
 *   still tells its view to a server that has a group is told that group's voters, and takes them
 *
 * The group gets an id then, so that two of them, which two configurations make of one cluster, are
 * told apart (cluster/peers.h).
 *
 * (1) One server decides, and only with the consent of all that it decides for. So no two lists
 *     come from two servers that see each other, whatever their names resolve to.
 * (2) A view has a majority of the servers that the configuration names, and two at least: nobody
 *     is alone because it sees nobody.
 * (3) Where the number of servers is not known from the URLs (a name that has, or may get, several
 *     addresses; servers that nobody names), a view counts only when it has stood for SETTLE_MS.
 *     So does another one than told before: the other side notices within that time who has gone.
 *
 * Or it hears from a leader that takes it for a member: then there is a group, and it belongs to
 * it, whoever else is down. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/random.h"
#include "jetstream/asset_internal.h"
#include "raft/wire.h"

#define RETRY_MS  100
#define SETTLE_MS 2500
#define REPORT_NS (10 * NS_PER_SEC)
#define VIEW_MAX  (ROUTES_PEERS_MAX + 1)

/* Sorted. */
struct view {
    unsigned count; /* 0: none yet */
    uint64_t ids[VIEW_MAX];
};

/* Body of JS_FRAME_FORM: u8 kind · varint count · u64 ids, ascending. */
enum form_kind { FORM_VIEW, FORM_VOTERS };

struct meta_forming {
    struct jetstream *js;
    struct loop_timer timer;
    struct view seen;      /* as of the last look */
    int64_t seen_since_ns; /* monotonic */
    bool told;             /* it was told to the others */
    struct view consent;   /* what was told last */
    struct {
        uint64_t node;
        struct view view;
    } heard[VIEW_MAX]; /* what the others told last */
    unsigned heard_count;
    int64_t reported_ns;
};

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool same(const struct view *a, const struct view *b)
{
    return a->count == b->count && memcmp(a->ids, b->ids, a->count * sizeof a->ids[0]) == 0;
}

static bool contains(const struct view *view, uint64_t node)
{
    return bsearch(&node, view->ids, view->count, sizeof view->ids[0], by_id) != NULL;
}

/* --- frames --- */

static void send_view(struct jetstream *js, uint64_t node, enum form_kind kind,
                      const struct view *view)
{
    struct buffer b = {0};
    buffer_put_u8(&b, (uint8_t)kind);
    buffer_put_varint(&b, view->count);
    for (unsigned i = 0; i < view->count; i++) {
        buffer_put_u64(&b, view->ids[i]);
    }
    struct bytes body = buffer_bytes(&b);
    (void)peers_send(js->peers, node, JS_FRAME_FORM, &body, 1);
    buffer_deinit(&b);
}

static bool parse(struct bytes body, uint8_t *kind, struct view *view)
{
    struct reader r = reader_make(body);
    *kind = reader_u8(&r);
    uint64_t count = reader_varint(&r);
    if (r.bad || count > VIEW_MAX) {
        return false;
    }
    view->count = (unsigned)count;
    for (unsigned i = 0; i < view->count; i++) {
        view->ids[i] = reader_u64(&r);
        r.bad = r.bad || view->ids[i] == 0 || (i > 0 && view->ids[i] <= view->ids[i - 1]);
    }
    return reader_done(&r);
}

static struct view *heard_of(struct meta_forming *f, uint64_t node)
{
    for (unsigned i = 0; i < f->heard_count; i++) {
        if (f->heard[i].node == node) {
            return &f->heard[i].view;
        }
    }
    if (f->heard_count == VIEW_MAX) {
        return NULL;
    }
    f->heard[f->heard_count].node = node;
    return &f->heard[f->heard_count++].view;
}

void meta_tell_voters(struct jetstream *js, uint64_t node)
{
    struct view voters = {0};
    raft_node ids[RAFT_VOTERS_MAX];
    voters.count = raft_voters(group_raft(js->meta.group), ids);
    memcpy(voters.ids, ids, voters.count * sizeof *ids);
    qsort(voters.ids, voters.count, sizeof voters.ids[0], by_id);
    send_view(js, node, FORM_VOTERS, &voters);
}

static void form(struct meta_forming *f, uint64_t id, const struct view *voters)
{
    struct jetstream *js = f->js;
    js->meta.forming = NULL;
    meta_group_formed(js, id, voters->ids,
                      voters->count < RAFT_VOTERS_MAX ? voters->count : RAFT_VOTERS_MAX);
    meta_forming_end(f);
}

/* Whom a member vouches for: its membership may be newer than ours. */
static void remember_told(struct jetstream *js, const struct view *voters)
{
    js->meta.told_count = 0;
    for (unsigned i = 0; i < voters->count && i < RAFT_VOTERS_MAX; i++) {
        js->meta.told[js->meta.told_count++] = voters->ids[i];
    }
}

void meta_forming_on_frame(struct jetstream *js, struct raft_sender from, struct bytes body)
{
    uint8_t kind;
    struct view view;
    if (!parse(body, &kind, &view)) {
        peers_break_off(js->peers, from.node, "a frame is malformed");
        return;
    }
    struct meta_forming *f = js->meta.forming;
    if (kind == FORM_VOTERS && !from.stranger) {
        remember_told(js, &view);
        if (f != NULL && view.count <= RAFT_VOTERS_MAX && contains(&view, js->self)) {
            log_info("JetStream cluster: \"%s\" has told who votes in the meta group",
                     peers_name(js->peers, from.node));
            form(f, peers_group(js->peers, from.node), &view);
        }
    } else if (kind == FORM_VIEW && f != NULL) {
        struct view *known = heard_of(f, from.node);
        if (known != NULL) {
            *known = view;
        }
    } else if (kind == FORM_VIEW && js->meta.group != NULL) {
        meta_tell_voters(js, from.node);
    }
}

/* The list may lack members that are down. It holds only until the leader's log or state says who
 * they are: before, this replica is unproven, and an election of all that it knows of would include
 * the leader, whose log is longer (raft.h, invariant (6)). */
void meta_forming_heard(struct meta_forming *f, uint64_t node, struct bytes message)
{
    struct jetstream *js = f->js;
    struct raft_message m;
    if (raft_wire_decode(message, &m) != OK) {
        return;
    }
    bool leads = m.type == RAFT_APPEND || m.type == RAFT_SNAPSHOT;
    raft_message_deinit(&m);
    unsigned count;
    struct peer_node *nodes = peers_nodes(js->peers, &count);
    struct view up = {0};
    for (unsigned i = 0; i < count && up.count < RAFT_VOTERS_MAX; i++) {
        if (nodes[i].up && !js_is_stranger(js, nodes[i].id)) {
            up.ids[up.count++] = nodes[i].id;
        }
    }
    free(nodes);
    qsort(up.ids, up.count, sizeof up.ids[0], by_id);
    if (leads && up.count > 1) {
        log_info("JetStream cluster: the meta group's leader knows this server, which has nothing "
                 "of it: it catches up");
        form(f, peers_group(js->peers, node), &up);
    }
}

/* --- looking --- */

/* Who takes part: named servers; of the others, without credentials on the cluster port, those
 * that form, too, as their words show. */
static bool takes_part(struct meta_forming *f, const struct routes_named *named, unsigned i)
{
    if (named->peers[i].named || routes_are_authenticated(f->js->routes)) {
        return true;
    }
    for (unsigned k = 0; k < f->heard_count; k++) {
        if (f->heard[k].node == named->peers[i].node) {
            return f->heard[k].view.count > 0;
        }
    }
    return false;
}

/* Fills the view; false: it is not whole, for want of what is logged now and then. */
static bool look(struct meta_forming *f, const struct routes_named *named, struct view *view)
{
    struct jetstream *js = f->js;
    unsigned missing = 0;
    *view = (struct view){.count = 1, .ids = {js->self}};
    for (unsigned i = 0; i < named->peer_count; i++) {
        if (takes_part(f, named, i)) {
            missing += !peers_is_up(js->peers, named->peers[i].node);
            view->ids[view->count++] = named->peers[i].node;
        }
    }
    qsort(view->ids, view->count, sizeof view->ids[0], by_id);
    bool many = view->count > 1 && 2 * (named->named_peers + 1) > named->servers;
    bool whole = named->unknown == 0 && missing == 0 && many;
    if (!whole && clock_mono_ns() - f->reported_ns > REPORT_NS) {
        f->reported_ns = clock_mono_ns();
        log_warn("JetStream cluster: the meta group is not formed yet: of %u servers that the "
                 "routes name %u have not been reached, %u take part in JetStream, %u of them "
                 "without a connection for consensus",
                 named->servers, named->unknown, view->count, missing);
    }
    return whole;
}

static void tell(struct meta_forming *f, const struct routes_named *named)
{
    for (unsigned i = 0; i < named->peer_count; i++) {
        send_view(f->js, named->peers[i].node, FORM_VIEW, &f->seen);
    }
}

/* All of the view have told the same one. */
static bool all_agree(const struct meta_forming *f)
{
    unsigned agree = 1;
    for (unsigned i = 0; i < f->heard_count; i++) {
        agree += contains(&f->seen, f->heard[i].node) && same(&f->seen, &f->heard[i].view);
    }
    return agree == f->seen.count;
}

/* Who has gone may come back as another one, with another view. */
static void forget_who_is_down(struct meta_forming *f)
{
    for (unsigned i = 0; i < f->heard_count;) {
        if (peers_is_up(f->js->peers, f->heard[i].node)) {
            i++;
        } else {
            f->heard[i] = f->heard[--f->heard_count];
        }
    }
}

static uint64_t new_id(void)
{
    uint64_t id = random_system_u64();
    return id == 0 ? 1 : id;
}

static void on_timer(void *arg)
{
    struct meta_forming *f = arg;
    int64_t now = clock_mono_ns();
    struct routes_named named = routes_named(f->js->routes);
    struct view view;
    forget_who_is_down(f);
    bool whole = look(f, &named, &view);
    if (!whole) {
        view.count = 0;
    }
    if (!same(&view, &f->seen)) {
        if (f->told) { /* it does not hold any more */
            f->seen.count = 0;
            tell(f, &named);
        }
        f->seen = view;
        f->seen_since_ns = now;
        f->told = false;
    }
    bool sure = named.fixed && named.named_peers + 1 == view.count &&
                (f->consent.count == 0 || same(&view, &f->consent));
    if (whole && (sure || now - f->seen_since_ns >= SETTLE_MS * NS_PER_MS)) {
        f->told = true;
        f->consent = view;
        tell(f, &named);
        if (f->seen.ids[0] == f->js->self && all_agree(f)) {
            const struct view voters = f->seen;
            form(f, new_id(), &voters);
            return;
        }
    }
    loop_timer_arm(loops_at(f->js->loops, 0), &f->timer, now + RETRY_MS * NS_PER_MS, on_timer, f);
}

struct meta_forming *meta_forming_start(struct jetstream *js)
{
    struct meta_forming *f = NEW(struct meta_forming);
    f->js = js;
    f->reported_ns = clock_mono_ns() - REPORT_NS + 3 * NS_PER_SEC; /* the first one sooner */
    log_info("JetStream cluster: waiting for all configured servers to form the meta group");
    loop_timer_arm(loops_at(js->loops, 0), &f->timer, clock_mono_ns(), on_timer, f);
    return f;
}

void meta_forming_end(struct meta_forming *f)
{
    if (f != NULL) {
        loop_timer_cancel(loops_at(f->js->loops, 0), &f->timer);
        free(f);
    }
}
