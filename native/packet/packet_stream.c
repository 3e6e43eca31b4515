#include "packet/packet_stream.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct packet_stream {
    struct tg_stream base; /* first: a struct packet_stream is a struct tg_stream */
    struct tg_packet *packet;
    unsigned wants;
    struct tg_defer writable; /* it always is */
};

static void on_packet(void *arg, unsigned events)
{
    struct packet_stream *s = arg;
    tg_stream_ready(&s->base, events); /* last: `s` may be gone now */
}

static void on_writable(void *arg)
{
    struct packet_stream *s = arg;
    if (!(s->wants & TG_WRITABLE))
        return;
    tg_defer(s->base.reactor, &s->writable); /* until the wish is withdrawn */
    tg_stream_ready(&s->base, TG_WRITABLE);  /* last */
}

static int inherit(struct packet_stream *s, const char *op, int code)
{
    if (s->packet->error.code != TG_OK) {
        s->base.error = s->packet->error;
        tg_stream_set_state(&s->base, TG_STREAM_FAILED);
        return s->base.error.code;
    }
    return tg_stream_break(&s->base, op, (enum tg_code)code, NULL);
}

static ssize_t stream_read(struct tg_stream *base, void *buf, size_t len)
{
    struct packet_stream *s = (struct packet_stream *)base;
    struct tg_datagram d;
    do { /* an empty datagram is not the end of input */
        int n = tg_packet_recv(s->packet, &d, 1);
        if (n == TG_AGAIN)
            return TG_AGAIN;
        if (n == TG_EOF || n == 0)
            return 0;
        if (n < 0)
            return inherit(s, "read", n);
    } while (d.len == 0);
    size_t size = d.len < len ? d.len : len;
    memcpy(buf, d.data, size);
    return (ssize_t)size;
}

static ssize_t stream_writev(struct tg_stream *base, const struct iovec *iov, int count)
{
    struct packet_stream *s = (struct packet_stream *)base;
    struct tg_datagram d = { .len = 0 };
    uint8_t *whole = tg_pool_scratch(&base->reactor->pool);
    for (int i = 0; i < count; i++) {
        size_t len = iov[i].iov_len;
        if (d.len + len > TG_PACKET_MAX)
            return tg_stream_break(base, "write", TG_LIMIT, "too long for a datagram");
        if (len > 0)
            memcpy(whole + TG_PACKET_HEADROOM + d.len, iov[i].iov_base, len);
        d.len += (uint32_t)len;
    }
    d.data = whole + TG_PACKET_HEADROOM;
    d.headroom = TG_PACKET_HEADROOM;
    int n = tg_packet_send(s->packet, &d, 1);
    return n < 0 ? inherit(s, "write", n) : (ssize_t)d.len;
}

static int stream_shutdown(struct tg_stream *base)
{
    (void)base; /* a datagram cannot say it */
    return 0;
}

static void stream_want(struct tg_stream *base, unsigned events)
{
    struct packet_stream *s = (struct packet_stream *)base;
    s->wants = events;
    tg_packet_want(s->packet, (events & TG_READABLE) != 0);
    if (events & TG_WRITABLE)
        tg_defer(base->reactor, &s->writable);
    else
        tg_defer_cancel(base->reactor, &s->writable);
}

static void stream_close(struct tg_stream *base)
{
    struct packet_stream *s = (struct packet_stream *)base;
    tg_defer_cancel(base->reactor, &s->writable);
    tg_packet_close(s->packet);
    free(s);
}

static int stream_name_of(const struct tg_stream *base, bool peer, struct sockaddr_storage *out,
                          socklen_t *len)
{
    struct tg_addr addr;
    int code = tg_packet_name(((const struct packet_stream *)base)->packet, peer, &addr);
    if (code < 0)
        return code;
    *out = addr.storage;
    *len = addr.len;
    return 0;
}

static const struct tg_stream_ops stream_ops = {
    .name = "udp",
    .read = stream_read,
    .writev = stream_writev,
    .shutdown = stream_shutdown,
    .want = stream_want,
    .close = stream_close,
    .name_of = stream_name_of,
};

struct tg_stream *tg_packet_stream(struct tg_packet *packet)
{
    struct packet_stream *s = tg_zalloc(sizeof(*s));
    s->base.ops = &stream_ops;
    s->base.reactor = packet->reactor;
    s->base.state = TG_STREAM_OPENING;
    s->packet = packet;
    s->writable = (struct tg_defer){ .cb = on_writable, .arg = s };
    packet->on_ready = on_packet;
    packet->ready_arg = s;
    tg_stream_set_state(&s->base, TG_STREAM_OPEN);
    return &s->base;
}

struct tg_packet *tg_packet_stream_take(struct tg_stream *base)
{
    struct packet_stream *s = (struct packet_stream *)base;
    if (base->ops != &stream_ops || base->ahead != NULL || tg_stream_is_metered(base))
        return NULL;
    struct tg_packet *p = s->packet;
    struct tg_hold *holds = tg_stream_take_holds(base);
    if (p->holds == NULL)
        p->holds = holds;
    else if (holds != NULL)
        tg_hold_release(&holds);
    tg_defer_cancel(base->reactor, &s->writable);
    tg_packet_want(p, false);
    free(base->extras);
    free(s);
    return p;
}
