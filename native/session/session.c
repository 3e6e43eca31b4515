#include "session/session.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define UNSENT_MAX (128 * 1024)    /* bytes the kernel has not sent yet */
#define UNREAD_MAX (192 * 1024)    /* bytes it has received and we have not read, about */
#define UNREAD_SHARE 4u            /* let it hold more when this many times what is under way is above that */
#define LOOK_MS 50u                /* between looks */

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

struct tg_stream *tg_session_open(struct tg_session *s, struct tg_error *err)
{
    if (s->dead) {
        *err = s->error;
        return NULL;
    }
    return s->ops->open(s, err);
}

struct tg_stream *tg_session_accept(struct tg_session *s)
{
    return s->ops->accept(s);
}

int tg_session_break(const struct tg_session *s, struct tg_stream *stream, const char *op)
{
    const char *detail = s == NULL ? "the session is closed" : s->error.detail;
    bool told = s != NULL && s->error.code != TG_EOF; /* the end of input is none of a stream's */
    return tg_stream_break(stream, op, told ? s->error.code : TG_RESET, detail);
}

void tg_session_close(struct tg_session *s)
{
    s->ops->close(s);
}

/* --- queues below --------------------------------------------------------------------------- */

/* A kernel that tunes its buffers lets megabytes wait where we are the slower side.
 * @return false: it could not be undone later, or is not wanted */
static bool limit_unread(int fd)
{
    int lock = 0, has = 0, most = UNREAD_MAX;
    socklen_t lock_len = sizeof(lock), has_len = sizeof(has);
    return getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, &lock_len) == 0 && lock == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &has, &has_len) == 0 && has < 2 * most &&
           setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &most, sizeof(most)) == 0;
}

void tg_session_queue_start(struct tg_session *s)
{
    const struct tg_stream *bottom = s->lower;
    int most = UNSENT_MAX;
    while (bottom->lower != NULL)
        bottom = bottom->lower;
    struct tg_session_queue *q = &s->queue;
    q->fd = bottom->ops->fd != NULL ? bottom->ops->fd(bottom) : -1;
    if (q->fd >= 0 && (setsockopt(q->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most)) < 0 ||
                       !limit_unread(q->fd)))
        q->fd = -1;
}

/* Where much is under way the kernel has to have room for it. */
void tg_session_queue_count(struct tg_session *s, size_t n)
{
    struct tg_session_queue *q = &s->queue;
    if (q->fd < 0)
        return;
    uint64_t now = s->reactor->now, took = now - q->since;
    q->count += n;
    if (q->since != 0 && took < LOOK_MS)
        return;
    uint64_t rate = q->since != 0 ? q->count / took : 0; /* bytes per ms */
    q->since = now;
    q->count = 0;
    struct tcp_info info = { 0 };
    socklen_t len = sizeof(info);
    int free_again = 0;
    if (rate == 0 || getsockopt(q->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        UNREAD_SHARE * rate * info.tcpi_min_rtt / 1000 < UNREAD_MAX)
        return;
    setsockopt(q->fd, SOL_SOCKET, SO_BUF_LOCK, &free_again, sizeof(free_again));
    q->fd = -1;
}
