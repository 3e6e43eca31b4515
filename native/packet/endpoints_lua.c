#include "bind/task.h"
#include "packet/framed.h"
#include "packet/packet_lua.h"
#include "packet/packet_stream.h"
#include "packet/socks_udp.h"
#include "packet/udp.h"
#include "packet/udp_sessions.h"
#include "stream/options_lua.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_endpoints(lua_State *L);

#define SESSIONS_MT "tidegate.udp_sessions"
#define PORT_TRIES 64

/* ---- arguments ---- */

static int fail(lua_State *L, const char *op, enum tg_code code, const char *detail)
{
    struct tg_error err;
    tg_error_put(&err, "packet", op, code, detail);
    return tg_push_failure(L, &err);
}

/* Field of the table at 1 as address.  @return false: it is not there */
static bool field_addr(lua_State *L, const char *key, struct tg_addr *out)
{
    size_t len;
    lua_getfield(L, 1, key);
    const char *text = lua_tolstring(L, -1, &len);
    if (text != NULL && !tg_addr_parse(out, text, len))
        luaL_error(L, "%s: not an address: %s", key, text);
    lua_pop(L, 1);
    return text != NULL;
}

static uint32_t field_number(lua_State *L, int index, const char *key, uint32_t otherwise)
{
    lua_getfield(L, index, key);
    lua_Number n = luaL_optnumber(L, -1, otherwise);
    lua_pop(L, 1);
    return n <= 0 ? 0 : n >= UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static bool field_flag(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

static const struct tg_socket_options *field_options(lua_State *L)
{
    lua_getfield(L, 1, "options"); /* kept alive by the table */
    const struct tg_socket_options *o = tg_socket_options_check(L, -1);
    lua_pop(L, 1);
    return o;
}

/* The peer at `index` of the stack, which may be nil.  @return NULL: it is */
static const struct tg_peer *opt_peer(lua_State *L, int index, struct tg_peer *out)
{
    size_t len;
    const char *text = luaL_optlstring(L, index, NULL, &len);
    if (text == NULL || len == 0)
        return NULL;
    if (!tg_peer_parse(out, text, len))
        luaL_error(L, "not an address: %s", text);
    return out;
}

static int push_opened(lua_State *L, struct tg_packet *p, const struct tg_error *err)
{
    if (p == NULL)
        return tg_push_failure(L, err);
    tg_packet_push(L, p);
    return 1;
}

/* ---- endpoints ---- */

/** udp{ connect="ip:port", strict=bool } -> packet | nil, err: a socket with one peer; strict: that nobody
 * listens there ends recv() with an error;
 * udp{ at="ip:port", family=4|6 } -> packet | nil, err: one that talks to anybody.
 * Both take options= (of stream.options) and limit= (bytes of a datagram). */
static int l_udp(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const struct tg_socket_options *options = field_options(L);
    uint32_t limit = field_number(L, 1, "limit", 0);
    uint32_t family = field_number(L, 1, "family", 0);
    struct tg_reactor *r = tg_reactor_of(L);
    struct tg_addr addr;
    struct tg_error err;
    if (field_addr(L, "connect", &addr)) {
        struct tg_packet *p = tg_udp_connect(r, &addr, options, limit, &err);
        if (p != NULL && field_flag(L, 1, "strict"))
            tg_udp_be_strict(p);
        return push_opened(L, p, &err);
    }
    const struct tg_addr *at = field_addr(L, "at", &addr) ? &addr : NULL;
    int wanted = family == 4 ? AF_INET : family == 6 ? AF_INET6 : 0;
    return push_opened(L, tg_udp_open(r, wanted, at, options, limit, &err), &err);
}

/** over_stream(stream, "udptun" | "u16" [, fixed]) -> packet | nil, err.  fixed: the one
 * destination "host:port"; without it u16 says nothing and udptun carries addresses */
static int l_over_stream(lua_State *L)
{
    static const char *const framings[] = { "udptun", "u16", NULL };
    int framing = luaL_checkoption(L, 2, NULL, framings);
    struct tg_peer peer;
    const struct tg_peer *fixed = opt_peer(L, 3, &peer);
    struct tg_stream *s = tg_stream_take(L, 1);
    if (s == NULL)
        return fail(L, "open", TG_CLOSED, "the stream is closed");
    tg_packet_push(L, tg_framed_open(s, framing == 0 ? TG_FRAMING_TUN : TG_FRAMING_U16, fixed));
    return 1;
}

static struct tg_packet *server_in_range(struct tg_reactor *r, struct tg_addr *at,
                                         const struct tg_addr *client, uint32_t low, uint32_t high,
                                         uint32_t limit, struct tg_error *err)
{
    uint32_t span = high - low + 1, first = (uint32_t)(r->now * 2654435761u) % span;
    uint32_t tries = span < PORT_TRIES ? span : PORT_TRIES;
    struct tg_packet *p = NULL;
    for (uint32_t i = 0; i < tries && p == NULL; i++) {
        tg_addr_set_port(at, low + (first + i) % span);
        p = tg_socks_udp_server(r, at, client, limit, err);
    }
    return p;
}

/** socks5_server{ at="ip:port", client="ip:port", limit=, min_port=, max_port= } -> packet | nil, err:
 * the proxy's side of an association.  client: only its IP counts */
static int l_socks5_server(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct tg_addr at, client;
    struct tg_error err;
    struct tg_reactor *r = tg_reactor_of(L);
    if (!field_addr(L, "at", &at))
        return luaL_argerror(L, 1, "at is missing");
    const struct tg_addr *only = field_addr(L, "client", &client) ? &client : NULL;
    uint32_t limit = field_number(L, 1, "limit", 0);
    uint32_t low = field_number(L, 1, "min_port", 0), high = field_number(L, 1, "max_port", 0);
    if (low > 0 && high >= low && high <= 65535)
        return push_opened(L, server_in_range(r, &at, only, low, high, limit, &err), &err);
    return push_opened(L, tg_socks_udp_server(r, &at, only, limit, &err), &err);
}

/** socks5_client{ to="ip:port", fixed="host:port", options=, limit= } -> packet | nil, err: the
 * client's side of an association.  fixed: the one destination */
static int l_socks5_client(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct tg_addr to;
    struct tg_peer peer;
    struct tg_error err;
    if (!field_addr(L, "to", &to))
        return luaL_argerror(L, 1, "to is missing");
    const struct tg_socket_options *options = field_options(L);
    uint32_t limit = field_number(L, 1, "limit", 0);
    lua_getfield(L, 1, "fixed");
    const struct tg_peer *fixed = opt_peer(L, -1, &peer);
    struct tg_packet *p = tg_socks_udp_client(tg_reactor_of(L), &to, options, fixed, limit, &err);
    return push_opened(L, p, &err);
}

/** as_stream(packet) -> stream | nil, err: each write a datagram, each read one */
static int l_as_stream(lua_State *L)
{
    struct tg_packet *p = tg_packet_take(L, 1);
    if (p == NULL)
        return fail(L, "open", TG_CLOSED, "the endpoint is closed");
    tg_stream_push(L, tg_packet_stream(p));
    return 1;
}

/** of_stream(stream) -> packet | nil, err: what as_stream() was given; the stream is used up */
static int l_of_stream(lua_State *L)
{
    struct tg_stream *s = tg_stream_take(L, 1);
    if (s == NULL)
        return fail(L, "open", TG_CLOSED, "the stream is closed");
    struct tg_packet *p = tg_packet_stream_take(s);
    if (p == NULL) {
        tg_stream_close(s);
        return tg_push_failure_text(L, "unsupported", "no datagrams below: they need the dialer udp");
    }
    tg_packet_push(L, p);
    return 1;
}

/** attach(packet, stream) -> true | nil, err: the control connection of a SOCKS5 association,
 * whose end is the association's; its input is discarded */
static int l_attach(lua_State *L)
{
    struct tg_packet *p = tg_packet_check(L, 1);
    luaL_argcheck(L, p == NULL || tg_socks_udp_is(p), 1, "not an association");
    struct tg_stream *s = tg_stream_check(L, 2);
    if (p == NULL || s == NULL)
        return fail(L, "attach", TG_CLOSED, "closed already");
    tg_socks_udp_attach(p, tg_stream_take(L, 2));
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- sessions ---- */

struct sessions {
    struct tg_udp_sessions *table; /* NULL: closed */
    lua_State *main;
    int serve, ended; /* registry */
};

static void on_session(void *arg, struct tg_packet *session)
{
    struct sessions *b = arg;
    lua_State *L = b->main;
    tg_udp_session_accept(session);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->serve);
    tg_packet_push(L, session);
    tg_task_start(L, 1);
}

static void on_sessions_end(void *arg, const struct tg_error *err)
{
    struct sessions *b = arg;
    lua_State *L = b->main;
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->ended);
    tg_push_failure(L, err);
    lua_remove(L, -2); /* the nil in front of the failure */
    tg_task_start(L, 1);
}

static void close_sessions(lua_State *L, struct sessions *b)
{
    if (b->table != NULL)
        tg_udp_sessions_close(b->table);
    b->table = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, b->serve);
    luaL_unref(L, LUA_REGISTRYINDEX, b->ended);
    b->serve = b->ended = LUA_NOREF;
}

