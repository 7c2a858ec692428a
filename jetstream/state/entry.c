#include "jetstream/state/entry.h"

#include "core/base/check.h"
#include "core/base/time_math.h"

static void begin(struct messages_builder *b, enum entry_kind kind, uint64_t first_seq,
                  int64_t now_ns)
{
    buffer_clear(&b->data);
    b->first_seq = b->next_seq = first_seq;
    b->count = 0;
    b->base_ns = now_ns;
    buffer_put_u8(&b->data, (uint8_t)kind);
    buffer_put_varint(&b->data, first_seq);
    b->count_at = b->data.len;
    buffer_put_u32(&b->data, 0);
    buffer_put_u64(&b->data, (uint64_t)now_ns);
}

void messages_begin(struct messages_builder *b, uint64_t first_seq, int64_t now_ns)
{
    begin(b, ENTRY_MESSAGES, first_seq, now_ns);
}

void remains_begin(struct messages_builder *b, uint64_t first_seq, int64_t now_ns)
{
    begin(b, ENTRY_REMAINS, first_seq, now_ns);
}

void remains_add(struct messages_builder *b, const struct stored_message *m)
{
    buffer_put_varint(&b->data, m->seq - b->next_seq);
    b->next_seq = m->seq + 1;
    messages_add(b, m->time_ns, m->subject, m->header, m->body);
}

void messages_add(struct messages_builder *b, int64_t now_ns, struct bytes subject,
                  struct bytes header, struct bytes body)
{
    int64_t delta = time_until(now_ns, b->base_ns); /* a clock may step back */
    buffer_put_varint(&b->data, (uint64_t)delta);
    buffer_put_varint(&b->data, subject.len);
    buffer_put_varint(&b->data, header.len);
    buffer_put_varint(&b->data, body.len);
    buffer_append_bytes(&b->data, subject);
    buffer_append_bytes(&b->data, header);
    buffer_append_bytes(&b->data, body);
    b->count++;
}

struct blob *messages_finish(struct messages_builder *b)
{
    CHECK(b->count > 0);
    for (int i = 0; i < 4; i++) {
        b->data.data[b->count_at + (size_t)i] = (char)(b->count >> (8 * i));
    }
    struct blob *entry = blob_copy(buffer_bytes(&b->data));
    b->count = 0;
    if (b->data.cap > 256 * 1024) {
        buffer_deinit(&b->data);
    }
    return entry;
}

static void skip_gap(struct messages_reader *r)
{
    if (r->remains && r->left > 0) {
        r->next_seq += reader_varint(&r->reader);
    }
}

bool messages_open(struct messages_reader *r, struct bytes entry)
{
    r->reader = reader_make(entry);
    uint8_t kind = reader_u8(&r->reader);
    r->first_seq = r->next_seq = reader_varint(&r->reader);
    r->left = reader_u32(&r->reader);
    r->base_ns = reader_time(&r->reader);
    r->remains = kind == ENTRY_REMAINS;
    skip_gap(r);
    return !r->reader.bad && (kind == ENTRY_MESSAGES || r->remains) && r->first_seq > 0;
}

bool messages_next(struct messages_reader *r, struct stored_message *m)
{
    if (r->left == 0) {
        return false;
    }
    uint64_t delta = reader_varint(&r->reader);
    uint64_t subject = reader_varint(&r->reader);
    uint64_t header = reader_varint(&r->reader);
    uint64_t body = reader_varint(&r->reader);
    m->seq = r->next_seq;
    m->time_ns = time_after(r->base_ns, delta > INT64_MAX ? INT64_MAX : (int64_t)delta);
    m->subject = reader_take(&r->reader, (size_t)subject);
    m->header = reader_take(&r->reader, (size_t)header);
    m->body = reader_take(&r->reader, (size_t)body);
    if (r->reader.bad) {
        r->left = 0;
        return false;
    }
    r->next_seq++;
    r->left--;
    skip_gap(r);
    return true;
}

bool header_find(struct bytes header, const char *key, struct bytes *value)
{
    size_t key_len = strlen(key);
    const char *at = header.ptr;
    const char *end = header.ptr == NULL ? NULL : header.ptr + header.len;
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        const char *next = lf == NULL ? end : lf + 1;
        const char *line_end = lf == NULL ? end : lf;
        if (line_end > at && line_end[-1] == '\r') {
            line_end--;
        }
        if ((size_t)(line_end - at) > key_len && at[key_len] == ':' &&
            memcmp(at, key, key_len) == 0) {
            const char *v = at + key_len + 1;
            while (v < line_end && *v == ' ') {
                v++;
            }
            *value = bytes_make(v, (size_t)(line_end - v));
            return value->len > 0;
        }
        at = next;
    }
    return false;
}

uint64_t message_bytes(size_t subject, size_t header, size_t body)
{
    return 30 + subject + body + (header > 0 ? 4 + header : 0);
}
