/* file_mode: who may read what the server writes.
 *
 * Everything it makes is its own user's alone, whoever makes it (the store's library included): the
 * process's umask sees to that. What others are meant to read says so. */
#ifndef CORE_BASE_FILE_MODE_H
#define CORE_BASE_FILE_MODE_H

#include <sys/types.h>

/* Once, before there are threads or files. */
void file_mode_private(void);
/* open() with O_CLOEXEC; a file that it makes gets `mode`, less the umask that the process was
 * started with. */
int file_open_shared(const char *path, int flags, mode_t mode);
/* Takes from all folders and files below `folder`, and from itself, what others may do with them;
 * those of other users are left alone. Says in the log what could not be changed. */
void file_mode_tighten(const char *folder);

#endif
