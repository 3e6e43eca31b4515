#include "codec/client_hello.h"
#include "codec/codec_lua.h"
#include "codec/hello_edit.h"

#include <stdlib.h>

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

/** hidden(bytes) -> what gost's extension holds: an encoded name | nil */
static int l_hidden(lua_State *L)
{
    size_t len;
    uint8_t found[TG_HIDDEN_MAX];
    const char *bytes = luaL_checklstring(L, 1, &len);
    size_t n = tg_hello_hidden((const uint8_t *)bytes, len, found);
    if (n == 0)
        return 0;
    lua_pushlstring(L, (const char *)found, n);
    return 1;
}

/** rename(bytes, name) -> the records of a ClientHello that names another server, without gost's
 * extension | nil, err */
static int l_rename(lua_State *L)
{
    struct tg_hello_edit edit = { .hidden = { NULL, 0 } };
    struct tg_error err = { .code = TG_OK };
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    edit.name.data = (const uint8_t *)luaL_checklstring(L, 2, &edit.name.len);
    luaL_argcheck(L, len <= TG_CLIENT_HELLO_MAX && edit.name.len <= TG_HELLO_NAME_MAX, 2, "too long");
    uint8_t *out = malloc(len + TG_HELLO_EDIT_ROOM);
    if (out == NULL)
        return luaL_error(L, "out of memory");
    ssize_t n = tg_hello_edit((const uint8_t *)bytes, len, &edit, out, len + TG_HELLO_EDIT_ROOM, &err);
    if (n > 0)
        lua_pushlstring(L, (const char *)out, (size_t)n);
    free(out);
    return n > 0 ? 1 : tg_push_failure(L, &err);
}

int luaopen_tidegate_native_client_hello(lua_State *L)
{
    /* hello -> { [server_name], alpn = { … }, versions = { … }, version, bytes = the records }:
     * consumed, so that `bytes` is to be sent on or given back with unread() */
    static const struct tg_decoder hello = { "tls", TG_CLIENT_HELLO_MAX, push_hello };
    static const luaL_Reg functions[] = {
        { "hidden", l_hidden }, { "rename", l_rename }, { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    tg_set_decoder(L, &hello, "hello");
    return 1;
}
