#pragma once

/** @file
 * WebSocket frames (RFC 6455 5): their heads, their masking, and the answer to a
 * handshake's key.  Payloads are the caller's: a frame may be far longer than
 * any buffer.
 */

#include "codec/codec.h"

#include <stdbool.h>

#define TG_WS_HEAD_MAX 14u
#define TG_WS_CONTROL_MAX 125u /**< payload of a control frame */
#define TG_WS_ACCEPT_LEN 28u   /**< characters of an answer to a key */

enum tg_ws_opcode {
    TG_WS_CONTINUATION = 0,
    TG_WS_TEXT = 1,
    TG_WS_BINARY = 2,
    TG_WS_CLOSE = 8,
    TG_WS_PING = 9,
    TG_WS_PONG = 10,
};

struct tg_ws_head {
    uint64_t len;   /**< of the payload */
    uint8_t opcode; /**< enum tg_ws_opcode */
    bool fin;       /**< the message ends with this frame */
    bool packed;    /**< RSV1: the message is compressed (RFC 7692) */
    bool masked;
    uint8_t mask[4];
};

static inline bool tg_ws_is_control(const struct tg_ws_head *h)
{
    return (h->opcode & 8) != 0;
}

/** Read the head of a frame.  @return its bytes, 2 to TG_WS_HEAD_MAX */
ssize_t tg_ws_head_decode(const uint8_t *in, size_t len, struct tg_ws_head *out,
                          struct tg_error *err);

/** Write a head; `out` has room for TG_WS_HEAD_MAX.  @return its bytes */
size_t tg_ws_head_encode(const struct tg_ws_head *h, uint8_t *out);

/** Mask or unmask: both are the same.  `out` may be `in` or lie before it, also overlapping.
 * @param at how many bytes of the payload come before `in` */
void tg_ws_mask(uint8_t *out, const uint8_t *in, size_t len, const uint8_t mask[4], uint64_t at);

/** The server's answer to a Sec-WebSocket-Key; TG_WS_ACCEPT_LEN characters and a NUL. */
void tg_ws_accept(const char *key, size_t len, char out[TG_WS_ACCEPT_LEN + 1]);
