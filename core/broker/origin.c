#include "core/broker/origin.h"

/* What the server takes as an order to itself. Source: JetStream API reference §1, system events.
 */
static const struct {
    const char *root; /* and all that follows it */
    bool domain;      /* a token of any name is left out before `inner` */
    const char *inner;
    bool request; /* else a message without answer */
    bool event;   /* but the server says it itself */
} reserved[] = {
    {"$JS.API", false, NULL, true, false},  /* requests */
    {"$JS.", true, "API", true, false},     /* of a domain */
    {"$SYS", false, NULL, true, false},     /* of the system, and what it tells */
    {"$JS.ACK", false, NULL, false, false}, /* acknowledgements */
    {"$JS.FC", false, NULL, false, false},  /* flow control */
    {"$JS.SNAPSHOT", false, NULL, false, false}, {"$JS.EVENT", false, NULL, false, true},
    {"$JSC", false, NULL, false, false}, /* between servers */
    {"$NRG", false, NULL, false, false},
};

static bool is_root(struct bytes subject, struct bytes root)
{
    return bytes_starts(subject, root) && (subject.len == root.len || subject.ptr[root.len] == '.');
}

/* The row's number, or -1. */
static int find(struct bytes subject)
{
    if (LIKELY(subject.len == 0 || subject.ptr[0] != '$')) {
        return -1;
    }
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        struct bytes root = bytes_of(reserved[i].root);
        if (!reserved[i].domain) {
            if (is_root(subject, root)) {
                return (int)i;
            }
        } else if (bytes_starts(subject, root)) {
            struct bytes rest = bytes_skip(subject, root.len);
            struct bytes domain;
            if (bytes_token(&rest, '.', &domain) && is_root(rest, bytes_of(reserved[i].inner))) {
                return (int)i;
            }
        }
    }
    return -1;
}

bool origin_of_server_may_reach(enum origin origin, struct bytes subject)
{
    int row = find(subject);
    return row < 0 || (origin == ORIGIN_EVENT && reserved[row].event);
}

bool origin_is_request(struct bytes subject)
{
    int row = find(subject);
    return row >= 0 && reserved[row].request;
}
