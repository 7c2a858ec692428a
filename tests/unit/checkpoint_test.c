/* Checkpoints of a stream, whole and damaged. */
#include <criterion/criterion.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "unit/checkpoint_fixture.h"
#include "unit/stream_fixture.h"

/* --- checkpoints in parts --- */

Test(stream, a_checkpoint_writes_what_has_changed_since_the_one_before)
{
    struct saved saved = {0};
    char subject[32];
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\"],\"max_msgs\":150}");
    for (int i = 0; i < 100; i++) {
        (void)snprintf(subject, sizeof subject, "a.%d", i);
        store(s, subject, "body", i + 1);
    }
    cr_assert_eq(checkpoint(s, &saved), 101); /* all subjects, and the entries */
    loads_as(&saved, s);
    cr_assert_eq(checkpoint(s, &saved), 0);
    loads_as(&saved, s);
    store(s, "a.7", "body", 200);
    store(s, "a.new", "body", 201);
    cr_assert_eq(checkpoint(s, &saved), 3);
    loads_as(&saved, s);
    delete_message(s, 50); /* the only one of a.49 */
    cr_assert_eq(checkpoint(s, &saved), 1);
    cr_assert_eq(saved.rows.count, 101);
    loads_as(&saved, s);
    store(s, "a.49", "body", 202); /* gone and back between two checkpoints */
    delete_message(s, 103);
    store(s, "a.49", "body", 203);
    cr_assert_eq(checkpoint(s, &saved), 2);
    loads_as(&saved, s);
    (void)purge(s, 0, 0, "");
    (void)checkpoint(s, &saved);
    cr_assert_eq(saved.rows.count, 0);
    loads_as(&saved, s);
    saved_deinit(&saved);
    stream_free(s);
}

/* A message is stored, or deleted, or, once in `purges` times, some are purged; `batches`: or
 * several are stored at once. Returns what was drawn. */
static unsigned something_happens(struct stream *s, uint64_t *random, int64_t ns, unsigned purges,
                                  bool batches)
{
    char subject[32];
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    unsigned pick = (unsigned)(*random >> 33);
    (void)snprintf(subject, sizeof subject, "a.%u", pick % 7);
    if (pick % 5 == 0 && s->totals.messages > 3) {
        uint64_t behind = (pick >> 8) % (s->totals.last_seq - s->totals.first_seq + 1);
        delete_message(s, s->totals.last_seq - behind);
    } else if (pick % purges == 0) {
        (void)purge(s, 0, pick % 3, pick % 2 == 0 ? subject : "");
    } else if (batches && pick % 3 == 0) {
        store_batch_of(s, 1 + pick % 4, ns);
    } else {
        store(s, subject, "body", ns);
    }
    return pick;
}

/* Whatever happens between two checkpoints, the second builds on the first. */
Test(stream, a_checkpoint_follows_every_history)
{
    struct saved saved = {0};
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\"],\"max_msgs\":20}");
    uint64_t random = 1;
    for (int i = 0; i < 900; i++) {
        unsigned pick = something_happens(s, &random, i + 1, 101, false);
        if (pick % 4 == 0) {
            (void)checkpoint(s, &saved);
            loads_as(&saved, s);
        }
    }
    cr_assert_leq(saved.rows.count, 7 + 2);
    saved_deinit(&saved);
    stream_free(s);
}

Test(stream, a_checkpoint_with_a_part_missing_is_refused)
{
    struct saved saved = {0};
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\"]}");
    store(s, "a.1", "body", 1);
    store(s, "a.2", "body", 2);
    cr_assert_eq(checkpoint(s, &saved), 3);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&saved.rows, &i)) != NULL;) {
        uint64_t row;
        memcpy(&row, e->key.ptr, sizeof row);
        cr_assert_null(load(&saved, row));
    }
    stream_write_all_rows(s); /* as whoever finds it damaged asks for */
    remove_rows(&saved, 1, 2);
    cr_assert_eq(checkpoint(s, &saved), 3);
    loads_as(&saved, s);
    saved_deinit(&saved);
    stream_free(s);
}

