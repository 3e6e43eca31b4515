#include "session/session_lua.h"

#include "bind/class.h"
#include "session/smux.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_session(lua_State *L);

#define SESSION_MT "tidegate.session"

/* --- what all kinds of sessions have ------------------------------------------------------- */

static const char marker; /* its address is a key in the metatables of sessions */

static struct tg_session_box *check_any(lua_State *L)
{
    struct tg_session_box *b = lua_touserdata(L, 1);
    bool is = false;
    if (b != NULL && lua_getmetatable(L, 1)) {
        lua_pushlightuserdata(L, (void *)&marker);
        lua_rawget(L, -2);
        is = lua_toboolean(L, -1);
        lua_pop(L, 2);
    }
    if (!is)
        luaL_typerror(L, 1, "session");
    return b;
}

int tg_session_fail(lua_State *L, const struct tg_session_box *b)
{
    if (b->s != NULL)
        return tg_push_failure(L, &b->s->error);
    return tg_push_failure_text(L, "closed", "the session is closed");
}

/* @return number of results pushed, 0 to wait on */
static int step_accept(lua_State *L, struct tg_session_box *b)
{
    struct tg_stream *stream = b->s == NULL ? NULL : tg_session_accept(b->s);
    if (stream != NULL) {
        tg_stream_push(L, stream);
        return 1;
    }
    return b->s == NULL || b->s->dead ? tg_session_fail(L, b) : 0;
}

/* Those who wait look again. */
static void on_event(void *arg)
{
    struct tg_session_box *b = arg;
    int count = b->acceptor.co == NULL ? 0 : step_accept(b->acceptor.co, b);
    if (count > 0)
        tg_wake(&b->acceptor, count);
    count = b->asker.co == NULL ? 0 : b->step(b->asker.co, b);
    if (count > 0)
        tg_wake(&b->asker, count);
}

int tg_session_ask(lua_State *L, struct tg_session_box *b,
                   int (*step)(lua_State *L, struct tg_session_box *b), uint64_t deadline)
{
    int count = step(L, b);
    if (count > 0)
        return count;
    b->step = step;
    return tg_park(L, &b->asker, deadline);
}

/** session:accept([deadline in ms]) → stream | nil, err: waits for one the peer opens; an error
 * other than a timeout is the session's end */
static int l_accept(lua_State *L)
{
    struct tg_session_box *b = check_any(L);
    uint64_t deadline = tg_opt_deadline(L, 2);
    tg_check_parkable(L, &b->acceptor);
    int count = step_accept(L, b);
    return count > 0 ? count : tg_park(L, &b->acceptor, deadline);
}

static int l_gc(lua_State *L)
{
    struct tg_session_box *b = lua_touserdata(L, 1);
    if (b->s != NULL)
        tg_session_close(b->s);
    b->s = NULL;
    return 0;
}

/** session:close(); may be repeated */
static int l_close(lua_State *L)
{
    struct tg_session_box *b = check_any(L);
    l_gc(L);
    on_event(b);
    return 0;
}

/** session:is_alive() → false once it is closed or dead */
static int l_is_alive(lua_State *L)
{
    const struct tg_session_box *b = check_any(L);
    lua_pushboolean(L, b->s != NULL && !b->s->dead);
    return 1;
}

/** session:count() → streams alive */
static int l_count(lua_State *L)
{
    const struct tg_session_box *b = check_any(L);
    lua_pushinteger(L, b->s == NULL ? 0 : (lua_Integer)b->s->streams);
    return 1;
}

void tg_session_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    static const luaL_Reg common[] = {
        { "accept", l_accept }, { "close", l_close }, { "is_alive", l_is_alive },
        { "count", l_count },   { NULL, NULL },
    };
    tg_class(L, name, common, l_gc, NULL);
    luaL_getmetatable(L, name);
    lua_pushlightuserdata(L, (void *)&marker);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_getfield(L, -1, "__index");
    luaL_register(L, NULL, methods);
    lua_pop(L, 2);
}

