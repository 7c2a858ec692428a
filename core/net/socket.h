/* socket: TCP without blocking. */
#ifndef CORE_NET_SOCKET_H
#define CORE_NET_SOCKET_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/base/err.h"
#include "core/base/text_list.h"

/* Does this host of a listener stand for all addresses of the machine, IPv4 and IPv6? */
bool net_is_wildcard(const char *host);
/* These return a descriptor, or -1 with *error filled. `*port` -1 picks a free
 * one and comes back as the one taken. */
/* For all addresses IPv4 and IPv6 alike; of a name with several addresses the first IPv4 one, as
 * Go. */
int net_bind(const char *host, int *port, struct error *error);
/* From now on connections come in. */
MUST_USE enum err net_listen(int fd, struct error *error);
/* Resolves and starts connecting; the descriptor becomes writable when it is done. Blocks on names:
 * call from the work pool. */
int net_connect_start(const char *host, int port, struct error *error);
/* Result of net_connect_start(): 0 or an errno. */
int net_connect_result(int fd);
/* An IPv4 address that came in on an IPv6 socket is shown as IPv4. */
void net_address_text(const struct sockaddr_storage *address, char host[INET6_ADDRSTRLEN],
                      int *port);
/* Whom an address stands for, as a number for counting: an IPv4 address, or the 64 bits of an IPv6
 * address that a network gives out. `host`: as net_address_text() writes it. */
uint64_t net_source(const char *host);
void net_v6_text(const struct in6_addr *address, char host[INET6_ADDRSTRLEN]);
/* The machine's addresses that others can reach; with `loopback` its own, too. */
void net_own_addresses(struct text_list *list, bool loopback);

#endif
