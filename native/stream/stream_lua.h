#pragma once

/** @file
 * What Lua holds of a stream, for bindings that make, wrap or take streams.
 */

#include "bind/task.h"
#include "stream/stream.h"

/** Push a box that owns `s`.  Raises only when out of memory. */
void tg_stream_push(lua_State *L, struct tg_stream *s);

/** The stream in the box at `index`, or NULL when it was closed or taken; raises
 * when there is no box, or when a task waits in it. */
struct tg_stream *tg_stream_check(lua_State *L, int index);

/** Take the stream out of the box at `index`: the caller owns it, Lua sees the
 * box as closed.  @return NULL: it was closed; raises like tg_stream_check() */
struct tg_stream *tg_stream_take(lua_State *L, int index);

/** The box's deadline (ms on the loop's clock, 0: none). */
uint64_t tg_stream_deadline(lua_State *L, int index);

/** Park until the stream in the box at `index` (usually just pushed) is OPEN or
 * FAILED; the call then returns the box, or nil and the error (and the stream is closed). */
int tg_stream_await_open(lua_State *L, int index, uint64_t deadline);
