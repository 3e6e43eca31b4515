#include "session/h2_http1.h"

#include "base/mem.h"
#include "session/h2_http1_core.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_HEAD 10u /* "0000ffff\r\n" */
#define CHUNK_ROOM (CHUNK_HEAD + 2u)
#define SMALL 128u
#define CODE_MAX 65536u /* chunked bytes taken apart at once */

/* --- reading -------------------------------------------------------------------------------------------- */

static ssize_t inherit(struct tg_stream *s, ssize_t n)
{
    return n < 0 && n != TG_AGAIN ? tg_stream_inherit(s) : n;
}

/* The end of a body, which the peer must have said itself: a request taken back is no short one.
 * @return 0, or a negative code */
static int read_end(struct tg_h2_http1 *x)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)x->base.lower;
    if (!st->fin_received && !x->client)
        return tg_stream_break(&x->base, "read", TG_RESET, "the client has taken its request back");
    if (!st->fin_received)
        return tg_stream_break(&x->base, "read", TG_RESET, "the response was cut off");
    if (!tg_h2_http1_take_end(x))
        return tg_stream_break(&x->base, "read", TG_LIMIT, "the trailers are too long");
    x->input_over = true;
    return 0;
}

/* @return bytes in `to`: a chunk made in place, 0: the last one is in `text`; or a negative code */
static ssize_t read_chunk(struct tg_h2_http1 *x, uint8_t *to, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    ssize_t n = tg_stream_read(x->base.lower, to + CHUNK_HEAD, len - CHUNK_ROOM);
    if (n < 0)
        return inherit(&x->base, n);
    if (n == 0)
        return read_end(x);
    for (unsigned i = 0; i < CHUNK_HEAD - 2; i++)
        to[i] = (uint8_t)digits[(size_t)n >> (28 - 4 * i) & 15];
    memcpy(to + CHUNK_HEAD - 2, "\r\n", 2);
    memcpy(to + CHUNK_HEAD + n, "\r\n", 2);
    return n + CHUNK_ROOM;
}

static size_t deliver_text(struct tg_h2_text *t, void *buf, size_t len)
{
    size_t held = t->len - t->at, n = held < len ? held : len;
    memcpy(buf, t->data + t->at, n);
    t->at += n;
    if (t->at == t->len)
        tg_h2_text_free(t);
    return n;
}

/* Client: the next head that has come.  @return 1: it is in `text`; or a negative code */
static ssize_t read_head(struct tg_h2_http1 *x)
{
    struct tg_stream *lower = x->base.lower;
    struct tg_h2_block *interim = tg_h2_next_interim(lower);
    if (interim != NULL) {
        tg_h2_http1_take_response(x, interim);
        free(interim);
        return 1;
    }
    if (tg_h2_headers(lower) != NULL) {
        tg_h2_http1_take_response(x, tg_h2_headers(lower));
        tg_h2_forget_headers(lower);
        return 1;
    }
    uint8_t none[1];
    ssize_t n = tg_stream_read(lower, none, sizeof(none));
    if (n < 0)
        return inherit(&x->base, n);
    return tg_stream_break(&x->base, "read", TG_PROTOCOL, "no response came");
}

static ssize_t read_plain(struct tg_h2_http1 *x, void *buf, size_t len)
{
    ssize_t n = inherit(&x->base, tg_stream_read(x->base.lower, buf, len));
    if (n > 0 && x->counted)
        x->due -= (uint64_t)n < x->due ? (uint64_t)n : x->due;
    return n;
}

static ssize_t http1_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tg_h2_http1 *x = (struct tg_h2_http1 *)s;
    uint8_t small[SMALL];
    for (;;) {
        if (x->text.len > x->text.at)
            return (ssize_t)deliver_text(&x->text, buf, len);
        ssize_t n = 0;
        if (x->awaits_head)
            n = read_head(x);
        else if (x->input_over)
            return 0;
        else if (!x->chunk_input)
            return read_plain(x, buf, len);
        else if (len >= SMALL)
            n = read_chunk(x, buf, len);
        else if ((n = read_chunk(x, small, SMALL)) > 0)
            tg_h2_text_add(&x->text, (const char *)small, (size_t)n);
        if (n < 0 || (n > 0 && x->text.len == x->text.at))
            return n;
    }
}

