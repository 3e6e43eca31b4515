#pragma once

/** @file
 * How Lua hears that a relay, of streams or of datagrams, is over.
 */

#include "relay/result.h"

#include <lua.h>
#include <stddef.h>

/** The function of a VM that hears of the ends. */
struct tg_ends {
    lua_State *main;
    int on_end; /* registry: function(tag, result), or LUA_NOREF */
};

void tg_ends_open(lua_State *L, struct tg_ends *ends);

/** on_end(fn) of a module: the function at index 1 hears from now on.  @return 0 */
int tg_ends_listen(lua_State *L, struct tg_ends *ends);

/** Run the function, if there is one, in a task of its own. */
void tg_ends_tell(const struct tg_ends *ends, const char *tag, size_t len,
                  const struct tg_relay_result *result);

/** Push { up, down, dropped, duration, err, side }; what is nothing is absent. */
void tg_ends_push(lua_State *L, const struct tg_relay_result *result);

/** Append to the list on top of the stack, after `*at` items: tag (NULL: false), up, down, age in ms. */
void tg_ends_list(lua_State *L, int *at, const char *tag, size_t len,
                  const struct tg_relay_result *now);
