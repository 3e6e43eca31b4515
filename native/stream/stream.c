#include "stream/stream.h"

#include <assert.h>
#include <string.h>

#define BIT(state) (1u << TG_STREAM_##state)

/** Which states may follow which. */
static const unsigned next_states[] = {
    [TG_STREAM_OPENING] = BIT(OPEN) | BIT(FAILED),
    [TG_STREAM_OPEN] = BIT(FAILED),
    [TG_STREAM_FAILED] = 0,
};

void tg_stream_set_state(struct tg_stream *s, enum tg_stream_state to)
{
    assert(next_states[s->state] & (1u << to));
    s->state = (uint8_t)to;
}

int tg_stream_fail(struct tg_stream *s, const char *op, int sys)
{
    int code = tg_error_set(&s->error, s->ops->name, op, sys);
    if (code != TG_AGAIN)
        tg_stream_set_state(s, TG_STREAM_FAILED);
    return code;
}

int tg_stream_break(struct tg_stream *s, const char *op, enum tg_code code, const char *detail)
{
    tg_stream_set_state(s, TG_STREAM_FAILED);
    return tg_error_put(&s->error, s->ops->name, op, code, detail);
}

int tg_stream_inherit(struct tg_stream *s)
{
    assert(s->lower != NULL && s->lower->state == TG_STREAM_FAILED);
    s->error = s->lower->error;
    tg_stream_set_state(s, TG_STREAM_FAILED);
    return s->error.code;
}

void tg_stream_ready(struct tg_stream *s, unsigned events)
{
    if (s->on_ready != NULL)
        s->on_ready(s->ready_arg, events);
}

/* What every call but close() answers while the stream is not OPEN. */
static int not_open(const struct tg_stream *s)
{
    return s->state == TG_STREAM_FAILED ? s->error.code : TG_AGAIN;
}

static size_t deliver_ahead(struct tg_stream *s, void *buf, size_t len)
{
    size_t n = tg_buf_len(s->ahead);
    if (n > len)
        n = len;
    memcpy(buf, s->ahead->data + s->ahead->start, n);
    tg_stream_consume(s, n);
    return n;
}

ssize_t tg_stream_read(struct tg_stream *s, void *buf, size_t len)
{
    if (s->ahead != NULL) {
        size_t n = deliver_ahead(s, buf, len);
        s->rx += n;
        return (ssize_t)n;
    }
    if (s->state != TG_STREAM_OPEN)
        return not_open(s);
    if (s->eof)
        return 0;
    ssize_t n = s->ops->read(s, buf, len);
    if (n > 0)
        s->rx += (uint64_t)n;
    else if (n == 0)
        s->eof = true;
    return n;
}

ssize_t tg_stream_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    if (s->state != TG_STREAM_OPEN)
        return not_open(s);
    ssize_t n = s->ops->writev(s, iov, count);
    if (n > 0)
        s->tx += (uint64_t)n;
    return n;
}

ssize_t tg_stream_write(struct tg_stream *s, const void *buf, size_t len)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
    return tg_stream_writev(s, &iov, 1);
}

int tg_stream_shutdown(struct tg_stream *s)
{
    if (s->shut)
        return 0;
    if (s->state != TG_STREAM_OPEN)
        return not_open(s);
    int code = s->ops->shutdown(s);
    if (code == 0)
        s->shut = true;
    return code;
}

void tg_stream_want(struct tg_stream *s, unsigned events)
{
    s->ops->want(s, events);
}

void tg_stream_close(struct tg_stream *s)
{
    if (s->ahead != NULL) {
        tg_buf_put(&s->reactor->pool, s->ahead);
        s->ahead = NULL;
    }
    s->ops->close(s);
}

int tg_stream_fd(const struct tg_stream *s)
{
    if (s->ops->fd == NULL || s->ahead != NULL || s->state != TG_STREAM_OPEN)
        return -1;
    return s->ops->fd(s);
}

int tg_stream_name(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                   socklen_t *len)
{
    for (; s != NULL; s = s->lower)
        if (s->ops->name_of != NULL)
            return s->ops->name_of(s, peer, out, len);
    return TG_IO;
}

ssize_t tg_stream_fill(struct tg_stream *s, size_t limit)
{
    if (s->state != TG_STREAM_OPEN)
        return not_open(s);
    if (s->eof)
        return 0;
    size_t held = s->ahead == NULL ? 0 : tg_buf_len(s->ahead);
    if (held >= limit)
        return TG_LIMIT;

    struct tg_pool *pool = &s->reactor->pool;
    bool fresh = s->ahead == NULL;
    if (fresh)
        s->ahead = tg_buf_get(pool, TG_BUF_SMALL);
    else if (tg_buf_room(s->ahead) == 0 && !tg_buf_reserve(pool, &s->ahead, held))
        return TG_LIMIT;
    struct tg_buf *b = s->ahead;
    ssize_t n = s->ops->read(s, b->data + b->end, tg_buf_room(b));
    if (n > 0)
        b->end += (uint32_t)n;
    else if (n == 0)
        s->eof = true;
    if (n <= 0 && fresh) {
        tg_buf_put(pool, s->ahead);
        s->ahead = NULL;
    }
    return n;
}

void tg_stream_consume(struct tg_stream *s, size_t n)
{
    struct tg_buf *b = s->ahead;
    assert(b != NULL && n <= tg_buf_len(b));
    b->start += (uint32_t)n;
    if (b->start == b->end) {
        tg_buf_put(&s->reactor->pool, b);
        s->ahead = NULL;
    }
}

int tg_stream_unread(struct tg_stream *s, const void *data, size_t len)
{
    if (len == 0)
        return 0;
    struct tg_pool *pool = &s->reactor->pool;
    size_t held = s->ahead == NULL ? 0 : tg_buf_len(s->ahead);
    struct tg_buf *b = tg_buf_get(pool, len + held);
    if (b == NULL)
        return TG_LIMIT;
    memcpy(b->data, data, len);
    if (held > 0)
        memcpy(b->data + len, s->ahead->data + s->ahead->start, held);
    b->end = (uint32_t)(len + held);
    tg_buf_put(pool, s->ahead);
    s->ahead = b;
    return 0;
}