/* --- writing ------------------------------------------------------------------------------------------------ */

static void drop_pending(struct tg_h2_http1 *x)
{
    tg_buf_put(&x->base.reactor->pool, x->pending);
    x->pending = NULL;
}

/* @return 0 or a negative code, the stream's failure */
static int send_head(struct tg_h2_http1 *x, const struct tg_http1_head *h)
{
    struct tg_stream *s = &x->base;
    int code = x->client ? tg_h2_http1_send_request(x, h) : tg_h2_http1_send_response(x, h);
    if (code >= 0)
        return 0;
    if (s->lower->state == TG_STREAM_FAILED)
        return tg_stream_inherit(s);
    return tg_stream_break(s, "write", TG_LIMIT, "the head cannot be sent");
}

/* Gather the head.  @return bytes taken of what is offered, or a negative code */
static ssize_t write_head(struct tg_h2_http1 *x, const struct iovec *iov, int count)
{
    struct tg_stream *s = &x->base;
    struct tg_pool *pool = &s->reactor->pool;
    struct tg_error err = { 0 };
    struct tg_http1_head h;
    size_t before = x->pending == NULL ? 0 : tg_buf_len(x->pending), total = before;
    for (int i = 0; i < count && total < TG_HTTP1_HEAD_MAX; i++) {
        size_t n = iov[i].iov_len < TG_HTTP1_HEAD_MAX - total ? iov[i].iov_len
                                                              : TG_HTTP1_HEAD_MAX - total;
        if (x->pending == NULL)
            x->pending = tg_buf_get(pool, n);
        if (x->pending == NULL || !tg_buf_reserve(pool, &x->pending, n))
            return tg_stream_break(s, "write", TG_BUSY, "out of memory");
        memcpy(x->pending->data + x->pending->end, iov[i].iov_base, n);
        x->pending->end += (uint32_t)n;
        total += n;
    }
    if (total == 0)
        return 0;
    const uint8_t *data = x->pending->data + x->pending->start;
    ssize_t n = x->client ? tg_http1_request_decode(data, total, &h, &err)
                          : tg_http1_response_decode(data, total, &h, &err);
    if (n == TG_AGAIN && total < TG_HTTP1_HEAD_MAX)
        return (ssize_t)(total - before);
    if (n < 0)
        return tg_stream_break(s, "write", TG_PROTOCOL, "no head of HTTP/1.1");
    int code = send_head(x, &h);
    drop_pending(x);
    return code < 0 ? code : n - (ssize_t)before;
}

static int end_output(struct tg_h2_http1 *x)
{
    x->phase = TG_H2_DONE;
    int code = tg_h2_http1_send_end(x);
    tg_h2_text_free(&x->trailers);
    if (code >= 0 || code == TG_AGAIN)
        return 0;
    if (x->base.lower->state == TG_STREAM_FAILED)
        return tg_stream_inherit(&x->base);
    return tg_stream_break(&x->base, "write", TG_LIMIT, "the trailers cannot be sent");
}

static ssize_t write_length(struct tg_h2_http1 *x, const struct iovec *iov, int count)
{
    struct iovec parts[16];
    uint64_t left = x->left;
    int used = 0;
    for (int i = 0; i < count && used < 16 && left > 0; i++) {
        size_t n = iov[i].iov_len < left ? iov[i].iov_len : (size_t)left;
        parts[used++] = (struct iovec){ iov[i].iov_base, n };
        left -= n;
    }
    ssize_t n = tg_stream_writev(x->base.lower, parts, used);
    if (n < 0)
        return inherit(&x->base, n);
    x->left -= (uint64_t)n;
    int code = x->left == 0 ? end_output(x) : 0;
    return code < 0 ? code : n;
}

