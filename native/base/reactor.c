#include "base/reactor.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 256
#define FIRST_SLOTS 64u
#define INPUT (EPOLLIN | EPOLLPRI)

/* Which watch a descriptor belongs to.  The generation tells an event of the
 * descriptor's former life, still in the batch at hand, from a new one. */
struct tg_slot {
    struct tg_watch *watch;
    uint32_t generation;
    uint32_t later; /* what is to be done, and OLD; 0: nothing */
};

#define OLD 0x80000000u /* it was there the last time */

uint64_t tg_clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int tg_reactor_open(struct tg_reactor *r, struct tg_error *err)
{
    memset(r, 0, sizeof(*r));
    r->defers_tail = &r->defers;
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll < 0)
        return tg_error_set(err, "reactor", "epoll", errno);
    r->now = tg_clock_ms();
    tg_wheel_open(&r->wheel, r->now);
    return 0;
}

void tg_reactor_close(struct tg_reactor *r)
{
    free(r->slots);
    free(r->packets);
    tg_pool_close(&r->pool);
    close(r->epoll);
}

static struct tg_slot *slot_of(struct tg_reactor *r, int fd)
{
    unsigned index = (unsigned)fd;
    if (index >= r->slot_count) {
        unsigned count = r->slot_count == 0 ? FIRST_SLOTS : r->slot_count;
        while (count <= index)
            count *= 2;
        struct tg_slot *grown = realloc(r->slots, count * sizeof(*grown));
        if (grown == NULL)
            abort();
        memset(grown + r->slot_count, 0, (count - r->slot_count) * sizeof(*grown));
        r->slots = grown;
        r->slot_count = count;
    }
    return &r->slots[index];
}

void tg_reactor_trim(struct tg_reactor *r)
{
    unsigned used = r->slot_count, count = FIRST_SLOTS;
    while (used > 0 && r->slots[used - 1].watch == NULL)
        used--;
    while (count < used)
        count *= 2;
    if (count < r->slot_count) {
        struct tg_slot *shrunk = realloc(r->slots, count * sizeof(*shrunk));
        r->slots = shrunk != NULL ? shrunk : r->slots;
        r->slot_count = count;
    }
    tg_pool_trim(&r->pool);
}

static void report(struct tg_watch *w)
{
    if (w->link != NULL || (w->ready & w->want) == 0)
        return;
    struct tg_reactor *r = w->reactor;
    w->next = r->reports;
    if (w->next != NULL)
        w->next->link = &w->next;
    w->link = &r->reports;
    r->reports = w;
}

static void unlink_watch(struct tg_watch *w)
{
    if (w->link == NULL)
        return;
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    w->link = NULL;
}

static struct epoll_event event_of(uint32_t mask, uint32_t generation, int fd)
{
    return (struct epoll_event){
        .events = mask | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)generation << 32 | (uint32_t)fd,
    };
}

static int open_watch(struct tg_reactor *r, struct tg_watch *w, int fd, uint32_t mask,
                      unsigned ready, tg_ready_cb cb, void *arg, struct tg_error *err)
{
    bool known = (unsigned)fd < r->slot_count;
    if (known && r->slots[fd].watch != NULL) /* or it was closed behind its owner's back */
        return tg_error_put(err, "reactor", "watch", TG_INUSE, "the descriptor is watched already");
    uint32_t generation = known ? r->slots[fd].generation : 0;
    struct epoll_event event = event_of(mask, generation, fd);
    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return tg_error_set(err, "reactor", "watch", errno);
    slot_of(r, fd)->watch = w; /* only now is it certain that there is such a descriptor */
    *w = (struct tg_watch){ .reactor = r, .cb = cb, .arg = arg, .fd = fd, .ready = (uint8_t)ready };
    return 0;
}

int tg_watch_open(struct tg_reactor *r, struct tg_watch *w, int fd, unsigned ready, tg_ready_cb cb,
                  void *arg, struct tg_error *err)
{
    bool deaf = (ready & TG_WRITABLE) != 0;
    int code = open_watch(r, w, fd, deaf ? INPUT : INPUT | EPOLLOUT, ready, cb, arg, err);
    if (code == 0)
        w->deaf = deaf;
    return code;
}

void tg_watch_listen(struct tg_watch *w)
{
    struct epoll_event event = event_of(INPUT | EPOLLOUT, w->reactor->slots[w->fd].generation, w->fd);
    w->deaf = false;
    epoll_ctl(w->reactor->epoll, EPOLL_CTL_MOD, w->fd, &event); /* reports what is ready by now */
}

int tg_watch_open_input(struct tg_reactor *r, struct tg_watch *w, int fd, unsigned ready,
                        tg_ready_cb cb, void *arg, struct tg_error *err)
{
    return open_watch(r, w, fd, EPOLLIN, ready, cb, arg, err);
}

void tg_watch_level(struct tg_watch *w)
{
    struct tg_slot *slot = &w->reactor->slots[w->fd];
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)w->fd,
    };
    epoll_ctl(w->reactor->epoll, EPOLL_CTL_MOD, w->fd, &event);
}

void tg_watch_want(struct tg_watch *w, unsigned events)
{
    w->want = (uint8_t)events;
    report(w);
}

