#include "core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/mem.h"

static struct {
    pthread_mutex_t lock; /* leaf; guards fd and file against log_reopen() */
    int fd;
    char *file;
    atomic_bool debug;
    atomic_bool trace;
    atomic_bool time;
    atomic_bool utc;
    bool colour;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .time = true};

static const struct {
    const char *name;
    const char *colour;
} levels[] = {{"INF", "32"}, {"WRN", "0;93"}, {"ERR", "31"},
              {"FTL", "31"}, {"DBG", "36"},   {"TRC", "33"}};

enum err log_open(const struct log_options *options, struct error *error)
{
    int fd = STDERR_FILENO;
    if (options->file != NULL) {
        fd = open(options->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0) {
            return error_set(error, ERR_IO, "error opening file: open %s: %s", options->file,
                             strerror(errno));
        }
    }
    pthread_mutex_lock(&sink.lock);
    if (sink.fd != STDERR_FILENO) {
        close(sink.fd);
    }
    free(sink.file);
    sink.fd = fd;
    sink.file = options->file == NULL ? NULL : mem_strdup(options->file);
    sink.colour = fd == STDERR_FILENO && isatty(fd);
    pthread_mutex_unlock(&sink.lock);
    sink.debug = options->debug;
    sink.trace = options->trace;
    sink.time = options->time;
    sink.utc = options->utc;
    return OK;
}

void log_reopen(void)
{
    pthread_mutex_lock(&sink.lock);
    bool is_file = sink.file != NULL;
    if (is_file) {
        int fd = open(sink.file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd >= 0) {
            close(sink.fd);
            sink.fd = fd;
        }
    }
    pthread_mutex_unlock(&sink.lock);
    log_info(is_file ? "File log re-opened" : "File log re-open ignored, not a file logger");
}

bool log_enabled(enum log_level level)
{
    return level == LOG_DBG   ? atomic_load_explicit(&sink.debug, memory_order_relaxed)
           : level == LOG_TRC ? atomic_load_explicit(&sink.trace, memory_order_relaxed)
                              : true;
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    char line[4096];
    size_t len = (size_t)snprintf(line, sizeof line, "[%d] ", (int)getpid());
    if (sink.time) {
        int64_t now = clock_now_ns();
        time_t sec = (time_t)(now / NS_PER_SEC);
        struct tm tm;
        (void)(sink.utc ? gmtime_r(&sec, &tm) : localtime_r(&sec, &tm));
        len += strftime(line + len, sizeof line - len, "%Y/%m/%d %H:%M:%S", &tm);
        len += (size_t)snprintf(line + len, sizeof line - len, ".%06d ",
                                (int)(now % NS_PER_SEC / 1000));
    }
    len += (size_t)(sink.colour
                        ? snprintf(line + len, sizeof line - len, "[\033[%sm%s\033[0m] ",
                                   levels[level].colour, levels[level].name)
                        : snprintf(line + len, sizeof line - len, "[%s] ", levels[level].name));
    va_list args;
    va_start(args, format);
    int written = vsnprintf(line + len, sizeof line - len - 1, format, args);
    va_end(args);
    if (written > 0) {
        len += (size_t)written;
        len = len > sizeof line - 2 ? sizeof line - 2 : len; /* long lines are cut */
    }
    line[len++] = '\n';
    pthread_mutex_lock(&sink.lock);
    ssize_t ignored = write(sink.fd, line, len); /* nowhere left to report a failing log */
    (void)ignored;
    pthread_mutex_unlock(&sink.lock);
}

void check_failed(const char *file, int line, const char *condition)
{
    log_fatal("%s:%d: invariant violated: %s", file, line, condition);
    abort();
}
