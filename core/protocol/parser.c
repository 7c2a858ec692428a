#include "core/protocol/parser.h"

#include <strings.h>

#include "core/base/check.h"

/* An unfinished operation is collected in `partial`:
 *   (1) needed == 0: its line is open; partial holds no LF and at most max_line + slack bytes
 *   (2) needed > 0: its line is whole; partial grows to exactly `needed` bytes
 * Whatever is in `partial` is parsed by the same cut_op() as bytes that came in one piece. */
#define LINE_SLACK 16 /* verb, blanks, CR LF: not counted in max_control_line */
#define ARGS_MAX   (PARSER_QUEUES_MAX + 6)
#define VERB_KNOWN 8 /* bytes that tell which operation begins, or that none does */

void parser_init(struct parser *p, enum parser_kind kind, uint32_t max_line, uint32_t max_payload)
{
    *p = (struct parser){.kind = kind, .max_line = max_line, .max_payload = max_payload};
}

void parser_deinit(struct parser *p)
{
    buffer_deinit(&p->partial);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Splits at blanks; returns the count, or ARGS_MAX + 1 when there are too many. */
static uint32_t split_args(struct bytes line, struct bytes args[ARGS_MAX])
{
    uint32_t count = 0;
    const char *at = line.ptr;
    const char *end = line.ptr + line.len;
    for (;;) {
        while (at < end && is_blank(*at)) {
            at++;
        }
        if (at == end) {
            return count;
        }
        if (count == ARGS_MAX) {
            return ARGS_MAX + 1;
        }
        const char *start = at;
        while (at < end && !is_blank(*at)) {
            at++;
        }
        args[count++] = bytes_make(start, (size_t)(at - start));
    }
}

/* Sizes: 1 to 9 digits and nothing else. */
static bool parse_size(struct bytes text, uint32_t *size)
{
    if (text.len == 0 || text.len > 9) {
        return false;
    }
    uint32_t v = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';
        if (digit > 9) {
            return false;
        }
        v = v * 10 + digit;
    }
    *size = v;
    return true;
}

struct verb {
    const char *text;
    uint8_t len;
    bool glued; /* arguments may follow without a blank: CONNECT{…} */
    bool bare;  /* the rest of the line is ignored: PING abc */
    bool headers;
    enum proto_verb verb;
};

static const struct verb common_verbs[] = {
    {"PING", 4, true, true, false, VERB_PING},        {"PONG", 4, true, true, false, VERB_PONG},
    {"CONNECT", 7, true, false, false, VERB_CONNECT}, {"INFO", 4, true, false, false, VERB_INFO},
    {"+OK", 3, true, true, false, VERB_OK},           {"-ERR", 4, false, false, false, VERB_ERR},
    {NULL, 0, false, false, false, VERB_IGNORED}};
static const struct verb client_verbs[] = {{"PUB", 3, false, false, false, VERB_PUB},
                                           {"HPUB", 4, false, false, true, VERB_PUB},
                                           {"SUB", 3, false, false, false, VERB_SUB},
                                           {"UNSUB", 5, false, false, false, VERB_UNSUB},
                                           {NULL, 0, false, false, false, VERB_IGNORED}};
static const struct verb route_verbs[] = {
    {"RMSG", 4, false, false, false, VERB_RMSG},   {"HMSG", 4, false, false, true, VERB_RMSG},
    {"RS+", 3, false, false, false, VERB_RS_PLUS}, {"RS-", 3, false, false, false, VERB_RS_MINUS},
    {"LS+", 3, false, false, false, VERB_RS_PLUS}, {"LS-", 3, false, false, false, VERB_RS_MINUS},
    {"A+", 2, false, true, false, VERB_IGNORED},   {"A-", 2, false, true, false, VERB_IGNORED},
    {NULL, 0, false, false, false, VERB_IGNORED}};

static const struct verb *find_verb(const struct verb *table, const char *line, size_t len)
{
    for (; table->text != NULL; table++) {
        if (len >= table->len && strncasecmp(line, table->text, table->len) == 0) {
            return table;
        }
    }
    return NULL;
}

