#include "session/ssh_core.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Peers take packets of 32 KiB, of which libssh leaves ten bytes for heads: what is longer ends in
 * a packet of a few bytes that costs as much as a full one. */
#define PACKET_MOST (32768u - 10u)
#define PACKET_HEAD 26u                /* bytes that a packet has at least besides its data */
#define WRITE_MOST  (4u * PACKET_MOST) /* bytes of one writev */
#define HELD_MOST  (256u * 1024u)      /* bytes a stream takes over from libssh unasked */
#define LEFT_MOST  (1280000u + 65536u) /* libssh's window: more is a peer that ignores it */
#define DEAF_MOST  (4u * 1024 * 1024)  /* bytes read while the socket takes none */
#define SESSION_MOST                                                                               \
    (64u * 1024 * 1024) /* bytes unread in all streams above which nothing is read */

/* --- readiness ----------------------------------------------------------------------------- */

static bool is_over(const struct tg_ssh_stream *st)
{
    return st->session == NULL || st->session->base.dead;
}

bool tg_ssh_is_opening(const struct tg_ssh_stream *st)
{
    return st->base.state == TG_STREAM_OPENING;
}

static unsigned ready_of(const struct tg_ssh_stream *st)
{
    unsigned events = 0;
    bool over = is_over(st) || st->base.state == TG_STREAM_FAILED;
    if (over)
        return TG_READABLE | TG_WRITABLE;
    if (tg_ssh_is_opening(st))
        return 0;
    if (st->in.first != NULL || st->left > 0 || st->ended || st->closed)
        events |= TG_READABLE;
    if (st->closed || (!st->session->blocked && !st->session->stalled &&
                       ssh_channel_window_size(st->channel) > 0))
        events |= TG_WRITABLE;
    return events;
}

static void on_stream_defer(void *arg)
{
    struct tg_ssh_stream *st = arg;
    unsigned events = st->wanted == 0 ? 0 : ready_of(st) & st->wanted;
    if (events == 0)
        return;
    tg_defer(st->base.reactor, &st->defer);
    tg_stream_ready(&st->base, events);
}

void tg_ssh_check(struct tg_ssh_stream *st)
{
    if (st->wanted != 0 && (ready_of(st) & st->wanted) != 0)
        tg_defer(st->base.reactor, &st->defer);
}

static void check_all(struct tg_ssh *m)
{
    for (struct tg_ssh_stream *st = m->first; st != NULL; st = st->next)
        tg_ssh_check(st);
}

void tg_ssh_give_up_opening(struct tg_ssh_stream *st)
{
    struct tg_ssh *m = st->session;
    if (!tg_ssh_is_opening(st))
        return;
    m->opening--;
    tg_stream_break(&st->base, "open", m->base.dead ? m->base.error.code : TG_CLOSED,
                    m->base.dead ? m->base.error.detail : "the session is closed");
}

bool tg_ssh_may_read(const struct tg_ssh *m)
{
    /* who does not take our answers is heard no further */
    bool deaf = m->blocked && m->counter.in_bytes - m->blocked_at > DEAF_MOST;
    return m->pending == NULL && m->held < SESSION_MOST && !deaf;
}

void tg_ssh_update_wants(struct tg_ssh *m)
{
    if (!m->base.dead)
        tg_stream_want(m->base.lower,
                       (tg_ssh_may_read(m) ? TG_READABLE : 0) | (m->blocked ? TG_WRITABLE : 0));
}

void tg_ssh_die(struct tg_ssh *m, enum tg_code code, const char *detail)
{
    if (m->base.dead)
        return;
    m->base.dead = true;
    tg_error_put(&m->base.error, "ssh", "session", code, detail);
    snprintf(m->reason, sizeof(m->reason), "%s", ssh_get_error(m->ssh));
    tg_stream_want(m->base.lower, 0);
    tg_timer_stop(m->base.reactor, &m->timer);
    for (struct tg_ssh_stream *st = m->first; st != NULL; st = st->next)
        tg_ssh_give_up_opening(st);
    check_all(m);
    tg_defer(m->base.reactor, &m->event);
}

void tg_ssh_note_blocked(struct tg_ssh *m)
{
    bool before = m->blocked;
    int code = m->kexed ? ssh_blocking_flush(m->ssh, 0) : SSH_OK;
    m->blocked = code == SSH_AGAIN;
    if (m->blocked && !before)
        m->blocked_at = m->counter.in_bytes;
    if (code != SSH_OK)
        m->base.lower->ops->blocked(m->base.lower, TG_WRITABLE);
    if (before && !m->blocked)
        check_all(m);
}

/* --- what libssh calls while it reads ------------------------------------------------------------
 */

/* @return how much of what libssh holds was taken.  It opens the window again for what is taken, so
 * a stream that nobody reads stops taking. */
