#include "core/net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/url.h"

void net_v6_text(const struct in6_addr *address, char host[INET6_ADDRSTRLEN])
{
    bool mapped = IN6_IS_ADDR_V4MAPPED(address);
    (void)inet_ntop(mapped ? AF_INET : AF_INET6, address->s6_addr + (mapped ? 12 : 0), host,
                    INET6_ADDRSTRLEN);
}

void net_address_text(const struct sockaddr_storage *address, char host[INET6_ADDRSTRLEN],
                      int *port)
{
    host[0] = '\0';
    *port = 0;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, INET6_ADDRSTRLEN);
        *port = ntohs(in->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        net_v6_text(&in6->sin6_addr, host);
        *port = ntohs(in6->sin6_port);
    }
}

static struct addrinfo *resolve(const char *host, int port, int flags, struct error *error)
{
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port < 0 ? 0 : port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        (void)error_set(error, ERR_IO, "lookup %s: %s", host, gai_strerror(rc));
        return NULL;
    }
    return list;
}

bool net_is_wildcard(const char *host)
{
    return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static int bind_to(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1, both = 0;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0;
    if (ok && address->sa_family == AF_INET6) {
        ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both) == 0;
    }
    if (ok && bind(fd, address, len) == 0) {
        return fd;
    }
    int why = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    errno = why;
    return -1;
}

/* IPv6 may be switched off here: then IPv4 alone. */
static int bind_all(int port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = bind_to((const struct sockaddr *)&v6, sizeof v6);
    if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == ENOPROTOOPT)) {
        fd = bind_to((const struct sockaddr *)&v4, sizeof v4);
    }
    return fd;
}

int net_bind(const char *host, int *port, struct error *error)
{
    int fd;
    if (net_is_wildcard(host)) {
        fd = bind_all(*port < 0 ? 0 : *port);
    } else {
        struct addrinfo *list = resolve(host, *port, AI_PASSIVE, error);
        if (list == NULL) {
            return -1;
        }
        const struct addrinfo *first = list;
        while (first != NULL && first->ai_family != AF_INET) {
            first = first->ai_next;
        }
        first = first == NULL ? list : first;
        fd = bind_to(first->ai_addr, first->ai_addrlen);
        int why = errno;
        freeaddrinfo(list);
        errno = why;
    }
    if (fd < 0) {
        (void)error_set(error, ERR_IO, "listen tcp %s: bind: %s", address_text(host, *port).text,
                        errno == EADDRINUSE ? "address already in use" : strerror(errno));
        return -1;
    }
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    char text[INET6_ADDRSTRLEN];
    if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0) {
        net_address_text(&bound, text, port);
    }
    return fd;
}

enum err net_listen(int fd, struct error *error)
{
    if (listen(fd, 1024) != 0) {
        return error_set(error, ERR_IO, "listen: %s", strerror(errno));
    }
    return OK;
}

int net_connect_start(const char *host, int port, struct error *error)
{
    struct addrinfo *list = resolve(host, port, 0, error);
    if (list == NULL) {
        return -1;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, list->ai_addr, list->ai_addrlen) != 0 && errno != EINPROGRESS)) {
        (void)error_set(error, ERR_IO, "dial tcp %s: connect: %s", address_text(host, port).text,
                        strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
        }
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

int net_connect_result(int fd)
{
    int result = 0;
    socklen_t len = sizeof result;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &len) == 0 ? result : errno;
}

uint64_t net_source(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    uint64_t source = 0;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        source = v4.s_addr;
    } else if (inet_pton(AF_INET6, host, &v6) == 1) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6);
        memcpy(&source, v6.s6_addr + (mapped ? 12 : 0), mapped ? 4 : sizeof source);
    }
    return source;
}

static bool is_for_others(const struct in6_addr *a)
{
    return !IN6_IS_ADDR_LINKLOCAL(a) && !IN6_IS_ADDR_MULTICAST(a) && !IN6_IS_ADDR_UNSPECIFIED(a);
}

void net_own_addresses(struct text_list *list, bool loopback)
{
    struct ifaddrs *interfaces = NULL;
    if (getifaddrs(&interfaces) != 0) {
        return;
    }
    for (const struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next) {
        char host[INET6_ADDRSTRLEN] = "";
        if (i->ifa_addr == NULL || (!loopback && (i->ifa_flags & IFF_LOOPBACK) != 0)) {
            continue;
        }
        if (i->ifa_addr->sa_family == AF_INET) {
            const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)i->ifa_addr;
            (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)i->ifa_addr;
            if (is_for_others(&in6->sin6_addr)) {
                net_v6_text(&in6->sin6_addr, host);
            }
        }
        if (host[0] != '\0') {
            text_list_add(list, bytes_of(host));
        }
    }
    freeifaddrs(interfaces);
}
