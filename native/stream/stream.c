#include "stream/stream.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define METERED_PARTS 64 /* of one write to a metered stream */

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

/* Metering --------------------------------------------------------------------------------------- */

struct tg_metering {
    struct tg_stream *stream;
    struct tg_gauge gauge;
    struct tg_timer timer;
    unsigned waiting; /* events that are withheld until there are tokens */
};

static struct tg_metering *metering_of(const struct tg_stream *s)
{
    return s->extras != NULL ? s->extras->metering : NULL;
}

static enum tg_way way_of(unsigned event)
{
    return event == TG_READABLE ? TG_IN : TG_OUT;
}

static uint64_t ready_at(const struct tg_metering *m, unsigned event)
{
    return m->waiting & event ? m->gauge.way[way_of(event)].ready_at : UINT64_MAX;
}

static void start_timer(struct tg_metering *m)
{
    struct tg_reactor *r = m->stream->reactor;
    uint64_t in = ready_at(m, TG_READABLE), out = ready_at(m, TG_WRITABLE);
    uint64_t at = in < out ? in : out;
    if (at != UINT64_MAX)
        tg_timer_start(r, &m->timer, at > r->now ? at - r->now : 0);
}

static void on_tokens(void *arg)
{
    struct tg_metering *m = arg;
    uint64_t now = m->stream->reactor->now;
    if (ready_at(m, TG_READABLE) <= now)
        m->waiting &= ~TG_READABLE;
    if (ready_at(m, TG_WRITABLE) <= now)
        m->waiting &= ~TG_WRITABLE;
    start_timer(m);
    m->stream->ops->want(m->stream, m->stream->wanted & ~m->waiting);
}

static void withhold(struct tg_metering *m, unsigned event)
{
    if (m->waiting & event)
        return;
    m->waiting |= event;
    start_timer(m);
    m->stream->ops->want(m->stream, m->stream->wanted & ~m->waiting);
}

static struct tg_stream_extras *extras_of(struct tg_stream *s)
{
    if (s->extras == NULL)
        s->extras = tg_zalloc(sizeof(*s->extras));
    return s->extras;
}

void tg_stream_add_meter(struct tg_stream *s, struct tg_meter *meter)
{
    struct tg_stream_extras *extras = extras_of(s);
    if (extras->metering == NULL) {
        struct tg_metering *m = tg_zalloc(sizeof(*m));
        m->stream = s;
        m->timer.cb = on_tokens;
        m->timer.arg = m;
        extras->metering = m;
    }
    tg_gauge_add(&extras->metering->gauge, meter);
}

struct tg_hold **tg_stream_holds(struct tg_stream *s)
{
    return &extras_of(s)->holds;
}

struct tg_hold *tg_stream_take_holds(struct tg_stream *s)
{
    struct tg_hold *holds = s->extras != NULL ? s->extras->holds : NULL;
    if (holds != NULL)
        s->extras->holds = NULL;
    return holds;
}

static void close_extras(struct tg_stream *s)
{
    struct tg_metering *m = metering_of(s);
    if (s->extras->holds != NULL)
        tg_hold_release(&s->extras->holds);
    if (m != NULL) {
        tg_timer_stop(s->reactor, &m->timer);
        tg_gauge_close(&m->gauge);
        free(m);
    }
    free(s->extras);
    s->extras = NULL;
}

/* At this layer alone. */
static ssize_t reserve(struct tg_stream *s, unsigned event, size_t want)
{
    struct tg_metering *m = metering_of(s);
    if (m == NULL || want == 0)
        return (ssize_t)want;
    int64_t n = tg_gauge_reserve(&m->gauge, way_of(event), want, s->reactor->now);
    if (n > 0)
        return (ssize_t)n;
    if (n < 0)
        return tg_stream_break(s, event == TG_READABLE ? "read" : "write", TG_LIMIT,
                               "quota: traffic limit reached");
    withhold(m, event);
    return TG_AGAIN;
}

static void spend(struct tg_stream *s, unsigned event, size_t n)
{
    struct tg_metering *m = metering_of(s);
    if (m != NULL && n > 0)
        tg_gauge_spend(&m->gauge, way_of(event), n, s->reactor->now);
}

ssize_t tg_stream_reserve(struct tg_stream *s, unsigned event, size_t want)
{
    for (struct tg_stream *layer = s; layer != NULL; layer = layer->lower) {
        if (!tg_stream_is_metered(layer))
            continue;
        if (layer->state != TG_STREAM_OPEN)
            return not_open(layer);
        ssize_t n = reserve(layer, event, want);
        if (n < 0 && n != TG_AGAIN && layer != s && s->state == TG_STREAM_OPEN) {
            s->error = layer->error;
            tg_stream_set_state(s, TG_STREAM_FAILED);
        }
        if (n < 0)
            return n;
        want = (size_t)n;
    }
    return (ssize_t)want;
}

