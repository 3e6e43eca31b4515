#include "stream/ss_core.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_2022 0x8000u /* of those we send: peers have to hold it whole */
#define PARTS_MAX 64
#define HEAD_MAX (TG_SS_SALT_MAX + TG_SS_IDENTITIES * TG_SS_IDENTITY + 2 * TG_AEAD_TAG + TG_SS_FIXED + \
                  TG_SS_SALT_MAX + TG_SOCKS_ADDRESS_MAX + 2 + TG_SS_PAD_MAX + 2 + TG_AEAD_TAG)

static void drop_out(struct tg_ss *w)
{
    tg_buf_put(&w->base.reactor->pool, w->out);
    w->out = NULL;
}

int tg_ss_try_flush(struct tg_ss *w)
{
    while (w->out != NULL) {
        ssize_t n = tg_stream_write(w->base.lower, w->out->data + w->out->start, tg_buf_len(w->out));
        if (n < 0)
            return (int)n;
        w->out->start += (uint32_t)n;
        if (tg_buf_len(w->out) == 0)
            drop_out(w);
    }
    return 0;
}

/* For who writes: a failure is the stream's.  Others leave it to be found by who writes next. */
static int flush(struct tg_ss *w)
{
    int code = tg_ss_try_flush(w);
    return code == 0 || code == TG_AGAIN ? code : tg_ss_lower_failed(w);
}

/* Encrypt and count.  `out` has room for the parts and a tag.  @return behind what was put */
static uint8_t *seal(struct tg_ss *w, const struct iovec *parts, int count, uint8_t *out)
{
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        if (w->seal == NULL && parts[i].iov_len > 0)
            memcpy(out + len, parts[i].iov_base, parts[i].iov_len);
        len += parts[i].iov_len;
    }
    if (w->seal == NULL)
        return out + len;
    tg_aead_seal(w->seal, w->nonce_out, parts, count, out);
    tg_nonce_next(w->nonce_out, tg_aead_nonce_size(w->m->aead));
    return out + len + TG_AEAD_TAG;
}

static uint8_t *seal_one(struct tg_ss *w, const void *data, size_t len, uint8_t *out)
{
    struct iovec part = { .iov_base = (void *)data, .iov_len = len };
    return seal(w, &part, 1, out);
}

static uint8_t *put_chunk(struct tg_ss *w, const struct iovec *parts, int count, size_t len, uint8_t *out)
{
    uint8_t head[2];
    tg_put_u16(head, (unsigned)len);
    out = seal_one(w, head, sizeof(head), out);
    return seal(w, parts, count, out);
}

static uint8_t *put_salt(struct tg_ss *w, uint8_t *out)
{
    tg_ss_salt(w->key, out);
    if (w->client)
        memcpy(w->request, out, w->m->salt_len);
    if (w->m->kind == TG_SS_STREAM)
        w->encrypt = tg_ss_legacy(w, out, true);
    else if (w->m->kind == TG_SS_AEAD || w->m->kind == TG_SS_2022)
        w->seal = tg_ss_cipher_for(w, tg_ss_user_key(w), out);
    w->begun = true;
    return out + w->m->salt_len;
}

static uint8_t *put_identities(struct tg_ss *w, uint8_t *out)
{
    struct tg_ss_key *k = w->key;
    for (unsigned i = 0; i < k->identities; i++) {
        uint8_t key[TG_AEAD_KEY_MAX];
        tg_ss_identity_key(k, k->identity_key[i], w->request, key);
        tg_ss_block(k, true, key, k->identity[i], out);
        OPENSSL_cleanse(key, sizeof(key));
        out += TG_SS_IDENTITY;
    }
    return out;
}

/* The request of 2022, with the first bytes or with padding. */
static uint8_t *put_request(struct tg_ss *w, const struct iovec *parts, int count, size_t len, uint8_t *out)
{
    uint8_t fixed[TG_SS_FIXED], padding[2 + TG_SS_PAD_MAX] = { 0 };
    struct iovec all[PARTS_MAX + 2];
    unsigned pad = 0;
    if (len == 0) {
        tg_ss_random(&pad, sizeof(pad));
        pad = 1 + pad % TG_SS_PAD_MAX;
        tg_ss_random(padding + 2, pad);
    }
    tg_put_u16(padding, pad);
    out = put_identities(w, put_salt(w, out));
    fixed[0] = TG_SS_REQUEST;
    tg_put_u64(fixed + 1, tg_ss_time());
    tg_put_u16(fixed + 9, (unsigned)(w->address_len + 2 + pad + len));
    out = seal_one(w, fixed, sizeof(fixed), out);
    all[0] = (struct iovec){ w->address, w->address_len };
    all[1] = (struct iovec){ padding, 2 + pad };
    memcpy(all + 2, parts, (size_t)count * sizeof(*parts));
    return seal(w, all, count + 2, out);
}

/* The first bytes of this side: salt, headers, address, and what the user writes. */
static uint8_t *put_first(struct tg_ss *w, const struct iovec *parts, int count, size_t len, uint8_t *out)
{
    if (w->m->kind == TG_SS_2022 && w->client)
        return put_request(w, parts, count, len, out);
    out = put_salt(w, out);
    if (w->m->kind == TG_SS_2022) {
        uint8_t fixed[TG_SS_FIXED + TG_SS_SALT_MAX];
        fixed[0] = TG_SS_RESPONSE;
        tg_put_u64(fixed + 1, tg_ss_time());
        memcpy(fixed + 9, w->request, w->m->salt_len);
        tg_put_u16(fixed + 9 + w->m->salt_len, (unsigned)len);
        out = seal_one(w, fixed, TG_SS_FIXED + w->m->salt_len, out);
        return seal(w, parts, count, out);
    }
    struct iovec all[PARTS_MAX + 1];
    all[0] = (struct iovec){ w->address, w->address_len };
    memcpy(all + 1, parts, (size_t)count * sizeof(*parts));
    return put_chunk(w, all, count + 1, w->address_len + len, out);
}

