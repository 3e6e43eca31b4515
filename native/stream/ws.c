#include "stream/ws.h"

#include "base/mem.h"
#include "codec/ws_frame.h"
#include "stream/ws_deflate.h"

#include <assert.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MAX 131072u /* payload of a frame that is sent as it is */
#define COPY_MAX 65536u   /* of a frame that has to be copied, with its head */
#define CONTROL_BYTES (TG_WS_HEAD_MAX + TG_WS_CONTROL_MAX)
#define PACKED_INPUT 16384u
#define PARTS_MAX 64
#define READS_MAX 16 /* in one call, of a peer that sends nothing but control frames */
#define MASKS 32 /* random bytes in stock */
#define PROTOCOL_ERROR 1002u /* RFC 6455 7.4.1; what is too large there is none: nothing is collected */

struct ws {
    struct tg_stream base; /* first: a struct ws is a struct tg_stream */
    struct tg_ws_options o;

    /* receiving */
    struct tg_ws_head frame; /* at hand */
    uint64_t left;           /* of its payload */
    const char *broken;      /* told once what came before has been delivered */
    uint8_t head[TG_WS_HEAD_MAX], head_len;
    uint8_t control[TG_WS_CONTROL_MAX], control_len;
    bool in_frame;
    bool in_message;
    bool closed; /* a Close has come */

    /* sending */
    struct tg_buf *out; /* whole frames that `lower` has not taken; NULL: none */
    size_t owed;        /* the user's bytes in `out`, not counted as written yet */
    uint64_t begun;     /* bytes of the frame at hand that the user still has to give */
    uint8_t start[TG_WS_HEAD_MAX], start_at, start_len; /* its head */
    uint8_t masks[MASKS], masks_left;
    bool closing; /* a Close has gone: nothing more may */

    struct tg_ws_deflate *z; /* NULL: messages are as they are */
    struct tg_buf *in;       /* with `z`: what has come and is not unpacked; NULL: nothing */
    bool packed;             /* the message at hand is compressed */
    bool ending;             /* its end is to be unpacked */
    bool more;               /* there may be more in `z` */

    struct tg_defer defer;
    struct tg_timer timer;
    uint64_t heard;  /* ms of the last bytes from the peer */
    uint64_t pinged; /* ms of our last ping */
};

static const struct tg_stream_ops ws_ops;

static struct ws *ws_of(struct tg_stream *s)
{
    return (struct ws *)s;
}

static int break_off(struct ws *w, const char *op, enum tg_code code, const char *detail)
{
    struct tg_stream *s = &w->base;
    return s->state == TG_STREAM_FAILED ? s->error.code : tg_stream_break(s, op, code, detail);
}

static int lower_failed(struct ws *w)
{
    struct tg_stream *s = &w->base;
    return s->state == TG_STREAM_FAILED ? s->error.code : tg_stream_inherit(s);
}

/* Sending ------------------------------------------------------------------------------------------ */

static void drop_out(struct ws *w)
{
    tg_buf_put(&w->base.reactor->pool, w->out);
    w->out = NULL;
}

/* Control frames and copies wait behind a frame that has been begun. */
static bool may_flush(const struct ws *w)
{
    return w->out != NULL && w->begun == 0 && w->start_at == w->start_len;
}

/* Write what was kept.  @return 0, TG_AGAIN or a negative code: `lower` has failed */
static int try_flush(struct ws *w)
{
    while (may_flush(w)) {
        ssize_t n = tg_stream_write(w->base.lower, w->out->data + w->out->start,
                                    tg_buf_len(w->out));
        if (n < 0)
            return (int)n;
        w->out->start += (uint32_t)n;
        if (tg_buf_len(w->out) == 0)
            drop_out(w);
    }
    return w->out == NULL ? 0 : TG_AGAIN;
}

/* For who writes: a failure is the stream's.  Others leave it to be found by who writes next, since
 * what the peer said before is still to be read. */
static int flush(struct ws *w)
{
    int code = w->out != NULL ? try_flush(w) : 0;
    return code == 0 || code == TG_AGAIN ? code : lower_failed(w);
}

