#include "core/base/file_mode.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"

static mode_t umask_before = 0022; /* of the process, when it was started */

void file_mode_private(void)
{
    umask_before = umask(0077);
}

int file_open_shared(const char *path, int flags, mode_t mode)
{
    int fd = open(path, flags | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0) {
        (void)fchmod(fd, mode & ~umask_before);
    } else if (errno == EEXIST) {
        fd = open(path, flags | O_CREAT | O_CLOEXEC, mode);
    }
    return fd;
}

static int tighten(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)at;
    bool plain = kind == FTW_F && S_ISREG(st->st_mode);
    bool folder = kind == FTW_D || kind == FTW_DNR;
    if ((plain || folder) && st->st_uid == geteuid() && (st->st_mode & 0077) != 0 &&
        chmod(path, st->st_mode & 0700) != 0 && errno != ENOENT) {
        log_warn("\"%s\" can be read by other users: chmod: %s", path, strerror(errno));
    }
    return 0;
}

void file_mode_tighten(const char *folder)
{
    struct stat st;
    if (stat(folder, &st) == 0) {
        (void)nftw(folder, tighten, 16, FTW_PHYS);
    }
}
