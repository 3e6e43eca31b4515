#include "stream/opener.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>

int luaopen_tidegate_native_opener(lua_State *L);

#define HEAD_MAX 32768u
#define REPLY_MAX 4096u

static int start(lua_State *L, struct tg_stream *(*fn)(struct tg_stream *, const char *, size_t),
                 size_t most)
{
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len > 0 && len <= most, 2, "empty or too long");
    struct tg_stream *lower = tg_stream_take(L, 1);
    if (lower == NULL)
        return tg_push_failure_text(L, "closed", "the stream is closed");
    tg_stream_push(L, fn(lower, text, len));
    return 1;
}

/** disguise(stream, host) -> a stream whose ClientHello or request names `host` and hides the true name;
 * the one given is used up */
static int l_disguise(lua_State *L)
{
    return start(L, tg_sni_disguise, 255);
}

/** obfs_http(stream, head) -> a stream that begins with this request and takes the answer off; likewise */
static int l_obfs_http(lua_State *L)
{
    return start(L, tg_obfs_http, HEAD_MAX);
}

/** late_reply(stream, reply) -> a stream that puts the reply in front of the first bytes that are written, when
 * the peer has sent more than its request already, so that it waits for none (the stream given is used
 * up); else the stream itself, false */
static int l_late_reply(lua_State *L)
{
    struct tg_stream *s = tg_stream_check(L, 1);
    if (s != NULL && s->ahead == NULL)
        tg_stream_fill(s, TG_BUF_SMALL);
    if (s != NULL && s->ahead != NULL)
        return start(L, tg_late_reply, REPLY_MAX);
    lua_settop(L, 1);
    lua_pushboolean(L, 0);
    return 2;
}

int luaopen_tidegate_native_opener(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "disguise", l_disguise }, { "late_reply", l_late_reply }, { "obfs_http", l_obfs_http },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
