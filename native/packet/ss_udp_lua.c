#include "bind/task.h"
#include "packet/packet_lua.h"
#include "packet/packet_stream.h"
#include "packet/ss_udp.h"
#include "stream/ss_lua.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_ss_udp(lua_State *L);

static int closed(lua_State *L)
{
    return tg_push_failure_text(L, "closed", "the endpoint is closed");
}

/** client(stream, key [, "host:port" [, gost]]) -> packet | nil, err: over a stream made of an endpoint, which is
 * used up.  With an address all goes there; gost: see tg_ss_udp_client() */
static int l_client(lua_State *L)
{
    struct tg_peer peer;
    size_t len;
    bool gost = lua_toboolean(L, 4);
    struct tg_ss_key *k = tg_ss_key_check(L, 2);
    const char *text = luaL_optlstring(L, 3, NULL, &len);
    if (text != NULL && !tg_peer_parse(&peer, text, len))
        return tg_push_failure_text(L, "invalid", "the target is no \"host:port\"");
    struct tg_stream *s = tg_stream_take(L, 1);
    if (s == NULL)
        return closed(L);
    struct tg_packet *lower = tg_packet_stream_take(s);
    if (lower == NULL) {
        tg_stream_close(s);
        return tg_push_failure_text(L, "unsupported", "no datagrams below");
    }
    tg_packet_push(L, tg_ss_udp_client(lower, k, text != NULL ? &peer : NULL, gost));
    return 1;
}

/** server(packet, key [, gost]) -> packet | nil, err: over the session of one client, from which something good has
 * come already; the endpoint given is used up */
static int l_server(lua_State *L)
{
    struct tg_ss_key *k = tg_ss_key_check(L, 2);
    struct tg_packet *lower = tg_packet_take(L, 1);
    if (lower == NULL)
        return closed(L);
    struct tg_packet *p = tg_ss_udp_server(lower, k, lua_toboolean(L, 3));
    if (tg_ss_udp_verify(p) == 0) {
        tg_packet_close(p);
        return tg_push_failure_text(L, "auth", "cannot decrypt the datagram: the client has another password "
                                               "or method, or it is a replay, or clocks differ");
    }
    tg_packet_push(L, p);
    lua_pushstring(L, tg_ss_udp_user(p));
    return 2;
}

int luaopen_tidegate_native_ss_udp(lua_State *L)
{
    static const luaL_Reg functions[] = { { "client", l_client }, { "server", l_server }, { NULL, NULL } };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
