#pragma once

#include <lua.h>
#include <stdbool.h>

/** Called from a hook, that is between two instructions of what has run for `ms` already: report it,
 * and with `stop` raise an error when a script's fenced function is to blame. */
void tg_watchdog_interrupted(lua_State *L, unsigned ms, bool stop);
