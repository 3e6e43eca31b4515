#include "packet/packet_lua.h"

#include "base/shared_lua.h"
#include "bind/class.h"
#include "bind/task.h"
#include "packet/udp_sessions.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_packet(lua_State *L);

#define PACKET_MT "tidegate.packet"

/** What Lua holds.  `p` is NULL once closed or taken.  Callbacks point here without
 * a reference: a waiting task has the box on its stack. */
struct box {
    struct tg_packet *p;
    struct tg_waiter reader;
    uint64_t deadline; /* 0: none */
};

static struct box *check_box(lua_State *L, int index)
{
    return luaL_checkudata(L, index, PACKET_MT);
}

static int fail(lua_State *L, const char *op, enum tg_code code, const char *detail)
{
    struct tg_error err;
    tg_error_put(&err, "packet", op, code, detail);
    return tg_push_failure(L, &err);
}

/* @return number of results pushed on L, 0 to wait on */
static int step_recv(lua_State *L, struct box *b)
{
    struct tg_datagram d;
    if (b->p == NULL)
        return fail(L, "recv", TG_CLOSED, "the endpoint is closed");
    int n = tg_packet_recv(b->p, &d, 1);
    if (n == TG_AGAIN)
        return 0;
    if (n < 0 && b->p->error.code != TG_OK)
        return tg_push_failure(L, &b->p->error);
    if (n <= 0)
        return fail(L, "recv", n == TG_EOF || n == 0 ? TG_EOF : (enum tg_code)n, NULL);
    lua_pushlstring(L, (const char *)d.data, d.len);
    if (tg_peer_is_none(&d.peer))
        return 1;
    char text[TG_PEER_TEXT];
    lua_pushlstring(L, text, tg_peer_format(&d.peer, text, sizeof(text)));
    return 2;
}

static void on_ready(void *arg, unsigned events)
{
    struct box *b = arg;
    (void)events;
    if (b->reader.co != NULL) {
        int count = step_recv(b->reader.co, b);
        if (count > 0)
            tg_wake(&b->reader, count);
    }
    if (b->p != NULL)
        tg_packet_want(b->p, b->reader.co != NULL);
}

void tg_packet_push(lua_State *L, struct tg_packet *p)
{
    struct box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    luaL_getmetatable(L, PACKET_MT);
    lua_setmetatable(L, -2);
    b->p = p;
    p->on_ready = on_ready;
    p->ready_arg = b;
}

struct tg_packet *tg_packet_check(lua_State *L, int index)
{
    struct box *b = check_box(L, index);
    if (b->reader.co != NULL)
        luaL_argerror(L, index, "a task waits in this endpoint");
    return b->p;
}

struct tg_packet *tg_packet_take(lua_State *L, int index)
{
    struct tg_packet *p = tg_packet_check(L, index);
    if (p != NULL) {
        check_box(L, index)->p = NULL;
        tg_packet_want(p, false);
        p->on_ready = NULL;
    }
    return p;
}

/** packet:recv() -> bytes, address ("host:port", nil where there is one peer) | nil, err */
static int l_recv(lua_State *L)
{
    struct box *b = check_box(L, 1);
    tg_check_parkable(L, &b->reader);
    int count = step_recv(L, b);
    if (count > 0)
        return count;
    tg_packet_want(b->p, true);
    return tg_park(L, &b->reader, b->deadline);
}

/** packet:peek() -> the first datagram of a session's that waits, which it keeps | nil */
static int l_peek(lua_State *L)
{
    struct box *b = check_box(L, 1);
    const uint8_t *data;
    size_t len;
    if (b->p == NULL || !tg_udp_session_peek(b->p, &data, &len))
        return 0;
    lua_pushlstring(L, (const char *)data, len);
    return 1;
}

