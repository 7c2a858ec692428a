/* log: lines in nats-server's format, because people's tools grep them:
 *
 *   [<pid>] YYYY/MM/DD hh:mm:ss.uuuuuu [INF] message
 *
 * A file that has grown past its limit is renamed to <file>.YYYY.MM.DD.hh.mm.ss.nnnnnnnnn.
 *
 * Any thread; one write(2) per line. What is not to be printed in a message is escaped, so that a
 * name from outside cannot forge a line. Never pass a password, token or CONNECT body. */
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

enum log_level { LOG_INF, LOG_WRN, LOG_ERR, LOG_FTL, LOG_DBG, LOG_TRC };

struct log_options {
    const char *file;   /* NULL: syslog or stderr */
    bool syslog;        /* the local one; a file goes before it */
    int64_t size_limit; /* bytes after which the file is put aside; 0: never */
    int64_t max_files;  /* that are kept, this one included; 0: all */
    bool debug;
    bool trace;
    bool time; /* false leaves date and time out */
    bool utc;
};

/* Opens the file (mode 0640, append). May be called again after a change of options. */
MUST_USE enum err log_open(const struct log_options *options, struct error *error);
/* Opens the same file name again, for log rotation by other tools (SIGUSR1). */
void log_reopen(void);
/* Asked per message, so it is two loads at most. */
extern atomic_bool log_debugging, log_tracing;
static inline bool log_enabled(enum log_level level)
{
    return level == LOG_DBG   ? atomic_load_explicit(&log_debugging, memory_order_relaxed)
           : level == LOG_TRC ? atomic_load_explicit(&log_tracing, memory_order_relaxed)
                              : true;
}
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_info(...)  log_write(LOG_INF, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WRN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERR, __VA_ARGS__)
#define log_fatal(...) log_write(LOG_FTL, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DBG)) {                                                                \
            log_write(LOG_DBG, __VA_ARGS__);                                                       \
        }                                                                                          \
    } while (0)
#define log_trace(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_TRC)) {                                                                \
            log_write(LOG_TRC, __VA_ARGS__);                                                       \
        }                                                                                          \
    } while (0)

#endif
