/* Messages that decode as bytes, but that nobody sends who keeps to the rules. */
#include <criterion/criterion.h>

#include "core/base/mem.h"
#include "raft/wire.h"

#define BEYOND (RAFT_NUMBER_MAX + 1)

static bool passes(const struct raft_message *m)
{
    struct buffer b = {0};
    struct raft_message decoded;
    raft_wire_encode(&b, m);
    bool ok = raft_wire_decode(buffer_bytes(&b), &decoded) == OK;
    if (ok) {
        raft_message_deinit(&decoded);
    }
    buffer_deinit(&b);
    return ok;
}

static const struct {
    const char *what;
    bool passes;
    struct raft_message m;
    raft_index index[2];
    raft_term term[2];
} appends[] = {
    {"in order", true, {.term = 3, .index = 4, .index_term = 2, .commit = 9}, {5, 6}, {2, 3}},
    {"from the beginning", true, {.term = 1}, {1, 2}, {1, 1}},
    {"a gap", false, {.term = 3, .index = 4, .index_term = 2}, {5, 7}, {2, 3}},
    {"the same twice", false, {.term = 3, .index = 4, .index_term = 2}, {5, 5}, {2, 3}},
    {"an older term", false, {.term = 3, .index = 4, .index_term = 2}, {5, 6}, {1, 3}},
    {"terms that go back", false, {.term = 3, .index = 4, .index_term = 2}, {5, 6}, {3, 2}},
    {"a term to come", false, {.term = 3, .index = 4, .index_term = 2}, {5, 6}, {3, 4}},
    {"no term", false, {.term = 3}, {1, 2}, {0, 1}},
    {"a previous term to come", false, {.term = 3, .index = 4, .index_term = 4}, {5, 6}, {4, 4}},
    {"a term for nothing", false, {.term = 3, .index_term = 2}, {1, 2}, {3, 3}},
    {"no term at all", false, {.term = 0}, {1, 2}, {0, 0}},
    {"the last index",
     false,
     {.term = 3, .index = UINT64_MAX - 1, .index_term = 1},
     {UINT64_MAX, 0},
     {1, 1}},
    {"an index beyond",
     false,
     {.term = 3, .index = BEYOND, .index_term = 1},
     {BEYOND + 1, BEYOND + 2},
     {1, 1}},
    {"a term beyond", false, {.term = BEYOND}, {1, 2}, {1, 1}},
    {"a commit beyond", false, {.term = 3, .commit = BEYOND}, {1, 2}, {1, 1}},
};

Test(raft_wire, appends)
{
    for (size_t i = 0; i < sizeof appends / sizeof appends[0]; i++) {
        struct raft_message m = appends[i].m;
        struct raft_entry entries[2];
        for (int k = 0; k < 2; k++) {
            entries[k] =
                (struct raft_entry){appends[i].index[k], appends[i].term[k], RAFT_ENTRY_NOOP, NULL};
        }
        m.type = RAFT_APPEND;
        m.entries = entries;
        m.entry_count = 2;
        cr_expect(passes(&m) == appends[i].passes, "%s", appends[i].what);
    }
}

Test(raft_wire, entries_only_where_they_belong)
{
    struct raft_entry entries[2] = {{1, 1, RAFT_ENTRY_NOOP, NULL}, {2, 1, RAFT_ENTRY_NOOP, NULL}};
    for (enum raft_message_type type = RAFT_PREVOTE; type < RAFT_MESSAGE_TYPES; type++) {
        for (uint32_t count = 0; count <= 2; count++) {
            struct raft_message m = {
                .type = type, .term = 2, .entries = entries, .entry_count = count};
            m.index = type == RAFT_FETCH ? 1 : 0;
            uint32_t most = type == RAFT_APPEND || type == RAFT_SNAPSHOT ? 2 : type == RAFT_FETCHED;
            cr_expect(passes(&m) == (count <= most), "type %d with %u", type, count);
        }
    }
}

static const struct {
    const char *what;
    bool passes;
    raft_index index;
    raft_term index_term;
    struct raft_run runs[2];
    uint32_t run_count;
} states[] = {
    {"as it is", true, 9, 3, {{1, 1}, {5, 3}}, 2},
    {"of nothing", true, 0, 0, {{0}}, 0},
    {"a run behind it", false, 9, 3, {{1, 1}, {10, 3}}, 2},
    {"another term", false, 9, 4, {{1, 1}, {5, 3}}, 2},
    {"no runs", false, 9, 3, {{0}}, 0},
    {"a run of a term to come", false, 9, 8, {{1, 1}, {5, 8}}, 2},
};

Test(raft_wire, states)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        struct raft_run runs[2] = {states[i].runs[0], states[i].runs[1]};
        struct raft_message m = {.type = RAFT_SNAPSHOT,
                                 .term = 7,
                                 .index = states[i].index,
                                 .index_term = states[i].index_term,
                                 .first = true,
                                 .last = true,
                                 .state = blob_copy(BYTES_LIT("state")),
                                 .runs = runs,
                                 .run_count = states[i].run_count,
                                 .members = {.count = 1, .list = {{1, false}}}};
        cr_expect(passes(&m) == states[i].passes, "%s", states[i].what);
        blob_release(m.state);
    }
}