static const struct verb *verb_of(const struct parser *p, const char *line, size_t len)
{
    if (LIKELY(p->kind == PARSER_CLIENT && len > 4 && memcmp(line, "PUB ", 4) == 0)) {
        return &client_verbs[0]; /* most lines of most clients */
    }
    const struct verb *own =
        find_verb(p->kind == PARSER_CLIENT ? client_verbs : route_verbs, line, len);
    return own != NULL ? own : find_verb(common_verbs, line, len);
}

/* PUB subject [reply] size · HPUB subject [reply] header-size total-size */
static bool parse_pub(struct proto_op *op, const struct bytes *args, uint32_t count,
                      uint32_t *payload_len)
{
    uint32_t sizes = op->has_headers ? 2 : 1;
    if (count != sizes + 1 && count != sizes + 2) {
        return false;
    }
    op->subject = args[0];
    op->reply = count == sizes + 2 ? args[1] : BYTES_NONE;
    op->size_text = args[count - 1];
    op->header_len = 0;
    if (!parse_size(args[count - 1], payload_len)) {
        return false;
    }
    return !op->has_headers ||
           (parse_size(args[count - 2], &op->header_len) && op->header_len <= *payload_len);
}

/* RMSG account subject [reply | + reply queue… | '|' queue…] size, HMSG with two sizes */
static bool parse_rmsg(struct proto_op *op, const struct bytes *args, uint32_t count,
                       uint32_t *payload_len, bool pinned)
{
    uint32_t sizes = op->has_headers ? 2 : 1;
    uint32_t at = pinned ? 0 : 1;
    if (count < sizes + at + 1 || !parse_size(args[count - 1], payload_len)) {
        return false;
    }
    op->header_len = 0;
    if (op->has_headers &&
        (!parse_size(args[count - 2], &op->header_len) || op->header_len > *payload_len)) {
        return false;
    }
    op->account = pinned ? BYTES_NONE : args[0];
    op->subject = args[at++];
    op->reply = BYTES_NONE;
    op->queue_count = 0;
    uint32_t end = count - sizes;
    if (at == end) {
        return true;
    }
    if (bytes_is(args[at], "+")) {
        if (end - at < 2) {
            return false;
        }
        op->reply = args[at + 1];
        at += 2;
    } else if (bytes_is(args[at], "|")) {
        at++;
    } else {
        op->reply = args[at];
        return at + 1 == end;
    }
    while (at < end) {
        if (op->queue_count == PARSER_QUEUES_MAX) {
            return false;
        }
        op->queues[op->queue_count++] = args[at++];
    }
    return true;
}

static bool parse_sub(struct proto_op *op, const struct bytes *args, uint32_t count)
{
    if (count != 2 && count != 3) {
        return false;
    }
    op->subject = args[0];
    op->queue = count == 3 ? args[1] : BYTES_NONE;
    op->sid = args[count - 1];
    return true;
}

/* RS± account subject [queue [weight]]; LS± has an origin in front, which a node without leaf
 * connections has no use for. */
static bool parse_interest(struct proto_op *op, const struct bytes *args, uint32_t count, bool leaf,
                           bool pinned)
{
    if (leaf) {
        if (count == 0) {
            return false;
        }
        args++;
        count--;
    }
    if (!pinned && count > 0) {
        op->account = *args++;
        count--;
    } else {
        op->account = BYTES_NONE;
    }
    if (count < 1 || count > 3) {
        return false;
    }
    op->subject = args[0];
    op->queue = count > 1 ? args[1] : BYTES_NONE;
    op->weight = 1;
    if (count == 3 && (!parse_size(args[2], &op->weight) || op->weight == 0)) {
        op->weight = 1;
    }
    return true;
}

static uint32_t line_limit(const struct parser *p)
{
    return p->greeting_line > 0 && p->greeting_line < p->max_line ? p->greeting_line : p->max_line;
}

static bool may_come(const struct parser *p, enum proto_verb verb)
{
    return p->greeting_line == 0 || verb <= VERB_ERR;
}

/* Parses the operation at `data`. PARSER_MORE with *taken > 0 means: the line is whole and the
 * operation is *taken bytes long; with 0: the line is open. */
