/* Finding messages by subject and by time. */
#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/mem.h"
#include "core/base/time_math.h"
#include "core/subject/pattern_set.h"
#include "core/subject/subject.h"
#include "jetstream/state/stream_internal.h"

#define MESSAGE_COST 64 /* of looking at one, and its bytes */

bool filters_match(struct filters filters, struct bytes subject)
{
    if (filters.set != NULL) {
        return pattern_set_matches(filters.set, subject);
    }
    for (uint32_t i = 0; i < filters.count; i++) {
        if (subject_matches(bytes_of(filters.list[i]), subject)) {
            return true;
        }
    }
    return filters.count == 0;
}

/* --- subjects --- */

static bool are_literal(struct filters filters)
{
    bool literal = filters.count > 0;
    for (uint32_t i = 0; i < filters.count && literal; i++) {
        literal = !subject_has_wildcard(bytes_of(filters.list[i]));
    }
    return literal;
}

/* Those of a set are all different. */
static bool is_repeated(struct filters filters, uint32_t at)
{
    for (uint32_t i = 0; i < at && filters.set == NULL; i++) {
        if (strcmp(filters.list[i], filters.list[at]) == 0) {
            return true;
        }
    }
    return false;
}

/* for (uint32_t i = 0; (state = next_subject(…, &i)) != NULL;) each subject that matches, once. */
static struct subject_state *next_subject(const struct stream *s, struct filters filters,
                                          bool literal, uint32_t *at)
{
    struct map_entry *e;
    while (literal && *at < filters.count) {
        uint32_t i = (*at)++;
        struct subject_state *state = map_get(&s->subjects, bytes_of(filters.list[i]));
        if (state != NULL && !is_repeated(filters, i)) {
            return state;
        }
    }
    while (!literal && (e = map_next(&s->subjects, at)) != NULL) {
        if (filters_match(filters, e->key)) {
            return e->value;
        }
    }
    return NULL;
}

/* Sequence of the last message on the subject in `e`, up to `up_to`; 0: none, UINT64_MAX: it cannot
 * be read. */
static uint64_t last_in_entry(struct stream *s, const struct stream_entry *e, uint64_t up_to,
                              struct bytes subject)
{
    uint64_t last = 0;
    struct stored_message m;
    for (uint64_t seq = e->first_seq; seq < e->first_seq + e->count && seq <= up_to; seq++) {
        enum err err = stream_read(s, seq, &m);
        if (err == ERR_CORRUPT) {
            return UINT64_MAX;
        }
        last = err == OK && bytes_eq(m.subject, subject) ? seq : last;
    }
    return last;
}

/* The same in the whole stream. */
static uint64_t last_up_to(struct stream *s, uint64_t up_to, struct bytes subject)
{
    uint64_t last = 0;
    for (uint32_t i = s->entries_count; last == 0 && i > s->entries_from; i--) {
        const struct stream_entry e = s->entries[i - 1];
        last = e.live == 0 || e.first_seq > up_to ? 0 : last_in_entry(s, &e, up_to, subject);
    }
    return last;
}

static struct bytes subject_of(const struct subject_state *state)
{
    return bytes_make(state->subject, state->len);
}

static uint64_t last_of(struct stream *s, struct subject_state *state)
{
    if (state->last_seq == 0) {
        uint64_t last = last_up_to(s, UINT64_MAX, subject_of(state));
        if (last == UINT64_MAX) {
            return last;
        }
        state->last_seq = last;
    }
    return state->last_seq;
}

