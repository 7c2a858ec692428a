#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/random.h"
#include "core/subject/interest.h"
#include "core/subject/subject.h"

#define B(s) bytes_of(s)

Test(subject, validity)
{
    static const char *const good[] = {"a",   "a.b",  "*",    ">",   "a.*.b",
                                       "a.>", "foo*", ">foo", "a.*b"};
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a b", "a\tb"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert(subject_is_valid(B(good[i])), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_not(subject_is_valid(B(bad[i])), "%s", bad[i]);
    }
    cr_assert(subject_is_literal(B("foo*")));
    cr_assert_not(subject_is_literal(B("foo.*")));
}

Test(subject, matching_covering_overlapping)
{
    cr_assert(subject_matches(B("a.*"), B("a.b")));
    cr_assert_not(subject_matches(B("a.*"), B("a.b.c")));
    cr_assert(subject_matches(B("a.>"), B("a.b.c")));
    cr_assert_not(subject_matches(B("a.>"), B("a")));
    cr_assert(subject_covers(B("foo.>"), B("foo.*")));
    cr_assert_not(subject_covers(B("foo"), B("*")));
    cr_assert(subject_overlaps(B("a.*"), B("*.b")));
    cr_assert(subject_overlaps(B("a.>"), B("a.b.c")));
    cr_assert_not(subject_overlaps(B("a.>"), B("a")));
    cr_assert_not(subject_overlaps(B("a.b"), B("a.c")));
}

/* The index against the plain rule, on random subjects: they must always agree. */
Test(interest, agrees_with_matching_one_by_one)
{
    enum { ENTRIES = 300 };
    static const char *const tokens[] = {"a", "b", "c", "*", ">"};
    struct random random;
    random_seed(&random, 42);
    struct interest *interest = interest_new();
    struct interest_cache *cache = interest_cache_new();
    struct interest_entry entries[ENTRIES];
    char texts[ENTRIES][32], entry_texts[ENTRIES][32];
    bool present[ENTRIES] = {0};
    for (int i = 0; i < ENTRIES; i++) {
        unsigned count = 1 + (unsigned)random_below(&random, 4);
        texts[i][0] = '\0';
        for (unsigned k = 0; k < count; k++) {
            const char *t = tokens[random_below(&random, k + 1 == count ? 5 : 4)];
            snprintf(texts[i] + strlen(texts[i]), 32 - strlen(texts[i]), "%s%s", k ? "." : "", t);
        }
        struct bytes queue = i % 3 == 0 ? B("q") : BYTES_NONE;
        interest_entry_init(&entries[i], entry_texts[i], B(texts[i]), queue, 0);
    }
    for (int round = 0; round < 5000; round++) {
        int i = (int)random_below(&random, ENTRIES);
        if (present[i]) {
            interest_remove(interest, &entries[i]);
        } else {
            interest_add(interest, &entries[i]);
        }
        present[i] = !present[i];
        char subject[32] = "";
        unsigned count = 1 + (unsigned)random_below(&random, 4);
        for (unsigned k = 0; k < count; k++) {
            snprintf(subject + strlen(subject), 32 - strlen(subject), "%s%s", k ? "." : "",
                     tokens[random_below(&random, 3)]);
        }
        uint32_t plain = 0, queued = 0;
        for (int k = 0; k < ENTRIES; k++) {
            bool matches = present[k] && subject_matches(B(texts[k]), B(subject));
            plain += matches && k % 3 != 0;
            queued += matches && k % 3 == 0;
        }
        const struct interest_result *r = interest_match(interest, cache, B(subject));
        cr_assert_eq(r->plain_count, plain, "%s", subject);
        cr_assert_eq(r->group_count, queued > 0);
        cr_assert(queued == 0 || r->groups[0].count == queued);
    }
    for (int i = 0; i < ENTRIES; i++) {
        if (present[i]) {
            interest_remove(interest, &entries[i]);
        }
    }
    interest_cache_free(cache);
    interest_free(interest);
}

Test(interest, an_empty_token_matches_nothing)
{
    struct interest *interest = interest_new();
    struct interest_cache *cache = interest_cache_new();
    struct interest_entry all = {.text = ">", .subject_len = 1, .weight = 1};
    interest_add(interest, &all);
    static const char *const nothing[] = {"a..b", ".a", "a.", ""};
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        cr_assert_eq(interest_match(interest, cache, B(nothing[i]))->plain_count, 0);
    }
    cr_assert_eq(interest_match(interest, cache, B("foo.*"))->plain_count, 1);
    interest_remove(interest, &all);
    interest_cache_free(cache);
    interest_free(interest);
}

/* Subjects of as many tokens as a line can be made to hold: no step of the index is a step down the
 * stack. */
