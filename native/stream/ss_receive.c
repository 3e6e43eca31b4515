#include "stream/ss_core.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_FIRST 16384u
#define INPUT_BUSY TG_SS_OUTPUT
#define IDLE_INPUT 2048u /* what is left over and shorter is kept in a small buffer */
#define READS_MAX 16     /* in one call, when nothing comes of them */

static ssize_t spoil(struct tg_ss *w, enum tg_code code, const char *why)
{
    w->broken = why;
    w->broken_code = code;
    return -1;
}

static ssize_t spoil_first(struct tg_ss *w)
{
    return spoil(w, TG_AUTH, w->client
                 ? "cannot decrypt the answer: the server has another password or method"
                 : "cannot decrypt the request: the client has another password or method, or is none of ours");
}

/* Is so much there?  If not, it is what must be read. */
static bool have(struct tg_ss *w, size_t n)
{
    w->wanted = (uint32_t)n;
    w->dry = w->in == NULL || tg_buf_len(w->in) < n;
    return !w->dry;
}

static uint8_t *front(struct tg_ss *w)
{
    return w->in->data + w->in->start;
}

static void consume(struct tg_ss *w, size_t n)
{
    w->in->start += (uint32_t)n;
    if (tg_buf_len(w->in) > 0)
        return;
    tg_buf_put(&w->base.reactor->pool, w->in);
    w->in = NULL;
}

/* Decrypt in[0..len) with its tag, and count. */
static bool unseal(struct tg_ss *w, const uint8_t *in, size_t len, uint8_t *out)
{
    if (w->open == NULL) {
        if (out != in)
            memcpy(out, in, len);
        return true;
    }
    bool good = tg_aead_open(w->open, w->nonce_in, in, len, out);
    tg_nonce_next(w->nonce_in, tg_aead_nonce_size(w->m->aead));
    return good;
}

static bool is_replay(struct tg_ss *w, const uint8_t *salt)
{
    return !w->client && !tg_replay_salt(w->key->replay, salt, w->m->salt_len, w->base.reactor->now);
}

static ssize_t spoil_replay(struct tg_ss *w)
{
    return spoil(w, TG_AUTH, "this request has come before: a replay");
}

/* Whose key is it?  @return false: nobody's */
static bool take_identity(struct tg_ss *w, const uint8_t *salt)
{
    uint8_t key[TG_AEAD_KEY_MAX], identity[TG_SS_IDENTITY];
    tg_ss_identity_key(w->key, w->key->key, salt, key);
    tg_ss_block(w->key, false, key, salt + w->m->salt_len, identity);
    OPENSSL_cleanse(key, sizeof(key));
    w->user = tg_ss_user_find(w->key, identity);
    return w->user != NULL;
}

/* Salt and header of 2022.  @return 0: go on, or < 0 */
static ssize_t take_header(struct tg_ss *w)
{
    size_t salt_len = w->m->salt_len, identity = !w->client && w->key->user_count > 0 ? TG_SS_IDENTITY : 0;
    size_t fixed = TG_SS_FIXED + (w->client ? salt_len : 0);
    if (!have(w, salt_len + identity + fixed + TG_AEAD_TAG))
        return 0;
    uint8_t *salt = front(w), *head = salt + salt_len + identity;
    if (identity > 0 && !take_identity(w, salt))
        return spoil(w, TG_AUTH, "the client has the key of no user, or another key of the server");
    w->open = tg_ss_cipher_for(w, tg_ss_user_key(w), salt);
    if (!unseal(w, head, fixed, head))
        return spoil_first(w);
    if (head[0] != (w->client ? TG_SS_RESPONSE : TG_SS_REQUEST))
        return spoil(w, TG_AUTH, "a message of the wrong direction: somebody sends our own back");
    if (!tg_ss_timely(head + 1))
        return spoil(w, TG_AUTH, "the clocks of the two ends differ by more than 30 seconds");
    if (w->client && memcmp(head + 9, w->request, salt_len) != 0)
        return spoil(w, TG_AUTH, "the answer to another request");
    if (is_replay(w, salt))
        return spoil_replay(w);
    if (!w->client)
        memcpy(w->request, salt, salt_len);
    w->need = tg_u16(head + fixed - 2);
    w->stage = w->client ? TG_SS_AT_PAYLOAD : TG_SS_AT_REST;
    consume(w, salt_len + identity + fixed + TG_AEAD_TAG);
    return 0;
}

