#include "stream/obfs_tls.h"

#include "base/mem.h"
#include "codec/address.h"
#include "codec/obfs_tls.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEAD_LEN 5u
#define PATIENCE_MS 150
#define PARTS_MAX 32
#define READS_MAX 16
#define TICKET_MAX 1024u /* of a client's first bytes: obfs-server wants the hello in one read */
/* gost's client loses data when one of its reads ends within a head: so there are few, each written
 * together with what follows it. */

struct obfs {
    struct tg_stream base; /* first: a struct obfs is a struct tg_stream */
    bool client;
    bool opened;  /* our opening is made */
    bool greeted; /* the peer's has passed */

    /* sending */
    struct tg_buf *out; /* the opening, as far as `lower` has not taken it; NULL: nothing */
    uint8_t start[HEAD_LEN], start_at, start_len; /* the head of the record at hand */
    uint32_t begun;                               /* bytes that it still lacks */

    /* receiving */
    struct tg_buf *in; /* server: the client's opening, as far as it has come, then its payload */
    uint8_t head[HEAD_LEN], head_len;
    uint8_t records; /* client: that have begun, up to 3 */
    uint32_t left;   /* bytes of the record at hand */

    struct tg_timer timer;
    struct tg_defer defer;
    uint8_t id[TG_OBFS_ID_LEN];
    uint8_t host_len;
    char host[TG_OBFS_HOST_MAX];
};

static int break_off(struct obfs *o, enum tg_code code, const char *detail)
{
    struct tg_stream *s = &o->base;
    return s->state == TG_STREAM_FAILED ? s->error.code : tg_stream_break(s, "read", code, detail);
}

static int lower_failed(struct obfs *o)
{
    struct tg_stream *s = &o->base;
    return s->state == TG_STREAM_FAILED ? s->error.code : tg_stream_inherit(s);
}

static void drop(struct obfs *o, struct tg_buf **b)
{
    tg_buf_put(&o->base.reactor->pool, *b);
    *b = NULL;
}

/* Sending ------------------------------------------------------------------------------------------ */

static int flush(struct obfs *o)
{
    while (o->out != NULL) {
        ssize_t n = tg_stream_write(o->base.lower, o->out->data + o->out->start, tg_buf_len(o->out));
        if (n < 0)
            return n == TG_AGAIN ? TG_AGAIN : lower_failed(o);
        o->out->start += (uint32_t)n;
        if (tg_buf_len(o->out) == 0)
            drop(o, &o->out);
    }
    return 0;
}

static void want_lower(struct obfs *o)
{
    unsigned events = o->base.wanted;
    if (o->out != NULL)
        events |= TG_WRITABLE;
    tg_stream_want(o->base.lower, o->base.state == TG_STREAM_OPEN ? events : 0);
}

static size_t gather(const struct iovec *iov, int count, uint8_t *out, size_t most)
{
    size_t n = 0;
    for (int i = 0; i < count && n < most; i++) {
        size_t some = iov[i].iov_len < most - n ? iov[i].iov_len : most - n;
        if (some > 0)
            memcpy(out + n, iov[i].iov_base, some);
        n += some;
    }
    return n;
}

static void make_random(uint8_t *out, size_t len)
{
    if (RAND_bytes(out, (int)len) != 1)
        abort();
}

/* The opening, with as much of the user's bytes as goes into it.  @return how many */
static size_t make_opening(struct obfs *o, const struct iovec *iov, int count)
{
    uint8_t random[28], payload[TG_OBFS_RECORD_MAX];
    make_random(random, sizeof(random));
    size_t most = o->client ? TICKET_MAX : TG_OBFS_RECORD_MAX;
    size_t n = gather(iov, count, payload, most);
    struct tg_buf *b = tg_buf_get(&o->base.reactor->pool,
                                  TG_OBFS_HELLO_FIXED + TG_OBFS_HOST_MAX + n);
    if (o->client) {
        struct tg_obfs_hello h = { .payload = { payload, n },
                                   .host = { (const uint8_t *)o->host, o->host_len } };
        make_random(h.id, sizeof(h.id));
        b->end = (uint32_t)tg_obfs_hello_encode(&h, (uint32_t)time(NULL), random, b->data, b->cap);
    } else {
        tg_obfs_answer_encode(o->id, (uint32_t)time(NULL), random, n, b->data);
        memcpy(b->data + TG_OBFS_ANSWER_LEN, payload, n);
        b->end = (uint32_t)(TG_OBFS_ANSWER_LEN + n);
    }
    o->out = b;
    o->opened = true;
    tg_timer_stop(o->base.reactor, &o->timer);
    return n;
}

