#include "session/ssh_core.h"

#include "base/mem.h"

#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#ifdef __aarch64__
#include <sys/auxv.h>
#endif
#include <sys/socket.h>
#include <unistd.h>

/* Logins are asked of Lua, which may take its time; the callbacks that libssh prefers to these
 * messages want an answer at once. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define AES_GCM "aes128-gcm@openssh.com,aes256-gcm@openssh.com"
#define CHACHA  "chacha20-poly1305@openssh.com"
#define AES_CTR "aes128-ctr,aes256-ctr"
#define ROUNDS_MOST 10u /* questions that one login may ask */
#define FD_MOST 0xffff  /* the library keeps no more bits of a client's descriptor */
#define READ_BUDGET (256u * 1024u) /* bytes taken from the socket per turn */
#define BUSY_PACKETS 3u /* in one turn, from which on they leave together */
#define STEPS_MOST  8              /* channels asked per turn whether they have been refused */

/* The cheap ones first, which depends on whether the CPU has instructions for AES. */
static const char *ciphers(void)
{
#if defined(__x86_64__) || defined(__i386__)
    bool has_aes = __builtin_cpu_supports("aes") != 0;
#elif defined(__aarch64__)
    bool has_aes = (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
    bool has_aes = false;
#endif
    return has_aes ? AES_GCM "," CHACHA "," AES_CTR : CHACHA "," AES_GCM "," AES_CTR;
}

static char *copy_of(const char *text)
{
    char *copy = strdup(text == NULL ? "" : text);
    if (copy == NULL)
        abort();
    return copy;
}

/* --- what the peer asks
 * ----------------------------------------------------------------------------- */

static bool is_wanted(const struct tg_ssh *m, ssh_message msg)
{
    int subtype = ssh_message_subtype(msg);
    if (!m->server)
        return subtype == SSH_CHANNEL_FORWARDED_TCPIP;
    if (!m->options.tunnel)
        return subtype == SSH_CHANNEL_DIRECT_TCPIP;
    if (subtype != SSH_CHANNEL_DIRECT_TCPIP)
        return subtype == SSH_CHANNEL_UNKNOWN;
    const char *to = ssh_message_channel_request_open_destination(msg);
    return to != NULL && strcmp(to, TG_SSH_TUNNEL) == 0;
}

static void take_channel(struct tg_ssh *m, ssh_message msg)
{
    bool room = m->backlog < TG_SSH_BACKLOG && m->base.streams < m->options.max_streams;
    ssh_channel channel = NULL;
    if (room && m->trusted && is_wanted(m, msg))
        channel = ssh_message_channel_request_open_reply_accept(msg);
    else
        ssh_message_reply_default(msg);
    if (channel == NULL)
        return;
    tg_defer(m->base.reactor, &m->work);
    struct tg_ssh_stream *st = tg_ssh_make_stream(m, channel, TG_STREAM_OPEN);
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

static void hold(struct tg_ssh *m, ssh_message msg, enum tg_ssh_kind kind)
{
    m->pending = msg;
    m->request.kind = kind;
    m->request.secret = m->secret;
    tg_defer(m->base.reactor, &m->event);
}

static void forget_secret(struct tg_ssh *m)
{
    if (m->secret != NULL)
        explicit_bzero(m->secret, strlen(m->secret));
    free(m->secret);
    m->secret = NULL;
}

/* A password may also be asked for as a question; the answer comes in a message of its own.
 * @return whether it is held, or answered */
static bool take_interactive(struct tg_ssh *m, ssh_message msg)
{
    if (!ssh_message_auth_kbdint_is_response(msg)) {
        const char *prompts[] = { "Password: " };
        char echo[] = { 0 };
        free(m->questioned);
        m->questioned = copy_of(ssh_message_auth_user(msg));
        ssh_message_auth_interactive_request(msg, "", "", 1, prompts, echo);
        ssh_message_free(msg);
        return true;
    }
    const char *answer = ssh_userauth_kbdint_getnanswers(m->ssh) == 1
                             ? ssh_userauth_kbdint_getanswer(m->ssh, 0)
                             : NULL;
    if (answer == NULL)
        return false;
    m->secret = copy_of(answer);
    m->request.user = m->questioned;
    hold(m, msg, TG_SSH_PASSWORD);
    return true;
}

/* @return whether it is held */
static bool take_login(struct tg_ssh *m, ssh_message msg)
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
    } else if (method == SSH_AUTH_METHOD_INTERACTIVE) {
        return take_interactive(m, msg);
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

static bool take_global(struct tg_ssh *m, ssh_message msg)
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

static void take_message(struct tg_ssh *m, ssh_message msg)
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
    const struct tg_ssh *m = (const struct tg_ssh *)s;
    return m->pending == NULL ? NULL : &m->request;
}

void tg_ssh_answer(struct tg_session *s, bool yes, int port)
{
    struct tg_ssh *m = (struct tg_ssh *)s;
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

/* --- the client's steps
 * ------------------------------------------------------------------------------- */

static void forget_step(struct tg_ssh *m)
{
    if (m->step_text != NULL)
        explicit_bzero(m->step_text, strlen(m->step_text));
    free(m->step_text);
    m->step_text = NULL;
    m->step_key = NULL;
}

static int answer_questions(struct tg_ssh *m)
{
    int code = ssh_userauth_kbdint(m->ssh, NULL, NULL);
    while (code == SSH_AUTH_INFO && m->rounds++ < ROUNDS_MOST) {
        int count = ssh_userauth_kbdint_getnprompts(m->ssh);
        for (int i = 0; i < count; i++)
            ssh_userauth_kbdint_setanswer(m->ssh, (unsigned)i, m->step_text);
        code = ssh_userauth_kbdint(m->ssh, NULL, NULL);
    }
    return code == SSH_AUTH_INFO ? SSH_AUTH_DENIED : code;
}

static int try_step(struct tg_ssh *m)
{
    int code;
    switch (m->step) {
    case TG_SSH_LOGIN_INTERACTIVE:
        code = answer_questions(m);
        break;
    case TG_SSH_LOGIN_AGENT:
        code = ssh_userauth_agent(m->ssh, NULL);
        break;
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

static void run_step(struct tg_ssh *m)
{
    if (!m->stepping)
        return;
    m->result = try_step(m);
    if (m->result == SSH_AGAIN)
        return;
    m->stepping = false;
    forget_step(m);
    tg_ssh_leave_agent(m);
    tg_defer(m->base.reactor, &m->event);
}

static int try_open(struct tg_ssh *m, ssh_channel channel, const struct tg_ssh_target *to)
{
    if (m->server)
        return ssh_channel_open_reverse_forward(channel, to->host, to->port, to->origin,
                                                to->origin_port);
    return ssh_channel_open_forward(channel, to->host, to->port, to->origin, to->origin_port);
}

/* Channels that were asked for: have they been opened, or refused?  The former is seen, the latter
 * has to be asked for, so of many who wait only some are asked per turn, the next ones in the next. */
static void run_opening(struct tg_ssh *m)
{
    unsigned steps = STEPS_MOST, place = 0, tried = m->tried;
    struct tg_ssh_stream *st = m->first, *next;
    for (; st != NULL && m->opening > 0; st = next) {
        next = st->next;
        if (!tg_ssh_is_opening(st))
            continue;
        if (!ssh_channel_is_open(st->channel)) {
            if (place++ < tried || steps == 0)
                continue;
            steps--;
            m->tried++;
        }
        int code = try_open(m, st->channel, &st->target);
        if (code == SSH_AGAIN)
            continue;
        m->try_again = true; /* those behind it have moved up */
        m->opening--;
        if (code == SSH_OK)
            tg_stream_set_state(&st->base, TG_STREAM_OPEN);
        else
            tg_stream_break(&st->base, "open", TG_REFUSED, "the peer refused the channel");
        tg_ssh_check(st);
    }
    m->trying = steps == 0;
    if (!m->trying)
        m->tried = 0;
    if (m->opening > 0 && (m->trying || m->try_again))
        tg_defer(m->base.reactor, &m->work);
}

static void run_abandoned(struct tg_ssh *m)
{
    static const struct tg_ssh_target nowhere = { .host = "", .origin = "" }; /* it was named before */
    struct tg_ssh_abandoned **link = &m->abandoned;
    int steps = STEPS_MOST;
    while (*link != NULL) {
        struct tg_ssh_abandoned *a = *link;
        bool open = ssh_channel_is_open(a->channel);
        if ((!open && steps-- <= 0) || try_open(m, a->channel, &nowhere) == SSH_AGAIN) {
            link = &a->next;
            continue;
        }
        tg_ssh_close_channel(m, a->channel);
        *link = a->next;
        m->abandoned_count--;
        free(a);
    }
}

/* --- the connection
 * ------------------------------------------------------------------------------------- */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The library takes no more of the connection: has the peer left, or done what it must not? */
static void end_session(struct tg_ssh *m)
{
    const char *said = ssh_get_error(m->ssh);
    bool left = ssh_get_error_code(m->ssh) != SSH_FATAL || begins(said, "Socket error") ||
                begins(said, "Received SSH_MSG_DISCONNECT") || begins(said, "Writing packet");
    if (left)
        tg_ssh_die(m, TG_EOF, "the peer closed the connection");
    else if (begins(said, "Decryption error") || begins(said, "HMAC error"))
        tg_ssh_die(m, TG_PROTOCOL, "what the peer sent was changed on the way");
    else
        tg_ssh_die(m, TG_PROTOCOL, "the peer does not keep to the protocol");
}

/* @return whether there was a message, and so there may be another */
static bool advance(struct tg_ssh *m)
{
    ssh_message msg = NULL;
    int code = SSH_OK;
    if (m->kexed) {
        msg = ssh_message_get(m->ssh);
    } else {
        m->fd_taken = true;
        code = m->server ? ssh_handle_key_exchange(m->ssh) : ssh_connect(m->ssh);
        fcntl(m->fd, F_SETFL, O_RDWR | O_NONBLOCK); /* clients are made to block */
        if (code == SSH_OK) {
            m->kexed = true;
            tg_defer(m->base.reactor, &m->event);
        }
    }
    if (code == SSH_ERROR) {
        tg_ssh_die(m, TG_PROTOCOL,
                   m->server ? "the client does not agree on keys"
                             : "the server does not agree on keys");
    } else if (m->kexed && !m->base.dead &&
               (!ssh_is_connected(m->ssh) ||
                (ssh_get_status(m->ssh) & (SSH_CLOSED | SSH_CLOSED_ERROR)) != 0)) {
        end_session(m);
    }
    if (msg != NULL && m->base.dead)
        ssh_message_free(msg);
    else if (msg != NULL)
        take_message(m, msg);
    return msg != NULL;
}

/* The library reads whatever it is asked for, and what comes may be for others that wait: each time it has read,
 * all are asked again. */
static void pump(struct tg_ssh *m)
{
    uint64_t began = m->counter.in_bytes;
    bool more = true;
    while (more && tg_ssh_may_read(m) && m->counter.in_bytes - began < READ_BUDGET) {
        uint64_t before = m->counter.in_bytes;
        more = advance(m);
        if (!m->base.dead && m->kexed)
            run_step(m);
        more = !m->base.dead && (more || m->counter.in_bytes != before);
    }
    if (m->base.dead)
        return;
    if (!more)
        m->base.lower->ops->blocked(m->base.lower, TG_READABLE);
    if (m->counter.in_bytes != m->heard) {
        m->heard = m->counter.in_bytes;
        m->heard_at = m->base.reactor->now;
        m->try_again = true;
        run_abandoned(m);
        tg_ssh_check_windows(m);
    }
    if (m->trying || m->try_again) {
        m->try_again &= m->trying;
        run_opening(m);
    }
    if (!m->base.dead)
        tg_ssh_note_blocked(m);
    if (!m->base.dead && m->counter.in_bytes != m->heard)
        tg_defer(m->base.reactor, &m->work);
    tg_ssh_update_wants(m);
}

static void on_lower(void *arg, unsigned events)
{
    (void)events;
    pump(arg);
}

/* libssh gives each packet to the socket by itself. */
static void set_cork(struct tg_ssh *m, int on)
{
    if (setsockopt(m->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)) != 0)
        m->uncorkable = true;
    m->corked = on != 0;
}

void tg_ssh_cork(struct tg_ssh *m)
{
    if (!m->corked && m->busy && !m->uncorkable)
        set_cork(m, 1);
    tg_defer(m->base.reactor, &m->work);
}

static void on_work(void *arg)
{
    struct tg_ssh *m = arg;
    if (m->base.dead)
        return;
    pump(m);
    if (m->corked && !m->base.dead)
        set_cork(m, 0);
    m->busy = m->traffic.out_packets - m->packets >= BUSY_PACKETS;
    m->packets = m->traffic.out_packets;
}

static void on_event(void *arg)
{
    struct tg_ssh *m = arg;
    if (m->base.on_event != NULL)
        m->base.on_event(m->base.event_arg);
}

/* Asked once in each interval; anything the peer sends is an answer. */
static void on_timer(void *arg)
{
    struct tg_ssh *m = arg;
    uint32_t next = m->options.timeout;
    bool missed = m->probing && m->counter.in_bytes == m->asked;
    m->missed = missed ? m->missed + 1 : 0;
    if (missed && m->missed >= m->options.retries) {
        tg_ssh_die(m, TG_TIMEOUT, "the peer does not answer any more");
        return;
    }
    m->probing = missed || !m->probing;
    if (m->probing && m->trusted && !m->stepping) {
        m->asked = m->counter.in_bytes; /* an answer may be quick enough to be read below */
        ssh_send_keepalive(m->ssh); /* takes the answer to the last one */
        ssh_send_keepalive(m->ssh);
        tg_defer(m->base.reactor, &m->work);
    } else {
        m->probing = false;
        next = m->options.keepalive;
    }
    tg_timer_start(m->base.reactor, &m->timer, next);
}

/* --- the session as its user sees it
 * ----------------------------------------------------------------- */

struct tg_stream *tg_ssh_open(struct tg_session *s, const char *host, int port, const char *origin,
                              int origin_port, struct tg_error *err)
{
    struct tg_ssh *m = (struct tg_ssh *)s;
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
    struct tg_ssh_stream *st = tg_ssh_make_stream(m, channel, TG_STREAM_OPENING);
    st->target = (struct tg_ssh_target){ copy_of(host), copy_of(origin), port, origin_port };
    m->opening++;
    tg_ssh_cork(m);
    int code = try_open(m, channel, &st->target);
    if (code == SSH_OK || code == SSH_ERROR) {
        m->opening--;
        if (code == SSH_OK)
            tg_stream_set_state(&st->base, TG_STREAM_OPEN);
        else
            tg_stream_break(&st->base, "open", TG_REFUSED, "the peer refused the channel");
    }
    return &st->base;
}

static struct tg_stream *ssh_session_accept(struct tg_session *s)
{
    struct tg_ssh *m = (struct tg_ssh *)s;
    struct tg_ssh_stream *st = m->accept_first;
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
    struct tg_ssh *m = (struct tg_ssh *)s;
    struct tg_stream *waiting;
    while ((waiting = ssh_session_accept(s)) != NULL)
        tg_stream_close(waiting);
    while (m->first != NULL) {
        struct tg_ssh_stream *st = m->first;
        tg_ssh_give_up_opening(st);
        tg_ssh_part(st);
        tg_ssh_check(st);
    }
    while (m->abandoned != NULL) {
        struct tg_ssh_abandoned *a = m->abandoned;
        m->abandoned = a->next;
        free(a); /* the channel is freed with the session */
    }
    if (m->pending != NULL)
        ssh_message_free(m->pending);
    forget_secret(m);
    forget_step(m);
    free(m->questioned);
    if (!m->server)
        ssh_options_set(m->ssh, SSH_OPTIONS_FD, NULL); /* what was set, ssh_disconnect() leaves open */
    if (m->kexed && ssh_is_connected(m->ssh)) {
        ssh_blocking_flush(m->ssh, 0);
        ssh_disconnect(m->ssh);
    }
    tg_ssh_leave_agent(m);
    free(m->agent.request);
    ssh_free(m->ssh);
    if (!m->fd_taken)
        close(m->fd);
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
static struct tg_ssh *make_session(struct tg_stream *lower, const struct tg_ssh_options *options,
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
    struct tg_ssh *m = tg_zalloc(sizeof(*m));
    m->agent.theirs = m->agent.ours = -1;
    m->base.ops = &session_ops;
    m->base.reactor = lower->reactor;
    m->base.lower = lower;
    m->fd = *fd;
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
    ssh_set_counters(ssh, &m->counter, &m->traffic);
    return m;
}

static struct tg_session *begin(struct tg_ssh *m)
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
    struct tg_ssh *m = make_session(lower, options, &fd, err);
    if (m == NULL) {
        tg_stream_close(lower);
        return NULL;
    }
    m->server = m->fd_taken = true;
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
    struct tg_ssh *m = make_session(lower, options, &fd, err);
    if (m == NULL) {
        tg_stream_close(lower);
        return NULL;
    }
    if (fd > FD_MOST) {
        tg_error_put(err, "ssh", "start", TG_LIMIT, "too many descriptors for libssh");
        ssh_session_close(&m->base);
        return NULL;
    }
    ssh_options_set(m->ssh, SSH_OPTIONS_HOST, "peer");
    ssh_options_set(m->ssh, SSH_OPTIONS_USER, user);
    ssh_options_set(m->ssh, SSH_OPTIONS_CIPHERS_C_S, ciphers());
    ssh_options_set(m->ssh, SSH_OPTIONS_CIPHERS_S_C, ciphers());
    ssh_options_set(m->ssh, SSH_OPTIONS_FD, &fd);
    return begin(m);
}

void tg_ssh_set_names(struct tg_session *s, const char *local, const char *remote)
{
    struct tg_ssh *m = (struct tg_ssh *)s;
    if (!tg_addr_parse(&m->names[0], local, strlen(local)) ||
        !tg_addr_parse(&m->names[1], remote, strlen(remote)))
        m->names[0].len = m->names[1].len = 0;
}

bool tg_ssh_is_ready(const struct tg_session *s)
{
    return ((const struct tg_ssh *)s)->kexed;
}

void tg_ssh_begin(struct tg_session *s, enum tg_ssh_step step, const char *text, int port,
                  ssh_key key)
{
    struct tg_ssh *m = (struct tg_ssh *)s;
    assert(!m->stepping);
    m->step = step;
    m->step_text = text == NULL ? NULL : copy_of(text);
    m->step_port = port;
    m->step_key = key;
    m->result = SSH_AGAIN;
    m->rounds = 0;
    m->stepping = true;
    tg_defer(s->reactor, &m->work);
}

int tg_ssh_result(const struct tg_session *s)
{
    return ((const struct tg_ssh *)s)->result;
}

int tg_ssh_bound(const struct tg_session *s)
{
    return ((const struct tg_ssh *)s)->bound;
}

ssh_session tg_ssh_of(const struct tg_session *s)
{
    return ((const struct tg_ssh *)s)->ssh;
}

const char *tg_ssh_reason(const struct tg_session *s)
{
    return ((const struct tg_ssh *)s)->reason;
}

uint64_t tg_ssh_silence(const struct tg_session *s)
{
    return s->reactor->now - ((const struct tg_ssh *)s)->heard_at;
}
