#include "stream/tls.h"

#include "base/mem.h"
#include "stream/tls_traffic.h"
#include "stream/tls_words.h"

#include <assert.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX TG_TLS_PLAIN_MAX
#define PARTS_MAX TG_TLS_PARTS_MAX
#define RECORD_EXTRA 64u  /* header, nonce, tag: what a record has around it, at most */
#define OUT_MAX (TG_BUF_LARGE + 2 * RECORD_MAX) /* more than writev() ever leaves in `out` */

BIO_METHOD *tg_tls_bio_method(void);

#define BULK 65536u    /* bytes of data from which on the records are ours */
#define QUIET_MAX 32   /* records without data that are taken at a time */

struct tls {
    struct tg_stream base; /* first: a struct tls is a struct tg_stream */
    SSL *ssl;
    struct tg_tls_traffic *own; /* takes and makes the records, see take_over(); NULL: the library does */
    struct tg_tls_context *context;
    struct tg_tls_set *set;
    struct tg_tls_peer peer;
    struct tg_buf *in;  /* ciphertext not yet taken by the library; NULL: nothing */
    struct tg_buf *out; /* ciphertext not yet taken by `lower`; NULL: nothing */
    size_t owed;        /* plaintext that is in `out` and was not counted as written */
    uint32_t opened;    /* with `own`: `in` begins with so much plaintext ... */
    uint32_t behind;    /* ... and so much waste */
    struct tg_tls_tally taken, made; /* records of data, by the library */
    uint32_t moved;     /* bytes of data, both ways, while the library did it */
    struct tg_defer defer;
    char *name;         /* client: the server's name; NULL: none */
    uint8_t want;       /* of the user */
    bool kernel;        /* the library uses the descriptor itself */
    bool whole;         /* the library gets whole records only */
    bool ours;          /* `own` may begin */
    bool gather;        /* keep what the library writes in `out` for now */
    uint8_t hold;       /* `out` may wait for what is written next, see finish_handshake() */
    bool dry;           /* the library has nothing to read */
    bool read_writes;   /* reading waits until writing is possible */
    bool write_reads;   /* writing waits until something comes in */
    bool choked;        /* no input is taken while the answers to it do not go out */
    bool lower_eof;     /* the library was told that `lower` has ended */
    bool notified;      /* close_notify is in `out` or gone */
    bool truncated;
};

static const struct tg_stream_ops tls_ops;

static struct tls *tls_of(struct tg_stream *s)
{
    return (struct tls *)s;
}

/* Errors --------------------------------------------------------------------------------------- */

/* The library gave up: say why.  @return the code */
static int give_up(struct tls *t, const char *op)
{
    struct tg_stream *s = &t->base;
    int code;
    if (s->state == TG_STREAM_FAILED)
        return s->error.code;
    if (s->lower->state == TG_STREAM_FAILED)
        code = tg_stream_inherit(s);
    else if (s->state == TG_STREAM_OPENING && t->lower_eof)
        code = tg_stream_break(s, op, TG_EOF, "the peer closed the connection in the handshake");
    else
        code = tg_stream_break(s, op, TG_TLS, tg_tls_words(t->ssl, t->peer.refused));
    ERR_clear_error();
    return code;
}

/* The lower layer under the library ------------------------------------------------------------ */

/* Read behind what is there.  @return 1, 0 at the end, or a negative code */
static int fill_in(struct tls *t)
{
    struct tg_pool *pool = &t->base.reactor->pool;
    if (t->in == NULL)
        t->in = tg_buf_get(pool, TG_BUF_LARGE);
    uint32_t len = (uint32_t)tg_buf_len(t->in);
    memmove(t->in->data, t->in->data + t->in->start, len);
    t->in->start = 0;
    t->in->end = len;
    ssize_t n = tg_stream_read(t->base.lower, t->in->data + len, tg_buf_room(t->in));
    if (n > 0)
        t->in->end += (uint32_t)n;
    t->lower_eof |= n == 0;
    return n > 0 ? 1 : (int)n;
}

