#include "jetstream/state/stream.h"

#include <stdlib.h>

#include "core/base/bugs.h"
#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/time_math.h"
#include "core/subject/subject.h"
#include "jetstream/state/stream_internal.h"

/* (1) entries are ascending in index and first_seq, and cover (first live, last_seq] without
 * overlap, but for those without live messages, which may be dropped. (2) totals.messages = sum of
 * live over entries = sum of count over subjects. (3) messages and deleted together are all
 * sequences from first_seq to last_seq. */

#define REWRITE_LEAST 2048
/* What an entry makes of the messages of a stream, about and at most, when it could be all of them:
 * applying it takes some milliseconds then. */
#define SLICE_MESSAGES 32768
#define SLICE_BYTES    (16u << 20)

/* --- finding and reading --- */

struct stream_entry *stream_find_entry(const struct stream *s, uint64_t seq)
{
    uint32_t low = s->entries_from;
    uint32_t high = s->entries_count;
    while (low < high) { /* the last entry that begins at or below seq */
        uint32_t middle = low + (high - low) / 2;
        if (s->entries[middle].first_seq <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == s->entries_from) {
        return NULL;
    }
    struct stream_entry *e = &s->entries[low - 1];
    return seq < e->first_seq + e->count ? e : NULL;
}

bool stream_is_deleted(const struct stream *s, uint64_t seq)
{
    return holes_has(&s->deleted, seq);
}

/* What is left of an entry that nobody can read any more is removed. Bytes, subjects and filters
 * are counted anew when the entry that needed it is applied. */
static void lose_entry(struct stream *s, uint64_t first_seq)
{
    struct stream_entry *e = stream_find_entry(s, first_seq);
    uint64_t seq = first_seq < s->totals.first_seq ? s->totals.first_seq : first_seq;
    for (; seq < first_seq + e->count; seq++) {
        if (!stream_is_deleted(s, seq)) {
            holes_add(&s->deleted, seq, seq);
            s->totals.messages--;
            consumers_on_remove(s, seq, BYTES_NONE);
        }
    }
    s->entries_dead += e->live > 0;
    e->live = 0;
    stream_entry_changed(s, e->index);
    s->lost = true;
}

/* Puts the cursor in front of `seq`. */
static enum err seek(struct stream *s, const struct stream_entry *e, uint64_t seq)
{
    bool here = s->cursor != NULL && s->cursor_index == e->index;
    if (!here) {
        blob_release(s->cursor);
        s->cursor = s->read(s->arg, e->index);
        s->cursor_index = e->index;
        s->cursor_before.next_seq = 0; /* nothing */
        if (s->cursor == NULL) {
            if (s->applying && s->config.replicas == 1) {
                lose_entry(s, e->first_seq);
                return ERR_NOT_FOUND;
            }
            s->unreadable = true;
            return ERR_CORRUPT;
        }
    }
    if (here && s->cursor_before.next_seq == seq) { /* the same again, to remove it now */
        s->cursor_reader = s->cursor_before;
    } else if (!here || s->cursor_reader.next_seq > seq) {
        if (!messages_open(&s->cursor_reader, blob_bytes(s->cursor)) ||
            s->cursor_reader.first_seq != e->first_seq) {
            return ERR_CORRUPT;
        }
    }
    struct stored_message skipped;
    struct messages_reader *r = &s->cursor_reader;
    while (r->next_seq < seq && messages_next(r, &skipped)) { /* to it */
    }
    if (r->next_seq != seq || r->left == 0) {
        s->unreadable = s->unreadable || r->remains; /* of a replica that has deleted it already */
        return ERR_CORRUPT;
    }
    return OK;
}

enum err stream_read(struct stream *s, uint64_t seq, struct stored_message *m)
{
    if (seq < s->totals.first_seq || seq > s->totals.last_seq || stream_is_deleted(s, seq)) {
        return ERR_NOT_FOUND;
    }
    const struct stream_entry *e = stream_find_entry(s, seq);
    if (e == NULL) {
        return ERR_NOT_FOUND;
    }
    enum err err = seek(s, e, seq);
    if (err != OK) {
        return err;
    }
    s->cursor_before = s->cursor_reader;
    return messages_next(&s->cursor_reader, m) ? OK : ERR_CORRUPT;
}

uint64_t stream_count_between(const struct stream *s, uint64_t from, uint64_t to)
{
    if (from < s->totals.first_seq) {
        from = s->totals.first_seq;
    }
    if (to > s->totals.last_seq) {
        to = s->totals.last_seq;
    }
    if (s->totals.messages == 0 || from > to) {
        return 0;
    }
    return to - from + 1 - (holes_below(&s->deleted, to + 1) - holes_below(&s->deleted, from));
}

struct subject_state *stream_add_subject(struct stream *s, struct bytes subject)
{
    struct subject_state *state = mem_zalloc(sizeof *state + subject.len);
    memcpy(state->subject, subject.ptr, subject.len);
    state->len = (uint32_t)subject.len;
    s->subjects.borrows_keys = true;
    (void)map_put(&s->subjects, bytes_make(state->subject, subject.len), state);
    return state;
}

/* --- storing and removing --- */

static void remember_subject(struct stream *s, struct bytes subject, uint64_t seq)
{
    struct subject_state *state = map_get(&s->subjects, subject);
    if (state == NULL) {
        state = stream_add_subject(s, subject);
    }
    state->count++;
    state->last_seq = seq;
    stream_subject_changed(s, state);
}

static void forget_subjects(struct stream *s)
{
    struct map_entry *e;
    stream_write_all_rows(s);
    for (uint32_t i = 0; (e = map_next(&s->subjects, &i)) != NULL;) {
        free(e->value);
    }
    map_clear(&s->subjects);
}

static void forget_subject(struct stream *s, struct bytes subject, uint64_t seq)
{
    struct subject_state *state = map_get(&s->subjects, subject);
    CHECK(state != NULL && state->count > 0);
    if (--state->count == 0) {
        (void)map_remove(&s->subjects, subject);
        stream_subject_gone(s, state);
        return;
    }
    if (state->last_seq == seq) {
        state->last_seq = 0;
    }
    stream_subject_changed(s, state);
}

/* The clock has been set back: what was seen before was seen no later than now. Otherwise they
 * would be kept for as long as it was set back, and so would all that come behind them. */
static void clock_was(struct stream *s, int64_t time_ns)
{
    for (uint32_t i = s->seen_count; i > s->seen_from && s->seen_order[i - 1].time_ns > time_ns;
         i--) {
        struct seen_order *later = &s->seen_order[i - 1];
        struct seen_id *seen = map_get(&s->seen, bytes_make(later->id, later->len));
        later->time_ns = time_ns;
        if (seen != NULL && seen->time_ns > time_ns) {
            seen->time_ns = time_ns;
        }
    }
}

void stream_remember_id(struct stream *s, struct bytes id, uint64_t seq, int64_t time_ns)
{
    clock_was(s, time_ns);
    struct seen_id *seen = map_get(&s->seen, id);
    if (seen == NULL) {
        seen = NEW(struct seen_id);
        (void)map_put(&s->seen, id, seen);
    }
    *seen = (struct seen_id){seq, time_ns};
    VEC_RESERVE(s->seen_order, s->seen_cap, s->seen_count);
    s->seen_order[s->seen_count++] =
        (struct seen_order){mem_dup(id.ptr, id.len), id.len, seq, time_ns};
}

void stream_count_message(struct stream *s, const struct stored_message *m)
{
    struct stream_totals *t = &s->totals;
    if (t->messages == 0) {
        t->first_seq = m->seq;
        t->first_ns = m->time_ns;
    }
    t->messages++;
    t->bytes += message_bytes(m->subject.len, m->header.len, m->body.len);
    t->last_seq = m->seq;
    t->last_ns = m->time_ns;
    remember_subject(s, m->subject, m->seq);
}

static void forget_entries(struct stream *s)
{
    s->totals.first_ns = 0;
    s->entries_from = s->entries_count = s->entries_dead = s->sparse_count = 0;
    holes_clear(&s->deleted);
}

void stream_forget_messages(struct stream *s)
{
    forget_subjects(s);
    forget_entries(s);
    s->totals.messages = s->totals.bytes = 0;
}

/* The window is measured by the times in the log, not by anybody's clock. */
static void forget_old_ids(struct stream *s, int64_t now_ns)
{
    int64_t horizon = time_sub(now_ns, s->config.duplicate_window_ns);
    while (s->seen_from < s->seen_count && s->seen_order[s->seen_from].time_ns <= horizon) {
        struct seen_order *old = &s->seen_order[s->seen_from++];
        struct seen_id *seen = map_get(&s->seen, bytes_make(old->id, old->len));
        if (seen != NULL && seen->seq == old->seq) {
            free(map_remove(&s->seen, bytes_make(old->id, old->len)));
        }
        free(old->id);
    }
    if (s->seen_from > 64 && s->seen_from > s->seen_count / 2) {
        s->seen_count -= s->seen_from;
        memmove(s->seen_order, s->seen_order + s->seen_from, s->seen_count * sizeof *s->seen_order);
        s->seen_from = 0;
    }
}

/* The array without what is in front of it, or dead in the middle of it. */
static void squeeze_entries(struct stream *s)
{
    uint32_t to = 0;
    for (uint32_t i = s->entries_from; i < s->entries_count; i++) {
        if (s->entries[i].live > 0) {
            s->entries[to++] = s->entries[i];
        }
    }
    s->entries_from = s->entries_dead = 0;
    s->entries_count = to;
}

/* first_seq after something was removed at the front, of a stream that has messages. */
static void move_first(struct stream *s)
{
    struct stream_totals *t = &s->totals;
    struct hole hole;
    if (holes_next(&s->deleted, t->first_seq, &hole) && hole.from <= t->first_seq) {
        t->first_seq = hole.to + 1;
        holes_forget_below(&s->deleted, t->first_seq);
    }
    while (s->entries[s->entries_from].live == 0) {
        s->entries_from++;
        s->entries_dead--;
    }
    uint32_t gone = s->entries_from + s->entries_dead;
    if (gone > 1024 && gone > s->entries_count / 2) {
        squeeze_entries(s);
    }
}

/* first_seq and first_ns then. What is found to be lost is removed, too. */
static enum err settle_first(struct stream *s)
{
    struct stream_totals *t = &s->totals;
    struct stored_message m;
    enum err err = ERR_NOT_FOUND;
    while (t->messages > 0 && err == ERR_NOT_FOUND) {
        move_first(s);
        err = stream_read(s, t->first_seq, &m);
    }
    if (t->messages == 0) {
        t->first_seq = t->last_seq + 1;
        forget_entries(s);
        err = OK;
    } else {
        t->first_ns = err == OK ? m.time_ns : 0;
    }
    consumers_on_first(s);
    return err;
}

void stream_note_sparse(struct stream *s, const struct stream_entry *e)
{
    VEC_RESERVE(s->sparse, s->sparse_cap, s->sparse_count);
    s->sparse[s->sparse_count++] = e->index;
}

/* Worth another look: half of its messages are left, a quarter, and so on. */
static bool has_halved(const struct stream_entry *e)
{
    uint32_t part = e->count / 2;
    while (part > e->live) {
        part /= 2;
    }
    return part == e->live;
}

/* The message that has just been read. The caller settles what is first then. */
static void remove_read(struct stream *s, const struct stored_message *m)
{
    struct stream_entry *e = stream_find_entry(s, m->seq);
    e->live--;
    s->entries_dead += e->live == 0;
    stream_entry_changed(s, e->index);
    s->totals.messages--;
    s->totals.bytes -= message_bytes(m->subject.len, m->header.len, m->body.len);
    forget_subject(s, m->subject, m->seq);
    consumers_on_remove(s, m->seq, m->subject);
    if (m->seq == s->totals.first_seq) {
        s->totals.first_seq++;
        return;
    }
    holes_add(&s->deleted, m->seq, m->seq);
    if (has_halved(e)) {
        stream_note_sparse(s, e);
    }
}

/* Removes a live message. Its entry must be readable, for the accounting is exact to the byte. */
static enum err remove_message(struct stream *s, uint64_t seq)
{
    struct stored_message m;
    enum err err = stream_read(s, seq, &m);
    if (err == OK) {
        remove_read(s, &m);
    }
    return err;
}

static enum err remove_first(struct stream *s)
{
    enum err err = remove_message(s, s->totals.first_seq);
    return err == OK || err == ERR_NOT_FOUND ? settle_first(s) : err; /* not found: lost */
}

bool stream_is_over_limits(const struct stream *s)
{
    const struct stream_config *c = &s->config;
    return s->totals.messages > 0 &&
           ((c->max_msgs > 0 && s->totals.messages > (uint64_t)c->max_msgs) ||
            (c->max_bytes > 0 && s->totals.bytes > (uint64_t)c->max_bytes));
}

/* More than the entry can have brought, and not so much, when limits have been lowered, that the
 * loop stands still; entries that follow do the rest. */
static enum err enforce_limits(struct stream *s, size_t entry_len)
{
    enum err err = OK;
    uint64_t had = s->totals.messages;
    uint64_t had_bytes = s->totals.bytes;
    uint64_t most_bytes = SLICE_BYTES + 2 * (uint64_t)entry_len;
    while (err == OK && stream_is_over_limits(s) && had - s->totals.messages < SLICE_MESSAGES &&
           had_bytes - s->totals.bytes < most_bytes) {
        err = remove_first(s);
    }
    return err;
}

uint64_t stream_slice(const struct stream *s)
{
    uint64_t messages = s->totals.messages == 0 ? 1 : s->totals.messages;
    uint64_t count = SLICE_BYTES / (SLICE_BYTES / SLICE_MESSAGES + s->totals.bytes / messages);
    return count == 0 ? 1 : count;
}

/* Committed, and of no sense: the same on every replica. */
static enum err ignore(struct apply_result *result, enum js_err err, const char *why)
{
    (void)js_failf(&result->error, err, "%s", why);
    result->warning = why;
    return OK;
}

/* The leader has fixed the sequences by its view of the state (publish.h). Should that have been
 * behind, nobody has been told that these are stored; if ahead, what it left out is deleted. */
static enum err apply_messages(struct stream *s, uint64_t index, struct bytes entry,
                               struct apply_result *result)
{
    struct messages_reader r;
    struct stream_totals *t = &s->totals;
    if (!messages_open(&r, entry) || (BUG(BUG_PURGE_UNSEEN) && r.next_seq != t->last_seq + 1)) {
        return ERR_CORRUPT;
    }
    if (r.left == 0) {
        return ignore(result, JS_STORE_FAILED, "an entry without messages");
    }
    if (r.next_seq <= t->last_seq || r.next_seq > SEQ_LAST || r.left > SEQ_LAST - r.next_seq) {
        return ignore(result, JS_STORE_FAILED, "messages whose sequences are not the next ones");
    }
    if (r.next_seq > t->last_seq + 1) {
        result->warning = "messages whose sequences leave out some";
        if (t->messages > 0) {
            holes_add(&s->deleted, t->last_seq + 1, r.next_seq - 1);
        }
    }
    VEC_RESERVE(s->entries, s->entries_cap, s->entries_count);
    s->entries[s->entries_count++] = (struct stream_entry){index, r.next_seq, r.left, r.left};
    stream_entry_changed(s, index);
    uint32_t count = r.left;
    struct stored_message m;
    struct bytes last_id = BYTES_NONE;
    for (uint32_t i = 0; i < count; i++) {
        if (!messages_next(&r, &m)) {
            return ERR_CORRUPT;
        }
        stream_count_message(s, &m);
        last_id = BYTES_NONE;
        if (m.header.len > 0 && header_find(m.header, "Nats-Msg-Id", &last_id)) {
            stream_remember_id(s, last_id, m.seq, m.time_ns);
        }
        consumers_on_store(s, &m);
    }
    free(s->last_msg_id);
    s->last_msg_id = last_id.len == 0 ? NULL : mem_dup(last_id.ptr, last_id.len);
    s->content_hash = hash_bytes(entry) ^ (s->content_hash * 0x9e3779b97f4a7c15u);
    forget_old_ids(s, s->totals.last_ns);
    return enforce_limits(s, entry.len);
}

/* Everything, or what matches: below before_seq (0: all), but for the `keep` newest; of a purge in
 * parts, from `from` on. */
static enum err apply_purge(struct stream *s, struct reader *r, struct apply_result *result)
{
    uint64_t before = reader_varint(r);
    uint64_t keep = reader_varint(r);
    struct bytes filter = reader_bytes(r);
    bool whole = reader_done(r);
    uint64_t from = whole ? 0 : reader_varint(r);
    if (!reader_done(r)) {
        return ERR_CORRUPT;
    }
    if (s->config.deny_purge) {
        (void)js_fail(&result->error, JS_PURGE_DENIED);
        return OK;
    }
    if (before > SEQ_LAST + 1) {
        return ignore(result, JS_BAD_REQUEST, "a purge beyond all sequences");
    }
    uint64_t had = s->totals.messages;
    bool all = filter.len == 0 || bytes_is(filter, ">");
    if (whole && all && keep == 0 && (before == 0 || before > s->totals.last_seq)) {
        struct map_entry *e;
        stream_forget_messages(s);
        for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
            struct consumer *c = e->value;
            c->filtered_left = 0;
        }
        if (before > s->totals.last_seq + 1) { /* jumps forward, streams reference §11 */
            s->totals.last_seq = before - 1;
        }
        result->count = had;
        return settle_first(s);
    }
    char *pattern = mem_dup(filter.ptr, filter.len); /* the reader's bytes may move with the log */
    uint64_t remove = UINT64_MAX;
    if (whole || keep > 0) {
        uint64_t matching =
            stream_count_matching(s, 0, (struct filters){&pattern, all ? 0 : 1, NULL});
        remove = matching > keep ? matching - keep : 0;
    }
    uint64_t end = before > 0 && before - 1 < s->totals.last_seq ? before - 1 : s->totals.last_seq;
    enum err err = OK;
    struct stored_message m;
    uint64_t seq = from > s->totals.first_seq ? from : s->totals.first_seq;
    struct hole hole;
    for (; err == OK && seq <= end && remove > 0; seq++) {
        if (holes_next(&s->deleted, seq, &hole) && hole.from <= seq) {
            seq = hole.to;
            continue;
        }
        err = stream_read(s, seq, &m);
        if (err == OK && (all || subject_matches(bytes_of(pattern), m.subject))) {
            remove_read(s, &m);
            remove--;
        }
        err = err == ERR_NOT_FOUND ? OK : err;
    }
    free(pattern);
    result->count = had - s->totals.messages;
    return err == OK ? settle_first(s) : err;
}

