#include "bind/task.h"
#include "worker/process.h"

#include <errno.h>
#include <lauxlib.h>
#include <malloc.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int luaopen_tidegate_native_process(lua_State *L);

/** start_workers(count) -> true | nil, message */
static int l_start_workers(lua_State *L)
{
    int count = luaL_checkint(L, 1);
    luaL_argcheck(L, count >= 1 && count <= TG_WORKERS_MAX, 1, "1 to 256 workers");
    luaL_argcheck(L, tg_process.count == 0, 1, "the workers run already");
    lua_pushboolean(L, tg_process_start_workers(count) == 0);
    return 1;
}

/** id() -> 0 for control, 1.. for workers */
static int l_id(lua_State *L)
{
    lua_pushinteger(L, tg_vm_of(L)->id);
    return 1;
}

/** workers() -> how many run */
static int l_workers(lua_State *L)
{
    lua_pushinteger(L, tg_process.count);
    return 1;
}

static int l_cpus(lua_State *L)
{
    lua_pushinteger(L, tg_process_cpus());
    return 1;
}

/** exit(code): ends the control loop, and with it the process, after the task that runs now */
static int l_exit(lua_State *L)
{
    tg_process.control.exit_code = luaL_optint(L, 1, 0);
    tg_vm_stop(&tg_process.control);
    return 0;
}

/** post(id, bytes) -> whether there is such a VM */
static int l_post(lua_State *L)
{
    struct tg_vm *to = tg_process_vm(luaL_checkint(L, 1));
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    if (to != NULL)
        tg_mailbox_post(&to->mailbox, tg_vm_of(L)->id, bytes, len);
    lua_pushboolean(L, to != NULL);
    return 1;
}

static void deliver(void *arg, const struct tg_message *m)
{
    struct tg_vm *vm = arg;
    lua_getfield(vm->L, LUA_REGISTRYINDEX, "tidegate.on_message");
    lua_pushinteger(vm->L, m->from);
    lua_pushlstring(vm->L, m->bytes, m->len);
    tg_task_start(vm->L, 2);
}

/** on_message(fn): fn(from, bytes) runs in a task for each message */
static int l_on_message(lua_State *L)
{
    struct tg_vm *vm = tg_vm_of(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "tidegate.on_message");
    vm->mailbox.arg = vm;
    vm->mailbox.deliver = deliver;
    return 0;
}

/** on_uncaught(fn): fn(traceback) hears of errors that ended a task or callback */
static int l_on_uncaught(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "tidegate.uncaught");
    return 0;
}

/** write(fd, bytes) -> bytes written | nil, message; for logs: one call, one write(2) */
static int l_write(lua_State *L)
{
    size_t len;
    int fd = luaL_checkint(L, 1);
    const char *bytes = luaL_checklstring(L, 2, &len);
    ssize_t n;
    do
        n = write(fd, bytes, len);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        lua_pushnil(L);
        lua_pushstring(L, strerror(errno));
        return 2;
    }
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

/** pid() -> of this process */
static int l_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

/** notify(path, state): one datagram to the service manager's socket, sd_notify(3) */
static int l_notify(lua_State *L)
{
    size_t len, path_len;
    const char *path = luaL_checklstring(L, 1, &path_len);
    const char *state = luaL_checklstring(L, 2, &len);
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    if (path_len >= sizeof(to.sun_path))
        return 0;
    memcpy(to.sun_path, path, path_len);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    sendto(fd, state, len, MSG_NOSIGNAL, (struct sockaddr *)&to,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len));
    close(fd);
    return 0;
}

/** trim(): give memory that lies unused back to the system */
static int l_trim(lua_State *L)
{
    tg_reactor_trim(tg_reactor_of(L));
    lua_gc(L, LUA_GCCOLLECT, 0);
    malloc_trim(0);
    return 0;
}

int luaopen_tidegate_native_process(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "start_workers", l_start_workers },
        { "id", l_id },
        { "workers", l_workers },
        { "cpus", l_cpus },
        { "exit", l_exit },
        { "post", l_post },
        { "on_message", l_on_message },
        { "on_uncaught", l_on_uncaught },
        { "write", l_write },
        { "pid", l_pid },
        { "notify", l_notify },
        { "trim", l_trim },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