/* --- records written anew --- */

static unsigned records_put, records_removed;

static void put_record(void *arg, uint64_t index, struct blob *data)
{
    (void)arg;
    cr_assert_lt(data->len, entries[index]->len);
    blob_release(entries[index]);
    entries[index] = blob_retain(data);
    records_put++;
}

static void remove_record(void *arg, uint64_t index)
{
    (void)arg;
    rot(index);
    records_removed++;
}

static void rewrite(struct stream *s, uint64_t from, uint64_t to)
{
    const struct record_writer records = {put_record, remove_record, NULL};
    records_put = records_removed = 0;
    blob_release(s->cursor); /* it would go on reading the old one */
    s->cursor = NULL;
    stream_rewrite(s, from, to, &records);
}

static void reads_all(struct stream *s)
{
    for (uint64_t seq = s->totals.first_seq; seq <= s->totals.last_seq; seq++) {
        struct stored_message m;
        char body[32];
        (void)snprintf(body, sizeof body, "body %llu", (unsigned long long)seq);
        if (stream_is_deleted(s, seq)) {
            cr_assert_eq(stream_read(s, seq, &m), ERR_NOT_FOUND);
        } else {
            cr_assert_eq(stream_read(s, seq, &m), OK);
            cr_assert(bytes_is(m.body, body));
            cr_assert_eq(m.seq, seq);
        }
    }
}

Test(stream, what_is_left_of_a_record_is_written_anew)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\"]}");
    s->rewrite_least = 0;
    for (int i = 0; i < 4; i++) {
        store_batch_of(s, 10, 100 * (i + 1)); /* entries 1 to 4: messages 1-10, … 31-40 */
    }
    for (uint64_t seq = 12; seq <= 15; seq++) {
        delete_message(s, seq);
    }
    rewrite(s, 100, 100);
    cr_assert_eq(records_put, 0); /* more than half is there */
    delete_message(s, 16);
    delete_message(s, 20);
    rewrite(s, 2, 100);
    cr_assert_eq(records_put, 0); /* the log needs it */
    rewrite(s, 3, 100);
    cr_assert_eq(records_put, 1);
    reads_all(s);
    for (uint64_t seq = 17; seq <= 19; seq++) {
        delete_message(s, seq);
    }
    rewrite(s, 100, 100);
    cr_assert_eq(records_put, 1); /* again, only 11 is left */
    reads_all(s);
    delete_message(s, 11);
    rewrite(s, 100, 100);
    cr_assert_eq(records_removed, 1);
    for (uint64_t seq = 21; seq <= 30; seq++) {
        delete_message(s, seq);
    }
    rewrite(s, 3, 100); /* the caller drops it */
    cr_assert_eq(records_removed + records_put, 0);
    rewrite(s, 100, 100);
    cr_assert_eq(records_removed + records_put, 0);
    reads_all(s);
    cr_assert_eq(stream_count_between(s, 1, 40), 20);
    cr_assert_eq(purge(s, 0, 3, "a.1").count, 7);
    for (uint64_t seq = 34; seq <= 36; seq++) {
        delete_message(s, seq);
    }
    rewrite(s, 100, 100);
    cr_assert_eq(records_put, 1); /* 31-40; not the first one, though only half of it is left */
    reads_all(s);
    rewrite(s, 100, 100);
    cr_assert_eq(records_put, 0);
    stream_free(s);
}

