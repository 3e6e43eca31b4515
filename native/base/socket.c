#include "base/socket.h"

#include "os/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value));
}

void tg_socket_keepalive(int fd, const struct tg_socket_options *o)
{
    if (o->keepalive_idle <= 0)
        return;
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, o->keepalive_idle);
    if (o->keepalive_interval > 0)
        set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, o->keepalive_interval);
    if (o->keepalive_count > 0 && o->keepalive_count != 9) /* 9 is the kernel's default */
        set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, o->keepalive_count);
}

static int open_raw(int family, int type, bool mptcp)
{
    type |= SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (mptcp) {
        int fd = socket(family, type, IPPROTO_MPTCP);
        if (fd >= 0 || (errno != EPROTONOSUPPORT && errno != EINVAL && errno != ENOPROTOOPT))
            return fd;
    }
    return socket(family, type, 0);
}

static int open_socket(int family, int type, const struct tg_socket_options *o,
                       struct tg_error *err)
{
    bool mptcp = o->mptcp && type == SOCK_STREAM && family != AF_UNIX;
    int fd;
    if (o->netns >= 0) {
        int old = tg_netns_enter(o->netns, err);
        if (old < 0)
            return old;
        fd = open_raw(family, type, mptcp);
        int sys = errno;
        tg_netns_leave(old);
        errno = sys;
    } else {
        fd = open_raw(family, type, mptcp);
    }
    if (fd < 0)
        return tg_error_set(err, "socket", "open", errno);
    return fd;
}

/* Where traffic leaves: mark, device, source address. */
static int set_egress(int fd, int family, const struct tg_socket_options *o, struct tg_error *err)
{
    if (o->mark != 0 && set_int(fd, SOL_SOCKET, SO_MARK, o->mark) < 0)
        return tg_error_set(err, "socket", "set mark", errno);
    if (o->interface[0] != 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->interface,
                                           (socklen_t)strlen(o->interface)) < 0)
        return tg_error_set(err, "socket", "bind to interface", errno);
    if (o->bind.len == 0)
        return 0;
    if (o->bind.any.sa_family != family)
        return tg_error_put(err, "socket", "bind", TG_UNREACHABLE,
                            "the source address is of another family than the destination");
    if (family != AF_UNIX)
        set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (bind(fd, &o->bind.any, o->bind.len) < 0)
        return tg_error_set(err, "socket", "bind", errno);
    return 0;
}

int tg_socket_stream(int family, const struct tg_socket_options *o, struct tg_error *err)
{
    int fd = open_socket(family, SOCK_STREAM, o, err);
    if (fd < 0 || family == AF_UNIX)
        return fd;
    if (o->nodelay)
        set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (o->fastopen)
        set_int(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
    int code = set_egress(fd, family, o, err);
    if (code < 0) {
        close(fd);
        return code;
    }
    return fd;
}

int tg_socket_datagram(int family, const struct tg_socket_options *o, struct tg_error *err)
{
    int fd = open_socket(family, SOCK_DGRAM, o, err);
    if (fd < 0)
        return fd;
    int code = set_egress(fd, family, o, err);
    if (code < 0) {
        close(fd);
        return code;
    }
    return fd;
}

/* A socket file nobody listens on any more may be replaced; any other may not. */
static void remove_stale(const struct tg_addr *at)
{
    struct stat st;
    if (at->any.sa_family != AF_UNIX || at->un.sun_path[0] == 0 ||
        stat(at->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    /* A full backlog must not hold us up: EAGAIN tells of a listener too. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &at->any, at->len) < 0 && errno == ECONNREFUSED)
        unlink(at->un.sun_path);
    close(fd);
}

static void set_listening_options(int fd, int family, bool datagrams,
                                  const struct tg_socket_options *o)
{
    if (family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (datagrams || family == AF_UNIX)
        return;
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (o->nodelay)
        set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* inherited by accepted sockets */
    if (o->fastopen)
        set_int(fd, IPPROTO_TCP, TCP_FASTOPEN, 256);
    tg_socket_keepalive(fd, o);
}

/* For TPROXY; a dual-stack socket needs both. */
static int set_transparent(int fd, int family)
{
    if (family == AF_INET6 && set_int(fd, SOL_IPV6, 75 /* IPV6_TRANSPARENT */, 1) < 0)
        return -1;
    return set_int(fd, SOL_IP, 19 /* IP_TRANSPARENT */, 1);
}

/* Open and bind one.  The first is bound without SO_REUSEPORT, so that a foreign
 * listener is noticed, and opened for its siblings afterwards. */
static int bind_one(const struct tg_addr *at, bool datagrams, const struct tg_socket_options *o,
                    bool first, bool shared, struct tg_error *err)
{
    int family = at->any.sa_family;
    int fd = open_socket(family, datagrams ? SOCK_DGRAM : SOCK_STREAM, o, err);
    if (fd < 0)
        return fd;
    set_listening_options(fd, family, datagrams, o);
    if (o->transparent && set_transparent(fd, family) < 0) {
        int code = tg_error_set(err, "socket", "set transparent", errno);
        close(fd);
        return code;
    }
    if (o->interface[0] != 0)
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->interface,
                   (socklen_t)strlen(o->interface));
    if ((shared && !first) || o->reuseport)
        set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (bind(fd, &at->any, at->len) < 0) {
        int code = tg_error_set(err, "socket", "bind", errno);
        close(fd);
        return code;
    }
    if (shared && first)
        set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return fd;
}

int tg_socket_listen(const struct tg_addr *at, bool datagrams, const struct tg_socket_options *o,
                     int count, int *fds, struct tg_error *err)
{
    struct tg_addr where = *at;
    bool is_unix = at->any.sa_family == AF_UNIX;
    int made = 0, code = 0;
    if (!datagrams)
        remove_stale(at);
    for (; made < count; made++) {
        if (is_unix && made > 0) { /* one socket, accepted from by all */
            fds[made] = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
            code = fds[made] < 0 ? tg_error_set(err, "socket", "dup", errno) : 0;
        } else {
            fds[made] = bind_one(&where, datagrams, o, made == 0, count > 1 && !is_unix, err);
            code = fds[made];
        }
        if (fds[made] < 0)
            goto fail;
        if (made == 0 && getsockname(fds[0], &where.any, &(socklen_t){ sizeof(where.storage) }) == 0)
            where.len = at->len;
    }
    for (int i = 0; !datagrams && i < count; i++)
        if (listen(fds[i], o->backlog > 0 ? o->backlog : 4096) < 0) {
            code = tg_error_set(err, "socket", "listen", errno);
            goto fail;
        }
    return 0;

fail:
    while (made-- > 0)
        close(fds[made]);
    return code;
}
