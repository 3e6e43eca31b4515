#pragma once

/** @file
 * Base64 (RFC 4648), with the standard alphabet and with the one for names.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** The digits that `n` bytes become, padding included. */
#define TG_BASE64_LEN(n) (((n) + 2) / 3 * 4)

/** Encode; `out` has room for TG_BASE64_LEN(len).
 * @param url the alphabet for names, and no padding
 * @return how much of `out` is used */
size_t tg_base64_encode(const uint8_t *in, size_t len, bool url, char *out);

/** Decode; `out` has room for `len` bytes and may be `in`.  Padding is required with the
 * standard alphabet and foreign with the other.
 * @return how much of `out` is used, -1: that is no base64 */
ssize_t tg_base64_decode(const char *in, size_t len, bool url, uint8_t *out);