static enum parser_status cut_op(const struct parser *p, const char *data, size_t len,
                                 struct proto_op *op, size_t *taken)
{
    *taken = 0;
    op->repeats = false;
    const char *lf = memchr(data, '\n', len);
    size_t line_len = lf == NULL ? len : (size_t)(lf - data);
    /* The same limit for an open line and a whole one: how the bytes were split decides nothing. */
    if (UNLIKELY(p->greeting_line > 0) && (lf != NULL || len >= VERB_KNOWN)) {
        const struct verb *begun = verb_of(p, data, line_len);
        if (begun != NULL && !may_come(p, begun->verb)) {
            return PARSER_NOT_YET;
        }
    }
    if (line_len > (size_t)line_limit(p) + LINE_SLACK) {
        return PARSER_LINE_TOO_LONG;
    }
    if (lf == NULL) {
        /* A wrong first byte is refused at once, not after a line's worth of waiting. */
        return len >= VERB_KNOWN && verb_of(p, data, len) == NULL ? PARSER_BAD_VERB : PARSER_MORE;
    }
    const char *end = data + line_len;
    if (line_len > 0 && end[-1] == '\r') {
        end--;
    }
    const struct verb *verb = verb_of(p, data, (size_t)(end - data));
    if (verb == NULL) {
        return PARSER_BAD_VERB;
    }
    const char *args_at = data + verb->len;
    if (!verb->glued && args_at < end && !is_blank(*args_at)) {
        return PARSER_BAD_VERB;
    }
    if (!verb->glued && args_at == end) {
        return verb->verb == VERB_ERR ? PARSER_BAD_ARGS : PARSER_BAD_VERB;
    }
    while (args_at < end && is_blank(*args_at)) {
        args_at++;
    }
    op->args = bytes_make(args_at, (size_t)(end - args_at));
    op->verb = verb->verb;
    op->has_headers = verb->headers;
    if (op->args.len > line_limit(p) && !verb->bare) {
        return PARSER_LINE_TOO_LONG;
    }
    *taken = line_len + 1;
    NOT_CLEARED struct bytes args[ARGS_MAX];
    uint32_t count;
    uint32_t payload_len = 0;
    /* To nats-server a CR separates words in most places and not in some: none may reach a route.
     */
    if (p->kind == PARSER_CLIENT && !verb->glued &&
        memchr(op->args.ptr, '\r', op->args.len) != NULL) {
        return PARSER_BAD_ARGS;
    }
    switch (op->verb) {
    case VERB_PUB:
        count = split_args(op->args, args);
        if ((op->has_headers && !p->headers) || !parse_pub(op, args, count, &payload_len)) {
            return PARSER_BAD_ARGS;
        }
        break;
    case VERB_RMSG:
        count = split_args(op->args, args);
        if (count > ARGS_MAX || !parse_rmsg(op, args, count, &payload_len, p->pinned)) {
            return PARSER_BAD_ARGS;
        }
        break;
    case VERB_SUB:
        count = split_args(op->args, args);
        return parse_sub(op, args, count) ? PARSER_OP : PARSER_BAD_ARGS;
    case VERB_UNSUB:
        count = split_args(op->args, args);
        if (count != 1 && count != 2) {
            return PARSER_BAD_ARGS;
        }
        op->sid = args[0];
        op->max = count == 2 ? args[1] : BYTES_NONE;
        return PARSER_OP;
    case VERB_RS_PLUS:
    case VERB_RS_MINUS:
        count = split_args(op->args, args);
        return parse_interest(op, args, count, (data[0] | 0x20) == 'l', p->pinned)
                   ? PARSER_OP
                   : PARSER_BAD_ARGS;
    default:
        return PARSER_OP;
    }
    if (payload_len > p->max_payload) {
        return PARSER_PAYLOAD_TOO_LARGE;
    }
    *taken += (size_t)payload_len + 2;
    if (len < *taken) {
        return PARSER_MORE;
    }
    op->payload = bytes_make(lf + 1, payload_len);
    if (lf[1 + payload_len] != '\r' || lf[2 + payload_len] != '\n') {
        return PARSER_BAD_VERB;
    }
    return PARSER_OP;
}

/* Moves bytes from the input into partial, at most `count`. */
static bool take(struct parser *p, const char **at, size_t count)
{
    if (!buffer_try_reserve(&p->partial, count)) {
        return false;
    }
    buffer_append(&p->partial, *at, count);
    *at += count;
    return true;
}

