#include "embed/embed.h"

#include <lauxlib.h>

int luaopen_tidegate_native_embed(lua_State *L);

/* modules() -> array of the names of all embedded modules, sorted */
static int l_modules(lua_State *L)
{
    size_t count = tg_embed_modules();
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, tg_embed_name(i));
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

int luaopen_tidegate_native_embed(lua_State *L)
{
    static const luaL_Reg functions[] = { { "modules", l_modules }, { NULL, NULL } };

    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
