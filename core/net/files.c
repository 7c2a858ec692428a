#include "core/net/files.h"

#include <limits.h>
#include <sys/resource.h>

#include "core/base/check.h"

/* Written once, before other threads are there. */
static int ceilings[FILE_USERS] = {INT_MAX, INT_MAX, INT_MAX};

unsigned files_raise_limit(unsigned reserve)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) {
        soft = limit.rlim_max;
    }
    unsigned files = soft == RLIM_INFINITY || soft > INT_MAX ? INT_MAX : (unsigned)soft;
    unsigned kept = reserve < files / 2 ? reserve : files / 2;
    ceilings[FILES_CLIENTS] = (int)(files - kept);
    ceilings[FILES_MONITORING] = (int)(files - kept / 8 * 7);
    ceilings[FILES_SERVERS] = (int)(files - kept / 8 * 5); /* the store has the rest */
    return files;
}

int files_ceiling(enum file_user user)
{
    return ceilings[user];
}
