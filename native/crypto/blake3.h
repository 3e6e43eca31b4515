#pragma once

/** @file
 * BLAKE3 of short inputs: the hash and the key derivation that Shadowsocks 2022 needs.
 */

#include <stddef.h>
#include <stdint.h>

#define TG_BLAKE3_MAX 1024u /**< longest input in bytes: one chunk */
#define TG_BLAKE3_SIZE 32u  /**< longest output */

/** Hash.  `len` is at most TG_BLAKE3_MAX, `out_len` at most TG_BLAKE3_SIZE. */
void tg_blake3(const void *data, size_t len, uint8_t *out, size_t out_len);

/** derive_key(context, material); limits as above.  `context` is a text of at most TG_BLAKE3_MAX bytes. */
void tg_blake3_derive(const char *context, const void *material, size_t len, uint8_t *out,
                      size_t out_len);