/** packet:send(bytes [, address]) -> true | nil, err; a datagram may be lost without notice */
static int l_send(lua_State *L)
{
    struct box *b = check_box(L, 1);
    size_t len, text_len = 0;
    const char *data = luaL_checklstring(L, 2, &len);
    const char *text = luaL_optlstring(L, 3, NULL, &text_len);
    struct tg_datagram d = { .len = (uint32_t)len };
    if (b->p == NULL)
        return fail(L, "send", TG_CLOSED, "the endpoint is closed");
    if (len > TG_PACKET_MAX)
        return fail(L, "send", TG_LIMIT, "the datagram is too long");
    if (text != NULL && !tg_peer_parse(&d.peer, text, text_len))
        return fail(L, "send", TG_INVALID, "not an address");
    if (b->p->any_peer && tg_peer_is_none(&d.peer))
        return fail(L, "send", TG_INVALID, "an address is needed");
    if (tg_peer_is_name(&d.peer) && b->p->any_peer && !b->p->takes_names)
        return fail(L, "send", TG_INVALID, "the name must be looked up first");
    d.data = (uint8_t *)data; /* without headroom nobody writes to it */
    int n = tg_packet_send(b->p, &d, 1);
    if (n < 0)
        return tg_push_failure(L, &b->p->error);
    lua_pushboolean(L, 1);
    return 1;
}

/** packet:set_deadline(ms | nil): applies to every later recv() */
static int l_set_deadline(lua_State *L)
{
    check_box(L, 1)->deadline = (uint64_t)luaL_optnumber(L, 2, 0);
    return 0;
}

/** packet:close(); always succeeds, may be repeated; who waits gets "closed" */
static int l_close(lua_State *L)
{
    struct box *b = check_box(L, 1);
    if (b->p == NULL)
        return 0;
    tg_packet_close(b->p);
    b->p = NULL;
    if (b->reader.co != NULL)
        tg_wake(&b->reader, step_recv(b->reader.co, b));
    return 0;
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    if (b->p != NULL)
        tg_packet_close(b->p);
    b->p = NULL;
    return 0;
}

/** packet:is_closed() -> true also when it was handed on */
static int l_is_closed(lua_State *L)
{
    lua_pushboolean(L, check_box(L, 1)->p == NULL);
    return 1;
}

static int push_name(lua_State *L, bool peer)
{
    struct box *b = check_box(L, 1);
    struct tg_addr addr;
    if (b->p == NULL || tg_packet_name(b->p, peer, &addr) < 0)
        return 0;
    char text[TG_ADDR_TEXT];
    lua_pushlstring(L, text, tg_addr_format(&addr, text, sizeof(text)));
    return 1;
}

/** packet:local_address() -> "ip:port" | nil */
static int l_local_address(lua_State *L)
{
    return push_name(L, false);
}

/** packet:remote_address() -> "ip:port" | nil */
static int l_remote_address(lua_State *L)
{
    return push_name(L, true);
}

/** packet:counts() -> bytes received, bytes sent */
static int l_counts(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushnumber(L, b->p == NULL ? 0 : (lua_Number)b->p->rx);
    lua_pushnumber(L, b->p == NULL ? 0 : (lua_Number)b->p->tx);
    return 2;
}

/** packet:layer() -> "udp", "udp-tun" … | nil when closed */
static int l_layer(lua_State *L)
{
    struct box *b = check_box(L, 1);
    if (b->p == NULL)
        return 0;
    lua_pushstring(L, b->p->ops->name);
    return 1;
}

/** packet:any_peer() -> whether datagrams carry addresses */
static int l_any_peer(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushboolean(L, b->p != NULL && b->p->any_peer);
    return 1;
}

/** packet:takes_names() -> whether somebody further on resolves names */
static int l_takes_names(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushboolean(L, b->p != NULL && b->p->takes_names);
    return 1;
}

static int l_tostring(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushfstring(L, "packet (%s)", b->p == NULL ? "closed" : b->p->ops->name);
    return 1;
}

/** packet:hold(counter [, limit [, counter, limit]]) → as a stream's */
static int l_hold(lua_State *L)
{
    struct box *b = check_box(L, 1);
    if (b->p == NULL)
        return fail(L, "hold", TG_CLOSED, "the endpoint is closed");
    return tg_hold_lua(L, &b->p->holds);
}

int luaopen_tidegate_native_packet(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "recv", l_recv },
        { "peek", l_peek },
        { "send", l_send },
        { "close", l_close },
        { "hold", l_hold },
        { "is_closed", l_is_closed },
        { "set_deadline", l_set_deadline },
        { "local_address", l_local_address },
        { "remote_address", l_remote_address },
        { "counts", l_counts },
        { "layer", l_layer },
        { "any_peer", l_any_peer },
        { "takes_names", l_takes_names },
        { NULL, NULL },
    };
    tg_class(L, PACKET_MT, methods, l_gc, l_tostring);
    lua_newtable(L);
    tg_packet_open_functions(L);
    tg_packets_functions(L);
    return 1;
}
