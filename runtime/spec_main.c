/** @file
 * `tidegate-spec SCRIPT ARGS...`: a Lua interpreter with everything the runtime
 * has, for busted and other development scripts.  The script runs in a task, so
 * it may wait.
 */

#include "bind/task.h"
#include "worker/process.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* finish(ok, message): busted ends a failed run by raising nil. */
static int l_finish(lua_State *L)
{
    if (!lua_toboolean(L, 1) && lua_isstring(L, 2))
        fprintf(stderr, "%s\n", lua_tostring(L, 2));
    fflush(NULL);
    tg_process.control.exit_code = lua_toboolean(L, 1) ? 0 : 1;
    tg_vm_stop(&tg_process.control);
    return 0;
}

/* In Lua, since a task cannot wait below a lua_pcall() made in C. */
static const char runner[] =
    "local script, finish = ...\n"
    "return function(...)\n"
    "  finish(xpcall(script, function(e) return e and debug.traceback(e) end, ...))\n"
    "end";

static void set_arguments(lua_State *L, int argc, char **argv)
{
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - 1);
    }
    lua_setglobal(L, "arg");
}

int main(int argc, char **argv)
{
    struct tg_vm *vm = &tg_process.control;
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        fprintf(stderr, "usage: %s SCRIPT [ARGS]\n", argv[0]);
        return 2;
    }
    if (tg_vm_open(vm, 0) < 0)
        return 1;
    lua_State *L = vm->L;
    set_arguments(L, argc, argv);
    luaL_loadstring(L, runner);
    if (luaL_loadfile(L, argv[1]) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    lua_pushcfunction(L, l_finish);
    lua_call(L, 2, 1);
    for (int i = 2; i < argc; i++)
        lua_pushstring(L, argv[i]);
    tg_task_queue(L, argc - 2);
    tg_vm_run(vm);
    fflush(NULL);
    /* Not closed in order: a spec that failed may have left anything behind. */
    _Exit(vm->exit_code);
}
