#include "stream/tcp.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESCUE_MAX (256u * 1024u)

/* Of an end, once it is known. */
union name {
    sa_family_t family; /* AF_UNSPEC: not known */
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

struct tcp {
    struct tg_stream base; /* first: a struct tcp is a struct tg_stream */
    struct tg_watch watch;
    union name peer, near;
};

/* Where `a` leads; a name that the kernel would give a meaning of its own is left to it. */
static void keep_peer(struct tcp *t, const struct tg_addr *a)
{
    static const struct in6_addr unmapped = { { { [10] = 0xff, [11] = 0xff } } };
    if (a->any.sa_family == AF_INET && a->in.sin_addr.s_addr != INADDR_ANY)
        t->peer.in = a->in;
    else if (a->any.sa_family == AF_INET6 && !IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) &&
             memcmp(&a->in6.sin6_addr, &unmapped, sizeof(unmapped)) != 0)
        t->peer.in6 = a->in6;
}

static void finish_connect(struct tcp *t, unsigned events)
{
    int sys = 0;
    socklen_t len = sizeof(sys);
    /* Without EPOLLERR or EPOLLHUP there is no error to ask for. */
    if ((events & TG_HANGUP) &&
        getsockopt(t->watch.fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0)
        sys = errno;
    if (sys == 0)
        tg_stream_set_state(&t->base, TG_STREAM_OPEN);
    else
        tg_stream_fail(&t->base, "connect", sys);
}

static void on_watch(void *arg, unsigned events)
{
    struct tcp *t = arg;
    if (t->base.state == TG_STREAM_OPENING && (events & TG_WRITABLE))
        finish_connect(t, events);
    tg_stream_ready(&t->base, events); /* last: `t` may be gone now */
}

static bool tcp_empty(const struct tg_stream *s)
{
    return !(((const struct tcp *)s)->watch.ready & TG_READABLE);
}

static ssize_t tcp_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tcp *t = (struct tcp *)s;
    if (tcp_empty(s))
        return TG_AGAIN;
    ssize_t n;
    do
        n = recv(t->watch.fd, buf, len, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        tg_watch_blocked(&t->watch, TG_READABLE);
        return tg_stream_fail(s, "read", errno);
    }
    /* A short read means empty, unless a FIN came along: that has no edge of its own; and
     * recv() stops short of urgent data, whatever lies behind. */
    if ((size_t)n < len && n > 0 && !(t->watch.ready & (TG_HANGUP | TG_URGENT)))
        tg_watch_blocked(&t->watch, TG_READABLE);
    return n;
}

/* The peer has closed and takes no more, but what it said before may still wait
 * in the socket: an early answer to an upload.  Keep it, since a failed stream
 * is not read any more. */
static void rescue_input(struct tcp *t)
{
    struct tg_stream_extras *extras = t->base.extras;
    t->base.extras = NULL; /* without meters: now or never */
    t->watch.ready |= TG_READABLE;
    while (tg_stream_fill(&t->base, RESCUE_MAX) > 0)
        continue;
    t->base.extras = extras;
}

static int write_failed(struct tcp *t, int sys)
{
    tg_watch_blocked(&t->watch, TG_WRITABLE);
    if (sys == EPIPE || sys == ECONNRESET)
        rescue_input(t);
    return t->base.state == TG_STREAM_FAILED ? t->base.error.code
                                             : tg_stream_fail(&t->base, "write", sys);
}

