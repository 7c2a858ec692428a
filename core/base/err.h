/* err: what an expected failure looks like.
 *
 * Functions that can fail return MUST_USE enum err; the deepest function that knows more fills a
 * struct error. Nothing is logged on the way: the place that handles the error logs it, once. */
#ifndef CORE_BASE_ERR_H
#define CORE_BASE_ERR_H

#include "core/base/check.h"

enum err {
    OK = 0,
    ERR_NOMEM,         /* memory for a peer-chosen size is not to be had */
    ERR_CLOSED,        /* the object no longer accepts work */
    ERR_IO,            /* a system call failed; final for stores */
    ERR_PARSE,         /* malformed input */
    ERR_LIMIT,         /* a configured bound would be passed */
    ERR_NOT_FOUND,     /* no such thing */
    ERR_EXISTS,        /* there already is one */
    ERR_CORRUPT,       /* a checksum or an on-disk invariant failed */
    ERR_UNKNOWN,       /* whole, but not understood: never damage, it stays as it is */
    ERR_SLOW_CONSUMER, /* a connection has more than max_pending bytes waiting */
    ERR_NOT_LEADER,    /* this replica may not decide */
    ERR_INVALID,       /* a well-formed value that is not acceptable here */
    ERR_NOSPACE,       /* the disk is full; the store refuses writes and keeps reading */
    ERR_BUSY           /* not now: something earlier has to end first */
};

struct error {
    enum err code;
    char message[512]; /* for people: what is wrong, where, with which value */
};

/* Fills *error (NULL allowed) and returns `code`, so that `return error_set(...)` reads well. */
enum err error_set(struct error *error, enum err code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Static text; never NULL. */
const char *err_name(enum err code);

#endif
