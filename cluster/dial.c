#include "cluster/dial.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/url.h"
#include "core/net/conn.h"
#include "core/runtime/work.h"

/* RESOLVING (work pool) → CONNECTING (poll and timer) → done. A cancelled dial goes on to the end
 * of its current step and then frees itself. */
struct dial {
    struct loop *loop;
    char *host;
    int port;
    int timeout_ms;
    dial_cb cb; /* NULL once cancelled or called */
    void *arg;
    struct work work;
    uv_poll_t poll;
    struct loop_timer timer;
    int fd;
    struct error error;
};

static void dial_free(struct dial *d)
{
    free(d->host);
    free(d);
}

static void on_poll_closed(uv_handle_t *handle)
{
    dial_free(handle->data);
}

static void report(struct dial *d, int fd)
{
    dial_cb cb = d->cb;
    d->cb = NULL;
    if (cb != NULL) {
        cb(d->arg, fd, &d->error);
    } else if (fd >= 0) {
        (void)close(fd);
    }
}

/* Ends CONNECTING: result 0, or an errno. */
static void finish(struct dial *d, int result)
{
    loop_timer_cancel(d->loop, &d->timer);
    (void)uv_poll_stop(&d->poll);
    uv_close((uv_handle_t *)&d->poll, on_poll_closed); /* before its descriptor */
    int fd = d->fd;
    if (result != 0) {
        (void)error_set(&d->error, ERR_IO, "dial tcp %s: connect: %s",
                        address_text(d->host, d->port).text,
                        result == ECONNREFUSED ? "connection refused" : strerror(result));
        (void)close(fd);
        fd = -1;
    }
    report(d, fd);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct dial *d = poll->data;
    loop_enter(d->loop);
    int result = net_connect_result(d->fd);
    finish(d, result != 0 ? result : status < 0 ? ECONNREFUSED : 0);
}

static void on_timeout(void *arg)
{
    finish(arg, ETIMEDOUT);
}

static struct dial *of_work(struct work *work)
{
    return (struct dial *)((char *)work - offsetof(struct dial, work));
}

static void on_resolve_work(struct work *work)
{
    struct dial *d = of_work(work);
    d->fd = net_connect_start(d->host, d->port, &d->error);
}

static void on_resolved(struct work *work, bool ran)
{
    struct dial *d = of_work(work);
    if (!ran || d->fd < 0 || d->cb == NULL) {
        if (d->fd >= 0) {
            (void)close(d->fd);
        }
        report(d, -1);
        dial_free(d);
        return;
    }
    CHECK(uv_poll_init(loop_uv(d->loop), &d->poll, d->fd) == 0);
    d->poll.data = d;
    (void)uv_poll_start(&d->poll, UV_WRITABLE, on_connected);
    loop_timer_arm(d->loop, &d->timer, clock_mono_ns() + d->timeout_ms * NS_PER_MS, on_timeout, d);
}

struct dial *dial_start(const char *host, int port, int timeout_ms, dial_cb cb, void *arg)
{
    struct dial *d = NEW(struct dial);
    d->loop = loop_current();
    d->host = mem_strdup(host);
    d->port = port;
    d->timeout_ms = timeout_ms;
    d->cb = cb;
    d->arg = arg;
    d->fd = -1;
    d->work = (struct work){.run = on_resolve_work, .done = on_resolved};
    work_submit(d->loop, WORK_DIALS, &d->work);
    return d;
}

void dial_cancel(struct dial *d)
{
    d->cb = NULL;
    if (loop_timer_armed(&d->timer)) { /* CONNECTING: end it now */
        finish(d, ECANCELED);
    }
}
