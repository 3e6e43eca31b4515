/* SHA-1 through EVP costs more than the sums themselves, and there are ten of them per direction. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/ss_key.h"

#include "base/mem.h"
#include "base/shared.h"
#include "crypto/blake3.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SHA1_SIZE 20u
#define SHA1_BLOCK 64u

static const struct tg_ss_method methods[] = {
    { .name = "aes-128-gcm", .kind = TG_SS_AEAD, .aead = TG_AEAD_AES_128_GCM, .key_len = 16, .salt_len = 16 },
    { .name = "aes-192-gcm", .kind = TG_SS_AEAD, .aead = TG_AEAD_AES_192_GCM, .key_len = 24, .salt_len = 24 },
    { .name = "aes-256-gcm", .kind = TG_SS_AEAD, .aead = TG_AEAD_AES_256_GCM, .key_len = 32, .salt_len = 32 },
    { .name = "chacha20-ietf-poly1305", .kind = TG_SS_AEAD, .aead = TG_AEAD_CHACHA20_POLY1305,
      .key_len = 32, .salt_len = 32 },
    { .name = "xchacha20-ietf-poly1305", .kind = TG_SS_AEAD, .aead = TG_AEAD_XCHACHA20_POLY1305,
      .key_len = 32, .salt_len = 32 },
    { .name = "2022-blake3-aes-128-gcm", .kind = TG_SS_2022, .aead = TG_AEAD_AES_128_GCM,
      .key_len = 16, .salt_len = 16 },
    { .name = "2022-blake3-aes-256-gcm", .kind = TG_SS_2022, .aead = TG_AEAD_AES_256_GCM,
      .key_len = 32, .salt_len = 32 },
    { .name = "2022-blake3-chacha20-poly1305", .kind = TG_SS_2022, .aead = TG_AEAD_CHACHA20_POLY1305,
      .key_len = 32, .salt_len = 32 },
    { .name = "none", .kind = TG_SS_CLEAR, .salt_len = 16 },
    { .name = "dummy", .kind = TG_SS_CLEAR, .salt_len = 16 },
    { .name = "plain", .kind = TG_SS_PLAIN },
    { .name = "aes-128-ctr", .kind = TG_SS_STREAM, .cipher = EVP_aes_128_ctr, .key_len = 16, .salt_len = 16 },
    { .name = "aes-192-ctr", .kind = TG_SS_STREAM, .cipher = EVP_aes_192_ctr, .key_len = 24, .salt_len = 16 },
    { .name = "aes-256-ctr", .kind = TG_SS_STREAM, .cipher = EVP_aes_256_ctr, .key_len = 32, .salt_len = 16 },
    { .name = "aes-128-cfb", .kind = TG_SS_STREAM, .cipher = EVP_aes_128_cfb128, .key_len = 16, .salt_len = 16 },
    { .name = "aes-192-cfb", .kind = TG_SS_STREAM, .cipher = EVP_aes_192_cfb128, .key_len = 24, .salt_len = 16 },
    { .name = "aes-256-cfb", .kind = TG_SS_STREAM, .cipher = EVP_aes_256_cfb128, .key_len = 32, .salt_len = 16 },
    { .name = "camellia-128-cfb", .kind = TG_SS_STREAM, .cipher = EVP_camellia_128_cfb128, .key_len = 16,
      .salt_len = 16 },
    { .name = "camellia-192-cfb", .kind = TG_SS_STREAM, .cipher = EVP_camellia_192_cfb128, .key_len = 24,
      .salt_len = 16 },
    { .name = "camellia-256-cfb", .kind = TG_SS_STREAM, .cipher = EVP_camellia_256_cfb128, .key_len = 32,
      .salt_len = 16 },
    { .name = "chacha20", .kind = TG_SS_STREAM, .cipher = EVP_chacha20, .key_len = 32, .salt_len = 8,
      .counter = 8 },
    { .name = "chacha20-ietf", .kind = TG_SS_STREAM, .cipher = EVP_chacha20, .key_len = 32, .salt_len = 12,
      .counter = 4 },
};

/* What other programs call the same. */
static const struct {
    const char *name, *method;
} aliases[] = {
    { "AEAD_AES_128_GCM", "aes-128-gcm" },
    { "AEAD_AES_192_GCM", "aes-192-gcm" },
    { "AEAD_AES_256_GCM", "aes-256-gcm" },
    { "AEAD_CHACHA20_POLY1305", "chacha20-ietf-poly1305" },
    { "chacha20-poly1305", "chacha20-ietf-poly1305" },
    { "xchacha20-poly1305", "xchacha20-ietf-poly1305" },
};

static bool is_name(const char *known, const char *name, size_t len)
{
    return strlen(known) == len && strncasecmp(known, name, len) == 0;
}

