/* clock: a library to preload that sets a server's clock.
 *
 *   LD_PRELOAD=libclock_faults.so TRIREME_CLOCK_FAULTS=FILE trireme …
 *
 * FILE begins with seconds, as text, that are added to the time of day from now on. The monotonic
 * clock goes on as ever, as it does when somebody sets a real clock. The test changes the file
 * while the server runs. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 64

static const char *seconds; /* PAGE bytes, which the test may change at any time */

__attribute__((constructor)) static void map_seconds(void)
{
    const char *path = getenv("TRIREME_CLOCK_FAULTS");
    int fd = path == NULL ? -1 : open(path, O_RDONLY);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        fprintf(stderr, "TRIREME_CLOCK_FAULTS names no readable file\n");
        _exit(2);
    }
    close(fd);
    seconds = page;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    }
    int rc = real(id, ts);
    if (rc == 0 && id == CLOCK_REALTIME && seconds != NULL) {
        char text[PAGE + 1] = "";
        memcpy(text, seconds, PAGE);
        ts->tv_sec += (time_t)strtoll(text, NULL, 10);
    }
    return rc;
}
