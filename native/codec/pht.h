#pragma once

/** @file
 * Bodies of the plain HTTP tunnel: lines of base64, in whatever framing of HTTP/1 they come.
 */

#include "codec/chunks.h"

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TG_PHT_LINE_MAX 65536u /**< bytes of a line without its end */

#define TG_PHT_CHUNKED UINT64_MAX      /**< as a length: the body is chunked */
#define TG_PHT_CLOSE (UINT64_MAX - 1u) /**< as a length: it ends with the connection */

/** A body on its way. */
struct tg_pht {
    struct tg_chunks chunks;
    uint64_t left;  /**< bytes to come, or one of the two above */
    uint32_t most;  /**< lines that count; the others are passed over */
    uint32_t lines; /**< whole lines so far, empty ones as well */
    bool over;      /**< the body has ended */
    bool foreign;   /**< a line was no base64; it and what follows are passed over */
    uint8_t *line;  /**< what has come of the next line */
    size_t held, cap;
};

void tg_pht_begin(struct tg_pht *p, uint64_t length, uint32_t most);

/** Frees what it holds. */
void tg_pht_end(struct tg_pht *p);

/** Take in the next bytes, which are overwritten; none: the connection has ended.
 * @param out room for what is held and for `len` bytes; *out_len: what the lines said
 * @return how many bytes belong to the body, or TG_PROTOCOL, TG_EOF or TG_LIMIT with `err` */
ssize_t tg_pht_feed(struct tg_pht *p, uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                    struct tg_error *err);
