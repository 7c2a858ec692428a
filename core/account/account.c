#include "core/account/account.h"

#include <stdlib.h>

#include "core/account/imports.h"
#include "core/account/mapping.h"
#include "core/base/buffer.h"
#include "core/base/check.h"
#include "core/base/mem.h"

/* How many local subscribers one (subject, queue) has. */
struct local_interest {
    size_t subject_len; /* of the key; the queue's name follows behind a blank */
    uint32_t count;
};

struct accounts {
    pthread_mutex_t lock; /* leaf */
    struct map by_name;   /* name → struct account, owned */
};

struct accounts *accounts_new(void)
{
    struct accounts *accounts = NEW(struct accounts);
    pthread_mutex_init(&accounts->lock, NULL);
    return accounts;
}

static void account_free(struct account *account)
{
    imports_free(atomic_load(&account->imports));
    mappings_free(atomic_load(&account->mappings));
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&account->local, &i)) != NULL;) {
        free(e->value);
    }
    map_deinit(&account->local);
    for (unsigned i = 0; i < LOOPS_MAX; i++) {
        interest_cache_free(account->caches[i]);
    }
    interest_free(account->interest);
    pthread_mutex_destroy(&account->lock);
    free(account->name);
    free(account);
}

void accounts_free(struct accounts *accounts)
{
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&accounts->by_name, &i)) != NULL;) {
        account_free(e->value);
    }
    map_deinit(&accounts->by_name);
    pthread_mutex_destroy(&accounts->lock);
    free(accounts);
}

struct account *accounts_find(struct accounts *accounts, struct bytes name)
{
    pthread_mutex_lock(&accounts->lock);
    struct account *account = map_get(&accounts->by_name, name);
    pthread_mutex_unlock(&accounts->lock);
    return account;
}

struct account *accounts_get(struct accounts *accounts, struct bytes name)
{
    pthread_mutex_lock(&accounts->lock);
    struct account *account = map_get(&accounts->by_name, name);
    if (account == NULL) {
        account = NEW(struct account);
        account->name = mem_dup(name.ptr, name.len);
        account->interest = interest_new();
        atomic_init(&account->max_connections, -1);
        atomic_init(&account->max_subscriptions, -1);
        atomic_init(&account->max_payload, -1);
        pthread_mutex_init(&account->lock, NULL);
        (void)map_put(&accounts->by_name, name, account);
    }
    pthread_mutex_unlock(&accounts->lock);
    return account;
}

struct account **accounts_list(struct accounts *accounts)
{
    pthread_mutex_lock(&accounts->lock);
    struct account **list = mem_alloc((accounts->by_name.count + 1u) * sizeof *list);
    uint32_t n = 0;
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&accounts->by_name, &i)) != NULL;) {
        list[n++] = e->value;
    }
    list[n] = NULL;
    pthread_mutex_unlock(&accounts->lock);
    return list;
}

const struct interest_result *account_match(struct account *account, struct bytes subject)
{
    unsigned loop = loop_index(loop_current());
    if (account->caches[loop] == NULL) {
        account->caches[loop] = interest_cache_new();
    }
    return interest_match(account->interest, account->caches[loop], subject);
}

static void tell(struct account *account, struct bytes key, size_t subject_len, uint32_t weight,
                 account_announce_cb announce, void *arg)
{
    struct bytes queue = key.len > subject_len ? bytes_skip(key, subject_len + 1) : BYTES_NONE;
    announce(arg, account, bytes_make(key.ptr, subject_len), queue, weight);
}

/* Plain interest is there or not; a queue group has as many members as it has. */
static uint32_t wire_weight(uint32_t count, bool queued)
{
    return queued ? count : count > 0;
}

void account_count_local(struct account *account, struct bytes subject, struct bytes queue,
                         int change, account_announce_cb announce, void *arg)
{
    struct buffer key = {0};
    buffer_append_bytes(&key, subject);
    if (queue.ptr != NULL) {
        buffer_append_char(&key, ' ');
        buffer_append_bytes(&key, queue);
    }
    pthread_mutex_lock(&account->lock);
    struct local_interest *local = map_get(&account->local, buffer_bytes(&key));
    if (local == NULL) {
        CHECK(change > 0);
        local = NEW(struct local_interest);
        local->subject_len = subject.len;
        (void)map_put(&account->local, buffer_bytes(&key), local);
    }
    CHECK(change > 0 || local->count > 0);
    uint32_t before = wire_weight(local->count, queue.ptr != NULL);
    local->count += (uint32_t)change;
    uint32_t after = wire_weight(local->count, queue.ptr != NULL);
    if (before != after) {
        tell(account, buffer_bytes(&key), subject.len, after, announce, arg);
    }
    if (local->count == 0) {
        free(map_remove(&account->local, buffer_bytes(&key)));
    }
    pthread_mutex_unlock(&account->lock);
    buffer_deinit(&key);
}

void account_interest_stats(struct account *account, struct interest_stats *stats)
{
    unsigned index = loop_index(loop_current());
    interest_stats(index == 0 ? account->interest : NULL, account->caches[index], stats);
}

void account_announce_all(struct account *account, account_announce_cb announce, void *arg)
{
    pthread_mutex_lock(&account->lock);
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&account->local, &i)) != NULL;) {
        const struct local_interest *local = e->value;
        bool queued = e->key.len > local->subject_len;
        tell(account, e->key, local->subject_len, wire_weight(local->count, queued), announce, arg);
    }
    pthread_mutex_unlock(&account->lock);
}
