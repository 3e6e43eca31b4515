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

static int finish(lua_State *L, int code)
{
    fflush(NULL);
    tg_process.control.exit_code = code;
    tg_vm_stop(&tg_process.control);
    (void)L;
    return 0;
}

static int traceback(lua_State *L)
{
    const char *message = lua_tostring(L, 1);
    if (message != NULL)
        luaL_traceback(L, L, message, 1);
    return 1;
}

/* run(script, ...): busted ends a failed run by raising nil. */
static int l_run(lua_State *L)
{
    int args = lua_gettop(L) - 1;
    lua_pushcfunction(L, traceback);
    lua_insert(L, 1);
    int status = lua_pcall(L, args, 0, 1);
    if (status != 0 && lua_isstring(L, -1))
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
    return finish(L, status == 0 ? 0 : 1);
}

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
    lua_pushcfunction(L, l_run);
    if (luaL_loadfile(L, argv[1]) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    for (int i = 2; i < argc; i++)
        lua_pushstring(L, argv[i]);
    tg_task_queue(L, argc - 1);
    tg_vm_run(vm);
    fflush(NULL);
    /* Not closed in order: a spec that failed may have left anything behind. */
    _Exit(vm->exit_code);
}
