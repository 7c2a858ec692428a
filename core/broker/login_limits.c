#include "core/broker/login_limits.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/base/random.h"

/* Two counts in one table: by address, and by address and user. A key's place is one of WAYS in the
 * set that it hashes to. */
#define SETS 1024u
#define WAYS 8u

struct record {
    uint64_t key;       /* 0: empty */
    uint32_t failures;  /* and attempts that are under way */
    int64_t last_ns;    /* the last attempt */
    int64_t next_ns;    /* no attempt is judged before; 0: none waits */
    int64_t success_ns; /* 0: never */
};

struct login_limits {
    pthread_mutex_t lock; /* leaf */
    uint64_t secret;
    struct record records[SETS][WAYS];
};

struct login_limits *login_limits_new(void)
{
    struct login_limits *l = NEW(struct login_limits);
    pthread_mutex_init(&l->lock, NULL);
    l->secret = random_system_u64();
    return l;
}

void login_limits_free(struct login_limits *l)
{
    if (l != NULL) {
        pthread_mutex_destroy(&l->lock);
        free(l);
    }
}

static uint64_t key_of(const struct login_limits *l, uint64_t address, const struct bytes *user)
{
    uint64_t key = (address ^ l->secret) * UINT64_C(0x9E3779B97F4A7C15);
    if (user != NULL) {
        key = (key ^ hash_bytes(*user)) * UINT64_C(0xBF58476D1CE4E5B9) + 1;
    }
    key ^= key >> 32;
    return key == 0 ? 1 : key;
}

/* NULL when there is none. */
static struct record *find(struct login_limits *l, uint64_t key)
{
    struct record *set = l->records[key % SETS];
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].key == key) {
            return &set[i];
        }
    }
    return NULL;
}

static struct record *find_or_make(struct login_limits *l, uint64_t key, int64_t now)
{
    struct record *r = find(l, key);
    if (r == NULL) {
        struct record *set = l->records[key % SETS];
        r = &set[0];
        for (unsigned i = 1; i < WAYS; i++) {
            r = set[i].last_ns < r->last_ns ? &set[i] : r;
        }
        *r = (struct record){.key = key, .last_ns = now};
    }
    return r;
}

static bool is_known(const struct record *r, int64_t now)
{
    return r != NULL && r->success_ns != 0 && now - r->success_ns < LOGIN_KNOWN_NS;
}

/* The record that an attempt of this user counts in. */
static struct record *record_of(struct login_limits *l, uint64_t address, struct bytes user,
                                int64_t now)
{
    struct record *own = find(l, key_of(l, address, &user));
    return is_known(own, now) ? own : find_or_make(l, key_of(l, address, NULL), now);
}

static int64_t gap_after(uint32_t failures)
{
    if (failures < LOGIN_FREE_FAILURES) {
        return 0;
    }
    uint32_t doublings = failures - LOGIN_FREE_FAILURES;
    return doublings > 5 ? LOGIN_GAP_MAX_NS : LOGIN_GAP_MIN_NS << doublings;
}

int64_t login_limits_begin(struct login_limits *l, uint64_t address, struct bytes user, int64_t now)
{
    pthread_mutex_lock(&l->lock);
    struct record *r = record_of(l, address, user, now);
    if (now - r->last_ns > LOGIN_FORGIVEN_NS) {
        r->failures = 0;
        r->next_ns = 0;
    }
    r->last_ns = now;
    int64_t wait = 0;
    int64_t gap = gap_after(r->failures);
    if (gap > 0) {
        int64_t at = r->next_ns > now ? r->next_ns : now;
        wait = at - now > LOGIN_WAIT_MAX_NS ? -1 : at - now;
        r->next_ns = wait < 0 ? r->next_ns : at + gap;
    }
    if (wait >= 0) {
        r->failures++;
    }
    CHECK(wait <= LOGIN_WAIT_MAX_NS);
    pthread_mutex_unlock(&l->lock);
    return wait;
}

void login_limits_succeeded(struct login_limits *l, uint64_t address, struct bytes user,
                            int64_t now)
{
    pthread_mutex_lock(&l->lock);
    struct record *own = find(l, key_of(l, address, &user));
    if (!is_known(own, now)) {
        struct record *shared = find(l, key_of(l, address, NULL));
        if (shared != NULL && shared->failures > 0) {
            shared->failures--; /* what it was counted as when it began */
        }
        own = find_or_make(l, key_of(l, address, &user), now);
    }
    own->failures = 0;
    own->next_ns = 0;
    own->last_ns = now;
    own->success_ns = now;
    pthread_mutex_unlock(&l->lock);
}
