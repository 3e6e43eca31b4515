#include "stream/opener.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct opener {
    struct tg_stream base; /* first: a struct opener is a struct tg_stream */
    struct tg_stream_ops ops; /* a copy, for its name */
    const struct tg_opener *kind;
    void *arg;
    struct tg_buf *held; /* taken from the user, the opening is not made yet; NULL: nothing */
    struct tg_buf *out;  /* the opening, as far as `lower` has not taken it; NULL: nothing */
    struct tg_timer timer;
    bool opened, answered;
};

static struct tg_pool *pool_of(struct opener *o)
{
    return &o->base.reactor->pool;
}

static int lower_failed(struct opener *o)
{
    struct tg_stream *s = &o->base;
    return s->state == TG_STREAM_FAILED ? s->error.code : tg_stream_inherit(s);
}

/* @return 0, TG_AGAIN or a negative code */
static int flush(struct opener *o)
{
    while (o->out != NULL) {
        struct tg_buf *b = o->out;
        ssize_t n = tg_stream_write(o->base.lower, b->data + b->start, tg_buf_len(b));
        if (n < 0)
            return n == TG_AGAIN ? TG_AGAIN : lower_failed(o);
        b->start += (uint32_t)n;
        if (tg_buf_len(b) == 0) {
            tg_buf_put(pool_of(o), b);
            o->out = NULL;
        }
    }
    return 0;
}

static void want_lower(struct opener *o)
{
    unsigned events = o->base.wanted;
    if (o->out != NULL)
        events |= TG_WRITABLE;
    tg_stream_want(o->base.lower, o->base.state == TG_STREAM_OPEN ? events : 0);
}

/* Make the opening if it can be made.  @return 0, TG_AGAIN: it cannot, or a negative code */
static int try_open(struct opener *o, bool last)
{
    static const uint8_t nothing[1];
    struct tg_buf *b = o->held;
    bool full = b != NULL && tg_buf_len(b) >= TG_OPENER_MAX;
    int code = o->kind->open(o->arg, pool_of(o), b != NULL ? b->data + b->start : nothing,
                             b != NULL ? tg_buf_len(b) : 0, last || full, &o->out);
    if (code != 0)
        return code;
    tg_buf_put(pool_of(o), b);
    o->held = NULL;
    o->opened = true;
    tg_timer_stop(o->base.reactor, &o->timer);
    code = flush(o);
    want_lower(o);
    return code == TG_AGAIN ? 0 : code;
}

/* Take bytes of the user for the opening.  @return how many, or a negative code */
static ssize_t hold(struct opener *o, const struct iovec *iov, int count)
{
    size_t taken = 0;
    for (int i = 0; i < count; i++) {
        size_t held = o->held != NULL ? tg_buf_len(o->held) : 0;
        size_t n = iov[i].iov_len < TG_OPENER_MAX - held ? iov[i].iov_len : TG_OPENER_MAX - held;
        if (n == 0)
            continue;
        if (o->held == NULL)
            o->held = tg_buf_get(pool_of(o), n);
        if (o->held == NULL || !tg_buf_reserve(pool_of(o), &o->held, n))
            return tg_stream_break(&o->base, "write", TG_BUSY, "no memory");
        memcpy(o->held->data + o->held->end, iov[i].iov_base, n);
        o->held->end += (uint32_t)n;
        taken += n;
    }
    return (ssize_t)taken;
}

static ssize_t opener_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct opener *o = (struct opener *)s;
    if (!o->opened) {
        ssize_t n = hold(o, iov, count);
        if (n <= 0)
            return n;
        int code = try_open(o, false);
        return code == 0 || code == TG_AGAIN ? n : code;
    }
    int code = flush(o);
    if (code != 0)
        return code;
    ssize_t n = tg_stream_writev(s->lower, iov, count);
    if (n >= 0 || n == TG_AGAIN)
        return n;
    if (o->answered && s->ahead == NULL) {
        s->ahead = s->lower->ahead; /* what the peer said before it left */
        s->lower->ahead = NULL;
    }
    return lower_failed(o);
}

static ssize_t take_answer(struct opener *o, uint8_t *buf, size_t n)
{
    struct tg_error err = { .code = TG_PROTOCOL };
    ssize_t taken = o->kind->answer(o->arg, buf, n, &o->answered, &err);
    if (taken < 0)
        return tg_stream_break(&o->base, "answer", err.code, err.detail);
    memmove(buf, buf + taken, n - (size_t)taken);
    return (ssize_t)n - taken;
}

static ssize_t opener_read(struct tg_stream *s, void *buf, size_t len)
{
    struct opener *o = (struct opener *)s;
    if (!o->opened && o->held == NULL && o->kind->patience > 0 && !tg_timer_running(&o->timer))
        tg_timer_start(s->reactor, &o->timer, o->kind->patience);
    for (;;) {
        ssize_t n = tg_stream_read(s->lower, buf, len);
        if (n == TG_AGAIN)
            return n;
        if (n < 0)
            return lower_failed(o);
        if (n == 0 && !o->answered)
            return tg_stream_break(s, "answer", TG_PROTOCOL,
                                   "the server hung up without an answer; its transport or "
                                   "protocol may be another");
        if (o->answered)
            return n;
        n = take_answer(o, buf, (size_t)n);
        if (n != 0)
            return n;
    }
}

