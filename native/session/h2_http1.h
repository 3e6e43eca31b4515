#pragma once

/** @file
 * An exchange of HTTP/2 in the shape of HTTP/1.1, so that one proxy serves both.
 *
 * Of a server's stream who reads gets a request head in absolute form (or CONNECT) and the body behind it,
 * chunked where its length is not known; the response that is written, head and framing, becomes HEADERS and
 * DATA.  Of a client's stream it is the other way round: a request is written, its response read.
 *
 * Interim responses and trailers go along.  A WebSocket by extended CONNECT (RFC 8441) is an upgrade here.
 * Fields that concern one connection only are left out, but for `te: trailers`.  One exchange, then the end of
 * input.  After a successful CONNECT or upgrade the bytes pass as they are.
 */

#include "stream/stream.h"

struct tg_session;

/** @param lower a server's stream of HTTP/2 with its header, not answered; owned from now on,
 * unless the result is NULL: then the request has no shape in HTTP/1.1 */
struct tg_stream *tg_h2_http1_open(struct tg_stream *lower);

/** A client's next exchange.  @param scheme "http" or "https", static
 * @return NULL: see `err`, as tg_h2_prepare() */
struct tg_stream *tg_h2_http1_exchange(struct tg_session *s, const char *scheme, struct tg_error *err);

/** Let `upstream` fail (TG_CLOSED) and be taken back when the peer of `client` breaks its exchange off.
 * Without effect unless they are an exchange of a server and one of a client. */
void tg_h2_http1_tie(struct tg_stream *client, struct tg_stream *upstream);