static void take_mask(struct ws *w, uint8_t mask[4])
{
    if (w->masks_left < 4) {
        if (RAND_bytes(w->masks, MASKS) != 1)
            abort();
        w->masks_left = MASKS;
    }
    w->masks_left -= 4;
    memcpy(mask, w->masks + w->masks_left, 4);
}

static struct tg_ws_head new_head(struct ws *w, enum tg_ws_opcode opcode, uint64_t len)
{
    struct tg_ws_head h = { .len = len, .opcode = (uint8_t)opcode, .fin = true };
    h.masked = w->o.client;
    if (h.masked)
        take_mask(w, h.mask);
    return h;
}

/* Send a control frame as soon as may be.  When `lower` is choked and many wait already, it is
 * left out. */
static void send_control(struct ws *w, enum tg_ws_opcode opcode, const uint8_t *data, size_t len)
{
    if (w->base.state != TG_STREAM_OPEN || w->base.shut || w->closing)
        return;
    if (w->out == NULL)
        w->out = tg_buf_get(&w->base.reactor->pool, TG_BUF_SMALL);
    struct tg_buf *b = w->out;
    if (tg_buf_room(b) < CONTROL_BYTES)
        return;
    struct tg_ws_head h = new_head(w, opcode, len);
    uint8_t *at = b->data + b->end;
    size_t n = tg_ws_head_encode(&h, at);
    if (h.masked)
        tg_ws_mask(at + n, data, len, h.mask, 0);
    else if (len > 0)
        memcpy(at + n, data, len);
    b->end += (uint32_t)(n + len);
}

/* The head of the frame at hand, and as much of its payload as there is. */
static int frame_parts(struct ws *w, const struct iovec *iov, int count, struct iovec *parts)
{
    uint64_t most = w->begun;
    int n = 0;
    if (w->start_at < w->start_len)
        parts[n++] = (struct iovec){ w->start + w->start_at, w->start_len - w->start_at };
    for (int i = 0; i < count && most > 0; i++) {
        size_t len = iov[i].iov_len < most ? iov[i].iov_len : (size_t)most;
        parts[n++] = (struct iovec){ iov[i].iov_base, len };
        most -= len;
    }
    return n;
}

static void begin_frame(struct ws *w, size_t len)
{
    struct tg_ws_head h = new_head(w, TG_WS_BINARY, len < FRAME_MAX ? len : FRAME_MAX);
    w->start_at = 0;
    w->start_len = (uint8_t)tg_ws_head_encode(&h, w->start);
    w->begun = h.len;
}

/* Frames whose payload goes from where it is: nothing has to be done to it.
 * @return bytes taken, or a negative code */
static ssize_t write_plain(struct ws *w, struct iovec *iov, int count, size_t left)
{
    struct iovec parts[PARTS_MAX + 1];
    size_t taken = 0;
    while (left > 0) {
        if (w->begun == 0) {
            int code = flush(w);
            if (code != 0)
                return code != TG_AGAIN || taken == 0 ? code : (ssize_t)taken;
            begin_frame(w, left);
        }
        size_t offered = left < w->begun ? left : (size_t)w->begun;
        ssize_t n = tg_stream_writev(w->base.lower, parts, frame_parts(w, iov, count, parts));
        if (n < 0 && n != TG_AGAIN)
            return lower_failed(w);
        if (n <= 0)
            break;
        size_t of_head = w->start_len - w->start_at;
        of_head = (size_t)n < of_head ? (size_t)n : of_head;
        w->start_at += (uint8_t)of_head;
        size_t of_data = (size_t)n - of_head;
        w->begun -= of_data;
        taken += of_data;
        left -= of_data;
        count = tg_iov_skip(iov, iov, count, of_data);
        if (of_data < offered)
            break;
    }
    return taken > 0 ? (ssize_t)taken : TG_AGAIN;
}

