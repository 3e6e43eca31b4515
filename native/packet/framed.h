#pragma once

/** @file
 * Datagrams in a byte stream.
 *
 *  - UDP-TUN (gost; SOCKS5 command 0xF3, UDP over HTTP, relay): each datagram
 *    is `LEN u16 | FRAG 0xFF | ATYP ADDR PORT | DATA`.
 *  - u16 (relay CONNECT for UDP): `LEN u16 | DATA`, one destination.
 *
 * What the stream does not take at once waits in a queue of TG_FRAMED_QUEUE
 * bytes; datagrams beyond are dropped, never parts of one.
 */

#include "packet/packet.h"
#include "stream/stream.h"

#define TG_FRAMED_QUEUE (256u * 1024u)

enum tg_framing {
    TG_FRAMING_TUN,
    TG_FRAMING_U16,
};

/** Put an endpoint on a stream, which it owns from now on.  The end of the
 * stream is the end of the endpoint.
 * @param fixed the one destination, copied; NULL: datagrams carry addresses (UDP-TUN only) */
struct tg_packet *tg_framed_open(struct tg_stream *stream, enum tg_framing framing,
                                 const struct tg_peer *fixed);
