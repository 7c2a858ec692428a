#include "jetstream/offline.h"

#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"

#define LATE_NS   (500 * NS_PER_MS) /* as nats-server's meta leader */
#define LATE_MOST 1024              /* answers under way; what is beyond gets none */

struct news {
    struct jetstream *js;
    char *account, *stream, *why;
    uint64_t group;
};

static void told(void *arg)
{
    struct news *n = arg;
    struct hosted *h = js_hosted(n->js, bytes_of(n->account), bytes_of(n->stream));
    if (h != NULL && h->group == n->group && h->problem == NULL) { /* else it has been deleted */
        h->problem = n->why;
        n->why = NULL;
    }
    free(n->account);
    free(n->stream);
    free(n->why);
    free(n);
}

void offline_tell(struct jetstream *js, const char *account, const char *stream, uint64_t group,
                  const char *why)
{
    struct news *n = NEW(struct news);
    *n = (struct news){js, mem_strdup(account), mem_strdup(stream), mem_strdup(why), group};
    loop_post(loops_at(js->loops, 0), told, n);
}

struct late_answer {
    struct loop_timer timer;
    struct jetstream *js;
    struct account *account;
    char *reply;
    const char *type;
    struct js_error error;
    struct late_answer *next;
};

static void late_free(struct late_answer *late)
{
    for (struct late_answer **at = &late->js->late; *at != NULL; at = &(*at)->next) {
        if (*at == late) {
            *at = late->next;
            break;
        }
    }
    late->js->late_count--;
    loop_timer_cancel(loops_at(late->js->loops, 0), &late->timer);
    free(late->reply);
    free(late);
}

static void on_late(void *arg)
{
    struct late_answer *late = arg;
    js_reply_error(late->js, late->account, bytes_of(late->reply), late->type, &late->error);
    late_free(late);
}

void offline_answer(struct jetstream *js, const struct hosted *h, struct account *account,
                    struct bytes reply, const char *type, bool info)
{
    struct js_error error;
    (void)js_failf(&error, JS_STREAM_OFFLINE_REASON, "stream is offline: %s", h->problem);
    if (h->peer_count == 1) {
        js_reply_error(js, account, reply, type, &error);
    } else if (info && js->late_count < LATE_MOST) {
        struct late_answer *late = NEW(struct late_answer);
        late->js = js;
        late->account = account;
        late->reply = mem_dup(reply.ptr, reply.len);
        late->type = type;
        late->error = error;
        late->next = js->late;
        js->late = late;
        js->late_count++;
        loop_timer_arm(loops_at(js->loops, 0), &late->timer, clock_mono_ns() + LATE_NS, on_late,
                       late);
    }
}

void offline_stop(struct jetstream *js)
{
    while (js->late != NULL) {
        late_free(js->late);
    }
}