Test(interest, is_as_deep_as_its_subjects_are_long)
{
    enum { TOKENS = 200000 };
    char *subject = malloc(2 * TOKENS), *text[4];
    struct interest *interest = interest_new();
    struct interest_cache *cache = interest_cache_new();
    struct interest_entry entries[4];
    for (int i = 0; i < 4; i++) { /* two that go through a and two through '*', each with a twin */
        for (size_t k = 0; k < TOKENS; k++) {
            memcpy(subject + 2 * k, i < 2 ? "a." : "*.", 2);
        }
        text[i] = malloc(2 * TOKENS);
        interest_entry_init(&entries[i], text[i], bytes_make(subject, 2 * TOKENS - 1 - i % 2 * 2),
                            BYTES_NONE, 0);
        interest_add(interest, &entries[i]);
    }
    for (size_t k = 0; k < TOKENS; k++) {
        memcpy(subject + 2 * k, "a.", 2);
    }
    for (size_t less = 0; less < 2; less++) {
        struct bytes literal = bytes_make(subject, 2 * TOKENS - 1 - less * 2);
        cr_assert_eq(interest_match(interest, cache, literal)->plain_count, 2);
    }
    for (uint32_t i = 0; i < 4; i++) { /* the twin takes the place of the whole chain */
        interest_remove(interest, &entries[i]);
        struct bytes literal = bytes_make(subject, 2 * TOKENS - 3);
        cr_assert_eq(interest_match(interest, cache, literal)->plain_count, i < 1 ? 2 : i < 3);
    }
    for (int i = 0; i < 4; i++) {
        free(text[i]);
    }
    free(subject);
    interest_cache_free(cache);
    interest_free(interest);
}

/* A result keeps the weights it was made with, however large, and whatever becomes of them. */
Test(interest, draws_by_the_weights_that_it_found)
{
    enum { MEMBERS = 5 };
    static const uint32_t weights[MEMBERS] = {999999999, 999999999, 999999999, 999999999,
                                              294967300}; /* 2^32 in all */
    static const char *const subjects[MEMBERS] = {"a.b", "a.*", "*.b", "a.>", ">"};
    struct interest *interest = interest_new();
    struct interest_cache *cache = interest_cache_new();
    struct interest_entry entries[MEMBERS];
    char texts[MEMBERS][8];
    for (int i = 0; i < MEMBERS; i++) {
        interest_entry_init(&entries[i], texts[i], B(subjects[i]), B("q"), 0);
        entries[i].weight = weights[i];
        interest_add(interest, &entries[i]);
    }
    const struct interest_result *r = interest_match(interest, cache, B("a.b"));
    cr_assert_eq(r->group_count, 1);
    const struct interest_group *q = &r->groups[0];
    cr_assert_eq(q->count, MEMBERS);
    cr_assert_eq(q->weight, UINT64_C(1) << 32);
    for (int i = 0; i < MEMBERS; i++) {
        interest_set_weight(interest, &entries[i], 1);
    }
    uint64_t from = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        cr_assert_eq(interest_group_pick(q, from), i);
        cr_assert_eq(interest_group_pick(q, q->members[i].weight_to - 1), i);
        cr_assert_eq(q->members[i].weight_to - from, weights[q->members[i].entry - entries]);
        from = q->members[i].weight_to;
    }
    cr_assert_eq(from, q->weight);
    cr_assert_eq(interest_match(interest, cache, B("a.b"))->groups[0].weight, MEMBERS);
    for (int i = 0; i < MEMBERS; i++) {
        interest_remove(interest, &entries[i]);
    }
    interest_cache_free(cache);
    interest_free(interest);
}

/* Ten thousand groups with a member or two each, in one match, and all of them right. */
Test(interest, gathers_any_number_of_groups)
{
    enum { GROUPS = 10000, ENTRIES = GROUPS * 3 / 2 };
    struct interest *interest = interest_new();
    struct interest_cache *cache = interest_cache_new();
    struct interest_entry *entries = calloc(ENTRIES, sizeof *entries);
    char(*texts)[16] = calloc(ENTRIES, sizeof *texts);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        char queue[16];
        snprintf(queue, sizeof queue, "g%u", i % GROUPS);
        interest_entry_init(&entries[i], texts[i], B("a"), B(queue), 0);
        interest_add(interest, &entries[i]);
    }
    const struct interest_result *r = interest_match(interest, cache, B("a"));
    cr_assert_eq(r->group_count, GROUPS);
    cr_assert_eq(r->plain_count, 0);
    for (uint32_t i = 0; i < r->group_count; i++) {
        const struct interest_group *g = &r->groups[i];
        uint32_t number = (uint32_t)strtoul(g->name.ptr + 1, NULL, 10);
        cr_assert_eq(g->count, number < ENTRIES - GROUPS ? 2 : 1);
        for (uint32_t k = 0; k < g->count; k++) {
            cr_assert(bytes_eq(interest_queue(g->members[k].entry), g->name));
        }
    }
    for (uint32_t i = 0; i < ENTRIES; i++) {
        interest_remove(interest, &entries[i]);
    }
    free(entries);
    free(texts);
    interest_cache_free(cache);
    interest_free(interest);
}