const struct tg_ss_method *tg_ss_method_find(const char *name, size_t len)
{
    for (unsigned i = 0; i < tg_countof(methods); i++)
        if (is_name(methods[i].name, name, len))
            return &methods[i];
    for (unsigned i = 0; i < tg_countof(aliases); i++)
        if (is_name(aliases[i].name, name, len))
            return tg_ss_method_find(aliases[i].method, strlen(aliases[i].method));
    return NULL;
}

const struct tg_ss_method *tg_ss_method_at(unsigned i)
{
    return i < tg_countof(methods) ? &methods[i] : NULL;
}

/* Keys ------------------------------------------------------------------------------------------- */

/* The library fails here only when memory or the provider is missing. */
static void must(int result)
{
    if (result != 1)
        abort();
}

/* EVP_BytesToKey with MD5 and no salt, which is what all programs do with a password. */
static void stretch(const char *password, size_t len, uint8_t *out, size_t out_len)
{
    uint8_t sum[16];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (md == NULL)
        abort();
    for (size_t at = 0; at < out_len;) {
        must(EVP_DigestInit_ex(md, EVP_md5(), NULL));
        if (at > 0)
            must(EVP_DigestUpdate(md, sum, sizeof(sum)));
        must(EVP_DigestUpdate(md, password, len));
        must(EVP_DigestFinal_ex(md, sum, NULL));
        size_t n = out_len - at < sizeof(sum) ? out_len - at : sizeof(sum);
        memcpy(out + at, sum, n);
        at += n;
    }
    EVP_MD_CTX_free(md);
    OPENSSL_cleanse(sum, sizeof(sum));
}

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != 0 ? strchr(digits, c) : NULL;
    if (c == '-' || c == '_') /* the alphabet of URLs */
        return c == '-' ? 62 : 63;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Base64 of exactly `want` bytes.  @return false: `problem` says what is wrong */
static bool read_key(const struct tg_ss_method *m, const char *text, size_t len, uint8_t *out,
                     char problem[TG_SS_PROBLEM])
{
    size_t got = 0, bits = 0;
    uint32_t held = 0;
    while (len > 0 && text[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0) {
            snprintf(problem, TG_SS_PROBLEM,
                     "the password of %s is no base64: it is a key of %u bytes, made by \"openssl rand -base64 %u\"",
                     m->name, m->key_len, m->key_len);
            return false;
        }
        held = held << 6 | (uint32_t)digit;
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        if (got < m->key_len)
            out[got] = (uint8_t)(held >> bits);
        got++;
    }
    if (got == m->key_len)
        return true;
    snprintf(problem, TG_SS_PROBLEM,
             "the key of %s has %zu bytes, it must have %u: \"openssl rand -base64 %u\" makes one",
             m->name, got, m->key_len, m->key_len);
    return false;
}

/* "server:…:user" into identity keys and the user's. */
static bool read_keys(struct tg_ss_key *k, const char *text, size_t len, char problem[TG_SS_PROBLEM])
{
    const struct tg_ss_method *m = k->method;
    const char *colon;
    while ((colon = memchr(text, ':', len)) != NULL) {
        size_t part = (size_t)(colon - text);
        if (k->identities == TG_SS_IDENTITIES || m->aead == TG_AEAD_CHACHA20_POLY1305) {
            snprintf(problem, TG_SS_PROBLEM, k->identities > 0 ? "%s takes %u keys before the user's at most"
                     : "%s has no identities: its password is one key", m->name, TG_SS_IDENTITIES);
            return false;
        }
        if (!read_key(m, text, part, k->identity_key[k->identities], problem))
            return false;
        k->identities++;
        text += part + 1;
        len -= part + 1;
    }
    if (!read_key(m, text, len, k->key, problem))
        return false;
    for (unsigned i = 0; i < k->identities; i++)
        tg_blake3(i + 1 < k->identities ? k->identity_key[i + 1] : k->key, m->key_len, k->identity[i],
                  TG_SS_IDENTITY);
    return true;
}

