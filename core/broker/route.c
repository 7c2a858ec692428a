/* One message to all who want it.
 *
 *   1. match: plain entries, queue groups (core/subject/interest.h)
 *   2. every plain local entry gets a copy; links are gathered, each gets at most one message
 *   3. of every queue group one member is chosen: a local one gets a copy, a link is told the name
 *   4. the gathered links get theirs
 *
 * A message that came over a link goes to local subscribers only, and to members of the groups it
 * lists. NATS client protocol §7.1, §7.2; route protocol §4. */
#include "core/broker/broker_internal.h"

#define LINKS_MAX        64          /* neighbours of one server */
#define INTERNAL_BACKLOG (16u << 20) /* bytes under way to one internal subscriber */
#define PICKS_MAX        256         /* queue groups of one message that were given to links */

struct targets {
    struct link *links[LINKS_MAX];
    uint32_t link_count;
    struct {
        struct link *link;
        struct bytes queue;
    } picks[PICKS_MAX];
    uint32_t pick_count;
};

static void add_link(struct targets *t, struct link *link)
{
    for (uint32_t i = 0; i < t->link_count; i++) {
        if (t->links[i] == link) {
            return;
        }
    }
    if (t->link_count < LINKS_MAX) {
        t->links[t->link_count++] = link;
    }
}

static bool may_echo(const struct subscription *sub, const struct routing *routing)
{
    return sub->client != routing->source || sub->client->echo || routing->echoes;
}

/* The destination is full: the publisher's loop is told when it has drained. */
static void slow_down(const struct routing *routing, struct conn *destination)
{
    if (routing->source != NULL && !broker_options(routing->source->broker)->no_producer_stall &&
        conn_wait_drained(destination)) {
        routing->source->must_stall = true;
    }
}

static bool deliver_client(struct subscription *sub, struct interest_entry *entry,
                           const struct message *m, const struct routing *routing)
{
    size_t pending;
    if (!may_echo(sub, routing) ||
        !(entry->kind == SUB_CLIENT ? client_deliver(sub, m, &pending)
                                    : shadow_deliver(entry, m, routing, &pending))) {
        return false;
    }
    if (UNLIKELY(pending > CONN_STALL_BYTES)) {
        slow_down(routing, sub->client->conn);
    }
    return true;
}

static bool deliver_internal(struct internal_sub *sub, const struct message *m,
                             struct routing *routing)
{
    if (UNLIKELY(origin_is_request(m->reply))) {
        return false; /* its answer would be a request */
    }
    if (routing->served == sub->inbox) {
        return true; /* while subjects are changed two of one subscriber may overlap */
    }
    routing->served = sub->inbox;
    internal_deliver(sub, m);
    if (UNLIKELY(atomic_load_explicit(&sub->inbox->backlog, memory_order_relaxed) >
                 INTERNAL_BACKLOG) &&
        routing->source != NULL) {
        routing->source->must_stall = true;
    }
    return true;
}

/* True when the entry is local and took the message. */
static bool deliver_local(struct broker *broker, struct interest_entry *entry,
                          const struct message *m, struct routing *routing)
{
    switch ((enum sub_kind)entry->kind) {
    case SUB_CLIENT:
        return deliver_client((struct subscription *)entry, entry, m, routing);
    case SUB_SHADOW:
        return deliver_client(shadow_of(entry), entry, m, routing);
    case SUB_INTERNAL:
        return deliver_internal((struct internal_sub *)entry, m, routing);
    case SUB_SERVICE:
        return service_import_deliver(broker, entry, m, routing);
    case SUB_REPLIES:
        return responses_deliver(entry, m, routing);
    case SUB_LINK:
        return false;
    }
    return false;
}

static bool group_listed(struct bytes name, const struct routing *routing)
{
    for (uint32_t i = 0; i < routing->queue_count; i++) {
        if (bytes_eq(routing->queues[i], name)) {
            return true;
        }
    }
    return false;
}

/* From a link: uniformly among local members, any that takes it. */
static bool deliver_group_local(struct broker *broker, const struct interest_group *group,
                                const struct message *m, struct routing *routing)
{
    struct random *random = loop_random(loop_current());
    uint32_t start = (uint32_t)random_below(random, group->count);
    for (uint32_t i = 0; i < group->count; i++) {
        struct interest_entry *member = group->members[(start + i) % group->count].entry;
        if (member->kind != SUB_LINK && deliver_local(broker, member, m, routing)) {
            return true;
        }
    }
    return false;
}

