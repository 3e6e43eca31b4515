#pragma once

/** @file
 * smux, versions 1 and 2, as xtaci/smux speaks it, and yamux, as hashicorp/yamux does.
 *
 * yamux has a window per stream, and half-close.  Of smux:
 *
 * Frames are `VER CMD LEN(u16 LE) SID(u32 LE)` and LEN bytes.  Version 2 has a
 * window per stream; in version 1 a session stops reading when its streams hold
 * `max_receive` bytes, so one stream nobody reads can stop the others.  There is
 * no half-close: the end of one direction is the end of the stream.
 *
 * Streams that have much to write take turns, one frame each.
 */

#include "session/session.h"

#define TG_SMUX_BACKLOG 1024u        /**< streams that wait to be accepted; more are refused */
#define TG_SMUX_FIRST_WINDOW 262144u /**< of version 2, until the peer names its own */

struct tg_smux_options {
    bool client;          /**< which of the two; decides over stream numbers only */
    bool yamux;           /**< that protocol instead */
    uint8_t version;      /**< 1 or 2; both sides must agree */
    uint16_t max_frame;   /**< longest payload we send */
    uint32_t max_receive; /**< bytes the session holds unread; 0: as the protocol needs it */
    uint32_t max_stream;  /**< the window we grant at first, version 2 */
    uint32_t max_streams; /**< streams alive; 0: no limit */
    uint32_t keepalive;   /**< ms between NOPs; 0: none, and no timeout */
    uint32_t timeout;     /**< ms of silence after which the session is dead */
};

#define TG_SMUX_DEFAULTS \
    { \
        .version = 1, .max_frame = 32768, .max_stream = 65536, .keepalive = 10000, .timeout = 30000, \
    }

/** Start a session on `lower`, which it owns from now on.  Out of range options
 * are brought into range. */
struct tg_session *tg_smux_start(struct tg_stream *lower, const struct tg_smux_options *options);
