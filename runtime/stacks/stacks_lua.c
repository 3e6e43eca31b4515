#include "stacks/stacks.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_stacks(lua_State *L);

#define INTERVAL_MS 5

/** start([interval_ms = 5]) → true | nil, what the system says.  Looks at the C of this thread. */
static int l_start(lua_State *L)
{
    int interval = luaL_optint(L, 1, INTERVAL_MS);
    luaL_argcheck(L, interval >= 1 && interval <= 10000, 1, "1 to 10000 ms");
    if (tg_stacks_start((unsigned)interval)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, errno == EBUSY ? "a profile is being taken already" : strerror(errno));
    return 2;
}

/* Push its addresses as bytes, outermost first.  All but the innermost say where a call will return to. */
static void push_addresses(lua_State *L, const struct tg_stack *one)
{
    const char *addresses[TG_STACK_DEPTH];
    for (uint32_t i = 0; i < one->depth; i++)
        addresses[one->depth - 1 - i] = (const char *)one->frames[i] - (i > 0);
    lua_pushlstring(L, (const char *)addresses, one->depth * sizeof(*addresses));
}

/** stop() → { addresses = samples }, samples that were lost | nil when it was not started.
 * Finding names takes a while, and need not be done by a thread that carries traffic: see names(). */
static int l_stop(lua_State *L)
{
    struct tg_stacks *all = tg_stacks_stop();
    if (all == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_newtable(L);
    for (int i = 0; i < TG_STACKS_MAX; i++) {
        if (all->seen[i].samples == 0)
            continue;
        push_addresses(L, &all->seen[i]);
        lua_pushnumber(L, all->seen[i].samples);
        lua_rawset(L, -3);
    }
    lua_pushnumber(L, all->lost);
    free(all);
    return 2;
}

/* Push "outer;inner" of the addresses in a string. */
static void push_names(lua_State *L, struct tg_symbols *symbols, int index)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, index, &len);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (size_t at = 0; at + sizeof(void *) <= len; at += sizeof(void *)) {
        const void *address;
        memcpy(&address, bytes + at, sizeof(address));
        if (at > 0)
            luaL_addchar(&text, ';');
        luaL_addstring(&text, tg_symbols_name(symbols, address));
    }
    luaL_pushresult(&text);
}

/** names({ addresses = samples }) → { "outer;inner" = samples } */
static int l_names(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_newtable(L);
    struct tg_symbols *symbols = tg_symbols_new();
    for (lua_pushnil(L); lua_next(L, 1) != 0;) {
        if (lua_type(L, 3) == LUA_TSTRING) {
            push_names(L, symbols, 3);
            lua_pushvalue(L, -1);
            lua_rawget(L, 2);
            lua_pushnumber(L, lua_tonumber(L, -1) + lua_tonumber(L, 4));
            lua_remove(L, -2);
            lua_rawset(L, 2);
        }
        lua_settop(L, 3);
    }
    tg_symbols_free(symbols);
    lua_settop(L, 2);
    return 1;
}

int luaopen_tidegate_native_stacks(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "start", l_start },
        { "stop", l_stop },
        { "names", l_names },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
