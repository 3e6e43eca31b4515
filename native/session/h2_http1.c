#include "session/h2_http1.h"

#include "base/mem.h"
#include "codec/chunks.h"
#include "codec/http1.h"
#include "session/h2_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK_HEAD 10u /* "0000ffff\r\n" */
#define CHUNK_ROOM (CHUNK_HEAD + 2u)
#define LAST_CHUNK "0\r\n\r\n"
#define SMALL 128u
#define CODE_MAX 65536u /* chunked bytes taken apart at once */

enum phase {
    HEAD,    /* of the response is awaited */
    RAW,     /* a tunnel */
    LENGTH,  /* `left` bytes of body */
    CHUNKED,
    CLOSE,   /* body until it is closed */
    DONE,
};

struct http1 {
    struct tg_stream base;
    struct tg_buf *pending; /* HEAD: what there is of it; CHUNKED: data not taken yet */
    struct tg_chunks chunks;
    uint64_t left;
    size_t owed;            /* bytes offered that are in `pending` */
    struct tg_defer defer;  /* what is there already is told of */
    unsigned wanted;
    uint8_t phase;
    bool connect, head;     /* the request's method */
    bool chunk_input;       /* the request's body is to be chunked */
    bool input_over;
    uint8_t small_start, small_end;
    uint8_t small[SMALL];   /* read, not delivered */
};

/* --- the request -------------------------------------------------------------------------------------- */

struct text {
    char *data;
    size_t len, cap;
};

static void add(struct text *t, const char *data, size_t len)
{
    while (t->cap < t->len + len) {
        t->cap = t->cap == 0 ? 1024 : t->cap * 2;
        t->data = realloc(t->data, t->cap);
        if (t->data == NULL)
            abort(); /* a header was bounded when it came */
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

static void add_text(struct text *t, const char *s)
{
    add(t, s, strlen(s));
}

static bool is_one_of(const struct tg_h2_field *f, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strlen(*names) == f->name_len && memcmp(*names, f->name, f->name_len) == 0)
            return true;
    return false;
}

/* No blanks or control characters: it would end where we do not mean it to. */
static bool is_word(const struct tg_h2_field *f)
{
    for (size_t i = 0; i < f->value_len; i++)
        if ((unsigned char)f->value[i] <= ' ' || f->value[i] == 0x7f)
            return false;
    return f->value_len > 0;
}

static bool has_port(const struct tg_h2_field *authority)
{
    const char *colon = memrchr(authority->value, ':', authority->value_len);
    return colon != NULL && memchr(colon, ']', (size_t)(authority->value + authority->value_len -
                                                        colon)) == NULL;
}

static void add_fields(struct text *t, const struct tg_h2_block *b, bool *has_length)
{
    static const char *const dropped[] = { "connection", "keep-alive", "transfer-encoding",
                                           "upgrade", "te", "host", "cookie", NULL };
    struct tg_h2_field f;
    size_t at = 0;
    bool cookie = false;
    while (tg_h2_block_next(b, &at, &f)) {
        if (f.name_len == 0 || f.name[0] == ':' || is_one_of(&f, dropped))
            continue;
        *has_length |= f.name_len == 14 && memcmp(f.name, "content-length", 14) == 0;
        add(t, f.name, f.name_len);
        add_text(t, ": ");
        add(t, f.value, f.value_len);
        add_text(t, "\r\n");
    }
    /* crumbs of a cookie are one again: RFC 9113 8.2.3 */
    for (at = 0; tg_h2_block_next(b, &at, &f);) {
        if (f.name_len != 6 || memcmp(f.name, "cookie", 6) != 0)
            continue;
        add_text(t, cookie ? "; " : "cookie: ");
        add(t, f.value, f.value_len);
        cookie = true;
    }
    if (cookie)
        add_text(t, "\r\n");
}

/* @return false: it has no shape in HTTP/1.1 */
static bool add_line(struct http1 *x, struct text *t, const struct tg_h2_block *b)
{
    struct tg_h2_field method, authority, scheme, path, protocol;
    if (!tg_h2_block_find(b, ":method", &method) || !is_word(&method) ||
        tg_h2_block_find(b, ":protocol", &protocol))
        return false;
    bool named = tg_h2_block_find(b, ":authority", &authority) ||
                 tg_h2_block_find(b, "host", &authority);
    if (!named || !is_word(&authority))
        return false;
    x->connect = method.value_len == 7 && memcmp(method.value, "CONNECT", 7) == 0;
    x->head = method.value_len == 4 && memcmp(method.value, "HEAD", 4) == 0;
    add(t, method.value, method.value_len);
    add_text(t, " ");
    if (x->connect) {
        add(t, authority.value, authority.value_len);
        if (!has_port(&authority))
            add_text(t, ":443");
    } else {
        if (!tg_h2_block_find(b, ":scheme", &scheme) || !is_word(&scheme) ||
            !tg_h2_block_find(b, ":path", &path) || !is_word(&path))
            return false;
        add(t, scheme.value, scheme.value_len);
        add_text(t, "://");
        add(t, authority.value, authority.value_len);
        add(t, path.value, path.value[0] == '*' ? 0 : path.value_len);
    }
    add_text(t, " HTTP/1.1\r\nhost: ");
    add(t, authority.value, authority.value_len);
    add_text(t, "\r\n");
    return true;
}

static bool make_head(struct http1 *x, struct tg_stream *lower)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)lower;
    struct text t = { 0 };
    bool has_length = false;
    bool ok = tg_h2_headers(lower) != NULL && add_line(x, &t, tg_h2_headers(lower));
    if (ok) {
        add_fields(&t, tg_h2_headers(lower), &has_length);
        x->input_over = st->fin_received && st->in.first == NULL && !x->connect;
        x->chunk_input = !x->connect && !has_length && !x->input_over;
        add_text(&t, x->chunk_input ? "transfer-encoding: chunked\r\n\r\n" : "\r\n");
        ok = tg_stream_unread(&x->base, t.data, t.len) == 0;
    }
    free(t.data);
    return ok;
}