/* Have a whole record in `in`, or something that cannot become one.  @return as above */
static int load_record(struct tls *t)
{
    int code = 1;
    while (code > 0) {
        size_t have = t->in != NULL ? tg_buf_len(t->in) : 0;
        ssize_t whole = have > 0 ? tg_tls_measure(t->in->data + t->in->start, have) : 0;
        if (whole < 0 || (whole > 0 && (size_t)whole <= have))
            return 1;
        code = fill_in(t);
    }
    return code;
}

static int bio_read(BIO *bio, char *buf, int len)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    /* Each KeyUpdate makes the library write; a peer that sends them and never reads must
     * not fill our memory. */
    t->choked = t->out != NULL && tg_buf_len(t->out) > OUT_MAX;
    if (t->choked) {
        BIO_set_retry_read(bio);
        return -1;
    }
    int code = 1;
    if (t->whole && tg_tls_is_even(&t->taken))
        code = load_record(t);
    else if (t->in == NULL || tg_buf_len(t->in) == 0)
        code = fill_in(t);
    if (code == TG_AGAIN)
        BIO_set_retry_read(bio);
    if (code <= 0)
        return code == 0 ? 0 : -1;
    size_t n = tg_buf_len(t->in);
    if (n > (size_t)len)
        n = (size_t)len;
    memcpy(buf, t->in->data + t->in->start, n);
    tg_tls_count(&t->taken, t->in->data + t->in->start, n);
    t->in->start += (uint32_t)n;
    return (int)n;
}

static void release_in(struct tls *t)
{
    if (t->in != NULL && tg_buf_len(t->in) == 0) {
        tg_buf_put(&t->base.reactor->pool, t->in);
        t->in = NULL;
    }
}

static bool reserve_out(struct tls *t, size_t len)
{
    struct tg_pool *pool = &t->base.reactor->pool;
    if (t->out == NULL)
        t->out = tg_buf_get(pool, t->base.state == TG_STREAM_OPENING ? TG_BUF_SMALL : TG_BUF_LARGE);
    return t->out != NULL && tg_buf_reserve(pool, &t->out, len);
}

static bool append_out(struct tls *t, const void *data, size_t len)
{
    if (!reserve_out(t, len))
        return false;
    memcpy(t->out->data + t->out->end, data, len);
    t->out->end += (uint32_t)len;
    return true;
}

static void drop_out(struct tls *t, size_t n)
{
    t->out->start += (uint32_t)n;
    if (tg_buf_len(t->out) == 0) {
        tg_buf_put(&t->base.reactor->pool, t->out);
        t->out = NULL;
    }
}

/* Write what was kept, and `data` after it.  What does not go out now is kept.
 * @return false: `lower` has failed */
static bool push_out(struct tls *t, const void *data, size_t len)
{
    size_t kept = t->out != NULL ? tg_buf_len(t->out) : 0;
    struct iovec iov[2];
    int count = 0;
    if (kept > 0)
        iov[count++] = (struct iovec){ t->out->data + t->out->start, kept };
    iov[count++] = (struct iovec){ (void *)data, len };
    ssize_t n = tg_stream_writev(t->base.lower, iov, count);
    if (n < 0 && n != TG_AGAIN)
        return false;
    size_t sent = n > 0 ? (size_t)n : 0;
    if (kept > 0)
        drop_out(t, sent < kept ? sent : kept);
    sent -= sent < kept ? sent : kept;
    return sent == len || append_out(t, (const char *)data + sent, len - sent);
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    tg_tls_count(&t->made, (const uint8_t *)data, (size_t)len);
    bool ok = t->gather ? append_out(t, data, (size_t)len) : push_out(t, data, (size_t)len);
    return ok ? len : -1;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    struct tls *t = BIO_get_data(bio);
    (void)number, (void)pointer;
    switch (what) {
    case BIO_CTRL_FLUSH: /* ours to decide, when the library has returned */
    case BIO_CTRL_PUSH:
    case BIO_CTRL_POP:
    case BIO_CTRL_DUP:
        return 1;
    case BIO_CTRL_EOF:
        return t->lower_eof;
    default:
        return 0;
    }
}

BIO_METHOD *tg_tls_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "tidegate stream");
    if (m == NULL)
        abort();
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    return m;
}

