/* Subjects and what is said of pairs of them: lines of pattern, pattern, subject. The rules must
 * agree with each other, and with the index that finds subscribers. */
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/subject/interest.h"
#include "core/subject/subject.h"

static void agree(struct bytes a, struct bytes b, struct bytes subject)
{
    bool in_a = subject_matches(a, subject);
    bool in_b = subject_matches(b, subject);
    CHECK(subject_overlaps(a, b) == subject_overlaps(b, a));
    CHECK(!(in_a && in_b) || subject_overlaps(a, b));
    CHECK(!(subject_covers(a, b) && in_b) || in_a);
    CHECK(!subject_covers(a, b) || subject_overlaps(a, b));
    CHECK(subject_has_wildcard(a) || in_a == bytes_eq(a, subject));
    CHECK(subject_is_literal(a) == !subject_has_wildcard(a));
}

/* One subscription to each, added and taken away. */
static void index_agrees(struct bytes patterns[2], struct bytes subject)
{
    struct interest *interest = interest_new();
    struct interest_cache *cache = interest_cache_new();
    struct interest_entry entries[2];
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        texts[i] = mem_alloc(patterns[i].len + 1);
        interest_entry_init(&entries[i], texts[i], patterns[i], BYTES_NONE, 0);
        interest_add(interest, &entries[i]);
    }
    for (int left = 2; left >= 0; left--) {
        uint32_t expected = 0;
        for (int i = 0; i < left; i++) {
            expected += subject_matches(patterns[i], subject);
        }
        CHECK(interest_match(interest, cache, subject)->plain_count == expected);
        if (left > 0) {
            interest_remove(interest, &entries[left - 1]);
        }
    }
    CHECK(interest_count(interest) == 0);
    interest_cache_free(cache);
    interest_free(interest);
    free(texts[0]);
    free(texts[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = bytes_make(data, size);
    struct bytes patterns[2], subject;
    if (!bytes_token(&rest, '\n', &patterns[0]) || !bytes_token(&rest, '\n', &patterns[1]) ||
        !bytes_token(&rest, '\n', &subject)) {
        return 0;
    }
    bool valid = subject_is_valid(patterns[0]) && subject_is_valid(patterns[1]);
    if (valid && subject_is_literal(subject)) {
        agree(patterns[0], patterns[1], subject);
        index_agrees(patterns, subject);
    }
    return 0;
}
