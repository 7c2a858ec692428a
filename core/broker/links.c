/* Interest that neighbours have told us about: entries in the accounts' index like any other, each
 * pointing at its link. */
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/broker/broker_internal.h"
#include "core/subject/subject.h"

static void link_sub_remove(struct link_sub *sub)
{
    interest_remove(sub->account->interest, &sub->entry);
    loop_retire(free, sub);
}

void broker_link_interest(struct broker *broker, struct link *link, struct bytes account_name,
                          struct bytes subject, struct bytes queue, uint32_t weight)
{
    if (!subject_is_valid(subject)) {
        return;
    }
    struct buffer key = {0};
    buffer_append_bytes(&key, account_name);
    buffer_append_char(&key, ' ');
    buffer_append_bytes(&key, subject);
    if (queue.ptr != NULL) {
        buffer_append_char(&key, ' ');
        buffer_append_bytes(&key, queue);
    }
    struct account *account = accounts_find(broker->accounts, account_name);
    struct link_sub *sub = map_get(&link->subs, buffer_bytes(&key));
    if (weight == 0) {
        if (sub != NULL) {
            (void)map_remove(&link->subs, buffer_bytes(&key));
            link_sub_remove(sub);
        }
    } else if (sub != NULL) {
        if (sub->entry.weight != weight) {
            interest_set_weight(sub->account->interest, &sub->entry, weight);
        }
    } else if (account != NULL) { /* else one that this server does not have */
        sub = mem_zalloc(sizeof *sub + subject.len + queue.len);
        interest_entry_init(&sub->entry, sub->text, subject, queue, SUB_LINK);
        sub->entry.weight = weight;
        sub->link = link;
        sub->account = account;
        (void)map_put(&link->subs, buffer_bytes(&key), sub);
        interest_add(sub->account->interest, &sub->entry);
    }
    buffer_deinit(&key);
}

struct link_interest broker_link_entry(const void *entry)
{
    const struct link_sub *sub = entry;
    return (struct link_interest){sub->account->name, interest_subject(&sub->entry),
                                  interest_queue(&sub->entry), sub->entry.weight};
}

void broker_link_down(struct broker *broker, struct link *link)
{
    (void)broker;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&link->subs, &i)) != NULL;) {
        link_sub_remove(e->value);
    }
    map_clear(&link->subs);
}

void broker_count_link_in(struct broker *broker, uint64_t msgs, uint64_t bytes)
{
    struct broker_loop *here = broker_here(broker);
    count(&here->in_msgs, msgs);
    count(&here->in_bytes, bytes);
}

uint64_t broker_delivery_cost(struct broker *broker)
{
    const struct broker_loop *here = broker_here(broker);
    return atomic_load_explicit(&here->out_msgs, memory_order_relaxed) +
           atomic_load_explicit(&here->out_bytes, memory_order_relaxed) / CONN_COST_BYTES;
}
