/* Message tracing is not supported, but a message that is only to be traced is none to be
 * delivered. Source: nats-server, msgtrace.go. */
#include "core/broker/broker_internal.h"

/* The first value of that name, as it is written; without blanks around it. */
static bool find(struct bytes header, struct bytes name, struct bytes *value)
{
    const char *end;
    while (header.len > 0 && (end = memchr(header.ptr, '\n', header.len)) != NULL) {
        struct bytes line = bytes_make(header.ptr, (size_t)(end - header.ptr));
        header = bytes_skip(header, line.len + 1);
        if (!bytes_starts(line, name) || line.len == name.len || line.ptr[name.len] != ':') {
            continue;
        }
        line = bytes_skip(line, name.len + 1);
        while (line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t')) {
            line = bytes_skip(line, 1);
        }
        while (line.len > 0 && strchr(" \t\r", line.ptr[line.len - 1]) != NULL) {
            line.len--;
        }
        *value = line;
        return line.len > 0;
    }
    return false;
}

bool message_is_trace_only(const struct message *m)
{
    struct bytes header = bytes_make(m->payload.ptr, m->header_len);
    struct bytes only, destination;
    return m->header_len > 0 && memmem(header.ptr, header.len, "Nats-Trace-Only", 15) != NULL &&
           find(header, BYTES_LIT("Nats-Trace-Only"), &only) &&
           (bytes_is(only, "1") || bytes_eq_nocase(only, BYTES_LIT("true")) ||
            bytes_eq_nocase(only, BYTES_LIT("on"))) &&
           find(header, BYTES_LIT("Nats-Trace-Dest"), &destination) &&
           !bytes_is(destination, "trace disabled");
}
