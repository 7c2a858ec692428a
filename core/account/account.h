/* account: a world of subjects of its own. Every user belongs to one, every structure that holds
 * subjects hangs below one.
 *
 * Accounts are created at start-up, and by routes that speak of one first; they are never freed
 * while the loops run. */
#ifndef CORE_ACCOUNT_ACCOUNT_H
#define CORE_ACCOUNT_ACCOUNT_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/map.h"
#include "core/runtime/loop.h"
#include "core/subject/interest.h"

struct account;
struct mappings;
struct imports;
struct responses;
/* `weight`: 0 gone; 1 for plain interest; the number of members of a queue group. Called with the
 * account's lock held, so that two changes of one subject are announced in the order they were
 * made: it may write to connections and take no lock but theirs and its own. */
typedef void (*account_announce_cb)(void *arg, struct account *account, struct bytes subject,
                                    struct bytes queue, uint32_t weight);

struct account {
    char *name;            /* owned; may contain any byte but blanks */
    atomic_bool jetstream; /* changes by a reload */
    /* JetStream requests that were answered here, and those of them that were refused. */
    atomic_uint_fast64_t api_total, api_errors;
    bool is_system;
    struct interest *interest;
    struct interest_cache *caches[LOOPS_MAX]; /* one per loop, made on first use by that loop */
    atomic_int connections;
    /* The configuration's part, replaced by a reload: read once per use within a turn of a loop. */
    _Atomic(struct mappings *) mappings;                                 /* owned; NULL: none */
    _Atomic(struct imports *) imports;                                   /* owned; NULL: none */
    atomic_int_fast64_t max_connections, max_subscriptions, max_payload; /* -1: no limit */
    atomic_int_fast64_t excess; /* connections beyond a limit that a reload lowered; to be closed */
    struct responses *responses; /* core/broker's: of services this account exports */

    pthread_mutex_t lock; /* guards local; held while neighbours are told */
    struct map local;     /* "subject" or "subject queue" → struct local_interest */
};

struct accounts;

struct accounts *accounts_new(void);
void accounts_free(struct accounts *accounts);
/* Any thread. The account of that name, created when it is new. */
struct account *accounts_get(struct accounts *accounts, struct bytes name);
/* NULL when there is none. */
struct account *accounts_find(struct accounts *accounts, struct bytes name);
/* A heap array of all accounts, NULL-terminated, for the caller to free. */
struct account **accounts_list(struct accounts *accounts);

/* Matches on the current loop's cache. */
const struct interest_result *account_match(struct account *account, struct bytes subject);

/* Adds what the current loop's cache has seen and, on loop 0, what the index holds. */
void account_interest_stats(struct account *account, struct interest_stats *stats);

/* Counts one local subscriber more or less (±1) and tells of it when neighbours have to know. Any
 * loop. The announcement is in the neighbours' outboxes before this returns, so what the subscriber
 * sends next cannot overtake it. */
void account_count_local(struct account *account, struct bytes subject, struct bytes queue,
                         int change, account_announce_cb announce, void *arg);
/* Announces all local interest, for a new neighbour. */
void account_announce_all(struct account *account, account_announce_cb announce, void *arg);

#endif
