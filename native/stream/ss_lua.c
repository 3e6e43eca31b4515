#include "bind/class.h"
#include "bind/task.h"
#include "codec/codec_lua.h"
#include "stream/ss.h"
#include "stream/ss_lua.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <string.h>

int luaopen_tidegate_native_ss(lua_State *L);

#define KEY_MT "tidegate.ss_key"

static int fail(lua_State *L, const char *problem)
{
    return tg_push_failure_text(L, "config", problem);
}

struct tg_ss_key *tg_ss_key_check(lua_State *L, int index)
{
    return *(struct tg_ss_key **)luaL_checkudata(L, index, KEY_MT);
}

/** key(method, password) -> key | nil, err */
static int l_key(lua_State *L)
{
    size_t name_len, len;
    char problem[TG_SS_PROBLEM];
    const char *name = luaL_checklstring(L, 1, &name_len);
    const char *password = luaL_checklstring(L, 2, &len);
    const struct tg_ss_method *m = tg_ss_method_find(name, name_len);
    if (m == NULL)
        return fail(L, "unknown method");
    struct tg_ss_key **box = lua_newuserdata(L, sizeof(struct tg_ss_key *));
    *box = NULL;
    luaL_getmetatable(L, KEY_MT);
    lua_setmetatable(L, -2);
    *box = tg_ss_key_new(m, password, len, problem);
    return *box != NULL ? 1 : fail(L, problem);
}

/** key:add_user(name, password) -> true | nil, err */
static int l_add_user(lua_State *L)
{
    size_t len;
    char problem[TG_SS_PROBLEM];
    struct tg_ss_key *k = tg_ss_key_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const char *password = luaL_checklstring(L, 3, &len);
    if (!tg_ss_key_add_user(k, name, password, len, problem))
        return fail(L, problem);
    lua_pushboolean(L, 1);
    return 1;
}

/** key:identities() -> how many keys come before the user's */
static int l_identities(lua_State *L)
{
    lua_pushinteger(L, tg_ss_key_check(L, 1)->identities);
    return 1;
}

static int l_key_gc(lua_State *L)
{
    tg_ss_key_drop(tg_ss_key_check(L, 1));
    return 0;
}

/** methods() -> list of { name=, kind= "aead" | "2022" | "stream" | "clear" } */
static int l_methods(lua_State *L)
{
    static const char *const kinds[] = {
        [TG_SS_AEAD] = "aead",   [TG_SS_2022] = "2022",   [TG_SS_STREAM] = "stream",
        [TG_SS_CLEAR] = "clear", [TG_SS_PLAIN] = "clear",
    };
    const struct tg_ss_method *m;
    lua_newtable(L);
    for (unsigned i = 0; (m = tg_ss_method_at(i)) != NULL; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, m->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, kinds[m->kind]);
        lua_setfield(L, -2, "kind");
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int closed(lua_State *L)
{
    return tg_push_failure_text(L, "closed", "the stream is closed");
}

/** client(stream, key, "host:port") -> stream | nil, err; the stream given is used up */
static int l_client(lua_State *L)
{
    size_t len;
    struct tg_target target;
    struct tg_ss_key *k = tg_ss_key_check(L, 2);
    const char *text = luaL_checklstring(L, 3, &len);
    if (tg_target_parse(&target, text, len) < 0)
        return tg_push_failure_text(L, "invalid", "the target is no \"host:port\"");
    struct tg_stream *lower = tg_stream_take(L, 1);
    if (lower == NULL)
        return closed(L);
    tg_stream_push(L, tg_ss_client(lower, k, &target));
    return 1;
}

/** server(stream, key) -> stream | nil, err; likewise */
static int l_server(lua_State *L)
{
    struct tg_ss_key *k = tg_ss_key_check(L, 2);
    struct tg_stream *lower = tg_stream_take(L, 1);
    if (lower == NULL)
        return closed(L);
    tg_stream_push(L, tg_ss_server(lower, k));
    return 1;
}

static struct tg_stream *check_layer(lua_State *L)
{
    struct tg_stream *s = tg_stream_check(L, 1);
    luaL_argcheck(L, s == NULL || tg_ss_is(s), 1, "not a stream of this module");
    return s;
}

/** user(stream) -> the name of the user whose key the client has | nil */
static int l_user(lua_State *L)
{
    struct tg_stream *s = check_layer(L);
    if (s == NULL)
        return 0;
    lua_pushstring(L, tg_ss_user(s));
    return 1;
}

/** strip(stream) -> the stream below, without the layer | nil, err */
static int l_strip(lua_State *L)
{
    struct tg_stream *s = check_layer(L);
    if (s == NULL)
        return closed(L);
    tg_stream_push(L, tg_ss_strip(tg_stream_take(L, 1)));
    return 1;
}

static ssize_t push_address(lua_State *L, const uint8_t *in, size_t len, int *results,
                            struct tg_error *err)
{
    struct tg_target target;
    char text[TG_TARGET_TEXT];
    ssize_t n = tg_socks_address_decode(in, len, &target, err);
    if (n < 0)
        return n;
    lua_pushlstring(L, text, tg_target_text(&target, text));
    *results = 1;
    return n;
}

int luaopen_tidegate_native_ss(lua_State *L)
{
    static const struct tg_decoder address = { "shadowsocks", TG_SOCKS_ADDRESS_MAX, push_address };
    static const luaL_Reg methods[] = {
        { "add_user", l_add_user }, { "identities", l_identities }, { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "key", l_key },       { "methods", l_methods }, { "client", l_client },
        { "server", l_server }, { "user", l_user },       { "strip", l_strip },
        { NULL, NULL },
    };
    tg_class(L, KEY_MT, methods, l_key_gc, NULL);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    tg_set_decoder(L, &address, "address");
    return 1;
}