/* Take the coding off a copy of what is offered.  @return 0 or a negative code */
static int take_chunks(struct tg_h2_http1 *x, const struct iovec *iov, int count)
{
    struct tg_stream *s = &x->base;
    struct tg_error err = { 0 };
    size_t len = 0, data = 0;
    x->pending = tg_buf_get(&s->reactor->pool, CODE_MAX);
    for (int i = 0; i < count && len < CODE_MAX; i++) {
        size_t n = iov[i].iov_len < CODE_MAX - len ? iov[i].iov_len : CODE_MAX - len;
        memcpy(x->pending->data + len, iov[i].iov_base, n);
        len += n;
    }
    ssize_t n = tg_chunks_scan(&x->chunks, x->pending->data, len, &data, &err);
    if (n < 0)
        return tg_stream_break(s, "write", TG_PROTOCOL, "broken chunks");
    tg_h2_text_add(&x->trailers, (const char *)x->pending->data + data, x->chunks.trailers);
    x->owed = (size_t)n;
    x->pending->start = 0;
    x->pending->end = (uint32_t)data;
    return 0;
}

static ssize_t write_chunks(struct tg_h2_http1 *x, const struct iovec *iov, int count)
{
    int code = x->pending == NULL ? take_chunks(x, iov, count) : 0;
    if (code < 0)
        return code;
    while (tg_buf_len(x->pending) > 0) {
        ssize_t n = tg_stream_write(x->base.lower, x->pending->data + x->pending->start,
                                    tg_buf_len(x->pending));
        if (n < 0)
            return inherit(&x->base, n); /* the same bytes are offered again */
        x->pending->start += (uint32_t)n;
    }
    drop_pending(x);
    if (tg_chunks_done(&x->chunks))
        code = end_output(x);
    return code < 0 ? code : (ssize_t)x->owed;
}

static ssize_t http1_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct tg_h2_http1 *x = (struct tg_h2_http1 *)s;
    switch (x->phase) {
    case TG_H2_HEAD:
        return write_head(x, iov, count);
    case TG_H2_LENGTH:
        return write_length(x, iov, count);
    case TG_H2_CHUNKED:
        return write_chunks(x, iov, count);
    case TG_H2_DONE:
        return tg_stream_break(s, "write", TG_INVALID, "the message is over");
    default:
        return inherit(s, tg_stream_writev(s->lower, iov, count));
    }
}

static int http1_shutdown(struct tg_stream *s)
{
    struct tg_h2_http1 *x = (struct tg_h2_http1 *)s;
    if (x->phase != TG_H2_RAW && x->phase != TG_H2_CLOSE)
        return 0; /* the message says itself where it ends */
    return end_output(x);
}

/* --- readiness and the end -------------------------------------------------------------------------- */

static bool has_input(const struct tg_h2_http1 *x)
{
    return x->text.len > x->text.at || x->input_over;
}

static void on_defer(void *arg)
{
    struct tg_h2_http1 *x = arg;
    unsigned events = x->base.state == TG_STREAM_FAILED ? x->wanted : 0;
    if ((x->wanted & TG_READABLE) && has_input(x))
        events |= TG_READABLE;
    if (events == 0)
        return;
    tg_defer(x->base.reactor, &x->defer); /* level-triggered: again next turn */
    tg_stream_ready(&x->base, events);
}

static void http1_want(struct tg_stream *s, unsigned events)
{
    struct tg_h2_http1 *x = (struct tg_h2_http1 *)s;
    x->wanted = events;
    if (events != 0 && (has_input(x) || s->state == TG_STREAM_FAILED))
        tg_defer(s->reactor, &x->defer);
    tg_stream_want(s->lower, events);
}

static void untie(struct tg_h2_http1 *x)
{
    if (x->tied != NULL)
        x->tied->tied = NULL;
    x->tied = NULL;
}

