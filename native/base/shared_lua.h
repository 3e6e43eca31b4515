#pragma once

/** @file
 * Shared objects as Lua holds them, for bindings that take them as arguments.
 */

#include "base/hold.h"
#include "base/shared.h"

#include <lua.h>

/** The object in the box at `index`, which keeps a reference; raises for anything else. */
void *tg_shared_check(lua_State *L, int index, enum tg_shared_kind kind);

/** For hold(self, counter [, limit [, counter, limit]]): take from each counter until one has reached its limit.
 * @return 1, for whether none had, which is pushed */
int tg_hold_lua(lua_State *L, struct tg_hold **list);
