#pragma once

/** @file
 * simple-obfs' TLS mode: data in records that look like TLS, behind what looks like a handshake.
 * Nothing is encrypted.
 *
 * A side's opening travels with its first bytes.  When a client's user only listens, it goes out
 * without any after a moment, so that servers may speak first.
 */

#include "stream/stream.h"

/** Put the client's end on `lower`, which it owns from now on.  `host` (at most 255 bytes, copied)
 * is the server name that is shown. */
struct tg_stream *tg_obfs_tls_client(struct tg_stream *lower, const char *host, size_t len);

/** The server's end, likewise. */
struct tg_stream *tg_obfs_tls_server(struct tg_stream *lower);
