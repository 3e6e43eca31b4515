#include "stream/tls_record.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

/* HKDF-Expand-Label() with an empty context, of one block at the most. */
static void expand(const struct tg_tls_keys *k, const char *label, uint8_t *out, size_t len)
{
    uint8_t info[40] = { 0, (uint8_t)len }, block[EVP_MAX_MD_SIZE];
    size_t label_len = strlen(label), at = 2;
    const EVP_MD *md = k->secret_len == 48 ? EVP_sha384() : EVP_sha256();
    info[at++] = (uint8_t)(6 + label_len);
    memcpy(info + at, "tls13 ", 6);
    memcpy(info + at + 6, label, label_len);
    at += 6 + label_len;
    info[at++] = 0; /* no context */
    info[at++] = 1; /* the first block */
    if (HMAC(md, k->secret, k->secret_len, info, at, block, NULL) == NULL)
        abort();
    memcpy(out, block, len);
    OPENSSL_cleanse(block, sizeof(block));
}

static void derive(struct tg_tls_keys *k)
{
    uint8_t key[TG_AEAD_KEY_MAX];
    expand(k, "key", key, tg_aead_key_size(k->kind));
    expand(k, "iv", k->iv, sizeof(k->iv));
    tg_aead_rekey(k->aead, key);
    OPENSSL_cleanse(key, sizeof(key));
}

bool tg_tls_keys_open(struct tg_tls_keys *k, uint16_t suite, const uint8_t *secret, size_t len, uint64_t number)
{
    static const enum tg_aead_kind kinds[] = {
        TG_AEAD_AES_128_GCM, TG_AEAD_AES_256_GCM, TG_AEAD_CHACHA20_POLY1305
    };
    if (suite < 0x1301 || suite > 0x1303 || len != (suite == 0x1302 ? 48 : 32))
        return false;
    memcpy(k->secret, secret, len);
    k->secret_len = (uint8_t)len;
    k->kind = (uint8_t)kinds[suite - 0x1301];
    k->aead = tg_aead_new(k->kind, NULL);
    k->number = number;
    derive(k);
    return true;
}

void tg_tls_keys_update(struct tg_tls_keys *k)
{
    expand(k, "traffic upd", k->secret, k->secret_len);
    derive(k);
    k->number = 0;
}

void tg_tls_keys_close(struct tg_tls_keys *k)
{
    tg_aead_free(k->aead);
    OPENSSL_cleanse(k, sizeof(*k));
}

static void next_nonce(struct tg_tls_keys *k, uint8_t *nonce)
{
    memcpy(nonce, k->iv, sizeof(k->iv));
    for (int i = 0; i < 8; i++)
        nonce[11 - i] ^= (uint8_t)(k->number >> (8 * i));
    k->number++;
}

size_t tg_tls_seal(struct tg_tls_keys *k, enum tg_tls_type type, const struct iovec *parts, int count, uint8_t *out)
{
    struct iovec all[TG_TLS_PARTS_MAX + 1];
    uint8_t nonce[12], last = (uint8_t)type;
    size_t len = 0;
    assert(count <= TG_TLS_PARTS_MAX);
    for (int i = 0; i < count; i++) {
        all[i] = parts[i];
        len += parts[i].iov_len;
    }
    assert(len <= TG_TLS_PLAIN_MAX);
    all[count] = (struct iovec){ &last, 1 };
    size_t sealed = len + 1 + TG_AEAD_TAG;
    uint8_t head[TG_TLS_HEAD] = { TG_TLS_DATA, 3, 3, (uint8_t)(sealed >> 8), (uint8_t)sealed };
    memcpy(out, head, sizeof(head));
    next_nonce(k, nonce);
    tg_aead_seal_with(k->aead, nonce, (struct tg_aead_head){ head, sizeof(head) }, all, count + 1, out + TG_TLS_HEAD);
    return TG_TLS_HEAD + sealed;
}

ssize_t tg_tls_measure(const uint8_t *record, size_t len)
{
    if (len > 0 && record[0] != TG_TLS_DATA)
        return -TG_TLS_UNEXPECTED_MESSAGE;
    if (len < TG_TLS_HEAD)
        return 0;
    size_t whole = TG_TLS_HEAD + ((size_t)record[3] << 8 | record[4]);
    if (whole > TG_TLS_WIRE_MAX)
        return -TG_TLS_RECORD_OVERFLOW;
    return whole < TG_TLS_AROUND ? -TG_TLS_BAD_RECORD_MAC : (ssize_t)whole;
}

ssize_t tg_tls_open(struct tg_tls_keys *k, const uint8_t *record, uint8_t *out, uint8_t *type)
{
    uint8_t nonce[12], head[TG_TLS_HEAD];
    size_t len = tg_tls_room(TG_TLS_HEAD + ((size_t)record[3] << 8 | record[4]));
    memcpy(head, record, sizeof(head));
    const struct iovec parts[] = { { out, len }, { type, 1 } };
    next_nonce(k, nonce);
    if (!tg_aead_open_with(k->aead, nonce, (struct tg_aead_head){ head, sizeof(head) }, record + TG_TLS_HEAD, parts, 2))
        return -TG_TLS_BAD_RECORD_MAC;
    while (*type == 0 && len > 0) /* padding; the type is what stands before it */
        *type = out[--len];
    if (*type == 0)
        return -TG_TLS_UNEXPECTED_MESSAGE;
    return len <= TG_TLS_PLAIN_MAX ? (ssize_t)len : -TG_TLS_RECORD_OVERFLOW;
}

void tg_tls_count(struct tg_tls_tally *y, const uint8_t *data, size_t len)
{
    while (len > 0) {
        if (y->left == 0) {
            y->head[y->have++] = *data++;
            len--;
            if (y->have < TG_TLS_HEAD)
                continue;
            y->left = (uint32_t)y->head[3] << 8 | y->head[4];
            y->have = 0;
        }
        size_t n = y->left < len ? y->left : len;
        y->left -= (uint32_t)n;
        y->records += y->left == 0;
        data += n;
        len -= n;
    }
}
