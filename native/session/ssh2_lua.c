#include "session/ssh2.h"

#include "bind/class.h"
#include "bind/task.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <libssh2.h>
#include <openssl/evp.h>
#include <string.h>

int luaopen_tidegate_native_ssh2(lua_State *L);

#define SESSION_MT "tidegate.ssh2"
#define HASH_LEN   32
#define KEY_MAX    8192 /* bytes of a public key */

/** What Lua holds.  `s` is NULL once closed; collecting the box closes the session. */
struct box {
    struct tg_session *s;
    struct tg_waiter asker;
};

static struct box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, SESSION_MT);
}

static int fail_dead(lua_State *L, struct box *b)
{
    if (b->s == NULL)
        tg_push_failure_text(L, "closed", "the session is closed");
    else
        tg_push_failure(L, &b->s->error);
    lua_pushstring(L, b->s == NULL ? "" : tg_ssh2_reason(b->s));
    return 3;
}

/* @return number of results pushed, 0 to wait on */
static int step_result(lua_State *L, struct box *b)
{
    if (b->s == NULL || b->s->dead)
        return fail_dead(L, b);
    int code = tg_ssh2_result(b->s);
    if (code == TG_AGAIN)
        return 0;
    lua_pushboolean(L, code == 0);
    lua_pushstring(L, code == 0 ? "" : tg_ssh2_reason(b->s));
    return 2;
}

static void on_event(void *arg)
{
    struct box *b = arg;
    if (b->asker.co == NULL)
        return;
    int count = step_result(b->asker.co, b);
    if (count > 0)
        tg_wake(&b->asker, count);
}

static uint32_t number(lua_State *L, const char *key, lua_Number scale, uint32_t otherwise)
{
    lua_getfield(L, 2, key);
    lua_Number value = luaL_optnumber(L, -1, otherwise / scale) * scale;
    lua_pop(L, 1);
    if (!(value >= 0 && value <= UINT32_MAX))
        luaL_error(L, "session option %s is out of range", key);
    return (uint32_t)value;
}

/** client(stream, { user=, host_keys= (kinds, by commas), max_streams=1024, keepalive= (s, 0: none),
 * timeout=15, retries=1 }) → session | nil, err; the stream is used up */
static int l_client(lua_State *L)
{
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 2, "user");
    const char *user = luaL_optstring(L, -1, "");
    lua_getfield(L, 2, "host_keys");
    const char *host_keys = luaL_optstring(L, -1, NULL);
    struct tg_ssh2_options o = {
        .user = user,
        .max_streams = number(L, "max_streams", 1, 1024),
        .keepalive = number(L, "keepalive", 1000, 0),
        .timeout = number(L, "timeout", 1000, 15000),
        .retries = number(L, "retries", 1, 1),
        .host_keys = host_keys,
    };
    struct box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    luaL_getmetatable(L, SESSION_MT);
    lua_setmetatable(L, -2);
    struct tg_stream *lower = tg_stream_take(L, 1);
    luaL_argcheck(L, lower != NULL, 1, "the stream is closed");
    struct tg_error err;
    b->s = tg_ssh2_start(lower, &o, &err);
    if (b->s == NULL)
        return tg_push_failure(L, &err);
    b->s->on_event = on_event;
    b->s->event_arg = b;
    return 1;
}

static int await(lua_State *L, struct box *b, uint64_t deadline)
{
    int count = step_result(L, b);
    return count > 0 ? count : tg_park(L, &b->asker, deadline);
}

/** session:ready([deadline]) → true | nil, err, what the library says: keys have been exchanged */
static int l_ready(lua_State *L)
{
    struct box *b = check_box(L);
    uint64_t deadline = tg_opt_deadline(L, 2);
    tg_check_parkable(L, &b->asker);
    return await(L, b, deadline);
}

static int begin(lua_State *L, enum tg_ssh2_step step, const char *secret, const char *passphrase,
                 uint64_t deadline)
{
    struct box *b = check_box(L);
    tg_check_parkable(L, &b->asker);
    if (b->s == NULL || b->s->dead)
        return fail_dead(L, b);
    if (tg_ssh2_result(b->s) == TG_AGAIN)
        return tg_push_failure_text(L, "busy", "the last step has not ended");
    tg_ssh2_begin(b->s, step, secret, passphrase);
    return await(L, b, deadline);
}

/** session:login_none([deadline]) → true | false, why not | nil, err */
static int l_login_none(lua_State *L)
{
    return begin(L, TG_SSH2_NONE, NULL, NULL, tg_opt_deadline(L, 2));
}

/** session:login_password(password[, deadline]) → true | false, why not | nil, err */
static int l_login_password(lua_State *L)
{
    return begin(L, TG_SSH2_PASSWORD, luaL_checkstring(L, 2), NULL, tg_opt_deadline(L, 3));
}

/** session:login_interactive(password[, deadline]) → true | false, why not | nil, err: it answers
 * whatever is asked */
static int l_login_interactive(lua_State *L)
{
    return begin(L, TG_SSH2_INTERACTIVE, luaL_checkstring(L, 2), NULL, tg_opt_deadline(L, 3));
}

/** session:login_agent(path of its socket[, deadline]) → true | false, why not | nil, err; the
 * thread waits for the agent */
static int l_login_agent(lua_State *L)
{
    return begin(L, TG_SSH2_AGENT, luaL_checkstring(L, 2), NULL, tg_opt_deadline(L, 3));
}

