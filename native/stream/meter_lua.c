#include "stream/meter_lua.h"

#include "base/shared_lua.h"

#include <lauxlib.h>

int luaopen_tidegate_native_meter(lua_State *L);

#define METER_MT "tidegate.meter"

static struct tg_meter **check_box(lua_State *L, int index)
{
    return luaL_checkudata(L, index, METER_MT);
}

struct tg_meter *tg_meter_check(lua_State *L, int index)
{
    struct tg_meter *m = *check_box(L, index);
    luaL_argcheck(L, m != NULL, index, "the meter is closed");
    return m;
}

static void *shared_field(lua_State *L, int index, const char *key, enum tg_shared_kind kind)
{
    lua_getfield(L, index, key);
    void *object = lua_isnil(L, -1) ? NULL : tg_shared_check(L, -1, kind);
    lua_pop(L, 1);
    return object;
}

struct tg_meter *tg_meter_of_options(lua_State *L, int index)
{
    struct tg_counter *up = shared_field(L, index, "up", TG_SHARED_COUNTER);
    struct tg_counter *down = shared_field(L, index, "down", TG_SHARED_COUNTER);
    struct tg_bucket *up_limit = shared_field(L, index, "up_limit", TG_SHARED_BUCKET);
    struct tg_bucket *down_limit = shared_field(L, index, "down_limit", TG_SHARED_BUCKET);
    bool made = up != NULL || down != NULL || up_limit != NULL || down_limit != NULL;
    lua_getfield(L, index, "meter");
    struct tg_meter *m = lua_isnil(L, -1) ? NULL : tg_meter_check(L, -1);
    lua_pop(L, 1);
    if (m != NULL && made)
        luaL_error(L, "options: either a meter, or counters and buckets");
    if (m != NULL)
        return tg_meter_hold(m);
    if (!made)
        return NULL;
    m = tg_meter_new();
    if (up != NULL)
        tg_meter_count(m, up, TG_WAY_IN);
    if (down != NULL)
        tg_meter_count(m, down, TG_WAY_OUT);
    if (up_limit != NULL)
        tg_meter_limit(m, up_limit, TG_WAY_IN);
    if (down_limit != NULL)
        tg_meter_limit(m, down_limit, TG_WAY_OUT);
    return m;
}

static unsigned check_ways(lua_State *L, int index)
{
    static const char *const words[] = { "in", "out", "both", NULL };
    return (unsigned)luaL_checkoption(L, index, "both", words) + 1;
}

static int self(lua_State *L)
{
    lua_settop(L, 1);
    return 1;
}

/** new() → a meter without entries */
static int l_new(lua_State *L)
{
    struct tg_meter **box = lua_newuserdata(L, sizeof(struct tg_meter *));
    *box = NULL;
    luaL_getmetatable(L, METER_MT);
    lua_setmetatable(L, -2);
    *box = tg_meter_new();
    return 1;
}

/** meter:count(counter, ["in" | "out" | "both"]) → the meter: add up bytes */
static int l_count(lua_State *L)
{
    tg_meter_count(tg_meter_check(L, 1), tg_shared_check(L, 2, TG_SHARED_COUNTER),
                   check_ways(L, 3));
    return self(L);
}

/** meter:limit(bucket, ["in" | "out" | "both"]) → the meter: bytes per second */
static int l_limit(lua_State *L)
{
    tg_meter_limit(tg_meter_check(L, 1), tg_shared_check(L, 2, TG_SHARED_BUCKET),
                   check_ways(L, 3));
    return self(L);
}

static uint64_t check_amount(lua_State *L, int index)
{
    lua_Number n = luaL_checknumber(L, index);
    luaL_argcheck(L, n >= 0 && n <= 9007199254740992.0, index, "out of range");
    return (uint64_t)n;
}

/** meter:rate("in" | "out", bytes per second, burst) → the meter: a limit of its own, 0: none; called
 * again it changes */
static int l_rate(lua_State *L)
{
    static const char *const words[] = { "in", "out", NULL };
    struct tg_meter *m = tg_meter_check(L, 1);
    enum tg_way way = luaL_checkoption(L, 2, NULL, words) == 0 ? TG_IN : TG_OUT;
    tg_meter_rate(m, way, check_amount(L, 3), check_amount(L, 4));
    return self(L);
}

/** meter:limit_each(bucket, ["in" | "out" | "both"]) → the meter: bytes per second of each stream and
 * relay that has it; the bucket only says how many, and may change its mind */
static int l_limit_each(lua_State *L)
{
    tg_meter_limit_each(tg_meter_check(L, 1), tg_shared_check(L, 2, TG_SHARED_BUCKET),
                        check_ways(L, 3));
    return self(L);
}

/** meter:quota(used, cap, ["in" | "out" | "both"]) → the meter: `used` (a counter) grows while `cap`
 * (a counter) is not 0, and nothing moves any more once it has reached it */
static int l_quota(lua_State *L)
{
    tg_meter_quota(tg_meter_check(L, 1), tg_shared_check(L, 2, TG_SHARED_COUNTER),
                   tg_shared_check(L, 3, TG_SHARED_COUNTER), check_ways(L, 4));
    return self(L);
}

/** meter:slot(counter) → the meter: one was added to `counter` (counter:take()); it is taken off when
 * the meter is closed and no stream has it any more */
static int l_slot(lua_State *L)
{
    tg_meter_slot(tg_meter_check(L, 1), tg_shared_check(L, 2, TG_SHARED_COUNTER));
    return self(L);
}

/** meter:include(part) → the meter: what `part` counts and limits now, this one does as well */
static int l_include(lua_State *L)
{
    struct tg_meter *m = tg_meter_check(L, 1), *part = tg_meter_check(L, 2);
    luaL_argcheck(L, m != part, 2, "a meter cannot include itself");
    tg_meter_include(m, part);
    return self(L);
}

/** meter:users() → how many streams and relays have it */
static int l_users(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_meter_users(tg_meter_check(L, 1)));
    return 1;
}

/** meter:close(): nobody adds it to streams any more; those that have it keep it */
static int l_close(lua_State *L)
{
    struct tg_meter **box = check_box(L, 1);
    tg_meter_drop(*box);
    *box = NULL;
    return 0;
}

int luaopen_tidegate_native_meter(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "count", l_count }, { "limit", l_limit }, { "limit_each", l_limit_each },
        { "rate", l_rate }, { "quota", l_quota }, { "slot", l_slot }, { "include", l_include },
        { "users", l_users }, { "close", l_close }, { NULL, NULL },
    };
    luaL_newmetatable(L, METER_MT);
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_new);
    lua_setfield(L, -2, "new");
    return 1;
}