static void begin_record(struct obfs *o, size_t len)
{
    len = len < TG_OBFS_RECORD_MAX ? len : TG_OBFS_RECORD_MAX;
    memcpy(o->start, (uint8_t[]){ 0x17, 3, 3, (uint8_t)(len >> 8), (uint8_t)len }, HEAD_LEN);
    o->start_at = 0;
    o->start_len = HEAD_LEN;
    o->begun = (uint32_t)len;
}

/* Payload of the record at hand from `iov`, past the first `skip` bytes. */
static int record_parts(struct obfs *o, const struct iovec *iov, int count, size_t skip,
                        struct iovec *parts)
{
    size_t most = o->begun;
    int n = 0;
    if (o->start_at < o->start_len)
        parts[n++] = (struct iovec){ o->start + o->start_at, o->start_len - o->start_at };
    for (int i = 0; i < count && most > 0 && n < PARTS_MAX; i++) {
        size_t len = iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        len -= skip;
        len = len < most ? len : most;
        parts[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + skip, len };
        skip = 0;
        most -= len;
    }
    return n;
}

static ssize_t write_records(struct obfs *o, const struct iovec *iov, int count, size_t len)
{
    struct iovec parts[PARTS_MAX];
    size_t taken = 0;
    while (taken < len) {
        if (o->begun == 0 && o->start_at == o->start_len)
            begin_record(o, len - taken);
        int n_parts = record_parts(o, iov, count, taken, parts);
        size_t offered = 0;
        for (int i = 0; i < n_parts; i++)
            offered += parts[i].iov_len;
        ssize_t n = tg_stream_writev(o->base.lower, parts, n_parts);
        if (n < 0 && n != TG_AGAIN)
            return lower_failed(o);
        if (n <= 0)
            break;
        size_t of_head = o->start_len - o->start_at;
        of_head = (size_t)n < of_head ? (size_t)n : of_head;
        o->start_at += (uint8_t)of_head;
        o->begun -= (uint32_t)((size_t)n - of_head);
        taken += (size_t)n - of_head;
        if ((size_t)n < offered)
            break;
    }
    return taken > 0 ? (ssize_t)taken : TG_AGAIN;
}

static ssize_t obfs_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct obfs *o = (struct obfs *)s;
    size_t len = 0, opening = 0;
    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    if (len == 0)
        return 0;
    if (!o->opened)
        opening = make_opening(o, iov, count);
    int code = flush(o);
    if (o->out != NULL)
        want_lower(o);
    if (opening > 0)
        return code == 0 || code == TG_AGAIN ? (ssize_t)opening : code;
    return code != 0 ? code : write_records(o, iov, count, len);
}

static int obfs_shutdown(struct tg_stream *s)
{
    struct obfs *o = (struct obfs *)s;
    if (!o->opened && o->client)
        make_opening(o, NULL, 0);
    int code = flush(o);
    if (code != 0)
        return code;
    code = tg_stream_shutdown(s->lower);
    return code < 0 && code != TG_AGAIN ? lower_failed(o) : code;
}

/* Receiving ---------------------------------------------------------------------------------------- */

