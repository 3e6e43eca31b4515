#include "codec/codec_lua.h"
#include "codec/socks.h"

static void push_span(lua_State *L, struct tg_span s)
{
    lua_pushlstring(L, (const char *)s.data, s.len);
}

static ssize_t push_greeting5(lua_State *L, const uint8_t *in, size_t len, int *results,
                              struct tg_error *err)
{
    struct tg_span methods;
    ssize_t n = tg_socks5_greeting_decode(in, len, &methods, err);
    if (n < 0)
        return n;
    push_span(L, methods);
    *results = 1;
    return n;
}

static ssize_t push_method_reply(lua_State *L, const uint8_t *in, size_t len, int *results,
                                 struct tg_error *err)
{
    uint8_t method;
    ssize_t n = tg_socks5_choice_decode(in, len, &method, err);
    if (n < 0)
        return n;
    lua_pushinteger(L, method);
    *results = 1;
    return n;
}

static ssize_t push_auth(lua_State *L, const uint8_t *in, size_t len, int *results,
                         struct tg_error *err)
{
    struct tg_socks5_auth auth;
    ssize_t n = tg_socks5_auth_decode(in, len, &auth, err);
    if (n < 0)
        return n;
    push_span(L, auth.user);
    push_span(L, auth.pass);
    *results = 2;
    return n;
}

static ssize_t push_auth_reply(lua_State *L, const uint8_t *in, size_t len, int *results,
                               struct tg_error *err)
{
    uint8_t status;
    ssize_t n = tg_socks5_auth_reply_decode(in, len, &status, err);
    if (n < 0)
        return n;
    lua_pushinteger(L, status);
    *results = 1;
    return n;
}

static int push_message(lua_State *L, unsigned code, const struct tg_target *target)
{
    lua_pushinteger(L, (lua_Integer)code);
    tg_push_host(L, target);
    lua_pushinteger(L, target->port);
    return 3;
}

static ssize_t push_request5(lua_State *L, const uint8_t *in, size_t len, int *results,
                             struct tg_error *err)
{
    struct tg_socks5_message m;
    ssize_t n = tg_socks5_request_decode(in, len, &m, err);
    if (n >= 0)
        *results = push_message(L, m.code, &m.target);
    return n;
}

static ssize_t push_reply5(lua_State *L, const uint8_t *in, size_t len, int *results,
                           struct tg_error *err)
{
    struct tg_socks5_message m;
    ssize_t n = tg_socks5_reply_decode(in, len, &m, err);
    if (n >= 0)
        *results = push_message(L, m.code, &m.target);
    return n;
}

static ssize_t push_request4(lua_State *L, const uint8_t *in, size_t len, int *results,
                             struct tg_error *err)
{
    struct tg_socks4_request r;
    ssize_t n = tg_socks4_request_decode(in, len, &r, err);
    if (n < 0)
        return n;
    *results = push_message(L, r.command, &r.target) + 1;
    push_span(L, r.user);
    return n;
}

static ssize_t push_reply4(lua_State *L, const uint8_t *in, size_t len, int *results,
                           struct tg_error *err)
{
    uint8_t code;
    ssize_t n = tg_socks4_reply_decode(in, len, &code, err);
    if (n < 0)
        return n;
    lua_pushinteger(L, code);
    *results = 1;
    return n;
}

static struct tg_span check_span(lua_State *L, int index)
{
    struct tg_span s;
    s.data = (const uint8_t *)luaL_optlstring(L, index, "", &s.len);
    return s;
}

static uint8_t check_byte(lua_State *L, int index)
{
    lua_Integer value = luaL_checkinteger(L, index);
    luaL_argcheck(L, value >= 0 && value <= 255, index, "a byte is needed");
    return (uint8_t)value;
}

/** encode_greeting5(methods) -> bytes | nil, err; methods: a byte each */
static int l_encode_greeting5(lua_State *L)
{
    uint8_t out[TG_SOCKS5_GREETING_MAX];
    ssize_t n = tg_socks5_greeting_encode(check_span(L, 1), out, sizeof(out));
    return tg_push_encoded(L, "socks5", out, n);
}

