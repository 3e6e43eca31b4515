#pragma once

/** @file
 * Stores of records as Lua holds them, for the relay's binding.
 */

#include "relay/records.h"
#include "stream/stream.h"

#include <lua.h>

/** Open the record of a connection between two streams.
 * At `index`: a store; after it the members known already (node, service, labels; each with a comma before it),
 * and, as texts or nil: network, remote, local and client address (nil: those of `a`), host, protocol, user,
 * route; the id; and when it began, ms on the reactor's clock. */
struct tg_record *tg_record_begin(lua_State *L, int index, const struct tg_stream *a,
                                  const struct tg_stream *b);
