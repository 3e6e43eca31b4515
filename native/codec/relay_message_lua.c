#include "codec/codec_lua.h"
#include "codec/relay_message.h"

int luaopen_tidegate_native_relay_message(lua_State *L);

static void push_target(lua_State *L, bool there, const struct tg_target *t)
{
    if (!there) {
        lua_pushnil(L);
        lua_pushnil(L);
        return;
    }
    tg_push_host(L, t);
    lua_pushinteger(L, t->port);
}

static void push_span(lua_State *L, bool there, struct tg_span s)
{
    if (there)
        lua_pushlstring(L, (const char *)s.data, s.len);
    else
        lua_pushnil(L);
}

/* request: command, flags, network, host | nil, port | nil, user | nil, pass | nil */
static ssize_t push_request(lua_State *L, const uint8_t *in, size_t len, int *results,
                            struct tg_error *err)
{
    struct tg_relay_message m;
    ssize_t n = tg_relay_message_decode(in, len, &m, err);
    if (n < 0)
        return n;
    lua_pushinteger(L, m.code & 0x0f);
    lua_pushinteger(L, m.code & 0xf0);
    lua_pushinteger(L, m.network);
    push_target(L, m.has_target, &m.target);
    push_span(L, m.has_user, m.user);
    push_span(L, m.has_user, m.pass);
    *results = 7;
    return n;
}

/* response: status, host | nil, port | nil, second host | nil, second port | nil */
static ssize_t push_response(lua_State *L, const uint8_t *in, size_t len, int *results,
                             struct tg_error *err)
{
    struct tg_relay_message m;
    ssize_t n = tg_relay_message_decode(in, len, &m, err);
    if (n < 0)
        return n;
    lua_pushinteger(L, m.code);
    push_target(L, m.has_target, &m.target);
    push_target(L, m.has_second, &m.second);
    *results = 5;
    return n;
}

static uint8_t check_code(lua_State *L, int index)
{
    lua_Integer code = luaL_checkinteger(L, index);
    luaL_argcheck(L, code >= 0 && code <= 255, index, "a byte is needed");
    return (uint8_t)code;
}

static bool opt_span(lua_State *L, int index, struct tg_span *s)
{
    s->data = (const uint8_t *)luaL_optlstring(L, index, "", &s->len);
    return !lua_isnoneornil(L, index);
}

/** encode_request(command and flags, [network], [host, port], [user, pass]) → bytes | nil, err */
static int l_encode_request(lua_State *L)
{
    uint8_t out[TG_RELAY_OURS_MAX];
    struct tg_relay_message m = { .code = check_code(L, 1) };
    m.has_network = !lua_isnoneornil(L, 2);
    m.network = (uint16_t)luaL_optinteger(L, 2, 0);
    m.has_target = !lua_isnoneornil(L, 3);
    if (m.has_target && !tg_check_target(L, 3, &m.target))
        return 2;
    m.has_user = opt_span(L, 5, &m.user);
    opt_span(L, 6, &m.pass);
    return tg_push_encoded(L, "relay", out, tg_relay_message_encode(&m, out, sizeof(out)));
}

/** encode_response(status, [host, port]) → bytes | nil, err */
static int l_encode_response(lua_State *L)
{
    uint8_t out[TG_RELAY_OURS_MAX];
    struct tg_relay_message m = { .code = check_code(L, 1) };
    m.has_target = !lua_isnoneornil(L, 2);
    if (m.has_target && !tg_check_target(L, 2, &m.target))
        return 2;
    return tg_push_encoded(L, "relay", out, tg_relay_message_encode(&m, out, sizeof(out)));
}

int luaopen_tidegate_native_relay_message(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode_request", l_encode_request },
        { "encode_response", l_encode_response },
        { NULL, NULL },
    };
    static const struct tg_decoder request = { "relay", TG_RELAY_MESSAGE_MAX, push_request };
    static const struct tg_decoder response = { "relay", TG_RELAY_MESSAGE_MAX, push_response };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    tg_set_decoder(L, &request, "request");
    tg_set_decoder(L, &response, "response");
    return 1;
}
