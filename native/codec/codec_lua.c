#include "codec/codec_lua.h"

void tg_push_host(lua_State *L, const struct tg_target *t)
{
    char text[TG_HOST_TEXT];
    lua_pushlstring(L, text, tg_target_host_text(t, text));
}

bool tg_check_target(lua_State *L, int index, struct tg_target *t)
{
    size_t len;
    const char *host = luaL_optlstring(L, index, "", &len);
    lua_Integer port = luaL_optinteger(L, index + 1, 0);
    luaL_argcheck(L, port >= 0 && port <= 65535, index + 1, "a port is needed");
    t->port = (uint16_t)port;
    if (tg_target_set_host(t, host, len) == 0)
        return true;
    tg_push_failure_text(L, "limit", "a host name is longer than 255 bytes");
    return false;
}

int tg_push_encoded(lua_State *L, const char *layer, const uint8_t *out, ssize_t n)
{
    if (n >= 0) {
        lua_pushlstring(L, (const char *)out, (size_t)n);
        return 1;
    }
    struct tg_error err;
    tg_error_put(&err, layer, "encode", (enum tg_code)n,
                 n == TG_LIMIT ? "a field is too long" : NULL);
    return tg_push_failure(L, &err);
}

void tg_set_decoder(lua_State *L, const struct tg_decoder *d, const char *name)
{
    lua_pushlightuserdata(L, (void *)d);
    lua_setfield(L, -2, name);
}

/** decode(decoder, bytes, [first]) -> bytes used, results … | 0: more bytes are needed | nil, err
 * The same outside of a stream; `first` is the position to begin at, from 1. */
static int l_decode(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    const struct tg_decoder *d = lua_touserdata(L, 1);
    size_t len;
    const char *in = luaL_checklstring(L, 2, &len);
    lua_Integer first = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, first >= 1 && (size_t)first <= len + 1, 3, "outside of the bytes");
    struct tg_error err = { .code = TG_OK };
    int results = 0, base = lua_gettop(L);
    ssize_t n = d->push(L, (const uint8_t *)in + first - 1, len - (size_t)first + 1, &results, &err);
    if (n >= 0) {
        lua_pushinteger(L, n);
        lua_insert(L, base + 1);
        return results + 1;
    }
    if (n != TG_AGAIN)
        return tg_push_failure(L, &err);
    if (len >= d->limit) {
        tg_error_put(&err, d->name, "decode", TG_LIMIT, "the message is too long");
        return tg_push_failure(L, &err);
    }
    lua_pushinteger(L, 0);
    return 1;
}

int luaopen_tidegate_native_codec(lua_State *L);

int luaopen_tidegate_native_codec(lua_State *L)
{
    static const luaL_Reg functions[] = { { "decode", l_decode }, { NULL, NULL } };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
