#include "unit/stream_fixture.h"

#include <criterion/criterion.h>

#include "core/base/json.h"
#include "core/base/mem.h"

struct blob *entries[2000];
uint64_t last_index;

struct blob *read_log(void *arg, uint64_t index)
{
    (void)arg;
    return entries[index] == NULL ? NULL : blob_retain(entries[index]);
}

struct stream *make_over_log(const char *config)
{
    json_error_t reason;
    struct js_error error;
    struct stream_config c;
    json_t *o = json_parse(bytes_of(config), &reason);
    cr_assert(stream_config_parse(o, true, &c, &error), "%s", error.text);
    json_decref(o);
    return stream_new(&c, 1, read_log, NULL);
}

struct stream *make(const char *config)
{
    for (; last_index > 0; last_index--) { /* of an earlier stream of the test */
        blob_release(entries[last_index]);
        entries[last_index] = NULL;
    }
    return make_over_log(config);
}

struct apply_result apply(struct stream *s, struct blob *entry)
{
    struct apply_result result;
    entries[++last_index] = entry;
    cr_assert_eq(stream_apply(s, last_index, blob_bytes(entry), &result, NULL, NULL), OK);
    return result;
}

void store(struct stream *s, const char *subject, const char *body, int64_t ns)
{
    struct messages_builder b = {0};
    messages_begin(&b, s->totals.last_seq + 1, ns);
    messages_add(&b, ns, bytes_of(subject), BYTES_NONE, bytes_of(body));
    (void)apply(s, messages_finish(&b));
    buffer_deinit(&b.data);
}

struct apply_result apply_buffer(struct stream *s, struct buffer *b)
{
    struct apply_result r = apply(s, blob_copy(buffer_bytes(b)));
    buffer_deinit(b);
    return r;
}

struct consumer *consume(struct stream *s, const char *json)
{
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_CONSUMER);
    buffer_put_u64(&b, 5);
    buffer_put_bytes(&b, bytes_of(json));
    struct apply_result r = apply_buffer(s, &b);
    cr_assert_not_null(r.consumer);
    return r.consumer;
}

struct apply_result purge(struct stream *s, uint64_t before, uint64_t keep, const char *filter)
{
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_PURGE);
    buffer_put_varint(&b, before);
    buffer_put_varint(&b, keep);
    buffer_put_bytes(&b, bytes_of(filter));
    return apply_buffer(s, &b);
}

void counts_are_exact(struct stream *s)
{
    uint64_t messages = 0, bytes = 0;
    struct stored_message m;
    for (uint64_t seq = s->totals.first_seq; seq <= s->totals.last_seq; seq++) {
        if (stream_read(s, seq, &m) == OK) {
            messages++;
            bytes += message_bytes(m.subject.len, m.header.len, m.body.len);
        }
    }
    uint64_t by_subject = 0;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&s->subjects, &i)) != NULL;) {
        by_subject += ((struct subject_state *)e->value)->count;
    }
    cr_expect_eq(s->totals.messages, messages);
    cr_expect_eq(s->totals.bytes, bytes);
    cr_expect_eq(by_subject, messages);
}

void rot(uint64_t index)
{
    blob_release(entries[index]);
    entries[index] = NULL;
}

void delete_message(struct stream *s, uint64_t seq)
{
    struct buffer b = {0};
    buffer_put_u8(&b, ENTRY_DELETE);
    buffer_put_varint(&b, seq);
    (void)apply_buffer(s, &b);
}

void store_batch_of(struct stream *s, unsigned count, int64_t ns)
{
    struct messages_builder b = {0};
    char body[32];
    messages_begin(&b, s->totals.last_seq + 1, ns);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(body, sizeof body, "body %llu",
                       (unsigned long long)(s->totals.last_seq + 1 + i));
        messages_add(&b, ns + i, i % 2 == 0 ? BYTES_LIT("a.1") : BYTES_LIT("a.2"), BYTES_NONE,
                     bytes_of(body));
    }
    (void)apply(s, messages_finish(&b));
    buffer_deinit(&b.data);
}
