#include "session/ssh2_core.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <libssh2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TYPE        "gost-tunnel"
#define WINDOW      (2u * 1024 * 1024)
#define PACKET      32768u
#define READ_CHUNK  65536u
#define READ_BUDGET (256u * 1024u)  /* bytes the library gets in a turn */
#define OUT_MOST    (128u * 1024u)  /* bytes not sent yet above which nobody may write */
#define OUT_DEAF    (1024u * 1024u) /* bytes not sent yet above which nothing is read */
#define TIMEOUT_LEAST 3000u /* ms: the library asks every 2 s at most, and counts in seconds */

struct tg_ssh2_stream {
    struct tg_stream base;
    struct tg_ssh2 *session; /* NULL: it is gone, and so is the channel */
    struct tg_ssh2_stream *next, **link;
    struct tg_ssh2_stream *open_next;
    LIBSSH2_CHANNEL *channel; /* NULL: not open yet */
    struct tg_defer defer;
    uint8_t wanted;
    bool readable, ended, closed, starved, end_sent;
};

/* A channel that we have closed and the peer has not. */
struct tg_ssh2_closing {
    struct tg_ssh2_closing *next;
    LIBSSH2_CHANNEL *channel;
};

/* --- readiness ----------------------------------------------------------------------------- */

static bool is_over(const struct tg_ssh2_stream *st)
{
    return st->session == NULL || st->session->base.dead;
}

static bool may_write(const struct tg_ssh2 *m)
{
    return m->out == NULL || tg_buf_len(m->out) < OUT_MOST;
}

static unsigned ready_of(const struct tg_ssh2_stream *st)
{
    unsigned events = 0;
    if (is_over(st) || st->base.state == TG_STREAM_FAILED)
        return TG_READABLE | TG_WRITABLE;
    if (st->base.state == TG_STREAM_OPENING)
        return 0;
    if (st->readable || st->ended)
        events |= TG_READABLE;
    if (st->closed || (!st->starved && may_write(st->session)))
        events |= TG_WRITABLE;
    return events;
}

static void on_stream_defer(void *arg)
{
    struct tg_ssh2_stream *st = arg;
    unsigned events = ready_of(st) & st->wanted;
    if (events == 0)
        return;
    tg_defer(st->base.reactor, &st->defer);
    tg_stream_ready(&st->base, events);
}

static void check(struct tg_ssh2_stream *st)
{
    if ((ready_of(st) & st->wanted) != 0)
        tg_defer(st->base.reactor, &st->defer);
}

static void check_all(struct tg_ssh2 *m)
{
    for (struct tg_ssh2_stream *st = m->first; st != NULL; st = st->next)
        check(st);
}

/* Who does not take our answers is heard no further. */
static bool is_deaf(const struct tg_ssh2 *m)
{
    return m->out != NULL && tg_buf_len(m->out) >= OUT_DEAF;
}

/* What waits in `in` waits for somebody to use the library. */
static void update_wants(struct tg_ssh2 *m)
{
    if (!m->base.dead)
        tg_stream_want(m->base.lower, (m->in == NULL && !is_deaf(m) ? TG_READABLE : 0) |
                                          (m->blocked ? TG_WRITABLE : 0));
}

void tg_ssh2_note_reason(struct tg_ssh2 *m)
{
    char *text = NULL;
    libssh2_session_last_error(m->ssh, &text, NULL, 0);
    snprintf(m->reason, sizeof(m->reason), "%s", text == NULL ? "" : text);
}

static void leave_opening(struct tg_ssh2 *m, struct tg_ssh2_stream *st)
{
    struct tg_ssh2_stream **link = &m->open_first;
    while (*link != NULL && *link != st)
        link = &(*link)->open_next;
    if (*link == NULL)
        return;
    if (link == &m->open_first && m->opening)
        m->abandoned = true; /* the library has to see it through */
    *link = st->open_next;
    if (*link == NULL)
        m->open_last = link;
}

