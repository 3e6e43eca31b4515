#include "codec/obfs_tls.h"
#include "stream/obfs_tls.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>

int luaopen_tidegate_native_obfs_tls(lua_State *L);

static int push(lua_State *L, struct tg_stream *s)
{
    tg_stream_push(L, s);
    return 1;
}

static int closed(lua_State *L)
{
    return tg_push_failure_text(L, "closed", "the stream is closed");
}

/** client(stream, host) -> stream in the disguise of TLS; the one given is used up */
static int l_client(lua_State *L)
{
    size_t len;
    const char *host = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len <= TG_OBFS_HOST_MAX, 2, "too long");
    struct tg_stream *lower = tg_stream_take(L, 1);
    return lower == NULL ? closed(L) : push(L, tg_obfs_tls_client(lower, host, len));
}

/** server(stream) -> stream: likewise */
static int l_server(lua_State *L)
{
    struct tg_stream *lower = tg_stream_take(L, 1);
    return lower == NULL ? closed(L) : push(L, tg_obfs_tls_server(lower));
}

int luaopen_tidegate_native_obfs_tls(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "client", l_client }, { "server", l_server }, { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
