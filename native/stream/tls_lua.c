#include "bind/task.h"
#include "stream/stream_lua.h"
#include "stream/tls.h"
#include "stream/tls_cert.h"
#include "stream/tls_mint.h"

#include <lauxlib.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

int luaopen_tidegate_native_tls(lua_State *L);

#define CONTEXT_MT "tidegate.tls_context"
#define WORDS 512 /* for messages */
#define YEAR (365L * 24 * 3600)

/* The context, or NULL in a box that was not filled. */
struct context_box {
    struct tg_tls_context *context;
};

static struct tg_tls_context *check_context(lua_State *L, int index)
{
    struct context_box *box = luaL_checkudata(L, index, CONTEXT_MT);
    luaL_argcheck(L, box->context != NULL, index, "an unfinished context");
    return box->context;
}

/* Reading options: what they point to is kept alive by the table at index 1 and by
 * userdata left on the stack. */

static const char *text_field(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "tls.context: %s must be a string", key);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

static bool flag_field(lua_State *L, const char *key, bool otherwise)
{
    lua_getfield(L, 1, key);
    bool value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static const char *const *list_field(lua_State *L, const char *key)
{
    lua_getfield(L, 1, key);
    if (lua_isnil(L, -1))
        return NULL;
    if (!lua_istable(L, -1))
        luaL_error(L, "tls.context: %s must be a list", key);
    size_t count = lua_objlen(L, -1);
    const char **list = lua_newuserdata(L, (count + 1) * sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -2, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "tls.context: %s must be a list of strings", key);
        list[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    list[count] = NULL;
    return list;
}

static int version_field(lua_State *L, const char *key)
{
    static const char *const words[] = { "", "1.0", "1.1", "1.2", "1.3", NULL };
    static const int versions[] = { 0, TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION,
                                    TLS1_3_VERSION };
    lua_getfield(L, 1, key);
    int version = versions[luaL_checkoption(L, lua_gettop(L), "", words)];
    lua_pop(L, 1);
    return version;
}

static void read_pairs(lua_State *L, struct tg_tls_options *o)
{
    lua_getfield(L, 1, "certificates");
    if (lua_isnil(L, -1))
        return;
    luaL_checktype(L, -1, LUA_TTABLE);
    o->pair_count = lua_objlen(L, -1);
    struct tg_tls_pair *pairs = lua_newuserdata(L, (o->pair_count + 1) * sizeof(*pairs));
    for (size_t i = 0; i < o->pair_count; i++) {
        lua_rawgeti(L, -2, (int)i + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        pairs[i].cert = text_field(L, lua_gettop(L), "cert");
        pairs[i].key = text_field(L, lua_gettop(L), "key");
        if (pairs[i].cert == NULL || pairs[i].key == NULL)
            luaL_error(L, "tls.context: certificate %d needs cert and key", (int)i + 1);
        lua_pop(L, 1);
    }
    o->pairs = pairs;
}

static void read_options(lua_State *L, struct tg_tls_options *o)
{
    static const char *const roles[] = { "client", "server", NULL };
    static const char *const checks[] = { "none", "chain", "full", NULL };
    memset(o, 0, sizeof(*o));
    lua_settop(L, 1);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "role");
    o->server = luaL_checkoption(L, 2, NULL, roles) == 1;
    lua_getfield(L, 1, "verify");
    o->verify = (enum tg_tls_verify)luaL_checkoption(L, 3, "none", checks);
    o->ca = text_field(L, 1, "ca");
    o->min = version_field(L, "min");
    o->max = version_field(L, "max");
    o->reject_unknown_sni = flag_field(L, "reject_unknown_sni", false);
    o->sessions = flag_field(L, "session_cache", true);
    o->ktls = flag_field(L, "ktls", true);
    read_pairs(L, o);
    o->alpn = list_field(L, "alpn");
    o->ciphers = list_field(L, "ciphers");
    o->server_names = list_field(L, "server_names");
    luaL_argcheck(L, !o->server || o->pair_count > 0, 1, "a server needs a certificate");
}

/** context{ role="server"|"client", certificates={ { cert=, key= }, … }, ca=,
 * verify="none"|"chain"|"full", alpn={…}, min="1.2", max="1.3", ciphers={…},
 * reject_unknown_sni=, server_names={…}, session_cache=true, ktls=true }
 * -> context | nil, err.  Certificates, keys and CA are paths or PEM text. */
static int l_context(lua_State *L)
{
    struct tg_tls_options options;
    char words[WORDS];
    read_options(L, &options);
    struct context_box *box = lua_newuserdata(L, sizeof(*box));
    box->context = NULL;
    luaL_getmetatable(L, CONTEXT_MT);
    lua_setmetatable(L, -2);
    box->context = tg_tls_context_get(&options, words, sizeof(words));
    if (box->context == NULL)
        return tg_push_failure_text(L, "config", words);
    return 1;
}

/** context:refresh() -> true when changed files were loaded, false when there was nothing to do
 * | nil, err when they are no good (told once): what was loaded before stays in force */
static int l_refresh(lua_State *L)
{
    char words[WORDS];
    int result = tg_tls_context_refresh(check_context(L, 1), words, sizeof(words));
    if (result < 0)
        return tg_push_failure_text(L, "config", words);
    lua_pushboolean(L, result);
    return 1;
}

static int l_context_gc(lua_State *L)
{
    struct context_box *box = lua_touserdata(L, 1);
    if (box->context != NULL)
        tg_tls_context_put(box->context);
    box->context = NULL;
    return 0;
}

static uint64_t deadline_at(lua_State *L, int index)
{
    lua_Number deadline = luaL_optnumber(L, index, 0);
    return deadline > 0 ? (uint64_t)deadline : 0;
}

static int start(lua_State *L, struct tg_tls_context *context, const char *name, uint64_t deadline)
{
    if (!tg_is_task(L))
        return luaL_error(L, "only a task may do a TLS handshake");
    struct tg_stream *lower = tg_stream_take(L, 1);
    if (lower == NULL) {
        struct tg_error err;
        tg_error_put(&err, "tls", "handshake", TG_CLOSED, "the stream is closed");
        return tg_push_failure(L, &err);
    }
    tg_stream_push(L, tg_tls_start(lower, context, name));
    return tg_stream_await_open(L, lua_gettop(L), deadline);
}

/** server(stream, context [, deadline]) -> TLS stream | nil, err; `stream` is used up either way */
static int l_server(lua_State *L)
{
    struct tg_tls_context *context = check_context(L, 2);
    luaL_argcheck(L, tg_tls_context_options(context)->server, 2, "a client's context");
    return start(L, context, NULL, deadline_at(L, 3));
}

/** client(stream, context [, server_name [, deadline]]) -> TLS stream | nil, err */
static int l_client(lua_State *L)
{
    struct tg_tls_context *context = check_context(L, 2);
    luaL_argcheck(L, !tg_tls_context_options(context)->server, 2, "a server's context");
    return start(L, context, luaL_optstring(L, 3, NULL), deadline_at(L, 4));
}

static void set_text(lua_State *L, const char *key, const char *text)
{
    if (text == NULL)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

static void set_flag(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

static void set_fingerprint(lua_State *L, const X509 *cert)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[2 * EVP_MAX_MD_SIZE + 1];
    unsigned len = 0;
    if (X509_digest(cert, EVP_sha256(), digest, &len) != 1)
        return;
    for (unsigned i = 0; i < len; i++)
        snprintf(text + 2 * (size_t)i, 3, "%02x", digest[i]);
    set_text(L, "peer_fingerprint", text);
}

static void push_address(lua_State *L, const ASN1_OCTET_STRING *ip)
{
    char *text = NULL;
    const unsigned char *p = ASN1_STRING_get0_data(ip);
    if (ASN1_STRING_length(ip) == 4) {
        lua_pushfstring(L, "%d.%d.%d.%d", p[0], p[1], p[2], p[3]);
        return;
    }
    text = OPENSSL_buf2hexstr(p, ASN1_STRING_length(ip));
    lua_pushstring(L, text != NULL ? text : "");
    OPENSSL_free(text);
}

static void set_names(lua_State *L, const X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    lua_newtable(L);
    for (int i = 0, count = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        const ASN1_STRING *text = g->type == GEN_DNS     ? g->d.dNSName
                                  : g->type == GEN_EMAIL ? g->d.rfc822Name
                                  : g->type == GEN_URI   ? g->d.uniformResourceIdentifier
                                                         : NULL;
        if (text != NULL)
            lua_pushlstring(L, (const char *)ASN1_STRING_get0_data(text),
                            (size_t)ASN1_STRING_length(text));
        else if (g->type == GEN_IPADD)
            push_address(L, g->d.iPAddress);
        else
            continue;
        lua_rawseti(L, -2, ++count);
    }
    GENERAL_NAMES_free(names);
    lua_setfield(L, -2, "peer_san");
}

static void set_peer(lua_State *L, const X509 *cert)
{
    char cn[256];
    if (X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn)) >= 0)
        set_text(L, "peer_cn", cn);
    set_names(L, cert);
    set_fingerprint(L, cert);
}

/** info(stream) -> { version, cipher, alpn, server_name, resumed, peer_cn, peer_san,
 * peer_fingerprint, ktls, truncated } | nil when the stream has no TLS layer */
static int l_info(lua_State *L)
{
    struct tg_tls_info info;
    struct tg_stream *s = tg_stream_check(L, 1);
    if (s == NULL || !tg_tls_describe(s, &info)) {
        lua_pushnil(L);
        return 1;
    }
    lua_newtable(L);
    set_text(L, "version", info.version);
    set_text(L, "cipher", info.cipher);
    set_text(L, "server_name", info.server_name);
    if (info.alpn_len > 0) {
        lua_pushlstring(L, (const char *)info.alpn, info.alpn_len);
        lua_setfield(L, -2, "alpn");
    }
    set_flag(L, "resumed", info.resumed);
    set_flag(L, "ktls", info.ktls_send || info.ktls_receive);
    set_flag(L, "truncated", info.truncated);
    if (info.peer != NULL)
        set_peer(L, info.peer);
    return 1;
}

/** seconds_left(certificate) -> until it expires, negative when it has; PEM text or a path
 * | nil when there is none that can be read */
static int l_seconds_left(lua_State *L)
{
    long left = tg_tls_seconds_left(luaL_checkstring(L, 1));
    if (left == LONG_MIN)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)left);
    return 1;
}