static ssize_t take_salt(struct tg_ss *w)
{
    size_t len = w->m->salt_len;
    /* A salt is as good as what it decrypts: replays are known when the first chunk is. */
    size_t first = w->m->kind == TG_SS_AEAD ? 2 + TG_AEAD_TAG : 0;
    if (w->m->kind == TG_SS_2022)
        return take_header(w);
    if (!have(w, len + first))
        return 0;
    if (w->m->kind == TG_SS_STREAM)
        w->decrypt = tg_ss_legacy(w, front(w), false);
    if (w->m->kind == TG_SS_AEAD) {
        uint8_t *head = front(w) + len;
        w->open = tg_ss_cipher_for(w, w->key->key, front(w));
        if (!unseal(w, head, 2, head))
            return spoil_first(w);
        if (is_replay(w, front(w)))
            return spoil_replay(w);
        w->need = tg_u16(head);
        if (w->need > TG_SS_LENGTH_MAX)
            return spoil(w, TG_PROTOCOL, "a chunk is longer than 16383 bytes");
    }
    w->stage = first > 0 ? TG_SS_AT_PAYLOAD : TG_SS_AT_LENGTH;
    consume(w, len + first);
    return 0;
}

/* The rest of a request: leave address and first bytes next to each other. */
static ssize_t take_rest(struct tg_ss *w)
{
    struct tg_target target;
    struct tg_error err;
    if (!have(w, w->need + TG_AEAD_TAG))
        return 0;
    uint8_t *at = front(w);
    if (!unseal(w, at, w->need, at))
        return spoil_first(w);
    ssize_t n = tg_socks_address_decode(at, w->need, &target, &err);
    if (n < 0 || w->need < (size_t)n + 2)
        return spoil(w, TG_PROTOCOL, "the request has no valid address");
    size_t pad = tg_u16(at + n), head = (size_t)n + 2 + pad;
    if (pad > TG_SS_PAD_MAX || head > w->need)
        return spoil(w, TG_PROTOCOL, "the request has no valid padding");
    /* Neither padding nor data is against SIP022, but one of 900 requests of gost is like that. */
    memmove(at + 2 + pad, at, (size_t)n);
    consume(w, 2 + pad);
    w->plain = w->need - (uint32_t)(2 + pad);
    w->behind = TG_AEAD_TAG;
    w->stage = TG_SS_AT_LENGTH;
    return 0;
}

static ssize_t take_length(struct tg_ss *w)
{
    size_t len = 2 + tg_ss_tag_of(w);
    if (!have(w, len))
        return 0;
    if (!unseal(w, front(w), 2, front(w)))
        return spoil(w, TG_PROTOCOL, "a forged or damaged chunk");
    w->need = tg_u16(front(w));
    if (w->m->kind != TG_SS_2022 && w->need > TG_SS_LENGTH_MAX)
        return spoil(w, TG_PROTOCOL, "a chunk is longer than 16383 bytes");
    consume(w, len);
    w->stage = TG_SS_AT_PAYLOAD;
    return 0;
}

/* To where it goes if there is room, else in its place.  @return bytes delivered or < 0 */
static ssize_t take_payload(struct tg_ss *w, uint8_t *buf, size_t room)
{
    size_t tag = tg_ss_tag_of(w);
    if (!have(w, w->need + tag))
        return 0;
    bool direct = room >= w->need;
    if (!unseal(w, front(w), w->need, direct ? buf : front(w)))
        return spoil(w, TG_PROTOCOL, "a forged or damaged chunk");
    w->stage = TG_SS_AT_LENGTH;
    if (direct) {
        if (w->need + tag > 0)
            consume(w, w->need + tag);
        return (ssize_t)w->need;
    }
    w->plain = w->need;
    w->behind = (uint32_t)tag;
    return 0;
}

static size_t take_plain(struct tg_ss *w, uint8_t *buf, size_t room)
{
    size_t n = w->plain < room ? w->plain : room;
    memcpy(buf, front(w), n);
    w->plain -= (uint32_t)n;
    size_t behind = w->plain == 0 ? w->behind : 0;
    consume(w, n + behind);
    return n;
}

/* One step with what is there.  @return bytes delivered, 0 (see `dry`) or < 0: broken */
static ssize_t take(struct tg_ss *w, uint8_t *buf, size_t room)
{
    if (w->plain > 0)
        return (ssize_t)take_plain(w, buf, room);
    switch ((enum tg_ss_stage)w->stage) {
    case TG_SS_AT_SALT:
        return take_salt(w);
    case TG_SS_AT_REST:
        return take_rest(w);
    case TG_SS_AT_LENGTH:
        return take_length(w);
    case TG_SS_AT_PAYLOAD:
        break;
    }
    return take_payload(w, buf, room);
}

