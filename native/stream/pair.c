#include "stream/pair.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct end {
    struct tg_stream base;
    struct end *peer;    /* NULL: closed */
    struct tg_buf *in;   /* written by the peer, not read yet; NULL: nothing */
    size_t capacity;
    unsigned wanted;
    struct tg_defer defer;
    bool finished; /* the peer has shut down */
};

static unsigned ready_of(const struct end *e)
{
    unsigned ready = 0;
    if (e->in != NULL || e->finished || e->peer == NULL)
        ready |= TG_READABLE;
    if (e->peer == NULL || e->peer->in == NULL || tg_buf_len(e->peer->in) < e->capacity)
        ready |= TG_WRITABLE;
    return ready;
}

static void on_defer(void *arg)
{
    struct end *e = arg;
    unsigned events = ready_of(e) & e->wanted;
    if (events != 0) {
        tg_defer(e->base.reactor, &e->defer); /* level-triggered: again next turn */
        tg_stream_ready(&e->base, events);
    }
}

static void check(struct end *e)
{
    if (e != NULL && (ready_of(e) & e->wanted) != 0)
        tg_defer(e->base.reactor, &e->defer);
}

static ssize_t pair_read(struct tg_stream *s, void *buf, size_t len)
{
    struct end *e = (struct end *)s;
    if (e->in == NULL) {
        if (e->finished)
            return 0;
        return e->peer == NULL ? tg_stream_break(s, "read", TG_RESET, "the other end is gone")
                               : TG_AGAIN;
    }
    size_t n = tg_buf_len(e->in);
    if (n > len)
        n = len;
    memcpy(buf, e->in->data + e->in->start, n);
    e->in->start += (uint32_t)n;
    if (tg_buf_len(e->in) == 0) {
        tg_buf_put(&s->reactor->pool, e->in);
        e->in = NULL;
    }
    check(e->peer);
    return (ssize_t)n;
}

static ssize_t pair_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct end *e = (struct end *)s, *to = e->peer;
    if (to == NULL)
        return tg_stream_break(s, "write", TG_RESET, "the other end is gone");
    size_t held = to->in == NULL ? 0 : tg_buf_len(to->in), sent = 0;
    for (int i = 0; i < count && held + sent < e->capacity; i++) {
        size_t n = iov[i].iov_len, room = e->capacity - held - sent;
        if (n > room)
            n = room;
        if (n == 0)
            continue;
        if (to->in == NULL)
            to->in = tg_buf_get(&s->reactor->pool, n);
        if (to->in == NULL || !tg_buf_reserve(&s->reactor->pool, &to->in, n))
            break;
        memcpy(to->in->data + to->in->end, iov[i].iov_base, n);
        to->in->end += (uint32_t)n;
        sent += n;
    }
    if (sent == 0)
        return TG_AGAIN;
    check(to);
    return (ssize_t)sent;
}

static int pair_shutdown(struct tg_stream *s)
{
    struct end *e = (struct end *)s;
    if (e->peer != NULL) {
        e->peer->finished = true;
        check(e->peer);
    }
    return 0;
}

static void pair_want(struct tg_stream *s, unsigned events)
{
    struct end *e = (struct end *)s;
    e->wanted = events;
    check(e);
}

static void pair_close(struct tg_stream *s)
{
    struct end *e = (struct end *)s;
    tg_defer_cancel(s->reactor, &e->defer);
    if (e->peer != NULL) {
        /* Closed with everything read is an orderly end, as with a socket. */
        if (e->in == NULL)
            e->peer->finished = true;
        e->peer->peer = NULL;
        check(e->peer);
    }
    tg_buf_put(&s->reactor->pool, e->in);
    free(e);
}

static const struct tg_stream_ops pair_ops = {
    .name = "pair",
    .read = pair_read,
    .writev = pair_writev,
    .shutdown = pair_shutdown,
    .want = pair_want,
    .close = pair_close,
};

bool tg_stream_pair_is_left(const struct tg_stream *s)
{
    return s->ops == &pair_ops && ((const struct end *)s)->peer == NULL;
}

static struct end *make(struct tg_reactor *r, size_t capacity)
{
    struct end *e = tg_zalloc(sizeof(*e));
    e->base.ops = &pair_ops;
    e->base.reactor = r;
    e->base.state = TG_STREAM_OPEN;
    e->base.half_close = true;
    e->capacity = capacity;
    e->defer.cb = on_defer;
    e->defer.arg = e;
    return e;
}

void tg_stream_pair(struct tg_reactor *r, size_t capacity, struct tg_stream **a,
                    struct tg_stream **b)
{
    struct end *x = make(r, capacity), *y = make(r, capacity);
    x->peer = y;
    y->peer = x;
    *a = &x->base;
    *b = &y->base;
}
