#include "session/h2.h"
#include "session/h2_grpc.h"
#include "session/h2_http1.h"

#include "base/mem.h"
#include "bind/class.h"
#include "session/session_lua.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_h2(lua_State *L);

#define SESSION_MT "tidegate.h2"
#define WAIT_MT "tidegate.h2.wait"
#define FIELDS_MAX 128

/** A task that waits for the header of a stream; lies on its stack. */
struct wait {
    struct tg_waiter waiter;
    struct tg_stream *stream; /* NULL: not waiting */
    bool keep;
};

static struct tg_session_box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, SESSION_MT);
}

/* --- options and fields ---------------------------------------------------------------------------- */

static void read_options(lua_State *L, struct tg_h2_options *o)
{
    o->client = tg_session_flag(L, 2, "client");
    o->connect_protocol = tg_session_flag(L, 2, "connect_protocol");
    o->ping_idle = tg_session_flag(L, 2, "ping_idle");
    o->max_streams = tg_session_number(L, 2, "max_streams", 1, o->max_streams);
    o->window = tg_session_number(L, 2, "window", 1, o->window);
    o->max_window = tg_session_number(L, 2, "max_window", 1, o->max_window);
    o->session_window = tg_session_number(L, 2, "session_window", 1, o->session_window);
    o->max_frame = tg_session_number(L, 2, "max_frame", 1, o->max_frame);
    o->max_headers = tg_session_number(L, 2, "max_headers", 1, o->max_headers);
    o->keepalive = tg_session_number(L, 2, "keepalive", 1000, o->keepalive);
    o->timeout = tg_session_number(L, 2, "timeout", 1000, o->timeout);
    o->idle = tg_session_number(L, 2, "idle", 1000, o->idle);
}

/* { name, value, name, value … } at `index`; the strings stay in the table.  @return their number */
static unsigned read_fields(lua_State *L, int index, struct tg_h2_field *fields)
{
    luaL_checktype(L, index, LUA_TTABLE);
    size_t count = lua_objlen(L, index) / 2;
    luaL_argcheck(L, count <= FIELDS_MAX, index, "too many header fields");
    for (size_t i = 0; i < count; i++) {
        struct tg_h2_field *f = &fields[i];
        lua_rawgeti(L, index, (int)(2 * i + 1));
        lua_rawgeti(L, index, (int)(2 * i + 2));
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING && lua_type(L, -2) == LUA_TSTRING, index,
                      "names and values are strings");
        f->name = lua_tolstring(L, -2, &f->name_len);
        f->value = lua_tolstring(L, -1, &f->value_len);
        lua_pop(L, 2);
    }
    return (unsigned)count;
}

/* A table: name, value, name, value … in order, and the first value of each name by its name. */
static int push_block(lua_State *L, const struct tg_h2_block *b)
{
    struct tg_h2_field f;
    size_t at = 0;
    int i = 0;
    lua_createtable(L, b == NULL ? 0 : (int)b->count * 2, b == NULL ? 0 : (int)b->count);
    while (tg_h2_block_next(b, &at, &f)) {
        lua_pushlstring(L, f.name, f.name_len);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, ++i);
        lua_pushlstring(L, f.value, f.value_len);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -4, ++i);
        lua_pushvalue(L, -2);
        lua_rawget(L, -4);
        bool fresh = lua_isnil(L, -1);
        lua_pop(L, 1);
        if (fresh)
            lua_rawset(L, -3);
        else
            lua_pop(L, 2);
    }
    return 1;
}

/* --- sessions ----------------------------------------------------------------------------------------- */

/** start(stream, { client=, max_streams=1000, window=, max_window=, session_window=, max_frame=,
 * max_headers=, keepalive= (s, 0: none), timeout=30, idle= (s), ping_idle=, connect_protocol= })
 * → session; it takes the stream over */
