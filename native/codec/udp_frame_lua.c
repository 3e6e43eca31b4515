#include "codec/codec_lua.h"
#include "codec/udp_frame.h"

static void push_span(lua_State *L, struct tg_span s)
{
    lua_pushlstring(L, (const char *)s.data, s.len);
}

static int push_frame(lua_State *L, const struct tg_udp_frame *f)
{
    push_span(L, f->data);
    tg_push_host(L, &f->target);
    lua_pushinteger(L, f->target.port);
    return 3;
}

static ssize_t push_tun(lua_State *L, const uint8_t *in, size_t len, int *results,
                        struct tg_error *err)
{
    struct tg_udp_frame f;
    ssize_t n = tg_udp_tun_decode(in, len, &f, err);
    if (n > 0)
        *results = push_frame(L, &f);
    return n;
}

static ssize_t push_datagram(lua_State *L, const uint8_t *in, size_t len, int *results,
                             struct tg_error *err)
{
    struct tg_udp_frame f;
    ssize_t n = tg_udp_datagram_decode(in, len, &f, err);
    if (n > 0)
        *results = push_frame(L, &f);
    return n;
}

static ssize_t push_u16(lua_State *L, const uint8_t *in, size_t len, int *results,
                        struct tg_error *err)
{
    struct tg_span data;
    ssize_t n = tg_udp_u16_decode(in, len, &data, err);
    if (n < 0)
        return n;
    push_span(L, data);
    *results = 1;
    return n;
}

/* The head in `out` and the string at `index`, as one. */
static int push_with_data(lua_State *L, const uint8_t *out, ssize_t n, int index)
{
    if (tg_push_encoded(L, "udp frame", out, n) == 2)
        return 2;
    lua_pushvalue(L, index);
    lua_concat(L, 2);
    return 1;
}

/** encode_tun(host, port, data) -> frame | nil, err */
static int l_encode_tun(lua_State *L)
{
    uint8_t out[TG_UDP_HEAD_MAX];
    struct tg_target t;
    size_t len;
    luaL_checklstring(L, 3, &len);
    if (!tg_check_target(L, 1, &t))
        return 2;
    return push_with_data(L, out, tg_udp_tun_head_encode(&t, len, out, sizeof(out)), 3);
}

/** encode_datagram(host, port, data) -> datagram | nil, err */
static int l_encode_datagram(lua_State *L)
{
    uint8_t out[TG_UDP_HEAD_MAX];
    struct tg_target t;
    luaL_checkstring(L, 3);
    if (!tg_check_target(L, 1, &t))
        return 2;
    return push_with_data(L, out, tg_udp_datagram_head_encode(&t, out, sizeof(out)), 3);
}

/** encode_u16(data) -> frame | nil, err */
static int l_encode_u16(lua_State *L)
{
    uint8_t out[2];
    size_t len;
    luaL_checklstring(L, 1, &len);
    tg_put_u16(out, (unsigned)len);
    return push_with_data(L, out, len <= TG_UDP_DATA_MAX ? 2 : TG_LIMIT, 1);
}

int luaopen_tidegate_native_udp_frame(lua_State *L);

int luaopen_tidegate_native_udp_frame(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode_tun", l_encode_tun },
        { "encode_datagram", l_encode_datagram },
        { "encode_u16", l_encode_u16 },
        { NULL, NULL },
    };
    /* tun -> data, host, port; u16 -> data; datagram (all of the bytes) -> data, host, port */
    static const struct tg_decoder tun = { "udp frame", TG_UDP_HEAD_MAX + TG_UDP_DATA_MAX, push_tun };
    static const struct tg_decoder u16 = { "udp frame", 2 + TG_UDP_DATA_MAX, push_u16 };
    static const struct tg_decoder datagram = { "udp frame", TG_UDP_HEAD_MAX + TG_UDP_DATA_MAX,
                                                push_datagram };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    tg_set_decoder(L, &tun, "tun");
    tg_set_decoder(L, &u16, "u16");
    tg_set_decoder(L, &datagram, "datagram");
    return 1;
}