/* Nobody waits for the response any more. */
static void give_up(struct tg_h2_http1 *x)
{
    if (x->base.state != TG_STREAM_OPEN)
        return;
    tg_h2_reset(x->base.lower, NGHTTP2_CANCEL);
    tg_stream_break(&x->base, "response", TG_CLOSED, "the client has taken its request back");
    tg_defer(x->base.reactor, &x->defer);
}

/* The client's exchange is over: was it answered? */
static void on_client_over(void *arg, struct tg_stream *s)
{
    struct tg_h2_http1 *x = arg, *upstream = x->tied;
    bool answered = x->phase == TG_H2_DONE || x->phase == TG_H2_RAW;
    untie(x);
    if (s != NULL && upstream != NULL && !answered)
        give_up(upstream);
}

static void http1_close(struct tg_stream *s)
{
    struct tg_h2_http1 *x = (struct tg_h2_http1 *)s;
    untie(x);
    if (x->phase == TG_H2_CLOSE)
        tg_stream_shutdown(s->lower); /* that is its end */
    else if (!x->client && x->phase != TG_H2_DONE && x->phase != TG_H2_RAW)
        tg_h2_reset(s->lower, NGHTTP2_INTERNAL_ERROR); /* the response is no whole one */
    drop_pending(x);
    tg_h2_text_free(&x->text);
    tg_h2_text_free(&x->trailers);
    tg_defer_cancel(s->reactor, &x->defer);
    bool whole = x->input_over || (x->counted && x->due == 0);
    if (x->client && x->phase == TG_H2_DONE && whole && s->state == TG_STREAM_OPEN)
        tg_h2_leave(s->lower);
    else
        tg_stream_close(s->lower);
    free(x);
}

static void on_ready(void *arg, unsigned events)
{
    tg_stream_ready(arg, events);
}

static const struct tg_stream_ops http1_ops = {
    .name = "http2",
    .read = http1_read,
    .writev = http1_writev,
    .shutdown = http1_shutdown,
    .want = http1_want,
    .close = http1_close,
};

static struct tg_h2_http1 *make(struct tg_stream *lower)
{
    struct tg_h2_http1 *x = tg_zalloc(sizeof(*x));
    x->base.ops = &http1_ops;
    x->base.lower = lower;
    x->base.reactor = lower->reactor;
    x->base.state = TG_STREAM_OPEN;
    x->base.half_close = lower->half_close;
    x->defer = (struct tg_defer){ .cb = on_defer, .arg = x };
    return x;
}

static void take_over(struct tg_h2_http1 *x)
{
    x->base.lower->on_ready = on_ready;
    x->base.lower->ready_arg = x;
}

struct tg_stream *tg_h2_http1_open(struct tg_stream *lower)
{
    struct tg_h2_http1 *x = make(lower);
    if (!tg_h2_http1_take_request(x)) {
        tg_h2_text_free(&x->text);
        free(x);
        return NULL;
    }
    tg_h2_forget_headers(lower);
    take_over(x);
    return &x->base;
}

struct tg_stream *tg_h2_http1_exchange(struct tg_session *s, const char *scheme, struct tg_error *err)
{
    struct tg_stream *lower = tg_h2_prepare(s, err);
    if (lower == NULL)
        return NULL;
    struct tg_h2_http1 *x = make(lower);
    x->client = x->awaits_head = true;
    x->scheme = scheme;
    tg_h2_await_heads(lower);
    take_over(x);
    return &x->base;
}

void tg_h2_http1_tie(struct tg_stream *client, struct tg_stream *upstream)
{
    if (client->ops != &http1_ops || upstream->ops != &http1_ops)
        return;
    struct tg_h2_http1 *from = (struct tg_h2_http1 *)client, *to = (struct tg_h2_http1 *)upstream;
    if (from->client || !to->client)
        return;
    untie(from);
    untie(to);
    from->tied = to;
    to->tied = from;
    tg_h2_on_over(client->lower, on_client_over, from);
}
