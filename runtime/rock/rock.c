#include "rock/rock.h"

#include "bind/task.h"
#include "worker/process.h"

#include <lauxlib.h>
#include <signal.h>

/* finish(): the task of run() is over. */
static int l_finish(lua_State *L)
{
    (void)L;
    tg_vm_stop(&tg_process.control);
    return 0;
}

/** run(fn): run fn(finish) in a task, and the loop until finish() is called */
static int l_run(lua_State *L)
{
    struct tg_vm *vm = &tg_process.control;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_argcheck(L, L == vm->L && !tg_is_task(L), 1, "called from a coroutine");
    luaL_argcheck(L, lua_gettop(L) == 1, 2, "takes nothing else");
    atomic_store(&vm->stop, false);
    lua_pushcfunction(L, l_finish);
    tg_task_queue(L, 1);
    tg_vm_run(vm);
    return 0;
}

int luaopen_tidegate_core(lua_State *L)
{
    static const luaL_Reg functions[] = { { "run", l_run }, { NULL, NULL } };
    signal(SIGPIPE, SIG_IGN);
    if (!lua_pushthread(L))
        return luaL_error(L, "tidegate must be loaded outside of coroutines");
    lua_pop(L, 1);
    if (tg_process.control.L != NULL || tg_vm_adopt(&tg_process.control, L) < 0)
        return luaL_error(L, "tidegate is loaded already, or could not open its loop");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