static void read_session_options(lua_State *L, int index, struct tg_udp_sessions_options *o)
{
    luaL_checktype(L, index, LUA_TTABLE);
    *o = (struct tg_udp_sessions_options){
        .ttl = field_number(L, index, "ttl", 5000),
        .limit = field_number(L, index, "limit", 4096),
        .queue = field_number(L, index, "queue", 128),
        .backlog = field_number(L, index, "backlog", 128),
        .most = field_number(L, index, "most", 0),
        .keepalive = field_flag(L, index, "keepalive"),
        .stateless = field_flag(L, index, "stateless"),
        .fresh = field_flag(L, index, "fresh"),
    };
    o->limit = o->limit > 0 && o->limit < TG_PACKET_MAX ? o->limit : TG_PACKET_MAX;
}

/* Push sessions whose `serve` is at `index`. */
static struct sessions *push_sessions(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TFUNCTION);
    struct sessions *b = lua_newuserdata(L, sizeof(*b));
    *b = (struct sessions){ .serve = LUA_NOREF, .ended = LUA_NOREF };
    luaL_getmetatable(L, SESSIONS_MT);
    lua_setmetatable(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, "tidegate.main");
    b->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_pushvalue(L, index);
    b->serve = luaL_ref(L, LUA_REGISTRYINDEX);
    return b;
}

