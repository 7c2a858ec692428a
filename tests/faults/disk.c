/* disk: a library to preload that makes a server's disk fail on demand.
 *
 *   LD_PRELOAD=libdisk_faults.so TRIREME_DISK_FAULTS=FILE trireme …
 *
 * FILE's first byte says what happens to files below a folder named "jetstream" from now on:
 *   s  fsync and fdatasync fail with EIO        w  writes fail with EIO
 *   f  writes fail with ENOSPC                  t  a write gets half of its bytes to the file, then
 *                                                  the process is killed
 * Everything else: nothing. The test changes the byte while the server runs. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile const char *mode;

__attribute__((constructor)) static void map_mode(void)
{
    const char *path = getenv("TRIREME_DISK_FAULTS");
    int fd = path == NULL ? -1 : open(path, O_RDONLY);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        fprintf(stderr, "TRIREME_DISK_FAULTS names no readable file\n");
        _exit(2);
    }
    close(fd);
    mode = page;
}

static char fault_of(int fd)
{
    char now = mode == NULL ? '\0' : *mode;
    char link[64], path[PATH_MAX];
    if (now == '\0' || strchr("swft", now) == NULL) {
        return '\0';
    }
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = '\0';
    return strstr(path, "/jetstream") != NULL ? now : '\0';
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
    return fails(fd, data, len, -1) ? -1 : next(fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    NEXT(ssize_t, "pwrite", int, const void *, size_t, off_t)
    return fails(fd, data, len, at) ? -1 : next(fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return pwrite(fd, data, len, at);
}

static int sync_fails(int fd)
{
    if (fault_of(fd) != 's') {
        return 0;
    }
    errno = EIO;
    return 1;
}

int fsync(int fd)
{
    NEXT(int, "fsync", int)
    return sync_fails(fd) ? -1 : next(fd);
}

int fdatasync(int fd)
{
    NEXT(int, "fdatasync", int)
    return sync_fails(fd) ? -1 : next(fd);
}
