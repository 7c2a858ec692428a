#include "core/net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, INET6_ADDRSTRLEN);
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

int net_bind(const char *host, int *port, struct error *error)
{
    struct addrinfo *list = resolve(host, *port, AI_PASSIVE, error);
    if (list == NULL) {
        return -1;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, list->ai_addr, list->ai_addrlen) != 0) {
        (void)error_set(error, ERR_IO, "listen tcp %s:%d: bind: %s", host, *port,
                        errno == EADDRINUSE ? "address already in use" : strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
        }
        freeaddrinfo(list);
        return -1;
    }
    freeaddrinfo(list);
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
        (void)error_set(error, ERR_IO, "dial tcp %s:%d: connect: %s", host, port, strerror(errno));
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
