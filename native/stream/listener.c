#include "stream/listener.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct tg_listener {
    struct tg_watch watch;
    struct tg_reactor *r;
    struct tg_timer again;
    const struct tg_listener_events *events;
    void *arg;
    int fd;
    bool paused;
    bool *gone; /* set when it is closed from inside a callback */
    bool short_of;
};

static bool is_shortage(int sys)
{
    return sys == EMFILE || sys == ENFILE || sys == ENOBUFS || sys == ENOMEM;
}

static void resume_soon(struct tg_listener *l, int sys)
{
    struct tg_error err;
    tg_error_set(&err, "listener", "accept", sys);
    tg_watch_want(&l->watch, 0);
    tg_timer_start(l->r, &l->again, TG_ACCEPT_PAUSE_MS);
    bool first = !l->short_of;
    l->short_of = true;
    if (first && l->events->shortage != NULL)
        l->events->shortage(l->arg, &err);
}

static void on_again(void *arg)
{
    struct tg_listener *l = arg;
    if (!l->paused)
        tg_watch_want(&l->watch, TG_READABLE);
}

static int take_one(const struct tg_listener *l, struct tg_addr *peer)
{
    peer->len = sizeof(peer->storage);
    return accept4(l->fd, &peer->any, &peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* @return false when there is nothing more to take now */
static bool accept_one(struct tg_listener *l)
{
    struct tg_addr peer;
    int fd = take_one(l, &peer);
    if (fd >= 0) {
        if (l->short_of) {
            l->short_of = false;
            if (l->events->shortage != NULL)
                l->events->shortage(l->arg, NULL);
        }
        l->events->accepted(l->arg, fd, &peer);
        return true;
    }
    if (is_shortage(errno)) {
        resume_soon(l, errno);
        return false;
    }
    if (errno == EAGAIN || errno == EBADF || errno == EINVAL) {
        tg_watch_blocked(&l->watch, TG_READABLE);
        return false;
    }
    return true; /* that connection died in the queue (ECONNABORTED, EPERM, network errors) */
}

static void on_readable(void *arg, unsigned events)
{
    struct tg_listener *l = arg;
    bool gone = false;
    (void)events;
    l->gone = &gone;
    for (int i = 0; i < TG_ACCEPT_BATCH; i++) {
        bool more = accept_one(l);
        if (gone)
            return;
        if (!more || l->paused)
            break;
    }
    l->gone = NULL;
}

struct tg_listener *tg_listener_open(struct tg_reactor *r, int fd,
                                     const struct tg_listener_events *events, void *arg,
                                     struct tg_error *err)
{
    struct tg_listener *l = tg_zalloc(sizeof(*l));
    l->r = r;
    l->fd = fd;
    l->events = events;
    l->arg = arg;
    l->again.cb = on_again;
    l->again.arg = l;
    if (tg_watch_open(r, &l->watch, fd, TG_READABLE, on_readable, l, err) < 0) {
        free(l);
        return NULL;
    }
    tg_watch_want(&l->watch, TG_READABLE);
    return l;
}

void tg_listener_pause(struct tg_listener *l, bool paused)
{
    l->paused = paused;
    tg_watch_want(&l->watch, paused ? 0 : TG_READABLE);
}

void tg_listener_close(struct tg_listener *l, bool drain)
{
    struct tg_addr peer;
    int fd;
    while (drain && (fd = take_one(l, &peer)) >= 0)
        l->events->accepted(l->arg, fd, &peer);
    if (l->gone != NULL)
        *l->gone = true;
    tg_timer_stop(l->r, &l->again);
    tg_watch_close(&l->watch, true);
    free(l);
}