/* Write what was kept.  @return 0, TG_AGAIN or a negative code */
static int flush(struct tls *t)
{
    t->hold = 0;
    while (t->out != NULL) {
        ssize_t n = tg_stream_write(t->base.lower, t->out->data + t->out->start,
                                    tg_buf_len(t->out));
        if (n == TG_AGAIN)
            return TG_AGAIN;
        if (n < 0)
            return give_up(t, "write");
        drop_out(t, (size_t)n);
    }
    return 0;
}

/* The library talks to the descriptor itself; tell its owner what it found out. */
static void note_kernel_blocked(struct tls *t, int error)
{
    const struct tg_stream *lower = t->base.lower;
    if (!t->kernel)
        return;
    if (error == SSL_ERROR_WANT_READ)
        lower->ops->blocked(t->base.lower, TG_READABLE);
    else if (error == SSL_ERROR_WANT_WRITE)
        lower->ops->blocked(t->base.lower, TG_WRITABLE);
}

/* Readiness ------------------------------------------------------------------------------------ */

static bool has_input(const struct tls *t)
{
    if (t->base.eof || t->dry)
        return false;
    if (t->own != NULL)
        return t->in != NULL || t->own->state != TG_TLS_NOTHING;
    return t->in != NULL || SSL_has_pending(t->ssl) == 1 ||
           (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

/* Is there ciphertext that must go out without waiting for more? */
static bool must_flush(const struct tls *t)
{
    return t->out != NULL && t->hold == 0;
}

static void want_lower(struct tls *t)
{
    unsigned events = 0;
    if (t->base.state == TG_STREAM_OPENING) {
        if (SSL_want_write(t->ssl) || t->out != NULL)
            events |= TG_WRITABLE;
        if (!SSL_want_write(t->ssl))
            events |= TG_READABLE;
    } else {
        if (t->want & TG_READABLE)
            events |= t->read_writes ? TG_WRITABLE : TG_READABLE;
        if (t->want & TG_WRITABLE)
            events |= t->write_reads ? TG_READABLE : TG_WRITABLE;
        if (must_flush(t))
            events |= TG_WRITABLE;
    }
    tg_stream_want(t->base.lower, events);
}

static void tls_want(struct tg_stream *s, unsigned events)
{
    struct tls *t = tls_of(s);
    t->want = (uint8_t)events;
    if (s->state == TG_STREAM_FAILED) {
        if (events != 0)
            tg_defer(s->reactor, &t->defer);
        tg_stream_want(s->lower, 0);
        return;
    }
    if ((events & TG_READABLE) && s->state == TG_STREAM_OPEN && has_input(t))
        tg_defer(s->reactor, &t->defer);
    want_lower(t);
}

/* Handshake ------------------------------------------------------------------------------------ */

#define HOLD_FOREVER UINT8_MAX
#define HOLD_TURNS 2 /* tasks that are woken in this turn run after its deferred calls */

/* New keys while the library has the records: what was learned of the first ones is void. */
static void on_message(int is_ours, int version, int type, const void *data, size_t len, SSL *ssl, void *arg)
{
    struct tls *t = arg;
    (void)is_ours, (void)version, (void)ssl;
    if (type == SSL3_RT_HANDSHAKE && len > 0 && *(const uint8_t *)data == SSL3_MT_KEY_UPDATE)
        t->ours = false;
}

/* A peer of little memory may have asked for short records (RFC 6066, 4): the library makes those. */
static bool has_short_records(SSL *ssl)
{
    return SSL_SESSION_get_max_fragment_length(SSL_get0_session(ssl)) != TLSEXT_max_fragment_length_DISABLED;
}

/* From here on records are counted that are under the keys of the data; a server's tickets, just made, are. */
static void prepare_own(struct tls *t)
{
    const struct tg_tls_secrets *s = &t->peer.secrets;
    t->ours = !t->kernel && SSL_version(t->ssl) == TLS1_3_VERSION && s->client_len > 0 &&
              s->client_len == s->server_len && tg_tls_is_even(&t->taken) && tg_tls_is_even(&t->made) &&
              !has_short_records(t->ssl);
    t->whole = t->ours;
    t->taken.records = 0;
    if (!SSL_is_server(t->ssl))
        t->made.records = 0;
    SSL_set_msg_callback(t->ssl, t->ours ? on_message : NULL);
    SSL_set_msg_callback_arg(t->ssl, t);
}

/* The last flight can share a packet with data: a server's tickets go with its first
 * answer, a client's Finished with its first request if that follows at once. */
static void finish_handshake(struct tls *t)
{
    tg_stream_set_state(&t->base, TG_STREAM_OPEN);
    prepare_own(t);
    if (t->out == NULL)
        return;
    if (!SSL_is_server(t->ssl)) {
        t->hold = HOLD_TURNS;
        tg_defer(t->base.reactor, &t->defer);
    } else if (SSL_version(t->ssl) >= TLS1_3_VERSION) {
        t->hold = HOLD_FOREVER;
    } else {
        flush(t);
    }
}

/* Go on with the handshake; state tells how it went. */
static void step_handshake(struct tls *t)
{
    if (t->out != NULL && flush(t) != 0)
        return;
    ERR_clear_error();
    t->gather = true;
    t->made.records = 0;
    int done = SSL_do_handshake(t->ssl);
    t->gather = false;
    release_in(t);
    if (done == 1) {
        finish_handshake(t);
        return;
    }
    int error = SSL_get_error(t->ssl, done);
    note_kernel_blocked(t, error);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        flush(t);
        return;
    }
    if (t->out != NULL) /* the alert that tells the peer why */
        tg_stream_write(t->base.lower, t->out->data + t->out->start, tg_buf_len(t->out));
    give_up(t, "handshake");
}

static void tell_of_handshake(struct tls *t)
{
    if (t->base.state == TG_STREAM_OPENING) {
        want_lower(t);
        return;
    }
    if (t->base.state == TG_STREAM_FAILED) {
        tg_stream_want(t->base.lower, 0);
        tg_stream_ready(&t->base, TG_READABLE | TG_WRITABLE | TG_HANGUP);
        return;
    }
    tls_want(&t->base, t->want);
    tg_stream_ready(&t->base, TG_READABLE | TG_WRITABLE);
}

static void on_lower(void *arg, unsigned events)
{
    struct tls *t = arg;
    if (t->base.state == TG_STREAM_OPENING) {
        step_handshake(t);
        tell_of_handshake(t); /* last: `t` may be gone now */
        return;
    }
    unsigned report = events & (t->want | TG_HANGUP);
    if ((events & TG_READABLE) && t->write_reads)
        report |= TG_WRITABLE;
    if ((events & TG_WRITABLE) && t->read_writes)
        report |= TG_READABLE;
    if (t->base.state == TG_STREAM_OPEN && (events & TG_WRITABLE) && must_flush(t) &&
        flush(t) == TG_AGAIN)
        report &= ~TG_WRITABLE;
    want_lower(t);
    if (t->base.state == TG_STREAM_FAILED)
        report |= t->want;
    if ((report & t->want) != 0)
        tg_stream_ready(&t->base, report);
}

static void flush_held(struct tls *t)
{
    if (t->hold > 1 && t->hold != HOLD_FOREVER) {
        t->hold--;
        tg_defer(t->base.reactor, &t->defer);
        return;
    }
    if (t->hold != HOLD_FOREVER)
        flush(t);
    want_lower(t);
}

/* What is due though `lower` has nothing to say. */
static void on_defer(void *arg)
{
    struct tls *t = arg;
    if (t->base.state == TG_STREAM_OPEN && t->out != NULL)
        flush_held(t);
    unsigned report = t->want;
    if (t->base.state == TG_STREAM_OPEN)
        report &= has_input(t) ? TG_READABLE : 0;
    if (report == 0)
        return;
    tg_defer(t->base.reactor, &t->defer); /* level-triggered: again next turn */
    tg_stream_ready(&t->base, report);
}

/* Records of our own --------------------------------------------------------------------------- */

/* Who moves much does without the library from here on, whose records cost two copies more each way.  It has none half
 * done, and a client has read something: the tickets that come first are worth having. */
static void take_over(struct tls *t)
{
    struct tg_tls_secrets *s = &t->peer.secrets;
    bool server = SSL_is_server(t->ssl);
    if (!t->ours || t->moved < BULK || (!server && t->taken.records == 0))
        return;
    if (t->notified || SSL_get_shutdown(t->ssl) != 0 || !SSL_is_init_finished(t->ssl) ||
        !tg_tls_is_even(&t->taken) || SSL_has_pending(t->ssl))
        return;
    const struct tg_tls_start start = {
        .suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(t->ssl)),
        .server = server,
        .in = server ? s->client : s->server,
        .out = server ? s->server : s->client,
        .len = s->client_len,
        .received = t->taken.records,
        .sent = t->made.records,
    };
    t->own = tg_tls_traffic_new(&start);
    t->ours = false;
    OPENSSL_cleanse(s, sizeof(*s));
}

