#include "stream/device.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHUT_SILENCE 1000u /* ms */
#define PARTS_MAX 64

struct end {
    struct tg_watch watch;
    int fd;       /* -1: closed */
    bool always;  /* epoll does not take it: it is always ready */
    bool socket;
};

struct device {
    struct tg_stream base; /* first: a struct device is a struct tg_stream */
    struct end in, out;
    struct tg_defer ready; /* for ends that always are */
    struct tg_timer silence;
    uint32_t silence_ms; /* 0: none */
    bool over;           /* input has ended, whatever the descriptor says */
    bool one_socket;     /* both ends are the same */
    struct tg_device_options options;
};

static void on_watch(void *arg, unsigned events)
{
    struct device *d = arg;
    tg_stream_ready(&d->base, events); /* last: `d` may be gone now */
}

static unsigned always_ready(const struct device *d)
{
    unsigned events = 0;
    if (d->in.always || d->over)
        events |= d->base.wanted & TG_READABLE;
    if (d->out.always)
        events |= d->base.wanted & TG_WRITABLE;
    return events;
}

static void on_defer(void *arg)
{
    struct device *d = arg;
    unsigned events = always_ready(d);
    if (events == 0)
        return;
    tg_defer(d->base.reactor, &d->ready);
    tg_stream_ready(&d->base, events); /* last */
}

static void on_silence(void *arg)
{
    struct device *d = arg;
    d->over = true;
    if (d->base.wanted & TG_READABLE)
        tg_stream_ready(&d->base, TG_READABLE); /* last */
}

static ssize_t device_read(struct tg_stream *s, void *buf, size_t len)
{
    struct device *d = (struct device *)s;
    ssize_t n;
    if (d->over)
        return 0;
    if (!d->in.always && !(d->in.watch.ready & TG_READABLE))
        return TG_AGAIN;
    do
        n = d->in.socket ? recv(d->in.fd, buf, len, MSG_DONTWAIT) : read(d->in.fd, buf, len);
    while (n < 0 && errno == EINTR);
    if (n > 0 && d->silence_ms > 0)
        tg_timer_start(s->reactor, &d->silence, d->silence_ms);
    if (n >= 0)
        return n;
    if (!d->in.always)
        tg_watch_blocked(&d->in.watch, TG_READABLE);
    return errno == EIO ? 0 : tg_stream_fail(s, "read", errno); /* a terminal whose other side has gone */
}

static ssize_t device_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct device *d = (struct device *)s;
    struct msghdr msg = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = (size_t)(count < PARTS_MAX ? count : PARTS_MAX),
    };
    ssize_t n;
    if (d->out.fd < 0)
        return tg_stream_fail(s, "write", EPIPE);
    do
        n = d->out.socket ? sendmsg(d->out.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)
                          : writev(d->out.fd, iov, (int)msg.msg_iovlen);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    if (!d->out.always)
        tg_watch_blocked(&d->out.watch, TG_WRITABLE);
    return tg_stream_fail(s, "write", errno);
}

static void close_end(struct device *d, struct end *e)
{
    int fd = e->fd;
    if (fd < 0)
        return;
    e->fd = -1;
    if (!e->always)
        tg_watch_close(&e->watch, false);
    if (d->options.release != NULL)
        d->options.release(d->options.arg, fd);
    else
        close(fd);
}

static int device_shutdown(struct tg_stream *s)
{
    struct device *d = (struct device *)s;
    if (d->options.kind == TG_DEVICE_STDIO) {
        if (d->one_socket && d->out.fd >= 0) /* any other may be shared with a shell, which goes on */
            shutdown(d->out.fd, SHUT_WR);
        close_end(d, &d->out);
        return 0;
    }
    if (d->silence_ms == 0 || d->silence_ms > SHUT_SILENCE)
        d->silence_ms = SHUT_SILENCE;
    tg_timer_start(s->reactor, &d->silence, d->silence_ms);
    return 0;
}

static void want_end(struct end *e, unsigned events)
{
    if (!e->always && e->fd >= 0)
        tg_watch_want(&e->watch, events);
}

static void device_want(struct tg_stream *s, unsigned events)
{
    struct device *d = (struct device *)s;
    want_end(&d->in, events & TG_READABLE);
    want_end(&d->out, events & TG_WRITABLE);
    if (always_ready(d) != 0)
        tg_defer(s->reactor, &d->ready);
    if ((events & TG_READABLE) && d->silence_ms > 0 && !d->over && !tg_timer_running(&d->silence))
        tg_timer_start(s->reactor, &d->silence, d->silence_ms);
}

