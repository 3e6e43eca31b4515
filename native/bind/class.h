#pragma once

/** @file
 * Metatables of the objects that bindings hand out.
 */

#include <lauxlib.h>

/** Make the metatable `name` with these methods; nothing is left on the stack.
 * @param tostring NULL: none */
void tg_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc,
              lua_CFunction tostring);
