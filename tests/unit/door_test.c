#include <criterion/criterion.h>

#include "core/auth/auth.h"
#include "core/auth/door.h"

#define SYSTEM     "accounts { $SYS { users: [ {user: s, pass: s} ] } }\n"
#define OWN_SYSTEM "system_account: S, accounts { S { users: [ {user: s, pass: s} ] } }\n"
#define WITH_A     "accounts { $SYS { users: [ {user: s, pass: s} ] }, "
#define USER       "authorization { users: [ {user: u, pass: p} ] }\n"

/* nats-server 2.15.2's answers: what becomes of a client without credentials, auth_required of its
 * INFO. A row is what was asked of it; tests/integration/test_auth.py asks again. */
static const struct {
    const char *conf;
    enum auth_door door;
    bool info;
} rows[] = {
    {"", AUTH_DOOR_OPEN, false},
    {"authorization {}", AUTH_DOOR_OPEN, false},
    {"authorization { timeout: 2 }", AUTH_DOOR_OPEN, false},
    {"authorization { users: [] }", AUTH_DOOR_OPEN, false},
    {"authorization { default_permissions: { publish: a } }", AUTH_DOOR_OPEN, false},
    {"authorization { pass: p }", AUTH_DOOR_OPEN, false},
    {"authorization { token: \"\" }", AUTH_DOOR_OPEN, false},
    {"authorization { user: \"\", pass: p }", AUTH_DOOR_OPEN, false},
    {"authorization { user: u, pass: p }", AUTH_DOOR_SHUT, true},
    {"authorization { user: u }", AUTH_DOOR_SHUT, true},
    {"authorization { token: t }", AUTH_DOOR_SHUT, true},
    {USER, AUTH_DOOR_SHUT, true},
    {USER "no_auth_user: u", AUTH_DOOR_USER, false},
    {"accounts { A {} }", AUTH_DOOR_OPEN, false},
    {"accounts { A { users: [] } }", AUTH_DOOR_OPEN, false},
    {"accounts: [ A ]", AUTH_DOOR_OPEN, false},
    {"accounts { A { users: [ {user: a, pass: a} ] } }", AUTH_DOOR_SHUT, true},
    {"accounts { A { users: [ {user: a, pass: a} ] } }\nauthorization {}", AUTH_DOOR_SHUT, true},
    {"accounts { A { users: [ {user: a, pass: a} ] } }\nno_auth_user: a", AUTH_DOOR_USER, false},
    {SYSTEM, AUTH_DOOR_GLOBAL, true},
    {"accounts { $SYS {} }", AUTH_DOOR_GLOBAL, true},
    {"accounts { $SYS { users: [] } }", AUTH_DOOR_GLOBAL, true},
    {SYSTEM "authorization {}", AUTH_DOOR_SHUT, true},
    {SYSTEM "authorization { timeout: 2 }", AUTH_DOOR_SHUT, true},
    {SYSTEM "authorization { users: [] }", AUTH_DOOR_SHUT, true},
    {SYSTEM "authorization { default_permissions: { publish: a } }", AUTH_DOOR_SHUT, true},
    {SYSTEM "authorization { proxy_required: true }", AUTH_DOOR_SHUT, true},
    {SYSTEM USER, AUTH_DOOR_SHUT, true},
    {SYSTEM USER "no_auth_user: u", AUTH_DOOR_USER, false},
    {SYSTEM "no_auth_user: s", AUTH_DOOR_USER, false},
    {WITH_A "A {} }", AUTH_DOOR_SHUT, true},
    {WITH_A "A { users: [] } }", AUTH_DOOR_SHUT, true},
    {WITH_A "A { users: [ {user: a, pass: a} ] } }", AUTH_DOOR_SHUT, true},
    {WITH_A "A { users: [ {user: a, pass: a} ] } }\nno_auth_user: a", AUTH_DOOR_USER, false},
    {WITH_A "S {} }\nsystem_account: S", AUTH_DOOR_SHUT, true},
    {"accounts { $SYS {} }\nauthorization {}", AUTH_DOOR_OPEN, false},
    {"accounts { $SYS {} }\nauthorization { user: u, pass: p }", AUTH_DOOR_SHUT, true},
    {"accounts { $SYS {} }\nauthorization { token: t }", AUTH_DOOR_SHUT, true},
    {"accounts { $SYS {} }\n" USER, AUTH_DOOR_SHUT, true},
    {"accounts { $SYS {}, A {} }", AUTH_DOOR_OPEN, false},
    {OWN_SYSTEM, AUTH_DOOR_GLOBAL, true},
    {OWN_SYSTEM "authorization {}", AUTH_DOOR_SHUT, true},
    {OWN_SYSTEM "authorization { timeout: 3 }", AUTH_DOOR_SHUT, true},
    {"system_account: S, accounts { S {} }", AUTH_DOOR_GLOBAL, true},
    {"system_account: S, accounts { S {}, A {} }", AUTH_DOOR_OPEN, false},
    {"system_account: S, accounts { S { users: [ {user: s, pass: s} ] }, A {} }", AUTH_DOOR_SHUT,
     true},
    {"system_account: S, accounts { S { users: [ {user: s, pass: s} ] }, $SYS {} }", AUTH_DOOR_SHUT,
     true},
};