void tg_ssh2_die(struct tg_ssh2 *m, enum tg_code code, const char *detail)
{
    if (m->base.dead)
        return;
    tg_ssh2_note_reason(m);
    m->base.dead = true;
    tg_error_put(&m->base.error, "ssh", "session", code, detail);
    tg_stream_want(m->base.lower, 0);
    tg_timer_stop(m->base.reactor, &m->timer);
    for (struct tg_ssh2_stream *st = m->first; st != NULL; st = st->next)
        if (st->base.state == TG_STREAM_OPENING)
            tg_stream_break(&st->base, "open", code, detail);
    check_all(m);
    tg_defer(m->base.reactor, &m->event);
}

/* --- bytes beneath -----------------------------------------------------------------------------
 */

static void flush(struct tg_ssh2 *m)
{
    while (m->out != NULL && !m->base.dead) {
        size_t len = tg_buf_len(m->out);
        ssize_t n = tg_stream_write(m->base.lower, m->out->data + m->out->start, len);
        m->blocked = n == TG_AGAIN;
        if (m->blocked)
            break;
        if (n < 0) {
            tg_ssh2_die(m, TG_RESET, "writing to the connection failed");
            break;
        }
        m->out->start += (uint32_t)n;
        if ((size_t)n == len) {
            tg_buf_put(&m->base.reactor->pool, m->out);
            m->out = NULL;
        }
    }
    update_wants(m);
}

static LIBSSH2_SEND_FUNC(on_send)
{
    struct tg_ssh2 *m = *abstract;
    struct tg_pool *pool = &m->base.reactor->pool;
    (void)socket;
    (void)flags;
    if (m->out == NULL)
        m->out = tg_buf_get(pool, length);
    if (m->out == NULL || !tg_buf_reserve(pool, &m->out, length))
        return -ENOMEM;
    memcpy(m->out->data + m->out->end, buffer, length);
    m->out->end += (uint32_t)length;
    return (ssize_t)length;
}

/* The end of input is kept from the library: it would withhold what has arrived before. */
static LIBSSH2_RECV_FUNC(on_recv)
{
    struct tg_ssh2 *m = *abstract;
    (void)socket;
    (void)flags;
    if (m->freeing)
        return 0; /* else the library would wait for the peer's word on each channel, and free nothing */
    if (m->in != NULL) {
        size_t n = tg_buf_len(m->in) < length ? tg_buf_len(m->in) : length;
        memcpy(buffer, m->in->data + m->in->start, n);
        m->in->start += (uint32_t)n;
        if (tg_buf_len(m->in) == 0) {
            tg_buf_put(&m->base.reactor->pool, m->in);
            m->in = NULL;
        }
        m->taken += n;
        return (ssize_t)n;
    }
    if (m->lower_ended || m->base.dead || is_deaf(m) || m->taken >= READ_BUDGET)
        return -EAGAIN;
    ssize_t n = tg_stream_read(m->base.lower, buffer, length);
    if (n > 0) {
        m->heard_at = m->base.reactor->now;
        m->taken += (size_t)n;
        return n;
    }
    m->lower_ended = n != TG_AGAIN;
    return -EAGAIN;
}

/* Have something here, so that the end of the connection is seen though nobody reads. */
static void fill(struct tg_ssh2 *m)
{
    if (m->in != NULL || m->lower_ended)
        return;
    struct tg_buf *b = tg_buf_get(&m->base.reactor->pool, READ_CHUNK);
    ssize_t n = tg_stream_read(m->base.lower, b->data, READ_CHUNK);
    if (n > 0) {
        b->end = (uint32_t)n;
        m->in = b;
        m->heard_at = m->base.reactor->now;
        return;
    }
    tg_buf_put(&m->base.reactor->pool, b);
    m->lower_ended = n != TG_AGAIN;
}

/* --- streams
 * --------------------------------------------------------------------------------------- */

static int break_off(struct tg_ssh2_stream *st, const char *op)
{
    return tg_session_break(st->session == NULL ? NULL : &st->session->base, &st->base, op);
}

