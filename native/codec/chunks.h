#pragma once

/** @file
 * Finds the end of a chunked body (RFC 9112 7.1) as its bytes pass by.  Strict:
 * no bare CR or LF, no control characters, bounded chunk lines and trailers, so
 * that nobody behind us can see the end elsewhere.
 */

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TG_CHUNK_LINE_MAX 4096u     /**< size, extensions */
#define TG_CHUNK_TRAILERS_MAX 16384u /**< all trailers together */

/** All zero to begin. */
struct tg_chunks {
    uint64_t left;   /**< data bytes still to come in this chunk */
    uint32_t line;   /**< length so far of the line, or of all trailers */
    uint32_t trailers; /**< with `data_len`: bytes of trailer lines that the last scan left behind the data */
    uint8_t state;   /**< of chunks.c */
    uint8_t digits;
};

/** Look at the next bytes.  With `data_len`, what is neither chunk data nor a trailer is squeezed
 * out of `in` and the length of the data stored there; trailers, and the empty line, stay behind it.
 * @return how many of them belong to the body, or TG_PROTOCOL or TG_LIMIT with `err` */
ssize_t tg_chunks_scan(struct tg_chunks *c, uint8_t *in, size_t len, size_t *data_len,
                       struct tg_error *err);

/** @return whether the last byte of the body was seen */
bool tg_chunks_done(const struct tg_chunks *c);

/** @return bytes that follow for certain before the body can end */
uint64_t tg_chunks_left(const struct tg_chunks *c);
