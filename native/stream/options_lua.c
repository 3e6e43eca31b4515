#include "stream/options_lua.h"

#include "bind/task.h"
#include "os/netns.h"

#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

int luaopen_tidegate_native_options(lua_State *L);

#define OPTIONS_MT "tidegate.socket_options"

static const struct tg_socket_options defaults = TG_SOCKET_DEFAULTS;

static bool flag(lua_State *L, const char *key, bool otherwise)
{
    lua_getfield(L, 1, key);
    bool value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static int number(lua_State *L, int index, const char *key, int otherwise)
{
    lua_getfield(L, index, key);
    int value = lua_isnumber(L, -1) ? (int)lua_tonumber(L, -1) : otherwise;
    lua_pop(L, 1);
    return value;
}

static void read_keepalive(lua_State *L, struct tg_socket_options *o)
{
    lua_getfield(L, 1, "keepalive");
    if (lua_istable(L, -1)) {
        int index = lua_gettop(L);
        o->keepalive_idle = number(L, index, "idle", o->keepalive_idle);
        o->keepalive_interval = number(L, index, "interval", o->keepalive_interval);
        o->keepalive_count = number(L, index, "count", o->keepalive_count);
    } else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
        o->keepalive_idle = 0;
    }
    lua_pop(L, 1);
}

/* A source address without a port: "192.0.2.1" or "2001:db8::1". */
static bool read_bind(struct tg_addr *a, const char *text)
{
    char full[TG_ADDR_TEXT];
    size_t len = strlen(text);
    if (len + 5 > sizeof(full))
        return false;
    bool bare6 = strchr(text, ':') != NULL && text[0] != '[' && strchr(text, '.') == NULL;
    if (tg_addr_parse(a, text, len))
        return true;
    int n = bare6 ? snprintf(full, sizeof(full), "[%s]:0", text)
                  : snprintf(full, sizeof(full), "%s:0", text);
    return tg_addr_parse(a, full, (size_t)n);
}

static int read_texts(lua_State *L, struct tg_socket_options *o)
{
    lua_getfield(L, 1, "interface");
    const char *name = lua_tostring(L, -1);
    if (name != NULL) {
        if (strlen(name) >= sizeof(o->interface))
            return tg_push_failure_text(L, "invalid", "the interface name is too long");
        memcpy(o->interface, name, strlen(name) + 1);
    }
    lua_getfield(L, 1, "bind");
    const char *address = lua_tostring(L, -1);
    if (address != NULL && !read_bind(&o->bind, address))
        return tg_push_failure_text(L, "invalid", "the source address is not an IP address");
    lua_getfield(L, 1, "netns");
    const char *netns = lua_tostring(L, -1);
    if (netns != NULL) {
        struct tg_error err;
        o->netns = tg_netns_open(netns, &err);
        if (o->netns < 0) {
            o->netns = -1;
            return tg_push_failure(L, &err);
        }
    }
    lua_pop(L, 3);
    return 0;
}

int tg_socket_options_lua(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct tg_socket_options *o = lua_newuserdata(L, sizeof(*o));
    *o = defaults;
    luaL_getmetatable(L, OPTIONS_MT);
    lua_setmetatable(L, -2);
    o->nodelay = flag(L, "nodelay", o->nodelay);
    o->fastopen = flag(L, "fastopen", false);
    o->mptcp = flag(L, "mptcp", false);
    o->reuseport = flag(L, "reuseport", false);
    o->transparent = flag(L, "transparent", false);
    o->mark = number(L, 1, "mark", 0);
    o->backlog = number(L, 1, "backlog", o->backlog);
    read_keepalive(L, o);
    int failed = read_texts(L, o);
    return failed != 0 ? failed : 1;
}

const struct tg_socket_options *tg_socket_options_check(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index))
        return &defaults;
    return luaL_checkudata(L, index, OPTIONS_MT);
}

static int l_gc(lua_State *L)
{
    struct tg_socket_options *o = lua_touserdata(L, 1);
    if (o->netns >= 0)
        close(o->netns);
    o->netns = -1;
    return 0;
}

void tg_socket_options_open(lua_State *L)
{
    luaL_newmetatable(L, OPTIONS_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

/* Also reached as stream.options; on its own for bindings that need no streams. */
int luaopen_tidegate_native_options(lua_State *L)
{
    tg_socket_options_open(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, tg_socket_options_lua);
    lua_setfield(L, -2, "options");
    return 1;
}