static int l_start(lua_State *L)
{
    struct tg_h2_options o = TG_H2_DEFAULTS;
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    read_options(L, &o);
    struct tg_stream *lower;
    struct tg_session_box *b = tg_session_push(L, SESSION_MT, 1, &lower);
    b->s = tg_h2_start(lower, &o);
    return tg_session_started(L, b, NULL);
}

/** session:request({ ":method", "GET", … }[, ended]) → stream | nil, err; its response comes with
 * headers() */
static int l_request(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    struct tg_h2_field fields[FIELDS_MAX];
    unsigned count = read_fields(L, 2, fields);
    struct tg_error err;
    if (b->s == NULL)
        return tg_session_fail(L, b);
    struct tg_stream *stream = tg_h2_request(b->s, fields, count, lua_toboolean(L, 3), &err);
    return tg_session_push_stream(L, stream, &err);
}

/** session:drain(): no new streams; it ends with the last one */
static int l_drain(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    if (b->s != NULL)
        tg_h2_drain(b->s);
    return 0;
}

/** session:is_alive() → false once it takes no more streams */
static int l_is_alive(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    lua_pushboolean(L, b->s != NULL && !tg_h2_is_draining(b->s));
    return 1;
}

/** session:room() → how many requests the peer would take now */
static int l_room(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    lua_pushnumber(L, b->s == NULL ? 0 : tg_h2_room(b->s));
    return 1;
}

/** session:silence() → ms since the peer was last heard of */
static int l_silence(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    lua_pushnumber(L, b->s == NULL ? 0 : (lua_Number)tg_h2_silence(b->s));
    return 1;
}

/** session:refusals() → how many streams have failed that expect_ok() */
static int l_refusals(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    lua_pushnumber(L, b->s == NULL ? 0 : tg_h2_refusals(b->s));
    return 1;
}

/* @return number of results pushed, 0 to wait on */
static int step_greeting(lua_State *L, struct tg_session_box *b)
{
    if (b->s == NULL || b->s->dead)
        return tg_session_fail(L, b);
    if (!tg_h2_is_greeted(b->s))
        return 0;
    lua_pushboolean(L, 1);
    return 1;
}

/** session:greeting([deadline in ms]) → true: the peer's SETTINGS have come, it speaks HTTP/2 | nil, err */
static int l_greeting(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    uint64_t deadline = tg_opt_deadline(L, 2);
    tg_check_parkable(L, &b->asker);
    return tg_session_ask(L, b, step_greeting, deadline);
}

/** session:takes_websockets() → whether the peer takes extended CONNECT, as far as it has said so */
static int l_takes_websockets(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    lua_pushboolean(L, b->s != NULL && tg_h2_takes_connect_protocol(b->s));
    return 1;
}

/** session:exchange(scheme) → stream to which a request of HTTP/1.1 is written, to read its response
 * | nil, err */
static int l_exchange(lua_State *L)
{
    static const char *const schemes[] = { "http", "https", NULL };
    struct tg_session_box *b = check_box(L);
    const char *scheme = schemes[luaL_checkoption(L, 2, NULL, schemes)];
    struct tg_error err;
    if (b->s == NULL)
        return tg_session_fail(L, b);
    return tg_session_push_stream(L, tg_h2_http1_exchange(b->s, scheme, &err), &err);
}

/** session:failure() → why it ended, or nil while it has not */
static int l_failure(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    if (b->s == NULL || b->s->dead)
        tg_session_fail(L, b);
    else
        lua_pushnil(L);
    return 1;
}

/* --- streams ---------------------------------------------------------------------------------------------- */

static int fail_stream(lua_State *L)
{
    return tg_push_failure_text(L, "closed", "the stream is closed");
}

/* @return NULL: closed */
static struct tg_stream *check_stream(lua_State *L, unsigned event)
{
    struct tg_stream *s = tg_stream_check_side(L, 1, event);
    luaL_argcheck(L, s == NULL || tg_h2_is_stream(s), 1, "no stream of HTTP/2");
    return s;
}

