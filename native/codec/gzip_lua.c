#include "codec/gzip.h"

#include <lauxlib.h>
#include <stdlib.h>

int luaopen_tidegate_native_gzip(lua_State *L);

/** gzip(text) → compressed | nil */
static int l_gzip(lua_State *L)
{
    size_t len, out_len = 0;
    const char *text = luaL_checklstring(L, 1, &len);
    uint8_t *out = tg_gzip(text, len, &out_len);
    if (out == NULL)
        return 0;
    lua_pushlstring(L, (const char *)out, out_len);
    free(out);
    return 1;
}

/* The module is the function. */
int luaopen_tidegate_native_gzip(lua_State *L)
{
    lua_pushcfunction(L, l_gzip);
    return 1;
}
