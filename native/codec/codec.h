#pragma once

/** @file
 * What every wire format has in common.
 *
 * A codec is a set of pure functions over bytes: no I/O, no clock, no global
 * state, nothing allocated before a length was checked.  Decoders are asked
 * again from the first byte when more has arrived, so they keep no state.
 *
 * decode functions have the shape
 *
 *     ssize_t tg_x_decode(const uint8_t *in, size_t len, struct tg_x *out, struct tg_error *err);
 *
 * and return the number of bytes the message takes (> 0), TG_AGAIN when `in`
 * ends before the message does, or TG_PROTOCOL / TG_LIMIT with `err` filled in
 * (layer: the codec's name, op: "decode", detail: what is wrong).  `out` may
 * point into `in` (spans); it is valid only after success and as long as `in`.
 *
 * encode functions have the shape
 *
 *     ssize_t tg_x_encode(const struct tg_x *x, uint8_t *out, size_t size);
 *
 * and return the bytes written, or TG_LIMIT when they do not fit or a field is
 * too long for the format.
 */

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct lua_State;

/** Bytes inside somebody else's buffer; not NUL-terminated. */
struct tg_span {
    const uint8_t *data;
    size_t len;
};

/**
 * A decoder as the bindings see it: Lua gets a pointer to a static one as light
 * userdata and hands it to `stream:receive(decoder)`.
 *
 * `push` decodes `in` and, on success, pushes its results on L (at least one,
 * the first not nil) and stores their number in *results.  It must not raise
 * before decoding has succeeded and must not yield.
 * @return as decode functions above, or 0: a verdict (results are pushed) that consumes nothing
 */
struct tg_decoder {
    const char *name; /**< for errors: "socks5 request" */
    size_t limit;     /**< longest message in bytes; longer input is TG_LIMIT */
    ssize_t (*push)(struct lua_State *L, const uint8_t *in, size_t len, int *results,
                    struct tg_error *err);
};
