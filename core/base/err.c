#include "core/base/err.h"

#include <stdarg.h>
#include <stdio.h>

enum err error_set(struct error *error, enum err code, const char *format, ...)
{
    if (error != NULL) {
        va_list args;
        va_start(args, format);
        error->code = code;
        (void)vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
    }
    return code;
}

const char *err_name(enum err code)
{
    switch (code) {
    case OK:
        return "ok";
    case ERR_NOMEM:
        return "out of memory";
    case ERR_CLOSED:
        return "closed";
    case ERR_IO:
        return "I/O error";
    case ERR_PARSE:
        return "malformed input";
    case ERR_LIMIT:
        return "limit reached";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_EXISTS:
        return "already exists";
    case ERR_CORRUPT:
        return "data damaged";
    case ERR_UNKNOWN:
        return "not understood by this version";
    case ERR_SLOW_CONSUMER:
        return "slow consumer";
    case ERR_NOT_LEADER:
        return "not leader";
    case ERR_INVALID:
        return "invalid value";
    case ERR_NOSPACE:
        return "no space left on device";
    case ERR_BUSY:
        return "busy";
    }
    return "unknown error";
}
