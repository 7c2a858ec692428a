#include <criterion/criterion.h>

#include "core/broker/origin.h"

Test(origin, only_clients_reach_what_the_server_acts_upon)
{
    static const struct {
        const char *subject;
        bool reply, event, request; /* may a reply, an event go there; is it a request */
    } cases[] = {{"$JS.API.INFO", false, false, true},
                 {"$JS.API", false, false, true},
                 {"$JS.API.STREAM.PURGE.ORDERS", false, false, true},
                 {"$JS.hub.API.STREAM.DELETE.ORDERS", false, false, true},
                 {"$JS.hub.API", false, false, true},
                 {"$SYS.REQ.SERVER.PING", false, false, true},
                 {"$SYS", false, false, true},
                 {"$JS.ACK.S.C.1.1.1.1.0", false, false, false},
                 {"$JS.FC.S.C.abc", false, false, false},
                 {"$JS.SNAPSHOT.RESTORE.S.x", false, false, false},
                 {"$JSC.R.x", false, false, false},
                 {"$NRG.V.x", false, false, false},
                 {"$JS.EVENT.ADVISORY.STREAM.CREATED.S", false, true, false},
                 {"$JS.APIs", true, true, false},
                 {"$JS.M.x", true, true, false},
                 {"$JS.hub.APIs.x", true, true, false},
                 {"$JS.", true, true, false},
                 {"$KV.b.k", true, true, false},
                 {"$SYSTEM", true, true, false},
                 {"_INBOX.x", true, true, false},
                 {"_R_.abcdef.ghijkl", true, true, false},
                 {"js.API.INFO", true, true, false},
                 {"", true, true, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes s = bytes_of(cases[i].subject);
        cr_expect(origin_may_reach(ORIGIN_CLIENT, s), "client, %s", cases[i].subject);
        cr_expect_eq(origin_may_reach(ORIGIN_REPLY, s), cases[i].reply, "%s", cases[i].subject);
        cr_expect_eq(origin_may_reach(ORIGIN_EVENT, s), cases[i].event, "%s", cases[i].subject);
        cr_expect_eq(origin_is_request(s), cases[i].request, "%s", cases[i].subject);
    }
    cr_expect_not(origin_is_request(BYTES_NONE));
}
