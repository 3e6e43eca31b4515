#pragma once

/** @file
 * A layer for protocols whose client need not wait for the server's answer: the
 * reply in front of the first payload is checked and dropped when the user
 * first reads, and from then on the layer is out of the way (fd() included).
 */

#include "stream/stream.h"

#define TG_LAZY_HEAD_MAX 8

/** What a reply looks like. */
struct tg_lazy_reply {
    const struct tg_stream_ops *ops; /**< their name is in errors: "relay" */
    uint8_t head_len;  /**< bytes in the fixed first part, at most TG_LAZY_HEAD_MAX */
    /** Look at the head.  @return bytes that follow it and are dropped too, or a negative code
     * with `err` (its layer is overwritten) */
    ssize_t (*judge)(const uint8_t *head, struct tg_error *err);
};

/** The reply of the relay protocol: `01 STATUS FEALEN(2)`, then FEALEN bytes. */
extern const struct tg_lazy_reply tg_lazy_relay_reply;

/** Put the layer on `lower`, which it owns from now on. */
struct tg_stream *tg_lazy_reply_open(struct tg_stream *lower, const struct tg_lazy_reply *reply);
