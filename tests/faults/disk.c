/* disk: a library to preload that makes a server's disk fail on demand.
 *
 *   LD_PRELOAD=libdisk_faults.so TRIREME_DISK_FAULTS=FILE trireme …
 *
 * FILE's first byte says what happens to files below a folder named "jetstream" from now on:
 *   s  fsync and fdatasync fail with EIO        w  writes fail with EIO
 *   f  writes fail with ENOSPC                  t  a write gets half of its bytes to the file, then
 *                                                  the process is killed
 *   k  a failpoint's name and how many times it is to be passed follow ("kwal.sync 3"): there the
 *      process is killed. A point is a kind of file and what is done to it:
 *         wal, table, manifest, current, mark, other
 *         .write .sync .rename .unlink: before that; .written .synced .renamed .unlinked: after
 * Everything else: nothing. The test changes the file while the server runs. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 64

static const char *mode; /* PAGE bytes, which the test may change at any time */
static atomic_long passed;

__attribute__((constructor)) static void map_mode(void)
{
    const char *path = getenv("TRIREME_DISK_FAULTS");
    int fd = path == NULL ? -1 : open(path, O_RDONLY);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        fprintf(stderr, "TRIREME_DISK_FAULTS names no readable file\n");
        _exit(2);
    }
    close(fd);
    mode = page;
}

static char mode_now(void)
{
    return mode == NULL ? '\0' : *(const volatile char *)mode;
}

static int is_of_store(const char *path)
{
    return strstr(path, "/jetstream") != NULL;
}

static const char *path_of(int fd, char path[PATH_MAX])
{
    char link[64];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    path[len < 0 ? 0 : len] = '\0';
    return path;
}

static char fault_of(int fd)
{
    char path[PATH_MAX], now = mode_now();
    return now != '\0' && strchr("swft", now) != NULL && is_of_store(path_of(fd, path)) ? now
                                                                                        : '\0';
}

static const char *kind_of(const char *path)
{
    const char *name = strrchr(path, '/');
    const char *dot = strrchr(path, '.');
    name = name == NULL ? path : name + 1;
    return dot != NULL && strcmp(dot, ".log") == 0    ? "wal"
           : dot != NULL && strcmp(dot, ".sst") == 0  ? "table"
           : dot != NULL && strcmp(dot, ".mark") == 0 ? "mark"
           : strncmp(name, "MANIFEST", 8) == 0        ? "manifest"
           : strcmp(name, "CURRENT") == 0             ? "current"
                                                      : "other";
}

/* A failpoint: kills the process if it is the one, and has been passed often enough. */
static void point(const char *path, const char *what)
{
    char wanted[PAGE], here[PAGE];
    if (mode_now() != 'k' || !is_of_store(path)) {
        return;
    }
    memcpy(wanted, mode, PAGE - 1);
    wanted[PAGE - 1] = '\0';
    (void)snprintf(here, sizeof here, "k%s.%s ", kind_of(path), what);
    if (strncmp(wanted, here, strlen(here)) == 0 &&
        atomic_fetch_add(&passed, 1) + 1 == strtol(wanted + strlen(here), NULL, 10)) {
        (void)kill(getpid(), SIGKILL);
        (void)pause();
    }
}

static void point_of(int fd, const char *what)
{
    char path[PATH_MAX];
    if (mode_now() == 'k') {
        point(path_of(fd, path), what);
    }
}

/* True: the write does not happen, errno is set. */
static int fails(int fd, const void *data, size_t len, off_t at)
{
    switch (fault_of(fd)) {
    case 'w':
        errno = EIO;
        return 1;
    case 'f':
        errno = ENOSPC;
        return 1;
    case 't': {
        static ssize_t (*write_part)(int, const void *, size_t);
        static ssize_t (*write_part_at)(int, const void *, size_t, off_t);
        write_part = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
        write_part_at = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
        (void)!(at < 0 ? write_part(fd, data, len / 2) : write_part_at(fd, data, len / 2, at));
        (void)kill(getpid(), SIGKILL);
        return 1;
    }
    default:
        return 0;
    }
}

#define NEXT(type, name, ...)                                                                      \
    static type (*next)(__VA_ARGS__);                                                              \
    if (next == NULL) {                                                                            \
        next = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);                                       \
    }

ssize_t write(int fd, const void *data, size_t len)
{
    NEXT(ssize_t, "write", int, const void *, size_t)
    point_of(fd, "write");
    ssize_t n = fails(fd, data, len, -1) ? -1 : next(fd, data, len);
    point_of(fd, "written");
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    NEXT(ssize_t, "pwrite", int, const void *, size_t, off_t)
    point_of(fd, "write");
    ssize_t n = fails(fd, data, len, at) ? -1 : next(fd, data, len, at);
    point_of(fd, "written");
    return n;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return pwrite(fd, data, len, at);
}

static int synced(int fd, int (*next)(int))
{
    point_of(fd, "sync");
    if (fault_of(fd) == 's') {
        errno = EIO;
        return -1;
    }
    int result = next(fd);
    point_of(fd, "synced");
    return result;
}

int fsync(int fd)
{
    NEXT(int, "fsync", int)
    return synced(fd, next);
}

int fdatasync(int fd)
{
    NEXT(int, "fdatasync", int)
    return synced(fd, next);
}

int rename(const char *from, const char *to)
{
    NEXT(int, "rename", const char *, const char *)
    point(to, "rename");
    int result = next(from, to);
    point(to, "renamed");
    return result;
}

int unlink(const char *path)
{
    NEXT(int, "unlink", const char *)
    point(path, "unlink");
    int result = next(path);
    point(path, "unlinked");
    return result;
}
