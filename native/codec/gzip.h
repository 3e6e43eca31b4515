#pragma once

/** @file
 * A whole text in one gzip member (RFC 1952).
 */

#include <stddef.h>
#include <stdint.h>

/** @return malloc()ed bytes, the caller's to free, and *out_len; NULL: no memory, or over 1 GiB */
uint8_t *tg_gzip(const void *data, size_t len, size_t *out_len);
