#include "codec/codec_lua.h"
#include "codec/relay_message.h"

#include <string.h>

/* What every encoder of ours fits into: users, addresses, tunnel, 20 pairs of 255 bytes each. */
#define ENCODED_MAX 16384u

static void set_span(lua_State *L, const char *key, struct tg_span s)
{
    lua_pushlstring(L, (const char *)s.data, s.len);
    lua_setfield(L, -2, key);
}

static const struct {
    uint16_t number;
    const char *name;
} networks[] = {
    { TG_RELAY_TCP, "tcp" },   { TG_RELAY_NET_UDP, "udp" },   { TG_RELAY_IP, "ip" },
    { TG_RELAY_UNIX, "unix" }, { TG_RELAY_SERIAL, "serial" },
};

static const char *network_name(unsigned number)
{
    for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
        if (networks[i].number == number)
            return networks[i].name;
    return "tcp";
}

static void set_addresses(lua_State *L, const struct tg_relay_message *m)
{
    lua_createtable(L, m->address_count, 0);
    for (int i = 0; i < m->address_count; i++) {
        lua_createtable(L, 0, 2);
        tg_push_host(L, &m->addresses[i]);
        lua_setfield(L, -2, "host");
        lua_pushinteger(L, m->addresses[i].port);
        lua_setfield(L, -2, "port");
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "addresses");
}

static void set_metadata(lua_State *L, const struct tg_relay_message *m)
{
    lua_createtable(L, 0, m->metadata_count);
    for (int i = 0; i < m->metadata_count; i++) {
        struct tg_span key = m->metadata[i].key, value = m->metadata[i].value;
        lua_pushlstring(L, (const char *)key.data, key.len);
        lua_pushlstring(L, (const char *)value.data, value.len);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "metadata");
}

static void set_features(lua_State *L, const struct tg_relay_message *m)
{
    if (m->address_count > 0) {
        const struct tg_target *last = &m->addresses[m->address_count - 1];
        tg_push_host(L, last);
        lua_setfield(L, -2, "host");
        lua_pushinteger(L, last->port);
        lua_setfield(L, -2, "port");
        if (m->address_count > 1)
            set_addresses(L, m);
    }
    if (m->has_auth) {
        set_span(L, "user", m->user);
        set_span(L, "pass", m->pass);
    }
    if (m->has_network) {
        lua_pushstring(L, network_name(m->network));
        lua_setfield(L, -2, "network");
    }
    if (m->tunnel.data != NULL)
        set_span(L, "tunnel", m->tunnel);
    if (m->metadata_count > 0)
        set_metadata(L, m);
}

static ssize_t push_request(lua_State *L, const uint8_t *in, size_t len, int *results,
                            struct tg_error *err)
{
    struct tg_relay_message m;
    ssize_t n = tg_relay_message_decode(in, len, &m, err);
    if (n < 0)
        return n;
    lua_createtable(L, 0, 8);
    lua_pushinteger(L, m.code & 0x0f);
    lua_setfield(L, -2, "cmd");
    lua_pushboolean(L, (m.code & TG_RELAY_UDP) != 0);
    lua_setfield(L, -2, "udp");
    set_features(L, &m);
    *results = 1;
    return n;
}

static ssize_t push_response(lua_State *L, const uint8_t *in, size_t len, int *results,
                             struct tg_error *err)
{
    struct tg_relay_message m;
    ssize_t n = tg_relay_message_decode(in, len, &m, err);
    if (n < 0)
        return n;
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, m.code);
    lua_setfield(L, -2, "status");
    set_features(L, &m);
    *results = 1;
    return n;
}

/* The span of the string field `key`; data NULL: it is nil.  The string stays in the table. */
static struct tg_span get_span(lua_State *L, const char *key)
{
    struct tg_span s = { NULL, 0 };
    lua_getfield(L, 1, key);
    if (!lua_isnil(L, -1)) {
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, key);
        s.data = (const uint8_t *)lua_tolstring(L, -1, &s.len);
    }
    lua_pop(L, 1);
    return s;
}

/* Read host and port of the table on top.  false: an error was pushed. */
static bool get_target(lua_State *L, struct tg_relay_message *m)
{
    lua_getfield(L, -1, "host");
    lua_getfield(L, -2, "port");
    int top = lua_gettop(L);
    if (!tg_check_target(L, top - 1, &m->addresses[m->address_count++]))
        return false;
    lua_pop(L, 2);
    return true;
}