uint64_t stream_subject_last(struct stream *s, struct bytes subject)
{
    struct subject_state *state = map_get(&s->subjects, subject);
    return state == NULL ? 0 : last_of(s, state);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

enum err stream_last_of_each(struct stream *s, uint64_t up_to, struct filters filters,
                             uint32_t most, uint64_t **seqs, uint32_t *count)
{
    struct subject_state *state;
    uint32_t cap = 0;
    enum err err = OK;
    bool literal = are_literal(filters);
    *seqs = NULL;
    *count = 0;
    for (uint32_t i = 0; err == OK && (state = next_subject(s, filters, literal, &i)) != NULL;) {
        uint64_t last = last_of(s, state);
        if (last > up_to && last != UINT64_MAX) {
            last = state->count == 1 ? 0 : last_up_to(s, up_to, subject_of(state));
        }
        err = last == UINT64_MAX ? ERR_CORRUPT : last != 0 && *count == most ? ERR_LIMIT : OK;
        if (err == OK && last != 0) {
            VEC_RESERVE(*seqs, cap, *count);
            (*seqs)[(*count)++] = last;
        }
    }
    if (*count > 0) {
        qsort(*seqs, *count, sizeof **seqs, ascending);
    }
    return err;
}

enum err stream_last_by_subject(struct stream *s, struct bytes pattern, struct stored_message *m)
{
    uint64_t best = 0;
    char *filter = mem_dup(pattern.ptr, pattern.len);
    struct subject_state *state;
    struct filters filters = {&filter, 1, NULL};
    bool literal = are_literal(filters);
    for (uint32_t i = 0; (state = next_subject(s, filters, literal, &i)) != NULL;) {
        uint64_t last = last_of(s, state);
        best = last > best ? last : best;
    }
    free(filter);
    return best == 0 ? ERR_NOT_FOUND : best == UINT64_MAX ? ERR_CORRUPT : stream_read(s, best, m);
}

static int by_name(const void *a, const void *b)
{
    const struct subject_state *x = *(struct subject_state *const *)a;
    const struct subject_state *y = *(struct subject_state *const *)b;
    return bytes_cmp(subject_of(x), subject_of(y));
}

static void swap(struct subject_state **a, struct subject_state **b)
{
    struct subject_state *c = *a;
    *a = *b;
    *b = c;
}

/* So that what is in front of `at` is not behind it in the alphabet (Hoare's selection): of a
 * million, sorting takes half a second, and this a tenth of it. */
static void select_at(struct subject_state **list, uint32_t count, uint32_t at)
{
    uint32_t from = 0, to = count; /* what may have to change places */
    while (at > from && at < to) {
        uint32_t left = from, right = to - 1;
        struct subject_state *pivot = list[from + (to - 1 - from) / 2]; /* never the last */
        for (;;) {
            while (by_name(&list[left], &pivot) < 0) {
                left++;
            }
            while (by_name(&list[right], &pivot) > 0) {
                right--;
            }
            if (left >= right) {
                break;
            }
            swap(&list[left++], &list[right--]);
        }
        if (at <= right) {
            to = right + 1;
        } else {
            from = right + 1;
        }
    }
}

uint32_t stream_subjects(const struct stream *s, const char *filter, uint32_t offset,
                         uint32_t limit, struct subject_state ***list, uint32_t *count)
{
    char *one[] = {(char *)(uintptr_t)filter};
    struct filters filters = {one, 1, NULL};
    struct subject_state *state;
    uint32_t total = 0, cap = 0;
    bool literal = are_literal(filters);
    *list = NULL;
    for (uint32_t i = 0; (state = next_subject(s, filters, literal, &i)) != NULL;) {
        VEC_RESERVE(*list, cap, total);
        (*list)[total++] = state;
    }
    uint32_t from = offset < total ? offset : total;
    *count = total - from < limit ? total - from : limit;
    if (*count > 0) {
        select_at(*list, total, from);
        select_at(*list + from, total - from, *count);
        memmove(*list, *list + from, *count * sizeof **list);
        qsort(*list, *count, sizeof **list, by_name);
    }
    return total;
}

/* --- messages --- */

/* Nothing behind that can match: known at once when the filters are a few subjects. */
static uint64_t last_match(struct stream *s, struct filters filters)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < filters.count && filters.set == NULL; i++) {
        struct bytes filter = bytes_of(filters.list[i]);
        uint64_t of_subject =
            subject_has_wildcard(filter) ? UINT64_MAX : stream_subject_last(s, filter);
        last = of_subject > last ? of_subject : last;
    }
    bool unknown = filters.count == 0 || filters.set != NULL;
    return unknown || last > s->totals.last_seq ? s->totals.last_seq : last;
}