static int opener_shutdown(struct tg_stream *s)
{
    struct opener *o = (struct opener *)s;
    int code = o->opened ? 0 : try_open(o, true);
    if (code == 0)
        code = flush(o);
    if (code != 0)
        return code;
    code = tg_stream_shutdown(s->lower);
    return code < 0 && code != TG_AGAIN ? lower_failed(o) : code;
}

static void opener_want(struct tg_stream *s, unsigned events)
{
    (void)events;
    want_lower((struct opener *)s);
}

static void release(struct opener *o)
{
    tg_timer_stop(o->base.reactor, &o->timer);
    tg_buf_put(pool_of(o), o->held);
    tg_buf_put(pool_of(o), o->out);
    if (o->kind->release != NULL)
        o->kind->release(o->arg);
    free(o);
}

static void opener_close(struct tg_stream *s)
{
    struct opener *o = (struct opener *)s;
    if (s->state == TG_STREAM_OPEN && o->out != NULL)
        flush(o);
    tg_stream_close(s->lower);
    release(o);
}

static bool is_done(const struct opener *o)
{
    return o->opened && o->answered && o->out == NULL;
}

static bool opener_leave(struct tg_stream *s)
{
    struct opener *o = (struct opener *)s;
    bool done = is_done(o);
    if (done)
        release(o);
    return done;
}

static int opener_fd(const struct tg_stream *s)
{
    return is_done((const struct opener *)s) ? tg_stream_fd(s->lower) : -1;
}

static void opener_blocked(struct tg_stream *s, unsigned events)
{
    s->lower->ops->blocked(s->lower, events);
}

static bool opener_obstructed(const struct tg_stream *s)
{
    return s->lower->ops->obstructed(s->lower);
}

static void on_lower(void *arg, unsigned events)
{
    struct opener *o = arg;
    struct tg_stream *s = &o->base;
    if (s->lower->state == TG_STREAM_FAILED && s->state == TG_STREAM_OPEN)
        tg_stream_inherit(s);
    if ((events & TG_WRITABLE) && o->out != NULL && s->state == TG_STREAM_OPEN) {
        if (flush(o) == TG_AGAIN)
            events &= ~TG_WRITABLE;
        want_lower(o);
    }
    if (s->state == TG_STREAM_FAILED)
        events |= s->wanted;
    if (events & s->wanted)
        tg_stream_ready(s, events & (s->wanted | TG_HANGUP));
}

/* The user only listens: the other side has to begin. */
static void on_timer(void *arg)
{
    struct opener *o = arg;
    if (!o->opened && o->held == NULL && o->base.state == TG_STREAM_OPEN)
        try_open(o, true);
    if (o->base.state == TG_STREAM_FAILED && o->base.wanted != 0)
        tg_stream_ready(&o->base, o->base.wanted);
}

static const struct tg_stream_ops opener_ops = {
    .read = opener_read,
    .writev = opener_writev,
    .shutdown = opener_shutdown,
    .want = opener_want,
    .close = opener_close,
    .leave = opener_leave,
    .fd = opener_fd,
    .blocked = opener_blocked,
    .obstructed = opener_obstructed,
};

int tg_opener_prefix(struct tg_pool *pool, const void *text, size_t text_len, const uint8_t *in,
                     size_t len, bool last, struct tg_buf **out)
{
    if (len == 0 && !last)
        return TG_AGAIN;
    struct tg_buf *b = tg_buf_get(pool, text_len + len);
    if (b == NULL)
        abort(); /* the text is small, and the rest was held a moment ago */
    memcpy(b->data, text, text_len);
    memcpy(b->data + text_len, in, len);
    b->end = (uint32_t)(text_len + len);
    *out = b;
    return 0;
}

struct tg_stream *tg_opener_start(struct tg_stream *lower, const struct tg_opener *kind, void *arg)
{
    struct opener *o = tg_zalloc(sizeof(*o));
    o->ops = opener_ops;
    o->ops.name = kind->name;
    o->base.ops = &o->ops;
    o->base.lower = lower;
    o->base.reactor = lower->reactor;
    o->base.state = TG_STREAM_OPEN;
    o->base.half_close = lower->half_close;
    o->kind = kind;
    o->arg = arg;
    o->answered = kind->answer == NULL;
    o->timer = (struct tg_timer){ .cb = on_timer, .arg = o };
    if (o->answered) { /* nobody announces what was read ahead below */
        o->base.ahead = lower->ahead;
        lower->ahead = NULL;
    }
    lower->on_ready = on_lower;
    lower->ready_arg = o;
    return &o->base;
}