struct tg_session_box *tg_session_push(lua_State *L, const char *name, int index,
                                       struct tg_stream **lower)
{
    struct tg_session_box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    luaL_getmetatable(L, name);
    lua_setmetatable(L, -2);
    *lower = tg_stream_take(L, index);
    luaL_argcheck(L, *lower != NULL, index, "the stream is closed");
    return b;
}

int tg_session_started(lua_State *L, struct tg_session_box *b, const struct tg_error *err)
{
    if (b->s == NULL)
        return tg_push_failure(L, err);
    b->s->on_event = on_event;
    b->s->event_arg = b;
    return 1;
}

int tg_session_push_stream(lua_State *L, struct tg_stream *stream, const struct tg_error *err)
{
    if (stream == NULL)
        return tg_push_failure(L, err);
    tg_stream_push(L, stream);
    return 1;
}

int tg_session_await_stream(lua_State *L, struct tg_stream *stream, const struct tg_error *err,
                            uint64_t deadline)
{
    int count = tg_session_push_stream(L, stream, err);
    return stream == NULL ? count : tg_stream_await_open(L, lua_gettop(L), deadline);
}

/* --- options ------------------------------------------------------------------------------- */

uint32_t tg_session_number(lua_State *L, int index, const char *key, lua_Number scale,
                           uint32_t otherwise)
{
    lua_getfield(L, index, key);
    lua_Number value = luaL_optnumber(L, -1, otherwise / scale) * scale;
    lua_pop(L, 1);
    if (!(value >= 0 && value <= UINT32_MAX))
        luaL_error(L, "session option %s is out of range", key);
    return (uint32_t)value;
}

bool tg_session_flag(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

void tg_session_set_flag(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

const char *tg_session_text(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    const char *text = luaL_optstring(L, -1, NULL);
    lua_pop(L, 1); /* it stays in the table */
    return text;
}

/* --- smux and yamux ------------------------------------------------------------------------ */

/** smux(stream, { client=, version=1, keepalive=10 (s, 0: none), timeout=30, max_frame=32768,
 * max_receive= (4 MiB, 32 where streams have windows), max_stream=65536, max_streams=0, yamux=false })
 * → session; it takes the stream over */
static int l_smux(lua_State *L)
{
    struct tg_smux_options o = TG_SMUX_DEFAULTS;
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    o.client = tg_session_flag(L, 2, "client");
    o.yamux = tg_session_flag(L, 2, "yamux");
    o.version = (uint8_t)tg_session_number(L, 2, "version", 1, o.version);
    o.keepalive = tg_session_number(L, 2, "keepalive", 1000, o.keepalive);
    o.timeout = tg_session_number(L, 2, "timeout", 1000, o.timeout);
    uint32_t max_frame = tg_session_number(L, 2, "max_frame", 1, o.max_frame);
    o.max_frame = max_frame > UINT16_MAX ? UINT16_MAX : (uint16_t)max_frame;
    o.max_receive = tg_session_number(L, 2, "max_receive", 1, o.max_receive);
    o.max_stream = tg_session_number(L, 2, "max_stream", 1, o.max_stream);
    o.max_streams = tg_session_number(L, 2, "max_streams", 1, o.max_streams);
    luaL_argcheck(L, o.version == 1 || o.version == 2, 2, "smux has the versions 1 and 2");

    struct tg_stream *lower;
    struct tg_session_box *b = tg_session_push(L, SESSION_MT, 1, &lower);
    b->s = tg_smux_start(lower, &o);
    return tg_session_started(L, b, NULL);
}

/** session:open() → stream | nil, err */
static int l_open(lua_State *L)
{
    struct tg_session_box *b = luaL_checkudata(L, 1, SESSION_MT);
    if (b->s == NULL)
        return tg_session_fail(L, b);
    struct tg_error err;
    return tg_session_push_stream(L, tg_session_open(b->s, &err), &err);
}

int luaopen_tidegate_native_session(lua_State *L)
{
    static const luaL_Reg methods[] = { { "open", l_open }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "smux", l_smux }, { NULL, NULL } };
    tg_session_class(L, SESSION_MT, methods);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
