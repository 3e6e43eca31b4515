#pragma once

/** @file
 * Content codings of HTTP (RFC 9110 8.4.1, RFC 7932, RFC 8878), for bodies that are whole in memory.
 */

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tg_coding {
    TG_CODING_GZIP,
    TG_CODING_DEFLATE, /**< with the header of zlib, as the standard says */
    TG_CODING_BROTLI,
    TG_CODING_ZSTD,
};

/** @return whether there is a coding of this name ("gzip", "x-gzip", "deflate", "br", "zstd"), in lower case */
bool tg_coding_find(const char *name, enum tg_coding *out);

/** What is left of a body. */
struct tg_coding_result {
    uint8_t *data; /**< malloc()ed; NULL when there is nothing */
    size_t len;
    bool whole;    /**< the end was reached; else the input was cut off, or there is more than was asked for */
};

/** Unpack at most `max` bytes.
 * @return 0, or TG_PROTOCOL for what is no such coding; `out` then holds what came before */
int tg_coding_unpack(enum tg_coding coding, const void *in, size_t len, size_t max,
                     struct tg_coding_result *out, struct tg_error *err);

/** Pack.  @return 0 or a negative code; `out` is whole */
int tg_coding_pack(enum tg_coding coding, const void *in, size_t len, struct tg_coding_result *out,
                   struct tg_error *err);
