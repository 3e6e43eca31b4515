#include "codec/codec_lua.h"

#include <string.h>

/** split(text, [default_port]) -> host, port | nil, err */
static int l_split(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    int port = (int)luaL_optinteger(L, 2, -1);
    struct tg_span host;
    const char *detail;
    if (tg_target_split(text, len, &host, &port, &detail) < 0) {
        struct tg_error err;
        tg_error_put(&err, "address", "split", TG_INVALID, detail);
        return tg_push_failure(L, &err);
    }
    if (host.len == len)
        lua_pushvalue(L, 1);
    else
        lua_pushlstring(L, (const char *)host.data, host.len);
    lua_pushinteger(L, port);
    return 2;
}

/** join(host, port) -> text */
static int l_join(lua_State *L)
{
    size_t len;
    const char *host = luaL_optlstring(L, 1, "", &len);
    lua_Integer port = luaL_checkinteger(L, 2);
    luaL_argcheck(L, port >= 0 && port <= 65535, 2, "a port is needed");
    char small[TG_TARGET_TEXT];
    char *out = len <= TG_HOST_MAX ? small : lua_newuserdata(L, len + 9);
    lua_pushlstring(L, out, tg_host_join(host, len, (unsigned)port, out));
    return 1;
}

/** parts(text) -> host, port | nil: of any text, see tg_address_parts() */
static int l_parts(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct tg_span host, port;
    tg_address_parts(text, len, &host, &port);
    if (host.len == len)
        lua_pushvalue(L, 1);
    else
        lua_pushlstring(L, (const char *)host.data, host.len);
    lua_Number number = 0;
    for (size_t i = 0; i < port.len; i++)
        number = number * 10 + (port.data[i] - '0');
    if (port.len > 0)
        lua_pushnumber(L, number);
    else
        lua_pushnil(L);
    return 2;
}

/** family(host) -> 4 | 6 | nil */
static int l_family(lua_State *L)
{
    size_t len;
    const char *host = luaL_checklstring(L, 1, &len);
    uint8_t ip[16];
    int family = tg_address_family(host, len, ip);
    if (family == 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, family);
    return 1;
}

/** bytes(host) -> 4 or 16 bytes of an IP (IPv4-mapped ones are IPv4) | nil */
static int l_bytes(lua_State *L)
{
    static const char mapped[12] = { [10] = '\xff', [11] = '\xff' };
    size_t len;
    const char *host = luaL_checklstring(L, 1, &len);
    uint8_t ip[16];
    int family = tg_address_family(host, len, ip);
    if (family == 0)
        lua_pushnil(L);
    else if (family == 4)
        lua_pushlstring(L, (const char *)ip, 4);
    else if (memcmp(ip, mapped, sizeof(mapped)) == 0)
        lua_pushlstring(L, (const char *)ip + 12, 4);
    else
        lua_pushlstring(L, (const char *)ip, 16);
    return 1;
}

/** is_literal(text) -> whether it is "ip:port", which needs no resolving */
static int l_is_literal(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_pushboolean(L, tg_address_is_literal(text, len));
    return 1;
}

/** kind(host) -> "ipv4" | "ipv6" | "name" | "empty" */
static int l_kind(lua_State *L)
{
    size_t len;
    const char *host = luaL_checklstring(L, 1, &len);
    lua_pushvalue(L, lua_upvalueindex(1 + (int)tg_host_classify(host, len, NULL)));
    return 1;
}

int luaopen_tidegate_native_address(lua_State *L);

int luaopen_tidegate_native_address(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "split", l_split },
        { "join", l_join },
        { "parts", l_parts },
        { "family", l_family },
        { "bytes", l_bytes },
        { "is_literal", l_is_literal },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_pushliteral(L, "empty");
    lua_pushliteral(L, "ipv4");
    lua_pushliteral(L, "ipv6");
    lua_pushliteral(L, "name");
    lua_pushcclosure(L, l_kind, 4);
    lua_setfield(L, -2, "kind");
    return 1;
}