Test(stream, remains_are_nothing_for_whoever_needs_more)
{
    struct stream *s = make("{\"name\":\"S\",\"subjects\":[\"a.*\"],\"num_replicas\":3}");
    struct stream_config empty = {.name = mem_strdup("S"), .replicas = 3};
    struct apply_result result;
    s->rewrite_least = 0;
    store_batch_of(s, 4, 1);
    store_batch_of(s, 4, 2);
    struct stream *behind = stream_new(&empty, 0, read_log, NULL);
    for (uint64_t i = 1; i <= 2; i++) {
        cr_assert_eq(stream_apply(behind, i, blob_bytes(entries[i]), &result, NULL, NULL), OK);
    }
    blob_release(behind->cursor);
    behind->cursor = NULL;
    delete_message(s, 6);
    delete_message(s, 7);
    rewrite(s, 100, 100);
    cr_assert_eq(records_put, 1);
    struct stored_message m;
    cr_assert_eq(stream_read(behind, 5, &m), OK);
    cr_assert_eq(stream_read(behind, 6, &m), ERR_CORRUPT);
    cr_assert_eq(stream_read(behind, 8, &m), OK);
    cr_assert_eq(stream_apply(behind, 3, blob_bytes(entries[3]), &result, NULL, NULL), ERR_IO);
    struct stream_config anew = {.name = mem_strdup("S"), .replicas = 3};
    struct stream *t = stream_new(&anew, 0, read_log, NULL);
    cr_assert_eq(stream_apply(t, 2, blob_bytes(entries[2]), &result, NULL, NULL), ERR_IO);
    stream_free(s);
    stream_free(t);
    stream_free(behind);
}

/* --- what is left when a checkpoint is damaged --- */

struct findings {
    uint64_t lost_from, lost_to, doubtful; /* the last loss, and how many sequences are doubtful */
    unsigned losses;
};

static void find(void *arg, enum recovery_finding finding, uint64_t from, uint64_t to)
{
    struct findings *f = arg;
    if (finding == RECOVERY_LOST) {
        f->lost_from = from;
        f->lost_to = to;
        f->losses++;
    } else {
        f->doubtful += to - from + 1;
    }
}

static struct stream *head_of(const struct saved *saved)
{
    struct stream_config empty = {.name = mem_strdup("S")};
    struct stream *s = stream_new(&empty, 0, read_log, NULL);
    cr_assert_eq(stream_decode(s, buffer_bytes(&saved->head)), OK);
    return s;
}

/* From the checkpoint of log index `at`, 0: its head is lost; `rows`: and those can be read.
 * Records that are gone up to there have been deleted, those behind it are missing. */
static struct stream *recover(const struct saved *saved, uint64_t at, bool rows, const char *config,
                              struct findings *f)
{
    *f = (struct findings){0};
    struct stream_recovery *r =
        at == 0 ? stream_recovery_new(make_over_log(config), NULL, 0, UINT64_MAX, find, f)
                : stream_recovery_new(head_of(saved), head_of(saved), at, at + 1, find, f);
    struct map_entry **list = map_sorted(&saved->rows);
    qsort(list, saved->rows.count, sizeof *list, by_row_number);
    for (uint32_t i = 0; i < saved->rows.count && rows; i++) {
        uint64_t row;
        memcpy(&row, list[i]->key.ptr, sizeof row);
        stream_recovery_row(r, row, blob_bytes(list[i]->value));
    }
    free(list);
    for (uint64_t index = 1; index <= last_index; index++) {
        if (entries[index] != NULL) {
            cr_assert_eq(stream_recovery_record(r, index, blob_bytes(entries[index])), OK);
        } else if (index > at && at > 0) {
            stream_recovery_missing(r);
        }
    }
    return stream_recovery_end(r);
}

/* As the log's owner does it with a checkpoint. */
static void drop_dead_records(struct stream *s)
{
    for (uint64_t index = 1; index <= last_index; index++) {
        if (stream_entry_at(s, index) == NULL) {
            rot(index);
        }
    }
}

