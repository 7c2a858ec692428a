/* socket: TCP without blocking. */
#ifndef CORE_NET_SOCKET_H
#define CORE_NET_SOCKET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "core/base/err.h"

/* These return a descriptor, or -1 with *error filled. `*port` -1 picks a free
 * one and comes back as the one taken. */
int net_bind(const char *host, int *port, struct error *error);
/* From now on connections come in. */
MUST_USE enum err net_listen(int fd, struct error *error);
/* Resolves and starts connecting; the descriptor becomes writable when it is done. Blocks on names:
 * call from the work pool. */
int net_connect_start(const char *host, int port, struct error *error);
/* Result of net_connect_start(): 0 or an errno. */
int net_connect_result(int fd);
void net_address_text(const struct sockaddr_storage *address, char host[INET6_ADDRSTRLEN],
                      int *port);

#endif
