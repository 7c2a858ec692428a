#include "core/account/mapping.h"

#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "core/subject/transform.h"

struct destination {
    struct transform *transform; /* owned; NULL: stay as it is */
    uint32_t below;              /* a draw of 0..99 below this, and not below the one before */
};

struct mapping {
    char *source;
    struct destination *destinations;
    uint32_t count;
};

struct mappings {
    struct mapping *list;
    uint32_t count;
};

static bool is_for(const struct mapping_destination *d, const char *cluster)
{
    return cluster == NULL ? d->cluster == NULL
                           : d->cluster != NULL && strcmp(d->cluster, cluster) == 0;
}

static int by_weight(const void *a, const void *b)
{
    const struct mapping_destination *const *x = a;
    const struct mapping_destination *const *y = b;
    return ((*x)->weight > (*y)->weight) - ((*x)->weight < (*y)->weight);
}

static void build(struct mapping *m, const struct mapping_options *o, const char *cluster)
{
    bool named = false;
    for (uint32_t i = 0; i < o->count; i++) {
        named = named || (cluster != NULL && is_for(&o->destinations[i], cluster));
    }
    const struct mapping_destination **chosen = mem_alloc((o->count + 1u) * sizeof *chosen);
    uint32_t count = 0;
    bool stays = false; /* the source is a destination itself: what is left over is dropped */
    for (uint32_t i = 0; i < o->count; i++) {
        if (is_for(&o->destinations[i], named ? cluster : NULL)) {
            chosen[count++] = &o->destinations[i];
            stays = stays || strcmp(o->destinations[i].subject, o->source) == 0;
        }
    }
    qsort(chosen, count, sizeof *chosen, by_weight);
    m->source = mem_strdup(o->source);
    m->destinations = mem_zalloc((count + 1u) * sizeof *m->destinations);
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct error error;
        struct destination *d = &m->destinations[m->count++];
        total += chosen[i]->weight;
        d->below = total;
        if (strcmp(chosen[i]->subject, o->source) != 0) {
            d->transform = transform_new(bytes_of(o->source), bytes_of(chosen[i]->subject), &error);
            CHECK(d->transform != NULL);
        }
    }
    if (total < 100 && !stays) {
        m->destinations[m->count++].below = 100;
    }
    free(chosen);
}

struct mappings *mappings_new(const struct account_options *account, const char *cluster)
{
    if (account->mapping_count == 0) {
        return NULL;
    }
    struct mappings *mappings = NEW(struct mappings);
    mappings->list = mem_zalloc(account->mapping_count * sizeof *mappings->list);
    for (uint32_t i = 0; i < account->mapping_count; i++) {
        build(&mappings->list[mappings->count++], &account->mappings[i], cluster);
    }
    return mappings;
}

void mappings_free(struct mappings *mappings)
{
    if (mappings == NULL) {
        return;
    }
    for (uint32_t i = 0; i < mappings->count; i++) {
        struct mapping *m = &mappings->list[i];
        for (uint32_t k = 0; k < m->count; k++) {
            transform_free(m->destinations[k].transform);
        }
        free(m->destinations);
        free(m->source);
    }
    free(mappings->list);
    free(mappings);
}

bool mappings_apply(const struct mappings *mappings, struct bytes subject, struct random *random,
                    struct buffer *out)
{
    for (uint32_t i = 0; i < mappings->count; i++) {
        const struct mapping *m = &mappings->list[i];
        if (!subject_matches(bytes_of(m->source), subject)) {
            continue;
        }
        if (!subject_is_valid(subject)) {
            return false; /* it reaches nobody anyway */
        }
        uint32_t draw = (uint32_t)random_below(random, 100);
        uint32_t k = 0;
        while (k < m->count && draw >= m->destinations[k].below) {
            k++;
        }
        buffer_clear(out);
        if (k < m->count && m->destinations[k].transform != NULL) {
            transform_apply(m->destinations[k].transform, subject, random, out);
        } else if (k < m->count) {
            buffer_append_bytes(out, subject);
        }
        return true;
    }
    return false;
}
