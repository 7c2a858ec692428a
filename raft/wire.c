#include "raft/wire.h"

#include "core/base/mem.h"

/* varint group · u8 type · u8 flags · varint term, index, index_term, commit · with FLAG_LIFE: u64
 * life · with FLAG_ROUND: varint round · varint entries, each: varint index, term · u8 kind · bytes
 * data · with FLAG_STATE: (if it is the last part: varint runs, each varint first, term · varint
 * the membership's index · members) · bytes part of the state */
enum {
    FLAG_REJECT = 1,
    FLAG_FORCED = 2,
    FLAG_LAST = 4,
    FLAG_STATE = 8,
    FLAG_FIRST = 16,
    FLAG_UNPROVEN = 32,
    FLAG_LIFE = 64,
    FLAG_ROUND = 128
};

void raft_wire_encode(struct buffer *out, const struct raft_message *m)
{
    buffer_put_varint(out, m->group);
    buffer_put_u8(out, (uint8_t)m->type);
    buffer_put_u8(out, (uint8_t)((m->reject ? FLAG_REJECT : 0) | (m->forced ? FLAG_FORCED : 0) |
                                 (m->first ? FLAG_FIRST : 0) | (m->last ? FLAG_LAST : 0) |
                                 (m->unproven ? FLAG_UNPROVEN : 0) |
                                 (m->life != 0 ? FLAG_LIFE : 0) | (m->round != 0 ? FLAG_ROUND : 0) |
                                 (m->state != NULL ? FLAG_STATE : 0)));
    buffer_put_varint(out, m->term);
    buffer_put_varint(out, m->index);
    buffer_put_varint(out, m->index_term);
    buffer_put_varint(out, m->commit);
    if (m->life != 0) {
        buffer_put_u64(out, m->life);
    }
    if (m->round != 0) {
        buffer_put_varint(out, m->round);
    }
    buffer_put_varint(out, m->entry_count);
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        buffer_put_varint(out, e->index);
        buffer_put_varint(out, e->term);
        buffer_put_u8(out, e->kind);
        buffer_put_bytes(out, e->data == NULL ? BYTES_NONE : blob_bytes(e->data));
    }
    if (m->state != NULL && m->last) {
        buffer_put_varint(out, m->run_count);
        for (uint32_t i = 0; i < m->run_count; i++) {
            buffer_put_varint(out, m->runs[i].first);
            buffer_put_varint(out, m->runs[i].term);
        }
        buffer_put_varint(out, m->members.index);
        raft_members_encode(&m->members, out);
    }
    if (m->state != NULL) {
        buffer_put_bytes(out, blob_bytes(m->state));
    }
}

bool raft_wire_group(struct bytes bytes, uint64_t *group)
{
    struct reader r = reader_make(bytes);
    *group = reader_varint(&r);
    return !r.bad;
}

static bool are_members(struct bytes data)
{
    struct reader r = reader_make(data);
    struct raft_members members;
    return raft_members_decode(&r, &members) && reader_done(&r);
}

static void decode_entries(struct reader *r, struct raft_message *m)
{
    uint64_t count = reader_varint(r);
    /* An entry takes four bytes at least: a count beyond that is a lie, before memory is spent. */
    if (r->bad || count > (uint64_t)(r->end - r->at) / 4) {
        r->bad = true;
        return;
    }
    m->entries = mem_zalloc((size_t)count * sizeof *m->entries);
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        struct raft_entry *e = &m->entries[i];
        e->index = reader_varint(r);
        e->term = reader_varint(r);
        e->kind = reader_u8(r);
        struct bytes data = reader_bytes(r);
        if (e->kind > RAFT_ENTRY_MEMBERS || (e->kind == RAFT_ENTRY_MEMBERS && !are_members(data))) {
            r->bad = true;
        }
        if (!r->bad && e->kind != RAFT_ENTRY_NOOP) {
            e->data = blob_copy(data);
        }
        m->entry_count++;
    }
}