struct tg_ss_key *tg_ss_key_new(const struct tg_ss_method *method, const char *password, size_t len,
                                char problem[TG_SS_PROBLEM])
{
    struct tg_ss_key *k = tg_zalloc(sizeof(*k));
    k->holders = 1;
    k->method = method;
    if (method->kind == TG_SS_2022 && !read_keys(k, password, len, problem)) {
        tg_ss_key_drop(k);
        return NULL;
    }
    if (method->kind == TG_SS_AEAD || method->kind == TG_SS_STREAM)
        stretch(password, len, k->key, method->key_len);
    k->replay = tg_shared_get(TG_SHARED_REPLAY, "shadowsocks", 11);
    if (method->kind == TG_SS_AEAD || method->kind == TG_SS_2022)
        k->first = tg_aead_new(method->aead, NULL);
    if (method->kind == TG_SS_AEAD)
        k->packet = tg_aead_sibling(k->first);
    else if (method->kind == TG_SS_2022 && method->aead == TG_AEAD_CHACHA20_POLY1305)
        k->packet = tg_aead_new(TG_AEAD_XCHACHA20_POLY1305, k->key);
    k->block = EVP_CIPHER_CTX_new();
    if (k->block == NULL)
        abort();
    must(EVP_CipherInit_ex(k->block, method->key_len == 16 ? EVP_aes_128_ecb() : EVP_aes_256_ecb(),
                           NULL, NULL, NULL, 1));
    return k;
}

struct tg_ss_key *tg_ss_key_hold(struct tg_ss_key *k)
{
    k->holders++;
    return k;
}

void tg_ss_key_drop(struct tg_ss_key *k)
{
    if (k == NULL || --k->holders > 0)
        return;
    for (unsigned i = 0; i < k->user_count; i++)
        free(k->users[i].name);
    if (k->users != NULL)
        OPENSSL_cleanse(k->users, k->user_count * sizeof(*k->users));
    free(k->users);
    tg_shared_put(k->replay);
    tg_aead_free(k->packet);
    tg_aead_free(k->first);
    while (k->spare_count > 0)
        tg_aead_free(k->spare[--k->spare_count]);
    EVP_CIPHER_CTX_free(k->block);
    OPENSSL_cleanse(k, sizeof(*k));
    free(k);
}

/* Users ------------------------------------------------------------------------------------------ */

