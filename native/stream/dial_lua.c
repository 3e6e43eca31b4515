#include "bind/task.h"
#include "stream/dial.h"
#include "stream/options_lua.h"
#include "stream/stream_lua.h"
#include "stream/tcp.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_dial(lua_State *L);

#define DIAL_MT "tidegate.dial"

/* A race under way; lies on the stack of the task that waits for it. */
struct race {
    struct tg_dial *dial; /* NULL: over */
    struct tg_waiter waiter;
};

static void on_done(void *arg, struct tg_stream *s, const struct tg_error *err)
{
    struct race *race = arg;
    lua_State *co = race->waiter.co;
    race->dial = NULL;
    if (s == NULL) {
        tg_wake(&race->waiter, tg_push_failure(co, err));
        return;
    }
    tg_stream_push(co, s);
    tg_wake(&race->waiter, 1);
}

static void on_timeout(struct tg_waiter *w)
{
    struct race *race = (struct race *)((char *)w - offsetof(struct race, waiter));
    struct tg_error err;
    tg_error_put(&err, "tcp", "connect", TG_TIMEOUT, "timed out");
    tg_dial_cancel(race->dial);
    race->dial = NULL;
    tg_wake(w, tg_push_failure(w->co, &err));
}

static int l_race_gc(lua_State *L)
{
    struct race *race = lua_touserdata(L, 1);
    if (race->dial != NULL)
        tg_dial_cancel(race->dial);
    race->dial = NULL;
    return 0;
}

static int dial_many(lua_State *L, const struct tg_addr *to, size_t count,
                     const struct tg_socket_options *options, uint64_t deadline)
{
    struct race *race = lua_newuserdata(L, sizeof(*race));
    memset(race, 0, sizeof(*race));
    if (luaL_newmetatable(L, DIAL_MT)) {
        lua_pushcfunction(L, l_race_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    tg_check_parkable(L, &race->waiter);
    race->waiter.on_timeout = on_timeout;
    race->dial = tg_dial_start(tg_reactor_of(L), to, count, options, on_done, race);
    return tg_park(L, &race->waiter, deadline);
}

static int dial_one(lua_State *L, const struct tg_addr *to,
                    const struct tg_socket_options *options, uint64_t deadline)
{
    struct tg_error err;
    struct tg_stream *s = tg_tcp_connect(tg_reactor_of(L), to, options, &err);
    if (s == NULL)
        return tg_push_failure(L, &err);
    tg_stream_push(L, s);
    return tg_stream_await_open(L, lua_gettop(L), deadline);
}

static void read_addr(lua_State *L, int index, struct tg_addr *a)
{
    size_t len;
    const char *text = lua_tolstring(L, index, &len);
    if (text == NULL || !tg_addr_parse(a, text, len))
        luaL_error(L, "dial: '%s' is not an address (ip:port or unix:path)",
                   text != NULL ? text : luaL_typename(L, index));
}

int tg_stream_dial_lua(lua_State *L)
{
    const struct tg_socket_options *options = tg_socket_options_check(L, 2);
    uint64_t deadline = tg_opt_deadline(L, 3);
    struct tg_addr to[TG_DIAL_MAX];
    size_t count = 1;
    if (lua_istable(L, 1)) {
        count = lua_objlen(L, 1);
        luaL_argcheck(L, count > 0, 1, "no address");
        if (count > TG_DIAL_MAX)
            count = TG_DIAL_MAX;
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, 1, (int)i + 1);
            read_addr(L, -1, &to[i]);
            lua_pop(L, 1);
        }
    } else {
        luaL_checkstring(L, 1);
        read_addr(L, 1, &to[0]);
    }
    if (!tg_is_task(L))
        return luaL_error(L, "only a task may dial, and not below a function like string.gsub");
    if (count == 1)
        return dial_one(L, &to[0], options, deadline);
    return dial_many(L, to, count, options, deadline);
}

/* Also reached as stream.dial. */
int luaopen_tidegate_native_dial(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, tg_stream_dial_lua);
    lua_setfield(L, -2, "dial");
    return 1;
}