static void decode_end(struct reader *r, struct raft_message *m)
{
    uint64_t count = reader_varint(r);
    if (r->bad || count > (uint64_t)(r->end - r->at) / 2) {
        r->bad = true;
        return;
    }
    m->runs = mem_zalloc((size_t)count * sizeof *m->runs);
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        m->runs[i].first = reader_varint(r);
        m->runs[i].term = reader_varint(r);
        bool ascends = i == 0 ? m->runs[i].first > 0
                              : m->runs[i].first > m->runs[i - 1].first &&
                                    m->runs[i].term > m->runs[i - 1].term;
        r->bad = r->bad || !ascends;
        m->run_count++;
    }
    raft_index members_index = reader_varint(r);
    r->bad = r->bad || !raft_members_decode(r, &m->members);
    m->members.index = members_index;
    /* The state's index lies in the last of them. */
    struct raft_run last = count == 0 || r->bad ? (struct raft_run){0} : m->runs[count - 1];
    r->bad = r->bad || last.first > m->index || last.term != m->index_term;
}

static bool are_numbers(const struct raft_message *m)
{
    return m->term <= RAFT_NUMBER_MAX && m->index <= RAFT_NUMBER_MAX &&
           m->index_term <= RAFT_NUMBER_MAX && m->commit <= RAFT_NUMBER_MAX;
}

/* Entries of an APPEND follow each other, those of a SNAPSHOT ascend, and terms never go back; a
 * FETCHED has one. Of a higher term than the sender's there are none. */
static bool are_entries_right(const struct raft_message *m)
{
    bool append = m->type == RAFT_APPEND;
    if (m->entry_count > (append || m->type == RAFT_SNAPSHOT ? UINT32_MAX
                          : m->type == RAFT_FETCHED          ? 1
                                                             : 0)) {
        return false;
    }
    raft_index index = append ? m->index : 0;
    raft_term term = append && m->index_term > 0 ? m->index_term : 1;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        bool follows = append ? e->index == index + 1 : e->index > index;
        if (!follows || e->index > RAFT_NUMBER_MAX || e->term < term || e->term > m->term) {
            return false;
        }
        index = e->index;
        term = e->term;
    }
    return true;
}

/* Terms begin with 1, and nothing is as index 0. */
static bool is_claim_right(const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_APPEND:
    case RAFT_SNAPSHOT:
    case RAFT_QUIESCE:
    case RAFT_VOTE:
    case RAFT_PREVOTE:
        return m->term > 0 && m->index_term <= m->term && (m->index > 0 || m->index_term == 0);
    case RAFT_TIMEOUT_NOW:
    case RAFT_PROVEN:
        return m->term > 0;
    case RAFT_FETCH:
        return m->index > 0;
    default:
        return true;
    }
}

/* What nobody who keeps to the rules would say (raft.h), as far as the message alone shows it. */
static bool is_sensible(const struct raft_message *m, bool has_state)
{
    bool is_state_right = m->type != RAFT_SNAPSHOT ? !has_state
                          : has_state              ? m->entry_count == 0
                                                   : !m->last;
    return m->type != 0 && m->type < RAFT_MESSAGE_TYPES && is_state_right && are_numbers(m) &&
           are_entries_right(m) && is_claim_right(m);
}

enum err raft_wire_decode(struct bytes bytes, struct raft_message *m)
{
    struct reader r = reader_make(bytes);
    *m = (struct raft_message){0};
    m->group = reader_varint(&r);
    uint8_t type = reader_u8(&r);
    uint8_t flags = reader_u8(&r);
    m->type = (enum raft_message_type)type;
    m->reject = (flags & FLAG_REJECT) != 0;
    m->forced = (flags & FLAG_FORCED) != 0;
    m->first = (flags & FLAG_FIRST) != 0;
    m->last = (flags & FLAG_LAST) != 0;
    m->unproven = (flags & FLAG_UNPROVEN) != 0;
    m->term = reader_varint(&r);
    m->index = reader_varint(&r);
    m->index_term = reader_varint(&r);
    m->commit = reader_varint(&r);
    m->life = (flags & FLAG_LIFE) != 0 ? reader_u64(&r) : 0;
    m->round = (flags & FLAG_ROUND) != 0 ? reader_varint(&r) : 0;
    if (!r.bad) {
        decode_entries(&r, m);
    }
    bool has_state = (flags & FLAG_STATE) != 0;
    if (!r.bad && has_state && m->last) {
        decode_end(&r, m);
    }
    struct bytes state = !r.bad && has_state ? reader_bytes(&r) : BYTES_NONE;
    if (!r.bad && has_state) {
        m->state = blob_copy(state);
    }
    if (!reader_done(&r) || !is_sensible(m, has_state)) {
        raft_message_deinit(m);
        return ERR_PARSE;
    }
    return OK;
}
