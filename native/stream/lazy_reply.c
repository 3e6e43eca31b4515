#include "stream/lazy_reply.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct lazy {
    struct tg_stream base;
    const struct tg_lazy_reply *reply; /* NULL: the reply has passed */
    uint32_t skip;                     /* bytes to drop after the head */
    uint8_t held;                      /* bytes of the head so far */
    uint8_t head[TG_LAZY_HEAD_MAX];
};

/* Take what belongs to the reply off the front of `data`.
 * @return bytes taken or a negative code */
static ssize_t feed(struct lazy *l, const uint8_t *data, size_t len)
{
    size_t taken = 0, rest = l->reply->head_len - l->held;
    if (rest > 0) {
        taken = len < rest ? len : rest;
        memcpy(l->head + l->held, data, taken);
        l->held += (uint8_t)taken;
        if (taken < rest)
            return (ssize_t)taken;
        struct tg_error err = { .code = TG_PROTOCOL };
        ssize_t skip = l->reply->judge(l->head, &err);
        if (skip < 0)
            return tg_stream_break(&l->base, "reply", err.code, err.detail);
        l->skip = (uint32_t)skip;
    }
    size_t drop = len - taken < l->skip ? len - taken : l->skip;
    l->skip -= (uint32_t)drop;
    if (l->skip == 0)
        l->reply = NULL;
    return (ssize_t)(taken + drop);
}

/* `lower` has failed.  Who is reset before a word came was not understood, as far as anybody can tell. */
static int lower_failed(struct lazy *l)
{
    struct tg_stream *s = &l->base;
    if (l->reply != NULL && l->held == 0 && s->lower->ahead == NULL && s->lower->error.code == TG_RESET &&
        s->lower->error.sys != 0) /* else the lower one knows better */
        return tg_stream_break(s, "reply", TG_PROTOCOL,
                               "the server reset the connection without an answer; its transport "
                               "or protocol may be another");
    return tg_stream_inherit(s);
}

static ssize_t lazy_read(struct tg_stream *s, void *buf, size_t len)
{
    struct lazy *l = (struct lazy *)s;
    for (;;) {
        ssize_t n = tg_stream_read(s->lower, buf, len);
        if (n == TG_AGAIN || (n >= 0 && l->reply == NULL))
            return n;
        if (n < 0)
            return lower_failed(l);
        if (n == 0)
            return tg_stream_break(s, "reply", TG_PROTOCOL,
                                   "the server hung up without an answer; its transport or "
                                   "protocol may be another");
        ssize_t taken = feed(l, buf, (size_t)n);
        if (taken < 0)
            return taken;
        if (taken < n) {
            memmove(buf, (uint8_t *)buf + taken, (size_t)(n - taken));
            return n - taken;
        }
    }
}

/* What the peer said before it left is its reply, or begins with it.
 * @return 0, or a negative code: a refusal */
static ssize_t rescue(struct lazy *l)
{
    struct tg_stream *s = &l->base, *lower = s->lower;
    if (s->ahead != NULL || lower->ahead == NULL)
        return 0;
    if (l->reply != NULL) {
        struct tg_buf *b = lower->ahead;
        ssize_t taken = feed(l, b->data + b->start, tg_buf_len(b));
        if (taken < 0)
            return taken;
        tg_stream_consume(lower, (size_t)taken);
    }
    s->ahead = lower->ahead;
    lower->ahead = NULL;
    return 0;
}

static ssize_t lazy_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    ssize_t n = tg_stream_writev(s->lower, iov, count);
    if (n >= 0 || n == TG_AGAIN)
        return n;
    struct lazy *l = (struct lazy *)s;
    ssize_t refused = rescue(l);
    return refused < 0 ? refused : lower_failed(l);
}

static int lazy_shutdown(struct tg_stream *s)
{
    int code = tg_stream_shutdown(s->lower);
    return code < 0 && code != TG_AGAIN ? lower_failed((struct lazy *)s) : code;
}

static void lazy_want(struct tg_stream *s, unsigned events)
{
    tg_stream_want(s->lower, events);
}

static void lazy_close(struct tg_stream *s)
{
    tg_stream_close(s->lower);
    free(s);
}

static bool lazy_leave(struct tg_stream *s)
{
    bool done = ((struct lazy *)s)->reply == NULL;
    if (done)
        free(s);
    return done;
}

static int lazy_fd(const struct tg_stream *s)
{
    return ((const struct lazy *)s)->reply == NULL ? tg_stream_fd(s->lower) : -1;
}

static void lazy_blocked(struct tg_stream *s, unsigned events)
{
    s->lower->ops->blocked(s->lower, events);
}

static bool lazy_obstructed(const struct tg_stream *s)
{
    return s->lower->ops->obstructed(s->lower);
}

static void on_ready(void *arg, unsigned events)
{
    struct tg_stream *s = arg;
    if (s->lower->state == TG_STREAM_FAILED && s->state == TG_STREAM_OPEN)
        lower_failed((struct lazy *)s);
    tg_stream_ready(s, events);
}

static const struct tg_stream_ops relay_ops = {
    .name = "relay",
    .read = lazy_read,
    .writev = lazy_writev,
    .shutdown = lazy_shutdown,
    .want = lazy_want,
    .close = lazy_close,
    .leave = lazy_leave,
    .fd = lazy_fd,
    .blocked = lazy_blocked,
    .obstructed = lazy_obstructed,
};

struct tg_stream *tg_lazy_reply_open(struct tg_stream *lower, const struct tg_lazy_reply *reply)
{
    struct lazy *l = tg_zalloc(sizeof(*l));
    l->base.ops = reply->ops;
    l->base.lower = lower;
    l->base.reactor = lower->reactor;
    l->base.state = TG_STREAM_OPEN;
    l->base.half_close = lower->half_close;
    l->reply = reply;
    lower->on_ready = on_ready;
    lower->ready_arg = l;
    return &l->base;
}

static ssize_t judge_relay(const uint8_t *head, struct tg_error *err)
{
    static const char *const words[] = {
        [1] = "bad request",
        [2] = "unauthorized: user or password are wrong",
        [3] = "forbidden",
        [4] = "timeout",
        [5] = "service unavailable",
        [6] = "host unreachable",
        [7] = "network unreachable",
        [8] = "internal server error",
    };
    static const enum tg_code codes[] = {
        [1] = TG_PROTOCOL, [2] = TG_AUTH,        [3] = TG_BLOCKED,     [4] = TG_TIMEOUT,
        [5] = TG_REFUSED,  [6] = TG_UNREACHABLE, [7] = TG_UNREACHABLE, [8] = TG_PROTOCOL,
    };
    uint8_t status = head[1];
    if (head[0] != 1)
        return tg_error_put(err, NULL, NULL, TG_PROTOCOL,
                            "the answer is no relay response; the transport may be another");
    if (status >= tg_countof(words))
        return tg_error_put(err, NULL, NULL, TG_PROTOCOL, "unknown status in the response");
    if (status != 0)
        return tg_error_put(err, NULL, NULL, codes[status], words[status]);
    return head[2] << 8 | head[3];
}

const struct tg_lazy_reply tg_lazy_relay_reply = {
    .ops = &relay_ops,
    .head_len = 4,
    .judge = judge_relay,
};
