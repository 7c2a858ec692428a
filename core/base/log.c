#include "core/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file_mode.h"
#include "core/base/mem.h"

atomic_bool log_debugging, log_tracing;

static struct {
    pthread_mutex_t lock; /* leaf; guards fd and file against log_reopen() */
    int fd;
    char *file;
    atomic_bool time;
    atomic_bool utc;
    bool colour;
    bool syslog;
    int64_t size, size_limit, max_files; /* lock */
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .time = true};

static const struct {
    const char *name;
    const char *colour;
    int priority; /* for syslog */
} levels[] = {{"INF", "32", LOG_NOTICE}, {"WRN", "0;93", LOG_WARNING}, {"ERR", "31", LOG_ERR},
              {"FTL", "31", LOG_CRIT},   {"DBG", "36", LOG_DEBUG},     {"TRC", "33", LOG_DEBUG}};

static int open_file(const char *path)
{
    return file_open_shared(path, O_WRONLY | O_APPEND, 0640);
}

static int64_t file_size(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : 0;
}

enum err log_open(const struct log_options *options, struct error *error)
{
    int fd = STDERR_FILENO;
    if (options->file != NULL) {
        fd = open_file(options->file);
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
    sink.syslog = options->file == NULL && options->syslog;
    sink.size = options->file == NULL ? 0 : file_size(fd);
    sink.size_limit = options->size_limit;
    sink.max_files = options->max_files;
    if (sink.syslog) {
        openlog("nats-server", LOG_PID, LOG_DAEMON);
    }
    pthread_mutex_unlock(&sink.lock);
    atomic_store(&log_debugging, options->debug);
    atomic_store(&log_tracing, options->trace);
    sink.time = options->time;
    sink.utc = options->utc;
    return OK;
}

void log_reopen(void)
{
    pthread_mutex_lock(&sink.lock);
    bool is_file = sink.file != NULL;
    if (is_file) {
        int fd = open_file(sink.file);
        if (fd >= 0) {
            close(sink.fd);
            sink.fd = fd;
            sink.size = file_size(fd);
        }
    }
    pthread_mutex_unlock(&sink.lock);
    log_info(is_file ? "File log re-opened" : "File log re-open ignored, not a file logger");
}

/* --- rotation; the lock is held --- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_backup(const char *name, const char *base)
{
    static const char stamp[] = ".2006.01.02.15.04.05.000000000";
    size_t len = strlen(base);
    return strncmp(name, base, len) == 0 && name[len] == '.' &&
           strlen(name + len) == sizeof stamp - 1;
}

/* Deletes the oldest files that were put aside: the time in their names sorts them. */
static void purge(const char *folder, const char *base)
{
    struct dirent **list;
    int count = scandir(folder, &list, NULL, by_name);
    int64_t backups = 0;
    for (int i = 0; i < count; i++) {
        backups += is_backup(list[i]->d_name, base);
    }
    for (int i = 0; i < count; i++) {
        if (backups > sink.max_files - 1 && is_backup(list[i]->d_name, base)) {
            char path[4200];
            (void)snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
            (void)unlink(path);
            backups--;
        }
        free(list[i]);
    }
    if (count >= 0) {
        free(list);
    }
}

/* Writes the beginning of a line; returns its length. */
static size_t begin_line(enum log_level level, char *line, size_t size)
{
    size_t len = (size_t)snprintf(line, size, "[%d] ", (int)getpid());
    if (sink.time) {
        int64_t now = clock_now_ns();
        time_t sec = (time_t)(now / NS_PER_SEC);
        struct tm tm;
        (void)(sink.utc ? gmtime_r(&sec, &tm) : localtime_r(&sec, &tm));
        len += strftime(line + len, size - len, "%Y/%m/%d %H:%M:%S", &tm);
        len += (size_t)snprintf(line + len, size - len, ".%06d ", (int)(now % NS_PER_SEC / 1000));
    }
    len += (size_t)(sink.colour ? snprintf(line + len, size - len, "[\033[%sm%s\033[0m] ",
                                           levels[level].colour, levels[level].name)
                                : snprintf(line + len, size - len, "[%s] ", levels[level].name));
    return len;
}

static void rotate(void)
{
    char backup[4096], stamp[32], line[4200];
    int64_t now = clock_now_ns();
    time_t sec = (time_t)(now / NS_PER_SEC);
    struct tm tm;
    (void)localtime_r(&sec, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y.%m.%d.%H.%M.%S", &tm);
    int n =
        snprintf(backup, sizeof backup, "%s.%s.%09d", sink.file, stamp, (int)(now % NS_PER_SEC));
    if (n >= (int)sizeof backup || rename(sink.file, backup) != 0) {
        sink.size = 0; /* not tried again before as much has been written once more */
        return;
    }
    int fd = open_file(sink.file);
    if (fd < 0) {
        return; /* the old one goes on, under its new name */
    }
    close(sink.fd);
    sink.fd = fd;
    size_t len = begin_line(LOG_INF, line, 128);
    len += (size_t)snprintf(line + len, sizeof line - len,
                            "Rotated log, backup saved as \"%.3800s\"\r\n", backup);
    ssize_t ignored = write(fd, line, len);
    (void)ignored;
    sink.size = (int64_t)len;
    if (sink.max_files > 0) {
        char *folder = mem_strdup(sink.file);
        char *slash = strrchr(folder, '/');
        const char *base = slash == NULL ? sink.file : sink.file + (slash - folder) + 1;
        if (slash != NULL) {
            *slash = '\0';
        }
        purge(slash == NULL ? "." : *folder == '\0' ? "/" : folder, base);
        free(folder);
    }
}

/* Copies `text` so that it stays one line, whatever is in it: names and subjects come from outside.
 * Control characters, those of Unicode's second block included, become \n, \r, \t, \xNN or \uNNNN.
 * Returns the length written, at most `cap`. */
static size_t put_line(char *out, size_t cap, const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        unsigned char next = i + 1 < len ? (unsigned char)text[i + 1] : 0;
        bool second = c == 0xc2 && next >= 0x80 && next < 0xa0; /* U+0080 to U+009F */
        char shown[12];
        size_t used = 1;
        if (c == '\n' || c == '\r' || c == '\t') {
            used = (size_t)snprintf(shown, sizeof shown, "\\%c",
                                    c == '\n'   ? 'n'
                                    : c == '\r' ? 'r'
                                                : 't');
        } else if (second) {
            used = (size_t)snprintf(shown, sizeof shown, "\\u%04x", next);
            i++;
        } else if (c < ' ' || c == 0x7f) {
            used = (size_t)snprintf(shown, sizeof shown, "\\x%02x", c);
        } else {
            shown[0] = (char)c;
        }
        if (n + used > cap) {
            break;
        }
        memcpy(out + n, shown, used);
        n += used;
    }
    return n;
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    char line[4096], message[4096];
    size_t len = sink.syslog ? 0 : begin_line(level, line, sizeof line);
    va_list args;
    va_start(args, format);
    int written = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t given = written < 0 ? 0 : (size_t)written;
    given = given < sizeof message ? given : sizeof message - 1; /* long lines are cut */
    len += put_line(line + len, sizeof line - len - 1, message, given);
    if (sink.syslog) {
        syslog(levels[level].priority, "%.*s", (int)len, line);
        return;
    }
    line[len++] = '\n';
    pthread_mutex_lock(&sink.lock);
    ssize_t ignored = write(sink.fd, line, len); /* nowhere left to report a failing log */
    (void)ignored;
    sink.size += (int64_t)len;
    if (sink.file != NULL && sink.size_limit > 0 && sink.size > sink.size_limit) {
        rotate();
    }
    pthread_mutex_unlock(&sink.lock);
}

void check_failed(const char *file, int line, const char *condition)
{
    log_fatal("%s:%d: invariant violated: %s", file, line, condition);
    abort();
}
