#include "stream/tls.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX 16384u /* plaintext of one record */
#define RECORD_EXTRA 64u  /* header, nonce, tag: what a record has around it, at most */
#define OUT_MAX (TG_BUF_LARGE + 2 * RECORD_MAX) /* more than writev() ever leaves in `out` */

BIO_METHOD *tg_tls_bio_method(void);

struct tls {
    struct tg_stream base; /* first: a struct tls is a struct tg_stream */
    SSL *ssl;
    struct tg_tls_context *context;
    struct tg_tls_set *set;
    struct tg_tls_peer peer;
    struct tg_buf *in;  /* ciphertext not yet taken by the library; NULL: nothing */
    struct tg_buf *out; /* ciphertext not yet taken by `lower`; NULL: nothing */
    size_t owed;        /* plaintext that is in `out` and was not counted as written */
    struct tg_defer defer;
    char *name;         /* client: the server's name; NULL: none */
    uint8_t want;       /* of the user */
    bool kernel;        /* the library uses the descriptor itself */
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

static const char *words_of_reason(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
        return "the peer does not speak TLS here (no valid record)";
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return "the client speaks plain HTTP, not TLS";
    case SSL_R_NO_SHARED_CIPHER:
        return "no cipher suite in common";
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return "no TLS version in common";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the client gave no certificate";
    case SSL_R_NO_CERTIFICATE_SET:
        return "no certificate is configured";
    /* what the peer says before it leaves */
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "the peer does not trust our certificate (alert unknown ca)";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        return "the peer does not accept our certificate; it may be for other names (alert bad certificate)";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        return "the peer does not accept our certificate (alert certificate unknown)";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return "our certificate has expired, says the peer (alert certificate expired)";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "the server wants a certificate of ours (alert certificate required)";
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "no TLS version in common (alert protocol version)";
    case SSL_R_TLSV1_UNRECOGNIZED_NAME:
        return "the server does not serve this name (alert unrecognized name)";
    default:
        return NULL;
    }
}

/* What is wrong with the peer's certificate.  @param code X509_V_ERR_* */
static const char *words_of_verification(long code)
{
    switch (code) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return "no authority we trust vouches for the peer's certificate (self-signed certificate)";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "no authority we trust vouches for the peer's certificate (unable to get local issuer certificate)";
    case X509_V_ERR_HOSTNAME_MISMATCH:
        return "the server's certificate is for other names (hostname mismatch)";
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "the server's certificate is for other names (IP address mismatch)";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "the peer's certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "the peer's certificate is not yet valid; the clocks may differ";
    default:
        return X509_verify_cert_error_string(code);
    }
}

static const char *words_of(const struct tls *t)
{
    if (t->peer.refused != NULL)
        return t->peer.refused;
    unsigned long error = ERR_peek_error();
    long verified = SSL_get_verify_result(t->ssl);
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
        return words_of_verification(verified);
    const char *words = reason != 0 ? words_of_reason(reason) : NULL;
    if (words == NULL && error != 0)
        words = ERR_reason_error_string(error);
    return words != NULL ? words : "failed";
}

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
        code = tg_stream_break(s, op, TG_TLS, words_of(t));
    ERR_clear_error();
    return code;
}

/* The lower layer under the library ------------------------------------------------------------ */

