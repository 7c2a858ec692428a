/* Records of a group that cannot be read: reported once, and fetched from the other replicas when
 * there are any, until they can (reliability rule 5). What only one server has is lost with its
 * disk; which messages that is stands in the log, and everything else is served.
 *
 * States are written anew at once, for the group has them in memory. */
#include "jetstream/group/shard_internal.h"

#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define DAMAGE_MAX   65536 /* of a group; what is beyond is found again later */
#define FETCH_BATCH  64
#define FETCH_PERIOD (100 * NS_PER_MS)

/* What is not kept goes with the next checkpoint. */
static bool is_needed(const struct group *g, raft_index index)
{
    return g->ops->next_kept(g->owner, index) == index &&
           index <= raft_commit(raft_group_raft(g->raft_group));
}

static bool is_readable(struct group *g, raft_index index)
{
    struct raft_entry e;
    bool kept;
    if (store_get_entry(g->writes->store, g->id, index, &e, &kept) != OK) {
        return false;
    }
    blob_release(e.data);
    return true;
}

static void forget(struct damage *d, uint32_t at)
{
    (void)map_remove_u64(&d->known, d->list[at]);
    d->list[at] = d->list[--d->count];
}

/* Looks at some of what is damaged: true when something can be read again. */
static bool fetch_some(struct group *g)
{
    struct damage *d = &g->damage;
    bool repaired = false;
    for (uint32_t n = 0; n < FETCH_BATCH && d->count > 0; n++) {
        uint32_t at = d->next % d->count;
        raft_index index = d->list[at];
        if (!is_needed(g, index)) {
            forget(d, at);
        } else if (is_readable(g, index)) {
            forget(d, at);
            repaired = true;
        } else {
            raft_group_fetch(g->raft_group, index);
            d->next++;
        }
    }
    if (d->count == 0) {
        log_info("JetStream group %llu: its damaged records are repaired",
                 (unsigned long long)g->id);
    }
    return repaired;
}

static void on_repair(void *arg);

static void arm(struct shard *s)
{
    if (!loop_timer_armed(&s->repair)) {
        loop_timer_arm(s->loop, &s->repair, clock_mono_ns() + FETCH_PERIOD, on_repair, s);
    }
}

static void on_repair(void *arg)
{
    struct shard *s = arg;
    bool more = false;
    for (uint32_t i = 0; i < s->group_count; i++) {
        struct group *g = s->groups[i];
        if (g->damage.count == 0 || g->broken || !group_has_others(g)) {
            continue;
        }
        if (fetch_some(g) && g->ops->on_repaired != NULL) {
            g->ops->on_repaired(g->owner);
        }
        more = more || g->damage.count > 0;
    }
    if (more) {
        arm(s);
    }
    shard_kick(s);
}

void group_note_damage(struct group *g, raft_index index)
{
    struct damage *d = &g->damage;
    char what[256] = "";
    if (d->count == DAMAGE_MAX || map_get_u64(&d->known, index) != NULL || !is_needed(g, index)) {
        return;
    }
    if (g->ops->describe != NULL) {
        g->ops->describe(g->owner, index, what, sizeof what);
    }
    VEC_RESERVE(d->list, d->cap, d->count);
    d->list[d->count++] = index;
    (void)map_put_u64(&d->known, index, g);
    log_error("JetStream record %llu of group %llu is damaged%s%s: %s", (unsigned long long)index,
              (unsigned long long)g->id, what[0] == '\0' ? "" : ", ", what,
              group_has_others(g) ? "it is fetched from another replica"
                                  : "there is no other replica, it is lost");
    if (group_has_others(g)) {
        arm(g->shard);
    }
}

void group_forget_damage(struct group *g)
{
    free(g->damage.list);
    map_deinit(&g->damage.known);
    g->damage = (struct damage){0};
}

static void note_entries(struct group *g, const struct store_damage *damage)
{
    raft_index from = g->id == damage->from.group ? damage->from.index : 0;
    raft_index to = g->id == damage->to.group ? damage->to.index : UINT64_MAX;
    raft_index index = g->ops->next_kept(g->owner, from);
    while (index < to && index <= raft_commit(raft_group_raft(g->raft_group))) {
        if (!is_readable(g, index)) { /* it may be another one by now */
            group_note_damage(g, index);
        }
        index = g->ops->next_kept(g->owner, index + 1);
    }
}

static bool is_inside(const struct group *g, const struct store_damage *d)
{
    bool partly = g->id == d->to.group && d->to.index > 0 && !d->states;
    return g->id >= d->from.group && (g->id < d->to.group || partly);
}

void group_note_lost(struct group *g)
{
    uint32_t count;
    const struct store_damage *lost = store_lost(g->writes->store, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (!lost[i].states && is_inside(g, &lost[i])) {
            note_entries(g, &lost[i]);
        }
    }
}

bool group_lost_state(const struct group *g)
{
    uint32_t count;
    const struct store_damage *lost = store_lost(g->writes->store, &count);
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        found = found || (lost[i].states && is_inside(g, &lost[i]));
    }
    return found;
}

bool group_lost_entries(const struct group *g, raft_index from, raft_index to)
{
    uint32_t count;
    const struct store_damage *lost = store_lost(g->writes->store, &count);
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct store_damage *d = &lost[i];
        raft_index begin = g->id == d->from.group ? d->from.index : 0;
        raft_index end = g->id == d->to.group ? d->to.index : UINT64_MAX;
        found = found || (!d->states && is_inside(g, d) && begin < to && from < end);
    }
    return found;
}

static void renew_state(struct group *g)
{
    log_error("JetStream state of group %llu is damaged: it is written anew",
              (unsigned long long)g->id);
    raft_group_rewrite(g->raft_group);
    if (g->ops->lost_rows != NULL) {
        g->ops->lost_rows(g->owner);
    }
    (void)group_checkpoint(g);
}

void shard_damaged(struct shard *s, const struct store_damage *damage)
{
    for (uint32_t i = 0; i < s->group_count; i++) {
        struct group *g = s->groups[i];
        bool on_disk = g->writes == &s->disk;
        if (!is_inside(g, damage) || g->broken || (!on_disk && !damage->states)) {
            continue;
        }
        if (!on_disk) {
            group_renew_footprint(g);
        } else if (damage->states) {
            renew_state(g);
        } else {
            note_entries(g, damage);
        }
    }
    shard_kick(s);
}
