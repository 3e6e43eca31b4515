#include "codec/client_hello.h"
#include "codec/codec_lua.h"

static ssize_t push_hello(lua_State *L, const uint8_t *in, size_t len, int *results,
                          struct tg_error *err)
{
    struct tg_client_hello h;
    ssize_t n = tg_client_hello_decode(in, len, &h, err);
    if (n < 0)
        return n;
    lua_createtable(L, 0, 5);
    if (h.name_len > 0) {
        lua_pushlstring(L, h.name, h.name_len);
        lua_setfield(L, -2, "server_name");
    }
    lua_createtable(L, h.alpn_count, 0);
    for (int i = 0; i < h.alpn_count; i++) {
        lua_pushlstring(L, (const char *)h.alpn[i].data, h.alpn[i].len);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "alpn");
    lua_createtable(L, h.version_count, 0);
    for (int i = 0; i < h.version_count; i++) {
        lua_pushinteger(L, h.versions[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "versions");
    lua_pushinteger(L, h.version);
    lua_setfield(L, -2, "version");
    lua_pushlstring(L, (const char *)in, (size_t)n);
    lua_setfield(L, -2, "bytes");
    *results = 1;
    return n;
}

int luaopen_tidegate_native_client_hello(lua_State *L);

int luaopen_tidegate_native_client_hello(lua_State *L)
{
    /* hello -> { [server_name], alpn = { … }, versions = { … }, version, bytes = the records }:
     * consumed, so that `bytes` is to be sent on or given back with unread() */
    static const struct tg_decoder hello = { "tls", TG_CLIENT_HELLO_MAX, push_hello };
    lua_newtable(L);
    tg_set_decoder(L, &hello, "hello");
    return 1;
}
