#include "core/auth/auth.h"

#include <crypt.h>
#include <stdlib.h>

#include "core/auth/dn.h"
#include "core/auth/door.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/nkey.h"

struct auth {
    const struct options *options; /* borrowed */
    struct map users;              /* name or nkey → struct auth_user, owned */
    const struct auth_user *no_auth_user;
    struct auth_user single; /* of authorization { user, password } or { token } */
    enum auth_door door;
    bool any_nkey, any_named, any_bcrypt;
};

enum work_kind { WORK_BCRYPT, WORK_NKEY };

struct auth_work {
    enum work_kind kind;
    bool single;  /* the user is auth->single */
    char *name;   /* owned, like the rest; NULL: nobody's, run for the time it takes */
    char *secret; /* bcrypt hash; NULL for nkeys */
    char *given;  /* password or signature */
    size_t given_len;
    char *nonce;
    size_t nonce_len;
    uint8_t key[32];
};

static bool is_bcrypt(const char *password)
{
    return password[0] == '$' && password[1] == '2' && password[2] != '\0' &&
           strchr("abxy", password[2]) != NULL && password[3] == '$';
}

static bool barred(const struct options *o, const char *name)
{
    return o->proxy_required ||
           (o->auth_callout && !text_list_has(&o->callout_users, bytes_of(name)));
}

static void add_user(struct auth *auth, const struct account_options *account,
                     const struct user_options *u)
{
    const struct permissions *rules =
        u->permissions.set ? &u->permissions : &account->default_permissions;
    struct auth_user *user = NEW(struct auth_user);
    *user = (struct auth_user){
        u->user,     account->name,       rules->set ? rules : NULL,
        u->password, u->connection_types, u->proxy_required || barred(auth->options, u->user)};
    free(map_put(&auth->users, bytes_of(u->user), user));
    auth->any_nkey = auth->any_nkey || u->nkey;
    auth->any_named = auth->any_named || !u->nkey;
    auth->any_bcrypt = auth->any_bcrypt || (!u->nkey && is_bcrypt(u->password));
}

struct auth *auth_new(const struct options *options)
{
    struct auth *auth = NEW(struct auth);
    auth->options = options;
    for (uint32_t a = 0; a < options->account_count; a++) {
        const struct account_options *account = &options->accounts[a];
        for (uint32_t i = 0; i < account->user_count; i++) {
            add_user(auth, account, &account->users[i]);
        }
    }
    const char *secret = options->token != NULL ? options->token : options->password;
    auth->single = (struct auth_user){.name = options->user == NULL ? "" : options->user,
                                      .account = "$G",
                                      .password = secret == NULL ? "" : secret};
    auth->single.barred = barred(options, auth->single.name);
    auth->any_bcrypt = auth->any_bcrypt || is_bcrypt(auth->single.password);
    static const struct auth_user global = {.name = "", .account = "$G", .password = ""};
    auth->door = auth_door_of(options);
    if (auth->door == AUTH_DOOR_USER) {
        auth->no_auth_user = map_get(&auth->users, bytes_of(options->no_auth_user));
    } else if (auth->door == AUTH_DOOR_GLOBAL) {
        auth->no_auth_user = &global;
    }
    return auth;
}

void auth_free(struct auth *auth)
{
    if (auth == NULL) {
        return;
    }
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&auth->users, &i)) != NULL;) {
        free(e->value);
    }
    map_deinit(&auth->users);
    free(auth);
}

bool auth_required(const struct auth *auth)
{
    return auth->door != AUTH_DOOR_OPEN;
}

bool auth_info_required(const struct auth *auth)
{
    return auth->door == AUTH_DOOR_GLOBAL || auth->door == AUTH_DOOR_SHUT;
}

bool auth_maps_certificates(const struct auth *auth)
{
    return auth->any_named && auth->options->tls.verify_and_map;
}

bool auth_wants_nonce(const struct auth *auth)
{
    return auth->any_nkey || auth->options->operator_mode;
}

bool auth_equal(struct bytes a, struct bytes b)
{
    unsigned char difference = a.len != b.len;
    for (size_t i = 0; i < a.len; i++) {
        unsigned char other = b.len == 0 ? 0 : (unsigned char)b.ptr[i % b.len];
        difference |= (unsigned char)a.ptr[i] ^ other;
    }
    return difference == 0;
}

