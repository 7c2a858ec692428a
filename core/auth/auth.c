#include "core/auth/auth.h"

#include <crypt.h>
#include <stdlib.h>

#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"

struct permissions {
    const struct permission_options *rules; /* borrowed from the options */
};

struct auth {
    const struct options *options; /* borrowed */
    struct map users;              /* name → struct auth_user, owned */
    struct permissions *permissions;
    const struct auth_user *no_auth_user;
    struct auth_user single; /* of authorization { user, password } or { token } */
    bool required;
};

/* --- permissions --- */

static bool any_subject(const struct permission_rules *rules, struct bytes subject)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        if (subject_matches(bytes_of(rules->rules[i].subject), subject)) {
            return true;
        }
    }
    return false;
}

bool permissions_publish(const struct permissions *p, struct bytes subject)
{
    if (p == NULL) {
        return true;
    }
    if (any_subject(&p->rules->publish_deny, subject)) {
        return false;
    }
    return !p->rules->publish_allow_set || any_subject(&p->rules->publish_allow, subject);
}

bool permissions_subscribe(const struct permissions *p, struct bytes subject, struct bytes queue)
{
    if (p == NULL) {
        return true;
    }
    const struct permission_rules *deny = &p->rules->subscribe_deny;
    for (uint32_t i = 0; i < deny->count; i++) {
        const struct permission_rule *rule = &deny->rules[i];
        bool names_us = rule->queue == NULL ||
                        (queue.ptr != NULL && subject_matches(bytes_of(rule->queue), queue));
        if (names_us && subject_matches(bytes_of(rule->subject), subject)) {
            return false;
        }
    }
    if (!p->rules->subscribe_allow_set) {
        return true;
    }
    bool plain = false;
    bool queued_rule = false;
    bool queued = false;
    const struct permission_rules *allow = &p->rules->subscribe_allow;
    for (uint32_t i = 0; i < allow->count; i++) {
        const struct permission_rule *rule = &allow->rules[i];
        if (!subject_matches(bytes_of(rule->subject), subject)) {
            continue;
        }
        if (rule->queue == NULL) {
            plain = true;
        } else if (queue.ptr != NULL) {
            queued_rule = true;
            queued = queued || subject_matches(bytes_of(rule->queue), queue);
        }
    }
    return queued_rule ? queued : plain;
}

bool permissions_deliver(const struct permissions *p, struct bytes subject, struct bytes queue)
{
    if (p == NULL) {
        return true;
    }
    const struct permission_rules *deny = &p->rules->subscribe_deny;
    for (uint32_t i = 0; i < deny->count; i++) {
        const struct permission_rule *rule = &deny->rules[i];
        bool names_us = rule->queue == NULL ||
                        (queue.ptr != NULL && subject_matches(bytes_of(rule->queue), queue));
        if (names_us && subject_matches(bytes_of(rule->subject), subject)) {
            return false;
        }
    }
    return true;
}

bool permissions_filter(const struct permissions *p)
{
    return p != NULL && p->rules->subscribe_deny.count > 0;
}

/* --- users --- */

struct auth *auth_new(const struct options *options)
{
    struct auth *auth = NEW(struct auth);
    auth->options = options;
    uint32_t count = 0;
    for (uint32_t a = 0; a < options->account_count; a++) {
        count += options->accounts[a].user_count;
    }
    auth->permissions = mem_zalloc((count + 1) * sizeof *auth->permissions);
    uint32_t n = 0;
    for (uint32_t a = 0; a < options->account_count; a++) {
        const struct account_options *account = &options->accounts[a];
        for (uint32_t i = 0; i < account->user_count; i++) {
            const struct user_options *u = &account->users[i];
            const struct permission_options *rules =
                u->permissions.set ? &u->permissions : &account->default_permissions;
            auth->permissions[n].rules = rules;
            struct auth_user *user = NEW(struct auth_user);
            *user = (struct auth_user){u->user, account->name,
                                       rules->set ? &auth->permissions[n] : NULL, u->password};
            (void)map_put(&auth->users, bytes_of(u->user), user);
            n++;
        }
    }
    const char *secret = options->token != NULL ? options->token : options->password;
    auth->single = (struct auth_user){options->user == NULL ? "" : options->user, "$G", NULL,
                                      secret == NULL ? "" : secret};
    if (options->no_auth_user != NULL) {
        auth->no_auth_user = map_get(&auth->users, bytes_of(options->no_auth_user));
    }
    /* Accounts without any user, $SYS for one, do not make a server demand credentials; one that
     * lists users does, also when all of them are in the system account and there is no
     * authorization block — then plain clients keep $G (configuration reference §8.9). */
    bool only_system = true;
    for (uint32_t a = 0; a < options->account_count; a++) {
        bool is_system = options->system_account != NULL &&
                         strcmp(options->accounts[a].name, options->system_account) == 0;
        only_system = only_system && (is_system || options->accounts[a].user_count == 0);
    }
    auth->required = options->user != NULL || options->token != NULL || n > 0;
    if (only_system && n > 0 && options->user == NULL && options->token == NULL &&
        options->no_auth_user == NULL) {
        static const struct auth_user global = {"", "$G", NULL, ""};
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
    free(auth->permissions);
    free(auth);
}

bool auth_required(const struct auth *auth)
{
    return auth->required;
}

bool auth_info_required(const struct auth *auth)
{
    return auth->required && auth->no_auth_user == NULL;
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

static bool is_bcrypt(const char *password)
{
    return password[0] == '$' && password[1] == '2' && password[2] != '\0' &&
           strchr("abxy", password[2]) != NULL && password[3] == '$';
}

bool auth_check_bcrypt(const char *hash, struct bytes password)
{
    static const char dummy[] = "$2a$11$abcdefghijklmnopqrstuuwdVBGiCHVOPFxKmIvNYHKgDlVnWuTSm";
    struct crypt_data *data = NEW(struct crypt_data);
    char *text = mem_dup(password.ptr, password.len);
    const char *setting = hash == NULL ? dummy : hash;
    const char *result = crypt_r(text, setting, data);
    bool equal = hash != NULL && result != NULL && auth_equal(bytes_of(result), bytes_of(hash));
    explicit_bzero(text, password.len);
    free(text);
    free(data);
    return equal;
}

static enum auth_result compare(const char *expected, struct bytes given)
{
    if (is_bcrypt(expected)) {
        return AUTH_NEEDS_BCRYPT;
    }
    return auth_equal(bytes_of(expected), given) ? AUTH_OK : AUTH_REFUSED;
}

enum auth_result auth_check(const struct auth *auth, const struct auth_credentials *c,
                            const struct auth_user **user)
{
    *user = NULL;
    if (!auth->required) {
        return AUTH_OK;
    }
    if (c->user.len == 0 && c->token.len == 0 && c->password.len == 0 &&
        auth->no_auth_user != NULL) {
        *user = auth->no_auth_user;
        return AUTH_OK;
    }
    const struct options *o = auth->options;
    struct auth_user *known = c->user.len == 0 ? NULL : map_get(&auth->users, c->user);
    if (known != NULL) {
        *user = known;
        return compare(known->password, c->password);
    }
    if (o->token != NULL) {
        /* Some libraries send a token as a user name without password. */
        *user = &auth->single;
        return compare(auth->single.password, c->token.len > 0 ? c->token : c->user);
    }
    if (o->user != NULL && auth_equal(bytes_of(o->user), c->user)) {
        *user = &auth->single;
        return compare(auth->single.password, c->password);
    }
    return AUTH_REFUSED;
}
