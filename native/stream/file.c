#include "stream/file.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct file {
    struct tg_stream base; /* first: a struct file is a struct tg_stream */
    struct tg_defer defer;
    int fd;
};

static ssize_t file_read(struct tg_stream *s, void *buf, size_t len)
{
    ssize_t n;
    do
        n = read(((struct file *)s)->fd, buf, len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? tg_stream_fail(s, "read", errno) : n;
}

static ssize_t file_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    ssize_t n;
    do
        n = writev(((struct file *)s)->fd, iov, count < 64 ? count : 64);
    while (n < 0 && errno == EINTR);
    return n < 0 ? tg_stream_fail(s, "write", errno) : n;
}

static int file_shutdown(struct tg_stream *s)
{
    (void)s;
    return 0;
}

/* A file is always ready. */
static void on_defer(void *arg)
{
    struct file *f = arg;
    unsigned wanted = f->base.wanted;
    if (wanted != 0) {
        tg_defer(f->base.reactor, &f->defer);
        tg_stream_ready(&f->base, wanted);
    }
}

static void file_want(struct tg_stream *s, unsigned events)
{
    if (events != 0)
        tg_defer(s->reactor, &((struct file *)s)->defer);
}

static void file_close(struct tg_stream *s)
{
    struct file *f = (struct file *)s;
    tg_defer_cancel(s->reactor, &f->defer);
    close(f->fd);
    free(f);
}

static int file_fd(const struct tg_stream *s)
{
    return ((const struct file *)s)->fd;
}

static void file_blocked(struct tg_stream *s, unsigned events)
{
    (void)s;
    (void)events;
}

static bool file_obstructed(const struct tg_stream *s)
{
    (void)s;
    return false;
}

static const struct tg_stream_ops file_ops = {
    .name = "file",
    .read = file_read,
    .writev = file_writev,
    .shutdown = file_shutdown,
    .want = file_want,
    .close = file_close,
    .fd = file_fd,
    .blocked = file_blocked,
    .obstructed = file_obstructed,
};

struct tg_stream *tg_file_stream(struct tg_reactor *r, int fd)
{
    struct file *f = tg_zalloc(sizeof(*f));
    f->base.ops = &file_ops;
    f->base.reactor = r;
    f->base.state = TG_STREAM_OPEN;
    f->fd = fd;
    f->defer = (struct tg_defer){ .cb = on_defer, .arg = f };
    return &f->base;
}