static int on_data(ssh_session s, ssh_channel channel, void *data, uint32_t len, int is_stderr,
                   void *arg)
{
    struct tg_ssh_stream *st = arg;
    struct tg_ssh *m = st->session;
    (void)s;
    (void)channel;
    if (is_stderr)
        return (int)len;
    if (len > LEFT_MOST)
        tg_ssh_die(m, TG_PROTOCOL, "the peer sent more than the window allows");
    m->held += len - st->left;
    if (st->held >= HELD_MOST || st->left > 0) {
        st->left = len;
        return 0;
    }
    tg_bufs_add(&st->base.reactor->pool, &st->in, data, len, TG_BUF_LARGE);
    st->held += len;
    tg_ssh_check(st);
    return (int)len;
}

static void on_eof(ssh_session s, ssh_channel channel, void *arg)
{
    struct tg_ssh_stream *st = arg;
    (void)s;
    (void)channel;
    st->ended = true;
    tg_ssh_check(st);
}

static void on_close(ssh_session s, ssh_channel channel, void *arg)
{
    struct tg_ssh_stream *st = arg;
    (void)s;
    (void)channel;
    st->ended = st->closed = true;
    st->base.half_close = false; /* nothing can be written any more */
    tg_ssh_check(st);
}

/* --- streams
 * --------------------------------------------------------------------------------------- */

/* Why reading and writing come to an end without a word of the peer. */
static int break_off(struct tg_ssh_stream *st, const char *op)
{
    return tg_session_break(st->session == NULL ? NULL : &st->session->base, &st->base, op);
}

static void forget_held(struct tg_ssh_stream *st, size_t n)
{
    if (st->session == NULL)
        return;
    bool could = tg_ssh_may_read(st->session);
    st->session->held -= n;
    if (!could)
        tg_ssh_update_wants(st->session);
}

/* All of it at once: libssh opens the whole window at the first byte that is read. */
static void take_left(struct tg_ssh_stream *st)
{
    while (st->left > 0 && !is_over(st)) {
        struct tg_buf *b = tg_bufs_room(&st->base.reactor->pool, &st->in, st->left, TG_BUF_LARGE);
        uint32_t room = (uint32_t)tg_buf_room(b);
        int n = ssh_channel_read_timeout(st->channel, b->data + b->end,
                                         room < st->left ? room : st->left, 0, 0);
        if (n <= 0)
            break;
        b->end += (uint32_t)n;
        st->held += (uint32_t)n;
        st->left -= (uint32_t)n;
    }
    st->left = 0;
}

static ssize_t stream_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tg_ssh_stream *st = (struct tg_ssh_stream *)s;
    if (st->in.first == NULL && st->left > 0) {
        take_left(st);
        if (st->session != NULL)
            tg_defer(s->reactor, &st->session->work); /* the window's news */
    }
    size_t n = tg_bufs_take(&s->reactor->pool, &st->in, buf, len);
    if (n > 0) {
        st->held -= (uint32_t)n;
        forget_held(st, n);
        return (ssize_t)n;
    }
    if (st->ended)
        return 0;
    return is_over(st) ? break_off(st, "read") : TG_AGAIN;
}

/* One packet for all parts. */
static size_t gather(uint8_t *out, const struct iovec *iov, int count, size_t most)
{
    size_t total = 0;
    for (int i = 0; i < count && total < most; i++) {
        size_t n = iov[i].iov_len < most - total ? iov[i].iov_len : most - total;
        memcpy(out + total, iov[i].iov_base, n);
        total += n;
    }
    return total;
}

/* Who has written waits behind the others. */
static void to_the_end(struct tg_ssh_stream *st)
{
    struct tg_ssh *m = st->session;
    if (st->next == NULL)
        return;
    *st->link = st->next;
    st->next->link = st->link;
    st->next = NULL;
    st->link = m->last;
    *m->last = st;
    m->last = &st->next;
}

static ssize_t stream_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct tg_ssh_stream *st = (struct tg_ssh_stream *)s;
    if (is_over(st))
        return break_off(st, "write");
    if (st->closed || st->end_sent)
        return tg_stream_break(s, "write", TG_RESET, "the channel is closed");
    struct tg_ssh *m = st->session;
    size_t most = ssh_channel_window_size(st->channel);
    m->starved |= most == 0;
    if (m->blocked || m->stalled || most == 0)
        return TG_AGAIN;
    if (most > WRITE_MOST)
        most = WRITE_MOST;

    uint8_t copy[PACKET_MOST];
    const void *data = iov[0].iov_base;
    size_t len = iov[0].iov_len < most ? iov[0].iov_len : most;
    if (count > 1 && len < most && len < PACKET_MOST) {
        len = gather(copy, iov, count, most < PACKET_MOST ? most : PACKET_MOST);
        data = copy;
    }
    if (len == 0)
        return 0;
    tg_ssh_cork(m);
    uint64_t sent = m->counter.out_bytes;
    int n = ssh_channel_write(st->channel, data, (uint32_t)len);
    if (n < 0 || !ssh_is_connected(m->ssh)) {
        tg_ssh_die(m, TG_RESET, "writing to the connection failed");
        return break_off(st, "write");
    }
    /* the socket is asked only where not all seems to have left */
    size_t packets = ((size_t)n + PACKET_MOST - 1) / PACKET_MOST;
    if (m->counter.out_bytes - sent < (size_t)n + packets * PACKET_HEAD)
        tg_ssh_note_blocked(m);
    if (m->blocked) {
        to_the_end(st);
        tg_ssh_update_wants(m);
    }
    if (n > 0)
        return n;
    m->stalled = m->starved = true;
    return TG_AGAIN;
}