enum err stream_search(struct stream *s, uint64_t seq, struct filters filters, size_t *budget,
                       struct stored_message *m)
{
    if (seq < s->totals.first_seq) {
        seq = s->totals.first_seq;
    }
    for (uint64_t end = last_match(s, filters); seq <= end; seq++) {
        struct hole hole;
        if (holes_next(&s->deleted, seq, &hole) && hole.from <= seq) {
            seq = hole.to;
            continue;
        }
        enum err err = *budget == 0 ? ERR_BUSY : stream_read(s, seq, m);
        if (err == ERR_CORRUPT || err == ERR_BUSY) {
            m->seq = seq;
            return err;
        }
        if (err == OK) {
            size_t cost = MESSAGE_COST + m->subject.len + m->header.len + m->body.len;
            *budget -= cost < *budget ? cost : *budget;
            if (filters_match(filters, m->subject)) {
                return OK;
            }
        }
    }
    return ERR_NOT_FOUND;
}

enum err stream_next(struct stream *s, uint64_t seq, struct stored_message *m)
{
    size_t budget = SIZE_MAX;
    return stream_search(s, seq, (struct filters){0}, &budget, m);
}

static uint64_t count_by_reading(struct stream *s, uint64_t from, uint64_t to,
                                 struct filters filters)
{
    uint64_t found = 0;
    size_t budget = SIZE_MAX;
    struct stored_message m;
    while (from <= to && stream_search(s, from, filters, &budget, &m) == OK && m.seq <= to) {
        found++;
        from = m.seq + 1;
    }
    return found;
}

uint64_t stream_count_matching(struct stream *s, uint64_t from, struct filters filters)
{
    uint64_t all = 0, behind = 0, last = 0;
    bool known = true; /* without reading messages: how many are at or above `from` */
    struct subject_state *state;
    bool literal = are_literal(filters);
    for (uint32_t i = 0; (state = next_subject(s, filters, literal, &i)) != NULL;) {
        uint64_t end = state->last_seq == 0 ? s->totals.last_seq : state->last_seq;
        all += state->count;
        if (from <= s->totals.first_seq || (state->count == 1 && state->last_seq >= from)) {
            behind += state->count;
        } else if (end >= from) {
            known = false;
        }
        last = end > last ? end : last;
    }
    if (known) {
        return behind;
    }
    return last - from < from - s->totals.first_seq
               ? count_by_reading(s, from, last, filters)
               : all - count_by_reading(s, s->totals.first_seq, from - 1, filters);
}

/* --- time --- */

uint64_t stream_seq_at(struct stream *s, int64_t time_ns)
{
    struct stored_message m;
    uint64_t low =
        s->totals.first_seq > 0 ? s->totals.first_seq : 1; /* 0: nothing ever was there */
    uint64_t high = s->totals.last_seq + 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        enum err err = stream_next(s, middle, &m);
        if (err != OK || m.time_ns >= time_ns) {
            high = middle;
        } else {
            low = m.seq + 1;
        }
    }
    return low;
}

uint64_t stream_expired_through(struct stream *s, int64_t now_ns)
{
    if (s->config.max_age_ns == 0 || s->totals.messages == 0) {
        return 0;
    }
    int64_t horizon = time_sub(now_ns, s->config.max_age_ns);
    if (BUG(BUG_EXPIRES_BY_SEARCH)) {
        return stream_seq_at(s, time_add(horizon, 1)) - 1;
    }
    uint64_t through = 0;
    uint64_t seq = s->totals.first_seq;
    struct stored_message m;
    for (uint64_t left = stream_slice(s); left > 0; left--) {
        enum err err = stream_next(s, seq, &m);
        if (err == ERR_CORRUPT && s->config.replicas == 1) { /* lost: as old as what is behind it */
            const struct stream_entry *lost = stream_find_entry(s, m.seq);
            seq = lost->first_seq + lost->count;
            continue;
        }
        if (err != OK || m.time_ns > horizon) {
            break;
        }
        through = m.seq;
        seq = m.seq + 1;
    }
    return through;
}
