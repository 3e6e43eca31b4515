#pragma once

/** @file
 * The runtime as a module of a plain LuaJIT (rocks/): the state that loads it becomes the one VM there is.
 */

#include <lua.h>

/** require "tidegate.core" -> { run } */
int luaopen_tidegate_core(lua_State *L);