/** encode_method_reply(method) -> bytes */
static int l_encode_method_reply(lua_State *L)
{
    uint8_t out[2] = { 5, check_byte(L, 1) };
    return tg_push_encoded(L, "socks5", out, sizeof(out));
}

/** encode_auth(user, pass) -> bytes | nil, err */
static int l_encode_auth(lua_State *L)
{
    uint8_t out[TG_SOCKS5_AUTH_MAX];
    struct tg_socks5_auth auth = { check_span(L, 1), check_span(L, 2) };
    return tg_push_encoded(L, "socks5", out, tg_socks5_auth_encode(&auth, out, sizeof(out)));
}

/** encode_auth_reply(status) -> bytes */
static int l_encode_auth_reply(lua_State *L)
{
    uint8_t out[2] = { 1, check_byte(L, 1) };
    return tg_push_encoded(L, "socks5", out, sizeof(out));
}

/** encode_request5(command, host, port) -> bytes | nil, err
 * encode_reply5(code, [host, port]) -> bytes | nil, err */
static int l_encode_message5(lua_State *L)
{
    uint8_t out[TG_SOCKS5_MESSAGE_MAX];
    struct tg_socks5_message m;
    m.code = check_byte(L, 1);
    if (!tg_check_target(L, 2, &m.target))
        return 2;
    return tg_push_encoded(L, "socks5", out, tg_socks5_message_encode(&m, out, sizeof(out)));
}

/** encode_request4(command, host, port, [user], [plain]) -> bytes | nil, err
 * `plain`: an IPv4 address goes as address (SOCKS4); otherwise as text (SOCKS4a) */
static int l_encode_request4(lua_State *L)
{
    uint8_t out[TG_SOCKS4_REQUEST_MAX];
    struct tg_socks4_request r;
    r.command = check_byte(L, 1);
    r.user = check_span(L, 4);
    if (!tg_check_target(L, 2, &r.target))
        return 2;
    bool by_name = !lua_toboolean(L, 5);
    return tg_push_encoded(L, "socks4", out, tg_socks4_request_encode(&r, by_name, out, sizeof(out)));
}

/** encode_reply4(code) -> bytes */
static int l_encode_reply4(lua_State *L)
{
    uint8_t out[TG_SOCKS4_REPLY_SIZE] = { 0, check_byte(L, 1) };
    return tg_push_encoded(L, "socks4", out, sizeof(out));
}

int luaopen_tidegate_native_socks(lua_State *L);

int luaopen_tidegate_native_socks(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode_greeting5", l_encode_greeting5 },
        { "encode_method_reply", l_encode_method_reply },
        { "encode_auth", l_encode_auth },
        { "encode_auth_reply", l_encode_auth_reply },
        { "encode_request5", l_encode_message5 },
        { "encode_reply5", l_encode_message5 },
        { "encode_request4", l_encode_request4 },
        { "encode_reply4", l_encode_reply4 },
        { NULL, NULL },
    };
    static const struct tg_decoder greeting5 = { "socks5", TG_SOCKS5_GREETING_MAX, push_greeting5 };
    static const struct tg_decoder method_reply = { "socks5", 2, push_method_reply };
    static const struct tg_decoder auth = { "socks5", TG_SOCKS5_AUTH_MAX, push_auth };
    static const struct tg_decoder auth_reply = { "socks5", 2, push_auth_reply };
    static const struct tg_decoder request5 = { "socks5", TG_SOCKS5_MESSAGE_MAX, push_request5 };
    static const struct tg_decoder reply5 = { "socks5", TG_SOCKS5_MESSAGE_MAX, push_reply5 };
    static const struct tg_decoder request4 = { "socks4", TG_SOCKS4_REQUEST_MAX, push_request4 };
    static const struct tg_decoder reply4 = { "socks4", TG_SOCKS4_REPLY_SIZE, push_reply4 };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    tg_set_decoder(L, &greeting5, "greeting5");
    tg_set_decoder(L, &method_reply, "method_reply");
    tg_set_decoder(L, &auth, "auth");
    tg_set_decoder(L, &auth_reply, "auth_reply");
    tg_set_decoder(L, &request5, "request5");
    tg_set_decoder(L, &reply5, "reply5");
    tg_set_decoder(L, &request4, "request4");
    tg_set_decoder(L, &reply4, "reply4");
    return 1;
}
