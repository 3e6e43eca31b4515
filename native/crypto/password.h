#pragma once

/** @file
 * Hashes of passwords, as other programs store them: bcrypt ("$2b$"), SHA-crypt
 * ("$5$", "$6$") and Argon2 ("$argon2id$", "$argon2i$", "$argon2d$").
 */

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_PASSWORD_HASH_MAX 512u  /**< bytes of a stored hash */
#define TG_PASSWORD_MAX 1024u      /**< bytes of a password that is hashed; longer ones never match */
#define TG_PASSWORD_DIGEST 32u

/* What a stored hash may cost us; more is TG_LIMIT. */
#define TG_BCRYPT_COST_MAX 15u
#define TG_SHACRYPT_ROUNDS_MAX 1000000u
#define TG_ARGON2_KIB_MAX 262144u
#define TG_ARGON2_PASSES_MAX 32u
#define TG_ARGON2_LANES_MAX 16u

/** @return whether a stored text is one of these hashes, rather than a password that looks odd */
bool tg_password_is_hash(const char *stored, size_t len);

/** Does a password match a hash?  Takes milliseconds to seconds, on purpose: not for the thread of a loop.
 * @param stored a hash as told by tg_password_is_hash(), with a NUL after it
 * @return 1 yes, 0 no, TG_LIMIT: the hash costs more than we spend, TG_BUSY: no memory for it,
 *         TG_INVALID: broken */
int tg_password_verify(const char *password, size_t len, const char *stored);

/** HMAC-SHA-256 over a stored hash and a password, by which a match may be remembered without either.
 * @param key TG_PASSWORD_DIGEST bytes */
void tg_password_digest(const uint8_t *key, const char *stored, size_t stored_len,
                        const char *password, size_t len, uint8_t *out);