static bool get_addresses(lua_State *L, struct tg_relay_message *m)
{
    lua_getfield(L, 1, "addresses");
    if (lua_istable(L, -1)) {
        int count = (int)lua_objlen(L, -1);
        luaL_argcheck(L, count <= (int)TG_RELAY_ADDRESSES_MAX, 1, "too many addresses");
        for (int i = 1; i <= count; i++) {
            lua_rawgeti(L, -1, i);
            luaL_checktype(L, -1, LUA_TTABLE);
            if (!get_target(L, m))
                return false;
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
        return true;
    }
    lua_pop(L, 1);
    lua_getfield(L, 1, "host");
    bool given = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (!given)
        return true;
    lua_pushvalue(L, 1);
    if (!get_target(L, m))
        return false;
    lua_pop(L, 1);
    return true;
}

static void get_network(lua_State *L, struct tg_relay_message *m)
{
    struct tg_span name = get_span(L, "network");
    m->has_network = name.data != NULL;
    for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
        if (name.len == strlen(networks[i].name) &&
            memcmp(name.data, networks[i].name, name.len) == 0) {
            m->network = networks[i].number;
            return;
        }
    luaL_argcheck(L, !m->has_network, 1, "unknown network");
}

static void get_metadata(lua_State *L, struct tg_relay_message *m)
{
    lua_getfield(L, 1, "metadata");
    for (lua_pushnil(L); lua_istable(L, -2) && lua_next(L, -2) != 0; lua_pop(L, 1)) {
        luaL_argcheck(L, m->metadata_count < TG_RELAY_METADATA_MAX, 1, "too much metadata");
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING, 1,
                      "metadata has to be strings");
        struct tg_span *key = &m->metadata[m->metadata_count].key;
        struct tg_span *value = &m->metadata[m->metadata_count++].value;
        key->data = (const uint8_t *)lua_tolstring(L, -2, &key->len);
        value->data = (const uint8_t *)lua_tolstring(L, -1, &value->len);
    }
    lua_settop(L, 1);
}

static int encode(lua_State *L, uint8_t code)
{
    struct tg_relay_message m;
    memset(&m, 0, offsetof(struct tg_relay_message, addresses));
    m.code = code;
    get_network(L, &m);
    m.user = get_span(L, "user");
    m.pass = get_span(L, "pass");
    m.has_auth = m.user.data != NULL || m.pass.data != NULL;
    m.tunnel = get_span(L, "tunnel");
    if (!get_addresses(L, &m))
        return 2;
    get_metadata(L, &m);
    uint8_t out[ENCODED_MAX];
    return tg_push_encoded(L, "relay", out, tg_relay_message_encode(&m, out, sizeof(out)));
}

static int get_code(lua_State *L, const char *key)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, key);
    int code = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return code;
}

/** encode_request { cmd, [udp], [network], [user], [pass], [host, port | addresses], [tunnel],
 * [metadata] } -> bytes | nil, err */
static int l_encode_request(lua_State *L)
{
    int code = get_code(L, "cmd") & 0x0f;
    lua_getfield(L, 1, "udp");
    bool udp = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return encode(L, (uint8_t)(code | (udp ? TG_RELAY_UDP : 0)));
}

/** encode_response { status, … as in requests } -> bytes | nil, err */
static int l_encode_response(lua_State *L)
{
    return encode(L, (uint8_t)get_code(L, "status"));
}

int luaopen_tidegate_native_relay_message(lua_State *L);

int luaopen_tidegate_native_relay_message(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode_request", l_encode_request },
        { "encode_response", l_encode_response },
        { NULL, NULL },
    };
    /* request -> { cmd, udp, [network = "tcp" "udp" "ip" "unix" "serial"], [user, pass],
     * [host, port: of the last address], [addresses = { { host, port }, … }: when several],
     * [tunnel], [metadata] }; response -> the same with status for cmd and udp */
    static const struct tg_decoder request = { "relay", TG_RELAY_MESSAGE_MAX, push_request };
    static const struct tg_decoder response = { "relay", TG_RELAY_MESSAGE_MAX, push_response };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    tg_set_decoder(L, &request, "request");
    tg_set_decoder(L, &response, "response");
    return 1;
}
