#include "session/ssh2.h"

#include "session/session_lua.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <libssh2.h>
#include <openssl/evp.h>
#include <string.h>

int luaopen_tidegate_native_ssh2(lua_State *L);

#define SESSION_MT "tidegate.ssh2"
#define HASH_LEN   32
#define KEY_MAX    8192 /* bytes of a public key */

static struct tg_session_box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, SESSION_MT);
}

static int fail_dead(lua_State *L, struct tg_session_box *b)
{
    tg_session_fail(L, b);
    lua_pushstring(L, b->s == NULL ? "" : tg_ssh2_reason(b->s));
    return 3;
}

/* @return number of results pushed, 0 to wait on */
static int step_result(lua_State *L, struct tg_session_box *b)
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

/** client(stream, { user=, host_keys= (kinds, by commas), max_streams=1024, keepalive= (s, 0: none),
 * timeout=15, retries=1 }) → session | nil, err; the stream is used up */
static int l_client(lua_State *L)
{
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    const char *user = tg_session_text(L, 2, "user");
    struct tg_ssh2_options o = {
        .user = user == NULL ? "" : user,
        .max_streams = tg_session_number(L, 2, "max_streams", 1, 1024),
        .keepalive = tg_session_number(L, 2, "keepalive", 1000, 0),
        .timeout = tg_session_number(L, 2, "timeout", 1000, 15000),
        .retries = tg_session_number(L, 2, "retries", 1, 1),
        .host_keys = tg_session_text(L, 2, "host_keys"),
    };
    struct tg_stream *lower;
    struct tg_session_box *b = tg_session_push(L, SESSION_MT, 1, &lower);
    struct tg_error err;
    b->s = tg_ssh2_start(lower, &o, &err);
    return tg_session_started(L, b, &err);
}

/** session:ready([deadline]) → true | nil, err, what the library says: keys have been exchanged */
static int l_ready(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    uint64_t deadline = tg_opt_deadline(L, 2);
    tg_check_parkable(L, &b->asker);
    return tg_session_ask(L, b, step_result, deadline);
}

static int begin(lua_State *L, enum tg_ssh2_step step, const char *secret, const char *passphrase,
                 uint64_t deadline)
{
    struct tg_session_box *b = check_box(L);
    tg_check_parkable(L, &b->asker);
    if (b->s == NULL || b->s->dead)
        return fail_dead(L, b);
    if (tg_ssh2_result(b->s) == TG_AGAIN)
        return tg_push_failure_text(L, "busy", "the last step has not ended");
    tg_ssh2_begin(b->s, step, secret, passphrase);
    return tg_session_ask(L, b, step_result, deadline);
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

/** session:login_agent(public key, signature or nil[, deadline]) → true | false, why not | nil, err */
static int l_login_agent(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    size_t key_len, signature_len = 0;
    const char *key = luaL_checklstring(L, 2, &key_len);
    const char *signature = luaL_optlstring(L, 3, NULL, &signature_len);
    uint64_t deadline = tg_opt_deadline(L, 4);
    tg_check_parkable(L, &b->asker);
    if (b->s == NULL || b->s->dead)
        return fail_dead(L, b);
    if (tg_ssh2_result(b->s) == TG_AGAIN)
        return tg_push_failure_text(L, "busy", "the last step has not ended");
    tg_ssh2_begin_agent(b->s, key, key_len, signature, signature_len);
    return tg_session_ask(L, b, step_result, deadline);
}

/** session:agent_request() → what the key was to sign in the last login_agent() without a signature | nil */
static int l_agent_request(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    size_t len = 0;
    const void *data = b->s == NULL ? NULL : tg_ssh2_to_sign(b->s, &len);
    if (data == NULL)
        return 0;
    lua_pushlstring(L, data, len);
    return 1;
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
    struct tg_session_box *b = check_box(L);
    const char *list = b->s == NULL ? NULL : tg_ssh2_methods(b->s);
    list = list == NULL ? "" : list;
    lua_createtable(L, 0, 3);
    tg_session_set_flag(L, "password", strstr(list, "password") != NULL);
    tg_session_set_flag(L, "public_key", strstr(list, "publickey") != NULL);
    tg_session_set_flag(L, "interactive", strstr(list, "keyboard-interactive") != NULL);
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
    struct tg_session_box *b = check_box(L);
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
    struct tg_session_box *b = check_box(L);
    lua_pushstring(L, b->s == NULL ? "" : tg_ssh2_reason(b->s));
    return 1;
}

/** session:open_tunnel([deadline]) → stream | nil, err */
static int l_open_tunnel(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    uint64_t deadline = tg_opt_deadline(L, 2);
    if (b->s == NULL)
        return tg_session_fail(L, b);
    struct tg_error err;
    return tg_session_await_stream(L, tg_session_open(b->s, &err), &err, deadline);
}

/** session:silence() → ms since anything came from the peer */
static int l_silence(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
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
        { "agent_request", l_agent_request },
        { "methods", l_methods },
        { "host_key", l_host_key },
        { "last_error", l_last_error },
        { "open_tunnel", l_open_tunnel },
        { "silence", l_silence },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = { { "client", l_client },
                                          { "signs_rsa", l_signs_rsa },
                                          { NULL, NULL } };
    tg_session_class(L, SESSION_MT, methods);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