static int fill_in(struct tls *t)
{
    struct tg_pool *pool = &t->base.reactor->pool;
    if (t->in == NULL)
        t->in = tg_buf_get(pool, TG_BUF_LARGE);
    t->in->start = t->in->end = 0;
    ssize_t n = tg_stream_read(t->base.lower, t->in->data, t->in->cap);
    if (n > 0)
        t->in->end = (uint32_t)n;
    return n > 0 ? 1 : (int)n;
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
    if (t->in == NULL || tg_buf_len(t->in) == 0) {
        int code = fill_in(t);
        if (code == TG_AGAIN)
            BIO_set_retry_read(bio);
        t->lower_eof |= code == 0;
        if (code <= 0)
            return code == 0 ? 0 : -1;
    }
    size_t n = tg_buf_len(t->in);
    if (n > (size_t)len)
        n = (size_t)len;
    memcpy(buf, t->in->data + t->in->start, n);
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

static bool append_out(struct tls *t, const void *data, size_t len)
{
    struct tg_pool *pool = &t->base.reactor->pool;
    if (t->out == NULL)
        t->out = tg_buf_get(pool, t->base.state == TG_STREAM_OPENING ? TG_BUF_SMALL : TG_BUF_LARGE);
    if (t->out == NULL || !tg_buf_reserve(pool, &t->out, len))
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

/* The last flight can share a packet with data: a server's tickets go with its first
 * answer, a client's Finished with its first request if that follows at once. */
static void finish_handshake(struct tls *t)
{
    tg_stream_set_state(&t->base, TG_STREAM_OPEN);
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
    while (got < len && code > 0) {
        size_t n = 0;
        int result = SSL_read_ex(t->ssl, (char *)buf + got, len - got, &n);
        got += n;
        if (result != 1)
            code = reading_stopped(t, result);
    }
    release_in(t);
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

#define PARTS_MAX 64

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
    ssize_t n = seal_all(t, iov, tg_iov_skip(iov, given, given_count, paid), left - paid);
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
        ERR_clear_error();
        t->hold = 0;
        if (SSL_shutdown(t->ssl) < 0)
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
           tg_stream_fd(s->lower) < 0 && (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

static void tls_close(struct tg_stream *s)
{
    struct tls *t = tls_of(s);
    if (s->state == TG_STREAM_OPEN && !t->notified && !must_flush(t)) {
        ERR_clear_error();
        t->hold = 0;
        SSL_shutdown(t->ssl); /* as FIN tells the end of TCP; nobody is left to wait for it */
    }
    if (ended_well(t))
        tg_stream_shutdown(s->lower);
    tg_defer_cancel(s->reactor, &t->defer);
    SSL_free(t->ssl);
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

/* @return a copy without the brackets of IPv6 and the final dot; NULL for nothing */
static char *clean_name(const char *name)
{
    size_t len = name != NULL ? strlen(name) : 0;
    if (len > 2 && name[0] == '[' && name[len - 1] == ']') {
        name++;
        len -= 2;
    }
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0)
        return NULL;
    char *copy = tg_zalloc(len + 1);
    memcpy(copy, name, len);
    return copy;
}

static bool is_ip(const char *name)
{
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || strchr(name, ':') != NULL;
}

/* What a client says and expects.  @return false: it cannot be checked what must be */
static bool prepare_client(struct tls *t, const struct tg_tls_options *o)
{
    bool ip = t->name != NULL && is_ip(t->name);
    if (t->name != NULL && !ip)
        SSL_set_tlsext_host_name(t->ssl, t->name);
    if (o->verify == TG_TLS_VERIFY_FULL) {
        X509_VERIFY_PARAM *expected = SSL_get0_param(t->ssl);
        X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (t->name == NULL || (ip ? X509_VERIFY_PARAM_set1_ip_asc(expected, t->name)
                                   : X509_VERIFY_PARAM_set1_host(expected, t->name, 0)) != 1)
            return false;
    }
    if (!o->sessions)
        return true;
    t->peer.session_name = t->name != NULL ? t->name : "";
    SSL_SESSION *session = tg_tls_sessions_find(&t->set->sessions, t->peer.session_name);
    if (session != NULL) {
        SSL_set_session(t->ssl, session);
        SSL_SESSION_free(session);
    }
    return true;
}

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
    t->ssl = SSL_new(t->set->ssl[0]);
    if (t->ssl == NULL)
        abort();
    SSL_set_app_data(t->ssl, &t->peer);
    connect_library(t);
    lower->on_ready = on_lower;
    lower->ready_arg = t;
    if (o->server) {
        SSL_set_accept_state(t->ssl);
    } else {
        t->name = clean_name(server_name);
        SSL_set_connect_state(t->ssl);
        if (!prepare_client(t, o)) {
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
    };
    SSL_get0_alpn_selected(t->ssl, &out->alpn, &out->alpn_len);
    return true;
}
