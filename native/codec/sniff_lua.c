#include "codec/codec_lua.h"
#include "codec/sniff.h"

static ssize_t push_verdict(lua_State *L, const uint8_t *in, size_t len, int *results,
                            struct tg_error *err)
{
    enum tg_sniffed verdict;
    (void)err;
    ssize_t n = tg_sniff(in, len, &verdict);
    if (n < 0)
        return n;
    lua_pushstring(L, tg_sniffed_word(verdict));
    *results = 1;
    return n;
}

/** classify(bytes) -> word | nil: more bytes are needed */
static int l_classify(lua_State *L)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    enum tg_sniffed verdict;
    if (tg_sniff((const uint8_t *)in, len, &verdict) < 0)
        return 0;
    lua_pushstring(L, tg_sniffed_word(verdict));
    return 1;
}

/** is_dns(datagram) -> whether it looks like a DNS query */
static int l_is_dns(lua_State *L)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    lua_pushboolean(L, tg_sniff_dns((const uint8_t *)in, len));
    return 1;
}

int luaopen_tidegate_native_sniff(lua_State *L);

int luaopen_tidegate_native_sniff(lua_State *L)
{
    /* first -> "tls" "http" "http2" "ssh" "redis" "socks4" "socks5" "dns" "none"; nothing is consumed */
    static const struct tg_decoder first = { "sniff", TG_SNIFF_MAX, push_verdict };
    lua_newtable(L);
    lua_pushcfunction(L, l_classify);
    lua_setfield(L, -2, "classify");
    lua_pushcfunction(L, l_is_dns);
    lua_setfield(L, -2, "is_dns");
    tg_set_decoder(L, &first, "first");
    return 1;
}
