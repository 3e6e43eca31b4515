#include "packet/socks_udp.h"

#include "base/mem.h"
#include "codec/udp_frame.h"
#include "packet/udp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRIES 4
#define BUFFER (1 << 20) /* bytes in the kernel */

struct socks_udp {
    struct tg_packet base; /* first: a struct socks_udp is a struct tg_packet */
    struct tg_watch watch;
    struct tg_stream *control; /* NULL: none, or over */
    unsigned flags;            /* of tg_udp_send() */
    uint32_t limit;
    struct tg_udp_guess guess;
    bool server, wants, over;
    struct tg_peer client; /* server: family and IP that are served; family 0: all */
    struct tg_peer last;   /* server: who sent last */
    struct tg_peer fixed;  /* client: the one destination */
    char fixed_name[256];
};

static const struct tg_peer connected;

static void tell(struct socks_udp *s, unsigned events)
{
    if (s->wants && s->base.on_ready != NULL)
        s->base.on_ready(s->base.ready_arg, events); /* last: `s` may be gone now */
}

static void on_watch(void *arg, unsigned events)
{
    tell(arg, events);
}

static void on_control(void *arg, unsigned events)
{
    struct socks_udp *s = arg;
    uint8_t *waste = tg_pool_scratch(&s->base.reactor->pool);
    (void)events;
    ssize_t n = tg_stream_read(s->control, waste, TG_SCRATCH);
    if (n > 0 || n == TG_AGAIN)
        return;
    s->over = true;
    tg_stream_want(s->control, 0);
    tell(s, TG_READABLE);
}

static bool same_ip(const struct tg_peer *a, const struct tg_peer *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) == 0;
}

/* Take the header off.  @return false: not for us */
static bool unwrap(struct socks_udp *s, struct tg_datagram *d)
{
    struct tg_error ignored;
    struct tg_udp_frame frame;
    if (s->server && s->client.any.sa_family != 0 && !same_ip(&d->peer, &s->client))
        return false;
    if (tg_udp_datagram_decode(d->data, d->len, &frame, &ignored) < 0)
        return false;
    if (s->server)
        s->last = d->peer;
    uint32_t head = d->len - (uint32_t)frame.data.len;
    d->data += head;
    d->len -= head;
    d->headroom += head;
    if (s->base.any_peer) /* a name ends where its port begins */
        tg_peer_from_target(&d->peer, &frame.target, d->data - 2 - frame.target.len);
    else
        d->peer = (struct tg_peer){ .name_len = 0 };
    return true;
}

static int socks_recv(struct tg_packet *p, struct tg_datagram *out, int count)
{
    struct socks_udp *s = (struct socks_udp *)p;
    if (s->over)
        return TG_EOF;
    if (!(s->watch.ready & TG_READABLE))
        return TG_AGAIN;
    for (int try = 0; try < RETRIES; try++) {
        bool drained;
        int n = tg_udp_recv(p->reactor, s->watch.fd, s->server, s->limit, &s->guess, out,
                            count, &drained);
        int kept = 0;
        if (drained)
            tg_watch_blocked(&s->watch, TG_READABLE);
        for (int i = 0; i < n; i++) {
            if (!unwrap(s, &out[i]))
                continue;
            p->rx += out[i].len;
            if (kept != i)
                out[kept] = out[i];
            kept++;
        }
        if (kept > 0 || drained)
            return kept > 0 ? kept : TG_AGAIN;
    }
    return TG_AGAIN; /* still readable: asked again next turn */
}

/* Put the header in front; where there is no room, with a copy of the datagram. */
static bool wrap(struct socks_udp *s, struct tg_datagram *d, uint8_t **spare, size_t *left)
{
    uint8_t head[TG_UDP_HEAD_MAX];
    struct tg_target target;
    tg_peer_to_target(s->server || s->base.any_peer ? &d->peer : &s->fixed, &target);
    size_t len = (size_t)tg_udp_datagram_head_encode(&target, head, sizeof(head));
    if (d->headroom < len) {
        if (*left < len + d->len)
            return false;
        memcpy(*spare + len, d->data, d->len);
        d->data = *spare + len;
        d->headroom = (uint32_t)len;
        *spare += len + d->len;
        *left -= len + d->len;
    }
    d->data -= len;
    d->len += (uint32_t)len;
    d->headroom -= (uint32_t)len;
    memcpy(d->data, head, len);
    return true;
}

static int socks_send(struct tg_packet *p, struct tg_datagram *in, int count)
{
    struct socks_udp *s = (struct socks_udp *)p;
    uint8_t *spare = tg_pool_scratch(&p->reactor->pool);
    size_t left = TG_SCRATCH;
    int n = 0;
    if (s->server && s->last.any.sa_family == 0)
        return 0;
    for (int i = 0; i < count; i++) {
        uint32_t len = in[i].len;
        if (!wrap(s, &in[i], &spare, &left))
            continue;
        p->tx += len;
        if (n != i)
            in[n] = in[i];
        n++;
    }
    return tg_udp_send(s->watch.fd, &s->flags, s->server ? &s->last : &connected, in, n);
}