/* The same without chunks; nothing but these bytes is put. */
static uint8_t *put_unframed(struct tg_ss *w, const struct iovec *parts, int count, uint8_t *out)
{
    uint8_t *from;
    if (!w->begun)
        out = put_salt(w, out);
    from = out;
    if (w->address != NULL) {
        memcpy(out, w->address, w->address_len);
        out += w->address_len;
    }
    for (int i = 0; i < count; i++) {
        memcpy(out, parts[i].iov_base, parts[i].iov_len);
        out += parts[i].iov_len;
    }
    int n = (int)(out - from);
    if (w->encrypt != NULL && n > 0 && EVP_CipherUpdate(w->encrypt, from, &n, from, n) != 1)
        abort();
    return out;
}

static void forget_address(struct tg_ss *w)
{
    free(w->address);
    w->address = NULL;
    w->address_len = 0;
    tg_timer_stop(w->base.reactor, &w->hold);
}

/* How much goes into each of the chunks that `left` bytes need: about the same. */
static size_t chunk_size(const struct tg_ss *w, size_t left)
{
    size_t most = w->m->kind == TG_SS_2022 ? LENGTH_2022 : TG_SS_LENGTH_MAX;
    size_t chunks = (left + most - 1) / most;
    return chunks > 1 ? (left + chunks - 1) / chunks : left;
}

/* What has no salt before it yet goes into one chunk, with the address. */
static size_t put_some(struct tg_ss *w, const struct iovec *parts, int count, size_t len, uint8_t **at)
{
    if (!tg_ss_has_chunks(w))
        *at = put_unframed(w, parts, count, *at);
    else if (!w->begun)
        *at = put_first(w, parts, count, len, *at);
    else
        *at = put_chunk(w, parts, count, len, *at);
    if (w->address != NULL)
        forget_address(w);
    return len;
}

/* Encrypt what fits into a buffer, which becomes `out`.  @return how many of the `left` bytes */
static size_t pack(struct tg_ss *w, const struct iovec *given, int count, size_t left)
{
    struct iovec iov[PARTS_MAX], parts[PARTS_MAX];
    const size_t around = 2 + 2 * TG_AEAD_TAG;
    size_t head = w->begun ? 0 : HEAD_MAX, taken = 0;
    size_t most = TG_SS_OUTPUT - head - (TG_SS_OUTPUT / TG_SS_LENGTH_MAX + 2) * around;
    left = left < most ? left : most;
    w->out = tg_buf_get(&w->base.reactor->pool, head + left + (left / TG_SS_LENGTH_MAX + 2) * around);
    if (w->out == NULL)
        abort(); /* TG_SS_OUTPUT bytes at most */
    uint8_t *at = w->out->data;
    count = tg_iov_skip(iov, given, count, 0);
    if (head > 0) {
        size_t first = tg_ss_has_chunks(w) && left > TG_SS_LENGTH_MAX - TG_SOCKS_ADDRESS_MAX
                       ? TG_SS_LENGTH_MAX - TG_SOCKS_ADDRESS_MAX : left;
        taken = put_some(w, parts, tg_iov_head(parts, iov, count, first), first, &at);
        count = tg_iov_skip(iov, iov, count, first);
    }
    size_t size = tg_ss_has_chunks(w) ? chunk_size(w, left - taken) : left;
    while (taken < left) {
        size_t len = left - taken < size ? left - taken : size;
        taken += put_some(w, parts, tg_iov_head(parts, iov, count, len), len, &at);
        count = tg_iov_skip(iov, iov, count, len);
    }
    w->out->end = (uint32_t)(at - w->out->data);
    assert(w->out->end <= w->out->cap);
    return taken;
}

ssize_t tg_ss_writev(struct tg_stream *s, const struct iovec *given, int count)
{
    struct tg_ss *w = tg_ss_of(s);
    struct iovec iov[PARTS_MAX];
    int code = flush(w);
    if (code != 0)
        return code;
    count = tg_iov_skip(iov, given, count < PARTS_MAX ? count : PARTS_MAX, 0);
    size_t left = tg_iov_total(iov, count);
    size_t paid = w->owed < left ? w->owed : left;
    w->owed -= paid;
    count = tg_iov_skip(iov, iov, count, paid);
    left -= paid;
    if (left == 0)
        return (ssize_t)paid;
    while (left > 0) {
        size_t n = pack(w, iov, count, left);
        code = flush(w);
        if (code != 0) {
            w->owed = n;
            break;
        }
        paid += n;
        left -= n;
        count = tg_iov_skip(iov, iov, count, n);
    }
    if (w->out != NULL)
        tg_ss_want_lower(w);
    return paid > 0 ? (ssize_t)paid : code;
}

void tg_ss_send_request(struct tg_ss *w)
{
    if (w->address != NULL && w->out == NULL)
        pack(w, NULL, 0, 0);
}

int tg_ss_shutdown(struct tg_stream *s)
{
    struct tg_ss *w = tg_ss_of(s);
    int code = flush(w);
    if (code == 0) {
        tg_ss_send_request(w);
        code = flush(w);
    }
    if (code != 0)
        return code;
    code = tg_stream_shutdown(s->lower);
    return code < 0 && code != TG_AGAIN ? tg_ss_lower_failed(w) : code;
}
