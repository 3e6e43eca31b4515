#include "vm/pairs.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

static bool is_affected(lua_State *L)
{
#if defined(__x86_64__)
    lua_getglobal(L, "jit");
    lua_getfield(L, -1, "version");
    const char *version = lua_tostring(L, -1);
    bool affected = version != NULL && strstr(version, "-beta") != NULL;
    lua_pop(L, 2);
    return affected;
#else
    (void)L;
    return false;
#endif
}

static int l_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_next(L, 1))
        return 2;
    lua_pushnil(L);
    return 1;
}

/* Upvalues: the library's pairs and next, and ours. */
static int l_pairs(lua_State *L)
{
    if (!lua_istable(L, 1) && !luaL_getmetafield(L, 1, "__pairs"))
        luaL_checktype(L, 1, LUA_TTABLE); /* here, where the error gets its place */
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 3);
    if (lua_rawequal(L, 1, lua_upvalueindex(2))) { /* not what a metatable gave */
        lua_pushvalue(L, lua_upvalueindex(3));
        lua_replace(L, 1);
    }
    return 3;
}

void tg_pairs_mend(lua_State *L)
{
    if (!is_affected(L))
        return;
    lua_getglobal(L, "pairs");
    lua_getglobal(L, "next");
    lua_pushcfunction(L, l_next);
    lua_pushvalue(L, -1);
    lua_setglobal(L, "next");
    lua_pushcclosure(L, l_pairs, 3);
    lua_setglobal(L, "pairs");
}
