#pragma once

/** @file
 * Socket options as Lua holds them, and dialing.  Parts of the module
 * tidegate.native.stream.
 */

#include "base/socket.h"

#include <lua.h>

/** Register the metatable of option boxes. */
void tg_socket_options_open(lua_State *L);

/** stream.options{...} -> box | nil, err */
int tg_socket_options_lua(lua_State *L);

/** The options in the box at `index`; nil means the defaults; raises for anything else. */
const struct tg_socket_options *tg_socket_options_check(lua_State *L, int index);

/** stream.dial(where, options, deadline) -> stream | nil, err */
int tg_stream_dial_lua(lua_State *L);
