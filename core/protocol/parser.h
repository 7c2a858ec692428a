/* parser: NATS's line protocol, client and route side, cut into operations.
 *
 * A pull parser: feed it the bytes of one read, take operations until it wants more. It copies only
 * what a read leaves unfinished. Any split of the stream gives the same operations.
 *
 *     const char *at = data, *end = data + len;
 *     while ((status = parser_next(&p, &at, end, &op)) == PARSER_OP) { … }
 *
 * Source: NATS client protocol §1, §2; NATS route protocol §4. */
#ifndef CORE_PROTOCOL_PARSER_H
#define CORE_PROTOCOL_PARSER_H

#include <stdint.h>

#include "core/base/buffer.h"

enum parser_kind { PARSER_CLIENT, PARSER_ROUTE };

enum proto_verb {
    VERB_CONNECT,
    VERB_INFO,
    VERB_PING,
    VERB_PONG,
    VERB_OK,
    VERB_ERR,
    VERB_PUB, /* PUB and HPUB; header_len 0 for PUB */
    VERB_SUB,
    VERB_UNSUB,
    VERB_RMSG,     /* RMSG and HMSG between servers */
    VERB_RS_PLUS,  /* RS+ and LS+ */
    VERB_RS_MINUS, /* RS- and LS- */
    VERB_IGNORED   /* A+, A-: accepted on routes and without effect */
};

/* Before the other side has said who it is, nothing needs longer lines than this. */
#define PARSER_GREETING_LINE (16u * 1024)

#define PARSER_QUEUES_MAX 64 /* queue groups named in one RMSG */

/* All pointers are valid until the next parser_next(). */
struct proto_op {
    enum proto_verb verb;
    bool has_headers;       /* HPUB, HMSG */
    bool repeats;           /* PUB, RMSG: the line is, to the byte, that of the operation before */
    struct bytes args;      /* the line behind the verb: JSON of CONNECT and INFO, text of -ERR */
    struct bytes subject;   /* PUB, SUB, RMSG, RS± */
    struct bytes reply;     /* PUB, RMSG; ptr NULL without */
    struct bytes queue;     /* SUB, RS±; ptr NULL without */
    struct bytes sid;       /* SUB, UNSUB */
    struct bytes account;   /* RMSG, RS± */
    struct bytes max;       /* UNSUB: text of max, ptr NULL without */
    struct bytes size_text; /* PUB: the size as sent, which subscribers see verbatim */
    uint32_t weight;        /* RS+ with queue */
    uint32_t header_len;    /* bytes at the front of payload */
    struct bytes payload;   /* headers and body, without the final CR LF */
    struct bytes queues[PARSER_QUEUES_MAX]; /* RMSG */
    uint32_t queue_count;
};

enum parser_status {
    PARSER_OP,       /* *op holds an operation */
    PARSER_MORE,     /* everything was taken; feed more */
    PARSER_NOT_YET,  /* what comes is no greeting: end that with `greeting_line` 0 and ask again, or
                      * close. Nothing of it was taken beyond its line */
    PARSER_BAD_VERB, /* "Unknown Protocol Operation", close; also a payload that does not end so */
    PARSER_BAD_ARGS, /* close without -ERR */
    PARSER_LINE_TOO_LONG,
    PARSER_PAYLOAD_TOO_LARGE,
    PARSER_NOMEM
};

struct parser {
    enum parser_kind kind;
    uint32_t max_line;    /* bytes of arguments; max_control_line, 16 times that for routes */
    uint32_t max_payload; /* bytes of headers and body */
    /* While the other side has not said who it is: the bytes of a line at most, and only what
     * greets is cut (CONNECT, INFO, PING, PONG, +OK, -ERR), so nobody unknown makes the server wait
     * for a payload. 0: everything. */
    uint32_t greeting_line;
    bool headers;          /* HPUB allowed */
    bool pinned;           /* routes: lines leave the account out, op.account stays empty */
    struct buffer partial; /* what the last read left unfinished */
    size_t needed;         /* total length of the unfinished operation, 0 while its line is open */
    bool partial_used;     /* the last op points into partial */
    bool postponed;        /* PARSER_NOT_YET was said of what is in partial */
    /* The last operation, if it was a message cut from the caller's bytes: publishers send the same
     * line again and again, and comparing it costs a fraction of cutting it. */
    struct bytes last_line; /* with its line end; len 0: none */
    const char *last_end;   /* where the next operation begins */
};

void parser_init(struct parser *p, enum parser_kind kind, uint32_t max_line, uint32_t max_payload);
void parser_deinit(struct parser *p);
/* Advances *at. Of a line that repeats only the payload is new in *op, so the caller passes the
 * same struct for all operations of one read. After a status other than PARSER_OP and PARSER_MORE
 * the connection is to be closed and the parser not used again. */
enum parser_status parser_next(struct parser *p, const char **at, const char *end,
                               struct proto_op *op);

#endif
