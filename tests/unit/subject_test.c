#include <criterion/criterion.h>
#include <stdio.h>

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
