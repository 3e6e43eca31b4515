#include "session/ssh.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libssh/callbacks.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Logins are asked of Lua, which may take its time; the callbacks that libssh prefers to these
 * messages want an answer at once. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define READ_BUDGET (256u * 1024u)       /* bytes taken from the socket per turn */
#define WRITE_MOST 32768u                /* bytes of one writev */
#define HELD_MOST (256u * 1024u)         /* bytes a stream takes over from libssh unasked */
#define LEFT_MOST (1280000u + 65536u)    /* libssh's window: more is a peer that ignores it */
#define SESSION_MOST (64u * 1024 * 1024) /* bytes unread in all streams above which nothing is read */
#define STEPS_MOST 8                     /* channels asked per turn whether they have been refused */
#define REASON_MAX 200

struct ssh;

struct stream {
    struct tg_stream base;
    struct ssh *session; /* NULL: it is gone, and so is the channel */
    struct stream *next, **link;
    struct stream *accept_next;
    ssh_channel channel;
    struct ssh_channel_callbacks_struct callbacks;
    struct tg_ssh_target target;
    struct tg_buf *in, *in_last;
    uint32_t held; /* bytes in `in` */
    uint32_t left; /* bytes in libssh's own buffer */
    struct tg_defer defer;
    uint8_t wanted;
    bool ended, closed, end_sent;
};

struct ssh {
    struct tg_session base;
    struct tg_ssh_options options;
    ssh_session ssh;
    struct ssh_counter_struct counter; /* bytes of the socket */
    struct stream *first, **last;
    struct stream *accept_first, **accept_last;
    unsigned backlog, opening;
    ssh_message pending;
    struct tg_ssh_request request;
    char *secret;
    uint64_t held;            /* bytes unread */
    uint64_t heard, heard_at; /* bytes and time of the last news */
    uint64_t asked;           /* bytes when the last keepalive left */
    struct tg_defer work, event;
    struct tg_timer timer;
    enum tg_ssh_step step;
    int result, bound, step_port;
    char *step_text;
    ssh_key step_key;
    bool server, kexed, trusted, blocked, stepping, probing;
    bool starved; /* some stream waits for its window; libssh does not tell when it opens */
    char reason[REASON_MAX];
};

/* --- readiness ----------------------------------------------------------------------------- */

static bool is_over(const struct stream *st)
{
    return st->session == NULL || st->session->base.dead;
}

static bool is_opening(const struct stream *st)
{
    return st->base.state == TG_STREAM_OPENING;
}

static unsigned ready_of(const struct stream *st)
{
    unsigned events = 0;
    bool over = is_over(st) || st->base.state == TG_STREAM_FAILED;
    if (over)
        return TG_READABLE | TG_WRITABLE;
    if (is_opening(st))
        return 0;
    if (st->in != NULL || st->left > 0 || st->ended || st->closed)
        events |= TG_READABLE;
    if (st->closed || (!st->session->blocked && ssh_channel_window_size(st->channel) > 0))
        events |= TG_WRITABLE;
    return events;
}

static void on_stream_defer(void *arg)
{
    struct stream *st = arg;
    unsigned events = st->wanted == 0 ? 0 : ready_of(st) & st->wanted;
    if (events == 0)
        return;
    tg_defer(st->base.reactor, &st->defer);
    tg_stream_ready(&st->base, events);
}

static void check(struct stream *st)
{
    if (st->wanted != 0 && (ready_of(st) & st->wanted) != 0)
        tg_defer(st->base.reactor, &st->defer);
}

static void check_all(struct ssh *m)
{
    for (struct stream *st = m->first; st != NULL; st = st->next)
        check(st);
}

/* The session ends before the peer has said yes. */
static void give_up_opening(struct stream *st)
{
    struct ssh *m = st->session;
    if (!is_opening(st))
        return;
    m->opening--;
    tg_stream_break(&st->base, "open", m->base.dead ? m->base.error.code : TG_CLOSED,
                    m->base.dead ? m->base.error.detail : "the session is closed");
}