static struct options *configure(const char *text)
{
    struct error error;
    struct option_report report = {0};
    struct conf *conf = conf_parse("test.conf", bytes_of(text), &error);
    cr_assert_not_null(conf, "%s: %s", text, error.message);
    struct options *o = options_new();
    cr_assert_eq(options_apply_conf(o, conf, &report), OK, "%s: %.*s", text,
                 BYTES_ARG(buffer_bytes(&report.errors)));
    cr_assert_eq(options_finish(o, &error), OK, "%s: %s", text, error.message);
    conf_free(conf);
    option_report_deinit(&report);
    return o;
}

static enum auth_result say(const struct auth *auth, const char *name,
                            const struct auth_user **user)
{
    struct auth_work *work;
    struct auth_credentials c = {
        .user = bytes_of(name), .password = bytes_of(name), .type = CONNECTION_STANDARD};
    enum auth_result result = auth_check(auth, &c, user, &work);
    auth_work_free(work);
    return result;
}

Test(door, each_configuration_lets_in_whom_nats_server_lets_in)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct options *o = configure(rows[i].conf);
        struct auth *auth = auth_new(o);
        const struct auth_user *user;
        bool open = rows[i].door == AUTH_DOOR_OPEN, shut = rows[i].door == AUTH_DOOR_SHUT;
        cr_assert_eq(auth_door_of(o), rows[i].door, "%s", rows[i].conf);
        cr_assert_eq(auth_info_required(auth), rows[i].info, "%s", rows[i].conf);
        cr_assert_eq(auth_required(auth), !open, "%s", rows[i].conf);
        cr_assert_eq(say(auth, "", &user), shut ? AUTH_REFUSED : AUTH_OK, "%s", rows[i].conf);
        cr_assert(rows[i].door != AUTH_DOOR_GLOBAL || strcmp(user->account, "$G") == 0);
        cr_assert_eq(say(auth, "nobody", &user), open ? AUTH_OK : AUTH_REFUSED, "%s", rows[i].conf);
        auth_free(auth);
        options_free(o);
    }
}

Test(door, what_is_not_there_yet_keeps_it_shut)
{
    struct options *o = configure("operator: x\n");
    cr_assert_eq(auth_door_of(o), AUTH_DOOR_SHUT);
    options_free(o);
    o = configure("authorization { auth_callout { auth_users: [u], issuer: "
                  "AAB35RZ7HJSICG7D4IGPYO3CTQPWWGULJXZYD45QAWUKTXJYDI6EO7MV } }\n");
    cr_assert_eq(auth_door_of(o), AUTH_DOOR_SHUT);
    options_free(o);
}

Test(door, a_system_account_that_is_not_there_is_refused)
{
    struct error error;
    struct options *o = options_new();
    option_set(&o->system_account, "S");
    cr_assert_eq(options_finish(o, &error), ERR_INVALID);
    cr_assert_str_eq(error.message, "error resolving system account: account missing");
    options_free(o);
}
