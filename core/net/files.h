/* files: how many file descriptors the process may have, and who may have the last of them.
 *
 * The kernel gives the lowest free number. So a new descriptor whose number is N says that N others
 * are open, and whoever gets one at or above the ceiling of its kind closes it again: strangers can
 * use up neither what the store needs nor what neighbours do. */
#ifndef CORE_NET_FILES_H
#define CORE_NET_FILES_H

#include <stdbool.h>

/* In the order in which they are refused when descriptors run short. */
enum file_user { FILES_CLIENTS, FILES_MONITORING, FILES_SERVERS, FILE_USERS };

/* Raises the process's limit to what it may be, and keeps `reserve` descriptors (half of all, when
 * there are not that many) for what is not a client: the store, neighbours, monitoring. Once,
 * before other threads. Returns the limit. */
unsigned files_raise_limit(unsigned reserve);
/* How many descriptors may be open beside a new one of that kind; INT_MAX before the limit was
 * raised. */
int files_ceiling(enum file_user user);

#endif
