#pragma once

/** @file
 * A byte stream inside of Shadowsocks, either side.
 *
 * A client's stream begins with the target's bytes at once; the request goes out with what is written first, or a
 * moment later without it.  A server's stream begins with the target's address in SOCKS form, whatever the method:
 * padding and headers are taken off.
 *
 * A server that finds a request it cannot accept fails with TG_AUTH, and nothing is sent: see tg_ss_strip().
 */

#include "codec/address.h"
#include "crypto/ss_key.h"
#include "stream/stream.h"

/** Put a client's layer on `lower`, which it owns from now on.  The key is held.  @return never NULL, OPEN */
struct tg_stream *tg_ss_client(struct tg_stream *lower, struct tg_ss_key *key, const struct tg_target *target);

/** The same for a server. */
struct tg_stream *tg_ss_server(struct tg_stream *lower, struct tg_ss_key *key);

bool tg_ss_is(const struct tg_stream *s);

/** @return the user whose key a server's client has; NULL: there are no users, or nothing came yet */
const char *tg_ss_user(const struct tg_stream *s);

/** Take the layer off.  @return what was below, as it is by now, without user: who gets garbage reads it to its
 * end, so that a stranger learns nothing from when it is closed */
struct tg_stream *tg_ss_strip(struct tg_stream *s);
