#pragma once

/** @file
 * A datagram endpoint with one peer as a stream: each writev() is a datagram,
 * each read() takes one, and what does not fit into the reader's buffer is lost.
 */

#include "packet/packet.h"
#include "stream/stream.h"

/** `packet` is owned from now on.  The stream is OPEN at once and never ends by itself,
 * unless the endpoint does. */
struct tg_stream *tg_packet_stream(struct tg_packet *packet);

/** Take the endpoint out of such a stream, which is gone then.  @return NULL: it is another kind of stream */
struct tg_packet *tg_packet_stream_take(struct tg_stream *s);