/* From here: a start drawn by weight, then the first member that takes it. A link always does. */
static bool deliver_group(struct broker *broker, const struct interest_group *group,
                          const struct message *m, struct routing *routing, struct targets *targets)
{
    struct random *random = loop_random(loop_current());
    uint32_t start = interest_group_pick(group, random_below(random, group->weight));
    for (uint32_t i = 0; i < group->count; i++) {
        struct interest_entry *member = group->members[(start + i) % group->count].entry;
        if (member->kind != SUB_LINK) {
            if (deliver_local(broker, member, m, routing)) {
                return true;
            }
        } else if (targets->pick_count < PICKS_MAX) {
            struct link *link = ((struct link_sub *)member)->link;
            add_link(targets, link);
            targets->picks[targets->pick_count].link = link;
            targets->picks[targets->pick_count++].queue = group->name;
            return true;
        }
    }
    return false;
}

static void send_to_links(struct account *account, const struct message *m,
                          const struct targets *targets, const struct routing *routing)
{
    for (uint32_t i = 0; i < targets->link_count; i++) {
        struct link *link = targets->links[i];
        NOT_CLEARED struct bytes queues[PARSER_QUEUES_MAX];
        uint32_t count = 0;
        for (uint32_t k = 0; k < targets->pick_count && count < PARSER_QUEUES_MAX; k++) {
            if (targets->picks[k].link == link) {
                queues[count++] = targets->picks[k].queue;
            }
        }
        if (link->ops->send(link->owner, account, m, queues, count) > CONN_STALL_BYTES) {
            slow_down(routing, link->conn);
        }
    }
}

bool routing_has_passed(const struct routing *outer, const struct account *account)
{
    while (outer != NULL && outer->account != account) {
        outer = outer->outer;
    }
    return outer != NULL;
}

unsigned route_message(struct broker *broker, struct account *account, const struct message *m,
                       struct routing *routing)
{
    routing->account = account;
    if (UNLIKELY(routing->outer != NULL && routing_has_passed(routing->outer, account))) {
        return 0; /* a circle of imports */
    }
    if (UNLIKELY(!origin_may_reach(routing->origin, m->subject))) {
        return 0;
    }
    const struct interest_result *r = account_match(account, m->subject);
    unsigned taken = 0;
    NOT_CLEARED struct targets targets;
    targets.link_count = targets.pick_count = 0;
    for (uint32_t i = 0; i < r->plain_count; i++) {
        struct interest_entry *entry = r->plain[i];
        if (entry->kind != SUB_LINK) {
            taken += deliver_local(broker, entry, m, routing);
        } else if (!routing->from_link) {
            add_link(&targets, ((struct link_sub *)entry)->link);
        }
    }
    for (uint32_t i = 0; i < r->group_count; i++) {
        const struct interest_group *group = &r->groups[i];
        if (!routing->from_link) {
            taken += deliver_group(broker, group, m, routing, &targets);
        } else if (group_listed(group->name, routing)) {
            taken += deliver_group_local(broker, group, m, routing);
        }
    }
    if (targets.link_count > 0) {
        send_to_links(account, m, &targets, routing);
        taken += targets.link_count;
        struct broker_loop *here = broker_here(broker);
        count(&here->out_msgs, targets.link_count);
        count(&here->out_bytes, m->payload.len * targets.link_count);
    }
    return taken;
}

bool broker_publish(struct broker *broker, struct account *account, const struct message *message)
{
    struct routing routing = {.origin = ORIGIN_REPLY};
    return route_message(broker, account, message, &routing) > 0;
}

bool broker_publish_event(struct broker *broker, struct account *account,
                          const struct message *message)
{
    struct routing routing = {.origin = ORIGIN_EVENT};
    return route_message(broker, account, message, &routing) > 0;
}

void broker_publish_from_link(struct broker *broker, struct account *account,
                              const struct message *message, const struct bytes *queues,
                              uint32_t queue_count)
{
    struct routing routing = {.from_link = true, .queues = queues, .queue_count = queue_count};
    if (UNLIKELY(message->header_len > 0 && message_is_trace_only(message))) {
        return;
    }
    (void)route_message(broker, account, message, &routing);
}

bool broker_has_interest(struct account *account, struct bytes subject)
{
    const struct interest_result *r = account_match(account, subject);
    struct interest_entry *responses = NULL;
    for (uint32_t i = 0; i < r->plain_count; i++) {
        if (r->plain[i]->kind != SUB_REPLIES) {
            return true;
        }
        responses = r->plain[i];
    }
    return r->group_count > 0 || (responses != NULL && responses_wanted(responses, subject));
}
