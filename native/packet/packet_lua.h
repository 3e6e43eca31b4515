#pragma once

/** @file
 * What Lua holds of a datagram endpoint, for bindings that make or take them.
 */

#include "packet/packet.h"

#include <lua.h>

/** Push a box that owns `p`.  Raises only when out of memory. */
void tg_packet_push(lua_State *L, struct tg_packet *p);

/** The endpoint in the box at `index`, or NULL when it was closed or taken; raises
 * when there is no box, or when a task waits in it. */
struct tg_packet *tg_packet_check(lua_State *L, int index);

/** Take the endpoint out of the box: the caller owns it, Lua sees the box as closed.
 * @return NULL: it was closed; raises like tg_packet_check() */
struct tg_packet *tg_packet_take(lua_State *L, int index);

/** Add the functions that open endpoints to the table on top; packet/endpoints_lua.c. */
void tg_packet_open_functions(lua_State *L);

/** Add those that relay to the table on top; relay/packets_lua.c. */
void tg_packets_functions(lua_State *L);
