#include <criterion/criterion.h>

#include "core/protocol/parser.h"

static enum parser_status first(enum parser_kind kind, const char *text, struct proto_op *op)
{
    static struct parser p; /* kept: the operation may point into it */
    parser_deinit(&p);
    parser_init(&p, kind, 4096, 1 << 20);
    p.headers = true;
    const char *at = text;
    return parser_next(&p, &at, text + strlen(text), op);
}

Test(parser, client_operations)
{
    struct proto_op op;
    cr_assert_eq(first(PARSER_CLIENT, "PUB foo 000000002\r\nhi\r\n", &op), PARSER_OP);
    cr_assert(bytes_is(op.size_text, "000000002"));
    cr_assert(bytes_is(op.payload, "hi"));
    cr_assert_eq(first(PARSER_CLIENT, "pub\tfoo  rep  2 \r\nhi\r\n", &op), PARSER_OP);
    cr_assert(bytes_is(op.reply, "rep"));
    cr_assert_eq(first(PARSER_CLIENT, "HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", &op), PARSER_OP);
    cr_assert_eq(op.header_len, 12);
    cr_assert_eq(first(PARSER_CLIENT, "CONNECT{}\r\n", &op), PARSER_OP);
    cr_assert_eq(first(PARSER_CLIENT, "SUB foo 1\n", &op), PARSER_OP);
    cr_assert_eq(first(PARSER_CLIENT, "PING abc\r\n", &op), PARSER_OP);
    cr_assert_eq(op.verb, VERB_PING);
}

