#pragma once

/** @file
 * A request of HTTP/2 in the shape of HTTP/1.1, so that one proxy handler serves both: who reads
 * gets a request head in absolute form (or CONNECT) and the body behind it, chunked where its length is
 * not known; the response that is written, head and framing, becomes HEADERS and DATA.
 *
 * One request, then the end of input.  After a successful CONNECT the bytes pass as they are.
 * Fields that concern one connection only are left out, interim responses too.
 */

#include "stream/stream.h"

/** @param lower a server's stream of HTTP/2 with its header, not answered; owned from now on,
 * unless the result is NULL: then the request has no shape in HTTP/1.1 */
struct tg_stream *tg_h2_http1_open(struct tg_stream *lower);
