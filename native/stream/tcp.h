#pragma once

/** @file
 * Streams over sockets: TCP and unix.  The stream's bytes are the descriptor's
 * bytes; half-close works.
 */

#include "base/socket.h"
#include "stream/stream.h"

/** Take over a connected, non-blocking socket; closed with the stream.  A first read is worth trying
 * at once.  `peer`: its other end, or NULL when the kernel has to be asked.
 * @return the stream, the caller's to close; NULL: see `err`, `fd` is still the caller's */
struct tg_stream *tg_tcp_adopt(struct tg_reactor *r, int fd, const struct tg_addr *peer,
                               struct tg_error *err);

/** Begin a connection; it is OPENING until on_ready says otherwise.
 * `options` may be NULL (defaults).  @return the stream; NULL: see `err` */
struct tg_stream *tg_tcp_connect(struct tg_reactor *r, const struct tg_addr *to,
                                 const struct tg_socket_options *options, struct tg_error *err);
