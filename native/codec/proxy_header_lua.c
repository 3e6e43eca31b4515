#include "codec/codec_lua.h"
#include "codec/proxy_header.h"

#include <string.h>

static void push_target(lua_State *L, const struct tg_target *t)
{
    char text[TG_TARGET_TEXT];
    lua_pushlstring(L, text, tg_target_text(t, text));
}

static ssize_t push_header(lua_State *L, const uint8_t *in, size_t len, int *results,
                           struct tg_error *err)
{
    static const char *const kinds[] = {
        [TG_PROXY_NONE] = "none",
        [TG_PROXY_LOCAL] = "local",
        [TG_PROXY_PROXY] = "proxy",
    };
    struct tg_proxy_header h;
    ssize_t n = tg_proxy_header_decode(in, len, &h, err);
    if (n < 0)
        return n;
    lua_pushstring(L, kinds[h.kind]);
    *results = 1;
    if (h.kind == TG_PROXY_PROXY) {
        push_target(L, &h.src);
        push_target(L, &h.dst);
        lua_pushstring(L, h.udp ? "udp" : "tcp");
        *results = 4;
    }
    return n;
}

/* An address text; what is no "host:port" counts as unspecified with port 0. */
static struct tg_target check_address(lua_State *L, int index)
{
    struct tg_target t;
    size_t len;
    const char *text = luaL_checklstring(L, index, &len);
    if (tg_target_parse(&t, text, len) < 0)
        t = (struct tg_target){ .kind = TG_HOST_EMPTY };
    return t;
}

/* gost: "tcp", "tcp4", "tcp6" are TCP, anything else is UDP; nil is TCP. */
static bool is_udp(lua_State *L, int index)
{
    return strncmp(luaL_optstring(L, index, "tcp"), "tcp", 3) != 0;
}

/** encode(version, src, dst, [src_network], [dst_network]) -> header | nil, err: an IPv4 source
 * with an IPv6 destination.  Without src, or with networks that differ: LOCAL or UNKNOWN. */
static int l_encode(lua_State *L)
{
    struct tg_proxy_header h = { .kind = TG_PROXY_LOCAL };
    h.version = luaL_checkinteger(L, 1) == 1 ? 1 : 2;
    if (!lua_isnoneornil(L, 2) && is_udp(L, 4) == is_udp(L, 5)) {
        h.kind = TG_PROXY_PROXY;
        h.udp = is_udp(L, 4);
        h.src = check_address(L, 2);
        h.dst = check_address(L, 3);
    }
    uint8_t out[TG_PROXY_ENCODED_MAX];
    return tg_push_encoded(L, "proxy protocol", out, tg_proxy_header_encode(&h, out, sizeof(out)));
}

int luaopen_tidegate_native_proxy_header(lua_State *L);

int luaopen_tidegate_native_proxy_header(lua_State *L)
{
    /* header -> "proxy", src, dst, network | "local" | "none" (nothing consumed) */
    static const struct tg_decoder header = { "proxy protocol", TG_PROXY_V2_MAX, push_header };
    lua_newtable(L);
    lua_pushcfunction(L, l_encode);
    lua_setfield(L, -2, "encode");
    tg_set_decoder(L, &header, "header");
    return 1;
}