/* @return number of results pushed, 0 to wait on */
static int step_headers(lua_State *L, struct tg_stream *s, bool keep)
{
    struct tg_error err;
    const struct tg_h2_block *headers = tg_h2_headers(s);
    if (headers != NULL) {
        push_block(L, headers);
        if (!keep)
            tg_h2_forget_headers(s);
        return 1;
    }
    return tg_h2_is_over(s, &err) ? tg_push_failure(L, &err) : 0;
}

static void on_headers(void *arg, struct tg_stream *s)
{
    struct wait *w = arg;
    w->stream = NULL;
    if (w->waiter.co != NULL)
        tg_wake(&w->waiter,
                s == NULL ? fail_stream(w->waiter.co) : step_headers(w->waiter.co, s, w->keep));
}

static void on_headers_timeout(struct tg_waiter *waiter)
{
    struct wait *w = tg_container(waiter, struct wait, waiter);
    struct tg_error err;
    tg_h2_on_headers(w->stream, NULL, NULL);
    w->stream = NULL;
    tg_error_put(&err, "h2", "response", TG_TIMEOUT, "timed out");
    tg_wake(waiter, tg_push_failure(waiter->co, &err));
}

static int l_wait_gc(lua_State *L)
{
    struct wait *w = lua_touserdata(L, 1);
    if (w->stream != NULL)
        tg_h2_on_headers(w->stream, NULL, NULL);
    w->stream = NULL;
    return 0;
}

/** headers(stream[, keep]) → the peer's header, once unless it is kept: { name, value, … ,
 * [name] = value } | nil, err; waits for it until the stream's deadline */
static int l_headers(lua_State *L)
{
    struct tg_stream *s = check_stream(L, TG_READABLE);
    if (s == NULL)
        return fail_stream(L);
    bool keep = lua_toboolean(L, 2);
    int count = step_headers(L, s, keep);
    if (count > 0)
        return count;
    struct wait *w = lua_newuserdata(L, sizeof(*w));
    memset(w, 0, sizeof(*w));
    luaL_getmetatable(L, WAIT_MT);
    lua_setmetatable(L, -2);
    tg_check_parkable(L, &w->waiter);
    w->keep = keep;
    w->waiter.on_timeout = on_headers_timeout;
    w->stream = s;
    tg_h2_on_headers(s, on_headers, w);
    return tg_park(L, &w->waiter, tg_stream_deadline(L, 1));
}

static int answer(lua_State *L, struct tg_stream *s, const char *op, int code)
{
    struct tg_error err;
    if (code >= 0 || code == TG_AGAIN) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (s->state == TG_STREAM_FAILED)
        return tg_push_failure(L, &s->error);
    tg_error_put(&err, "h2", op, (enum tg_code)code, "not possible now");
    return tg_push_failure(L, &err);
}

/* The arguments of the functions below: a stream, and fields to send on it. */
static struct tg_stream *check_head(lua_State *L, struct tg_h2_field *fields, unsigned *count)
{
    struct tg_stream *s = check_stream(L, TG_WRITABLE);
    *count = read_fields(L, 2, fields);
    return s;
}

/** respond(stream, { ":status", "200", … }[, ended]) → true | nil, err */
static int l_respond(lua_State *L)
{
    struct tg_h2_field fields[FIELDS_MAX];
    unsigned count;
    struct tg_stream *s = check_head(L, fields, &count);
    return s == NULL ? fail_stream(L) : answer(L, s, "respond", tg_h2_respond(s, fields, count, lua_toboolean(L, 3)));
}

/** inform(stream, { ":status", "103", … }) → true | nil, err: an interim header, before respond() */
static int l_inform(lua_State *L)
{
    struct tg_h2_field fields[FIELDS_MAX];
    unsigned count;
    struct tg_stream *s = check_head(L, fields, &count);
    return s == NULL ? fail_stream(L) : answer(L, s, "inform", tg_h2_inform(s, fields, count));
}