/* The whole operation is here, and its line is that of the last one. */
static bool repeats_last(struct parser *p, const char *data, size_t len, struct proto_op *op)
{
    size_t line_len = p->last_line.len;
    size_t needed = line_len + op->payload.len + 2;
    if (line_len == 0 || data != p->last_end || len < needed ||
        memcmp(data, p->last_line.ptr, line_len) != 0 || data[needed - 2] != '\r' ||
        data[needed - 1] != '\n') {
        return false;
    }
    op->payload.ptr = data + line_len;
    op->repeats = true;
    p->last_end = data + needed;
    return true;
}

static void remember_line(struct parser *p, const char *data, size_t taken,
                          const struct proto_op *op)
{
    bool message = op->verb == VERB_PUB || op->verb == VERB_RMSG;
    p->last_line = bytes_make(data, message ? taken - op->payload.len - 2 : 0);
    p->last_end = data + taken;
}

static enum parser_status keep_rest(struct parser *p, const char **at, const char *end,
                                    size_t needed)
{
    p->needed = needed;
    if (needed > 0 && !buffer_try_reserve(&p->partial, needed)) {
        return PARSER_NOMEM;
    }
    return take(p, at, (size_t)(end - *at)) ? PARSER_MORE : PARSER_NOMEM;
}

enum parser_status parser_next(struct parser *p, const char **at, const char *end,
                               struct proto_op *op)
{
    if (p->partial_used) { /* the operation handed out last is done with */
        p->partial_used = false;
        p->needed = 0;
        buffer_deinit(&p->partial);
    }
    size_t taken;
    if (p->partial.len == 0) {
        if (*at == end) {
            p->last_line.len = 0;
            return PARSER_MORE;
        }
        if (LIKELY(repeats_last(p, *at, (size_t)(end - *at), op))) {
            *at = p->last_end;
            return PARSER_OP;
        }
        enum parser_status status = cut_op(p, *at, (size_t)(end - *at), op, &taken);
        if (status == PARSER_OP) {
            remember_line(p, *at, taken, op);
            *at += taken;
            return PARSER_OP;
        }
        p->last_line.len = 0; /* the bytes are the caller's, and he is about to read others */
        return status == PARSER_MORE ? keep_rest(p, at, end, taken) : status;
    }
    if (p->needed == 0) {
        const char *lf = *at == end ? NULL : memchr(*at, '\n', (size_t)(end - *at));
        const char *until = p->postponed ? *at : lf == NULL ? end : lf + 1;
        if (p->greeting_line > 0 && p->partial.len < VERB_KNOWN &&
            (size_t)(until - *at) > VERB_KNOWN - p->partial.len) {
            until = *at + (VERB_KNOWN - p->partial.len); /* first of all, what it is */
        }
        if (p->partial.len + (size_t)(until - *at) > (size_t)line_limit(p) + LINE_SLACK + 1) {
            return PARSER_LINE_TOO_LONG;
        }
        if (!take(p, at, (size_t)(until - *at))) {
            return PARSER_NOMEM;
        }
        enum parser_status status = cut_op(p, p->partial.data, p->partial.len, op, &taken);
        p->partial_used = status == PARSER_OP;
        p->postponed = status == PARSER_NOT_YET;
        if (status == PARSER_MORE && taken == 0 && *at < end) {
            return parser_next(p, at, end, op); /* the line is open, and here is the rest of it */
        }
        if (status != PARSER_MORE || taken == 0) {
            return status;
        }
        p->needed = taken;
        if (!buffer_try_reserve(&p->partial, taken - p->partial.len)) {
            return PARSER_NOMEM;
        }
    }
    CHECK(p->needed > p->partial.len);
    size_t missing = p->needed - p->partial.len;
    size_t available = (size_t)(end - *at);
    if (!take(p, at, missing < available ? missing : available)) {
        return PARSER_NOMEM;
    }
    if (p->partial.len < p->needed) {
        return PARSER_MORE;
    }
    enum parser_status status = cut_op(p, p->partial.data, p->partial.len, op, &taken);
    CHECK(status != PARSER_MORE);
    p->partial_used = status == PARSER_OP;
    return status;
}
