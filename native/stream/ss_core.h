#pragma once

/** @file
 * Inside of Shadowsocks over a stream: what the layer (ss.c), its sending (ss_send.c) and its receiving half
 * (ss_receive.c) share.
 */

#include "stream/ss.h"

#define TG_SS_LENGTH_MAX 0x3fffu    /* of a chunk, but for 2022 */
#define TG_SS_OUTPUT (132u * 1024u) /* what a relay reads at once, and what is around it */
#define TG_SS_PAD_MAX 900u
#define TG_SS_FIXED 11u /* type, time, length */

enum { TG_SS_REQUEST = 0, TG_SS_RESPONSE = 1 };

/* What comes next. */
enum tg_ss_stage {
    TG_SS_AT_SALT,     /* of 2022 with the header behind it */
    TG_SS_AT_REST,     /* a request's second part: address, padding, first bytes */
    TG_SS_AT_LENGTH,
    TG_SS_AT_PAYLOAD,
};

struct tg_ss {
    struct tg_stream base; /* first: a struct tg_ss is a struct tg_stream */
    struct tg_ss_key *key;
    const struct tg_ss_method *m;
    const struct tg_ss_user *user; /* server: the one whose key it is */
    bool client;

    /* receiving */
    struct tg_aead *open;   /* NULL before the salt, and without AEAD */
    EVP_CIPHER_CTX *decrypt; /* methods without authentication */
    uint8_t nonce_in[TG_AEAD_NONCE_MAX];
    struct tg_buf *in; /* not delivered; NULL: nothing */
    uint32_t plain;    /* of it, decrypted already, at the front */
    uint32_t behind;   /* bytes after those that are done with */
    uint32_t wanted;   /* bytes without which the next stage cannot go on */
    uint32_t need;     /* payload of the chunk at hand */
    uint8_t stage;
    bool dry;          /* more must be read first */
    bool busy;         /* the last read was a full one */
    const char *broken; /* told once what came before has been delivered */
    enum tg_code broken_code;

    /* sending */
    struct tg_aead *seal;   /* NULL before the salt, and without AEAD */
    EVP_CIPHER_CTX *encrypt;
    uint8_t nonce_out[TG_AEAD_NONCE_MAX];
    struct tg_buf *out; /* what `lower` has not taken; NULL: nothing */
    size_t owed;        /* the user's bytes in it, not counted as written yet */
    uint8_t request[TG_SS_SALT_MAX]; /* salt of the request */
    uint8_t *address;   /* client: SOCKS form, until the request has gone */
    uint16_t address_len;
    bool begun;         /* the salt has gone */
    struct tg_timer hold; /* until the request goes without data */
    struct tg_defer defer;
};

static inline struct tg_ss *tg_ss_of(struct tg_stream *s)
{
    return (struct tg_ss *)s;
}

static inline size_t tg_ss_tag_of(const struct tg_ss *w)
{
    return w->m->kind == TG_SS_CLEAR ? 0 : TG_AEAD_TAG;
}

static inline bool tg_ss_has_chunks(const struct tg_ss *w)
{
    return w->m->kind != TG_SS_STREAM && w->m->kind != TG_SS_PLAIN;
}

static inline struct tg_aead *tg_ss_cipher_for(const struct tg_ss *w, const uint8_t *key, const uint8_t *salt)
{
    return tg_ss_cipher(w->key, key, salt, w->m->salt_len);
}

static inline const uint8_t *tg_ss_user_key(const struct tg_ss *w)
{
    return w->user != NULL ? w->user->key : w->key->key;
}

/** Say why `lower` failed.  @return the code */
int tg_ss_lower_failed(struct tg_ss *w);
/** Want of `lower` what the user wants, and room for what is kept. */
void tg_ss_want_lower(struct tg_ss *w);
/** @return a cipher without authentication, begun */
EVP_CIPHER_CTX *tg_ss_legacy(const struct tg_ss *w, const uint8_t *salt, bool encrypt);

/** Write what was kept.  @return 0, TG_AGAIN or a negative code: `lower` has failed */
int tg_ss_try_flush(struct tg_ss *w);
/** A client's request that nothing is written behind yet. */
void tg_ss_send_request(struct tg_ss *w);
ssize_t tg_ss_writev(struct tg_stream *s, const struct iovec *given, int count);
int tg_ss_shutdown(struct tg_stream *s);

ssize_t tg_ss_read(struct tg_stream *s, void *buf, size_t len);