/* Each in its second round, so that it is old enough. */
static void on_later(void *arg)
{
    struct tg_reactor *r = arg;
    bool more = false;
    for (unsigned fd = 0; fd < r->slot_count; fd++) {
        struct tg_slot *slot = &r->slots[fd];
        uint32_t what = slot->later;
        if (what == 0)
            continue;
        slot->later = what & OLD ? 0 : what | OLD;
        more = more || slot->later != 0;
        if (what & OLD)
            r->later_cb((int)fd, what & ~OLD);
    }
    if (more)
        tg_timer_start(r, &r->later, TG_LATER_MS);
}

void tg_watch_later(struct tg_watch *w, uint32_t what, tg_later_cb cb)
{
    struct tg_reactor *r = w->reactor;
    assert(what > 0 && what <= TG_LATER_MAX && (r->later_cb == NULL || r->later_cb == cb));
    r->later_cb = cb;
    r->slots[w->fd].later = what;
    if (!tg_timer_running(&r->later)) {
        r->later.cb = on_later;
        r->later.arg = r;
        tg_timer_start(r, &r->later, TG_LATER_MS);
    }
}

void tg_watch_close(struct tg_watch *w, bool keep)
{
    struct tg_reactor *r = w->reactor;
    if (r == NULL)
        return;
    unlink_watch(w);
    struct tg_slot *slot = &r->slots[w->fd];
    assert(slot->watch == w);
    slot->watch = NULL;
    slot->later = 0;
    slot->generation++;
    if (keep)
        epoll_ctl(r->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->reactor = NULL;
}

void tg_defer(struct tg_reactor *r, struct tg_defer *d)
{
    if (d->link != NULL)
        return;
    d->next = NULL;
    d->link = r->defers_tail;
    *r->defers_tail = d;
    r->defers_tail = &d->next;
}

void tg_defer_cancel(struct tg_reactor *r, struct tg_defer *d)
{
    if (d->link == NULL)
        return;
    *d->link = d->next;
    if (d->next != NULL)
        d->next->link = d->link;
    else if (r->defers_tail == &d->next)
        r->defers_tail = d->link;
    d->link = NULL;
}

void tg_timer_start(struct tg_reactor *r, struct tg_timer *t, uint64_t ms)
{
    tg_wheel_start(&r->wheel, t, r->now + ms);
}

void tg_timer_stop(struct tg_reactor *r, struct tg_timer *t)
{
    tg_wheel_stop(&r->wheel, t);
}

static unsigned ready_of(uint32_t events)
{
    unsigned ready = 0;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        ready |= TG_READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        ready |= TG_WRITABLE;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        ready |= TG_HANGUP;
    if (events & EPOLLPRI)
        ready |= TG_READABLE | TG_URGENT;
    return ready;
}

static void note(struct tg_reactor *r, const struct epoll_event *event)
{
    unsigned fd = (uint32_t)event->data.u64;
    uint32_t generation = (uint32_t)(event->data.u64 >> 32);
    if (fd >= r->slot_count || r->slots[fd].generation != generation || r->slots[fd].watch == NULL)
        return;
    struct tg_watch *w = r->slots[fd].watch;
    w->ready |= (uint8_t)ready_of(event->events);
    report(w);
}

/* Callbacks may close any watch and add reports for the next turn; so the list
 * of this turn is taken away first, and its head is re-read after every call. */
static void call_reports(struct tg_reactor *r)
{
    struct tg_watch *list = r->reports;
    r->reports = NULL;
    if (list != NULL)
        list->link = &list;
    while (list != NULL) {
        struct tg_watch *w = list;
        unlink_watch(w);
        unsigned events = w->ready & (w->want | TG_HANGUP);
        int fd = w->fd;
        uint32_t generation = r->slots[fd].generation;
        if ((w->ready & w->want) == 0)
            continue;
        w->cb(w->arg, events);
        if (r->slots[fd].generation == generation && r->slots[fd].watch == w)
            report(w); /* still ready: again next turn */
    }
}

static void call_defers(struct tg_reactor *r)
{
    struct tg_defer *list = r->defers;
    r->defers = NULL;
    r->defers_tail = &r->defers;
    if (list != NULL)
        list->link = &list;
    while (list != NULL) {
        struct tg_defer *d = list;
        list = d->next;
        if (list != NULL)
            list->link = &list;
        d->link = NULL;
        d->cb(d->arg);
    }
}

int tg_reactor_timeout(struct tg_reactor *r)
{
    if (r->reports != NULL || r->defers != NULL)
        return 0;
    return tg_wheel_timeout(&r->wheel, r->now);
}

void tg_reactor_turn(struct tg_reactor *r, int timeout)
{
    int own = tg_reactor_timeout(r);
    if (own >= 0 && (timeout < 0 || own < timeout))
        timeout = own;
    struct epoll_event events[EVENTS_PER_TURN];
    int count = 0;
    /* What is ready already need not wait for the kernel to be asked; but asked it is
     * every other turn. */
    r->unasked = timeout == 0 && r->reports != NULL && !r->unasked;
    if (!r->unasked) {
        atomic_store_explicit(&r->awake_since, 0, memory_order_relaxed);
        count = epoll_wait(r->epoll, events, EVENTS_PER_TURN, timeout);
    }
    r->now = tg_clock_ms();
    atomic_store_explicit(&r->awake_since, r->now, memory_order_relaxed);
    for (int i = 0; i < count; i++)
        note(r, &events[i]);
    call_reports(r);
    call_defers(r);
    tg_wheel_run(&r->wheel, r->now);
}
