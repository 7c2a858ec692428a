#include "core/base/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"

static bool has_control(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

/* The bytes from `from` to the one before `to`. */
static struct bytes part(struct bytes text, size_t from, size_t to)
{
    return text.ptr == NULL ? BYTES_NONE : bytes_make(text.ptr + from, to - from);
}

static size_t find_first(struct bytes text, const char *set)
{
    size_t i = 0;
    while (i < text.len && (text.ptr[i] == '\0' || strchr(set, text.ptr[i]) == NULL)) {
        i++;
    }
    return i;
}

/* Index of the last one; text.len when there is none. */
static size_t find_last(struct bytes text, char c)
{
    for (size_t i = text.len; i > 0; i--) {
        if (text.ptr[i - 1] == c) {
            return i - 1;
        }
    }
    return text.len;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool may_stand_in_login(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._:~!$&'()*+,;=%@", c) != NULL);
}

/* NULL when an escape is none, or stands for a NUL, which would end the text early. */
static char *decode(struct bytes text)
{
    char *out = mem_zalloc(text.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool good = may_stand_in_login(c);
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.ptr[i + 2]) : -1;
            good = high >= 0 && low >= 0 && high + low > 0;
            c = good ? (char)(high * 16 + low) : c;
            i += 2;
        }
        if (!good) {
            free(out);
            return NULL;
        }
        out[n++] = c;
    }
    return out;
}

/* Digits only, up to PORT_MAX; an empty text is no port. */
static bool take_port(struct bytes text, int *port)
{
    uint64_t number = 0;
    if (text.len > 0 && (!bytes_to_u64(text, &number) || number > PORT_MAX)) {
        return false;
    }
    *port = (int)number;
    return true;
}

/* A zone ("%eth0") may follow. */
static bool is_v6(struct bytes text)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr ignored;
    size_t len = find_first(text, "%");
    if (len >= sizeof address) {
        return false;
    }
    memcpy(address, text.ptr, len);
    address[len] = '\0';
    return inet_pton(AF_INET6, address, &ignored) == 1;
}

/* Splits "host", "host:port", "[v6]" or "[v6]:port". */
static bool split_host(struct bytes text, struct bytes *host, struct bytes *port)
{
    size_t end = text.len;
    *port = BYTES_NONE;
    if (text.len > 0 && text.ptr[0] == '[') {
        end = find_last(text, ']');
        if (end == text.len || !is_v6(part(text, 1, end))) {
            return false;
        }
        *host = part(text, 1, end);
        end++;
        if (end < text.len && text.ptr[end] != ':') {
            return false;
        }
    } else {
        end = find_last(text, ':');
        *host = part(text, 0, end);
    }
    if (end < text.len) {
        *port = part(text, end + 1, text.len);
    }
    return true;
}

static struct bytes without_scheme(struct bytes text)
{
    const char *colon = text.len < 3 ? NULL : memmem(text.ptr, text.len, "://", 3);
    return colon == NULL ? text : bytes_skip(text, (size_t)(colon - text.ptr) + 3);
}

enum err url_parse(struct bytes text, struct url *url)
{
    *url = (struct url){0};
    if (has_control(text)) {
        return ERR_INVALID;
    }
    struct bytes authority = without_scheme(text), host, port;
    authority.len = find_first(authority, "/?#");
    size_t sign = find_last(authority, '@');
    bool has_login = sign < authority.len;
    struct bytes login = part(authority, 0, has_login ? sign : 0);
    struct bytes rest = has_login ? bytes_skip(authority, sign + 1) : authority;
    if (!split_host(rest, &host, &port) || !take_port(port, &url->port) ||
        find_first(host, host.ptr == rest.ptr ? " %<>\"" : " <>\"") < host.len) {
        *url = (struct url){0};
        return ERR_INVALID;
    }
    size_t colon = find_first(login, ":");
    bool has_password = colon < login.len;
    if (has_login) {
        url->user = decode(part(login, 0, colon));
        url->password = has_password ? decode(bytes_skip(login, colon + 1)) : NULL;
    }
    url->host = mem_dup(host.ptr, host.len);
    char *zone = strstr(url->host, "%25");
    if (zone != NULL) {
        memmove(zone + 1, zone + 3, strlen(zone + 3) + 1);
    }
    if (has_login && (url->user == NULL || (has_password && url->password == NULL))) {
        url_deinit(url);
        return ERR_INVALID;
    }
    return OK;
}

void url_deinit(struct url *url)
{
    if (url->password != NULL) {
        explicit_bzero(url->password, strlen(url->password));
    }
    free(url->user);
    free(url->password);
    free(url->host);
    *url = (struct url){0};
}

void url_put_public(struct buffer *out, struct bytes text)
{
    struct bytes rest = without_scheme(text);
    size_t sign = find_last(rest, '@'); /* wherever it is: too much hidden is better */
    if (sign < rest.len) {
        buffer_append_bytes(out, part(text, 0, text.len - rest.len));
        rest = bytes_skip(rest, sign + 1);
        text = rest;
    }
    buffer_append_bytes(out, text);
}

enum err address_parse(struct bytes text, char **host, int *port)
{
    struct bytes name, number;
    bool bracket = text.len > 0 && text.ptr[0] == '[';
    *host = NULL;
    if (has_control(text) || !split_host(text, &name, &number) || number.ptr == NULL ||
        (!bracket && find_first(name, ":[]") < name.len)) {
        return ERR_INVALID;
    }
    if (bytes_is(number, "-1")) {
        *port = -1;
    } else if (number.len == 0 || !take_port(number, port)) {
        return ERR_INVALID;
    }
    *host = mem_dup(name.ptr, name.len);
    return OK;
}

struct address_text address_text(const char *host, int port)
{
    struct address_text a;
    (void)snprintf(a.text, sizeof a.text, strchr(host, ':') != NULL ? "[%.280s]:%d" : "%.280s:%d",
                   host, port);
    return a;
}
