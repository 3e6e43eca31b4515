#pragma once

/** @file
 * Authenticated encryption over OpenSSL's EVP: one context with its key, used for many messages.
 * Tags are 16 bytes; there is no associated data where none is asked for.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define TG_AEAD_TAG 16u
#define TG_AEAD_KEY_MAX 32u
#define TG_AEAD_NONCE_MAX 24u

enum tg_aead_kind {
    TG_AEAD_AES_128_GCM,
    TG_AEAD_AES_192_GCM,
    TG_AEAD_AES_256_GCM,
    TG_AEAD_CHACHA20_POLY1305,
    TG_AEAD_XCHACHA20_POLY1305,
};

struct tg_aead;

size_t tg_aead_key_size(enum tg_aead_kind kind);
size_t tg_aead_nonce_size(enum tg_aead_kind kind);

/** @return never NULL; tg_aead_rekey() comes first unless `key` is given */
struct tg_aead *tg_aead_new(enum tg_aead_kind kind, const uint8_t *key);
/** One more of the same kind, without looking the cipher up again; it has no key.  @return never NULL */
struct tg_aead *tg_aead_sibling(const struct tg_aead *a);
/** NULL is allowed; the key is wiped */
void tg_aead_free(struct tg_aead *a);
void tg_aead_rekey(struct tg_aead *a, const uint8_t *key);

/** Encrypt the parts, one after the other, into out[0..sum), and put the tag behind.
 * A part may be where its output goes, but may not overlap it otherwise. */
void tg_aead_seal(struct tg_aead *a, const uint8_t *nonce, const struct iovec *parts, int count,
                  uint8_t *out);
/** The same of one part. */
void tg_aead_seal_one(struct tg_aead *a, const uint8_t *nonce, const void *in, size_t len,
                      uint8_t *out);

/** Decrypt in[0..len) with the tag behind it into `out`, which is `in` or elsewhere.
 * @return false: forged, or another key; `out` is garbage then */
bool tg_aead_open(struct tg_aead *a, const uint8_t *nonce, const uint8_t *in, size_t len,
                  uint8_t *out);

/** Data that goes along in clear and is vouched for as well. */
struct tg_aead_head {
    const void *data;
    size_t len;
};

/** tg_aead_seal() with associated data. */
void tg_aead_seal_with(struct tg_aead *a, const uint8_t *nonce, struct tg_aead_head head,
                       const struct iovec *parts, int count, uint8_t *out);

/** Decrypt with associated data.  What comes out goes into the parts, one after the other, whose sum is the
 * length; the first may be `in` itself.  The tag is behind the input.
 * @return false: forged, or another key; the parts hold garbage then */
bool tg_aead_open_with(struct tg_aead *a, const uint8_t *nonce, struct tg_aead_head head,
                       const uint8_t *in, const struct iovec *parts, int count);

/** Add one to a little-endian counter. */
void tg_nonce_next(uint8_t *nonce, size_t len);