Test(parser, refusals)
{
    static const struct {
        const char *text;
        enum parser_status status;
    } rows[] = {{"PUB foo +5\r\n", PARSER_BAD_ARGS},
                {"PUB foo -1\r\n", PARSER_BAD_ARGS},
                {"PUB foo 1234567890\r\n", PARSER_BAD_ARGS},
                {"PUB foo 1e3\r\n", PARSER_BAD_ARGS},
                {"PUB foo 2\r\nhixx", PARSER_BAD_VERB},
                {"HPUB foo 9 5\r\n", PARSER_BAD_ARGS},
                {"PUB a b c d\r\n", PARSER_BAD_ARGS},
                {"SUB foo\r\n", PARSER_BAD_ARGS},
                {"SUB foo q\rx 1\r\n", PARSER_BAD_ARGS}, /* a CR would break a route's line */
                {"SUB foo q\r 1\r\n", PARSER_BAD_ARGS},
                {"SUB a\rb 1\r\n", PARSER_BAD_ARGS},
                {"PUB a\rb 0\r\n\r\n", PARSER_BAD_ARGS},
                {"PUB a b\r 0\r\n\r\n", PARSER_BAD_ARGS},
                {"HPUB a\rb 12 12\r\nNATS/1.0\r\n\r\n\r\n", PARSER_BAD_ARGS},
                {"\r\n", PARSER_BAD_VERB},
                {" PING\r\n", PARSER_BAD_VERB},
                {"MSG a 1 0\r\n\r\n", PARSER_BAD_VERB},
                {"RS+ $G foo\r\n", PARSER_BAD_VERB},
                {"PUB foo 2000000\r\n", PARSER_PAYLOAD_TOO_LARGE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct proto_op op;
        cr_assert_eq(first(PARSER_CLIENT, rows[i].text, &op), rows[i].status, "%s", rows[i].text);
    }
}

Test(parser, control_line_limit_counts_arguments_only)
{
    char line[5000];
    for (int extra = 0; extra < 2; extra++) {
        struct proto_op op;
        size_t len = 4096 + (size_t)extra - 2; /* " 1" follows the subject */
        memcpy(line, "SUB ", 4);
        memset(line + 4, 'a', len);
        memcpy(line + 4 + len, " 1\r\n", 5);
        cr_assert_eq(first(PARSER_CLIENT, line, &op), extra ? PARSER_LINE_TOO_LONG : PARSER_OP);
    }
}

Test(parser, route_operations)
{
    struct proto_op op;
    cr_assert_eq(first(PARSER_ROUTE, "RMSG $G foo + rep q1 q2 2\r\nhi\r\n", &op), PARSER_OP);
    cr_assert(bytes_is(op.reply, "rep"));
    cr_assert_eq(op.queue_count, 2);
    cr_assert_eq(first(PARSER_ROUTE, "RMSG $G foo | q1 0\r\n\r\n", &op), PARSER_OP);
    cr_assert_null(op.reply.ptr);
    cr_assert_eq(first(PARSER_ROUTE, "HMSG $G foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", &op),
                 PARSER_OP);
    cr_assert_eq(op.header_len, 12);
    cr_assert_eq(first(PARSER_ROUTE, "RS+ $G foo q 3\r\n", &op), PARSER_OP);
    cr_assert_eq(op.weight, 3);
    cr_assert_eq(first(PARSER_ROUTE, "RS+ $G\r\n", &op), PARSER_BAD_ARGS);
}

/* What the operations of a stream come to, as text. */
static void append_op(struct buffer *out, const struct proto_op *op)
{
    if (op->verb != VERB_PUB) {
        buffer_printf(out, "%d|", op->verb);
        return;
    }
    buffer_printf(out, "%.*s %.*s %u %.*s|", BYTES_ARG(op->subject), BYTES_ARG(op->reply),
                  op->header_len, BYTES_ARG(op->payload));
}

/* Lines that repeat, that nearly do, and other operations between: however the stream is cut. */
Test(parser, a_line_that_repeats_is_parsed_like_any_other)
{
    static const char stream[] =
        "PUB foo 2\r\nh1\r\nPUB foo 2\r\nh2\r\nPUB foo 2\r\nh3\r\n"
        "PUB foo 3\r\nabc\r\nPUB foo r 3\r\nabd\r\nPING\r\n"
        "PUB foo r 3\r\nabe\r\nPUB foo r 3\r\nabf\r\nPUB fo r 3\r\nabg\r\n"
        "HPUB a 12 13\r\nNATS/1.0\r\n\r\nx\r\n"
        "HPUB a 12 13\r\nNATS/1.0\r\n\r\ny\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\n";
    size_t len = sizeof stream - 1;
    struct buffer whole = {0};
    for (size_t cut = 0; cut < len; cut++) {
        struct parser p;
        parser_init(&p, PARSER_CLIENT, 4096, 1 << 20);
        p.headers = true;
        struct buffer ops = {0};
        char copy[sizeof stream];
        for (int part = 0; part < 2; part++) {
            size_t from = part == 0 ? 0 : cut, to = part == 0 ? cut : len;
            memcpy(copy, stream + from, to - from); /* the same place for both, as a server reads */
            const char *at = copy;
            struct proto_op op;
            while (parser_next(&p, &at, copy + (to - from), &op) == PARSER_OP) {
                append_op(&ops, &op);
            }
        }
        if (cut == 0) {
            whole = ops;
            continue;
        }
        cr_assert(bytes_eq(buffer_bytes(&ops), buffer_bytes(&whole)), "cut at %zu", cut);
        buffer_deinit(&ops);
        parser_deinit(&p);
    }
    cr_assert_eq(whole.data[whole.len - 1], '|');
    buffer_deinit(&whole);
}

Test(parser, a_repeated_line_without_its_payload_end_is_refused)
{
    struct parser p;
    parser_init(&p, PARSER_CLIENT, 4096, 1 << 20);
    static const char text[] = "PUB foo 2\r\nhi\r\nPUB foo 2\r\nhixx";
    const char *at = text;
    struct proto_op op;
    cr_assert_eq(parser_next(&p, &at, text + sizeof text - 1, &op), PARSER_OP);
    cr_assert_eq(parser_next(&p, &at, text + sizeof text - 1, &op), PARSER_BAD_VERB);
    parser_deinit(&p);
}

/* Before it is known who speaks, whatever is no greeting is said to be so by its first bytes, in
 * any split, and goes on as usual when it may come after all. */
Test(parser, greeting_takes_nothing_else)
{
    static const char *const others[] = {"PUB foo 1000000\r\n", "SUB a 1\r\n", "HPUB a 1 2\r\nx",
                                         "UNSUB 1\r\n"};
    static const char *const greets[] = {"CONNECT {}\r\n", "PING\r\n", "PONG\r\n",
                                         "INFO {}\r\n",    "+OK\r\n",  "-ERR 'x'\r\n"};
    struct parser p;
    struct proto_op op;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        for (size_t split = 1; split <= strlen(others[i]); split++) {
            parser_init(&p, PARSER_CLIENT, 1 << 20, 1 << 20);
            p.headers = true;
            p.greeting_line = 64;
            const char *at = others[i], *end = at + split;
            enum parser_status status = parser_next(&p, &at, end, &op);
            if (status == PARSER_MORE) {
                end = others[i] + strlen(others[i]);
                status = parser_next(&p, &at, end, &op);
            }
            cr_assert_eq(status, PARSER_NOT_YET, "%s at %zu: %d", others[i], split, status);
            cr_assert(p.partial.cap <= 128);
            p.greeting_line = 0;
            status = parser_next(&p, &at, end, &op);
            bool whole = end == others[i] + strlen(others[i]) && i % 2 == 1;
            cr_assert_eq(status, whole ? PARSER_OP : PARSER_MORE, "%s at %zu", others[i], split);
            parser_deinit(&p);
        }
    }
    for (size_t i = 0; i < sizeof greets / sizeof greets[0]; i++) {
        parser_init(&p, PARSER_CLIENT, 1 << 20, 1 << 20);
        p.greeting_line = 64;
        const char *at = greets[i];
        cr_assert_eq(parser_next(&p, &at, at + strlen(at), &op), PARSER_OP, "%s", greets[i]);
        parser_deinit(&p);
    }
    char line[200] = "CONNECT {";
    memset(line + 9, 'x', sizeof line - 9);
    for (size_t split = 1; split < sizeof line; split += 7) {
        parser_init(&p, PARSER_CLIENT, 1 << 20, 1 << 20);
        p.greeting_line = 64;
        const char *at = line;
        enum parser_status status = parser_next(&p, &at, line + split, &op);
        status = status == PARSER_MORE ? parser_next(&p, &at, line + sizeof line, &op) : status;
        cr_assert_eq(status, PARSER_LINE_TOO_LONG);
        parser_deinit(&p);
    }
}
