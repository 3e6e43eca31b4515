#include "packet/udp.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define GSO_SEGMENTS 64   /* what every kernel with GSO takes at once */
#define GSO_BYTES 64000u  /* below the longest IP packet */
#define RETRIES 4         /* of a call that reported the ICMP error of an earlier datagram */
#define BUFFER (1 << 20)  /* kernel buffers of a socket of ours */

/* Not a power of two, so that the fronts of the buffers do not share cache sets. */
#define STRIDE (TG_PACKET_HEADROOM + TG_PACKET_MAX + 1 + 192)

/* What the receive calls of a thread share.  Only the pages that datagrams
 * touch become memory. */
struct batch {
    struct mmsghdr msgs[TG_PACKET_BATCH];
    struct iovec iov[TG_PACKET_BATCH];
    struct sockaddr_in6 names[TG_PACKET_BATCH];
    uint8_t space[TG_PACKET_BATCH][STRIDE];
};

static struct batch *batch_of(struct tg_reactor *r)
{
    if (r->packets != NULL)
        return r->packets;
    struct batch *b = malloc(sizeof(*b));
    if (b == NULL)
        abort();
    for (int i = 0; i < TG_PACKET_BATCH; i++) {
        b->iov[i] = (struct iovec){ .iov_base = b->space[i] + TG_PACKET_HEADROOM };
        b->msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &b->iov[i], .msg_iovlen = 1 };
    }
    r->packets = b;
    return b;
}

static void take_source(struct tg_datagram *d, const struct sockaddr_in6 *name)
{
    if (name->sin6_family == AF_INET)
        memcpy(&d->peer.in, name, sizeof(d->peer.in));
    else
        d->peer.in6 = *name;
    d->peer.name_len = 0;
    tg_peer_unmap(&d->peer);
}

int tg_udp_recv(struct tg_reactor *r, int fd, bool sources, uint32_t limit,
                struct tg_udp_guess *guess, struct tg_datagram *out, int count, bool *drained)
{
    struct batch *b = batch_of(r);
    assert(count >= 1 && count <= TG_PACKET_BATCH && limit <= TG_PACKET_MAX);
    if (count > 2 + 2 * guess->last)
        count = 2 + 2 * guess->last;
    for (int i = 0; i < count; i++) {
        b->iov[i].iov_len = limit;
        b->msgs[i].msg_hdr.msg_name = sources ? &b->names[i] : NULL;
        b->msgs[i].msg_hdr.msg_namelen = sources ? sizeof(b->names[i]) : 0;
    }
    *drained = false;
    int n = recvmmsg(fd, b->msgs, (unsigned)count, MSG_DONTWAIT, NULL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return TG_IO;
        *drained = true;
        return TG_AGAIN;
    }
    *drained = n < count;
    guess->last = (uint8_t)n;
    for (int i = 0; i < n; i++) {
        struct tg_datagram *d = &out[i];
        d->data = b->iov[i].iov_base;
        d->len = b->msgs[i].msg_len;
        d->headroom = TG_PACKET_HEADROOM;
        if (sources)
            take_source(d, &b->names[i]);
        else
            d->peer = (struct tg_peer){ .name_len = 0 };
    }
    return n;
}