static void push_memory(lua_State *L, BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    lua_pushlstring(L, data, (size_t)len);
}

/** generate{ common_name=, organization=, validity=seconds }
 * -> certificate, key (PEM) | nil, err */
static int l_generate(lua_State *L)
{
    char words[WORDS];
    BIO *cert, *key;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *name = text_field(L, 1, "common_name");
    const char *organization = text_field(L, 1, "organization");
    lua_getfield(L, 1, "validity");
    struct tg_tls_subject subject = {
        .common_name = name != NULL ? name : "gost.run",
        .organization = organization != NULL ? organization : "GOST",
        .validity = lua_isnumber(L, -1) ? (long)lua_tonumber(L, -1) : YEAR,
    };
    if (!tg_tls_generate(&subject, &cert, &key, words, sizeof(words)))
        return tg_push_failure_text(L, "config", words);
    push_memory(L, cert);
    push_memory(L, key);
    BIO_free(cert);
    BIO_free(key);
    return 2;
}

/** mint{ ca_cert=, ca_key=, key=, name=, validity=seconds } -> certificate (PEM) | nil, err */
static int l_mint(lua_State *L)
{
    char words[WORDS];
    BIO *cert;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "validity");
    struct tg_tls_mint m = { .validity = (long)luaL_checknumber(L, -1) };
    m.ca_cert = text_field(L, 1, "ca_cert");
    m.ca_key = text_field(L, 1, "ca_key");
    m.key = text_field(L, 1, "key");
    m.name = text_field(L, 1, "name");
    luaL_argcheck(L, m.ca_cert && m.ca_key && m.key && m.name, 1, "ca_cert, ca_key, key, name");
    if (!tg_tls_mint(&m, &cert, words, sizeof(words)))
        return tg_push_failure_text(L, "config", words);
    push_memory(L, cert);
    BIO_free(cert);
    return 1;
}

/** once(fn) -> what fn() returns.  No two threads of the process are in it at a time; fn must
 * not wait.  For what all workers do at start but only one may. */
static int l_once(lua_State *L)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    lua_settop(L, 1);
    pthread_mutex_lock(&lock);
    int status = lua_pcall(L, 0, LUA_MULTRET, 0);
    pthread_mutex_unlock(&lock);
    return status != 0 ? lua_error(L) : lua_gettop(L);
}

int luaopen_tidegate_native_tls(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "context", l_context },
        { "server", l_server },
        { "client", l_client },
        { "info", l_info },
        { "generate", l_generate },
        { "seconds_left", l_seconds_left },
        { "mint", l_mint },
        { "once", l_once },
        { NULL, NULL },
    };
    luaL_newmetatable(L, CONTEXT_MT);
    lua_pushcfunction(L, l_context_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    lua_pushcfunction(L, l_refresh);
    lua_setfield(L, -2, "refresh");
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
