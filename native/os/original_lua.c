#include "base/addr.h"
#include "os/original.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>

int luaopen_tidegate_native_original(lua_State *L);

/** destination(stream) -> "ip:port" before the packet filter redirected it | nil, err */
static int l_destination(lua_State *L)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t len = 0;
    struct tg_error err;
    char text[TG_ADDR_TEXT];
    const struct tg_stream *s = tg_stream_check(L, 1);
    while (s != NULL && s->lower != NULL)
        s = s->lower;
    int fd = s != NULL && s->ops->fd != NULL ? s->ops->fd(s) : -1;
    if (fd < 0)
        return tg_push_failure_text(L, "invalid", "only a TCP connection can have been redirected");
    if (tg_original_destination(fd, &sa, &len, &err) < 0)
        return tg_push_failure(L, &err);
    lua_pushlstring(L, text, tg_sockaddr_format((struct sockaddr *)&sa, len, text, sizeof(text)));
    return 1;
}

int luaopen_tidegate_native_original(lua_State *L)
{
    static const luaL_Reg functions[] = { { "destination", l_destination }, { NULL, NULL } };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
