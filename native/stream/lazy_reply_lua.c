#include "stream/lazy_reply.h"

#include "stream/stream_lua.h"

#include <lauxlib.h>

int luaopen_tidegate_native_lazy_reply(lua_State *L);

/** relay(stream) → a stream that checks and drops the relay response in front of the first payload;
 * it takes the given one over */
static int l_relay(lua_State *L)
{
    struct tg_stream *lower = tg_stream_take(L, 1);
    luaL_argcheck(L, lower != NULL, 1, "the stream is closed");
    tg_stream_push(L, tg_lazy_reply_open(lower, &tg_lazy_relay_reply));
    return 1;
}

int luaopen_tidegate_native_lazy_reply(lua_State *L)
{
    static const luaL_Reg functions[] = { { "relay", l_relay }, { NULL, NULL } };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
