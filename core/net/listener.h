/* listener: takes the connections that come to one port.
 *
 * Whatever accepting fails with, it goes on: what concerns one connection is passed over, and when
 * the process or the machine is out of something (file descriptors, memory) the port rests a
 * moment, longer each time up to a second, and is tried again. What waits meanwhile waits in the
 * kernel.
 *
 * Owner: one loop; everything here runs on it. */
#ifndef CORE_NET_LISTENER_H
#define CORE_NET_LISTENER_H

#include "core/net/files.h"
#include "core/runtime/loop.h"

struct listener;

/* Takes the connected descriptor, non-blocking and closed on exec. `crowded`: descriptors run short
 * (files_ceiling), so it is to be closed soon. May close the listener. */
typedef void (*listener_cb)(void *arg, int fd, bool crowded);

/* Never NULL. `fd`, taken over: of net_bind() and net_listen(). `what`, borrowed for good: whose
 * port it is, for the log. */
struct listener *listener_open(struct loop *loop, int fd, const char *what, enum file_user user,
                               listener_cb on_accept, void *arg);
/* No callback follows; frees it, once libuv has let go. NULL: nothing. */
void listener_close(struct listener *listener);

#endif
