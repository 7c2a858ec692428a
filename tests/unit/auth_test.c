#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/auth/auth.h"
#include "core/base/nkey.h"

/* seed SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y; made with the nkeys package */
#define USER_KEY "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
#define SIGNED   "AAAAAAAAAAAAAAA"
#define SIGNATURE                                                                                  \
    "ljSuXAM6Z7NCRNVQUG3B800nylDT2kIPIegiRv5HybFEJTY8-hASedZNYhshbVPoEtTR5uGmDg2x1MMKvuXxDg"

static struct options *configure(const char *text)
{
    struct error error;
    struct option_report report = {0};
    struct conf *conf = conf_parse("test.conf", bytes_of(text), &error);
    cr_assert_not_null(conf, "%s", error.message);
    struct options *o = options_new();
    cr_assert_eq(options_apply_conf(o, conf, &report), OK, "%.*s",
                 BYTES_ARG(buffer_bytes(&report.errors)));
    conf_free(conf);
    option_report_deinit(&report);
    return o;
}

/* Checks, and does the slow comparison at once when there is one. */
static const struct auth_user *log_in(const struct auth *auth, struct auth_credentials c,
                                      enum auth_result *result)
{
    const struct auth_user *user;
    struct auth_work *work;
    *result = auth_check(auth, &c, &user, &work);
    if (*result == AUTH_NEEDS_WORK) {
        cr_assert_null(user);
        user = auth_work_run(work) ? auth_work_user(auth, work) : NULL;
    }
    auth_work_free(work);
    return user;
}

Test(auth, users_permissions_and_bcrypt)
{
    struct options *o =
        configure("authorization { users = [\n"
                  "  {user: im_service, pass: s}\n"
                  "  {user: im_readonly, pass: "
                  "\"$2a$04$TCbvjCvD3BCY8gIBFqa9sO4dDJHYVFe6u6yy3j0rEMWvmS3AFpcCC\",\n"
                  "   permissions: { publish: \"_INBOX.>\", subscribe: { allow: \">\", "
                  "deny: \"secret.*\" } } }\n"
                  "] }\n");
    struct auth *auth = auth_new(o);
    enum auth_result result;
    cr_assert(auth_required(auth));
    cr_assert_not(auth_wants_nonce(auth));
    const struct auth_user *user = log_in(
        auth,
        (struct auth_credentials){.user = BYTES_LIT("im_service"), .password = BYTES_LIT("s")},
        &result);
    cr_assert_eq(result, AUTH_OK);
    cr_assert_null(user->permissions);
    cr_assert_null(log_in(
        auth,
        (struct auth_credentials){.user = BYTES_LIT("im_service"), .password = BYTES_LIT("x")},
        &result));
    cr_assert_eq(result, AUTH_REFUSED);
    cr_assert_null(log_in(auth, (struct auth_credentials){0}, &result));
    cr_assert_eq(result, AUTH_REFUSED);
    cr_assert_null(log_in(
        auth,
        (struct auth_credentials){.user = BYTES_LIT("im_readonly"), .password = BYTES_LIT("no")},
        &result));
    cr_assert_eq(result, AUTH_NEEDS_WORK);
    /* an unknown user takes the same time as a wrong password */
    cr_assert_null(log_in(
        auth, (struct auth_credentials){.user = BYTES_LIT("nobody"), .password = BYTES_LIT("r")},
        &result));
    cr_assert_eq(result, AUTH_NEEDS_WORK);
    const struct permissions *p = &o->accounts[0].users[1].permissions;
    cr_assert(permissions_publish(p, BYTES_LIT("_INBOX.x.y")));
    cr_assert_not(permissions_publish(p, BYTES_LIT("foo")));
    cr_assert(permissions_subscribe(p, BYTES_LIT("foo.>"), BYTES_NONE));
    cr_assert_not(permissions_subscribe(p, BYTES_LIT("secret.a"), BYTES_NONE));
    cr_assert_not(permissions_deliver(p, BYTES_LIT("secret.a"), BYTES_NONE));
    auth_free(auth);
    options_free(o);
}

Test(auth, an_nkey_user_signs_the_nonce_of_this_connection)
{
    struct options *o = configure("authorization { users = [ { nkey: " USER_KEY " } ] }\n");
    struct auth *auth = auth_new(o);
    enum auth_result result;
    struct auth_credentials c = {.nkey = BYTES_LIT(USER_KEY),
                                 .signature = BYTES_LIT(SIGNATURE),
                                 .nonce = BYTES_LIT(SIGNED),
                                 .type = CONNECTION_STANDARD};
    cr_assert(auth_wants_nonce(auth));
    cr_assert_not_null(log_in(auth, c, &result));
    c.nonce = BYTES_LIT("BAAAAAAAAAAAAAA"); /* another connection's signature */
    cr_assert_null(log_in(auth, c, &result));
    c.nonce = BYTES_NONE;
    cr_assert_null(log_in(auth, c, &result));
    c = (struct auth_credentials){.user = BYTES_LIT(USER_KEY)}; /* not a name with a password */
    cr_assert_null(log_in(auth, c, &result));
    cr_assert_eq(result, AUTH_REFUSED);
    auth_free(auth);
    options_free(o);
}

