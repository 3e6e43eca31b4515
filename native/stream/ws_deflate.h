#pragma once

/** @file
 * permessage-deflate (RFC 7692): messages that are compressed each for itself.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct tg_ws_deflate;

/** What one call of tg_ws_deflate_pack() takes at most, and writes at most. */
#define TG_WS_PACK_MAX 32768u
#define TG_WS_PACKED_MAX (TG_WS_PACK_MAX + 64u)

struct tg_ws_deflate *tg_ws_deflate_new(void);
void tg_ws_deflate_free(struct tg_ws_deflate *z);

/** Compress one message, as short as its parts are long.  @return its length, at most
 * TG_WS_PACKED_MAX */
size_t tg_ws_deflate_pack(struct tg_ws_deflate *z, const struct iovec *iov, int count, size_t len,
                          uint8_t *out);

/** Unpack a piece of a message.  @param used bytes of `in` that are done with
 * @return bytes written, 0: all of `in` is done with and gave no more, or -1: it is broken */
ssize_t tg_ws_deflate_unpack(struct tg_ws_deflate *z, const uint8_t *in, size_t len, size_t *used,
                             uint8_t *out, size_t room);

/** Unpack what is left at the end of a message; again until it answers 0, then comes the next.
 * @return as above */
ssize_t tg_ws_deflate_end(struct tg_ws_deflate *z, uint8_t *out, size_t room);