/* --- reading -------------------------------------------------------------------------------------------- */

static ssize_t inherit(struct tg_stream *s, ssize_t n)
{
    return n < 0 && n != TG_AGAIN ? tg_stream_inherit(s) : n;
}

/* @return bytes in `to`: a chunk made in place; `len` has room for one byte at least */
static ssize_t read_chunk(struct http1 *x, uint8_t *to, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    ssize_t n = tg_stream_read(x->base.lower, to + CHUNK_HEAD, len - CHUNK_ROOM);
    if (n < 0)
        return n;
    if (n == 0) {
        x->input_over = true;
        memcpy(to, LAST_CHUNK, sizeof(LAST_CHUNK) - 1);
        return sizeof(LAST_CHUNK) - 1;
    }
    for (unsigned i = 0; i < CHUNK_HEAD - 2; i++)
        to[i] = (uint8_t)digits[(size_t)n >> (28 - 4 * i) & 15];
    memcpy(to + CHUNK_HEAD - 2, "\r\n", 2);
    memcpy(to + CHUNK_HEAD + n, "\r\n", 2);
    return n + CHUNK_ROOM;
}

static ssize_t http1_read(struct tg_stream *s, void *buf, size_t len)
{
    struct http1 *x = (struct http1 *)s;
    size_t held = (size_t)(x->small_end - x->small_start);
    if (held > 0) {
        size_t n = held < len ? held : len;
        memcpy(buf, x->small + x->small_start, n);
        x->small_start = (uint8_t)(x->small_start + n);
        return (ssize_t)n;
    }
    if (x->input_over)
        return 0;
    if (!x->chunk_input)
        return inherit(s, tg_stream_read(s->lower, buf, len));
    if (len >= SMALL)
        return inherit(s, read_chunk(x, buf, len));
    ssize_t n = read_chunk(x, x->small, SMALL);
    if (n <= 0)
        return inherit(s, n);
    x->small_start = 0;
    x->small_end = (uint8_t)n;
    return http1_read(s, buf, len);
}

/* --- the response ------------------------------------------------------------------------------------------ */

static void drop_pending(struct http1 *x)
{
    tg_buf_put(&x->base.reactor->pool, x->pending);
    x->pending = NULL;
}

static bool is_dropped(struct tg_span name)
{
    static const char *const names[] = { "connection", "keep-alive", "proxy-connection",
                                         "transfer-encoding", "upgrade", "te", "proxy-agent" };
    for (unsigned i = 0; i < tg_countof(names); i++)
        if (tg_http1_name_is(name, names[i], strlen(names[i])))
            return true;
    return false;
}