/* @return the first user that is not before `identity` */
static unsigned place_of(const struct tg_ss_key *k, const uint8_t *identity)
{
    unsigned low = 0, high = k->user_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (memcmp(k->users[middle].identity, identity, TG_SS_IDENTITY) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct tg_ss_user *tg_ss_user_find(const struct tg_ss_key *k, const uint8_t identity[TG_SS_IDENTITY])
{
    unsigned i = place_of(k, identity);
    bool found = i < k->user_count && memcmp(k->users[i].identity, identity, TG_SS_IDENTITY) == 0;
    return found ? &k->users[i] : NULL;
}

bool tg_ss_key_add_user(struct tg_ss_key *k, const char *name, const char *password, size_t len,
                        char problem[TG_SS_PROBLEM])
{
    const struct tg_ss_method *m = k->method;
    struct tg_ss_user user;
    if (m->kind != TG_SS_2022 || m->aead == TG_AEAD_CHACHA20_POLY1305 || k->identities > 0) {
        snprintf(problem, TG_SS_PROBLEM, k->identities > 0 ?
                 "a server with users has one key of its own, not several" :
                 "users need the method 2022-blake3-aes-128-gcm or 2022-blake3-aes-256-gcm, not %s", m->name);
        return false;
    }
    if (!read_key(m, password, len, user.key, problem))
        return false;
    tg_blake3(user.key, m->key_len, user.identity, TG_SS_IDENTITY);
    unsigned i = place_of(k, user.identity);
    if (tg_ss_user_find(k, user.identity) != NULL) {
        snprintf(problem, TG_SS_PROBLEM, "the users %.60s and %.60s have the same key", k->users[i].name, name);
        return false;
    }
    struct tg_ss_user *users = realloc(k->users, (k->user_count + 1) * sizeof(*users));
    if (users == NULL || (user.name = strdup(name)) == NULL)
        abort();
    memmove(users + i + 1, users + i, (k->user_count - i) * sizeof(*users));
    users[i] = user;
    k->users = users;
    k->user_count++;
    return true;
}

/* Subkeys ---------------------------------------------------------------------------------------- */

/* HMAC-SHA1 with its key in it. */
struct hmac {
    SHA_CTX inner, outer;
};

static void hmac_key(struct hmac *h, const uint8_t *key, size_t len)
{
    uint8_t inner[SHA1_BLOCK], outer[SHA1_BLOCK];
    assert(len <= SHA1_BLOCK);
    memset(inner, 0x36, sizeof(inner));
    memset(outer, 0x5c, sizeof(outer));
    for (size_t i = 0; i < len; i++) {
        inner[i] ^= key[i];
        outer[i] ^= key[i];
    }
    must(SHA1_Init(&h->inner));
    must(SHA1_Update(&h->inner, inner, sizeof(inner)));
    must(SHA1_Init(&h->outer));
    must(SHA1_Update(&h->outer, outer, sizeof(outer)));
}

static void hmac(const struct hmac *h, const void *data, size_t len, uint8_t out[SHA1_SIZE])
{
    SHA_CTX sum = h->inner;
    must(SHA1_Update(&sum, data, len));
    must(SHA1_Final(out, &sum));
    sum = h->outer;
    must(SHA1_Update(&sum, out, SHA1_SIZE));
    must(SHA1_Final(out, &sum));
}

/* HKDF-SHA1 (RFC 5869) of at most two blocks. */
static void derive(const struct tg_ss_key *k, const uint8_t *key, const uint8_t *salt, size_t salt_len,
                   uint8_t *out)
{
    static const char info[] = "ss-subkey";
    size_t want = k->method->key_len, have = 0;
    uint8_t prk[SHA1_SIZE], block[SHA1_SIZE], text[SHA1_SIZE + sizeof(info)];
    struct hmac h;
    hmac_key(&h, salt, salt_len);
    hmac(&h, key, want, prk);
    hmac_key(&h, prk, SHA1_SIZE);
    for (uint8_t i = 1; have < want; i++) {
        uint8_t *at = text;
        if (i > 1) {
            memcpy(at, block, SHA1_SIZE);
            at += SHA1_SIZE;
        }
        memcpy(at, info, sizeof(info) - 1);
        at[sizeof(info) - 1] = i;
        hmac(&h, text, (size_t)(at - text) + sizeof(info), block);
        size_t n = want - have < SHA1_SIZE ? want - have : SHA1_SIZE;
        memcpy(out + have, block, n);
        have += n;
    }
}

/* BLAKE3 over key and salt. */
static void mix(const struct tg_ss_key *k, const char *context, const uint8_t *key, const uint8_t *salt,
                size_t len, uint8_t *out)
{
    uint8_t material[TG_AEAD_KEY_MAX + TG_SS_SALT_MAX];
    size_t key_len = k->method->key_len;
    memcpy(material, key, key_len);
    memcpy(material + key_len, salt, len);
    tg_blake3_derive(context, material, key_len + len, out, key_len);
    OPENSSL_cleanse(material, sizeof(material));
}

void tg_ss_subkey(struct tg_ss_key *k, const uint8_t *key, const uint8_t *salt, size_t len,
                  uint8_t out[TG_AEAD_KEY_MAX])
{
    assert(len <= TG_SS_SALT_MAX);
    if (k->method->kind == TG_SS_2022)
        mix(k, "shadowsocks 2022 session subkey", key, salt, len, out);
    else
        derive(k, key, salt, len, out);
}

struct tg_aead *tg_ss_cipher(struct tg_ss_key *k, const uint8_t *key, const uint8_t *salt, size_t len)
{
    uint8_t subkey[TG_AEAD_KEY_MAX];
    tg_ss_subkey(k, key, salt, len, subkey);
    struct tg_aead *a = k->spare_count > 0 ? k->spare[--k->spare_count] : tg_aead_sibling(k->first);
    tg_aead_rekey(a, subkey);
    OPENSSL_cleanse(subkey, sizeof(subkey));
    return a;
}

void tg_ss_cipher_put(struct tg_ss_key *k, struct tg_aead *a)
{
    if (a != NULL && k->spare_count < TG_SS_SPARE)
        k->spare[k->spare_count++] = a;
    else
        tg_aead_free(a);
}

void tg_ss_identity_key(const struct tg_ss_key *k, const uint8_t *key, const uint8_t *salt,
                        uint8_t out[TG_AEAD_KEY_MAX])
{
    mix(k, "shadowsocks 2022 identity subkey", key, salt, k->method->salt_len, out);
}

void tg_ss_block(struct tg_ss_key *k, bool encrypt, const uint8_t *key, const uint8_t in[16],
                 uint8_t out[16])
{
    int n;
    must(EVP_CipherInit_ex(k->block, NULL, NULL, key, NULL, encrypt));
    EVP_CIPHER_CTX_set_padding(k->block, 0);
    must(EVP_CipherUpdate(k->block, out, &n, in, 16));
}

/* Small things ----------------------------------------------------------------------------------- */

uint64_t tg_ss_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec;
}

bool tg_ss_timely(const uint8_t time[8])
{
    uint64_t theirs = tg_u64(time), ours = tg_ss_time();
    return theirs > ours ? theirs - ours <= TG_SS_SKEW : ours - theirs <= TG_SS_SKEW;
}

void tg_ss_random(void *out, size_t len)
{
    if (len > 0)
        must(RAND_bytes(out, (int)len));
}

void tg_ss_salt(struct tg_ss_key *k, uint8_t *out)
{
    size_t len = k->method->salt_len;
    if (k->salts_left < len) {
        tg_ss_random(k->salts, sizeof(k->salts));
        k->salts_left = sizeof(k->salts);
    }
    k->salts_left -= len;
    memcpy(out, k->salts + k->salts_left, len);
}

void tg_put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

uint64_t tg_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}
