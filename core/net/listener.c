#include "core/net/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define ACCEPT_BATCH 64 /* a turn: other work of the loop has its turn, too */
#define REST_MIN_NS  (10 * NS_PER_MS)
#define REST_MAX_NS  NS_PER_SEC

/* open: LISTENING ⇄ RESTING (not polled, `again` armed) → closed */
struct listener {
    uv_poll_t poll;
    struct loop *loop; /* borrowed */
    int fd;
    const char *what; /* borrowed */
    enum file_user user;
    listener_cb on_accept;
    void *arg;
    struct loop_timer again;
    int64_t rest_ns;   /* how long it rests when accepting fails the next time */
    int64_t logged_ns; /* monotonic */
    bool closed;
};

static void on_ready(uv_poll_t *poll, int status, int events);

static void listen_again(void *arg)
{
    struct listener *l = arg;
    CHECK(!l->closed);
    int rc = uv_poll_start(&l->poll, UV_READABLE, on_ready);
    CHECK(rc == 0);
}

/* Once a second at most: strangers decide how often there is something to say. */
static bool may_log(struct listener *l, int64_t now)
{
    bool may = l->logged_ns == 0 || now - l->logged_ns > NS_PER_SEC;
    l->logged_ns = may ? now : l->logged_ns;
    return may;
}

static void rest(struct listener *l, int error)
{
    int64_t now = clock_mono_ns();
    (void)uv_poll_stop(&l->poll);
    if (may_log(l, now)) {
        log_error("Temporary %s accept error (%s), sleeping %lldms", l->what, strerror(error),
                  (long long)(l->rest_ns / NS_PER_MS));
    }
    loop_timer_arm(l->loop, &l->again, now + l->rest_ns, listen_again, l);
    l->rest_ns = l->rest_ns * 2 > REST_MAX_NS ? REST_MAX_NS : l->rest_ns * 2;
}

/* Errors of the connection that was to be accepted: accept(2) passes on what the network said. */
static bool concerns_one(int error)
{
    return error == EINTR || error == ECONNABORTED || error == EPROTO || error == ENOPROTOOPT ||
           error == ENETDOWN || error == ENETUNREACH || error == EHOSTDOWN ||
           error == EHOSTUNREACH || error == ENONET || error == EOPNOTSUPP || error == EPERM;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct listener *l = poll->data;
    loop_enter(l->loop);
    if (status < 0) {
        rest(l, -status);
        return;
    }
    for (int i = 0; i < ACCEPT_BATCH && !l->closed; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            bool crowded = fd >= files_ceiling(l->user);
            l->rest_ns = REST_MIN_NS;
            if (crowded && may_log(l, clock_mono_ns())) {
                log_error("Too few file descriptors are left: %s connections are refused", l->what);
            }
            l->on_accept(l->arg, fd, crowded);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (!concerns_one(errno)) {
            rest(l, errno);
            return;
        }
    }
}

struct listener *listener_open(struct loop *loop, int fd, const char *what, enum file_user user,
                               listener_cb on_accept, void *arg)
{
    CHECK(loop_is_current(loop) && fd >= 0);
    struct listener *l = NEW(struct listener);
    l->loop = loop;
    l->fd = fd;
    l->what = what;
    l->user = user;
    l->on_accept = on_accept;
    l->arg = arg;
    l->rest_ns = REST_MIN_NS;
    int rc = uv_poll_init(loop_uv(loop), &l->poll, fd);
    CHECK(rc == 0);
    l->poll.data = l;
    listen_again(l);
    return l;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    loop_enter(l->loop);
    free(l);
}

void listener_close(struct listener *l)
{
    if (l == NULL) {
        return;
    }
    CHECK(loop_is_current(l->loop) && !l->closed);
    l->closed = true;
    loop_timer_cancel(l->loop, &l->again);
    (void)uv_poll_stop(&l->poll);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    (void)close(l->fd);
}
