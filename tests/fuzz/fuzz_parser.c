/* The client and route parsers: any bytes, in any split, give the same operations or the same
 * error. */
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/protocol/parser.h"

static uint64_t mix(uint64_t h, struct bytes b)
{
    return (h * 31) ^ (b.ptr == NULL ? 7 : hash_bytes(b));
}

/* A fingerprint of all operations and the final status. */
static uint64_t run(enum parser_kind kind, bool pinned, bool greets, const char *data, size_t size,
                    size_t step)
{
    struct parser p;
    struct proto_op op;
    uint64_t h = 1;
    parser_init(&p, kind, 64, 1024);
    p.headers = true;
    p.pinned = pinned;
    p.greeting_line = greets ? 48 : 0;
    enum parser_status status = PARSER_MORE;
    for (size_t from = 0; from < size && status == PARSER_MORE; from += step) {
        size_t len = size - from < step ? size - from : step;
        char *copy = malloc(len); /* exactly as long as the input: reading past it is seen */
        CHECK(copy != NULL);
        __builtin_memcpy(copy, data + from, len);
        const char *at = copy;
        while ((status = parser_next(&p, &at, copy + len, &op)) == PARSER_OP ||
               status == PARSER_NOT_YET) {
            CHECK(status == PARSER_OP || p.greeting_line > 0);
            CHECK(p.greeting_line == 0 || p.partial.len <= 48 + 64);
            if (status == PARSER_NOT_YET) { /* like a server that lets anyone in */
                p.greeting_line = 0;
                h = h * 31 + 99;
                continue;
            }
            CHECK(p.greeting_line == 0 || op.verb <= VERB_ERR);
            p.greeting_line = op.verb == VERB_CONNECT ? 0 : p.greeting_line;
            h = mix(h * 31 + (uint64_t)op.verb, op.args);
            if (op.verb == VERB_PUB || op.verb == VERB_RMSG) {
                CHECK(op.header_len <= op.payload.len);
                h = mix(mix(h, op.subject), op.payload);
            }
        }
        free(copy);
    }
    parser_deinit(&p);
    /* An open line is refused earlier or later, depending on the split; the operations agree. */
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096) {
        return 0;
    }
    for (int i = 0; i < 6; i++) { /* clients, routes, routes of one account; greeting or not */
        enum parser_kind kind = i % 3 == 0 ? PARSER_CLIENT : PARSER_ROUTE;
        bool pinned = i % 3 == 2, greets = i >= 3;
        const char *text = (const char *)data;
        uint64_t whole = run(kind, pinned, greets, text, size, size);
        CHECK(run(kind, pinned, greets, text, size, 1) == whole);
        CHECK(run(kind, pinned, greets, text, size, 7) == whole);
    }
    return 0;
}