/* A frame of the first bytes, masked, compressed or both, into `out`.  @return how many bytes */
static size_t copy_frame(struct ws *w, const struct iovec *iov, int count, size_t left)
{
    size_t most = w->z != NULL ? TG_WS_PACK_MAX : COPY_MAX - TG_WS_HEAD_MAX;
    size_t len = left < most ? left : most, packed = len;
    w->out = tg_buf_get(&w->base.reactor->pool, len + 64 + TG_WS_HEAD_MAX < TG_BUF_LARGE
                                                    ? len + 64 + TG_WS_HEAD_MAX : TG_BUF_LARGE);
    uint8_t *payload = w->out->data + TG_WS_HEAD_MAX;
    if (w->z != NULL)
        packed = tg_ws_deflate_pack(w->z, iov, count, len, payload);
    struct tg_ws_head h = new_head(w, TG_WS_BINARY, packed);
    h.packed = w->z != NULL;
    uint8_t head[TG_WS_HEAD_MAX];
    size_t n = tg_ws_head_encode(&h, head);
    if (w->z != NULL)
        tg_ws_mask(payload, payload, packed, h.mask, 0);
    for (size_t at = 0, i = 0; w->z == NULL && at < len; i++) {
        size_t part = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;
        tg_ws_mask(payload + at, iov[i].iov_base, part, h.mask, at);
        at += part;
    }
    w->out->start = (uint32_t)(TG_WS_HEAD_MAX - n);
    memcpy(w->out->data + w->out->start, head, n);
    w->out->end = (uint32_t)(TG_WS_HEAD_MAX + packed);
    return len;
}

/* Frames that are copied.  @return bytes that `lower` has taken, or a negative code */
static ssize_t write_copied(struct ws *w, struct iovec *iov, int count, size_t left)
{
    int code = flush(w);
    if (code != 0)
        return code;
    size_t paid = w->owed < left ? w->owed : left;
    w->owed -= paid;
    count = tg_iov_skip(iov, iov, count, paid);
    left -= paid;
    while (left > 0) {
        size_t n = copy_frame(w, iov, count, left);
        code = flush(w);
        if (code != 0) {
            w->owed = n;
            break;
        }
        paid += n;
        left -= n;
        count = tg_iov_skip(iov, iov, count, n);
    }
    return paid > 0 ? (ssize_t)paid : code != 0 ? code : TG_AGAIN;
}

static void want_lower(struct ws *w)
{
    unsigned events = w->base.state == TG_STREAM_OPEN ? w->base.wanted : 0;
    if (may_flush(w) && w->base.state == TG_STREAM_OPEN)
        events |= TG_WRITABLE;
    tg_stream_want(w->base.lower, events);
}

static ssize_t ws_writev(struct tg_stream *s, const struct iovec *given, int count)
{
    struct ws *w = ws_of(s);
    struct iovec iov[PARTS_MAX];
    count = tg_iov_skip(iov, given, count < PARTS_MAX ? count : PARTS_MAX, 0);
    size_t left = tg_iov_total(iov, count);
    if (w->closed || w->closing)
        return break_off(w, "write", TG_RESET, "the peer has closed the WebSocket");
    if (left == 0)
        return 0;
    bool plain = !w->o.client && w->z == NULL;
    ssize_t n = plain ? write_plain(w, iov, count, left) : write_copied(w, iov, count, left);
    if (w->out != NULL)
        want_lower(w);
    return n;
}

static int ws_shutdown(struct tg_stream *s)
{
    struct ws *w = ws_of(s);
    int code = flush(w);
    if (code == TG_AGAIN && w->begun > 0)
        code = 0; /* who has left a frame unfinished cannot expect more */
    if (code != 0)
        return code;
    code = tg_stream_shutdown(s->lower);
    return code < 0 && code != TG_AGAIN ? lower_failed(w) : code;
}

/* Receiving ---------------------------------------------------------------------------------------- */

static const char *fault_of(const struct ws *w, const struct tg_ws_head *h)
{
    if (h->masked == w->o.client)
        return w->o.client ? "a masked frame from a server" : "a frame without a mask from a client";
    if (tg_ws_is_control(h))
        return NULL;
    if (w->in_message != (h->opcode == TG_WS_CONTINUATION))
        return w->in_message ? "a message inside another one" : "a continuation of nothing";
    if (h->packed && (w->z == NULL || w->in_message))
        return "a compressed message without agreement";
    return NULL;
}