/* The peer asked for new keys.  While it does not read the answers to earlier wishes, it waits. */
static void update_keys(struct tls *t)
{
    if (t->notified || (t->out != NULL && tg_buf_len(t->out) > OUT_MAX) || !reserve_out(t, TG_TLS_UPDATE_SIZE))
        return;
    t->out->end += (uint32_t)tg_tls_traffic_update(t->own, t->out->data + t->out->end);
    flush(t);
    if (must_flush(t))
        want_lower(t);
}

/* Say an alert, behind what was kept.  @return false: `lower` has failed */
static bool tell(struct tls *t, enum tg_tls_alert alert)
{
    uint8_t record[TG_TLS_ALERT_SIZE];
    if (alert == TG_TLS_CLOSE_NOTIFY)
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN); /* so that the library takes the session for good */
    return push_out(t, record, tg_tls_traffic_alert(t->own, alert, record));
}

/* Put close_notify behind all that was written. */
static bool say_end(struct tls *t)
{
    ERR_clear_error();
    t->hold = 0;
    return t->own != NULL ? tell(t, TG_TLS_CLOSE_NOTIFY) : SSL_shutdown(t->ssl) >= 0;
}

#define NO_ROOM (-3) /* beside enum tg_tls_news */

/* Take the record in `in`, when `room` is enough for it or there `must` be another way.
 * @return as tg_tls_traffic_take(), or NO_ROOM: it waits there */
