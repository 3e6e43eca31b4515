#pragma once

/** @file
 * gost's gRPC tunnel: a byte stream in messages `Chunk { bytes data = 1; }`, each behind the five
 * bytes of gRPC, over a stream of HTTP/2.
 *
 * One write is one message.  Nothing is copied: a message whose bytes did not all go out is
 * continued by the next write, which brings them again.  The end of a client's output is
 * END_STREAM, of a server's the trailer `grpc-status: 0`.
 */

#include "stream/stream.h"

#define TG_GRPC_MESSAGE_MAX 4194304u /**< longest message taken: gRPC's default */

/** @param lower a stream of HTTP/2 whose request was sent (client) or answered (server); owned
 * from now on */
struct tg_stream *tg_h2_grpc_open(struct tg_stream *lower, bool client);