/* Take the head of a frame, as far as it is there.  @return bytes taken */
static size_t take_head(struct ws *w, const uint8_t *data, size_t len)
{
    struct tg_error err;
    size_t had = w->head_len, n = TG_WS_HEAD_MAX - had < len ? TG_WS_HEAD_MAX - had : len;
    memcpy(w->head + had, data, n);
    ssize_t taken = tg_ws_head_decode(w->head, had + n, &w->frame, &err);
    if (taken == TG_AGAIN) {
        w->head_len = (uint8_t)(had + n);
        return n;
    }
    w->broken = taken < 0 ? err.detail : fault_of(w, &w->frame);
    w->head_len = w->control_len = 0;
    w->in_frame = true;
    w->left = w->frame.len;
    if (!tg_ws_is_control(&w->frame)) {
        w->packed = w->in_message ? w->packed : w->frame.packed;
        w->in_message = true;
    }
    return taken < 0 ? len : (size_t)taken - had;
}

static void take_control(struct ws *w)
{
    if (w->frame.opcode == TG_WS_PING)
        send_control(w, TG_WS_PONG, w->control, w->control_len);
    if (w->frame.opcode != TG_WS_CLOSE)
        return;
    w->closed = true;
    size_t echoed = w->control_len >= 2 ? 2 : 0; /* the same code */
    send_control(w, TG_WS_CLOSE, w->control, echoed);
    w->closing = true;
}

static void end_frame(struct ws *w)
{
    w->in_frame = false;
    if (tg_ws_is_control(&w->frame)) {
        take_control(w);
    } else if (w->frame.fin) {
        w->in_message = false;
        w->ending = w->packed;
    }
}

/* Take a piece of a control frame's payload.  @return its length */
static size_t take_control_bytes(struct ws *w, const uint8_t *data, size_t len)
{
    size_t n = w->left < len ? (size_t)w->left : len;
    uint8_t *to = w->control + w->control_len;
    if (w->frame.masked)
        tg_ws_mask(to, data, n, w->frame.mask, w->frame.len - w->left);
    else
        memcpy(to, data, n);
    w->control_len += (uint8_t)n;
    return n;
}

/* A piece of a message's payload to where it belongs, which may be just before it. */
static size_t take_bytes(struct ws *w, uint8_t *to, const uint8_t *data, size_t len)
{
    size_t n = w->left < len ? (size_t)w->left : len;
    if (w->frame.masked)
        tg_ws_mask(to, data, n, w->frame.mask, w->frame.len - w->left);
    else
        memmove(to, data, n);
    return n;
}

static bool is_over(const struct ws *w)
{
    return w->closed || w->broken != NULL;
}

/* Leave of what was received the messages' payload, at the front.  @return its length */
static size_t decode(struct ws *w, uint8_t *buf, size_t len)
{
    size_t got = 0;
    for (size_t at = 0; at < len && !is_over(w);) {
        if (!w->in_frame) {
            at += take_head(w, buf + at, len - at);
        } else {
            bool control = tg_ws_is_control(&w->frame);
            size_t n = control ? take_control_bytes(w, buf + at, len - at)
                               : take_bytes(w, buf + got, buf + at, len - at);
            got += control ? 0 : n;
            at += n;
            w->left -= n;
        }
        if (w->in_frame && w->left == 0 && w->broken == NULL)
            end_frame(w);
    }
    return got;
}