/* One call of sendmmsg(): messages, each of one datagram or of a run. */
struct outgoing {
    int count;   /* messages */
    int pieces;  /* datagrams in them */
    struct mmsghdr msgs[TG_PACKET_BATCH];
    struct iovec iov[TG_PACKET_BATCH];
    struct sockaddr_in6 names[TG_PACKET_BATCH];
    struct {
        _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control[TG_PACKET_BATCH];
};

/* The destination in the form the socket wants.  @return false: it cannot go there */
static bool set_name(struct outgoing *o, struct msghdr *m, const struct tg_peer *to, unsigned flags)
{
    if (to->any.sa_family == 0) /* connected */
        return to->name_len == 0;
    bool v6 = (flags & TG_UDP_V6) != 0;
    struct sockaddr_in6 *name = &o->names[o->count];
    if (to->any.sa_family == AF_INET6) {
        *name = to->in6;
    } else if (v6) {
        *name = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = to->in.sin_port };
        name->sin6_addr.s6_addr[10] = name->sin6_addr.s6_addr[11] = 0xff;
        memcpy(&name->sin6_addr.s6_addr[12], &to->in.sin_addr, 4);
    } else {
        memcpy(name, &to->in, sizeof(to->in));
    }
    m->msg_name = name;
    m->msg_namelen = name->sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(*name);
    return v6 || name->sin6_family == AF_INET;
}

static void set_segment(struct outgoing *o, struct msghdr *m, uint32_t len)
{
    m->msg_control = o->control[o->count].bytes;
    m->msg_controllen = sizeof(o->control[o->count].bytes);
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    uint16_t size = (uint16_t)len;
    memcpy(CMSG_DATA(c), &size, sizeof(size));
}

/* How many datagrams from in[0] on can leave as one: same destination, same
 * length but for a shorter last one. */
static int run_of(const struct tg_peer *to, const struct tg_datagram *in, int count)
{
    uint32_t len = in[0].len, bytes = len;
    int n = 1;
    if (len == 0 || len > GSO_BYTES / 2)
        return 1;
    while (n < count && n < GSO_SEGMENTS && in[n].len > 0 && in[n].len <= len &&
           bytes + in[n].len <= GSO_BYTES &&
           (to != NULL || tg_peer_equal(&in[n].peer, &in[0].peer))) {
        bytes += in[n].len;
        n++;
        if (in[n - 1].len < len)
            break;
    }
    return n;
}

/* Fill `o` from the front of `in`.  @return datagrams looked at */
static int gather(struct outgoing *o, unsigned flags, const struct tg_peer *to,
                  const struct tg_datagram *in, int count)
{
    int i = 0;
    o->count = o->pieces = 0;
    while (i < count && o->pieces < TG_PACKET_BATCH) {
        struct msghdr *m = &o->msgs[o->count].msg_hdr;
        *m = (struct msghdr){ .msg_iov = &o->iov[o->pieces] };
        int run = flags & TG_UDP_NO_GSO ? 1 : run_of(to, in + i, count - i);
        if (run > TG_PACKET_BATCH - o->pieces)
            run = TG_PACKET_BATCH - o->pieces;
        if (!set_name(o, m, to != NULL ? to : &in[i].peer, flags)) {
            i += run;
            continue;
        }
        for (int k = 0; k < run; k++)
            m->msg_iov[k] = (struct iovec){ .iov_base = in[i + k].data, .iov_len = in[i + k].len };
        m->msg_iovlen = (size_t)run;
        if (run > 1)
            set_segment(o, m, in[i].len);
        o->pieces += run;
        o->count++;
        i += run;
    }
    return i;
}

