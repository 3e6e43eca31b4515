#include "codec/base64.h"

#include <lauxlib.h>
#include <stdlib.h>

int luaopen_tidegate_native_base64(lua_State *L);

static void *room_for(lua_State *L, size_t len)
{
    void *room = malloc(len > 0 ? len : 1);
    if (room == NULL)
        luaL_error(L, "not enough memory");
    return room;
}

static int encode(lua_State *L, bool url)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    char *out = room_for(L, TG_BASE64_LEN(len));
    lua_pushlstring(L, out, tg_base64_encode((const uint8_t *)in, len, url, out));
    free(out);
    return 1;
}

static int decode(lua_State *L, bool url)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    uint8_t *out = room_for(L, len);
    ssize_t n = tg_base64_decode(in, len, url, out);
    if (n >= 0)
        lua_pushlstring(L, (const char *)out, (size_t)n);
    free(out);
    return n >= 0;
}

/** encode(bytes) -> text, padded */
static int l_encode(lua_State *L)
{
    return encode(L, false);
}

/** decode(text) -> bytes | nil; padding is required */
static int l_decode(lua_State *L)
{
    return decode(L, false);
}

/** encode_url(bytes) -> text in the alphabet for names, without padding */
static int l_encode_url(lua_State *L)
{
    return encode(L, true);
}

/** decode_url(text) -> bytes | nil */
static int l_decode_url(lua_State *L)
{
    return decode(L, true);
}

int luaopen_tidegate_native_base64(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode", l_encode },
        { "decode", l_decode },
        { "encode_url", l_encode_url },
        { "decode_url", l_decode_url },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