static enum err apply_delete(struct stream *s, struct reader *r, struct apply_result *result)
{
    uint64_t seq = reader_varint(r);
    if (!reader_done(r)) {
        return ERR_CORRUPT;
    }
    if (s->config.deny_delete) {
        (void)js_failf(&result->error, JS_MESSAGE_DELETE, "message delete not permitted");
        return OK;
    }
    enum err err = remove_message(s, seq);
    if (err == ERR_NOT_FOUND) {
        (void)js_failf(&result->error, JS_SEQUENCE_NOT_FOUND, "sequence %llu not found",
                       (unsigned long long)seq);
        return OK;
    }
    return err == OK ? settle_first(s) : err;
}

static enum err apply_expire(struct stream *s, struct reader *r)
{
    uint64_t through = reader_varint(r);
    if (!reader_done(r)) {
        return ERR_CORRUPT;
    }
    enum err err = OK;
    while (err == OK && s->totals.messages > 0 && s->totals.first_seq <= through) {
        err = remove_first(s);
    }
    return err == OK ? enforce_limits(s, 0) : err;
}

static enum err apply_config(struct stream *s, struct reader *r, struct apply_result *result)
{
    struct bytes text = reader_bytes(r);
    json_t *json = reader_done(r) ? json_read(text) : NULL;
    struct stream_config config;
    struct js_error error;
    bool ok = json != NULL && stream_config_parse(json, true, &config, &error);
    json_decref(json);
    if (!ok) {
        return ERR_CORRUPT;
    }
    if (!BUG(BUG_SWITCH_GOES_BACK) &&
        !stream_config_check_update(&s->config, &config, &result->error)) {
        result->warning = "a configuration that the one before does not allow";
        stream_config_deinit(&config);
        return OK;
    }
    stream_config_deinit(&s->config);
    s->config = config;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        consumer_refilter(s, e->value);
    }
    return enforce_limits(s, 0);
}