/* A run the way out refuses to cut: send its pieces one by one. */
static int send_pieces(int fd, const struct msghdr *run)
{
    int sent = 0;
    for (size_t i = 0; i < run->msg_iovlen; i++) {
        struct msghdr one = *run;
        one.msg_control = NULL;
        one.msg_controllen = 0;
        one.msg_iov = &run->msg_iov[i];
        one.msg_iovlen = 1;
        for (int try = 0; try < RETRIES; try++) {
            if (sendmsg(fd, &one, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
                sent++;
                break;
            }
            if (errno == EAGAIN || errno == EMSGSIZE)
                break;
        }
    }
    return sent;
}

static int pieces_of(const struct outgoing *o, int from, int count)
{
    size_t pieces = 0;
    for (int i = from; i < from + count; i++)
        pieces += o->msgs[i].msg_hdr.msg_iovlen;
    return (int)pieces;
}

/* The first message did not go.  @return whether it is done with, sent or lost */
static bool settle(int fd, unsigned *flags, const struct msghdr *m, int sys, int *tries, int *sent)
{
    if (m->msg_iovlen > 1 && (sys == EINVAL || sys == EMSGSIZE || sys == EIO || sys == EOPNOTSUPP)) {
        if (sys == EIO || sys == EOPNOTSUPP)
            *flags |= TG_UDP_NO_GSO;
        *sent += send_pieces(fd, m);
        return true;
    }
    /* Anything else may be the ICMP error of an earlier datagram: asking clears it. */
    return sys == EAGAIN || sys == EMSGSIZE || ++*tries >= RETRIES;
}

static int send_some(int fd, struct mmsghdr *msgs, int count)
{
    if (count > 1)
        return sendmmsg(fd, msgs, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sendmsg(fd, &msgs->msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ? 1 : -1;
}

static int flush(int fd, unsigned *flags, struct outgoing *o)
{
    int sent = 0, tries = 0;
    for (int i = 0; i < o->count;) {
        int n = send_some(fd, o->msgs + i, o->count - i);
        if (n > 0) {
            sent += pieces_of(o, i, n);
            i += n;
            tries = 0;
        } else if (settle(fd, flags, &o->msgs[i].msg_hdr, errno, &tries, &sent)) {
            i++;
            tries = 0;
        }
    }
    return sent;
}

int tg_udp_send(int fd, unsigned *flags, const struct tg_peer *to, struct tg_datagram *in,
                int count)
{
    struct outgoing o;
    int sent = 0;
    while (count > 0) {
        int taken = gather(&o, *flags, to, in, count);
        sent += flush(fd, flags, &o);
        in += taken;
        count -= taken;
    }
    return sent;
}

void tg_udp_tune(int fd, int bytes)
{
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

struct udp {
    struct tg_packet base; /* first: a struct udp is a struct tg_packet */
    struct tg_watch watch;
    unsigned flags; /* of tg_udp_send() */
    bool strict; /* see tg_udp_be_strict() */
    uint32_t limit;
    struct tg_udp_guess guess;
};

static const struct tg_peer connected;

static void on_watch(void *arg, unsigned events)
{
    struct udp *u = arg;
    if (u->base.on_ready != NULL)
        u->base.on_ready(u->base.ready_arg, events); /* last: `u` may be gone now */
}

static int udp_recv(struct tg_packet *p, struct tg_datagram *out, int count)
{
    struct udp *u = (struct udp *)p;
    if (!(u->watch.ready & TG_READABLE))
        return TG_AGAIN;
    for (int try = 0; try < RETRIES; try++) {
        bool drained;
        int n = tg_udp_recv(p->reactor, u->watch.fd, p->any_peer, u->limit, &u->guess, out,
                            count, &drained);
        if (drained)
            tg_watch_blocked(&u->watch, TG_READABLE);
        for (int i = 0; i < n; i++)
            p->rx += out[i].len;
        if (n > 0 || n == TG_AGAIN)
            return n;
        if (u->strict)
            return tg_error_set(&p->error, "udp", "recv", errno);
    }
    return TG_AGAIN; /* still readable: asked again next turn */
}

static int udp_send(struct tg_packet *p, struct tg_datagram *in, int count)
{
    struct udp *u = (struct udp *)p;
    for (int i = 0; i < count; i++)
        p->tx += in[i].len;
    return tg_udp_send(u->watch.fd, &u->flags, p->any_peer ? NULL : &connected, in, count);
}

static void udp_want(struct tg_packet *p, bool readable)
{
    tg_watch_want(&((struct udp *)p)->watch, readable ? TG_READABLE : 0);
}

static void udp_close(struct tg_packet *p)
{
    struct udp *u = (struct udp *)p;
    int fd = u->watch.fd;
    tg_watch_close(&u->watch, false);
    close(fd);
    free(u);
}

static int udp_name_of(const struct tg_packet *p, bool peer, struct tg_addr *out)
{
    int fd = tg_udp_fd(p);
    out->len = sizeof(out->storage);
    int code = peer ? getpeername(fd, &out->any, &out->len) : getsockname(fd, &out->any, &out->len);
    return code < 0 ? TG_IO : 0;
}

static const struct tg_packet_ops udp_ops = {
    .name = "udp",
    .recv = udp_recv,
    .send = udp_send,
    .want = udp_want,
    .close = udp_close,
    .name_of = udp_name_of,
};

int tg_udp_fd(const struct tg_packet *p)
{
    assert(p->ops == &udp_ops);
    return ((const struct udp *)p)->watch.fd;
}

void tg_udp_be_strict(struct tg_packet *p)
{
    assert(p->ops == &udp_ops);
    ((struct udp *)p)->strict = true;
}

static struct tg_packet *adopt(struct tg_reactor *r, int fd, unsigned flags, uint32_t limit,
                               struct tg_error *err)
{
    struct udp *u = tg_zalloc(sizeof(*u));
    u->base.ops = &udp_ops;
    u->base.reactor = r;
    u->flags = flags;
    u->limit = limit > 0 && limit < TG_PACKET_MAX ? limit : TG_PACKET_MAX;
    tg_udp_tune(fd, BUFFER);
    if (tg_watch_open_input(r, &u->watch, fd, TG_WRITABLE, on_watch, u, err) < 0) {
        free(u);
        close(fd);
        return NULL;
    }
    return &u->base;
}

struct tg_packet *tg_udp_connect(struct tg_reactor *r, const struct tg_addr *to,
                                 const struct tg_socket_options *options, uint32_t limit,
                                 struct tg_error *err)
{
    static const struct tg_socket_options defaults = TG_SOCKET_DEFAULTS;
    int fd = tg_socket_datagram(to->any.sa_family, options != NULL ? options : &defaults, err);
    if (fd < 0)
        return NULL;
    if (connect(fd, &to->any, to->len) < 0) {
        tg_error_set(err, "udp", "connect", errno);
        close(fd);
        return NULL;
    }
    return adopt(r, fd, 0, limit, err);
}

/* A socket of one family, bound when `at` says so. */
static int open_bound(int family, bool both, const struct tg_addr *at,
                      const struct tg_socket_options *options, struct tg_error *err)
{
    int only = !both;
    int fd = tg_socket_datagram(family, options, err);
    if (fd < 0)
        return fd;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
    if (at != NULL && bind(fd, &at->any, at->len) < 0) {
        int code = tg_error_set(err, "udp", "bind", errno);
        close(fd);
        return code;
    }
    return fd;
}

struct tg_packet *tg_udp_open(struct tg_reactor *r, int family, const struct tg_addr *at,
                              const struct tg_socket_options *options, uint32_t limit,
                              struct tg_error *err)
{
    static const struct tg_socket_options defaults = TG_SOCKET_DEFAULTS;
    if (options == NULL)
        options = &defaults;
    if (at != NULL)
        family = at->any.sa_family;
    else if (options->bind.len > 0)
        family = options->bind.any.sa_family;
    bool both = family == 0 || (at != NULL && IN6_IS_ADDR_UNSPECIFIED(&at->in6.sin6_addr) &&
                                family == AF_INET6);
    int real = family == 0 ? AF_INET6 : family;
    int fd = open_bound(real, both, at, options, err);
    if (fd < 0 && family == 0) { /* a machine without IPv6 */
        real = AF_INET;
        fd = open_bound(real, false, at, options, err);
    }
    if (fd < 0)
        return NULL;
    struct tg_packet *p = adopt(r, fd, real == AF_INET6 ? TG_UDP_V6 : 0, limit, err);
    if (p != NULL)
        p->any_peer = true;
    return p;
}