/* --- work --- */

static struct auth_work *work_new(enum work_kind kind, const struct auth_user *user, bool single,
                                  struct bytes given, struct bytes nonce)
{
    struct auth_work *w = NEW(struct auth_work);
    w->kind = kind;
    w->single = single;
    w->name = user == NULL ? NULL : mem_strdup(user->name);
    w->secret = user == NULL || user->password == NULL ? NULL : mem_strdup(user->password);
    w->given = mem_dup(given.ptr, given.len);
    w->given_len = given.len;
    w->nonce = mem_dup(nonce.ptr, nonce.len);
    w->nonce_len = nonce.len;
    return w;
}

static bool check_bcrypt(const char *hash, const char *password)
{
    static const char dummy[] = "$2a$11$abcdefghijklmnopqrstuuwdVBGiCHVOPFxKmIvNYHKgDlVnWuTSm";
    struct crypt_data *data = NEW(struct crypt_data);
    const char *result = crypt_r(password, hash == NULL ? dummy : hash, data);
    bool equal = hash != NULL && result != NULL && auth_equal(bytes_of(result), bytes_of(hash));
    explicit_bzero(data, sizeof *data);
    free(data);
    return equal;
}

bool auth_work_run(const struct auth_work *w)
{
    return w->kind == WORK_BCRYPT ? check_bcrypt(w->secret, w->given)
                                  : nkey_verify(w->key, bytes_make(w->nonce, w->nonce_len),
                                                bytes_make(w->given, w->given_len));
}

bool auth_work_is_quick(const struct auth_work *w)
{
    return w->kind == WORK_NKEY;
}

static bool same_secret(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || auth_equal(bytes_of(a), bytes_of(b)));
}

const struct auth_user *auth_work_user(const struct auth *auth, const struct auth_work *w)
{
    if (w->name == NULL) {
        return NULL;
    }
    const struct auth_user *user =
        w->single ? &auth->single : map_get(&auth->users, bytes_of(w->name));
    return user != NULL && same_secret(user->password, w->secret) ? user : NULL;
}

const char *auth_work_name(const struct auth_work *w)
{
    return w->name == NULL ? "" : w->name;
}

void auth_work_free(struct auth_work *w)
{
    if (w == NULL) {
        return;
    }
    explicit_bzero(w->given, w->given_len);
    free(w->given);
    free(w->nonce);
    free(w->name);
    mem_free_secret(w->secret);
    free(w);
}

/* --- credentials --- */

static bool may_come(const struct auth_user *user, enum connection_type type)
{
    return !user->barred && (user->connection_types == 0 || (user->connection_types & type) != 0);
}

/* `user` may be NULL: then the answer is no, after the usual time. */
static enum auth_result compare(const struct auth *auth, const struct auth_user *user,
                                struct bytes given, struct auth_work **work)
{
    bool single = user == &auth->single;
    if (single && user->barred) {
        user = NULL;
    }
    if (user == NULL ? auth->any_bcrypt : is_bcrypt(user->password)) {
        *work = work_new(WORK_BCRYPT, user, single, given, BYTES_NONE);
        return AUTH_NEEDS_WORK;
    }
    return user != NULL && auth_equal(bytes_of(user->password), given) ? AUTH_OK : AUTH_REFUSED;
}

static enum auth_result check_nkey(const struct auth *auth, const struct auth_credentials *c,
                                   struct auth_work **work)
{
    const struct auth_user *user = map_get(&auth->users, c->nkey);
    uint8_t key[32];
    if (user == NULL || user->password != NULL || !may_come(user, c->type) || c->nonce.len == 0 ||
        !nkey_decode(c->nkey, NKEY_USER, key)) {
        return AUTH_REFUSED;
    }
    *work = work_new(WORK_NKEY, user, false, c->signature, c->nonce);
    memcpy((*work)->key, key, sizeof key);
    return AUTH_NEEDS_WORK;
}

static bool gives_nothing(const struct auth_credentials *c)
{
    return c->user.len == 0 && c->token.len == 0 && c->password.len == 0 && c->nkey.len == 0;
}