static ssize_t take_record(struct tls *t, uint8_t *buf, size_t room, bool must)
{
    struct tg_buf *in = t->in;
    uint8_t *record = in->data + in->start;
    ssize_t whole = tg_tls_traffic_measure(t->own, record, tg_buf_len(in));
    if (whole < 0)
        return whole;
    bool fits = tg_tls_room((size_t)whole) <= room;
    if (!fits && !must)
        return NO_ROOM;
    ssize_t n = tg_tls_traffic_take(t->own, record, fits ? buf : record + TG_TLS_HEAD);
    if (fits || n <= 0) {
        in->start += (uint32_t)whole;
        return n;
    }
    in->start += TG_TLS_HEAD;
    t->opened = (uint32_t)n;
    t->behind = (uint32_t)(whole - n) - TG_TLS_HEAD;
    return TG_TLS_NOTHING;
}

static size_t deliver_opened(struct tls *t, uint8_t *buf, size_t len)
{
    size_t n = t->opened < len ? t->opened : len;
    memcpy(buf, t->in->data + t->in->start, n);
    t->opened -= (uint32_t)n;
    t->in->start += (uint32_t)n + (t->opened == 0 ? t->behind : 0);
    return n;
}

/* Nothing more will come in.  @return 0 or a negative code */
static int end_own(struct tls *t, int code)
{
    if (t->own->state == TG_TLS_BAD) {
        if (t->own->alert != 0)
            tell(t, t->own->alert);
        ERR_raise(ERR_LIB_SSL, t->own->reason);
    }
    if (t->own->state == TG_TLS_BAD || code < 0)
        return give_up(t, "read");
    t->truncated = t->own->state != TG_TLS_END;
    return 0;
}

