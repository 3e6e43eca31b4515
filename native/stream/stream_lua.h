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

/**
 * One direction of a box worked by C code in the place of a task: an HTTP body
 * is read here while a task waits for the other direction.
 *
 * `ready` comes from the reactor when it is worth trying again, and once more
 * when Lua closes the box (`stream` is NULL then).  It must not run Lua.
 */
struct tg_stream_side {
    void (*ready)(void *arg);
    void *arg;
    struct tg_stream *stream; /**< not owned; NULL: the box was closed */
    void *box;                /**< NULL: not lent */
    unsigned event;           /**< TG_READABLE or TG_WRITABLE: which direction */
    bool waits;
};

/** The stream in the box at `index`, or NULL when it was closed or taken; raises
 * when there is no box, or when the direction `event` is in use. */
struct tg_stream *tg_stream_check_side(lua_State *L, int index, unsigned event);

/** Lend a direction (checked before) until tg_stream_give_back(): tasks that use it raise.
 * `ready` and `arg` are set by the caller; the box must outlive the loan. */
void tg_stream_lend(lua_State *L, int index, unsigned event, struct tg_stream_side *side);

/** Ask to be told of readiness from now on, or not. */
void tg_stream_side_want(struct tg_stream_side *side, bool waits);

/** End the loan; no effect when it has ended. */
void tg_stream_give_back(struct tg_stream_side *side);