Test(stream, with_all_rows_and_records_nothing_is_lost)
{
    static const char config[] = "{\"name\":\"S\",\"subjects\":[\"a.*\"],\"max_msgs\":40}";
    struct saved saved = {0};
    struct findings f;
    struct stream *s = make(config);
    (void)consume(
        s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\",\"filter_subject\":\"a.3\"}");
    uint64_t random = 7, at = 0;
    for (int i = 0; i < 900; i++) {
        unsigned pick = something_happens(s, &random, i + 1, 97, true);
        if (pick % 9 == 0) {
            (void)checkpoint(s, &saved);
            at = last_index;
            drop_dead_records(s);
        }
        if (at > 0) {
            struct stream *t = recover(&saved, at, true, config, &f);
            is_the_same(s, t);
            cr_assert_eq(f.losses + f.doubtful, 0);
            stream_free(t);
        }
    }
    saved_deinit(&saved);
    stream_free(s);
}

Test(stream, without_rows_what_was_deleted_may_be_back_and_that_is_told)
{
    static const char config[] = "{\"name\":\"S\",\"subjects\":[\"a.*\"]}";
    struct saved saved = {0};
    struct findings f;
    struct stream *s = make(config);
    struct consumer *c = consume(s, "{\"durable_name\":\"C\",\"ack_policy\":\"explicit\","
                                    "\"filter_subject\":\"a.2\"}");
    for (int i = 0; i < 4; i++) {
        store_batch_of(s, 10, 100 * (i + 1)); /* 1-10, … 31-40 */
    }
    (void)purge(s, 11, 0, "");
    delete_message(s, 15);
    (void)checkpoint(s, &saved);
    uint64_t at = last_index;
    drop_dead_records(s);
    delete_message(s, 33); /* the log knows it */
    store(s, "a.2", "body", 900);
    struct stream *t = recover(&saved, at, false, config, &f);
    cr_expect_eq(f.losses, 0);
    cr_expect_eq(f.doubtful, 30);
    cr_expect_eq(t->totals.first_seq, 11);
    cr_expect_eq(t->totals.last_seq, 41);
    cr_expect_eq(t->totals.messages, s->totals.messages + 1);
    cr_expect_not(stream_is_deleted(t, 15));
    cr_expect(stream_is_deleted(t, 33));
    counts_are_exact(t);
    struct consumer *d = map_get(&t->consumers, BYTES_LIT("C"));
    cr_assert_not_null(d);
    cr_expect_eq(consumer_left(t, d), consumer_left(s, c));
    (void)checkpoint(t, &saved); /* has all rows */
    loads_as(&saved, t);
    stream_free(t);

    t = recover(&saved, 0, false, config, &f); /* nor the head: all that the log has */
    cr_expect_eq(t->totals.first_seq, 11);
    cr_expect_eq(t->totals.last_seq, 41);
    cr_expect_eq(f.doubtful, 31);
    cr_expect_eq(t->consumers.count, 0);
    counts_are_exact(t);
    (void)checkpoint(t, &saved);
    loads_as(&saved, t);
    saved_deinit(&saved);
    stream_free(t);
    stream_free(s);
}

Test(stream, records_that_are_missing_are_told_by_sequence)
{
    static const char config[] = "{\"name\":\"S\",\"subjects\":[\"a.*\"]}";
    struct saved saved = {0};
    struct findings f;
    struct stream *s = make(config);
    store_batch_of(s, 10, 100);
    (void)checkpoint(s, &saved);
    uint64_t at = last_index;
    for (int i = 0; i < 3; i++) {
        store_batch_of(s, 10, 100 * (i + 2));
    }
    rot(at + 2); /* 21 to 30 */
    struct stream *t = recover(&saved, at, true, config, &f);
    cr_expect_eq(f.losses, 1);
    cr_expect_eq(f.lost_from, 21);
    cr_expect_eq(f.lost_to, 30);
    cr_expect_eq(t->totals.last_seq, 40);
    cr_expect_eq(t->totals.messages, 30);
    counts_are_exact(t);
    stream_free(t);
    rot(last_index); /* and the last one: nobody knows what it was */
    t = recover(&saved, at, true, config, &f);
    cr_expect_eq(f.lost_from, 21);
    cr_expect_eq(f.lost_to, UINT64_MAX);
    cr_expect_eq(t->totals.last_seq, 20);
    stream_free(t);
    saved_deinit(&saved);
    stream_free(s);
}
