#pragma once

/** @file
 * Shared objects as Lua holds them, for bindings that take them as arguments.
 */

#include "base/shared.h"

#include <lua.h>

/** The object in the box at `index`, which keeps a reference; raises for anything else. */
void *tg_shared_check(lua_State *L, int index, enum tg_shared_kind kind);
