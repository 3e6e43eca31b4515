#include "stream/ss_core.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A client's request waits so long for the bytes that most clients send at once: one segment and one
 * awakening less at both ends.  Who waits for the server to speak waits so much longer, once. */
#define HOLD_MS 10

static const struct tg_stream_ops ss_ops;

int tg_ss_lower_failed(struct tg_ss *w)
{
    struct tg_stream *s = &w->base;
    if (s->state == TG_STREAM_FAILED)
        return s->error.code;
    if (w->client && s->rx == 0 && s->lower->error.code == TG_RESET)
        return tg_stream_break(s, "read", TG_RESET,
                               "the server closed before it answered: is the password or method another one there?");
    return tg_stream_inherit(s);
}

EVP_CIPHER_CTX *tg_ss_legacy(const struct tg_ss *w, const uint8_t *salt, bool encrypt)
{
    uint8_t iv[16] = { 0 };
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    memcpy(iv + w->m->counter, salt, w->m->salt_len);
    if (ctx == NULL || EVP_CipherInit_ex(ctx, w->m->cipher(), NULL, w->key->key, iv, encrypt) != 1)
        abort();
    return ctx;
}

void tg_ss_want_lower(struct tg_ss *w)
{
    unsigned events = w->base.state == TG_STREAM_OPEN ? w->base.wanted : 0;
    if (w->out != NULL && w->base.state == TG_STREAM_OPEN)
        events |= TG_WRITABLE;
    tg_stream_want(w->base.lower, events);
}

/* Is there something to read that `lower` does not announce? */
static bool has_input(const struct tg_ss *w)
{
    const struct tg_stream *lower = w->base.lower;
    return w->broken != NULL || w->plain > 0 || (w->in != NULL && !w->dry) ||
           lower->ahead != NULL || lower->eof;
}

static unsigned unannounced(const struct tg_ss *w)
{
    if (w->base.state == TG_STREAM_FAILED || w->base.lower->state == TG_STREAM_FAILED)
        return w->base.wanted;
    return has_input(w) ? w->base.wanted & TG_READABLE : 0;
}

static void on_defer(void *arg)
{
    struct tg_ss *w = arg;
    unsigned report = unannounced(w);
    if (report == 0)
        return;
    tg_defer(w->base.reactor, &w->defer); /* level-triggered: again next turn */
    tg_stream_ready(&w->base, report);    /* last: `w` may be gone now */
}

/* The client says nothing. */
static void on_hold(void *arg)
{
    struct tg_ss *w = arg;
    if (w->base.state != TG_STREAM_OPEN)
        return;
    tg_ss_send_request(w);
    tg_ss_try_flush(w);
    tg_ss_want_lower(w);
}

static void ss_want(struct tg_stream *s, unsigned events)
{
    struct tg_ss *w = tg_ss_of(s);
    if (events != 0 && unannounced(w) != 0)
        tg_defer(s->reactor, &w->defer);
    tg_ss_want_lower(w);
}

static void on_lower(void *arg, unsigned events)
{
    struct tg_ss *w = arg;
    unsigned wanted = w->base.wanted, report = events & (wanted | TG_HANGUP);
    if ((events & TG_WRITABLE) && tg_ss_try_flush(w) == TG_AGAIN)
        report &= ~TG_WRITABLE;
    if (w->base.state == TG_STREAM_FAILED || w->base.lower->state == TG_STREAM_FAILED)
        report |= wanted;
    tg_ss_want_lower(w);
    if (report & wanted)
        tg_stream_ready(&w->base, report); /* last: `w` may be gone now */
}

static void let_go(struct tg_ss *w)
{
    struct tg_stream *s = &w->base;
    tg_defer_cancel(s->reactor, &w->defer);
    tg_timer_stop(s->reactor, &w->hold);
    tg_buf_put(&s->reactor->pool, w->in);
    tg_buf_put(&s->reactor->pool, w->out);
    tg_ss_cipher_put(w->key, w->open);
    tg_ss_cipher_put(w->key, w->seal);
    EVP_CIPHER_CTX_free(w->decrypt);
    EVP_CIPHER_CTX_free(w->encrypt);
    free(w->address);
    tg_ss_key_drop(w->key);
    free(w);
}

static void ss_close(struct tg_stream *s)
{
    struct tg_ss *w = tg_ss_of(s);
    if (s->state == TG_STREAM_OPEN)
        tg_ss_try_flush(w);
    tg_stream_close(s->lower);
    let_go(w);
}

static bool ss_said(const struct tg_stream *s)
{
    const struct tg_ss *w = (const struct tg_ss *)s;
    return w->out == NULL && w->address == NULL && tg_stream_fd(s->lower) >= 0;
}

static const struct tg_stream_ops ss_ops = {
    .name = "shadowsocks",
    .read = tg_ss_read,
    .writev = tg_ss_writev,
    .shutdown = tg_ss_shutdown,
    .want = ss_want,
    .close = ss_close,
    .said = ss_said,
};

static struct tg_ss *start(struct tg_stream *lower, struct tg_ss_key *key)
{
    struct tg_ss *w = tg_zalloc(sizeof(*w));
    w->base.ops = &ss_ops;
    w->base.lower = lower;
    w->base.reactor = lower->reactor;
    w->base.state = TG_STREAM_OPEN;
    w->base.half_close = lower->half_close;
    w->key = tg_ss_key_hold(key);
    w->m = key->method;
    w->dry = true;
    w->defer = (struct tg_defer){ .cb = on_defer, .arg = w };
    if (w->m->kind == TG_SS_PLAIN)
        w->stage = TG_SS_AT_LENGTH;
    lower->on_ready = on_lower;
    lower->ready_arg = w;
    return w;
}

struct tg_stream *tg_ss_client(struct tg_stream *lower, struct tg_ss_key *key, const struct tg_target *target)
{
    struct tg_ss *w = start(lower, key);
    uint8_t address[TG_SOCKS_ADDRESS_MAX];
    ssize_t n = tg_socks_address_encode(target, TG_EMPTY_AS_IPV4, address, sizeof(address));
    assert(n > 0);
    w->client = true;
    w->address = tg_zalloc((size_t)n);
    memcpy(w->address, address, (size_t)n);
    w->address_len = (uint16_t)n;
    w->hold.cb = on_hold;
    w->hold.arg = w;
    tg_timer_start(lower->reactor, &w->hold, HOLD_MS);
    return &w->base;
}

struct tg_stream *tg_ss_server(struct tg_stream *lower, struct tg_ss_key *key)
{
    return &start(lower, key)->base;
}

bool tg_ss_is(const struct tg_stream *s)
{
    return s->ops == &ss_ops;
}

const char *tg_ss_user(const struct tg_stream *s)
{
    const struct tg_ss *w = (const struct tg_ss *)s;
    assert(tg_ss_is(s));
    return w->user != NULL ? w->user->name : NULL;
}

struct tg_stream *tg_ss_strip(struct tg_stream *s)
{
    struct tg_stream *lower = s->lower;
    assert(tg_ss_is(s) && !tg_stream_is_metered(s));
    tg_buf_put(&s->reactor->pool, s->ahead);
    struct tg_hold *holds = tg_stream_take_holds(s);
    if (holds != NULL)
        tg_hold_release(&holds);
    free(s->extras);
    lower->on_ready = NULL;
    tg_stream_want(lower, 0);
    let_go(tg_ss_of(s));
    return lower;
}
