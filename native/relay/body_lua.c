#include "base/mem.h"
#include "relay/body.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_body(lua_State *L);

#define COPY_MT   "tidegate.body.copy"
#define QUIET_MAX 4096u
#define CAPTURE_MAX 1073741824.0

/** A copy that has to wait; lives on the waiting task's stack. */
struct copy {
    struct tg_body body;
    struct tg_stream_side from, to;
    struct tg_waiter waiter;
    struct tg_reactor *reactor;
    struct tg_timer idle;
    uint32_t read_idle, write_idle; /* ms; 0: none */
    uint64_t progress;              /* bytes moved when the timer was started */
};

static int push_capture(lua_State *L, const struct tg_body *b)
{
    if (b->capture.max == 0)
        return 0;
    lua_pushlstring(L, b->capture.data != NULL ? (const char *)b->capture.data : "",
                    b->capture.len);
    lua_pushboolean(L, b->capture.cut);
    return 2;
}

/** How it went: bytes | nil, err, the side which failed, bytes; and the copy, if there is one. */
static int push_result(lua_State *L, const struct tg_body *b, int code, const struct tg_error *err)
{
    if (code == 0) {
        lua_pushnumber(L, (lua_Number)b->moved);
        return 1 + push_capture(L, b);
    }
    tg_push_failure(L, err);
    lua_pushstring(L, b->from_failed ? "from" : "to");
    lua_pushnumber(L, (lua_Number)b->moved);
    return 4 + push_capture(L, b);
}

static void finish(struct copy *c, int code, const struct tg_error *err)
{
    int results = c->waiter.co != NULL ? push_result(c->waiter.co, &c->body, code, err) : 0;
    tg_timer_stop(c->reactor, &c->idle);
    tg_body_close(&c->body);
    tg_stream_give_back(&c->from);
    tg_stream_give_back(&c->to);
    if (c->waiter.co != NULL)
        tg_wake(&c->waiter, results);
}

static void wait_on(struct copy *c, bool restart)
{
    tg_stream_side_want(&c->from, c->body.wants_read);
    if (c->to.box != NULL)
        tg_stream_side_want(&c->to, c->body.wants_write);
    if (!restart)
        return;
    uint32_t limit = c->body.wants_write ? c->write_idle : c->read_idle;
    c->progress = c->body.moved;
    if (limit > 0)
        tg_timer_start(c->reactor, &c->idle, limit);
    else
        tg_timer_stop(c->reactor, &c->idle);
}

static void on_side(void *arg)
{
    struct copy *c = arg;
    struct tg_error err = { .code = TG_OK };
    if (c->from.stream == NULL || (c->to.box != NULL && c->to.stream == NULL)) {
        c->body.from_failed = c->from.stream == NULL;
        finish(c, tg_error_put(&err, "body", "copy", TG_CLOSED, "the stream was closed"), &err);
        return;
    }
    bool wrote = c->body.wants_write;
    int code = tg_body_step(&c->body, &err);
    if (code == TG_AGAIN)
        wait_on(c, c->body.moved != c->progress || wrote != c->body.wants_write);
    else
        finish(c, code, &err);
}

static void on_idle(void *arg)
{
    struct copy *c = arg;
    struct tg_error err;
    c->body.from_failed = !c->body.wants_write;
    finish(c,
           tg_error_put(&err, "body", c->body.wants_write ? "write" : "read", TG_TIMEOUT,
                        "no progress"),
           &err);
}

static void on_deadline(struct tg_waiter *w)
{
    on_idle(tg_container(w, struct copy, waiter));
}

static enum tg_body_framing check_framing(lua_State *L, int index, uint64_t *length)
{
    static const char *const words[] = { "chunked", "close", NULL };
    static const enum tg_body_framing framings[] = { TG_BODY_CHUNKED, TG_BODY_CLOSE };
    *length = 0;
    if (lua_type(L, index) != LUA_TNUMBER)
        return framings[luaL_checkoption(L, index, NULL, words)];
    lua_Number n = lua_tonumber(L, index);
    luaL_argcheck(L, n >= 0 && n <= 9007199254740992.0, index, "out of range");
    *length = (uint64_t)n;
    return TG_BODY_LENGTH;
}

static uint32_t check_ms(lua_State *L, int index)
{
    lua_Number n = luaL_optnumber(L, index, 0);
    return n <= 0 ? 0 : n > 4e9 ? UINT32_MAX : (uint32_t)n;
}

static const char pipes_key = 0; /* registry: userdata with this VM's struct tg_pipes */

static struct tg_pipes *pipes_of(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&pipes_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct tg_pipes *pipes = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return pipes;
}

static int l_pipes_gc(lua_State *L)
{
    tg_pipes_close(lua_touserdata(L, 1));
    return 0;
}