static void note_end(struct tg_ssh2_stream *st)
{
    st->ended = st->ended || libssh2_channel_eof(st->channel) == 1;
    if (st->ended && !st->closed && libssh2_channel_wait_closed(st->channel) == 0) {
        st->closed = true;
        st->base.half_close = false; /* nothing can be written any more */
    }
}

static ssize_t stream_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tg_ssh2_stream *st = (struct tg_ssh2_stream *)s;
    if (st->session == NULL)
        return break_off(st, "read");
    struct tg_ssh2 *m = st->session;
    ssize_t n = libssh2_channel_read(st->channel, buf, len);
    if (!m->base.dead)
        tg_defer(s->reactor, &m->work); /* windows open, others' bytes may have come */
    if (n > 0)
        return n;
    st->readable = false;
    if (n == 0 || libssh2_channel_eof(st->channel) == 1) {
        note_end(st);
        return 0;
    }
    if (n != LIBSSH2_ERROR_EAGAIN)
        tg_ssh2_die(m, TG_PROTOCOL, "the SSH session broke");
    return is_over(st) ? break_off(st, "read") : TG_AGAIN;
}

static ssize_t write_part(struct tg_ssh2_stream *st, const struct iovec *part)
{
    struct tg_ssh2 *m = st->session;
    ssize_t n = libssh2_channel_write(st->channel, part->iov_base, part->iov_len);
    if (n == LIBSSH2_ERROR_EAGAIN || n == 0) {
        st->starved = libssh2_channel_window_write(st->channel) == 0;
        return TG_AGAIN;
    }
    if (n < 0) {
        tg_ssh2_die(m, TG_PROTOCOL, "the SSH session broke");
        return break_off(st, "write");
    }
    return n;
}

static ssize_t stream_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct tg_ssh2_stream *st = (struct tg_ssh2_stream *)s;
    if (is_over(st))
        return break_off(st, "write");
    if (st->closed || st->end_sent)
        return tg_stream_break(s, "write", TG_RESET, "the channel is closed");
    struct tg_ssh2 *m = st->session;
    ssize_t total = 0, n = TG_AGAIN;
    for (int i = 0; i < count && may_write(m); i++) {
        n = iov[i].iov_len == 0 ? 0 : write_part(st, &iov[i]);
        if (n < 0)
            break;
        total += n;
        if ((size_t)n < iov[i].iov_len)
            break;
    }
    if (!m->base.dead)
        tg_defer(s->reactor, &m->work);
    return total > 0 ? total : n;
}

static int stream_shutdown(struct tg_stream *s)
{
    struct tg_ssh2_stream *st = (struct tg_ssh2_stream *)s;
    if (!is_over(st) && !st->end_sent && !st->closed) {
        libssh2_channel_send_eof(st->channel);
        tg_defer(s->reactor, &st->session->work);
    }
    st->end_sent = true;
    return 0;
}

static void stream_want(struct tg_stream *s, unsigned events)
{
    struct tg_ssh2_stream *st = (struct tg_ssh2_stream *)s;
    st->wanted = (uint8_t)events;
    check(st);
}

static void close_channel(struct tg_ssh2 *m, LIBSSH2_CHANNEL *channel)
{
    if (m->base.dead || libssh2_channel_free(channel) != LIBSSH2_ERROR_EAGAIN)
        return; /* what is left is freed with the session */
    struct tg_ssh2_closing *c = tg_zalloc(sizeof(*c));
    c->channel = channel;
    c->next = m->closing;
    m->closing = c;
}

/* Take it out of its session. */
static void part(struct tg_ssh2_stream *st)
{
    struct tg_ssh2 *m = st->session;
    *st->link = st->next;
    if (st->next != NULL)
        st->next->link = st->link;
    else
        m->last = st->link;
    m->base.streams--;
    leave_opening(m, st);
    st->session = NULL;
    if (st->channel != NULL)
        close_channel(m, st->channel);
    st->channel = NULL;
}