/* The same of compressed messages: from `in`.  @return bytes, or -1: no valid compression */
static ssize_t unpack_some(struct ws *w, uint8_t *out, size_t room)
{
    struct tg_buf *in = w->in;
    if (w->ending) {
        ssize_t n = tg_ws_deflate_end(w->z, out, room);
        w->ending = n > 0;
        return n;
    }
    if (in == NULL && w->more) {
        size_t none;
        ssize_t n = tg_ws_deflate_unpack(w->z, NULL, 0, &none, out, room);
        w->more = n == (ssize_t)room;
        return n;
    }
    uint8_t *data = in->data + in->start;
    size_t len = tg_buf_len(in), n, used;
    ssize_t got = 0;
    if (!w->in_frame) {
        used = take_head(w, data, len);
    } else if (tg_ws_is_control(&w->frame)) {
        used = take_control_bytes(w, data, len);
        w->left -= used;
    } else {
        n = w->left < len ? (size_t)w->left : len;
        if (!w->packed)
            n = n < room ? n : room;
        n = take_bytes(w, data, data, n); /* in place: what is not used now is unmasked already */
        used = n;
        if (w->packed)
            got = tg_ws_deflate_unpack(w->z, data, n, &used, out, room);
        else
            memcpy(out, data, n), got = (ssize_t)n;
        if (used < n && w->frame.masked) /* masked again: the next piece begins there */
            tg_ws_mask(data + used, data + used, n - used, w->frame.mask,
                       w->frame.len - w->left + used);
        w->left -= used;
        w->more = got == (ssize_t)room;
    }
    in->start += (uint32_t)used;
    if (tg_buf_len(in) == 0) {
        tg_buf_put(&w->base.reactor->pool, in);
        w->in = NULL;
    }
    if (w->in_frame && w->left == 0 && w->broken == NULL)
        end_frame(w);
    return got;
}

/* What `lower` answered is not data.  @return 0, TG_AGAIN or a negative code */
static ssize_t nothing_read(struct ws *w, ssize_t n)
{
    if (n == TG_AGAIN)
        return TG_AGAIN;
    if (n < 0)
        return lower_failed(w);
    if (w->in_frame || w->head_len > 0)
        return break_off(w, "read", TG_EOF, "the connection ends in the middle of a frame");
    return 0;
}

static ssize_t read_plain(struct ws *w, uint8_t *buf, size_t len)
{
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = tg_stream_read(w->base.lower, buf, len);
        if (n <= 0)
            return nothing_read(w, n);
        w->heard = w->base.reactor->now;
        size_t got = decode(w, buf, (size_t)n);
        if (got > 0 || is_over(w))
            return (ssize_t)got;
    }
    return TG_AGAIN; /* `lower` is ready still: asked again next turn */
}

static ssize_t read_packed(struct ws *w, uint8_t *buf, size_t len)
{
    size_t got = 0;
    for (int i = 0;; i++) {
        while (got < len && !w->broken && (w->ending || w->more || (w->in != NULL && !w->closed))) {
            ssize_t n = unpack_some(w, buf + got, len - got);
            if (n < 0)
                w->broken = "a message that is not well compressed";
            got += n > 0 ? (size_t)n : 0;
        }
        if (got > 0 || is_over(w))
            return (ssize_t)got;
        if (i == READS_MAX)
            return TG_AGAIN;
        struct tg_buf *in = tg_buf_get(&w->base.reactor->pool, PACKED_INPUT);
        ssize_t n = tg_stream_read(w->base.lower, in->data, in->cap);
        if (n <= 0) {
            tg_buf_put(&w->base.reactor->pool, in);
            return nothing_read(w, n);
        }
        w->heard = w->base.reactor->now;
        in->end = (uint32_t)n;
        w->in = in;
    }
}

/* The peer breaks the rules and is told so, if there is room for it: RFC 6455 7.1.7. */
static int reject(struct ws *w)
{
    static const uint8_t code[2] = { PROTOCOL_ERROR >> 8, PROTOCOL_ERROR & 0xff };
    send_control(w, TG_WS_CLOSE, code, sizeof(code));
    w->closing = true;
    try_flush(w);
    return break_off(w, "read", TG_PROTOCOL, w->broken);
}

static ssize_t ws_read(struct tg_stream *s, void *buf, size_t len)
{
    struct ws *w = ws_of(s);
    ssize_t n = 0;
    if (len == 0)
        return TG_AGAIN;
    if (!is_over(w) || w->ending || w->more)
        n = w->z != NULL ? read_packed(w, buf, len) : read_plain(w, buf, len);
    if (n == 0 && w->broken != NULL)
        n = reject(w);
    if (w->out != NULL && s->state == TG_STREAM_OPEN) {
        try_flush(w); /* answers to pings */
        want_lower(w);
    }
    return n;
}

