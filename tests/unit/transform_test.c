#include <criterion/criterion.h>

#include "core/subject/subject.h"
#include "core/subject/transform.h"

/* Vectors seen on nats-server 2.15.2; NATS client protocol §12. */
Test(transform, every_function_gives_what_nats_server_gives)
{
    static const struct {
        const char *source, *destination, *subject, *result;
    } cases[] = {{"foo.*.*", "bar.$2.$1", "foo.a.b", "bar.b.a"},
                 {"foo.*.*", "bar.{{wildcard(2)}}.{{Wildcard( 1 )}}", "foo.a.b", "bar.b.a"},
                 {"foo.*", "p.{{partition(10,1)}}", "foo.abc", "p.1"},
                 {"foo.*", "p.{{partition(3,1)}}", "foo.a", "p.1"},
                 {"foo.*", "p.{{partition(3,1)}}", "foo.b", "p.1"},
                 {"foo.*", "p.{{partition(3,1)}}", "foo.c", "p.2"},
                 {"foo.*", "p.{{partition(3,1)}}", "foo.abc", "p.2"},
                 {"foo.*", "p.{{partition(3,1)}}", "foo.us1", "p.1"},
                 {"foo.*.*", "p.{{partition(10,1,2)}}", "foo.us.1", "p.8"},
                 {"foo.*.*", "p.{{partition(10)}}", "foo.us.1", "p.0"},
                 {"foo.bar", "p.{{partition(3)}}", "foo.bar", "p.2"},
                 {"foo.*", "p.{{partition(0,1)}}", "foo.x", "p.0"},
                 {"*", "s.{{splitFromLeft(1,3)}}", "abcdef", "s.abc.def"},
                 {"*", "s.{{splitfromleft(1,9)}}", "abcdef", "s.abcdef"},
                 {"*", "s.{{SplitFromRight(1,2)}}", "abcdef", "s.abcd.ef"},
                 {"*", "s.{{sliceFromLeft(1,2)}}", "abcdefg", "s.ab.cd.ef.g"},
                 {"*", "s.{{slicefromright(1,2)}}", "abcdefg", "s.a.bc.de.fg"},
                 {"*", "s.{{split(1,-)}}", "-ab-cd--ef-", "s.ab.cd.ef"},
                 {"*", "s.{{left(1,2)}}", "abcdef", "s.ab"},
                 {"*", "s.{{right(1,2)}}", "abcdef", "s.ef"},
                 {"*", "s.{{random(1)}}", "abcdef", "s.0"},
                 {"a.>", "b.c.>", "a.x.y.z", "b.c.x.y.z"},
                 {"a.*.>", "b.$1.>", "a.x.y.z", "b.x.y.z"},
                 {">", "p.>", "x.y", "p.x.y"},
                 {"foo", "bar.$x", "foo", "bar.$x"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error;
        struct buffer out = {0};
        struct random random;
        random_seed(&random, 1);
        struct transform *t =
            transform_new(bytes_of(cases[i].source), bytes_of(cases[i].destination), &error);
        cr_assert_not_null(t, "%s: %s", cases[i].destination, error.message);
        transform_apply(t, bytes_of(cases[i].subject), &random, &out);
        cr_assert(bytes_is(buffer_bytes(&out), cases[i].result), "%s of %s: %.*s, not %s",
                  cases[i].destination, cases[i].subject, BYTES_ARG(buffer_bytes(&out)),
                  cases[i].result);
        buffer_deinit(&out);
        transform_free(t);
    }
}

#define BAD "invalid mapping destination: "

Test(transform, mistakes_are_named_as_nats_server_names_them)
{
    static const struct {
        const char *source, *destination, *message;
    } cases[] = {
        {"foo.*", "bar.$2", BAD "wildcard index out of range in $2: [2]"},
        {"foo.*", "bar.{{foo(1)}}", BAD "unknown function in {{foo(1)}}"},
        {"foo.*", "bar.{{wildcard(2)}}", BAD "wildcard index out of range in {{wildcard(2)}}: [2]"},
        {"foo.*", "bar.{{partition(x,1)}}",
         BAD "function argument is invalid or in the wrong format in {{partition(x,1)}}"},
        {"foo.*", "bar.{{partition()}}",
         BAD "function argument is invalid or in the wrong format in {{partition()}}"},
        {"foo.*", "bar.{{split(1)}}",
         BAD "not enough arguments passed to the function in {{split(1)}}"},
        {"foo.*", "bar.{{wildcard(1,2)}}",
         BAD "too many arguments passed to the function in {{wildcard(1,2)}}"},
        {"foo.*", "bar.{{partition(10,2)}}",
         BAD "wildcard index out of range in {{partition(10,2)}}: [2]"},
        {"foo.*", "bar.*", "invalid subject"},
        {"foo.*", "bar.>", "invalid subject"},
        {"foo.>", "bar", "invalid subject"},
        {"foo.*", "bar..", BAD "invalid transform"},
        {"foo", "bar.$1", BAD "wildcard index out of range in $1"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error;
        cr_assert_null(
            transform_new(bytes_of(cases[i].source), bytes_of(cases[i].destination), &error), "%s",
            cases[i].destination);
        cr_assert_str_eq(error.message, cases[i].message);
    }
}

Test(transform, the_strict_kind_has_a_way_back)
{
    static const struct {
        const char *source, *destination, *target, *subject, *result;
    } cases[] = {{"st.*.*", "x.$2.$1", "x.*.*", "st.a.b", "x.b.a"},
                 {"st.*", "x.*.y", "x.*.y", "st.a", "x.a.y"},
                 {"st.>", "p.st.>", "p.st.>", "st.a.b", "p.st.a.b"},
                 {"st.*.>", "p.>", NULL, NULL, NULL},
                 {"st.*", "p", NULL, NULL, NULL},
                 {"st.*", "p.$1.$1", NULL, NULL, NULL},
                 {"st.*", "p.{{left(1,2)}}", NULL, NULL, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error;
        struct transform *t =
            transform_new_strict(bytes_of(cases[i].source), bytes_of(cases[i].destination), &error);
        cr_assert_eq(t != NULL, cases[i].target != NULL, "%s", cases[i].destination);
        if (t == NULL) {
            continue;
        }
        struct buffer there = {0}, back = {0};
        transform_apply(t, bytes_of(cases[i].subject), NULL, &there);
        transform_revert(t, buffer_bytes(&there), &back);
        cr_assert(bytes_is(transform_target(t), cases[i].target));
        cr_assert(bytes_is(buffer_bytes(&there), cases[i].result));
        cr_assert(bytes_is(buffer_bytes(&back), cases[i].subject));
        buffer_deinit(&there);
        buffer_deinit(&back);
        transform_free(t);
    }
}