/** finish(stream, { name, value, … }) → true | nil, err: trailers, and the end of the body */
static int l_finish(lua_State *L)
{
    struct tg_h2_field fields[FIELDS_MAX];
    unsigned count;
    struct tg_stream *s = check_head(L, fields, &count);
    return s == NULL ? fail_stream(L) : answer(L, s, "finish", tg_h2_finish(s, fields, count));
}

/** trailers(stream) → what came behind the body, as headers() gives it | nil */
static int l_trailers(lua_State *L)
{
    struct tg_stream *s = check_stream(L, TG_READABLE);
    const struct tg_h2_block *trailers = s == NULL ? NULL : tg_h2_trailers(s);
    if (trailers == NULL)
        lua_pushnil(L);
    else
        push_block(L, trailers);
    return 1;
}

/** reset(stream, code): break it off with an error code of RFC 9113 section 7 */
static int l_reset(lua_State *L)
{
    struct tg_stream *s = check_stream(L, TG_WRITABLE);
    lua_Number code = luaL_checknumber(L, 2);
    luaL_argcheck(L, code >= 0 && code <= UINT32_MAX, 2, "out of range");
    if (s != NULL)
        tg_h2_reset(s, (uint32_t)code);
    return 0;
}

/** expect_ok(stream): an answer with another status than 200 is a failure, told by read(); there are no
 * headers() to wait for then */
static int l_expect_ok(lua_State *L)
{
    struct tg_stream *s = check_stream(L, TG_READABLE);
    if (s != NULL)
        tg_h2_expect_ok(s);
    return 0;
}

static struct tg_stream *take_stream(lua_State *L)
{
    struct tg_stream *s = tg_stream_check(L, 1);
    luaL_argcheck(L, s != NULL && tg_h2_is_stream(s), 1, "no stream of HTTP/2");
    return tg_stream_take(L, 1);
}

/** grpc(stream, client) → the byte stream in its gRPC messages; it takes the stream over */
static int l_grpc(lua_State *L)
{
    tg_stream_push(L, tg_h2_grpc_open(take_stream(L), lua_toboolean(L, 2)));
    return 1;
}

/** http1(stream) → a server's stream in the shape of HTTP/1.1; it takes the stream over | nil, the
 * stream again: the request has no such shape */
static int l_http1(lua_State *L)
{
    struct tg_stream *s = take_stream(L);
    struct tg_stream *upper = tg_h2_http1_open(s);
    if (upper != NULL) {
        tg_stream_push(L, upper);
        return 1;
    }
    lua_pushnil(L);
    tg_stream_push(L, s);
    return 2;
}

/** tie(client, upstream): an exchange of a client is taken back, and fails with "closed", when the peer of a
 * server's is gone before it was answered; nothing for other streams */
static int l_tie(lua_State *L)
{
    struct tg_stream *client = tg_stream_check(L, 1), *upstream = tg_stream_check(L, 2);
    if (client != NULL && upstream != NULL)
        tg_h2_http1_tie(client, upstream);
    return 0;
}

int luaopen_tidegate_native_h2(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "request", l_request }, { "drain", l_drain },     { "is_alive", l_is_alive },
        { "room", l_room },       { "failure", l_failure }, { "silence", l_silence },
        { "refusals", l_refusals }, { "greeting", l_greeting }, { "exchange", l_exchange },
        { "takes_websockets", l_takes_websockets }, { NULL, NULL },
    };
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = {
        { "start", l_start },       { "headers", l_headers }, { "respond", l_respond },
        { "finish", l_finish },     { "trailers", l_trailers }, { "reset", l_reset },
        { "grpc", l_grpc },         { "http1", l_http1 },     { "expect_ok", l_expect_ok },
        { "tie", l_tie },           { "inform", l_inform },   { NULL, NULL },
    };
    tg_session_class(L, SESSION_MT, methods);
    tg_class(L, WAIT_MT, none, l_wait_gc, NULL);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