/* Readiness ---------------------------------------------------------------------------------------- */

/* Is there something to read that `lower` does not announce? */
static bool has_input(const struct ws *w)
{
    return w->base.state == TG_STREAM_FAILED || w->base.lower->ahead != NULL || w->in != NULL ||
           w->ending || w->more || is_over(w);
}

static void on_defer(void *arg)
{
    struct ws *w = arg;
    unsigned report = has_input(w) ? w->base.wanted & TG_READABLE : 0;
    if (w->base.state == TG_STREAM_FAILED)
        report = w->base.wanted;
    if (report == 0)
        return;
    tg_defer(w->base.reactor, &w->defer); /* level-triggered: again next turn */
    tg_stream_ready(&w->base, report);
}

static void ws_want(struct tg_stream *s, unsigned events)
{
    struct ws *w = ws_of(s);
    if (events != 0 && (s->state == TG_STREAM_FAILED || ((events & TG_READABLE) && has_input(w))))
        tg_defer(s->reactor, &w->defer);
    want_lower(w);
}

static void on_lower(void *arg, unsigned events)
{
    struct ws *w = arg;
    unsigned wanted = w->base.wanted, report = events & (wanted | TG_HANGUP);
    if ((events & TG_WRITABLE) && may_flush(w) && try_flush(w) == TG_AGAIN)
        report &= ~TG_WRITABLE;
    if (w->base.state == TG_STREAM_FAILED)
        report |= wanted;
    want_lower(w);
    if (report & wanted)
        tg_stream_ready(&w->base, report); /* last: `w` may be gone now */
}

/* What nobody reads cannot be heard, and says nothing about the peer; nor does its silence while we did not run. */
static void on_timer(void *arg)
{
    struct ws *w = arg;
    struct tg_stream *s = &w->base;
    if (s->state != TG_STREAM_OPEN || s->eof || w->closed)
        return;
    if (!(s->wanted & TG_READABLE))
        w->heard = s->reactor->now;
    uint64_t now = s->reactor->now, patience = 2 * (uint64_t)w->o.keepalive;
    if (now - w->heard >= patience && now - w->pinged < patience) {
        break_off(w, "read", TG_TIMEOUT, "the peer does not answer pings");
        ws_want(s, s->wanted);
        return;
    }
    tg_timer_start(s->reactor, &w->timer, w->o.keepalive);
    w->pinged = now;
    send_control(w, TG_WS_PING, NULL, 0);
    try_flush(w);
    want_lower(w);
}

static void ws_close(struct tg_stream *s)
{
    struct ws *w = ws_of(s);
    if (s->state == TG_STREAM_OPEN || w->closing)
        try_flush(w);
    tg_defer_cancel(s->reactor, &w->defer);
    tg_timer_stop(s->reactor, &w->timer);
    tg_stream_close(s->lower);
    tg_buf_put(&s->reactor->pool, w->out);
    tg_buf_put(&s->reactor->pool, w->in);
    tg_ws_deflate_free(w->z);
    free(w);
}

static const struct tg_stream_ops ws_ops = {
    .name = "websocket",
    .read = ws_read,
    .writev = ws_writev,
    .shutdown = ws_shutdown,
    .want = ws_want,
    .close = ws_close,
};

struct tg_stream *tg_ws_start(struct tg_stream *lower, const struct tg_ws_options *options)
{
    struct ws *w = tg_zalloc(sizeof(*w));
    w->base.ops = &ws_ops;
    w->base.lower = lower;
    w->base.reactor = lower->reactor;
    w->base.state = TG_STREAM_OPEN;
    w->base.half_close = lower->half_close;
    w->o = *options;
    w->z = options->packed ? tg_ws_deflate_new() : NULL;
    w->defer = (struct tg_defer){ .cb = on_defer, .arg = w };
    w->timer = (struct tg_timer){ .cb = on_timer, .arg = w };
    w->heard = lower->reactor->now;
    lower->on_ready = on_lower;
    lower->ready_arg = w;
    if (options->keepalive > 0)
        tg_timer_start(lower->reactor, &w->timer, options->keepalive);
    return &w->base;
}