static ssize_t tcp_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct tcp *t = (struct tcp *)s;
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count };
    ssize_t n;
    do
        n = count == 1 ? send(t->watch.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                       : sendmsg(t->watch.fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return write_failed(t, errno);
    return n;
}

static int tcp_shutdown(struct tg_stream *s)
{
    struct tcp *t = (struct tcp *)s;
    if (shutdown(t->watch.fd, SHUT_WR) < 0 && errno != ENOTCONN)
        return tg_stream_fail(s, "shutdown", errno);
    return 0;
}

static void tcp_want(struct tg_stream *s, unsigned events)
{
    tg_watch_want(&((struct tcp *)s)->watch, events);
}

static void tcp_close(struct tg_stream *s)
{
    struct tcp *t = (struct tcp *)s;
    int fd = t->watch.fd;
    tg_watch_close(&t->watch, false); /* before the number can be used again */
    close(fd);
    free(t);
}

static int tcp_fd(const struct tg_stream *s)
{
    return ((const struct tcp *)s)->watch.fd;
}

static void tcp_blocked(struct tg_stream *s, unsigned events)
{
    tg_watch_blocked(&((struct tcp *)s)->watch, events);
}

/* splice() takes urgent data for the end of what there is, for good. */
static bool tcp_obstructed(const struct tg_stream *s)
{
    return (((const struct tcp *)s)->watch.ready & TG_URGENT) != 0;
}

static int tcp_name_of(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                       socklen_t *len)
{
    struct tcp *t = (struct tcp *)s;
    union name *known = peer ? &t->peer : &t->near;
    int fd = t->watch.fd;
    if (known->family != AF_UNSPEC) {
        *len = known->family == AF_INET ? sizeof(known->in) : sizeof(known->in6);
        memcpy(out, known, *len);
        return 0;
    }
    *len = sizeof(*out);
    int code = peer ? getpeername(fd, (struct sockaddr *)out, len)
                    : getsockname(fd, (struct sockaddr *)out, len);
    if (code < 0)
        return TG_IO;
    bool is_ip = out->ss_family == AF_INET || out->ss_family == AF_INET6;
    if (s->state == TG_STREAM_OPEN && is_ip) /* connected: it stays so */
        memcpy(known, out, *len);
    return 0;
}

static const struct tg_stream_ops tcp_ops = {
    .name = "tcp",
    .read = tcp_read,
    .writev = tcp_writev,
    .shutdown = tcp_shutdown,
    .want = tcp_want,
    .close = tcp_close,
    .fd = tcp_fd,
    .blocked = tcp_blocked,
    .obstructed = tcp_obstructed,
    .empty = tcp_empty,
    .name_of = tcp_name_of,
};

static struct tg_stream *make(struct tg_reactor *r, int fd, enum tg_stream_state state,
                              unsigned ready, struct tg_error *err)
{
    struct tcp *t = tg_zalloc(sizeof(*t));
    t->base.ops = &tcp_ops;
    t->base.reactor = r;
    t->base.state = (uint8_t)state;
    t->base.half_close = true;
    if (tg_watch_open(r, &t->watch, fd, ready, on_watch, t, err) < 0) {
        free(t);
        return NULL;
    }
    return &t->base;
}

struct tg_stream *tg_tcp_adopt(struct tg_reactor *r, int fd, const struct tg_addr *peer,
                               struct tg_error *err)
{
    struct tg_stream *s = make(r, fd, TG_STREAM_OPEN, TG_READABLE | TG_WRITABLE, err);
    if (s != NULL && peer != NULL)
        keep_peer((struct tcp *)s, peer);
    return s;
}

/* Keepalive in a word, for most connections are over before it matters: three calls less for each. */
#define IDLE_SHIFT 19 /* 12 bits, seconds */
#define INTERVAL_SHIFT 7 /* 12 bits */
#define COUNT_MAX 0x7f
#define SECONDS_MAX 0xfff
#define IDLE_MIN (2 * TG_LATER_MS / 1000 + 1) /* it must not come too late */

static void keep_alive_later(int fd, uint32_t what)
{
    const struct tg_socket_options o = {
        .keepalive_idle = (int)(what >> IDLE_SHIFT & SECONDS_MAX),
        .keepalive_interval = (int)(what >> INTERVAL_SHIFT & SECONDS_MAX),
        .keepalive_count = (int)(what & COUNT_MAX),
    };
    tg_socket_keepalive(fd, &o);
}

static void keep_alive(struct tcp *t, const struct tg_socket_options *o)
{
    int idle = o->keepalive_idle, interval = o->keepalive_interval, count = o->keepalive_count;
    if (idle < IDLE_MIN || idle > SECONDS_MAX || interval < 0 || interval > SECONDS_MAX || count < 0 ||
        count > COUNT_MAX) {
        tg_socket_keepalive(t->watch.fd, o);
        return;
    }
    tg_watch_later(&t->watch, (uint32_t)idle << IDLE_SHIFT | (uint32_t)interval << INTERVAL_SHIFT | (uint32_t)count,
                   keep_alive_later);
}

struct tg_stream *tg_tcp_connect(struct tg_reactor *r, const struct tg_addr *to,
                                 const struct tg_socket_options *options, struct tg_error *err)
{
    static const struct tg_socket_options defaults = TG_SOCKET_DEFAULTS;
    options = options != NULL ? options : &defaults;
    int fd = tg_socket_stream(to->any.sa_family, options, err);
    if (fd < 0)
        return NULL;
    int done = connect(fd, &to->any, to->len);
    if (done < 0 && errno != EINPROGRESS) {
        tg_error_set(err, "tcp", "connect", errno == EAGAIN ? ECONNREFUSED : errno);
        close(fd);
        return NULL;
    }
    struct tg_stream *s = make(r, fd, done == 0 ? TG_STREAM_OPEN : TG_STREAM_OPENING,
                               done == 0 ? TG_READABLE | TG_WRITABLE : 0, err);
    if (s == NULL) {
        close(fd);
        return NULL;
    }
    keep_peer((struct tcp *)s, to);
    if (to->any.sa_family != AF_UNIX)
        keep_alive((struct tcp *)s, options);
    return s;
}
