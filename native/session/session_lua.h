#pragma once

/** @file
 * What Lua holds of a session, for the bindings of all kinds of them.
 */

#include "bind/task.h"
#include "session/session.h"

#include <lauxlib.h>

/** First member of a binding's own box, or all of it.  Collecting the box closes the session. */
struct tg_session_box {
    struct tg_session *s;      /**< NULL: closed */
    struct tg_waiter acceptor; /**< for streams that the peer opens */
    struct tg_waiter asker;    /**< for anything else */
    /** What the asker waits for.  @return number of results pushed, 0 to wait on */
    int (*step)(lua_State *L, struct tg_session_box *b);
};

/** Make the class `name`.  Besides `methods` it has, where they are not among these:
 * accept([deadline]), close(), is_alive(), count(). */
void tg_session_class(lua_State *L, const char *name, const luaL_Reg *methods);

/** Push an empty box of the class `name`, for a session over the stream in the box at `index`.
 * @param lower gets that stream, which Lua has no more; raises when it is closed */
struct tg_session_box *tg_session_push(lua_State *L, const char *name, int index,
                                       struct tg_stream **lower);

/** The session of a box has started.
 * @return number of results: the box, or nil and `err` where there is none */
int tg_session_started(lua_State *L, struct tg_session_box *b, const struct tg_error *err);

/** Push what is said of a session that is closed or dead.  @return 2 */
int tg_session_fail(lua_State *L, const struct tg_session_box *b);

/** Push a stream that was asked of a session.
 * @param stream NULL: there is none, see `err` @return number of results: the stream, or nil and `err` */
int tg_session_push_stream(lua_State *L, struct tg_stream *stream, const struct tg_error *err);
/** The same for a stream that the peer has to agree to: waits for its word.
 * @return number of results, or as tg_park() */
int tg_session_await_stream(lua_State *L, struct tg_stream *stream, const struct tg_error *err,
                            uint64_t deadline);

/** Wait for what `step` says, which is asked first.
 * @return number of results, or as tg_park() */
int tg_session_ask(lua_State *L, struct tg_session_box *b,
                   int (*step)(lua_State *L, struct tg_session_box *b), uint64_t deadline);

/** A number among the options in the table at `index`, times `scale`. */
uint32_t tg_session_number(lua_State *L, int index, const char *key, lua_Number scale,
                           uint32_t otherwise);
bool tg_session_flag(lua_State *L, int index, const char *key);
/** Set a field of the table on top of the stack. */
void tg_session_set_flag(lua_State *L, const char *key, bool value);
/** @return NULL: it is not there; else the table holds it */
const char *tg_session_text(lua_State *L, int index, const char *key);