static enum err apply_entry(struct stream *s, uint64_t index, struct bytes entry,
                            struct apply_result *result,
                            void (*before_delete)(void *arg, struct consumer *c), void *arg)
{
    struct reader r = reader_make(entry);
    switch (reader_u8(&r)) {
    case ENTRY_MESSAGES:
        return apply_messages(s, index, entry, result);
    case ENTRY_PURGE:
        return apply_purge(s, &r, result);
    case ENTRY_DELETE:
        return apply_delete(s, &r, result);
    case ENTRY_EXPIRE:
        return apply_expire(s, &r);
    case ENTRY_REMAINS: /* from a replica that needs no more of it: a state has to make up for it */
        s->unreadable = true;
        return OK;
    case ENTRY_CONFIG:
        return apply_config(s, &r, result);
    case ENTRY_CONSUMER:
        return consumer_apply_create(s, &r, result);
    case ENTRY_CONSUMER_DELETE:
        return consumer_apply_delete(s, &r, result, before_delete, arg);
    case ENTRY_DELIVER:
        return consumer_apply_deliver(s, &r, result);
    case ENTRY_ACKS:
        return consumer_apply_acks(s, &r, result);
    default:
        return ERR_CORRUPT;
    }
}

/* After a loss: everything that is counted by message, from those that are left. What cannot be
 * read either is lost on the way. */
