/* auth: who may connect.
 *
 * Built from the options, read-only afterwards, shared by all loops; a reload builds another one.
 * JWT and auth callout have their place in auth_check(): both end in a user like the others. */
#ifndef CORE_AUTH_AUTH_H
#define CORE_AUTH_AUTH_H

#include "core/auth/permissions.h"
#include "core/base/bytes.h"
#include "core/config/options.h"

struct auth;

struct auth_user {
    const char *name;                      /* an nkey user's public key; "" for a token */
    const char *account;                   /* name of the account this user belongs to */
    const struct permissions *permissions; /* NULL: everything is allowed */
    const char *password;                  /* plain or bcrypt; NULL for nkeys; never printed */
    uint32_t connection_types;             /* of enum connection_type; 0: any */
    bool barred; /* may log in only in ways that are not there yet: by a proxy, by auth callout */
};

/* What CONNECT carries, and what it is judged against. All borrowed. */
struct auth_credentials {
    struct bytes user, password, token;
    struct bytes nkey, signature;
    struct bytes nonce;       /* as this connection's INFO had it */
    struct bytes mapped_user; /* auth_maps_certificates(): whom the client's certificate names,
                               * maybe nobody; else ptr NULL */
    enum connection_type type;
};

/* A comparison that takes milliseconds, with all its inputs. */
struct auth_work;

enum auth_result { AUTH_OK, AUTH_REFUSED, AUTH_NEEDS_WORK };

/* Borrows `options`. */
struct auth *auth_new(const struct options *options);
void auth_free(struct auth *auth);
/* False when anyone may connect (and is bound to $G). */
bool auth_required(const struct auth *auth);
/* What INFO says: false also when there is a no_auth_user. */
bool auth_info_required(const struct auth *auth);
/* Must credentials have `mapped_user`? */
bool auth_maps_certificates(const struct auth *auth);
/* True when INFO must carry a nonce to be signed. */
bool auth_wants_nonce(const struct auth *auth);
/* *user is NULL for connections that are bound to $G without a user.
 * AUTH_NEEDS_WORK: *work is the caller's, for auth_work_run() in the work pool; *user is not set.
 * An unknown user costs as much as a wrong password. */
enum auth_result auth_check(const struct auth *auth, const struct auth_credentials *credentials,
                            const struct auth_user **user, struct auth_work **work);
/* verify_and_map: the name of the user that a certificate with these names belongs to; NULL when it
 * is nobody's. Alternative names are tried in their order, then the subject: as it is, with its
 * RDNs in any order. */
const char *auth_user_of_certificate(const struct auth *auth, const struct text_list *alternative,
                                     const char *subject);
/* The same for one user alone, which may be NULL (nobody). */
bool auth_certificate_names(const char *user, const struct text_list *alternative,
                            const char *subject);
/* Blocking, any thread. True when the secret is right. */
bool auth_work_run(const struct auth_work *work);
/* A signature: 0.1 ms; else bcrypt, 50 ms and more. */
bool auth_work_is_quick(const struct auth_work *work);
/* The user whose secret was verified, as `auth`, which may be newer, knows it; NULL when it does
 * not any more. */
const struct auth_user *auth_work_user(const struct auth *auth, const struct auth_work *work);
/* The name that was claimed, for the log. */
const char *auth_work_name(const struct auth_work *work);
void auth_work_free(struct auth_work *work);
/* `before`, who is logged in, as `auth` knows it; NULL when name, secret or account are not the
 * same there. */
const struct auth_user *auth_renew(const struct auth *auth, const struct auth_user *before);
/* One user alone, as servers have among each other: `password` may be NULL (none) or bcrypt, which
 * blocks for as long as it takes. */
bool auth_matches(const char *user, const char *password, const char *given_user,
                  const char *given_password);
/* Does comparing with it take milliseconds (bcrypt)? NULL: no. */
bool auth_is_slow(const char *password);
/* Equal length and content, in time that depends on the lengths only. */
bool auth_equal(struct bytes a, struct bytes b);

#endif
