#include "base/mem.h"
#include "bind/class.h"
#include "bind/task.h"
#include "os/serial.h"
#include "stream/device.h"
#include "stream/stream_lua.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <luv/luv.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int luaopen_tidegate_native_device(lua_State *L);

#define HANDLE_MT "tidegate.device"

/** What outlives the stream in Lua, and ends it when it is somewhere in C.  Anchored while the stream lives. */
struct handle {
    struct tg_stream *s; /* NULL: closed */
    lua_State *main;
    int self, closed; /* registry */
};

static void on_closed(void *arg)
{
    struct handle *h = arg;
    lua_State *L = h->main;
    h->s = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->closed);
    luaL_unref(L, LUA_REGISTRYINDEX, h->closed);
    luaL_unref(L, LUA_REGISTRYINDEX, h->self);
    if (lua_isfunction(L, -1))
        tg_task_queue(L, 0);
    else
        lua_pop(L, 1);
}

static void on_fd_closed(uv_fs_t *request)
{
    uv_fs_req_cleanup(request);
    free(request);
}

/* The kernel lets close() wait until a UART has sent everything: not our loop. */
static void release_line(void *arg, int fd)
{
    const struct handle *h = arg;
    uv_fs_t *request = tg_zalloc(sizeof(*request));
    tg_serial_release(fd);
    if (uv_fs_close(luv_loop(h->main), request, fd, on_fd_closed) < 0) {
        free(request);
        close(fd);
    }
}

/* A handle with the function at `index`, or nothing there. */
static struct handle *push_handle(lua_State *L, int index)
{
    struct handle *h = lua_newuserdata(L, sizeof(*h));
    *h = (struct handle){ .self = LUA_NOREF, .closed = LUA_NOREF };
    luaL_getmetatable(L, HANDLE_MT);
    lua_setmetatable(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, "tidegate.main");
    h->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_pushvalue(L, index);
    h->closed = luaL_ref(L, LUA_REGISTRYINDEX);
    return h;
}

/* The handle is on top.  @return results: stream, handle | nil, err; then the descriptors are closed */
static int push_stream(lua_State *L, struct handle *h, int in, int out, struct tg_device_options *o)
{
    struct tg_error err;
    o->closed = on_closed;
    o->arg = h;
    struct tg_stream *s = tg_device_stream(tg_reactor_of(L), in, out, o, &err);
    if (s == NULL) {
        close(in);
        close(out);
        luaL_unref(L, LUA_REGISTRYINDEX, h->closed);
        return tg_push_failure(L, &err);
    }
    h->s = s;
    lua_pushvalue(L, -1);
    h->self = luaL_ref(L, LUA_REGISTRYINDEX);
    tg_stream_push(L, s);
    lua_insert(L, -2);
    return 2;
}

/** serial{ path=, baud=, parity="none"|"odd"|"even"|"mark"|"space", silence=ms } [, closed] -> stream, handle
 * | nil, err.  silence: without input for so long it ends.  `closed` runs in a task when the stream is gone. */
static int l_serial(lua_State *L)
{
    static const char *const parities[] = { "none", "odd", "even", "mark", "space", NULL };
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_getfield(L, 1, "path");
    lua_getfield(L, 1, "baud");
    lua_getfield(L, 1, "parity");
    lua_getfield(L, 1, "silence");
    const char *path = luaL_checkstring(L, 3);
    lua_Number baud = luaL_optnumber(L, 4, 9600), silence = luaL_optnumber(L, 6, 0);
    struct tg_serial_options line = { .parity = (enum tg_parity)luaL_checkoption(L, 5, "none", parities) };
    luaL_argcheck(L, baud >= 1 && baud <= UINT32_MAX, 1, "baud is out of range");
    line.baud = (uint32_t)baud;
    struct tg_device_options o = { .kind = TG_DEVICE_SERIAL, .release = release_line };
    o.silence = silence > 0 && silence < UINT32_MAX ? (uint32_t)silence : 0;
    struct tg_error err;
    int in = tg_serial_open(path, &line, &err);
    if (in < 0)
        return tg_push_failure(L, &err);
    int out = fcntl(in, F_DUPFD_CLOEXEC, 3);
    if (out < 0) {
        close(in);
        return tg_push_failure_text(L, "busy", "no descriptor left");
    }
    return push_stream(L, push_handle(L, 2), in, out, &o);
}

/** stdio([closed]) -> stream, handle | nil, err: standard input and output, which are nobody else's from now on */
static int l_stdio(lua_State *L)
{
    lua_settop(L, 1);
    struct tg_error err;
    int in, out;
    if (tg_device_take_stdio(&in, &out, &err) < 0)
        return tg_push_failure(L, &err);
    struct tg_device_options o = { .kind = TG_DEVICE_STDIO };
    return push_stream(L, push_handle(L, 1), in, out, &o);
}

/** handle:cut(): the stream's input ends, wherever it is */
static int l_cut(lua_State *L)
{
    struct handle *h = luaL_checkudata(L, 1, HANDLE_MT);
    if (h->s != NULL)
        tg_device_cut(h->s);
    return 0;
}

/** handle:is_open() */
static int l_is_open(lua_State *L)
{
    struct handle *h = luaL_checkudata(L, 1, HANDLE_MT);
    lua_pushboolean(L, h->s != NULL);
    return 1;
}

static int l_tostring(lua_State *L)
{
    struct handle *h = luaL_checkudata(L, 1, HANDLE_MT);
    lua_pushfstring(L, "device (%s)", h->s != NULL ? h->s->ops->name : "closed");
    return 1;
}

/* An open stream keeps its handle: this is the end of the state. */
static int l_gc(lua_State *L)
{
    struct handle *h = lua_touserdata(L, 1);
    if (h->s != NULL)
        tg_device_forget(h->s);
    return 0;
}

int luaopen_tidegate_native_device(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "cut", l_cut },
        { "is_open", l_is_open },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "serial", l_serial },
        { "stdio", l_stdio },
        { NULL, NULL },
    };
    tg_class(L, HANDLE_MT, methods, l_gc, l_tostring);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