static enum err recount(struct stream *s)
{
    struct map_entry *e;
    forget_subjects(s);
    s->totals.bytes = 0;
    for (uint64_t seq = s->totals.first_seq; seq <= s->totals.last_seq; seq++) {
        struct stored_message m;
        struct hole hole;
        if (holes_next(&s->deleted, seq, &hole) && hole.from <= seq) {
            seq = hole.to;
            continue;
        }
        enum err err = stream_read(s, seq, &m);
        if (err == OK) {
            s->totals.bytes += message_bytes(m.subject.len, m.header.len, m.body.len);
            remember_subject(s, m.subject, seq);
        } else if (err != ERR_NOT_FOUND) {
            return err;
        }
    }
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        consumer_refilter(s, e->value);
    }
    return settle_first(s);
}

enum err stream_apply(struct stream *s, uint64_t index, struct bytes entry,
                      struct apply_result *result,
                      void (*before_delete)(void *arg, struct consumer *c), void *arg)
{
    *result = (struct apply_result){0};
    s->unreadable = s->lost = false;
    s->applying = true;
    enum err err = apply_entry(s, index, entry, result, before_delete, arg);
    if (s->lost && err == OK) {
        err = recount(s);
    }
    s->applying = false;
    if (BUG(BUG_APPLIES_UNREADABLE) && s->unreadable) {
        return OK;
    }
    return s->unreadable ? ERR_IO : err;
}