void tg_stream_spend(struct tg_stream *s, unsigned event, size_t n)
{
    for (; s != NULL; s = s->lower) {
        spend(s, event, n);
        if (tg_stream_is_metered(s))
            tg_gauge_release(&s->extras->metering->gauge, way_of(event), 0);
    }
}

void tg_stream_release(struct tg_stream *s, unsigned event, size_t keep)
{
    for (; s != NULL; s = s->lower)
        if (tg_stream_is_metered(s))
            tg_gauge_release(&s->extras->metering->gauge, way_of(event), keep);
}

static ssize_t read_metered(struct tg_stream *s, void *buf, size_t len)
{
    if (!tg_stream_is_metered(s) || len == 0)
        return s->ops->read(s, buf, len);
    s->rationed = false;
    if (s->ops->empty != NULL && s->ops->empty(s))
        return TG_AGAIN;
    ssize_t most = reserve(s, TG_READABLE, len);
    s->rationed = most == TG_AGAIN;
    if (most <= 0)
        return most;
    ssize_t n = s->ops->read(s, buf, (size_t)most);
    s->rationed = n == most && (size_t)most < len;
    spend(s, TG_READABLE, n > 0 ? (size_t)n : 0);
    if (n < most)
        tg_gauge_release(&s->extras->metering->gauge, TG_IN, 0);
    return n;
}

static ssize_t write_metered(struct tg_stream *s, const struct iovec *iov, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (!tg_stream_is_metered(s) || total == 0)
        return s->ops->writev(s, iov, count);
    ssize_t most = reserve(s, TG_WRITABLE, total);
    if (most <= 0)
        return most;
    struct iovec parts[METERED_PARTS];
    int given = count < METERED_PARTS ? count : METERED_PARTS;
    ssize_t n = s->ops->writev(s, parts, tg_iov_head(parts, iov, given, (size_t)most));
    spend(s, TG_WRITABLE, n > 0 ? (size_t)n : 0);
    return n;
}

/* ------------------------------------------------------------------------------------------------ */

bool tg_stream_is_empty(const struct tg_stream *s)
{
    return s->ahead == NULL && s->state == TG_STREAM_OPEN && !s->eof && s->ops->empty != NULL &&
           s->ops->empty(s);
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
    ssize_t n = read_metered(s, buf, len);
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
    ssize_t n = write_metered(s, iov, count);
    if (n > 0)
        s->tx += (uint64_t)n;
    return n;
}

size_t tg_iov_total(const struct iovec *iov, int count)
{
    size_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += iov[i].iov_len;
    return sum;
}

int tg_iov_head(struct iovec *to, const struct iovec *iov, int count, size_t n)
{
    int parts = 0;
    for (int i = 0; i < count && n > 0; i++) {
        size_t len = iov[i].iov_len < n ? iov[i].iov_len : n;
        if (len > 0)
            to[parts++] = (struct iovec){ iov[i].iov_base, len };
        n -= len;
    }
    return parts;
}

int tg_iov_skip(struct iovec *to, const struct iovec *iov, int count, size_t n)
{
    int left = 0;
    for (int i = 0; i < count; i++) {
        if (n >= iov[i].iov_len) {
            n -= iov[i].iov_len;
            continue;
        }
        to[left++] = (struct iovec){ (char *)iov[i].iov_base + n, iov[i].iov_len - n };
        n = 0;
    }
    return left;
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

bool tg_stream_is_said(const struct tg_stream *s)
{
    return tg_stream_fd(s) >= 0 || (s->state == TG_STREAM_OPEN && s->ops->said != NULL && s->ops->said(s));
}

void tg_stream_want(struct tg_stream *s, unsigned events)
{
    s->wanted = (uint8_t)events;
    const struct tg_metering *m = metering_of(s);
    s->ops->want(s, m != NULL ? events & ~m->waiting : events);
}

void tg_stream_close(struct tg_stream *s)
{
    if (s->ahead != NULL) {
        tg_buf_put(&s->reactor->pool, s->ahead);
        s->ahead = NULL;
    }
    if (s->extras != NULL)
        close_extras(s);
    s->ops->close(s);
}

/* What belongs to the stream and not to its layers. */
static void hand_down(const struct tg_stream *from, struct tg_stream *to)
{
    to->on_ready = from->on_ready;
    to->ready_arg = from->ready_arg;
    if (from->extras == NULL)
        return;
    to->extras = from->extras;
    if (to->extras->metering != NULL)
        to->extras->metering->stream = to;
}

struct tg_stream *tg_stream_peel(struct tg_stream *s)
{
    while (s->ops->leave != NULL && s->state == TG_STREAM_OPEN && s->ahead == NULL && !s->eof) {
        struct tg_stream *lower = s->lower, was = *s;
        if ((s->extras != NULL && lower->extras != NULL) || !s->ops->leave(s))
            break;
        hand_down(&was, lower);
        s = lower;
    }
    return s;
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
    ssize_t n = read_metered(s, b->data + b->end, tg_buf_room(b));
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
