#include "watchdog/watchdog_lua.h"

#include "watchdog/watchdog.h"
#include "worker/process.h"

#include <lauxlib.h>

int luaopen_tidegate_native_watchdog(lua_State *L);

#define FENCED "tidegate.watchdog.fenced"
#define REPORT "tidegate.watchdog.report"

/* Push the name of the fenced function that is innermost on the stack; without one, as when it has gone
 * with a tail call, that of the innermost script; or nil. */
static void push_culprit(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, FENCED);
    lua_pushnil(L); /* the script */
    lua_Debug ar;
    int fenced = lua_gettop(L) - 1;
    for (int level = 0; lua_istable(L, fenced) && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "fS", &ar);
        lua_rawget(L, fenced);
        if (!lua_isnil(L, -1)) {
            lua_replace(L, fenced);
            lua_settop(L, fenced);
            return;
        }
        lua_pop(L, 1);
        if (lua_isnil(L, fenced + 1)) {
            lua_getfield(L, fenced, ar.source);
            lua_replace(L, fenced + 1);
        }
    }
    lua_remove(L, fenced);
}

/* Push "file:12: " of the innermost function that has lines: the hook may run in a built-in one. */
static void push_place(lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0) {
            lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushliteral(L, "");
}

void tg_watchdog_interrupted(lua_State *L, unsigned ms, bool stop)
{
    if (!lua_checkstack(L, 20))
        return;
    int top = lua_gettop(L);
    push_culprit(L);
    lua_getfield(L, LUA_REGISTRYINDEX, REPORT);
    if (lua_isfunction(L, -1)) {
        lua_pushvalue(L, top + 1);
        lua_pushinteger(L, (lua_Integer)ms);
        luaL_traceback(L, L, NULL, 0);
        lua_pushboolean(L, stop);
        if (lua_pcall(L, 4, 0, 0) != 0)
            lua_pop(L, 1);
    } else {
        lua_pop(L, 1);
    }
    if (stop && !lua_isnil(L, top + 1)) {
        push_place(L);
        lua_pushfstring(L, "ran for %d ms without waiting, and was stopped", (int)ms);
        lua_concat(L, 2);
        lua_error(L);
    }
    lua_settop(L, top);
}

/** watch(fenced, report): `fenced` holds the functions, and sources ("@file"), that may be stopped and
 * what they are called; report(culprit or nil, ms, traceback, stopped) hears of every interruption.  For this VM. */
static int l_watch(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_setfield(L, LUA_REGISTRYINDEX, REPORT);
    lua_setfield(L, LUA_REGISTRYINDEX, FENCED);
    return 0;
}

/** spare(on): leave this VM alone until spare(false); its turn counts from there.  For what has a limit of
 * its own, and does not wait meanwhile. */
static int l_spare(lua_State *L)
{
    tg_watchdog_spare(tg_vm_of(L), lua_toboolean(L, 1));
    return 0;
}

/** check(report_ms, stop_ms): look at all workers; from the control thread, now and then */
static int l_check(lua_State *L)
{
    unsigned report_ms = (unsigned)luaL_checkint(L, 1), stop_ms = (unsigned)luaL_checkint(L, 2);
    for (int i = 0; i < tg_process.count; i++)
        if (tg_process.workers[i]->started)
            tg_watchdog_check(&tg_process.workers[i]->vm, tg_process.workers[i]->thread, report_ms, stop_ms);
    return 0;
}

int luaopen_tidegate_native_watchdog(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "watch", l_watch },
        { "check", l_check },
        { "spare", l_spare },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