static void socks_want(struct tg_packet *p, bool readable)
{
    struct socks_udp *s = (struct socks_udp *)p;
    s->wants = readable;
    tg_watch_want(&s->watch, readable ? TG_READABLE : 0);
    if (s->control != NULL && !s->over)
        tg_stream_want(s->control, readable ? TG_READABLE : 0);
}

static void socks_close(struct tg_packet *p)
{
    struct socks_udp *s = (struct socks_udp *)p;
    int fd = s->watch.fd;
    if (s->control != NULL)
        tg_stream_close(s->control);
    tg_watch_close(&s->watch, false);
    close(fd);
    free(s);
}

static int socks_name_of(const struct tg_packet *p, bool peer, struct tg_addr *out)
{
    const struct socks_udp *s = (const struct socks_udp *)p;
    out->len = sizeof(out->storage);
    if (!peer || !s->server) {
        int code = peer ? getpeername(s->watch.fd, &out->any, &out->len)
                        : getsockname(s->watch.fd, &out->any, &out->len);
        return code < 0 ? TG_IO : 0;
    }
    if (s->last.any.sa_family == 0)
        return TG_INVALID;
    out->len = tg_peer_len(&s->last);
    memcpy(&out->storage, &s->last.in6, out->len);
    return 0;
}

static const struct tg_packet_ops socks_ops = {
    .name = "socks5-udp",
    .recv = socks_recv,
    .send = socks_send,
    .want = socks_want,
    .close = socks_close,
    .name_of = socks_name_of,
};

bool tg_socks_udp_is(const struct tg_packet *p)
{
    return p->ops == &socks_ops;
}

void tg_socks_udp_attach(struct tg_packet *p, struct tg_stream *control)
{
    struct socks_udp *s = (struct socks_udp *)p;
    assert(tg_socks_udp_is(p) && s->control == NULL);
    s->control = control;
    control->on_ready = on_control;
    control->ready_arg = s;
    if (s->wants)
        tg_stream_want(control, TG_READABLE);
}

/* `fd` < 0: the socket could not be opened, `err` says why. */
static struct socks_udp *open_on(struct tg_reactor *r, int fd, uint32_t limit,
                                 struct tg_error *err)
{
    struct socks_udp *s = tg_zalloc(sizeof(*s));
    if (fd < 0 || tg_watch_open_input(r, &s->watch, fd, TG_WRITABLE, on_watch, s, err) < 0) {
        if (fd >= 0)
            close(fd);
        free(s);
        return NULL;
    }
    tg_udp_tune(fd, BUFFER);
    s->base.ops = &socks_ops;
    s->base.reactor = r;
    s->limit = limit > 0 && limit < TG_PACKET_MAX - TG_UDP_HEAD_MAX ? limit + TG_UDP_HEAD_MAX : TG_PACKET_MAX;
    return s;
}

static void copy_addr(struct tg_peer *to, const struct tg_addr *from)
{
    if (from->any.sa_family == AF_INET)
        to->in = from->in;
    else if (from->any.sa_family == AF_INET6)
        to->in6 = from->in6;
    tg_peer_unmap(to);
}

struct tg_packet *tg_socks_udp_server(struct tg_reactor *r, const struct tg_addr *at,
                                      const struct tg_addr *client, uint32_t limit,
                                      struct tg_error *err)
{
    static const struct tg_socket_options defaults = TG_SOCKET_DEFAULTS;
    int both = 0, fd = tg_socket_datagram(at->any.sa_family, &defaults, err);
    if (fd >= 0 && at->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof(both));
    if (fd >= 0 && bind(fd, &at->any, at->len) < 0) {
        tg_error_set(err, "socks5-udp", "bind", errno);
        close(fd);
        fd = -1;
    }
    struct socks_udp *s = open_on(r, fd, limit, err);
    if (s == NULL)
        return NULL;
    s->server = true;
    s->base.any_peer = true;
    s->flags = at->any.sa_family == AF_INET6 ? TG_UDP_V6 : 0;
    if (client != NULL)
        copy_addr(&s->client, client);
    return &s->base;
}

struct tg_packet *tg_socks_udp_client(struct tg_reactor *r, const struct tg_addr *to,
                                      const struct tg_socket_options *options,
                                      const struct tg_peer *fixed, uint32_t limit,
                                      struct tg_error *err)
{
    static const struct tg_socket_options defaults = TG_SOCKET_DEFAULTS;
    int fd = tg_socket_datagram(to->any.sa_family, options != NULL ? options : &defaults, err);
    if (fd >= 0 && connect(fd, &to->any, to->len) < 0) {
        tg_error_set(err, "socks5-udp", "connect", errno);
        close(fd);
        fd = -1;
    }
    struct socks_udp *s = open_on(r, fd, limit, err);
    if (s == NULL)
        return NULL;
    s->base.takes_names = true;
    s->base.any_peer = fixed == NULL;
    if (fixed != NULL) {
        s->fixed = *fixed;
        if (fixed->name_len > 0)
            memcpy(s->fixed_name, fixed->name, fixed->name_len);
        s->fixed.name = s->fixed_name;
    }
    return &s->base;
}
