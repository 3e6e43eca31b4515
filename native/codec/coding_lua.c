#include "codec/coding.h"
#include "codec/codec_lua.h"

#include "bind/task.h"

#include <lauxlib.h>
#include <stdlib.h>

int luaopen_tidegate_native_coding(lua_State *L);

static enum tg_coding check_coding(lua_State *L, int index)
{
    enum tg_coding coding = TG_CODING_GZIP;
    luaL_argcheck(L, tg_coding_find(luaL_checkstring(L, index), &coding), index, "no such coding");
    return coding;
}

/** known(name in lower case) -> whether there is such a coding */
static int l_known(lua_State *L)
{
    enum tg_coding coding;
    lua_pushboolean(L, tg_coding_find(luaL_checkstring(L, 1), &coding));
    return 1;
}

/** unpack(coding, bytes, max) -> bytes, whole: false when the input was cut off or there is more than
 * `max` | nil, err */
static int l_unpack(lua_State *L)
{
    size_t len;
    enum tg_coding coding = check_coding(L, 1);
    const char *in = luaL_checklstring(L, 2, &len);
    lua_Number max = luaL_checknumber(L, 3);
    luaL_argcheck(L, max >= 0 && max <= 1073741824.0, 3, "out of range");
    struct tg_coding_result out;
    struct tg_error err;
    int code = tg_coding_unpack(coding, in, len, (size_t)max, &out, &err);
    if (code != 0) {
        free(out.data);
        return tg_push_failure(L, &err);
    }
    lua_pushlstring(L, out.data != NULL ? (const char *)out.data : "", out.len);
    lua_pushboolean(L, out.whole);
    free(out.data);
    return 2;
}

/** pack(coding, bytes) -> bytes | nil, err */
static int l_pack(lua_State *L)
{
    size_t len;
    enum tg_coding coding = check_coding(L, 1);
    const char *in = luaL_checklstring(L, 2, &len);
    struct tg_coding_result out;
    struct tg_error err;
    if (tg_coding_pack(coding, in, len, &out, &err) != 0)
        return tg_push_failure(L, &err);
    lua_pushlstring(L, (const char *)out.data, out.len);
    free(out.data);
    return 1;
}

int luaopen_tidegate_native_coding(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "known", l_known },
        { "unpack", l_unpack },
        { "pack", l_pack },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