static ssize_t read_own(struct tls *t, uint8_t *buf, size_t len)
{
    size_t got = 0;
    int code = 1, quiet = 0;
    while (got < len && code > 0) {
        if (t->opened > 0) {
            got += deliver_opened(t, buf + got, len - got);
            continue;
        }
        code = t->own->state == TG_TLS_NOTHING ? load_record(t) : 0;
        t->dry = code == TG_AGAIN;
        if (code <= 0)
            break;
        ssize_t n = take_record(t, buf + got, len - got, got == 0);
        if (n > 0)
            got += (size_t)n;
        else if (n == TG_TLS_NOTHING && t->own->asked)
            update_keys(t);
        if (n == NO_ROOM || (n == TG_TLS_NOTHING && t->opened == 0 && ++quiet == QUIET_MAX))
            code = TG_AGAIN;
        if (t->base.state == TG_STREAM_FAILED)
            code = t->base.error.code;
    }
    release_in(t);
    /* A failure or the end that came behind data is told by the next call. */
    return got > 0 ? (ssize_t)got : code == TG_AGAIN ? TG_AGAIN : end_own(t, code);
}

/* Seal the bytes in `iov`, which is changed.  @return how many of them were taken */
static ssize_t seal_own(struct tls *t, struct iovec *iov, int count, size_t left)
{
    struct iovec parts[PARTS_MAX];
    size_t taken = 0;
    while (left > 0) {
        if (!reserve_out(t, RECORD_MAX + TG_TLS_AROUND + TG_TLS_UPDATE_SIZE))
            return give_up(t, "write");
        struct tg_buf *out = t->out;
        if (tg_tls_traffic_due(t->own))
            out->end += (uint32_t)tg_tls_traffic_update(t->own, out->data + out->end);
        size_t n;
        do {
            n = left < RECORD_MAX ? left : RECORD_MAX;
            out->end += (uint32_t)tg_tls_seal(&t->own->out, TG_TLS_DATA, parts, tg_iov_head(parts, iov, count, n),
                                              out->data + out->end);
            count = tg_iov_skip(iov, iov, count, n);
            left -= n;
            t->owed += n;
            n = left < RECORD_MAX ? left : RECORD_MAX;
        } while (n > 0 && tg_buf_room(out) >= n + TG_TLS_AROUND);
        int code = flush(t);
        if (code < 0 && code != TG_AGAIN)
            return code;
        if (code == TG_AGAIN)
            break;
        taken += t->owed;
        t->owed = 0;
    }
    return (ssize_t)taken;
}

/* Data ----------------------------------------------------------------------------------------- */

/* The library had nothing to give.  @return 0, TG_AGAIN or a negative code */
static int reading_stopped(struct tls *t, int result)
{
    int error = SSL_get_error(t->ssl, result);
    note_kernel_blocked(t, error);
    switch (error) {
    case SSL_ERROR_WANT_READ:
        t->dry = true;
        t->read_writes = t->choked;
        return TG_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        t->dry = t->read_writes = true;
        return TG_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        t->truncated = t->lower_eof;
        return 0;
    default:
        return give_up(t, "read");
    }
}

static ssize_t tls_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tls *t = tls_of(s);
    size_t got = 0;
    int code = 1;
    t->dry = t->read_writes = false;
    ERR_clear_error();
    take_over(t);
    if (t->own != NULL)
        return read_own(t, buf, len);
    while (got < len && code > 0) {
        size_t n = 0;
        int result = SSL_read_ex(t->ssl, (char *)buf + got, len - got, &n);
        got += n;
        if (result != 1)
            code = reading_stopped(t, result);
    }
    release_in(t);
    t->moved += (uint32_t)got;
    /* A failure or the end that came behind data is told by the next call. */
    return got > 0 ? (ssize_t)got : code;
}

/* The next record's worth: in place when one part holds it, else gathered in `space`. */
static const void *next_record(const struct iovec *iov, int count, uint8_t *space, size_t *len)
{
    size_t n = 0;
    if (count == 1 || iov->iov_len >= RECORD_MAX) {
        *len = iov->iov_len < RECORD_MAX ? iov->iov_len : RECORD_MAX;
        return iov->iov_base;
    }
    for (int i = 0; i < count && n < RECORD_MAX; i++) {
        size_t part = iov[i].iov_len < RECORD_MAX - n ? iov[i].iov_len : RECORD_MAX - n;
        memcpy(space + n, iov[i].iov_base, part);
        n += part;
    }
    *len = n;
    return space;
}

