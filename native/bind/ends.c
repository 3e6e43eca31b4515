#include "bind/ends.h"

#include "bind/task.h"

#include <lauxlib.h>

void tg_ends_open(lua_State *L, struct tg_ends *ends)
{
    ends->on_end = LUA_NOREF;
    lua_getfield(L, LUA_REGISTRYINDEX, "tidegate.main");
    ends->main = lua_tothread(L, -1);
    lua_pop(L, 1);
}

int tg_ends_listen(lua_State *L, struct tg_ends *ends)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_unref(L, LUA_REGISTRYINDEX, ends->on_end);
    lua_settop(L, 1);
    ends->on_end = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

void tg_ends_tell(const struct tg_ends *ends, const char *tag, size_t len,
                  const struct tg_relay_result *result)
{
    lua_State *L = ends->main;
    if (ends->on_end == LUA_NOREF)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ends->on_end);
    lua_pushlstring(L, tag, len);
    tg_ends_push(L, result);
    tg_task_start(L, 2);
}

void tg_ends_push(lua_State *L, const struct tg_relay_result *result)
{
    lua_createtable(L, 0, 5);
    lua_pushnumber(L, (lua_Number)result->up);
    lua_setfield(L, -2, "up");
    lua_pushnumber(L, (lua_Number)result->down);
    lua_setfield(L, -2, "down");
    lua_pushnumber(L, (lua_Number)result->duration);
    lua_setfield(L, -2, "duration");
    if (result->dropped > 0) {
        lua_pushnumber(L, (lua_Number)result->dropped);
        lua_setfield(L, -2, "dropped");
    }
    if (result->error.code == TG_OK)
        return;
    tg_push_failure(L, &result->error);
    lua_setfield(L, -3, "err");
    lua_pop(L, 1);
    lua_pushstring(L, result->from_b ? "upstream" : "client");
    lua_setfield(L, -2, "side");
}

void tg_ends_list(lua_State *L, int *at, const char *tag, size_t len,
                  const struct tg_relay_result *now)
{
    if (tag != NULL)
        lua_pushlstring(L, tag, len);
    else
        lua_pushboolean(L, 0);
    lua_rawseti(L, -2, ++*at);
    lua_pushnumber(L, (lua_Number)now->up);
    lua_rawseti(L, -2, ++*at);
    lua_pushnumber(L, (lua_Number)now->down);
    lua_rawseti(L, -2, ++*at);
    lua_pushnumber(L, (lua_Number)now->duration);
    lua_rawseti(L, -2, ++*at);
}