/* Read into `in`, where there is room for what is wanted.  @return as read() */
static ssize_t fill(struct tg_ss *w)
{
    struct tg_pool *pool = &w->base.reactor->pool;
    size_t size = w->busy ? INPUT_BUSY : INPUT_FIRST;
    size = w->wanted > size ? w->wanted : size;
    if (w->in == NULL)
        w->in = tg_buf_get(pool, INPUT_FIRST);
    if (!tg_buf_reserve(pool, &w->in, size - tg_buf_len(w->in)))
        return tg_stream_break(&w->base, "read", TG_BUSY, "out of memory");
    size_t room = tg_buf_room(w->in);
    ssize_t n = tg_stream_read(w->base.lower, w->in->data + w->in->end, room);
    if (n > 0)
        w->in->end += (uint32_t)n;
    else
        consume(w, 0); /* back to the pool if it is empty */
    w->busy = (size_t)n == room || (w->busy && n >= (ssize_t)INPUT_FIRST);
    return n;
}

/* Little that waits for long needs no large buffer. */
static void shrink(struct tg_ss *w)
{
    struct tg_pool *pool = &w->base.reactor->pool;
    if (w->in == NULL || w->in->cap <= TG_BUF_SMALL || tg_buf_len(w->in) > IDLE_INPUT)
        return;
    struct tg_buf *small = tg_buf_get(pool, TG_BUF_SMALL);
    small->end = (uint32_t)tg_buf_len(w->in);
    memcpy(small->data, front(w), small->end);
    tg_buf_put(pool, w->in);
    w->in = small;
}

/* Nothing more comes for now, or ever.  @return what read() answers */
static ssize_t nothing_read(struct tg_ss *w, ssize_t n)
{
    if (n == TG_AGAIN) {
        shrink(w);
        return TG_AGAIN;
    }
    if (n < 0)
        return tg_ss_lower_failed(w);
    if (w->in == NULL && w->stage != TG_SS_AT_PAYLOAD && w->stage != TG_SS_AT_REST)
        return 0;
    return tg_stream_break(&w->base, "read", TG_EOF, w->stage == TG_SS_AT_SALT
                           ? "the peer closed the connection inside of its first bytes"
                           : "the peer closed the connection inside of a chunk");
}

static ssize_t read_chunks(struct tg_ss *w, uint8_t *buf, size_t len)
{
    size_t got = 0;
    for (int reads = 0; got < len && w->broken == NULL;) {
        ssize_t n = take(w, buf + got, len - got);
        if (n > 0)
            got += (size_t)n;
        if (n != 0 || !w->dry)
            continue;
        if (reads++ == READS_MAX)
            break;
        n = fill(w);
        if (n > 0)
            continue;
        if (got > 0 && n != TG_AGAIN)
            break; /* said again next time */
        n = nothing_read(w, n);
        return got > 0 ? (ssize_t)got : n;
    }
    if (got > 0)
        return (ssize_t)got;
    if (w->broken != NULL)
        return tg_stream_break(&w->base, "read", w->broken_code, w->broken);
    return TG_AGAIN; /* `lower` is ready still: asked again next turn */
}

static ssize_t read_unframed(struct tg_ss *w, uint8_t *buf, size_t len)
{
    while (w->stage == TG_SS_AT_SALT) {
        take_salt(w);
        if (!w->dry)
            break;
        ssize_t n = fill(w);
        if (n <= 0)
            return nothing_read(w, n);
    }
    size_t got = 0;
    ssize_t n = 0;
    if (w->in != NULL) { /* came with the salt */
        got = tg_buf_len(w->in) < len ? tg_buf_len(w->in) : len;
        memcpy(buf, front(w), got);
        consume(w, got);
    } else {
        n = tg_stream_read(w->base.lower, buf, len);
        if (n <= 0)
            return n == 0 || n == TG_AGAIN ? n : tg_ss_lower_failed(w);
        got = (size_t)n;
    }
    int same = (int)got;
    w->dry = w->in == NULL;
    if (w->decrypt != NULL && EVP_CipherUpdate(w->decrypt, buf, &same, buf, same) != 1)
        abort();
    return (ssize_t)got;
}

ssize_t tg_ss_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tg_ss *w = tg_ss_of(s);
    if (len == 0)
        return TG_AGAIN;
    return tg_ss_has_chunks(w) ? read_chunks(w, buf, len) : read_unframed(w, buf, len);
}