/* One record.  @return bytes taken, 0 when it has to wait, or a negative code */
static ssize_t seal(struct tls *t, const void *data, size_t len, bool more)
{
    size_t n = 0, kept = t->out != NULL ? tg_buf_len(t->out) : 0;
    /* Records are gathered while there are more and the buffer has room for them. */
    t->gather = more && kept + 2 * (RECORD_MAX + RECORD_EXTRA) <= TG_BUF_LARGE;
    int result = SSL_write_ex(t->ssl, data, len, &n);
    if (result == 1)
        return (ssize_t)n;
    int error = SSL_get_error(t->ssl, result);
    note_kernel_blocked(t, error);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        return give_up(t, "write");
    t->write_reads = error == SSL_ERROR_WANT_READ;
    return 0;
}

/* Seal the bytes in `iov`, which is changed.  @return how many of them were taken */
static ssize_t seal_all(struct tls *t, struct iovec *iov, int count, size_t left)
{
    uint8_t space[RECORD_MAX];
    size_t taken = 0;
    ssize_t n = 1;
    while (left > 0) {
        size_t len;
        const void *data = next_record(iov, count, space, &len);
        n = seal(t, data, len, left > len);
        if (n <= 0)
            break;
        count = tg_iov_skip(iov, iov, count, (size_t)n);
        left -= (size_t)n;
        t->owed += (size_t)n;
        t->moved += (uint32_t)n;
        if (t->out == NULL) {
            taken += t->owed;
            t->owed = 0;
        } else if (!t->gather) {
            break; /* `lower` has had enough */
        }
    }
    t->gather = false;
    return n < 0 ? n : (ssize_t)taken;
}

static ssize_t tls_writev(struct tg_stream *s, const struct iovec *given, int given_count)
{
    struct tls *t = tls_of(s);
    struct iovec iov[PARTS_MAX];
    if (given_count > PARTS_MAX)
        given_count = PARTS_MAX;
    size_t left = tg_iov_total(given, given_count);
    if (left == 0)
        return 0;
    if (must_flush(t)) {
        int code = flush(t);
        if (code < 0)
            return code;
    }
    size_t paid = t->owed < left ? t->owed : left;
    t->owed -= paid;
    t->hold = 0; /* what was held goes along now */
    t->write_reads = false;
    if (paid == left)
        return (ssize_t)paid;
    ERR_clear_error();
    take_over(t);
    int count = tg_iov_skip(iov, given, given_count, paid);
    ssize_t n = t->own != NULL ? seal_own(t, iov, count, left - paid) : seal_all(t, iov, count, left - paid);
    if (n > 0)
        paid += (size_t)n;
    if (must_flush(t))
        want_lower(t);
    if (paid > 0)
        return (ssize_t)paid;
    return n < 0 ? n : TG_AGAIN;
}

static int tls_shutdown(struct tg_stream *s)
{
    struct tls *t = tls_of(s);
    if (!t->notified) {
        int code = must_flush(t) ? flush(t) : 0;
        if (code < 0)
            return code;
        if (!say_end(t))
            return give_up(t, "shutdown");
        t->notified = true;
    }
    return flush(t);
}

/* Both sides have said their end.  A socket's close() tells that on; a stream of a session would be
 * cancelled by it, which may overtake the last bytes. */
static bool ended_well(const struct tls *t)
{
    const struct tg_stream *s = &t->base;
    return s->state == TG_STREAM_OPEN && t->notified && !must_flush(t) &&
           tg_stream_fd(s->lower) < 0 &&
           (t->own != NULL ? t->own->state == TG_TLS_END : (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN) != 0);
}

