/* auth: who may connect, and what a connected user may publish and subscribe.
 *
 * Built once from the options, read-only afterwards, shared by all loops. */
#ifndef CORE_AUTH_AUTH_H
#define CORE_AUTH_AUTH_H

#include "core/base/bytes.h"
#include "core/config/options.h"

struct permissions;
struct auth;

struct auth_user {
    const char *name;
    const char *account;                   /* name of the account this user belongs to */
    const struct permissions *permissions; /* NULL: everything is allowed */
    const char *password;                  /* plain or bcrypt; never printed */
};

/* What CONNECT carries. */
struct auth_credentials {
    struct bytes user, password, token;
};

enum auth_result { AUTH_OK, AUTH_REFUSED, AUTH_NEEDS_BCRYPT };

/* Borrows `options`. */
struct auth *auth_new(const struct options *options);
void auth_free(struct auth *auth);
/* False when anyone may connect (and is bound to $G). */
bool auth_required(const struct auth *auth);
/* False when a connection without credentials has a user to be bound to. */
bool auth_info_required(const struct auth *auth);
/* *user is NULL for connections that are bound to $G without a user. AUTH_NEEDS_BCRYPT: the
 * password must be compared by auth_check_bcrypt() in the work pool, because that takes
 * milliseconds. */
enum auth_result auth_check(const struct auth *auth, const struct auth_credentials *credentials,
                            const struct auth_user **user);
/* Blocking. `user` as auth_check() gave it; NULL compares with a dummy, for equal time. */
bool auth_check_bcrypt(const char *hash, struct bytes password);
/* Equal length and content, in time that depends on the lengths only. */
bool auth_equal(struct bytes a, struct bytes b);

/* NULL permissions allow everything. NATS client protocol, §8. */
bool permissions_publish(const struct permissions *p, struct bytes subject);
bool permissions_subscribe(const struct permissions *p, struct bytes subject, struct bytes queue);
/* May a message on this literal subject be delivered? A subscription broader than a deny entry is
 * accepted and filtered here; plain and queue deny entries form one union. */
bool permissions_deliver(const struct permissions *p, struct bytes subject, struct bytes queue);
/* False when permissions_deliver() is always true, so that the message path can skip it. */
bool permissions_filter(const struct permissions *p);

#endif