static bool may_read(const struct ssh *m)
{
    return m->pending == NULL && m->held < SESSION_MOST;
}

static void update_wants(struct ssh *m)
{
    if (!m->base.dead)
        tg_stream_want(m->base.lower,
                       (may_read(m) ? TG_READABLE : 0) | (m->blocked ? TG_WRITABLE : 0));
}

static void die(struct ssh *m, enum tg_code code, const char *detail)
{
    if (m->base.dead)
        return;
    m->base.dead = true;
    tg_error_put(&m->base.error, "ssh", "session", code, detail);
    snprintf(m->reason, sizeof(m->reason), "%s", ssh_get_error(m->ssh));
    tg_stream_want(m->base.lower, 0);
    tg_timer_stop(m->base.reactor, &m->timer);
    for (struct stream *st = m->first; st != NULL; st = st->next)
        give_up_opening(st);
    check_all(m);
    tg_defer(m->base.reactor, &m->event);
}

static void note_blocked(struct ssh *m)
{
    bool before = m->blocked;
    int code = m->kexed ? ssh_blocking_flush(m->ssh, 0) : SSH_OK;
    m->blocked = code == SSH_AGAIN;
    if (code != SSH_OK)
        m->base.lower->ops->blocked(m->base.lower, TG_WRITABLE);
    if (before && !m->blocked)
        check_all(m);
}

/* --- what libssh calls while it reads ------------------------------------------------------------ */

static struct tg_buf *room_in(struct stream *st, size_t wanted)
{
    struct tg_buf *last = st->in_last;
    if (st->in != NULL && tg_buf_room(last) > 0)
        return last;
    struct tg_buf *fresh =
        tg_buf_get(&st->base.reactor->pool, wanted < TG_BUF_LARGE ? wanted : TG_BUF_LARGE);
    fresh->next = NULL;
    if (st->in == NULL)
        st->in = fresh;
    else
        last->next = fresh;
    st->in_last = fresh;
    return fresh;
}

static void keep(struct stream *st, const uint8_t *data, size_t len)
{
    st->held += (uint32_t)len;
    while (len > 0) {
        struct tg_buf *b = room_in(st, len);
        size_t n = tg_buf_room(b) < len ? tg_buf_room(b) : len;
        memcpy(b->data + b->end, data, n);
        b->end += (uint32_t)n;
        data += n;
        len -= n;
    }
}

/* @return how much of what libssh holds was taken.  It opens the window again for what is taken, so
 * a stream that nobody reads stops taking. */
static int on_data(ssh_session s, ssh_channel channel, void *data, uint32_t len, int is_stderr,
                   void *arg)
{
    struct stream *st = arg;
    struct ssh *m = st->session;
    (void)s;
    (void)channel;
    if (is_stderr)
        return (int)len;
    if (len > LEFT_MOST)
        die(m, TG_PROTOCOL, "the peer sent more than the window allows");
    m->held += len - st->left;
    if (st->held >= HELD_MOST || st->left > 0) {
        st->left = len;
        return 0;
    }
    keep(st, data, len);
    check(st);
    return (int)len;
}

static void on_eof(ssh_session s, ssh_channel channel, void *arg)
{
    struct stream *st = arg;
    (void)s;
    (void)channel;
    st->ended = true;
    check(st);
}

static void on_close(ssh_session s, ssh_channel channel, void *arg)
{
    struct stream *st = arg;
    (void)s;
    (void)channel;
    st->ended = st->closed = true;
    st->base.half_close = false; /* nothing can be written any more */
    check(st);
}

/* --- streams --------------------------------------------------------------------------------------- */

/* Why reading and writing come to an end without a word of the peer. */
static int break_off(struct stream *st, const char *op)
{
    const char *detail = "the session is closed";
    enum tg_code code = TG_RESET;
    if (st->session != NULL) {
        detail = st->session->base.error.detail;
        if (st->session->base.error.code != TG_EOF)
            code = st->session->base.error.code;
    }
    return tg_stream_break(&st->base, op, code, detail);
}

