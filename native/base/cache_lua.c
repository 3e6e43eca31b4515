#include "base/cache.h"

#include "base/reactor.h"

#include <lauxlib.h>

int luaopen_tidegate_native_cache(lua_State *L);

#define CACHE_MT  "tidegate.shared.cache"
#define TTL_MAX_S 1e10
#define COUNT_MAX 9007199254740992.0

struct box {
    struct tg_cache *cache;
};

static struct tg_cache *check(lua_State *L)
{
    return ((struct box *)luaL_checkudata(L, 1, CACHE_MT))->cache;
}

static size_t check_count(lua_State *L, int index)
{
    lua_Number n = luaL_optnumber(L, index, 0);
    luaL_argcheck(L, n >= 0 && n <= COUNT_MAX, index, "a count is needed");
    return (size_t)n;
}

/** open(name) → the cache all threads share by that name; it lives as long as somebody holds it */
static int l_open(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len <= TG_SHARED_NAME_MAX, 1, "at most 255 bytes");
    struct box *b = lua_newuserdata(L, sizeof(*b));
    b->cache = tg_shared_get(TG_SHARED_CACHE, name, len);
    luaL_getmetatable(L, CACHE_MT);
    lua_setmetatable(L, -2);
    return 1;
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    tg_shared_put(b->cache);
    b->cache = NULL;
    return 0;
}

/** cache:configure(max_entries, max_bytes, lru) */
static int l_configure(lua_State *L)
{
    tg_cache_configure(check(L), check_count(L, 2), check_count(L, 3), lua_toboolean(L, 4),
                       tg_clock_ms());
    return 0;
}

/** cache:set(key, value[, ttl in seconds]) → whether it fits */
static int l_set(lua_State *L)
{
    size_t key_len, len;
    const char *key = luaL_checklstring(L, 2, &key_len), *value = luaL_checklstring(L, 3, &len);
    lua_Number ttl = luaL_optnumber(L, 4, 0);
    luaL_argcheck(L, ttl <= TTL_MAX_S, 4, "seconds are needed");
    uint64_t ms = ttl <= 0 ? 0 : ttl < 0.001 ? 1 : (uint64_t)(ttl * 1000);
    lua_pushboolean(L, tg_cache_set(check(L), key, key_len, value, len, ms, tg_clock_ms()));
    return 1;
}

/* Of l_get(): make a string of a value; raising must not lose it. */
static int push_value(lua_State *L)
{
    const struct tg_cache_value *v = lua_touserdata(L, 1);
    lua_pushlstring(L, (const char *)v->bytes, v->len);
    return 1;
}

/** cache:get(key) → value, whether it is fresh | nil */
static int l_get(lua_State *L)
{
    size_t key_len;
    const char *key = luaL_checklstring(L, 2, &key_len);
    bool fresh = false;
    struct tg_cache *c = check(L);
    lua_pushcfunction(L, push_value);
    struct tg_cache_value *v = tg_cache_get(c, key, key_len, tg_clock_ms(), &fresh);
    if (v == NULL)
        return 0;
    lua_pushlightuserdata(L, v);
    int status = lua_pcall(L, 1, 1, 0);
    tg_cache_value_put(v);
    if (status != 0)
        return lua_error(L);
    lua_pushboolean(L, fresh);
    return 2;
}

/** cache:delete(key) → was it there? */
static int l_delete(lua_State *L)
{
    size_t key_len;
    const char *key = luaL_checklstring(L, 2, &key_len);
    lua_pushboolean(L, tg_cache_delete(check(L), key, key_len));
    return 1;
}

/** cache:sweep() → how many expired entries went */
static int l_sweep(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tg_cache_sweep(check(L), tg_clock_ms()));
    return 1;
}

/** cache:size() → entries, bytes of their values */
static int l_size(lua_State *L)
{
    size_t entries, bytes;
    tg_cache_size(check(L), &entries, &bytes);
    lua_pushnumber(L, (lua_Number)entries);
    lua_pushnumber(L, (lua_Number)bytes);
    return 2;
}

int luaopen_tidegate_native_cache(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "configure", l_configure }, { "set", l_set },     { "get", l_get },
        { "delete", l_delete },       { "sweep", l_sweep }, { "size", l_size },
        { NULL, NULL },
    };
    luaL_newmetatable(L, CACHE_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    lua_pushcfunction(L, l_open);
    lua_setfield(L, -2, "open");
    return 1;
}