/** listen(fd, { ttl=ms, limit=, queue=, backlog=, most=, keepalive=, stateless=, fresh= }, serve)
 * -> sessions | nil, err.  `serve` runs in a task of its own with the packet of each new
 * client.  most: sessions at a time, 0 for any number.  The descriptor stays the caller's. */
static int l_listen(lua_State *L)
{
    int fd = luaL_checkint(L, 1);
    struct tg_udp_sessions_options o;
    read_session_options(L, 2, &o);
    struct sessions *b = push_sessions(L, 3);
    struct tg_error err;
    b->table = tg_udp_sessions_open(tg_reactor_of(L), fd, &o, on_session, b, &err);
    return b->table != NULL ? 1 : tg_push_failure(L, &err);
}

/** split(packet, options, serve, ended) -> sessions | nil, err: the same for an endpoint which carries
 * addresses, and is the sessions' from now on.  `ended` runs in a task with the error that ends it. */
static int l_split(lua_State *L)
{
    struct tg_udp_sessions_options o;
    struct tg_packet *p = tg_packet_check(L, 1);
    luaL_argcheck(L, p == NULL || p->any_peer, 1, "there is one peer only");
    read_session_options(L, 2, &o);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    struct sessions *b = push_sessions(L, 3);
    if (p == NULL)
        return fail(L, "open", TG_CLOSED, "the endpoint is closed");
    lua_pushvalue(L, 4);
    b->ended = luaL_ref(L, LUA_REGISTRYINDEX);
    b->table = tg_udp_sessions_over(tg_packet_take(L, 1), &o, on_session, on_sessions_end, b);
    return 1;
}

/** sessions:close(): all of them end */
static int l_sessions_close(lua_State *L)
{
    close_sessions(L, luaL_checkudata(L, 1, SESSIONS_MT));
    return 0;
}

/** sessions:pause(): of listen(); clients are heard no more, sessions go on */
static int l_sessions_pause(lua_State *L)
{
    struct sessions *b = luaL_checkudata(L, 1, SESSIONS_MT);
    if (b->table != NULL)
        tg_udp_sessions_pause(b->table);
    return 0;
}

/** sessions:configure(options): as in listen(), for what happens from now on */
static int l_sessions_configure(lua_State *L)
{
    struct sessions *b = luaL_checkudata(L, 1, SESSIONS_MT);
    struct tg_udp_sessions_options o;
    read_session_options(L, 2, &o);
    if (b->table != NULL)
        tg_udp_sessions_configure(b->table, &o);
    return 0;
}

/** sessions:count() */
static int l_sessions_count(lua_State *L)
{
    struct sessions *b = luaL_checkudata(L, 1, SESSIONS_MT);
    lua_pushinteger(L, b->table != NULL ? (lua_Integer)tg_udp_sessions_count(b->table) : 0);
    return 1;
}

static int l_sessions_gc(lua_State *L)
{
    close_sessions(L, lua_touserdata(L, 1));
    return 0;
}

void tg_packet_open_functions(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "close", l_sessions_close },
        { "configure", l_sessions_configure },
        { "pause", l_sessions_pause },
        { "count", l_sessions_count },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "udp", l_udp },
        { "over_stream", l_over_stream },
        { "socks5_server", l_socks5_server },
        { "socks5_client", l_socks5_client },
        { "attach", l_attach },
        { "as_stream", l_as_stream },
        { "of_stream", l_of_stream },
        { "listen", l_listen },
        { "split", l_split },
        { NULL, NULL },
    };
    luaL_newmetatable(L, SESSIONS_MT);
    lua_pushcfunction(L, l_sessions_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_register(L, NULL, functions);
}

/* The module tidegate.native.packet has these functions; on their own they are of no use. */
int luaopen_tidegate_native_endpoints(lua_State *L)
{
    lua_newtable(L);
    tg_packet_open_functions(L);
    return 1;
}