/* Take the head of a record, as far as it is there.  @return bytes taken or a negative code */
static ssize_t take_head(struct obfs *o, const uint8_t *data, size_t len)
{
    size_t n = HEAD_LEN - o->head_len < len ? HEAD_LEN - o->head_len : len;
    memcpy(o->head + o->head_len, data, n);
    o->head_len = (uint8_t)(o->head_len + n);
    bool expects_hello = o->client && o->records == 0;
    if (expects_hello && o->head[0] != 0x16)
        return break_off(o, TG_PROTOCOL, "the server does not answer with a TLS record; it is no otls server");
    if (o->head[0] < 0x14 || o->head[0] > 0x17)
        return break_off(o, TG_PROTOCOL, "a record of an unknown type");
    if (o->head_len == HEAD_LEN) {
        o->left = tg_u16(o->head + 3);
        o->head_len = 0;
        o->records = (uint8_t)(o->records < 3 ? o->records + 1 : 3);
        o->greeted = !o->client || o->records == 3;
    }
    return (ssize_t)n;
}

/* Take the payload out of records, in place.  @return bytes of it, or a negative code */
static ssize_t decode(struct obfs *o, uint8_t *data, size_t len)
{
    size_t at = 0, got = 0;
    while (at < len) {
        if (o->left == 0) {
            ssize_t n = take_head(o, data + at, len - at);
            if (n < 0)
                return got > 0 ? (ssize_t)got : n; /* told when it is asked again */
            at += (size_t)n;
            continue;
        }
        size_t some = len - at < o->left ? len - at : o->left;
        if (o->greeted) {
            memmove(data + got, data + at, some);
            got += some;
        }
        at += some;
        o->left -= (uint32_t)some;
    }
    return (ssize_t)got;
}

/* The client's opening.  @return 0: it has come, TG_AGAIN, or a negative code */
static ssize_t read_hello(struct obfs *o)
{
    struct tg_stream *s = &o->base;
    struct tg_obfs_hello h;
    struct tg_error err = { .code = TG_PROTOCOL };
    if (o->in == NULL)
        o->in = tg_buf_get(&s->reactor->pool, TG_BUF_SMALL);
    for (;;) {
        struct tg_buf *b = o->in;
        ssize_t n = tg_obfs_hello_decode(b->data, b->end, &h, &err);
        if (n > 0) {
            memcpy(o->id, h.id, sizeof(o->id));
            size_t rest = b->end - (size_t)n, at = (size_t)n;
            o->greeted = true;
            memmove(b->data, h.payload.data, h.payload.len); /* it lies further back */
            b->end = (uint32_t)h.payload.len;
            ssize_t more = decode(o, b->data + at, rest);
            if (more > 0) { /* else the payload is told before the failure */
                memmove(b->data + b->end, b->data + at, (size_t)more);
                b->end += (uint32_t)more;
            }
            return 0;
        }
        if (n != TG_AGAIN)
            return break_off(o, err.code, err.detail);
        if (tg_buf_room(b) == 0 && !tg_buf_reserve(&s->reactor->pool, &o->in, b->cap))
            return break_off(o, TG_LIMIT, "no memory for the client's opening");
        b = o->in;
        n = tg_stream_read(s->lower, b->data + b->end, tg_buf_room(b));
        if (n == 0 && b->end > 0)
            return break_off(o, TG_EOF, "the connection ends in the client's opening");
        if (n == 0)
            return TG_EOF;
        if (n < 0)
            return n == TG_AGAIN ? n : lower_failed(o);
        b->end += (uint32_t)n;
    }
}

static ssize_t deliver(struct obfs *o, void *buf, size_t len)
{
    size_t n = tg_buf_len(o->in);
    n = n < len ? n : len;
    memcpy(buf, o->in->data + o->in->start, n);
    o->in->start += (uint32_t)n;
    if (tg_buf_len(o->in) == 0)
        drop(o, &o->in);
    return (ssize_t)n;
}