static void stream_close(struct tg_stream *s)
{
    struct tg_ssh2_stream *st = (struct tg_ssh2_stream *)s;
    struct tg_ssh2 *m = st->session;
    if (m != NULL) {
        part(st);
        if (!m->base.dead)
            tg_defer(s->reactor, &m->work);
    }
    tg_defer_cancel(s->reactor, &st->defer);
    free(st);
}

static int stream_name(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                       socklen_t *len)
{
    const struct tg_ssh2_stream *st = (const struct tg_ssh2_stream *)s;
    return st->session == NULL ? TG_CLOSED
                               : tg_stream_name(st->session->base.lower, peer, out, len);
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

/* --- one turn
 * ------------------------------------------------------------------------------------------ */

/* The library opens one channel at a time. */
static void run_opening(struct tg_ssh2 *m)
{
    while ((m->open_first != NULL || m->abandoned) && !m->base.dead) {
        m->opening = true;
        LIBSSH2_CHANNEL *channel =
            libssh2_channel_open_ex(m->ssh, TYPE, sizeof(TYPE) - 1, WINDOW, PACKET, NULL, 0);
        int code = channel == NULL ? libssh2_session_last_errno(m->ssh) : 0;
        if (code == LIBSSH2_ERROR_EAGAIN)
            return;
        m->opening = false;
        struct tg_ssh2_stream *st = m->abandoned ? NULL : m->open_first;
        m->abandoned = false;
        if (st == NULL) {
            if (channel != NULL)
                close_channel(m, channel);
            continue;
        }
        leave_opening(m, st);
        st->channel = channel;
        if (channel != NULL) {
            tg_stream_set_state(&st->base, TG_STREAM_OPEN);
        } else {
            tg_ssh2_note_reason(m);
            tg_stream_break(&st->base, "open", TG_REFUSED, "the server refuses the channel");
        }
        check(st);
        if (channel == NULL && code != LIBSSH2_ERROR_CHANNEL_FAILURE)
            tg_ssh2_die(m, TG_PROTOCOL, "the SSH session broke");
    }
}

static void run_closing(struct tg_ssh2 *m)
{
    struct tg_ssh2_closing **link = &m->closing;
    while (*link != NULL) {
        struct tg_ssh2_closing *c = *link;
        if (libssh2_channel_free(c->channel) == LIBSSH2_ERROR_EAGAIN) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        free(c);
    }
}

/* Make the library take in what has come, on behalf of any channel. */
static void take_in(struct tg_ssh2 *m)
{
    char none[1];
    for (struct tg_ssh2_stream *st = m->first; st != NULL; st = st->next) {
        if (st->channel == NULL)
            continue;
        ssize_t n = libssh2_channel_read(st->channel, none, 0);
        if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
            tg_ssh2_die(m, TG_PROTOCOL, "the SSH session broke");
        return;
    }
}

/* libssh2_poll_channel_read() stumbles over answers to keep-alives, which stay in the library's
 * queue. */
static bool has_input(LIBSSH2_CHANNEL *channel)
{
    unsigned long bytes = 0;
    libssh2_channel_window_read_ex(channel, &bytes, NULL);
    return bytes > 0;
}

static void tell_streams(struct tg_ssh2 *m)
{
    for (struct tg_ssh2_stream *st = m->first; st != NULL; st = st->next) {
        if (st->channel == NULL)
            continue;
        if (!st->readable)
            st->readable = has_input(st->channel);
        note_end(st);
        if (st->starved)
            st->starved = libssh2_channel_window_write(st->channel) == 0;
        check(st);
    }
}

static void pump(struct tg_ssh2 *m)
{
    m->taken = 0;
    fill(m);
    tg_ssh2_run_step(m);
    if (!m->base.dead)
        take_in(m);
    if (!m->base.dead)
        run_opening(m);
    if (!m->base.dead) {
        size_t taken = m->taken;
        run_closing(m);
        if (m->taken != taken) /* what it has read may be for those above */
            tg_defer(m->base.reactor, &m->work);
        flush(m);
        tell_streams(m);
    }
    if (m->base.dead)
        return;
    if (m->lower_ended && m->in == NULL)
        tg_ssh2_die(m, TG_EOF, "the peer closed the connection");
    else if (m->taken >= READ_BUDGET)
        tg_defer(m->base.reactor, &m->work);
}

static void on_lower(void *arg, unsigned events)
{
    (void)events;
    pump(arg);
}

static void on_work(void *arg)
{
    struct tg_ssh2 *m = arg;
    if (!m->base.dead)
        pump(m);
}

static void on_event(void *arg)
{
    struct tg_ssh2 *m = arg;
    if (m->base.on_event != NULL)
        m->base.on_event(m->base.event_arg);
}

/* Who has been silent is asked; anything is an answer. */
static void on_timer(void *arg)
{
    struct tg_ssh2 *m = arg;
    uint64_t now = m->base.reactor->now;
    uint64_t silent = now - m->heard_at;
    int next;
    bool missed = m->asked_at > m->heard_at;
    m->missed = missed ? m->missed + 1 : 0;
    if (missed && m->missed >= m->options.retries) {
        tg_ssh2_die(m, TG_TIMEOUT, "the peer does not answer any more");
        return;
    }
    if (silent >= m->options.keepalive && !m->stepping) {
        libssh2_keepalive_send(m->ssh, &next);
        m->asked_at = now;
        flush(m);
        tg_timer_start(m->base.reactor, &m->timer, m->options.timeout);
    } else {
        tg_timer_start(m->base.reactor, &m->timer,
                       silent < m->options.keepalive ? m->options.keepalive - silent : 1000);
    }
}

/* --- the session as its user sees it
 * ------------------------------------------------------------------- */

static struct tg_stream *ssh2_open(struct tg_session *s, struct tg_error *err)
{
    struct tg_ssh2 *m = (struct tg_ssh2 *)s;
    if (s->streams >= m->options.max_streams) {
        tg_error_put(err, "ssh", "open", TG_LIMIT, "too many channels");
        return NULL;
    }
    struct tg_ssh2_stream *st = tg_zalloc(sizeof(*st));
    st->base.ops = &stream_ops;
    st->base.reactor = s->reactor;
    st->base.state = TG_STREAM_OPENING;
    st->base.half_close = true;
    st->session = m;
    st->defer.cb = on_stream_defer;
    st->defer.arg = st;
    st->link = m->last;
    *m->last = st;
    m->last = &st->next;
    *m->open_last = st;
    m->open_last = &st->open_next;
    s->streams++;
    tg_defer(s->reactor, &m->work);
    return &st->base;
}

static struct tg_stream *ssh2_accept(struct tg_session *s)
{
    (void)s; /* the library refuses what servers open */
    return NULL;
}

static void ssh2_close(struct tg_session *s)
{
    struct tg_ssh2 *m = (struct tg_ssh2 *)s;
    while (m->first != NULL) {
        struct tg_ssh2_stream *st = m->first;
        if (st->base.state == TG_STREAM_OPENING)
            tg_stream_break(&st->base, "open", TG_CLOSED, "the session is closed");
        part(st);
        check(st);
    }
    while (m->closing != NULL) {
        struct tg_ssh2_closing *c = m->closing;
        m->closing = c->next;
        free(c);
    }
    if (!s->dead) {
        libssh2_session_disconnect(m->ssh, "bye");
        flush(m);
    }
    s->dead = m->freeing = true;
    libssh2_session_free(m->ssh);
    close(m->fd);
    tg_timer_stop(s->reactor, &m->timer);
    tg_defer_cancel(s->reactor, &m->work);
    tg_defer_cancel(s->reactor, &m->event);
    tg_buf_put(&s->reactor->pool, m->in);
    tg_buf_put(&s->reactor->pool, m->out);
    tg_stream_close(s->lower);
    tg_ssh2_forget_login(m);
    free(m->user);
    free(m);
}

static const struct tg_session_ops session_ops = {
    .name = "ssh",
    .open = ssh2_open,
    .accept = ssh2_accept,
    .close = ssh2_close,
};

/* What it would choose by itself begins with slower ciphers.  Those with GCM came with 1.11. */
static void prefer(LIBSSH2_SESSION *ssh, const char *host_keys)
{
    static const char fast[] = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,"
                               "aes128-ctr,aes256-ctr,aes192-ctr";
    static const char macs[] = "hmac-sha2-256,hmac-sha2-512";
    const char *ciphers = libssh2_version(0x010b00) != NULL ? fast : strstr(fast, "aes128-ctr");
    libssh2_session_method_pref(ssh, LIBSSH2_METHOD_CRYPT_CS, ciphers);
    libssh2_session_method_pref(ssh, LIBSSH2_METHOD_CRYPT_SC, ciphers);
    libssh2_session_method_pref(ssh, LIBSSH2_METHOD_MAC_CS, macs);
    libssh2_session_method_pref(ssh, LIBSSH2_METHOD_MAC_SC, macs);
    if (host_keys != NULL)
        libssh2_session_method_pref(ssh, LIBSSH2_METHOD_HOSTKEY, host_keys);
}

struct tg_session *tg_ssh2_start(struct tg_stream *lower, const struct tg_ssh2_options *options,
                                 struct tg_error *err)
{
    struct tg_ssh2 *m = tg_zalloc(sizeof(*m));
    m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    m->ssh = m->fd < 0 ? NULL : libssh2_session_init_ex(NULL, NULL, NULL, m);
    m->user = strdup(options->user);
    if (m->ssh == NULL || m->user == NULL) {
        tg_error_put(err, "ssh", "start", TG_BUSY, "out of descriptors or memory");
        if (m->fd >= 0)
            close(m->fd);
        free(m->user);
        free(m);
        tg_stream_close(lower);
        return NULL;
    }
    m->base.ops = &session_ops;
    m->base.reactor = lower->reactor;
    m->base.lower = lower;
    m->options = *options;
    m->options.user = m->options.host_keys = NULL;
    m->last = &m->first;
    m->open_last = &m->open_first;
    m->heard_at = lower->reactor->now;
    m->work = (struct tg_defer){ .cb = on_work, .arg = m };
    m->event = (struct tg_defer){ .cb = on_event, .arg = m };
    m->timer = (struct tg_timer){ .cb = on_timer, .arg = m };
    libssh2_session_set_blocking(m->ssh, 0);
    libssh2_session_callback_set(m->ssh, LIBSSH2_CALLBACK_SEND, (void *)on_send);
    libssh2_session_callback_set(m->ssh, LIBSSH2_CALLBACK_RECV, (void *)on_recv);
    prefer(m->ssh, options->host_keys);
    lower->on_ready = on_lower;
    lower->ready_arg = m;
    if (m->options.keepalive > 0) {
        libssh2_keepalive_config(m->ssh, 1, 1);
        if (m->options.timeout < TIMEOUT_LEAST)
            m->options.timeout = TIMEOUT_LEAST;
        tg_timer_start(lower->reactor, &m->timer, m->options.keepalive);
    }
    tg_ssh2_begin(&m->base, TG_SSH2_SHAKE, NULL, NULL);
    return &m->base;
}

const char *tg_ssh2_reason(const struct tg_session *s)
{
    return ((const struct tg_ssh2 *)s)->reason;
}

const char *tg_ssh2_host_key(const struct tg_session *s, size_t *len)
{
    int type;
    return libssh2_session_hostkey(((const struct tg_ssh2 *)s)->ssh, len, &type);
}

const char *tg_ssh2_host_hash(const struct tg_session *s)
{
    return libssh2_hostkey_hash(((const struct tg_ssh2 *)s)->ssh, LIBSSH2_HOSTKEY_HASH_SHA256);
}

uint64_t tg_ssh2_silence(const struct tg_session *s)
{
    return s->reactor->now - ((const struct tg_ssh2 *)s)->heard_at;
}