static void open_pipes(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&pipes_key);
    memset(lua_newuserdata(L, sizeof(struct tg_pipes)), 0, sizeof(struct tg_pipes));
    lua_newtable(L);
    lua_pushcfunction(L, l_pipes_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/* Not done at once: put it where it survives, and park. */
static int wait_copy(lua_State *L, const struct tg_body *started, bool dropping)
{
    struct copy *c = lua_newuserdata(L, sizeof(*c));
    memset(c, 0, sizeof(*c));
    c->body = *started;
    luaL_getmetatable(L, COPY_MT);
    lua_setmetatable(L, -2);
    c->reactor = tg_reactor_of(L);
    c->read_idle = check_ms(L, 5);
    c->write_idle = check_ms(L, 6);
    c->idle.cb = on_idle;
    c->waiter.on_timeout = on_deadline;
    c->from.ready = c->to.ready = on_side;
    c->from.arg = c->to.arg = c->idle.arg = c;
    tg_stream_lend(L, 1, TG_READABLE, &c->from);
    if (!dropping)
        tg_stream_lend(L, 2, TG_WRITABLE, &c->to);
    wait_on(c, true);
    return tg_park(L, &c->waiter, tg_stream_deadline(L, 1));
}

static int push_closed(lua_State *L, bool from)
{
    struct tg_error err;
    const struct tg_body none = { .from_failed = from };
    return push_result(L, &none,
                       tg_error_put(&err, "body", "copy", TG_CLOSED, "the stream is closed"), &err);
}

static enum tg_body_shape check_shape(lua_State *L, int index)
{
    static const char *const words[] = { "verbatim", "plain", "unpack", "unpack-chunks", NULL };
    return (enum tg_body_shape)luaL_checkoption(L, index, "verbatim", words);
}

/** copy(from, to | nil, framing[, prefix[, read_idle[, write_idle[, shape[, capture]]]]])
 *   -> bytes of the body[, copy, cut] | nil, err, "from" or "to", bytes so far[, copy, cut]
 *
 * Move one message body: `framing` is its length, "chunked" or "close".  `to`
 * nil drops it.  `prefix` is written in front.  read_idle and write_idle are the
 * ms without progress allowed while waiting for `from` and for `to`; the deadline
 * of `from` bounds the whole.  `shape`: "verbatim" (default); "plain" takes chunk
 * sizes and trailers off; "unpack" unpacks gzip as well; "unpack-chunks" makes new
 * chunks of that.  With `capture` (bytes > 0) so many bytes of what goes out after the prefix come
 * back as a string, and whether there were more. */
static int l_copy(lua_State *L)
{
    static const struct tg_waiter nobody;
    uint64_t length;
    size_t prefix_len = 0;
    enum tg_body_framing framing = check_framing(L, 3, &length);
    const char *prefix = luaL_optlstring(L, 4, NULL, &prefix_len);
    check_ms(L, 5);
    check_ms(L, 6);
    enum tg_body_shape shape = check_shape(L, 7);
    lua_Number most = luaL_optnumber(L, 8, 0);
    luaL_argcheck(L, most >= 0 && most <= CAPTURE_MAX, 8, "out of range");
    lua_settop(L, 7);
    bool dropping = lua_isnil(L, 2);
    struct tg_stream *from = tg_stream_check_side(L, 1, TG_READABLE);
    struct tg_stream *to = dropping ? NULL : tg_stream_check_side(L, 2, TG_WRITABLE);
    tg_check_parkable(L, &nobody);
    if (from == NULL || (to == NULL && !dropping))
        return push_closed(L, from == NULL);

    struct tg_body body;
    struct tg_error err = { .code = TG_OK };
    tg_body_open(&body, from, to, framing, length);
    body.pipes = pipes_of(L);
    tg_body_capture(&body, (size_t)most);
    int code;
    if (tg_body_set_shape(&body, shape) != 0 || tg_body_prefix(&body, prefix, prefix_len) != 0)
        code = tg_error_put(&err, "body", "copy", TG_BUSY, "out of memory");
    else
        code = tg_body_step(&body, &err);
    if (code == TG_AGAIN)
        return wait_copy(L, &body, dropping);
    int results = push_result(L, &body, code, &err);
    tg_body_close(&body);
    return results;
}

/** quiet(stream) -> true when it is open and has nothing to read: an idle connection
 * that may be used again */
static int l_quiet(lua_State *L)
{
    struct tg_stream *s = tg_stream_check_side(L, 1, TG_READABLE);
    lua_pushboolean(L, s != NULL && s->ahead == NULL && s->state == TG_STREAM_OPEN &&
                           tg_stream_fill(s, QUIET_MAX) == TG_AGAIN);
    return 1;
}

static int l_gc(lua_State *L)
{
    struct copy *c = lua_touserdata(L, 1);
    tg_timer_stop(c->reactor, &c->idle);
    tg_body_close(&c->body);
    return 0;
}

int luaopen_tidegate_native_body(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "copy", l_copy },
        { "quiet", l_quiet },
        { NULL, NULL },
    };
    open_pipes(L);
    luaL_newmetatable(L, COPY_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