/** session:login_key({ text=, passphrase= }[, deadline]) → true | false, why not | nil, err */
static int l_login_key(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    uint64_t deadline = tg_opt_deadline(L, 3);
    lua_getfield(L, 2, "text");
    lua_getfield(L, 2, "passphrase");
    return begin(L, TG_SSH2_KEY, luaL_checkstring(L, -2), luaL_optstring(L, -1, NULL), deadline);
}

/** session:methods() → { password = bool, public_key = bool, interactive = bool } */
static int l_methods(lua_State *L)
{
    struct box *b = check_box(L);
    const char *list = b->s == NULL ? NULL : tg_ssh2_methods(b->s);
    list = list == NULL ? "" : list;
    lua_createtable(L, 0, 3);
    lua_pushboolean(L, strstr(list, "password") != NULL);
    lua_setfield(L, -2, "password");
    lua_pushboolean(L, strstr(list, "publickey") != NULL);
    lua_setfield(L, -2, "public_key");
    lua_pushboolean(L, strstr(list, "keyboard-interactive") != NULL);
    lua_setfield(L, -2, "interactive");
    return 1;
}

#define BASE64_MAX(len) (((len) + 2) / 3 * 4 + 1)

/* Kind of a key: the first string in it. */
static void push_kind(lua_State *L, const uint8_t *key, size_t len)
{
    size_t n = len < 4 ? 0 : (size_t)key[2] << 8 | key[3];
    lua_pushlstring(L, (const char *)key + 4, n + 4 <= len ? n : 0);
}

/** session:host_key() → type, base64 of the server's key, "SHA256:…" | nil, err */
static int l_host_key(lua_State *L)
{
    struct box *b = check_box(L);
    unsigned char text[BASE64_MAX(HASH_LEN)];
    size_t len = 0;
    const char *key = b->s == NULL ? NULL : tg_ssh2_host_key(b->s, &len);
    const char *hash = key == NULL ? NULL : tg_ssh2_host_hash(b->s);
    if (hash == NULL || len > KEY_MAX)
        return tg_push_failure_text(L, "protocol", "no host key");
    unsigned char whole[BASE64_MAX(KEY_MAX)];
    push_kind(L, (const uint8_t *)key, len);
    int size = EVP_EncodeBlock(whole, (const unsigned char *)key, (int)len);
    lua_pushlstring(L, (const char *)whole, (size_t)size);
    EVP_EncodeBlock(text, (const unsigned char *)hash, HASH_LEN);
    text[strcspn((char *)text, "=")] = '\0';
    lua_pushfstring(L, "SHA256:%s", (char *)text);
    return 3;
}

/** signs_rsa() → whether this version of the library signs with RSA keys in a way that servers
 * still take */
static int l_signs_rsa(lua_State *L)
{
    lua_pushboolean(L, libssh2_version(0x010b00) != NULL);
    return 1;
}

/** session:last_error() → what the library said last */
static int l_last_error(lua_State *L)
{
    struct box *b = check_box(L);
    lua_pushstring(L, b->s == NULL ? "" : tg_ssh2_reason(b->s));
    return 1;
}

/** session:open_tunnel([deadline]) → stream | nil, err */
static int l_open_tunnel(lua_State *L)
{
    struct box *b = check_box(L);
    uint64_t deadline = tg_opt_deadline(L, 2);
    if (b->s == NULL)
        return tg_push_failure_text(L, "closed", "the session is closed");
    struct tg_error err;
    struct tg_stream *stream = tg_session_open(b->s, &err);
    if (stream == NULL)
        return tg_push_failure(L, &err);
    tg_stream_push(L, stream);
    return tg_stream_await_open(L, lua_gettop(L), deadline);
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    if (b->s != NULL)
        tg_session_close(b->s);
    b->s = NULL;
    return 0;
}

/** session:close(); may be repeated */
static int l_close(lua_State *L)
{
    struct box *b = check_box(L);
    l_gc(L);
    if (b->asker.co != NULL)
        tg_wake(&b->asker, fail_dead(b->asker.co, b));
    return 0;
}

/** session:is_alive() → false once it is closed or dead */
static int l_is_alive(lua_State *L)
{
    struct box *b = check_box(L);
    lua_pushboolean(L, b->s != NULL && !b->s->dead);
    return 1;
}

/** session:count() → channels alive */
static int l_count(lua_State *L)
{
    struct box *b = check_box(L);
    lua_pushinteger(L, b->s == NULL ? 0 : (lua_Integer)b->s->streams);
    return 1;
}

/** session:silence() → ms since anything came from the peer */
static int l_silence(lua_State *L)
{
    struct box *b = check_box(L);
    lua_pushnumber(L, b->s == NULL ? 0 : (lua_Number)tg_ssh2_silence(b->s));
    return 1;
}

int luaopen_tidegate_native_ssh2(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "ready", l_ready },
        { "login_none", l_login_none },
        { "login_password", l_login_password },
        { "login_interactive", l_login_interactive },
        { "login_key", l_login_key },
        { "login_agent", l_login_agent },
        { "methods", l_methods },
        { "host_key", l_host_key },
        { "last_error", l_last_error },
        { "open_tunnel", l_open_tunnel },
        { "close", l_close },
        { "is_alive", l_is_alive },
        { "count", l_count },
        { "silence", l_silence },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = { { "client", l_client },
                                          { "signs_rsa", l_signs_rsa },
                                          { NULL, NULL } };
    tg_class(L, SESSION_MT, methods, l_gc, NULL);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
