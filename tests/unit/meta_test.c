/* The meta group's state machine: entries that were checked against what is not there any more. */
#include "jetstream/state/meta.h"

#include <criterion/criterion.h>

#include "core/base/json.h"

static uint64_t last_index;

/* Frees what the caller would. */
static struct meta_change apply(struct meta *meta, const char *entry)
{
    struct meta_change change;
    cr_assert_eq(meta_apply(meta, ++last_index, bytes_of(entry), &change), OK, "%s", entry);
    free(change.reply);
    free(change.account);
    change.reply = change.account = NULL;
    if (change.kind == META_DELETED) {
        assignment_free(change.assignment);
    }
    return change;
}

#define CREATE(account, name, subjects, checks)                                                    \
    "{\"op\":\"create\",\"account\":\"" account "\",\"stream\":\"" name                            \
    "\",\"peers\":[\"01\"],\"time\":1" checks ",\"config\":{\"name\":\"" name                      \
    "\",\"subjects\":[" subjects "],\"num_replicas\":1}}"
#define UPDATE(name, rest, checks)                                                                 \
    "{\"op\":\"update\",\"account\":\"A\",\"stream\":\"" name "\"" checks                          \
    ",\"config\":{\"name\":\"" name "\",\"num_replicas\":1," rest "}}"
#define CHECKS ",\"checks\":1"

Test(meta, what_was_checked_is_checked_again)
{
    struct meta meta;
    struct meta_change c;
    meta_init(&meta);
    cr_assert_eq(apply(&meta, CREATE("A", "S", "\"a.>\"", CHECKS)).kind, META_CREATED);
    cr_assert_eq(apply(&meta, CREATE("B", "T", "\"a.b\"", CHECKS)).kind, META_CREATED);
    c = apply(&meta, CREATE("A", "T", "\"x\",\"a.b\"", CHECKS));
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_SUBJECT_OVERLAP);
    cr_assert_str_eq(c.type, "stream_create_response");
    cr_assert_null(meta_find(&meta, BYTES_LIT("A"), BYTES_LIT("T")));
    c = apply(&meta, CREATE("A", "S", "\"b\"", CHECKS));
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_STREAM_NAME_EXISTS);
    cr_assert_eq(apply(&meta, CREATE("A", "S", "\"a.>\"", CHECKS)).kind, META_ECHO);

    cr_assert_eq(apply(&meta, CREATE("A", "T", "\"b\"", CHECKS)).kind, META_CREATED);
    c = apply(&meta, UPDATE("T", "\"subjects\":[\"b\",\"a.c\"]", CHECKS));
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_SUBJECT_OVERLAP);
    /* wider than it was itself; and what it has given up others may have */
    cr_assert_eq(apply(&meta, UPDATE("S", "\"subjects\":[\"a.b\"]", CHECKS)).kind, META_UPDATED);
    cr_assert_eq(apply(&meta, UPDATE("T", "\"subjects\":[\"b\",\"a.c\"]", CHECKS)).kind,
                 META_UPDATED);

    cr_assert_eq(
        apply(&meta, UPDATE("S", "\"subjects\":[\"a.b\"],\"deny_delete\":true", CHECKS)).kind,
        META_UPDATED);
    c = apply(&meta, UPDATE("S", "\"subjects\":[\"a.b\"]", CHECKS));
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_STREAM_CONFIG);
    cr_assert_str_eq(c.type, "stream_update_response");

    cr_assert_eq(apply(&meta, "{\"op\":\"delete\",\"account\":\"A\",\"stream\":\"S\"}").kind,
                 META_DELETED);
    c = apply(&meta, UPDATE("S", "\"subjects\":[\"a.b\"]", CHECKS));
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_STREAM_NOT_FOUND);
    c = apply(&meta, "{\"op\":\"delete\",\"account\":\"A\",\"stream\":\"S\"}");
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_STREAM_NOT_FOUND);
    cr_assert_eq(apply(&meta, CREATE("A", "S", "\"a.b\"", CHECKS)).kind, META_CREATED);
    /* two of these were found to fit, each alone */
    cr_assert_eq(apply(&meta, UPDATE("S", "\"subjects\":[\"a.b\"],\"max_bytes\":60",
                                     CHECKS ",\"limit\":100"))
                     .kind,
                 META_UPDATED);
    c = apply(&meta,
              UPDATE("S", "\"subjects\":[\"a.b\"],\"max_bytes\":101", CHECKS ",\"limit\":100"));
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_STORAGE_RESOURCES);
    c = apply(&meta, "{\"op\":\"create\",\"account\":\"B\",\"stream\":\"V\",\"peers\":[\"01\"],"
                     "\"time\":1,\"checks\":1,\"limit\":100,\"clustered\":true,\"config\":"
                     "{\"name\":\"V\",\"max_bytes\":41}}");
    cr_assert(c.kind == META_REFUSED && c.error.err == JS_NO_PEERS);
    meta_deinit(&meta);
}

/* Two streams that overlap are there: an older version let both in, and they hold messages. */
Test(meta, entries_of_older_versions_are_applied_as_they_were)
{
    struct meta meta, again;
    struct buffer state = {0};
    meta_init(&meta);
    meta_init(&again);
    cr_assert_eq(apply(&meta, CREATE("A", "S", "\"a.>\"", "")).kind, META_CREATED);
    cr_assert_eq(apply(&meta, CREATE("A", "T", "\"a.b\"", "")).kind, META_CREATED);
    cr_assert_eq(apply(&meta, CREATE("A", "U", "\"a.b\"", CHECKS)).kind, META_REFUSED);
    meta_encode(&meta, &state);
    cr_assert_eq(meta_decode(&again, buffer_bytes(&state)), OK);
    cr_assert_eq(apply(&again, CREATE("A", "U", "\"a.b\"", CHECKS)).kind, META_REFUSED);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(apply(&again, i == 0 ? "{\"op\":\"delete\",\"account\":\"A\",\"stream\":\"S\"}"
                                          : "{\"op\":\"delete\",\"account\":\"A\",\"stream\":"
                                            "\"T\"}")
                         .kind,
                     META_DELETED);
    }
    cr_assert_eq(apply(&again, CREATE("A", "U", "\"a.b\"", CHECKS)).kind, META_CREATED);
    buffer_deinit(&state);
    meta_deinit(&meta);
    meta_deinit(&again);
}