enum auth_result auth_check(const struct auth *auth, const struct auth_credentials *c,
                            const struct auth_user **user, struct auth_work **work)
{
    *user = NULL;
    *work = NULL;
    if (auth->door == AUTH_DOOR_OPEN) {
        return AUTH_OK;
    }
    if (auth->options->operator_mode) {
        return AUTH_REFUSED; /* until JWTs are read: nobody can prove who it is */
    }
    if (c->nkey.len > 0 && auth->any_nkey) {
        return check_nkey(auth, c, work);
    }
    if (c->mapped_user.ptr != NULL) { /* whatever name was given; its password still counts */
        const struct auth_user *mapped = map_get(&auth->users, c->mapped_user);
        if (mapped == NULL || mapped->password == NULL || !may_come(mapped, c->type)) {
            return AUTH_REFUSED;
        }
        enum auth_result result = compare(auth, mapped, c->password, work);
        *user = result == AUTH_OK ? mapped : NULL;
        return result;
    }
    if (gives_nothing(c) && auth->no_auth_user != NULL) {
        *user = auth->no_auth_user;
        return may_come(*user, c->type) ? AUTH_OK : AUTH_REFUSED;
    }
    if (gives_nothing(c)) {
        return AUTH_REFUSED;
    }
    const struct options *o = auth->options;
    struct bytes given = c->password;
    const struct auth_user *known = c->user.len == 0 ? NULL : map_get(&auth->users, c->user);
    if (known != NULL && (known->password == NULL || !may_come(known, c->type))) {
        known = NULL;
    }
    if (known == NULL && o->token != NULL) {
        /* Some libraries send a token as a user name without password. */
        known = &auth->single;
        given = c->token.len > 0 ? c->token : c->user;
    } else if (known == NULL && o->user != NULL && auth_equal(bytes_of(o->user), c->user)) {
        known = &auth->single;
    }
    enum auth_result result = compare(auth, known, given, work);
    *user = result == AUTH_OK ? known : NULL;
    return result;
}

const struct auth_user *auth_renew(const struct auth *auth, const struct auth_user *before)
{
    const struct options *o = auth->options;
    const struct auth_user *now = map_get(&auth->users, bytes_of(before->name));
    bool single = o->token != NULL ? before->name[0] == '\0'
                                   : o->user != NULL && strcmp(o->user, before->name) == 0;
    if (now == NULL && single) {
        now = &auth->single;
    }
    return now != NULL && !now->barred && same_secret(now->password, before->password) &&
                   strcmp(now->account, before->account) == 0
               ? now
               : NULL;
}

const char *auth_user_of_certificate(const struct auth *auth, const struct text_list *alternative,
                                     const char *subject)
{
    const struct auth_user *user;
    for (uint32_t i = 0; i < alternative->count; i++) {
        user = map_get(&auth->users, bytes_of(alternative->items[i]));
        if (user != NULL && user->password != NULL) {
            return user->name;
        }
    }
    for (int ordered = 1; ordered >= 0; ordered--) {
        struct map_entry *e;
        for (uint32_t i = 0; (e = map_next(&auth->users, &i)) != NULL;) {
            user = e->value;
            if (user->password != NULL && dn_equal(e->key, bytes_of(subject), ordered != 0)) {
                return user->name;
            }
        }
    }
    return NULL;
}

bool auth_certificate_names(const char *user, const struct text_list *alternative,
                            const char *subject)
{
    return user != NULL && (text_list_has(alternative, bytes_of(user)) ||
                            dn_equal(bytes_of(user), bytes_of(subject), true) ||
                            dn_equal(bytes_of(user), bytes_of(subject), false));
}

bool auth_is_slow(const char *password)
{
    return password != NULL && is_bcrypt(password);
}

bool auth_matches(const char *user, const char *password, const char *given_user,
                  const char *given_password)
{
    bool same_user = auth_equal(bytes_of(user), bytes_of(given_user));
    const char *secret = password == NULL ? "" : password;
    bool same = is_bcrypt(secret) ? check_bcrypt(secret, given_password)
                                  : auth_equal(bytes_of(secret), bytes_of(given_password));
    return same_user && same;
}
