#include "packet/framed.h"

#include "base/mem.h"
#include "codec/udp_frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define READ_FIRST 16384u

struct framed {
    struct tg_packet base; /* first: a struct framed is a struct tg_packet */
    struct tg_stream *stream;
    struct tg_buf *in; /* NULL while nothing is held */
    uint32_t given;    /* bytes at the front of `in` that the last recv() handed out */
    uint8_t *queue;    /* frames the stream did not take */
    size_t queue_start, queue_end, queue_size;
    enum tg_framing framing;
    bool wants;
    struct tg_peer fixed;
    char fixed_name[256];
};

static void update_want(struct framed *f)
{
    tg_stream_want(f->stream, (f->wants ? TG_READABLE : 0) |
                                  (f->queue_end > f->queue_start ? TG_WRITABLE : 0));
}

static void flush(struct framed *f)
{
    while (f->queue_end > f->queue_start) {
        ssize_t n = tg_stream_write(f->stream, f->queue + f->queue_start,
                                    f->queue_end - f->queue_start);
        if (n <= 0)
            break;
        f->queue_start += (size_t)n;
    }
    if (f->queue_end > f->queue_start && f->stream->state != TG_STREAM_FAILED)
        return;
    free(f->queue);
    f->queue = NULL;
    f->queue_start = f->queue_end = f->queue_size = 0;
}

static void on_stream(void *arg, unsigned events)
{
    struct framed *f = arg;
    if (f->queue_end > f->queue_start)
        flush(f);
    update_want(f);
    if (f->wants && f->base.on_ready != NULL)
        f->base.on_ready(f->base.ready_arg, events | TG_READABLE); /* last: `f` may be gone now */
}

/* ---- receiving ---- */

/* The head of a frame.  @return its length, or what a decoder answers */
static ssize_t parse_head(struct framed *f, const uint8_t *in, size_t len, struct tg_datagram *out)
{
    struct tg_udp_frame frame;
    out->peer = f->fixed;
    if (f->framing == TG_FRAMING_U16)
        return tg_udp_u16_head_decode(in, len, &out->len);
    ssize_t n = tg_udp_tun_head_decode(in, len, &frame, &f->base.error);
    if (n <= 0)
        return n;
    out->len = (uint32_t)frame.data.len;
    if (f->base.any_peer) /* a name ends where its port begins */
        tg_peer_from_target(&out->peer, &frame.target, in + n - 2 - frame.target.len);
    return n;
}

/* One frame.  @return its length, 0 with *need set: more must be read first, or a negative code */
static ssize_t parse(struct framed *f, const uint8_t *in, size_t len, struct tg_datagram *out,
                     size_t *need)
{
    *need = len + 1;
    ssize_t head = parse_head(f, in, len, out);
    if (head < 0)
        return head == TG_AGAIN ? 0 : head;
    if (len - (size_t)head < out->len) {
        *need = (size_t)head + out->len;
        return 0;
    }
    out->data = (uint8_t *)in + head;
    out->headroom = (uint32_t)head;
    return head + (ssize_t)out->len;
}

/* All whole frames there are.  @return their number or a negative code */
static int parse_all(struct framed *f, struct tg_datagram *out, int count, size_t *need)
{
    struct tg_buf *in = f->in;
    int found = 0;
    *need = 1;
    while (found < count && tg_buf_len(in) > f->given) {
        uint8_t *at = in->data + in->start + f->given;
        ssize_t n = parse(f, at, tg_buf_len(in) - f->given, &out[found], need);
        if (n < 0)
            return found > 0 ? found : (int)n;
        if (n == 0)
            break;
        f->given += (uint32_t)n;
        f->base.rx += out[found].len;
        if (out[found].len > 0 || f->framing == TG_FRAMING_U16)
            found++;
    }
    return found;
}

static void forget_given(struct framed *f)
{
    if (f->in == NULL)
        return;
    f->in->start += f->given;
    f->given = 0;
    if (tg_buf_len(f->in) > 0)
        return;
    tg_buf_put(&f->base.reactor->pool, f->in);
    f->in = NULL;
}

static int read_more(struct framed *f, size_t need)
{
    struct tg_pool *pool = &f->base.reactor->pool;
    forget_given(f);
    if (f->in == NULL)
        f->in = tg_buf_get(pool, READ_FIRST);
    size_t held = tg_buf_len(f->in);
    if ((need > held && !tg_buf_reserve(pool, &f->in, need - held)) || tg_buf_room(f->in) == 0)
        return tg_error_put(&f->base.error, f->base.ops->name, "read", TG_BUSY, "out of memory");
    ssize_t n = tg_stream_read(f->stream, f->in->data + f->in->end, tg_buf_room(f->in));
    if (n > 0)
        f->in->end += (uint32_t)n;
    else
        forget_given(f); /* holds nothing: back to the pool */
    if (n < 0 && n != TG_AGAIN)
        f->base.error = f->stream->error;
    return n == 0 ? TG_EOF : (int)n;
}

static int framed_recv(struct tg_packet *p, struct tg_datagram *out, int count)
{
    struct framed *f = (struct framed *)p;
    size_t need = 1;
    forget_given(f);
    for (;;) {
        int n = f->in != NULL ? parse_all(f, out, count, &need) : 0;
        if (n != 0)
            return n;
        n = read_more(f, need);
        if (n < 0)
            return n;
    }
}

/* ---- sending ---- */

static size_t put_head(const struct framed *f, const struct tg_datagram *d, uint8_t *out)
{
    struct tg_target target;
    if (f->framing == TG_FRAMING_U16)
        return tg_udp_u16_head_encode(d->len, out);
    tg_peer_to_target(f->base.any_peer ? &d->peer : &f->fixed, &target);
    ssize_t n = tg_udp_tun_head_encode(&target, d->len, out, TG_UDP_HEAD_MAX);
    assert(n > 0); /* nothing that a peer can be is too long */
    return (size_t)n;
}

