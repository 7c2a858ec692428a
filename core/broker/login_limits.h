/* login_limits: how fast an address may guess.
 *
 * Ten failures a minute are free; then the attempts of that address are judged one after another,
 * with a gap that doubles up to a second, whatever the number of connections. An attempt that would
 * wait too long is not judged at all. An attempt counts as failed until it has succeeded, so
 * attempts that are under way at once count as well.
 *
 * Who is behind the same address and logs in all the time must not suffer: a user who has logged in
 * from the address has a count of its own there, which a success clears.
 *
 * Any thread. Of bounded size: of the addresses that fail, the oldest are forgotten first. */
#ifndef CORE_BROKER_LOGIN_LIMITS_H
#define CORE_BROKER_LOGIN_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/bytes.h"

#define LOGIN_FREE_FAILURES 10                    /* of one address; then there is a gap */
#define LOGIN_FORGIVEN_NS   (60 * 1000000000LL)   /* so long without an attempt */
#define LOGIN_KNOWN_NS      (3600 * 1000000000LL) /* a user who has logged in is known for so long */
#define LOGIN_GAP_MIN_NS    (20 * 1000000LL)
#define LOGIN_GAP_MAX_NS    1000000000LL
#define LOGIN_WAIT_MAX_NS   1500000000LL /* below the usual time-out of a log-in */

struct login_limits;

struct login_limits *login_limits_new(void);
void login_limits_free(struct login_limits *limits);

/* `user`: the name, or an nkey; empty for a token. How long the attempt has to wait before it is
 * judged, in ns; -1: it is not to be judged. Otherwise tell how it went: a failure that is not told
 * is one. `now`: monotonic. */
int64_t login_limits_begin(struct login_limits *limits, uint64_t address, struct bytes user,
                           int64_t now);
void login_limits_succeeded(struct login_limits *limits, uint64_t address, struct bytes user,
                            int64_t now);

#endif