static size_t put_date(char *out, size_t size)
{
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    return strftime(out, size, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* @return number of fields */
static unsigned make_fields(const struct tg_http1_head *h, struct tg_h2_field *fields, unsigned most,
                            char *status, char *date, size_t date_len)
{
    struct tg_http1_field f;
    unsigned count = 0;
    size_t at = 0;
    bool dated = false;
    fields[count++] = (struct tg_h2_field){ ":status", status, 7, 3 };
    while (count < most - 1 && tg_http1_field_next(h->fields, &at, &f)) {
        if (is_dropped(f.name))
            continue;
        dated |= tg_http1_name_is(f.name, "date", 4);
        fields[count++] = (struct tg_h2_field){ (const char *)f.name.data,
                                                (const char *)f.value.data, f.name.len,
                                                f.value.len };
    }
    if (!dated)
        fields[count++] = (struct tg_h2_field){ "date", date, 4, date_len };
    return count;
}

static void begin_body(struct http1 *x, const struct tg_http1_head *h)
{
    static const uint8_t phases[] = {
        [TG_HTTP1_NONE] = DONE,
        [TG_HTTP1_LENGTH] = LENGTH,
        [TG_HTTP1_CHUNKED] = CHUNKED,
        [TG_HTTP1_CLOSE] = CLOSE,
    };
    struct tg_span method = x->head ? (struct tg_span){ (const uint8_t *)"HEAD", 4 }
                                    : (struct tg_span){ (const uint8_t *)"GET", 3 };
    x->left = h->length > 0 ? (uint64_t)h->length : 0;
    if (x->connect && h->status < 300)
        x->phase = RAW;
    else
        x->phase = phases[tg_http1_response_body(h, method)];
    if (x->phase == LENGTH && x->left == 0)
        x->phase = DONE;
}

static int respond(struct http1 *x, const struct tg_http1_head *h)
{
    struct tg_h2_field fields[TG_H2_FIELDS];
    char status[4], date[40];
    if (h->status < 200)
        return 0; /* the final one is still to come */
    begin_body(x, h);
    snprintf(status, sizeof(status), "%03u", h->status % 1000u);
    unsigned count = make_fields(h, fields, TG_H2_FIELDS, status, date,
                                 put_date(date, sizeof(date)));
    return tg_h2_respond(x->base.lower, fields, count, x->phase == DONE);
}

/* Gather the head.  @return bytes taken of what is offered, or a negative code */
static ssize_t write_head(struct http1 *x, const struct iovec *iov, int count)
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
    ssize_t n = tg_http1_response_decode(x->pending->data + x->pending->start, total, &h, &err);
    if (n == TG_AGAIN && total < TG_HTTP1_HEAD_MAX)
        return (ssize_t)(total - before);
    if (n < 0)
        return tg_stream_break(s, "write", TG_PROTOCOL, "no response of HTTP/1.1");
    int code = respond(x, &h);
    drop_pending(x);
    if (code < 0)
        return s->lower->state == TG_STREAM_FAILED
                   ? tg_stream_inherit(s)
                   : tg_stream_break(s, "write", TG_LIMIT, "the response cannot be sent");
    return n - (ssize_t)before;
}

static int end_output(struct http1 *x)
{
    x->phase = DONE;
    int code = tg_stream_shutdown(x->base.lower);
    return code < 0 && code != TG_AGAIN ? tg_stream_inherit(&x->base) : 0;
}

static ssize_t write_length(struct http1 *x, const struct iovec *iov, int count)
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
static int take_chunks(struct http1 *x, const struct iovec *iov, int count)
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
    x->owed = (size_t)n;
    x->pending->start = 0;
    x->pending->end = (uint32_t)data;
    return 0;
}

static ssize_t write_chunks(struct http1 *x, const struct iovec *iov, int count)
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
    struct http1 *x = (struct http1 *)s;
    switch (x->phase) {
    case HEAD:
        return write_head(x, iov, count);
    case LENGTH:
        return write_length(x, iov, count);
    case CHUNKED:
        return write_chunks(x, iov, count);
    case DONE:
        return tg_stream_break(s, "write", TG_INVALID, "the response is over");
    default:
        return inherit(s, tg_stream_writev(s->lower, iov, count));
    }
}

static int http1_shutdown(struct tg_stream *s)
{
    struct http1 *x = (struct http1 *)s;
    if (x->phase != RAW && x->phase != CLOSE)
        return 0; /* the response says itself where it ends */
    return end_output(x);
}

static bool has_input(const struct http1 *x)
{
    return x->small_end > x->small_start || x->input_over;
}

static void on_defer(void *arg)
{
    struct http1 *x = arg;
    if (!(x->wanted & TG_READABLE) || !has_input(x))
        return;
    tg_defer(x->base.reactor, &x->defer); /* level-triggered: again next turn */
    tg_stream_ready(&x->base, TG_READABLE);
}

static void http1_want(struct tg_stream *s, unsigned events)
{
    struct http1 *x = (struct http1 *)s;
    x->wanted = events;
    if ((events & TG_READABLE) && has_input(x))
        tg_defer(s->reactor, &x->defer);
    tg_stream_want(s->lower, events);
}

static void http1_close(struct tg_stream *s)
{
    struct http1 *x = (struct http1 *)s;
    if (x->phase == CLOSE)
        tg_stream_shutdown(s->lower); /* that is its end */
    drop_pending(x);
    tg_defer_cancel(s->reactor, &x->defer);
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

struct tg_stream *tg_h2_http1_open(struct tg_stream *lower)
{
    struct http1 *x = tg_zalloc(sizeof(*x));
    x->base.ops = &http1_ops;
    x->base.lower = lower;
    x->base.reactor = lower->reactor;
    x->base.state = TG_STREAM_OPEN;
    x->base.half_close = lower->half_close;
    if (!make_head(x, lower)) {
        free(x);
        return NULL;
    }
    tg_h2_forget_headers(lower);
    x->defer = (struct tg_defer){ .cb = on_defer, .arg = x };
    lower->on_ready = on_ready;
    lower->ready_arg = x;
    return &x->base;
}
