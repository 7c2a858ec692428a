#include "core/auth/door.h"

#include <string.h>

static bool has_users(const struct options *o)
{
    bool any = false;
    for (uint32_t i = 0; i < o->account_count; i++) {
        any = any || o->accounts[i].user_count > 0;
    }
    return any;
}

/* $G, which is always there, and the system account. */
static bool only_system_accounts(const struct options *o)
{
    return o->account_count == 2 && o->system_account != NULL &&
           strcmp(o->accounts[1].name, o->system_account) == 0;
}

enum auth_door auth_door_of(const struct options *o)
{
    bool single = o->user != NULL || o->token != NULL;
    if (o->operator_mode || o->auth_callout) {
        return AUTH_DOOR_SHUT;
    }
    if (o->no_auth_user != NULL) {
        return AUTH_DOOR_USER;
    }
    if (only_system_accounts(o) && !o->authorization_block && !single) {
        return AUTH_DOOR_GLOBAL;
    }
    return single || has_users(o) ? AUTH_DOOR_SHUT : AUTH_DOOR_OPEN;
}
