#include "bind/task.h"
#include "codec/ws_frame.h"
#include "stream/stream_lua.h"
#include "stream/ws.h"

#include <lauxlib.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

int luaopen_tidegate_native_ws(lua_State *L);

#define KEY_BYTES 16

static int start(lua_State *L, bool client)
{
    struct tg_ws_options o = { .client = client };
    lua_settop(L, 2);
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "packed");
        o.packed = lua_toboolean(L, -1);
        lua_getfield(L, 2, "keepalive");
        lua_Number seconds = luaL_optnumber(L, -1, 0);
        luaL_argcheck(L, seconds >= 0 && seconds < 4e6, 2, "keepalive is out of range");
        o.keepalive = (uint32_t)(seconds * 1000);
    }
    struct tg_stream *lower = tg_stream_take(L, 1);
    if (lower == NULL)
        return tg_push_failure_text(L, "closed", "the stream is closed");
    tg_stream_push(L, tg_ws_start(lower, &o));
    return 1;
}

/** client(stream [, { packed=, keepalive=seconds }]) -> stream: after the handshake; the stream given
 * is used up */
static int l_client(lua_State *L)
{
    return start(L, true);
}

/** server(stream [, options]) -> stream: likewise */
static int l_server(lua_State *L)
{
    return start(L, false);
}

/** key() -> a random Sec-WebSocket-Key */
static int l_key(lua_State *L)
{
    unsigned char random[KEY_BYTES];
    char text[4 * (KEY_BYTES + 2) / 3 + 1];
    if (RAND_bytes(random, KEY_BYTES) != 1)
        abort();
    lua_pushlstring(L, text, (size_t)EVP_EncodeBlock((unsigned char *)text, random, KEY_BYTES));
    return 1;
}

/** accept(key) -> the server's answer to it */
static int l_accept(lua_State *L)
{
    char text[TG_WS_ACCEPT_LEN + 1];
    size_t len;
    const char *key = luaL_checklstring(L, 1, &len);
    tg_ws_accept(key, len, text);
    lua_pushlstring(L, text, TG_WS_ACCEPT_LEN);
    return 1;
}

int luaopen_tidegate_native_ws(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "client", l_client }, { "server", l_server }, { "key", l_key },
        { "accept", l_accept }, { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