uint64_t stream_first_needed_index(const struct stream *s)
{
    return s->totals.messages == 0 ? UINT64_MAX : s->entries[s->entries_from].index;
}

uint32_t stream_entry_position(const struct stream *s, uint64_t index)
{
    uint32_t low = s->entries_from;
    uint32_t high = s->entries_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->entries[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The first one with messages at or above that log index; NULL without. */
static const struct stream_entry *kept_entry(const struct stream *s, uint64_t index)
{
    uint32_t at = stream_entry_position(s, index);
    while (at < s->entries_count && s->entries[at].live == 0) {
        at++;
    }
    return at == s->entries_count ? NULL : &s->entries[at];
}

uint64_t stream_next_kept_index(const struct stream *s, uint64_t index)
{
    const struct stream_entry *e = kept_entry(s, index);
    return e == NULL ? UINT64_MAX : e->index;
}

const struct stream_entry *stream_entry_at(const struct stream *s, uint64_t index)
{
    const struct stream_entry *e = kept_entry(s, index);
    return e == NULL || e->index != index ? NULL : e;
}

/* --- life --- */

struct stream *stream_new(struct stream_config *config, int64_t created_ns,
                          struct blob *(*read)(void *arg, uint64_t index), void *arg)
{
    struct stream *s = NEW(struct stream);
    s->config = *config;
    *config = (struct stream_config){0};
    s->created_ns = created_ns;
    s->changes.all = true;
    s->rewrite_least = REWRITE_LEAST;
    s->read = read;
    s->arg = arg;
    return s;
}

void stream_free(struct stream *s)
{
    struct map_entry *e;
    forget_subjects(s);
    for (uint32_t i = 0; (e = map_next(&s->seen, &i)) != NULL;) {
        free(e->value);
    }
    for (uint32_t i = 0; (e = map_next(&s->consumers, &i)) != NULL;) {
        consumer_free(e->value);
    }
    map_deinit(&s->subjects);
    map_deinit(&s->seen);
    map_deinit(&s->consumers);
    for (uint32_t i = s->seen_from; i < s->seen_count; i++) {
        free(s->seen_order[i].id);
    }
    free(s->seen_order);
    free(s->last_msg_id);
    free(s->entries);
    free(s->sparse);
    holes_clear(&s->deleted);
    blob_release(s->cursor);
    stream_config_deinit(&s->config);
    free(s);
}
