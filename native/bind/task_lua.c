#include "bind/task.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_task(lua_State *L);

#define WAITER_MT "tidegate.waiter"
#define CANCEL_MT "tidegate.cancel"
#define SLEEP_MAX 1e12 /* seconds: for ever */

/* Values given to wake() before anybody waits lie in the environment table. */
struct box {
    struct tg_waiter waiter;
    struct tg_reactor *reactor;
    int kept; /* how many values lie in wait, -1: not woken yet */
};

/** spawn(fn, ...): a new task that begins soon */
static int l_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    tg_task_queue(L, lua_gettop(L) - 1);
    return 0;
}

/** now() -> ms on the loop's clock */
static int l_now(lua_State *L)
{
    const struct tg_reactor *r = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushnumber(L, (lua_Number)r->now);
    return 1;
}

static int l_is_task(lua_State *L)
{
    lua_pushboolean(L, tg_is_task(L));
    return 1;
}

/** count() -> tasks alive in this VM */
static int l_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_task_count(L));
    return 1;
}

static struct box *push_waiter(lua_State *L)
{
    struct box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    b->kept = -1;
    b->reactor = tg_reactor_of(L);
    luaL_getmetatable(L, WAITER_MT);
    lua_setmetatable(L, -2);
    return b;
}

static int l_waiter(lua_State *L)
{
    push_waiter(L);
    return 1;
}

static void on_sleep_over(struct tg_waiter *w)
{
    lua_pushboolean(w->co, 1);
    tg_wake(w, 1);
}

/** sleep(seconds) -> true */
static int l_sleep(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    struct box *b = push_waiter(L);
    tg_check_parkable(L, &b->waiter);
    b->waiter.on_timeout = on_sleep_over;
    uint64_t ms = seconds >= SLEEP_MAX ? (uint64_t)SLEEP_MAX * 1000
                  : seconds > 0        ? (uint64_t)(seconds * 1000)
                                       : 0;
    return tg_park(L, &b->waiter, b->reactor->now + (ms > 0 ? ms : 1));
}

/** w:wait([deadline]) -> what wake() was given, or nil and a timeout */
static int l_wait(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, WAITER_MT);
    uint64_t deadline = tg_opt_deadline(L, 2);
    tg_check_parkable(L, &b->waiter);
    if (b->kept >= 0) {
        int count = b->kept;
        b->kept = -1;
        lua_getfenv(L, 1);
        int values = lua_gettop(L);
        luaL_checkstack(L, count, "too many values");
        for (int i = 1; i <= count; i++)
            lua_rawgeti(L, values, i);
        return count;
    }
    return tg_park(L, &b->waiter, deadline);
}

/** w:wake(...): the wait ends with these values; before a wait they are kept.
 * @return whether somebody waited */
static int l_wake(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, WAITER_MT);
    int count = lua_gettop(L) - 1;
    lua_State *co = b->waiter.co;
    lua_pushboolean(L, co != NULL);
    lua_insert(L, 1);
    if (co == NULL) {
        lua_createtable(L, count, 0);
        for (int i = 1; i <= count; i++) {
            lua_pushvalue(L, i + 2);
            lua_rawseti(L, -2, i);
        }
        lua_setfenv(L, 2);
        b->kept = count;
    } else {
        if (!lua_checkstack(co, count)) /* raising there would end the process */
            return luaL_error(L, "too many values");
        lua_xmove(L, co, count);
        tg_wake(&b->waiter, count);
    }
    lua_settop(L, 1);
    return 1;
}

static int l_waiter_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    tg_timer_stop(b->reactor, &b->waiter.timer);
    return 0;
}

/** cancelable() → handle: from here on until handle:close(), handle:cancel() ends what the running
 * task waits for, as if a deadline had passed */
static int l_cancelable(lua_State *L)
{
    struct tg_cancel *c = lua_newuserdata(L, sizeof(*c));
    memset(c, 0, sizeof(*c));
    luaL_getmetatable(L, CANCEL_MT);
    lua_setmetatable(L, -2);
    if (!tg_is_task(L))
        return luaL_error(L, "only a task can be canceled");
    tg_cancel_open(L, c);
    return 1;
}

static int l_cancel(lua_State *L)
{
    tg_cancel_wait(luaL_checkudata(L, 1, CANCEL_MT));
    return 0;
}

static int l_cancel_close(lua_State *L)
{
    tg_cancel_close(L, luaL_checkudata(L, 1, CANCEL_MT));
    return 0;
}

static void open_cancel(lua_State *L)
{
    static const luaL_Reg methods[] = { { "cancel", l_cancel }, { "close", l_cancel_close }, { NULL, NULL } };
    luaL_newmetatable(L, CANCEL_MT);
    lua_pushcfunction(L, l_cancel_close);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int luaopen_tidegate_native_task(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "wait", l_wait },
        { "wake", l_wake },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "spawn", l_spawn }, { "is_task", l_is_task },
        { "count", l_count }, { "sleep", l_sleep },   { "waiter", l_waiter },
        { "cancelable", l_cancelable },
        { NULL, NULL },
    };
    open_cancel(L);
    luaL_newmetatable(L, WAITER_MT);
    lua_pushcfunction(L, l_waiter_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, tg_reactor_of(L));
    lua_pushcclosure(L, l_now, 1);
    lua_setfield(L, -2, "now");
    return 1;
}