static void tls_close(struct tg_stream *s)
{
    struct tls *t = tls_of(s);
    if (s->state == TG_STREAM_OPEN && !t->notified && !must_flush(t))
        say_end(t); /* as FIN tells the end of TCP; nobody is left to wait for it */
    if (ended_well(t))
        tg_stream_shutdown(s->lower);
    tg_defer_cancel(s->reactor, &t->defer);
    if (s->state != TG_STREAM_OPENING)
        tg_tls_context_learn(t->context, s->rx + s->tx);
    SSL_free(t->ssl);
    tg_tls_traffic_free(t->own);
    OPENSSL_cleanse(&t->peer.secrets, sizeof(t->peer.secrets));
    ERR_clear_error();
    tg_stream_close(s->lower);
    tg_buf_put(&s->reactor->pool, t->in);
    tg_buf_put(&s->reactor->pool, t->out);
    tg_tls_set_put(t->set);
    tg_tls_context_put(t->context);
    free(t->name);
    free(t);
}

static const struct tg_stream_ops tls_ops = {
    .name = "tls",
    .read = tls_read,
    .writev = tls_writev,
    .shutdown = tls_shutdown,
    .want = tls_want,
    .close = tls_close,
};

/* Starting ------------------------------------------------------------------------------------- */

static void connect_library(struct tls *t)
{
    int fd = tg_stream_fd(t->base.lower);
    if (fd >= 0 && tg_tls_context_ktls(t->context)) {
        t->kernel = true;
        SSL_set_fd(t->ssl, fd);
        /* Where the kernel only encrypts, the library reads for itself: several records at once. */
        SSL_set_read_ahead(t->ssl, 1);
        SSL_set_default_read_buffer_len(t->ssl, TG_BUF_LARGE);
        return;
    }
    BIO *bio = BIO_new(tg_tls_context_bio(t->context));
    if (bio == NULL)
        abort();
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
}

struct tg_stream *tg_tls_start(struct tg_stream *lower, struct tg_tls_context *context,
                               const char *server_name)
{
    const struct tg_tls_options *o = tg_tls_context_options(context);
    struct tls *t = tg_zalloc(sizeof(*t));
    t->base.ops = &tls_ops;
    t->base.lower = lower;
    t->base.reactor = lower->reactor;
    t->base.state = TG_STREAM_OPENING;
    t->base.half_close = true;
    t->defer.cb = on_defer;
    t->defer.arg = t;
    t->context = tg_tls_context_ref(context);
    t->set = tg_tls_set_take(context);
    t->ssl = tg_tls_set_open(t->set);
    if (t->ssl == NULL)
        abort();
    SSL_set_app_data(t->ssl, &t->peer);
    connect_library(t);
    lower->on_ready = on_lower;
    lower->ready_arg = t;
    if (o->server) {
        SSL_set_accept_state(t->ssl);
    } else {
        t->name = tg_tls_clean_name(server_name);
        SSL_set_connect_state(t->ssl);
        if (!tg_tls_set_aim(t->set, t->ssl, t->name)) {
            tg_stream_break(&t->base, "handshake", TG_TLS,
                            "full verification needs the name of the server (serverName)");
            return &t->base;
        }
    }
    step_handshake(t); /* what is there already need not wait for an event */
    if (t->base.state != TG_STREAM_FAILED)
        want_lower(t);
    return &t->base;
}

bool tg_tls_describe(const struct tg_stream *s, struct tg_tls_info *out)
{
    while (s != NULL && s->ops != &tls_ops)
        s = s->lower;
    if (s == NULL || s->state == TG_STREAM_OPENING)
        return false;
    const struct tls *t = (const struct tls *)s;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
    *out = (struct tg_tls_info){
        .version = SSL_get_version(t->ssl),
        .cipher = cipher != NULL ? SSL_CIPHER_standard_name(cipher) : NULL,
        .server_name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name),
        .peer = SSL_get0_peer_certificate(t->ssl),
        .resumed = SSL_session_reused(t->ssl) == 1,
        .ktls_send = BIO_get_ktls_send(SSL_get_wbio(t->ssl)),
        .ktls_receive = BIO_get_ktls_recv(SSL_get_rbio(t->ssl)),
        .truncated = t->truncated,
        .own_records = t->own != NULL,
    };
    SSL_get0_alpn_selected(t->ssl, &out->alpn, &out->alpn_len);
    return true;
}
