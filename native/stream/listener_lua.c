#include "bind/task.h"
#include "stream/listener.h"
#include "stream/options_lua.h"
#include "stream/stream_lua.h"
#include "stream/tcp.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

int luaopen_tidegate_native_listener(lua_State *L);

#define LISTENER_MT "tidegate.listener"
#define SOCKETS_MAX 256 /* workers */

struct box {
    struct tg_listener *listener; /* NULL: closed */
    bool closing;                 /* drains: who is served then may close it again */
    lua_State *main;
    struct tg_reactor *r;
    int serve;    /* registry: function called in a task with each stream */
    int shortage; /* registry: function told of shortages, or LUA_NOREF */
};

static void on_accepted(void *arg, int fd, const struct tg_addr *peer)
{
    struct box *b = arg;
    lua_State *L = b->main;
    struct tg_error err;
    struct tg_stream *s = tg_tcp_adopt(b->r, fd, peer, &err);
    if (s == NULL) {
        close(fd);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->serve);
    tg_stream_push(L, s);
    tg_task_start(L, 1);
}

static void on_shortage(void *arg, const struct tg_error *err)
{
    struct box *b = arg;
    lua_State *L = b->main;
    if (b->shortage == LUA_NOREF)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->shortage);
    if (err == NULL) {
        tg_task_queue(L, 0);
        return;
    }
    tg_push_failure(L, err);
    lua_remove(L, -2);
    tg_task_queue(L, 1);
}

static const struct tg_listener_events events = {
    .accepted = on_accepted,
    .shortage = on_shortage,
};

static lua_State *main_state(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "tidegate.main");
    lua_State *main = lua_tothread(L, -1);
    lua_pop(L, 1);
    return main != NULL ? main : L;
}

/** accept(fd, serve [, shortage]) -> listener | nil, err.  `serve` runs in a task of its own
 * with each connection's stream.  The descriptor stays the caller's. */
static int l_accept(lua_State *L)
{
    int fd = luaL_checkint(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    bool told = lua_isfunction(L, 3);
    struct box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    b->serve = b->shortage = LUA_NOREF;
    luaL_getmetatable(L, LISTENER_MT);
    lua_setmetatable(L, -2);
    b->main = main_state(L);
    b->r = tg_reactor_of(L);
    lua_pushvalue(L, 2);
    b->serve = luaL_ref(L, LUA_REGISTRYINDEX);
    if (told) {
        lua_pushvalue(L, 3);
        b->shortage = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    struct tg_error err;
    b->listener = tg_listener_open(b->r, fd, &events, b, &err);
    return b->listener != NULL ? 1 : tg_push_failure(L, &err);
}

static void close_box(lua_State *L, struct box *b, bool drain)
{
    struct tg_listener *listener = b->listener;
    b->listener = NULL;
    if (b->closing)
        return;
    b->closing = true;
    if (listener != NULL)
        tg_listener_close(listener, drain);
    b->closing = false;
    luaL_unref(L, LUA_REGISTRYINDEX, b->serve);
    luaL_unref(L, LUA_REGISTRYINDEX, b->shortage);
    b->serve = b->shortage = LUA_NOREF;
}

/** listener:close([drain]): with drain, what waits to be accepted still is */
static int l_close(lua_State *L)
{
    close_box(L, luaL_checkudata(L, 1, LISTENER_MT), lua_toboolean(L, 2));
    return 0;
}

static int l_gc(lua_State *L)
{
    close_box(L, lua_touserdata(L, 1), false);
    return 0;
}

/** listener:pause(on) */
static int l_pause(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, LISTENER_MT);
    if (b->listener != NULL)
        tg_listener_pause(b->listener, lua_toboolean(L, 2));
    return 0;
}

/** open(address, kind, count, options) -> { fd, ... } | nil, err.  kind: "stream" or
 * "datagram"; address as for dial, a missing host means all */
static int l_open(lua_State *L)
{
    static const char *const kinds[] = { "stream", "datagram", NULL };
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    bool datagrams = luaL_checkoption(L, 2, "stream", kinds) == 1;
    int count = luaL_checkint(L, 3);
    const struct tg_socket_options *options = tg_socket_options_check(L, 4);
    luaL_argcheck(L, count >= 1 && count <= SOCKETS_MAX, 3, "out of range");
    struct tg_addr at;
    struct tg_error err;
    int fds[SOCKETS_MAX];
    if (!tg_addr_parse(&at, text, len))
        return tg_push_failure_text(L, "invalid", "not an address to listen on");
    if (tg_socket_listen(&at, datagrams, options, count, fds, &err) < 0)
        return tg_push_failure(L, &err);
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        lua_pushinteger(L, fds[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/** close_fd(fd) */
static int l_close_fd(lua_State *L)
{
    close(luaL_checkint(L, 1));
    return 0;
}

/** address(fd) -> "ip:port" it is bound to | nil */
static int l_address(lua_State *L)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char text[TG_ADDR_TEXT];
    if (getsockname(luaL_checkint(L, 1), (struct sockaddr *)&sa, &len) < 0)
        return 0;
    lua_pushlstring(L, text, tg_sockaddr_format((struct sockaddr *)&sa, len, text, sizeof(text)));
    return 1;
}

/** adopt(fd) -> "stream" | "datagram" | nil: make an inherited socket usable here */
static int l_adopt(lua_State *L)
{
    int fd = luaL_checkint(L, 1), type = 0;
    socklen_t len = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return 0;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    lua_pushstring(L, type == SOCK_DGRAM ? "datagram" : "stream");
    return 1;
}

/** duplicate(fd) -> another descriptor of the same socket | nil */
static int l_duplicate(lua_State *L)
{
    int fd = fcntl(luaL_checkint(L, 1), F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return 0;
    lua_pushinteger(L, fd);
    return 1;
}

int luaopen_tidegate_native_listener(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "close", l_close },
        { "pause", l_pause },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "open", l_open },
        { "accept", l_accept },
        { "close_fd", l_close_fd },
        { "address", l_address },
        { "adopt", l_adopt },
        { "duplicate", l_duplicate },
        { NULL, NULL },
    };
    luaL_newmetatable(L, LISTENER_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_getglobal(L, "require"); /* streams are what accept() hands out */
    lua_pushliteral(L, "tidegate.native.stream");
    lua_call(L, 1, 0);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