static ssize_t obfs_read(struct tg_stream *s, void *buf, size_t len)
{
    struct obfs *o = (struct obfs *)s;
    if (len == 0)
        return TG_AGAIN;
    if (!o->client && !o->greeted) {
        ssize_t code = read_hello(o);
        if (code != 0)
            return code == TG_EOF && s->state == TG_STREAM_OPEN ? 0 : code;
        if (tg_buf_len(o->in) == 0)
            drop(o, &o->in);
    }
    if (o->in != NULL)
        return deliver(o, buf, len);
    if (s->state == TG_STREAM_FAILED)
        return s->error.code;
    if (o->client && !o->opened && !tg_timer_running(&o->timer))
        tg_timer_start(s->reactor, &o->timer, PATIENCE_MS);
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = tg_stream_read(s->lower, buf, len);
        if (n == TG_AGAIN)
            return n;
        if (n < 0)
            return lower_failed(o);
        if (n == 0 && (o->left > 0 || o->head_len > 0))
            return break_off(o, TG_EOF, "the connection ends in the middle of a record");
        if (n == 0)
            return 0;
        n = decode(o, buf, (size_t)n);
        if (n != 0)
            return n;
    }
    return TG_AGAIN; /* `lower` is ready still: asked again next turn */
}

/* Readiness ---------------------------------------------------------------------------------------- */

static bool has_input(const struct obfs *o)
{
    return o->base.state == TG_STREAM_FAILED || o->base.lower->ahead != NULL ||
           (o->in != NULL && o->greeted);
}

static void on_defer(void *arg)
{
    struct obfs *o = arg;
    unsigned report = has_input(o) ? o->base.wanted & TG_READABLE : 0;
    if (o->base.state == TG_STREAM_FAILED)
        report = o->base.wanted;
    if (report == 0)
        return;
    tg_defer(o->base.reactor, &o->defer); /* level-triggered: again next turn */
    tg_stream_ready(&o->base, report);
}

static void obfs_want(struct tg_stream *s, unsigned events)
{
    struct obfs *o = (struct obfs *)s;
    if (events != 0 && (s->state == TG_STREAM_FAILED || ((events & TG_READABLE) && has_input(o))))
        tg_defer(s->reactor, &o->defer);
    want_lower(o);
}

static void on_lower(void *arg, unsigned events)
{
    struct obfs *o = arg;
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

/* The user only listens: the server has to begin. */
static void on_timer(void *arg)
{
    struct obfs *o = arg;
    if (o->opened || o->base.state != TG_STREAM_OPEN)
        return;
    make_opening(o, NULL, 0);
    flush(o);
    want_lower(o);
    if (o->base.state == TG_STREAM_FAILED && o->base.wanted != 0)
        tg_stream_ready(&o->base, o->base.wanted);
}

static void obfs_close(struct tg_stream *s)
{
    struct obfs *o = (struct obfs *)s;
    if (s->state == TG_STREAM_OPEN)
        flush(o);
    tg_defer_cancel(s->reactor, &o->defer);
    tg_timer_stop(s->reactor, &o->timer);
    tg_stream_close(s->lower);
    drop(o, &o->out);
    drop(o, &o->in);
    free(o);
}

static const struct tg_stream_ops obfs_ops = {
    .name = "otls",
    .read = obfs_read,
    .writev = obfs_writev,
    .shutdown = obfs_shutdown,
    .want = obfs_want,
    .close = obfs_close,
};

static struct obfs *start(struct tg_stream *lower)
{
    struct obfs *o = tg_zalloc(sizeof(*o));
    o->base.ops = &obfs_ops;
    o->base.lower = lower;
    o->base.reactor = lower->reactor;
    o->base.state = TG_STREAM_OPEN;
    o->base.half_close = lower->half_close;
    o->timer = (struct tg_timer){ .cb = on_timer, .arg = o };
    o->defer = (struct tg_defer){ .cb = on_defer, .arg = o };
    lower->on_ready = on_lower;
    lower->ready_arg = o;
    return o;
}

struct tg_stream *tg_obfs_tls_client(struct tg_stream *lower, const char *host, size_t len)
{
    struct obfs *o = start(lower);
    o->client = true;
    o->host_len = (uint8_t)(len < TG_OBFS_HOST_MAX ? len : TG_OBFS_HOST_MAX);
    memcpy(o->host, host, o->host_len);
    return &o->base;
}

struct tg_stream *tg_obfs_tls_server(struct tg_stream *lower)
{
    return &start(lower)->base;
}