static void device_close(struct tg_stream *s)
{
    struct device *d = (struct device *)s;
    tg_defer_cancel(s->reactor, &d->ready);
    tg_timer_stop(s->reactor, &d->silence);
    close_end(d, &d->in);
    close_end(d, &d->out);
    if (d->options.closed != NULL)
        d->options.closed(d->options.arg);
    free(d);
}

static const struct tg_stream_ops ops[] = {
#define XX(kind, word) \
    [kind] = { \
        .name = word, \
        .read = device_read, \
        .writev = device_writev, \
        .shutdown = device_shutdown, \
        .want = device_want, \
        .close = device_close, \
    },
    XX(TG_DEVICE_SERIAL, "serial")
    XX(TG_DEVICE_STDIO, "stdio")
#undef XX
};

static int open_end(struct device *d, struct end *e, int fd, struct tg_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return tg_error_set(err, d->base.ops->name, "open", errno);
    e->socket = S_ISSOCK(st.st_mode);
    e->always = S_ISREG(st.st_mode);
    if (!e->always && tg_watch_open(d->base.reactor, &e->watch, fd, TG_READABLE | TG_WRITABLE, on_watch, d, err) < 0) {
        if (err->sys != EPERM)
            return err->code;
        e->always = true; /* no poll(): /dev/null and the like */
    }
    e->fd = fd;
    return 0;
}

static bool is_one_socket(int in, int out)
{
    struct stat a, b;
    return fstat(in, &a) == 0 && fstat(out, &b) == 0 && S_ISSOCK(a.st_mode) && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static void leave_end(struct end *e)
{
    if (e->fd >= 0 && !e->always)
        tg_watch_close(&e->watch, true);
}

struct tg_stream *tg_device_stream(struct tg_reactor *r, int in, int out, const struct tg_device_options *options,
                                   struct tg_error *err)
{
    struct device *d = tg_zalloc(sizeof(*d));
    d->base.ops = &ops[options->kind];
    d->base.reactor = r;
    d->base.state = TG_STREAM_OPEN;
    d->base.half_close = true;
    d->in.fd = d->out.fd = -1;
    d->options = *options;
    d->silence_ms = options->silence;
    d->ready = (struct tg_defer){ .cb = on_defer, .arg = d };
    d->silence = (struct tg_timer){ .cb = on_silence, .arg = d };
    if (open_end(d, &d->in, in, err) < 0 || open_end(d, &d->out, out, err) < 0) {
        leave_end(&d->in);
        free(d);
        return NULL;
    }
    d->one_socket = is_one_socket(in, out);
    return &d->base;
}

void tg_device_cut(struct tg_stream *s)
{
    struct device *d = (struct device *)s;
    d->over = true;
    if (always_ready(d) != 0)
        tg_defer(s->reactor, &d->ready);
}

void tg_device_forget(struct tg_stream *s)
{
    struct device *d = (struct device *)s;
    d->options.release = NULL;
    d->options.closed = NULL;
}

/* ---- standard input and output ---- */

/* Pipes and terminals are opened anew, so that not to block is our affair alone: the description may be shared with
 * the shell.  Files are not: the position is part of it. */
static int own_descriptor(int fd, int how)
{
    struct stat st;
    char path[32];
    if (fstat(fd, &st) < 0)
        return -1;
    if (S_ISFIFO(st.st_mode) || isatty(fd)) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int fresh = open(path, how | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fresh >= 0)
            return fresh;
    }
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy >= 0 && !S_ISSOCK(st.st_mode) && !S_ISREG(st.st_mode))
        fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
    return copy;
}

int tg_device_take_stdio(int *in, int *out, struct tg_error *err)
{
    *in = own_descriptor(STDIN_FILENO, O_RDONLY);
    if (*in < 0)
        return tg_error_put(err, "stdio", "open", TG_CLOSED, "standard input is closed");
    *out = own_descriptor(STDOUT_FILENO, O_WRONLY);
    int nowhere = *out < 0 ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0) {
        close(*in);
        if (*out >= 0)
            close(*out);
        return tg_error_put(err, "stdio", "open", TG_CLOSED, "standard output is closed");
    }
    dup2(nowhere, STDIN_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    close(nowhere);
    return 0;
}
