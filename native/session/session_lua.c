#include "session/smux.h"

#include "bind/class.h"
#include "bind/task.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_session(lua_State *L);

#define SESSION_MT "tidegate.session"

/** What Lua holds.  `s` is NULL once closed; collecting the box closes the session. */
struct box {
    struct tg_session *s;
    struct tg_waiter acceptor;
};

static struct box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, SESSION_MT);
}

static int fail_closed(lua_State *L)
{
    return tg_push_failure_text(L, "closed", "the session is closed");
}

/* @return number of results pushed, 0 to wait on */
static int step_accept(lua_State *L, struct box *b)
{
    if (b->s == NULL)
        return fail_closed(L);
    struct tg_stream *stream = tg_session_accept(b->s);
    if (stream != NULL) {
        tg_stream_push(L, stream);
        return 1;
    }
    return b->s->dead ? tg_push_failure(L, &b->s->error) : 0;
}

static void on_event(void *arg)
{
    struct box *b = arg;
    if (b->acceptor.co == NULL)
        return;
    int count = step_accept(b->acceptor.co, b);
    if (count > 0)
        tg_wake(&b->acceptor, count);
}

static uint32_t field(lua_State *L, const char *key, lua_Number scale, uint32_t otherwise)
{
    lua_getfield(L, 2, key);
    lua_Number value = luaL_optnumber(L, -1, otherwise / scale) * scale;
    lua_pop(L, 1);
    if (!(value >= 0 && value <= UINT32_MAX))
        luaL_error(L, "session option %s is out of range", key);
    return (uint32_t)value;
}

/** smux(stream, { client=, version=1, keepalive=10 (s, 0: none), timeout=30, max_frame=32768,
 * max_receive=4194304, max_stream=65536, max_streams=0, yamux=false }) → session; it takes the stream
 * over */
static int l_smux(lua_State *L)
{
    struct tg_smux_options o = TG_SMUX_DEFAULTS;
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 2, "client");
    o.client = lua_toboolean(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, 2, "yamux");
    o.yamux = lua_toboolean(L, -1);
    lua_pop(L, 1);
    o.version = (uint8_t)field(L, "version", 1, o.version);
    o.keepalive = field(L, "keepalive", 1000, o.keepalive);
    o.timeout = field(L, "timeout", 1000, o.timeout);
    uint32_t max_frame = field(L, "max_frame", 1, o.max_frame);
    o.max_frame = max_frame > UINT16_MAX ? UINT16_MAX : (uint16_t)max_frame;
    o.max_receive = field(L, "max_receive", 1, o.max_receive);
    o.max_stream = field(L, "max_stream", 1, o.max_stream);
    o.max_streams = field(L, "max_streams", 1, o.max_streams);
    luaL_argcheck(L, o.version == 1 || o.version == 2, 2, "smux has the versions 1 and 2");

    struct box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    luaL_getmetatable(L, SESSION_MT);
    lua_setmetatable(L, -2);
    struct tg_stream *lower = tg_stream_take(L, 1);
    luaL_argcheck(L, lower != NULL, 1, "the stream is closed");
    b->s = tg_smux_start(lower, &o);
    b->s->on_event = on_event;
    b->s->event_arg = b;
    return 1;
}

/** session:open() → stream | nil, err */
static int l_open(lua_State *L)
{
    struct box *b = check_box(L);
    if (b->s == NULL)
        return fail_closed(L);
    struct tg_error err;
    struct tg_stream *stream = tg_session_open(b->s, &err);
    if (stream == NULL)
        return tg_push_failure(L, &err);
    tg_stream_push(L, stream);
    return 1;
}

/** session:accept([deadline in ms]) → stream | nil, err: waits for one the peer opens; an error
 * other than a timeout is the session's end */
static int l_accept(lua_State *L)
{
    struct box *b = check_box(L);
    lua_Number deadline = luaL_optnumber(L, 2, 0);
    tg_check_parkable(L, &b->acceptor);
    int count = step_accept(L, b);
    return count > 0 ? count : tg_park(L, &b->acceptor, deadline > 0 ? (uint64_t)deadline : 0);
}

/** session:close(); may be repeated */
static int l_close(lua_State *L)
{
    struct box *b = check_box(L);
    if (b->s == NULL)
        return 0;
    tg_session_close(b->s);
    b->s = NULL;
    if (b->acceptor.co != NULL)
        tg_wake(&b->acceptor, fail_closed(b->acceptor.co));
    return 0;
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    if (b->s != NULL)
        tg_session_close(b->s);
    b->s = NULL;
    return 0;
}

/** session:is_alive() → false once it is closed or dead */
static int l_is_alive(lua_State *L)
{
    struct box *b = check_box(L);
    lua_pushboolean(L, b->s != NULL && !b->s->dead);
    return 1;
}

/** session:count() → streams alive */
static int l_count(lua_State *L)
{
    struct box *b = check_box(L);
    lua_pushinteger(L, b->s == NULL ? 0 : (lua_Integer)b->s->streams);
    return 1;
}

int luaopen_tidegate_native_session(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "open", l_open },         { "accept", l_accept }, { "close", l_close },
        { "is_alive", l_is_alive }, { "count", l_count },   { NULL, NULL },
    };
    static const luaL_Reg functions[] = { { "smux", l_smux }, { NULL, NULL } };
    tg_class(L, SESSION_MT, methods, l_gc, NULL);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
