#include "stream/dial.h"

#include "base/mem.h"
#include "stream/tcp.h"

#include <stdlib.h>

struct attempt {
    struct tg_dial *dial;
    struct tg_stream *s;
};

struct tg_dial {
    struct tg_reactor *r;
    const struct tg_socket_options *options;
    tg_dial_done done;
    void *arg;
    struct tg_timer stagger;
    struct tg_defer give_up;
    struct tg_error error; /* of the first attempt that failed */
    size_t count, next;    /* addresses; the one to be tried next */
    size_t alive;          /* attempts under way */
    struct attempt attempts[TG_DIAL_MAX];
    struct tg_addr to[TG_DIAL_MAX];
};

/* RFC 8305, 4: the resolver's order, but with the families taking turns. */
static void interleave(struct tg_dial *d, const struct tg_addr *to, size_t count)
{
    bool used[TG_DIAL_MAX] = { false };
    int family = to[0].any.sa_family;
    for (size_t out = 0; out < count; out++) {
        size_t pick = count;
        for (size_t i = 0; i < count && pick == count; i++)
            if (!used[i] && to[i].any.sa_family == family)
                pick = i;
        for (size_t i = 0; i < count && pick == count; i++)
            if (!used[i])
                pick = i;
        used[pick] = true;
        d->to[out] = to[pick];
        family = to[pick].any.sa_family == AF_INET ? AF_INET6 : AF_INET;
    }
    d->count = count;
}

void tg_dial_cancel(struct tg_dial *d)
{
    tg_timer_stop(d->r, &d->stagger);
    tg_defer_cancel(d->r, &d->give_up);
    for (size_t i = 0; i < d->next; i++)
        if (d->attempts[i].s != NULL)
            tg_stream_close(d->attempts[i].s);
    free(d);
}

static void finish(struct tg_dial *d, struct tg_stream *s)
{
    tg_dial_done done = d->done;
    void *arg = d->arg;
    struct tg_error err = d->error;
    tg_dial_cancel(d);
    done(arg, s, &err);
}

static void note_error(struct tg_dial *d, const struct tg_error *err)
{
    if (d->error.code == TG_OK)
        d->error = *err;
}

static void try_next(struct tg_dial *d);

static void on_attempt(void *arg, unsigned events)
{
    struct attempt *a = arg;
    struct tg_dial *d = a->dial;
    struct tg_stream *s = a->s;
    (void)events;
    if (s->state == TG_STREAM_OPENING)
        return;
    a->s = NULL;
    if (s->state == TG_STREAM_OPEN) {
        tg_stream_want(s, 0);
        s->on_ready = NULL;
        finish(d, s);
        return;
    }
    note_error(d, &s->error);
    tg_stream_close(s);
    d->alive--;
    try_next(d);
}

static void on_stagger(void *arg)
{
    try_next(arg);
}

static void on_give_up(void *arg)
{
    finish(arg, NULL);
}

/* Start the next attempt that can be started. */
static void try_next(struct tg_dial *d)
{
    tg_timer_stop(d->r, &d->stagger);
    while (d->next < d->count) {
        struct attempt *a = &d->attempts[d->next];
        struct tg_error err;
        a->dial = d;
        a->s = tg_tcp_connect(d->r, &d->to[d->next], d->options, &err);
        d->next++;
        if (a->s == NULL) {
            note_error(d, &err);
            continue;
        }
        a->s->on_ready = on_attempt;
        a->s->ready_arg = a;
        d->alive++;
        tg_stream_want(a->s, TG_WRITABLE);
        if (d->next < d->count)
            tg_timer_start(d->r, &d->stagger, TG_DIAL_STAGGER_MS);
        return;
    }
    if (d->alive == 0)
        tg_defer(d->r, &d->give_up); /* `done` never comes from inside tg_dial_start() */
}

struct tg_dial *tg_dial_start(struct tg_reactor *r, const struct tg_addr *to, size_t count,
                              const struct tg_socket_options *options, tg_dial_done done,
                              void *arg)
{
    struct tg_dial *d = tg_zalloc(sizeof(*d));
    d->r = r;
    d->options = options;
    d->done = done;
    d->arg = arg;
    d->stagger.cb = on_stagger;
    d->stagger.arg = d;
    d->give_up.cb = on_give_up;
    d->give_up.arg = d;
    interleave(d, to, count < TG_DIAL_MAX ? count : TG_DIAL_MAX);
    try_next(d);
    return d;
}
