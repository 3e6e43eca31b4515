#pragma once

/** @file
 * Methods and keys of Shadowsocks: what TCP (stream/ss.h) and UDP (packet/ss_udp.h) share.
 */

#include "base/replay.h"
#include "crypto/aead.h"

#include <openssl/evp.h>

#define TG_SS_SALT_MAX 32u
#define TG_SS_IDENTITIES 8u /**< most keys before the user's own */
#define TG_SS_IDENTITY 16u  /**< bytes by which a user is named on the wire */
#define TG_SS_SKEW 30       /**< seconds two clocks may differ */

enum tg_ss_kind {
    TG_SS_AEAD,   /**< SIP004: salt, encrypted chunks */
    TG_SS_2022,   /**< SIP022, SIP023 */
    TG_SS_STREAM, /**< legacy: no authentication */
    TG_SS_CLEAR,  /**< gost's `none`: the framing of AEAD without encryption */
    TG_SS_PLAIN,  /**< everybody else's `none`: no framing either */
};

struct tg_ss_method {
    const char *name;
    enum tg_ss_kind kind;
    enum tg_aead_kind aead;               /**< AEAD, 2022 */
    const EVP_CIPHER *(*cipher)(void);    /**< STREAM */
    uint8_t key_len, salt_len, counter;   /**< counter: zero bytes before the salt in the library's IV */
};

/** Names are compared without case; the AEAD ones may be written in the form AEAD_AES_128_GCM.
 * @return NULL: unknown */
const struct tg_ss_method *tg_ss_method_find(const char *name, size_t len);
/** @return the i-th one, NULL past the last */
const struct tg_ss_method *tg_ss_method_at(unsigned i);

struct tg_ss_user {
    uint8_t identity[TG_SS_IDENTITY]; /**< begin of the hash of the key */
    uint8_t key[TG_AEAD_KEY_MAX];
    char *name;
};

#define TG_SS_SPARE 64u
#define TG_SS_SALTS 1024u

/** A method with keys; counted, of one thread. */
struct tg_ss_key {
    unsigned holders;
    const struct tg_ss_method *method;
    uint8_t key[TG_AEAD_KEY_MAX];       /**< of the user; of a server with users: its own */
    unsigned identities;                /**< client: keys that come first */
    uint8_t identity_key[TG_SS_IDENTITIES][TG_AEAD_KEY_MAX];
    uint8_t identity[TG_SS_IDENTITIES][TG_SS_IDENTITY]; /**< names of the key that follows each */
    struct tg_ss_user *users;           /**< sorted by identity; NULL: one user */
    unsigned user_count;
    struct tg_replay *replay;
    struct tg_aead *first;   /**< what others are made like; NULL without AEAD */
    struct tg_aead *packet;  /**< for packets that have a key each */
    EVP_CIPHER_CTX *block;   /**< AES of one block, any key */
    struct tg_aead *spare[TG_SS_SPARE]; /**< nobody's: making one costs more than a new key */
    unsigned spare_count;
    size_t salts_left;
    uint8_t salts[TG_SS_SALTS]; /**< random bytes, the first `salts_left` of them unused */
};

#define TG_SS_PROBLEM 200 /**< room for every text below */

/** Make keys of what the operator wrote.
 * @param password with 2022 methods base64 keys, "server:…:user" for a client
 * @return NULL: `problem` says what to change */
struct tg_ss_key *tg_ss_key_new(const struct tg_ss_method *method, const char *password, size_t len,
                                char problem[TG_SS_PROBLEM]);
/** Let a server have one more user.  @return false: `problem` says why not */
bool tg_ss_key_add_user(struct tg_ss_key *k, const char *name, const char *password, size_t len,
                        char problem[TG_SS_PROBLEM]);
struct tg_ss_key *tg_ss_key_hold(struct tg_ss_key *k);
/** NULL is allowed */
void tg_ss_key_drop(struct tg_ss_key *k);

/** @return the user with this name on the wire, or NULL */
const struct tg_ss_user *tg_ss_user_find(const struct tg_ss_key *k, const uint8_t identity[TG_SS_IDENTITY]);

/** The key of one connection or packet. `salt` has `len` bytes. */
void tg_ss_subkey(struct tg_ss_key *k, const uint8_t *key, const uint8_t *salt, size_t len,
                  uint8_t out[TG_AEAD_KEY_MAX]);
/** A cipher with the key that tg_ss_subkey() says; to be given back. */
struct tg_aead *tg_ss_cipher(struct tg_ss_key *k, const uint8_t *key, const uint8_t *salt, size_t len);
/** NULL is allowed. */
void tg_ss_cipher_put(struct tg_ss_key *k, struct tg_aead *a);
/** A fresh salt, of the method's length. */
void tg_ss_salt(struct tg_ss_key *k, uint8_t *out);
/** SIP023: the key under which an identity is written in a stream. */
void tg_ss_identity_key(const struct tg_ss_key *k, const uint8_t *key, const uint8_t *salt,
                        uint8_t out[TG_AEAD_KEY_MAX]);
/** One block of AES with a key of the method's length. */
void tg_ss_block(struct tg_ss_key *k, bool encrypt, const uint8_t *key, const uint8_t in[16],
                 uint8_t out[16]);

/** Seconds since 1970, as SIP022 wants them. */
uint64_t tg_ss_time(void);
/** @return whether a peer's time (8 bytes) is near enough */
bool tg_ss_timely(const uint8_t time[8]);

void tg_ss_random(void *out, size_t len);
void tg_put_u64(uint8_t *p, uint64_t v);
uint64_t tg_u64(const uint8_t *p);