Test(auth, only_the_listed_types_of_connection_may_be_used)
{
    struct options *o = configure("authorization { users = [\n"
                                  " { user: a, pass: b, allowed_connection_types: [websocket, "
                                  "MQTT] } ] }\n");
    struct auth *auth = auth_new(o);
    enum auth_result result;
    struct auth_credentials c = {.user = BYTES_LIT("a"), .password = BYTES_LIT("b")};
    c.type = CONNECTION_STANDARD;
    cr_assert_null(log_in(auth, c, &result));
    c.type = CONNECTION_MQTT;
    cr_assert_not_null(log_in(auth, c, &result));
    auth_free(auth);
    options_free(o);
}

Test(auth, a_reload_keeps_who_has_the_same_secret_and_account)
{
    struct options *before = configure("accounts { A { users = [ {user: a, pass: 1x}, {user: b, "
                                       "pass: y}, {user: c, pass: z} ] } }\n");
    struct options *after =
        configure("accounts { A { users = [ {user: a, pass: 1x}, {user: b, pass: "
                  "other} ] }, B { users = [ {user: c, pass: z} ] } }\n");
    struct auth *old = auth_new(before), *now = auth_new(after);
    static const char *const names[] = {"a", "b", "c"};
    static const char *const secrets[] = {"1x", "y", "z"};
    for (int i = 0; i < 3; i++) {
        enum auth_result result;
        const struct auth_user *user = log_in(
            old,
            (struct auth_credentials){.user = bytes_of(names[i]), .password = bytes_of(secrets[i])},
            &result);
        cr_assert_not_null(user);
        cr_assert_eq(auth_renew(now, user) != NULL, i == 0, "%s", names[i]);
    }
    auth_free(old);
    auth_free(now);
    options_free(before);
    options_free(after);
}

Test(auth, allow_responses_closes_publishing_and_names_its_limits)
{
    struct options *o = configure(
        "authorization { users = [\n"
        " { user: a, pass: b, permissions: { subscribe: req, allow_responses: true } }\n"
        " { user: b, pass: b, permissions: { allow_responses: { max: -1, expires: \"1s\" } } }\n"
        " { user: c, pass: b, permissions: { publish: x } } ] }\n");
    const struct user_options *users = o->accounts[0].users;
    int64_t max, expires;
    cr_assert_not(permissions_publish(&users[0].permissions, BYTES_LIT("x")));
    cr_assert(permissions_responses(&users[0].permissions, &max, &expires));
    cr_assert_eq(max, 1);
    cr_assert_eq(expires, INT64_C(120000000000));
    cr_assert(permissions_responses(&users[1].permissions, &max, &expires));
    cr_assert_eq(max, -1);
    cr_assert_eq(expires, INT64_C(1000000000));
    cr_assert_not(permissions_responses(&users[2].permissions, &max, &expires));
    options_free(o);
}

Test(auth, comparing_does_not_depend_on_what_is_compared)
{
    cr_assert(auth_equal(BYTES_LIT("abc"), BYTES_LIT("abc")));
    cr_assert_not(auth_equal(BYTES_LIT("abc"), BYTES_LIT("abd")));
    cr_assert_not(auth_equal(BYTES_LIT("abc"), BYTES_LIT("abcabc")));
    cr_assert_not(auth_equal(BYTES_LIT("abc"), BYTES_NONE));
}

Test(nkey, text_form_round_trips_and_every_damage_is_seen)
{
    uint8_t key[32];
    char text[NKEY_TEXT_MAX];
    cr_assert(nkey_decode(BYTES_LIT(USER_KEY), NKEY_USER, key));
    nkey_encode(NKEY_USER, key, text);
    cr_assert_str_eq(text, USER_KEY);
    cr_assert_not(nkey_decode(BYTES_LIT(USER_KEY), NKEY_ACCOUNT, key));
    for (size_t len = 0; len < NKEY_TEXT_MAX - 1; len++) {
        cr_assert_not(nkey_decode(bytes_make(USER_KEY, len), NKEY_USER, key));
    }
    for (int i = 0; i < NKEY_TEXT_MAX - 1; i++) {
        memcpy(text, USER_KEY, sizeof text);
        text[i] = text[i] == 'A' ? 'B' : 'A';
        cr_assert_not(nkey_decode(bytes_of(text), NKEY_USER, key));
        text[i] = 'a'; /* lower case is no base32 */
        cr_assert_not(nkey_decode(bytes_of(text), NKEY_USER, key));
    }
    nkey_new_server(text);
    cr_assert(nkey_decode(bytes_of(text), NKEY_SERVER, key));
}

Test(nkey, signatures_of_any_length_are_judged)
{
    uint8_t key[32];
    cr_assert(nkey_decode(BYTES_LIT(USER_KEY), NKEY_USER, key));
    cr_assert(nkey_verify(key, BYTES_LIT(SIGNED), BYTES_LIT(SIGNATURE)));
    cr_assert(nkey_verify(key, BYTES_LIT(SIGNED), BYTES_LIT(SIGNATURE "==")));
    for (size_t len = 0; len < sizeof SIGNATURE - 1; len++) {
        cr_assert_not(nkey_verify(key, BYTES_LIT(SIGNED), bytes_make(SIGNATURE, len)));
    }
}
