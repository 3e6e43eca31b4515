#pragma once

/** @file
 * A byte stream over a WebSocket (RFC 6455), client or server, after the
 * handshake: the concatenation of the messages' payloads.
 *
 * As gost does it, the end of one direction is the end of the layer below in
 * that direction.  Close frames are sent only in answer to one, and to a peer that
 * breaks the rules (1002), as far as `lower` takes it at once; one that comes in
 * ends both directions.  Pings are answered while somebody reads.
 */

#include "stream/stream.h"

struct tg_ws_options {
    bool client;        /**< which of the two: a client masks what it sends */
    bool packed;        /**< permessage-deflate without context takeover was agreed on (RFC 7692) */
    uint32_t keepalive; /**< ms between pings; 0: none.  Silence for twice as long is a failure */
};

/** Put the layer on `lower`, which it owns from now on.  @return never NULL, OPEN */
struct tg_stream *tg_ws_start(struct tg_stream *lower, const struct tg_ws_options *options);