/* Keep bytes for later.  @return false: no room */
static bool enqueue(struct framed *f, const struct iovec *iov, int count, size_t most)
{
    size_t more = 0, held = f->queue_end - f->queue_start;
    for (int i = 0; i < count; i++)
        more += iov[i].iov_len;
    if (held + more > most)
        return false;
    if (f->queue_end + more > f->queue_size) {
        if (held > 0)
            memmove(f->queue, f->queue + f->queue_start, held);
        f->queue_start = 0;
        f->queue_end = held;
    }
    if (held + more > f->queue_size) {
        size_t size = f->queue_size == 0 ? READ_FIRST : f->queue_size;
        while (size < held + more)
            size *= 2;
        uint8_t *grown = realloc(f->queue, size);
        if (grown == NULL)
            return false;
        f->queue = grown;
        f->queue_size = size;
    }
    for (int i = 0; i < count; i++) {
        memcpy(f->queue + f->queue_end, iov[i].iov_base, iov[i].iov_len);
        f->queue_end += iov[i].iov_len;
    }
    return true;
}

/* Frames iov[2i], iov[2i+1] of which `sent` bytes are gone: what has begun must
 * be finished, what has not may be dropped.  @return frames kept or sent */
static int keep_rest(struct framed *f, struct iovec *iov, int frames, size_t sent)
{
    int kept = 0;
    for (int i = 0; i < frames; i++) {
        struct iovec *frame = &iov[2 * i];
        size_t len = frame[0].iov_len + frame[1].iov_len;
        if (sent >= len) {
            sent -= len;
            kept++;
            continue;
        }
        bool begun = sent > 0;
        for (int k = 0; k < 2; k++) {
            size_t cut = sent < frame[k].iov_len ? sent : frame[k].iov_len;
            frame[k].iov_base = (uint8_t *)frame[k].iov_base + cut;
            frame[k].iov_len -= cut;
            sent -= cut;
        }
        kept += enqueue(f, frame, 2, begun ? SIZE_MAX : TG_FRAMED_QUEUE);
    }
    return kept;
}

static int framed_send(struct tg_packet *p, struct tg_datagram *in, int count)
{
    struct framed *f = (struct framed *)p;
    uint8_t heads[TG_PACKET_BATCH][TG_UDP_HEAD_MAX];
    struct iovec iov[2 * TG_PACKET_BATCH];
    int frames = 0;
    assert(count <= TG_PACKET_BATCH);
    for (int i = 0; i < count; i++) {
        /* A frame of length 0 has another meaning to gost. */
        if (in[i].len > TG_PACKET_MAX || (in[i].len == 0 && f->framing == TG_FRAMING_TUN))
            continue;
        size_t head = put_head(f, &in[i], heads[frames]);
        iov[2 * frames] = (struct iovec){ .iov_base = heads[frames], .iov_len = head };
        iov[2 * frames + 1] = (struct iovec){ .iov_base = in[i].data, .iov_len = in[i].len };
        p->tx += in[i].len;
        frames++;
    }
    if (frames == 0)
        return 0;
    ssize_t n = f->queue_end > f->queue_start ? TG_AGAIN
                                              : tg_stream_writev(f->stream, iov, 2 * frames);
    if (n < 0 && n != TG_AGAIN) {
        p->error = f->stream->error;
        return (int)n;
    }
    int kept = keep_rest(f, iov, frames, n > 0 ? (size_t)n : 0);
    if (f->queue_end > f->queue_start)
        update_want(f);
    return kept;
}

/* ---- the rest ---- */

static void framed_want(struct tg_packet *p, bool readable)
{
    struct framed *f = (struct framed *)p;
    f->wants = readable;
    update_want(f);
}

static void framed_close(struct tg_packet *p)
{
    struct framed *f = (struct framed *)p;
    if (f->queue_end > f->queue_start)
        flush(f);
    tg_stream_close(f->stream);
    tg_buf_put(&p->reactor->pool, f->in);
    free(f->queue);
    free(f);
}

static int framed_name_of(const struct tg_packet *p, bool peer, struct tg_addr *out)
{
    const struct framed *f = (const struct framed *)p;
    out->len = sizeof(out->storage);
    return tg_stream_name(f->stream, peer, &out->storage, &out->len);
}

static const struct tg_packet_ops tun_ops = {
    .name = "udp-tun",
    .recv = framed_recv,
    .send = framed_send,
    .want = framed_want,
    .close = framed_close,
    .name_of = framed_name_of,
};

static const struct tg_packet_ops u16_ops = {
    .name = "udp-u16",
    .recv = framed_recv,
    .send = framed_send,
    .want = framed_want,
    .close = framed_close,
    .name_of = framed_name_of,
};

struct tg_packet *tg_framed_open(struct tg_stream *stream, enum tg_framing framing,
                                 const struct tg_peer *fixed)
{
    struct framed *f = tg_zalloc(sizeof(*f));
    f->base.ops = framing == TG_FRAMING_TUN ? &tun_ops : &u16_ops;
    f->base.reactor = stream->reactor;
    f->base.takes_names = true;
    f->base.carried = true;
    f->base.any_peer = framing == TG_FRAMING_TUN && fixed == NULL;
    f->stream = stream;
    f->framing = framing;
    if (fixed != NULL) {
        f->fixed = *fixed;
        if (fixed->name_len > 0)
            memcpy(f->fixed_name, fixed->name, fixed->name_len);
        f->fixed.name = f->fixed_name;
    }
    stream->on_ready = on_stream;
    stream->ready_arg = f;
    return &f->base;
}