static void forget_held(struct stream *st, size_t n)
{
    if (st->session == NULL)
        return;
    bool could = may_read(st->session);
    st->session->held -= n;
    if (!could)
        update_wants(st->session);
}

/* All of it at once: libssh opens the whole window at the first byte that is read. */
static void take_left(struct stream *st)
{
    while (st->left > 0 && !is_over(st)) {
        struct tg_buf *b = room_in(st, st->left);
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
    struct stream *st = (struct stream *)s;
    size_t n = 0;
    if (st->in == NULL && st->left > 0) {
        take_left(st);
        if (st->session != NULL)
            tg_defer(s->reactor, &st->session->work); /* the window's news */
    }
    while (n < len && st->in != NULL) {
        struct tg_buf *b = st->in;
        size_t part = tg_buf_len(b) < len - n ? tg_buf_len(b) : len - n;
        memcpy((uint8_t *)buf + n, b->data + b->start, part);
        b->start += (uint32_t)part;
        n += part;
        if (tg_buf_len(b) == 0) {
            st->in = b->next;
            tg_buf_put(&s->reactor->pool, b);
        }
    }
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
static void to_the_end(struct stream *st)
{
    struct ssh *m = st->session;
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
    struct stream *st = (struct stream *)s;
    if (is_over(st))
        return break_off(st, "write");
    if (st->closed || st->end_sent)
        return tg_stream_break(s, "write", TG_RESET, "the channel is closed");
    struct ssh *m = st->session;
    size_t most = ssh_channel_window_size(st->channel);
    m->starved |= most == 0;
    if (m->blocked || most == 0)
        return TG_AGAIN;
    if (most > WRITE_MOST)
        most = WRITE_MOST;

    uint8_t copy[WRITE_MOST];
    const void *data = iov[0].iov_base;
    size_t len = iov[0].iov_len < most ? iov[0].iov_len : most;
    if (count > 1 && len < most) {
        len = gather(copy, iov, count, most);
        data = copy;
    }
    if (len == 0)
        return 0;
    int n = ssh_channel_write(st->channel, data, (uint32_t)len);
    if (n < 0 || !ssh_is_connected(m->ssh)) {
        die(m, TG_RESET, "writing to the connection failed");
        return break_off(st, "write");
    }
    note_blocked(m);
    if (m->blocked) {
        to_the_end(st);
        update_wants(m);
    }
    tg_defer(s->reactor, &m->work); /* libssh may have read meanwhile */
    return n > 0 ? n : TG_AGAIN;
}

static int stream_shutdown(struct tg_stream *s)
{
    struct stream *st = (struct stream *)s;
    if (!is_over(st) && !st->end_sent && !st->closed) {
        ssh_channel_send_eof(st->channel);
        tg_defer(s->reactor, &st->session->work);
    }
    st->end_sent = true;
    return 0;
}

static void stream_want(struct tg_stream *s, unsigned events)
{
    struct stream *st = (struct stream *)s;
    st->wanted = (uint8_t)events;
    check(st);
    if ((events & TG_WRITABLE) && !is_over(st) && !is_opening(st) &&
        ssh_channel_window_size(st->channel) == 0)
        st->session->starved = true;
}

/* Take it out of its session. */
static void part(struct stream *st)
{
    struct ssh *m = st->session;
    *st->link = st->next;
    if (st->next != NULL)
        st->next->link = st->link;
    else
        m->last = st->link;
    m->held -= st->held + st->left;
    m->base.streams--;
    m->opening -= is_opening(st);
    st->left = 0;
    ssh_remove_channel_callbacks(st->channel, &st->callbacks);
    /* libssh keeps it until the peer has closed it as well */
    ssh_channel_free(st->channel);
    st->channel = NULL;
    st->session = NULL;
}

static void stream_close(struct tg_stream *s)
{
    struct stream *st = (struct stream *)s;
    struct ssh *m = st->session;
    if (m != NULL) {
        part(st);
        tg_defer(s->reactor, &m->work);
    }
    tg_defer_cancel(s->reactor, &st->defer);
    while (st->in != NULL) {
        struct tg_buf *b = st->in;
        st->in = b->next;
        tg_buf_put(&s->reactor->pool, b);
    }
    free(st->target.host);
    free(st->target.origin);
    free(st);
}

static int stream_name(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                       socklen_t *len)
{
    const struct stream *st = (const struct stream *)s;
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

static struct stream *make_stream(struct ssh *m, ssh_channel channel, enum tg_stream_state state)
{
    struct stream *st = tg_zalloc(sizeof(*st));
    st->base.ops = &stream_ops;
    st->base.reactor = m->base.reactor;
    st->base.state = state;
    st->base.half_close = true;
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

static char *copy_of(const char *text)
{
    char *copy = strdup(text == NULL ? "" : text);
    if (copy == NULL)
        abort();
    return copy;
}

/* --- what the peer asks ----------------------------------------------------------------------------- */

static bool is_wanted(const struct ssh *m, int subtype)
{
    if (!m->server)
        return subtype == SSH_CHANNEL_FORWARDED_TCPIP;
    return subtype == (m->options.tunnel ? SSH_CHANNEL_UNKNOWN : SSH_CHANNEL_DIRECT_TCPIP);
}

static void take_channel(struct ssh *m, ssh_message msg)
{
    bool room = m->backlog < TG_SSH_BACKLOG && m->base.streams < m->options.max_streams;
    ssh_channel channel = NULL;
    if (room && m->trusted && is_wanted(m, ssh_message_subtype(msg)))
        channel = ssh_message_channel_request_open_reply_accept(msg);
    else
        ssh_message_reply_default(msg);
    if (channel == NULL)
        return;
    struct stream *st = make_stream(m, channel, TG_STREAM_OPEN);
    if (!m->options.tunnel) {
        st->target.host = copy_of(ssh_message_channel_request_open_destination(msg));
        st->target.port = ssh_message_channel_request_open_destination_port(msg);
        st->target.origin = copy_of(ssh_message_channel_request_open_originator(msg));
        st->target.origin_port = ssh_message_channel_request_open_originator_port(msg);
    }
    m->backlog++;
    *m->accept_last = st;
    m->accept_last = &st->accept_next;
    tg_defer(m->base.reactor, &m->event);
}

static void hold(struct ssh *m, ssh_message msg, enum tg_ssh_kind kind)
{
    m->pending = msg;
    m->request.kind = kind;
    m->request.secret = m->secret;
    tg_defer(m->base.reactor, &m->event);
}

static void forget_secret(struct ssh *m)
{
    if (m->secret != NULL)
        explicit_bzero(m->secret, strlen(m->secret));
    free(m->secret);
    m->secret = NULL;
}

/* @return whether it is held */
static bool take_login(struct ssh *m, ssh_message msg)
{
    int method = ssh_message_subtype(msg);
    if (m->trusted || !m->server || (method & ~(m->options.methods | SSH_AUTH_METHOD_NONE)) != 0)
        return false;
    m->request = (struct tg_ssh_request){ .user = ssh_message_auth_user(msg) };
    if (method == SSH_AUTH_METHOD_NONE) {
        hold(m, msg, TG_SSH_NONE);
    } else if (method == SSH_AUTH_METHOD_PASSWORD) {
        m->secret = copy_of(ssh_message_auth_password(msg));
        hold(m, msg, TG_SSH_PASSWORD);
    } else if (method == SSH_AUTH_METHOD_PUBLICKEY) {
        enum ssh_publickey_state_e state = ssh_message_auth_publickey_state(msg);
        if (state == SSH_PUBLICKEY_STATE_ERROR || state == SSH_PUBLICKEY_STATE_WRONG ||
            ssh_pki_export_pubkey_base64(ssh_message_auth_pubkey(msg), &m->secret) != SSH_OK)
            return false;
        hold(m, msg, state == SSH_PUBLICKEY_STATE_VALID ? TG_SSH_KEY : TG_SSH_OFFER);
    } else {
        return false;
    }
    return true;
}

static bool take_global(struct ssh *m, ssh_message msg)
{
    int kind = ssh_message_subtype(msg);
    bool listens = kind == SSH_GLOBAL_REQUEST_TCPIP_FORWARD;
    if (!m->server || !m->trusted || m->options.tunnel ||
        !(listens || kind == SSH_GLOBAL_REQUEST_CANCEL_TCPIP_FORWARD))
        return false;
    m->request = (struct tg_ssh_request){
        .host = ssh_message_global_request_address(msg),
        .port = ssh_message_global_request_port(msg),
    };
    hold(m, msg, listens ? TG_SSH_LISTEN : TG_SSH_UNLISTEN);
    return true;
}

static void take_message(struct ssh *m, ssh_message msg)
{
    bool held = false;
    switch (ssh_message_type(msg)) {
    case SSH_REQUEST_CHANNEL_OPEN:
        take_channel(m, msg);
        break;
    case SSH_REQUEST_SERVICE:
        if (m->server)
            ssh_message_service_reply_success(msg);
        break;
    case SSH_REQUEST_AUTH:
        held = take_login(m, msg);
        if (!held) {
            ssh_message_auth_set_methods(msg, m->options.methods);
            ssh_message_reply_default(msg);
        }
        break;
    case SSH_REQUEST_GLOBAL:
        held = take_global(m, msg);
        if (!held)
            ssh_message_reply_default(msg);
        break;
    default:
        ssh_message_reply_default(msg);
    }
    if (!held)
        ssh_message_free(msg);
}

const struct tg_ssh_request *tg_ssh_request(const struct tg_session *s)
{
    const struct ssh *m = (const struct ssh *)s;
    return m->pending == NULL ? NULL : &m->request;
}

void tg_ssh_answer(struct tg_session *s, bool yes, int port)
{
    struct ssh *m = (struct ssh *)s;
    ssh_message msg = m->pending;
    if (msg == NULL)
        return;
    m->pending = NULL;
    forget_secret(m);
    if (!s->dead) {
        bool listens = m->request.kind == TG_SSH_LISTEN;
        if (!yes) {
            if (ssh_message_type(msg) == SSH_REQUEST_AUTH)
                ssh_message_auth_set_methods(msg, m->options.methods);
            ssh_message_reply_default(msg);
        } else if (listens || m->request.kind == TG_SSH_UNLISTEN) {
            ssh_message_global_request_reply_success(msg, (uint16_t)port);
        } else if (m->request.kind == TG_SSH_OFFER) {
            ssh_message_auth_reply_pk_ok_simple(msg);
        } else {
            ssh_message_auth_reply_success(msg, 0);
            m->trusted = true;
        }
        tg_defer(s->reactor, &m->work);
    }
    ssh_message_free(msg);
}

void tg_ssh_refuse(struct tg_session *s)
{
    tg_ssh_answer(s, false, 0);
    die((struct ssh *)s, TG_AUTH, "no login succeeded");
}

/* --- the client's steps ------------------------------------------------------------------------------- */

static void forget_step(struct ssh *m)
{
    if (m->step_text != NULL)
        explicit_bzero(m->step_text, strlen(m->step_text));
    free(m->step_text);
    m->step_text = NULL;
    m->step_key = NULL;
}

static int try_step(struct ssh *m)
{
    int code;
    switch (m->step) {
    case TG_SSH_LOGIN_NONE:
        code = ssh_userauth_none(m->ssh, NULL);
        break;
    case TG_SSH_LOGIN_PASSWORD:
        code = ssh_userauth_password(m->ssh, NULL, m->step_text);
        break;
    case TG_SSH_LOGIN_KEY:
        code = ssh_userauth_publickey(m->ssh, NULL, m->step_key);
        break;
    default:
        return ssh_channel_listen_forward(m->ssh, m->step_text[0] == '\0' ? NULL : m->step_text,
                                          m->step_port, &m->bound);
    }
    if (code == SSH_AUTH_SUCCESS)
        m->trusted = true;
    return code == SSH_AUTH_AGAIN ? SSH_AGAIN : code;
}

static void run_step(struct ssh *m)
{
    if (!m->stepping)
        return;
    m->result = try_step(m);
    if (m->result == SSH_AGAIN)
        return;
    m->stepping = false;
    forget_step(m);
    tg_defer(m->base.reactor, &m->event);
}

static int try_open(struct stream *st)
{
    const struct tg_ssh_target *to = &st->target;
    if (st->session->server)
        return ssh_channel_open_reverse_forward(st->channel, to->host, to->port, to->origin,
                                                to->origin_port);
    return ssh_channel_open_forward(st->channel, to->host, to->port, to->origin, to->origin_port);
}

/* Channels that were asked for: have they been opened, or refused? */
static void run_opening(struct ssh *m)
{
    int steps = STEPS_MOST;
    struct stream *st = m->first, *next;
    for (; st != NULL && m->opening > 0 && steps > 0; st = next) {
        next = st->next;
        if (!is_opening(st))
            continue;
        if (!ssh_channel_is_open(st->channel))
            steps--;
        int code = try_open(st);
        if (code == SSH_AGAIN)
            continue;
        m->opening--;
        if (code == SSH_OK)
            tg_stream_set_state(&st->base, TG_STREAM_OPEN);
        else
            tg_stream_break(&st->base, "open", TG_REFUSED, "the peer refused the channel");
        check(st);
    }
}

/* --- the connection ------------------------------------------------------------------------------------- */

/* @return whether there may be more */
static bool advance(struct ssh *m)
{
    uint64_t before = m->counter.in_bytes;
    ssh_message msg = NULL;
    int code = SSH_OK;
    if (m->kexed) {
        msg = ssh_message_get(m->ssh);
    } else {
        code = m->server ? ssh_handle_key_exchange(m->ssh) : ssh_connect(m->ssh);
        if (code == SSH_OK) {
            m->kexed = true;
            tg_defer(m->base.reactor, &m->event);
        }
    }
    if (code == SSH_ERROR) {
        die(m, TG_PROTOCOL, m->server ? "the client does not agree on keys"
                                      : "the server does not agree on keys");
    } else if (m->kexed && !m->base.dead &&
               (!ssh_is_connected(m->ssh) ||
                (ssh_get_status(m->ssh) & (SSH_CLOSED | SSH_CLOSED_ERROR)) != 0)) {
        die(m, TG_EOF, "the peer closed the connection");
    }
    if (msg != NULL && m->base.dead)
        ssh_message_free(msg);
    else if (msg != NULL)
        take_message(m, msg);
    return !m->base.dead && (msg != NULL || m->counter.in_bytes != before);
}

static void pump(struct ssh *m)
{
    uint64_t began = m->counter.in_bytes;
    bool more = true;
    while (more && may_read(m) && m->counter.in_bytes - began < READ_BUDGET) {
        more = advance(m);
        if (!m->base.dead && m->kexed)
            run_step(m);
    }
    if (m->base.dead)
        return;
    if (!more)
        m->base.lower->ops->blocked(m->base.lower, TG_READABLE);
    if (m->counter.in_bytes != m->heard) {
        m->heard = m->counter.in_bytes;
        m->heard_at = m->base.reactor->now;
        run_opening(m);
        if (m->starved) {
            m->starved = false;
            for (struct stream *st = m->first; st != NULL; st = st->next)
                stream_want(&st->base, st->wanted);
        }
    }
    if (!m->base.dead)
        note_blocked(m);
    update_wants(m);
}

static void on_lower(void *arg, unsigned events)
{
    (void)events;
    pump(arg);
}

static void on_work(void *arg)
{
    struct ssh *m = arg;
    if (!m->base.dead)
        pump(m);
}

static void on_event(void *arg)
{
    struct ssh *m = arg;
    if (m->base.on_event != NULL)
        m->base.on_event(m->base.event_arg);
}

/* Asked once in each interval; anything the peer sends is an answer. */
static void on_timer(void *arg)
{
    struct ssh *m = arg;
    uint32_t next = m->options.timeout;
    if (m->probing && m->counter.in_bytes == m->asked) {
        die(m, TG_TIMEOUT, "the peer does not answer any more");
        return;
    }
    m->probing = !m->probing;
    if (m->probing && m->trusted && !m->stepping) {
        ssh_send_keepalive(m->ssh); /* takes the answer to the last one */
        ssh_send_keepalive(m->ssh);
        m->asked = m->counter.in_bytes;
        tg_defer(m->base.reactor, &m->work);
    } else {
        m->probing = false;
        next = m->options.keepalive;
    }
    tg_timer_start(m->base.reactor, &m->timer, next);
}

/* --- the session as its user sees it ----------------------------------------------------------------- */

struct tg_stream *tg_ssh_open(struct tg_session *s, const char *host, int port, const char *origin,
                              int origin_port, struct tg_error *err)
{
    struct ssh *m = (struct ssh *)s;
    if (s->dead) {
        *err = s->error;
        return NULL;
    }
    if (s->streams >= m->options.max_streams) {
        tg_error_put(err, "ssh", "open", TG_LIMIT, "too many channels");
        return NULL;
    }
    ssh_channel channel = ssh_channel_new(m->ssh);
    if (channel == NULL) {
        tg_error_put(err, "ssh", "open", TG_BUSY, "out of memory");
        return NULL;
    }
    struct stream *st = make_stream(m, channel, TG_STREAM_OPENING);
    st->target = (struct tg_ssh_target){ copy_of(host), copy_of(origin), port, origin_port };
    m->opening++;
    int code = try_open(st);
    if (code == SSH_OK || code == SSH_ERROR) {
        m->opening--;
        if (code == SSH_OK)
            tg_stream_set_state(&st->base, TG_STREAM_OPEN);
        else
            tg_stream_break(&st->base, "open", TG_REFUSED, "the peer refused the channel");
    }
    tg_defer(s->reactor, &m->work);
    return &st->base;
}

static struct tg_stream *ssh_session_accept(struct tg_session *s)
{
    struct ssh *m = (struct ssh *)s;
    struct stream *st = m->accept_first;
    if (st == NULL)
        return NULL;
    m->accept_first = st->accept_next;
    if (m->accept_first == NULL)
        m->accept_last = &m->accept_first;
    m->backlog--;
    return &st->base;
}

static void ssh_session_close(struct tg_session *s)
{
    struct ssh *m = (struct ssh *)s;
    struct tg_stream *waiting;
    while ((waiting = ssh_session_accept(s)) != NULL)
        tg_stream_close(waiting);
    while (m->first != NULL) {
        struct stream *st = m->first;
        give_up_opening(st);
        part(st);
        check(st);
    }
    if (m->pending != NULL)
        ssh_message_free(m->pending);
    forget_secret(m);
    forget_step(m);
    if (m->kexed && ssh_is_connected(m->ssh)) {
        ssh_blocking_flush(m->ssh, 0);
        ssh_disconnect(m->ssh);
    }
    ssh_free(m->ssh);
    tg_timer_stop(s->reactor, &m->timer);
    tg_defer_cancel(s->reactor, &m->work);
    tg_defer_cancel(s->reactor, &m->event);
    tg_stream_close(s->lower);
    free(m);
}

static struct tg_stream *ssh_session_open(struct tg_session *s, struct tg_error *err)
{
    (void)s;
    tg_error_put(err, "ssh", "open", TG_INVALID, "a channel needs a target");
    return NULL;
}

static const struct tg_session_ops session_ops = {
    .name = "ssh",
    .open = ssh_session_open,
    .accept = ssh_session_accept,
    .close = ssh_session_close,
};

/* @return a session around a copy of what lies beneath; NULL: see `err` */
static struct ssh *make_session(struct tg_stream *lower, const struct tg_ssh_options *options,
                                int *fd, struct tg_error *err)
{
    *fd = tg_stream_fd(lower) < 0 ? -1 : fcntl(tg_stream_fd(lower), F_DUPFD_CLOEXEC, 0);
    ssh_session ssh = *fd < 0 ? NULL : ssh_new();
    if (ssh == NULL) {
        tg_error_put(err, "ssh", "start", TG_BUSY, "out of descriptors or memory");
        if (*fd >= 0)
            close(*fd);
        return NULL;
    }
    struct ssh *m = tg_zalloc(sizeof(*m));
    m->base.ops = &session_ops;
    m->base.reactor = lower->reactor;
    m->base.lower = lower;
    m->options = *options;
    m->ssh = ssh;
    m->last = &m->first;
    m->accept_last = &m->accept_first;
    m->heard_at = lower->reactor->now;
    m->work = (struct tg_defer){ .cb = on_work, .arg = m };
    m->event = (struct tg_defer){ .cb = on_event, .arg = m };
    m->timer = (struct tg_timer){ .cb = on_timer, .arg = m };
    int off = 0;
    ssh_options_set(ssh, SSH_OPTIONS_PROCESS_CONFIG, &off);
    ssh_set_blocking(ssh, 0);
    ssh_set_counters(ssh, &m->counter, NULL);
    return m;
}

static struct tg_session *begin(struct ssh *m)
{
    struct tg_stream *lower = m->base.lower;
    lower->on_ready = on_lower;
    lower->ready_arg = m;
    if (m->options.keepalive > 0)
        tg_timer_start(lower->reactor, &m->timer, m->options.keepalive);
    tg_defer(lower->reactor, &m->work); /* we speak first */
    return &m->base;
}

struct tg_session *tg_ssh_server(struct tg_stream *lower, ssh_bind bind,
                                 const struct tg_ssh_options *options, struct tg_error *err)
{
    int fd;
    struct ssh *m = make_session(lower, options, &fd, err);
    if (m == NULL) {
        tg_stream_close(lower);
        return NULL;
    }
    m->server = true;
    if (ssh_bind_accept_fd(bind, m->ssh, fd) != SSH_OK) {
        tg_error_put(err, "ssh", "start", TG_BUSY, "the library refuses the connection");
        ssh_session_close(&m->base);
        return NULL;
    }
    ssh_set_blocking(m->ssh, 0);
    ssh_set_auth_methods(m->ssh, options->methods);
    return begin(m);
}

struct tg_session *tg_ssh_client(struct tg_stream *lower, const char *user,
                                 const struct tg_ssh_options *options, struct tg_error *err)
{
    int fd;
    struct ssh *m = make_session(lower, options, &fd, err);
    if (m == NULL) {
        tg_stream_close(lower);
        return NULL;
    }
    ssh_options_set(m->ssh, SSH_OPTIONS_HOST, "peer");
    ssh_options_set(m->ssh, SSH_OPTIONS_USER, user);
    ssh_options_set(m->ssh, SSH_OPTIONS_FD, &fd);
    return begin(m);
}

bool tg_ssh_is_ready(const struct tg_session *s)
{
    return ((const struct ssh *)s)->kexed;
}

void tg_ssh_begin(struct tg_session *s, enum tg_ssh_step step, const char *text, int port,
                  ssh_key key)
{
    struct ssh *m = (struct ssh *)s;
    assert(!m->stepping);
    m->step = step;
    m->step_text = text == NULL ? NULL : copy_of(text);
    m->step_port = port;
    m->step_key = key;
    m->result = SSH_AGAIN;
    m->stepping = true;
    tg_defer(s->reactor, &m->work);
}

int tg_ssh_result(const struct tg_session *s)
{
    return ((const struct ssh *)s)->result;
}

int tg_ssh_bound(const struct tg_session *s)
{
    return ((const struct ssh *)s)->bound;
}

ssh_session tg_ssh_of(const struct tg_session *s)
{
    return ((const struct ssh *)s)->ssh;
}

const char *tg_ssh_reason(const struct tg_session *s)
{
    return ((const struct ssh *)s)->reason;
}

uint64_t tg_ssh_silence(const struct tg_session *s)
{
    return s->reactor->now - ((const struct ssh *)s)->heard_at;
}

const struct tg_ssh_target *tg_ssh_target(const struct tg_stream *s)
{
    return s->ops == &stream_ops ? &((const struct stream *)s)->target : NULL;
}
