/* door: what becomes of a client that says nothing about who it is.
 *
 * The one place that infers from a configuration whether logging in is wanted at all. */
#ifndef CORE_AUTH_DOOR_H
#define CORE_AUTH_DOOR_H

#include "core/config/options.h"

enum auth_door {
    AUTH_DOOR_OPEN,   /* nobody is asked: everybody is in $G, whatever it says */
    AUTH_DOOR_GLOBAL, /* who gives credentials is judged by them; who gives none is in $G */
    AUTH_DOOR_USER,   /* the same; who gives none is no_auth_user */
    AUTH_DOOR_SHUT    /* nobody without credentials */
};

/* The rows, each as nats-server 2.15 answers; the first that fits counts. "Credentials" are users
 * of any account, a single user or a token.
 *
 *   operator, auth_callout                                             SHUT
 *   no_auth_user                                                       USER
 *   the system account is the only one beside $G, it is configured,
 *   and there is neither an authorization block nor a single
 *   user or token                                                      GLOBAL
 *   credentials                                                        SHUT
 *   else                                                               OPEN */
enum auth_door auth_door_of(const struct options *options);

#endif
