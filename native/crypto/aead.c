#include "crypto/aead.h"

#include "base/mem.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct tg_aead {
    EVP_CIPHER_CTX *ctx;
    enum tg_aead_kind kind;
    uint8_t key[TG_AEAD_KEY_MAX]; /* XChaCha only: each message has a key of its own */
};

size_t tg_aead_key_size(enum tg_aead_kind kind)
{
    static const uint8_t sizes[] = {
        [TG_AEAD_AES_128_GCM] = 16,       [TG_AEAD_AES_192_GCM] = 24,
        [TG_AEAD_AES_256_GCM] = 32,       [TG_AEAD_CHACHA20_POLY1305] = 32,
        [TG_AEAD_XCHACHA20_POLY1305] = 32,
    };
    return sizes[kind];
}

size_t tg_aead_nonce_size(enum tg_aead_kind kind)
{
    return kind == TG_AEAD_XCHACHA20_POLY1305 ? 24 : 12;
}

static const EVP_CIPHER *cipher_of(enum tg_aead_kind kind)
{
    switch (kind) {
    case TG_AEAD_AES_128_GCM:
        return EVP_aes_128_gcm();
    case TG_AEAD_AES_192_GCM:
        return EVP_aes_192_gcm();
    case TG_AEAD_AES_256_GCM:
        return EVP_aes_256_gcm();
    default:
        return EVP_chacha20_poly1305();
    }
}

/* The library fails here only when memory or the provider is missing. */
static void must(int result)
{
    if (result != 1)
        abort();
}

static struct tg_aead *make(enum tg_aead_kind kind, const EVP_CIPHER *cipher)
{
    struct tg_aead *a = tg_zalloc(sizeof(*a));
    a->kind = kind;
    a->ctx = EVP_CIPHER_CTX_new();
    if (a->ctx == NULL)
        abort();
    must(EVP_CipherInit_ex(a->ctx, cipher, NULL, NULL, NULL, 1));
    return a;
}

struct tg_aead *tg_aead_new(enum tg_aead_kind kind, const uint8_t *key)
{
    struct tg_aead *a = make(kind, cipher_of(kind));
    if (key != NULL)
        tg_aead_rekey(a, key);
    return a;
}

struct tg_aead *tg_aead_sibling(const struct tg_aead *a)
{
    return make(a->kind, EVP_CIPHER_CTX_get0_cipher(a->ctx));
}

void tg_aead_free(struct tg_aead *a)
{
    if (a == NULL)
        return;
    EVP_CIPHER_CTX_free(a->ctx);
    OPENSSL_cleanse(a->key, sizeof(a->key));
    free(a);
}

void tg_aead_rekey(struct tg_aead *a, const uint8_t *key)
{
    if (a->kind == TG_AEAD_XCHACHA20_POLY1305)
        memcpy(a->key, key, sizeof(a->key));
    else
        must(EVP_CipherInit_ex(a->ctx, NULL, NULL, key, NULL, -1));
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store32(uint8_t *p, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(x >> (8 * i));
}

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void quarter(uint32_t *x, int a, int b, int c, int d)
{
    x[a] += x[b];
    x[d] = rotate(x[d] ^ x[a], 16);
    x[c] += x[d];
    x[b] = rotate(x[b] ^ x[c], 12);
    x[a] += x[b];
    x[d] = rotate(x[d] ^ x[a], 8);
    x[c] += x[d];
    x[b] = rotate(x[b] ^ x[c], 7);
}

/* HChaCha20: the key of one message from the first 16 bytes of its nonce. */
static void derive(const uint8_t *key, const uint8_t *nonce, uint8_t *out)
{
    uint32_t x[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
    for (int i = 0; i < 8; i++)
        x[4 + i] = load32(key + 4 * i);
    for (int i = 0; i < 4; i++)
        x[12 + i] = load32(nonce + 4 * i);
    for (int i = 0; i < 10; i++) {
        quarter(x, 0, 4, 8, 12);
        quarter(x, 1, 5, 9, 13);
        quarter(x, 2, 6, 10, 14);
        quarter(x, 3, 7, 11, 15);
        quarter(x, 0, 5, 10, 15);
        quarter(x, 1, 6, 11, 12);
        quarter(x, 2, 7, 8, 13);
        quarter(x, 3, 4, 9, 14);
    }
    for (int i = 0; i < 4; i++) {
        store32(out + 4 * i, x[i]);
        store32(out + 16 + 4 * i, x[12 + i]);
    }
}

static void begin(struct tg_aead *a, const uint8_t *nonce, int encrypt)
{
    if (a->kind != TG_AEAD_XCHACHA20_POLY1305) {
        must(EVP_CipherInit_ex(a->ctx, NULL, NULL, NULL, nonce, encrypt));
        return;
    }
    uint8_t key[32], rest[12] = { 0 };
    derive(a->key, nonce, key);
    memcpy(rest + 4, nonce + 16, 8);
    must(EVP_CipherInit_ex(a->ctx, NULL, NULL, key, rest, encrypt));
    OPENSSL_cleanse(key, sizeof(key));
}

static void put_head(struct tg_aead *a, struct tg_aead_head head)
{
    int n;
    if (head.len > 0)
        must(EVP_CipherUpdate(a->ctx, NULL, &n, head.data, (int)head.len));
}

void tg_aead_seal_with(struct tg_aead *a, const uint8_t *nonce, struct tg_aead_head head,
                       const struct iovec *parts, int count, uint8_t *out)
{
    int n;
    begin(a, nonce, 1);
    put_head(a, head);
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len == 0)
            continue;
        must(EVP_EncryptUpdate(a->ctx, out, &n, parts[i].iov_base, (int)parts[i].iov_len));
        out += parts[i].iov_len;
    }
    must(EVP_EncryptFinal_ex(a->ctx, out, &n));
    must(EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, TG_AEAD_TAG, out));
}

void tg_aead_seal(struct tg_aead *a, const uint8_t *nonce, const struct iovec *parts, int count,
                  uint8_t *out)
{
    tg_aead_seal_with(a, nonce, (struct tg_aead_head){ NULL, 0 }, parts, count, out);
}

void tg_aead_seal_one(struct tg_aead *a, const uint8_t *nonce, const void *in, size_t len,
                      uint8_t *out)
{
    struct iovec part = { .iov_base = (void *)in, .iov_len = len };
    tg_aead_seal(a, nonce, &part, 1, out);
}

bool tg_aead_open_with(struct tg_aead *a, const uint8_t *nonce, struct tg_aead_head head,
                       const uint8_t *in, const struct iovec *parts, int count)
{
    uint8_t none[TG_AEAD_TAG];
    size_t len = 0;
    int n;
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    begin(a, nonce, 0);
    must(EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, TG_AEAD_TAG, (void *)(in + len)));
    put_head(a, head);
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > 0)
            must(EVP_DecryptUpdate(a->ctx, parts[i].iov_base, &n, in, (int)parts[i].iov_len));
        in += parts[i].iov_len;
    }
    return EVP_DecryptFinal_ex(a->ctx, none, &n) == 1;
}

bool tg_aead_open(struct tg_aead *a, const uint8_t *nonce, const uint8_t *in, size_t len,
                  uint8_t *out)
{
    struct iovec part = { .iov_base = out, .iov_len = len };
    return tg_aead_open_with(a, nonce, (struct tg_aead_head){ NULL, 0 }, in, &part, 1);
}

void tg_nonce_next(uint8_t *nonce, size_t len)
{
    for (size_t i = 0; i < len && ++nonce[i] == 0; i++)
        ;
}