static int stream_shutdown(struct tg_stream *s)
{
    struct tg_ssh_stream *st = (struct tg_ssh_stream *)s;
    if (!is_over(st) && !st->end_sent && !st->closed) {
        tg_ssh_cork(st->session);
        ssh_channel_send_eof(st->channel);
    }
    st->end_sent = true;
    return 0;
}

static void stream_want(struct tg_stream *s, unsigned events)
{
    struct tg_ssh_stream *st = (struct tg_ssh_stream *)s;
    st->wanted = (uint8_t)events;
    tg_ssh_check(st);
    if ((events & TG_WRITABLE) && !is_over(st) && !tg_ssh_is_opening(st) &&
        ssh_channel_window_size(st->channel) == 0)
        st->session->starved = true;
}

void tg_ssh_check_windows(struct tg_ssh *m)
{
    if (!m->starved)
        return;
    m->starved = m->stalled = false;
    for (struct tg_ssh_stream *st = m->first; st != NULL; st = st->next)
        stream_want(&st->base, st->wanted);
}

void tg_ssh_close_channel(struct tg_ssh *m, ssh_channel channel)
{
    if (m->base.dead)
        return; /* it is freed with the session, and the peer is told of no orderly end */
    if (ssh_channel_is_open(channel)) {
        tg_ssh_cork(m);
        /* by itself: with a full socket libssh would leave it at that, and never close */
        ssh_channel_send_eof(channel);
        ssh_channel_close(channel);
    }
    /* libssh keeps it until the peer has closed it as well */
    ssh_channel_free(channel);
}

/* The peer may open it yet, and has to be told then that nobody wants it. */
static void abandon(struct tg_ssh *m, ssh_channel channel)
{
    struct tg_ssh_abandoned *a = tg_zalloc(sizeof(*a));
    a->channel = channel;
    a->next = m->abandoned;
    m->abandoned = a;
    m->abandoned_count++;
}

void tg_ssh_part(struct tg_ssh_stream *st)
{
    struct tg_ssh *m = st->session;
    bool opening = tg_ssh_is_opening(st);
    *st->link = st->next;
    if (st->next != NULL)
        st->next->link = st->link;
    else
        m->last = st->link;
    m->held -= st->held + st->left;
    m->base.streams--;
    m->opening -= opening;
    st->left = 0;
    ssh_remove_channel_callbacks(st->channel, &st->callbacks);
    if (opening && !m->base.dead && m->abandoned_count < m->options.max_streams)
        abandon(m, st->channel);
    else
        tg_ssh_close_channel(m, st->channel);
    st->channel = NULL;
    st->session = NULL;
}

static void stream_close(struct tg_stream *s)
{
    struct tg_ssh_stream *st = (struct tg_ssh_stream *)s;
    struct tg_ssh *m = st->session;
    if (m != NULL)
        tg_ssh_part(st);
    tg_defer_cancel(s->reactor, &st->defer);
    tg_bufs_clear(&s->reactor->pool, &st->in);
    free(st->target.host);
    free(st->target.origin);
    free(st);
}

static int stream_name(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                       socklen_t *len)
{
    const struct tg_ssh_stream *st = (const struct tg_ssh_stream *)s;
    if (st->session == NULL)
        return TG_CLOSED;
    const struct tg_addr *name = &st->session->names[peer];
    if (name->len == 0)
        return tg_stream_name(st->session->base.lower, peer, out, len);
    *out = name->storage;
    *len = name->len;
    return 0;
}

static const struct tg_stream_ops stream_ops = {
    .name = "ssh",
    .read = stream_read,
    .writev = stream_writev,
    .shutdown = stream_shutdown,
    .want = stream_want,
    .close = stream_close,
    .name_of = stream_name,
};

struct tg_ssh_stream *tg_ssh_make_stream(struct tg_ssh *m, ssh_channel channel,
                                         enum tg_stream_state state)
{
    struct tg_ssh_stream *st = tg_zalloc(sizeof(*st));
    st->base.ops = &stream_ops;
    st->base.reactor = m->base.reactor;
    st->base.state = state;
    st->base.half_close = true;
    st->base.grain = WRITE_MOST;
    st->session = m;
    st->channel = channel;
    st->defer.cb = on_stream_defer;
    st->defer.arg = st;
    st->link = m->last;
    *m->last = st;
    m->last = &st->next;
    m->base.streams++;
    ssh_callbacks_init(&st->callbacks);
    st->callbacks.userdata = st;
    st->callbacks.channel_data_function = on_data;
    st->callbacks.channel_eof_function = on_eof;
    st->callbacks.channel_close_function = on_close;
    ssh_set_channel_callbacks(channel, &st->callbacks);
    return st;
}

const struct tg_ssh_target *tg_ssh_target(const struct tg_stream *s)
{
    return s->ops == &stream_ops ? &((const struct tg_ssh_stream *)s)->target : NULL;
}
