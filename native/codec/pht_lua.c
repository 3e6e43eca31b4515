#include "codec/pht.h"

#include "bind/class.h"
#include "bind/task.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define NAME "tidegate.pht_body"
#define LENGTH_MAX 9007199254740992.0

int luaopen_tidegate_native_pht(lua_State *L);

static struct tg_pht *check(lua_State *L)
{
    return luaL_checkudata(L, 1, NAME);
}

/** body(framing: length, "chunked" or "close", lines that count or nil) -> body */
static int l_body(lua_State *L)
{
    uint64_t length = TG_PHT_CLOSE;
    lua_Integer most = luaL_optinteger(L, 2, UINT32_MAX);
    luaL_argcheck(L, most >= 0 && most <= UINT32_MAX, 2, "out of range");
    if (lua_type(L, 1) == LUA_TNUMBER) {
        lua_Number n = lua_tonumber(L, 1);
        luaL_argcheck(L, n >= 0 && n <= LENGTH_MAX, 1, "out of range");
        length = (uint64_t)n;
    } else if (strcmp(luaL_checkstring(L, 1), "chunked") == 0) {
        length = TG_PHT_CHUNKED;
    }
    struct tg_pht *p = lua_newuserdata(L, sizeof(*p));
    tg_pht_begin(p, length, (uint32_t)most);
    luaL_getmetatable(L, NAME);
    lua_setmetatable(L, -2);
    return 1;
}

/** body:feed(bytes; "": the connection has ended) -> what the lines said, bytes behind the body | nil, err */
static int l_feed(lua_State *L)
{
    struct tg_pht *p = check(L);
    size_t len, out_len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    struct tg_error err;
    uint8_t *in = malloc(2 * len + p->held + 1);
    if (in == NULL)
        return luaL_error(L, "not enough memory");
    uint8_t *out = in + len;
    memcpy(in, bytes, len);
    ssize_t taken = tg_pht_feed(p, in, len, out, &out_len, &err);
    if (taken < 0) {
        free(in);
        return tg_push_failure(L, &err);
    }
    lua_pushlstring(L, (const char *)out, out_len);
    lua_pushlstring(L, bytes + taken, len - (size_t)taken);
    free(in);
    return 2;
}

/** body:state() -> whole lines so far, whether it is over, whether a line was no base64 */
static int l_state(lua_State *L)
{
    const struct tg_pht *p = check(L);
    lua_pushinteger(L, p->lines);
    lua_pushboolean(L, p->over);
    lua_pushboolean(L, p->foreign);
    return 3;
}

static int l_gc(lua_State *L)
{
    tg_pht_end(check(L));
    return 0;
}

int luaopen_tidegate_native_pht(lua_State *L)
{
    static const luaL_Reg methods[] = { { "feed", l_feed }, { "state", l_state }, { NULL, NULL } };
    tg_class(L, NAME, methods, l_gc, NULL);
    lua_newtable(L);
    lua_pushcfunction(L, l_body);
    lua_setfield(L, -2, "body");
    return 1;
}
