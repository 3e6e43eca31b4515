#include "session/ssh.h"

#include "base/mem.h"
#include "bind/class.h"
#include "session/session_lua.h"
#include "stream/stream_lua.h"
#include "stream/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int luaopen_tidegate_native_ssh(lua_State *L);

#define SESSION_MT  "tidegate.ssh"
#define KEY_MT      "tidegate.ssh.key"
#define HOST_MT     "tidegate.ssh.host"
#define GREETING_MT "tidegate.ssh.greeting"

struct key {
    ssh_key key;
};

struct host {
    ssh_bind bind;
};

static struct tg_session_box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, SESSION_MT);
}

/* --- keys
 * ------------------------------------------------------------------------------------------ */

static struct key *new_key(lua_State *L)
{
    struct key *k = lua_newuserdata(L, sizeof(*k));
    k->key = NULL;
    luaL_getmetatable(L, KEY_MT);
    lua_setmetatable(L, -2);
    return k;
}

/** key(text of a private key[, passphrase]) → key | nil, err */
static int l_key(lua_State *L)
{
    const char *text = luaL_checkstring(L, 1);
    const char *passphrase = luaL_optstring(L, 2, NULL);
    struct key *k = new_key(L);
    /* without a passphrase libssh would ask the terminal */
    if (ssh_pki_import_privkey_base64(text, passphrase == NULL ? "" : passphrase, NULL, NULL,
                                      &k->key) == SSH_OK)
        return 1;
    return tg_push_failure_text(L, "config",
                                passphrase == NULL || *passphrase == '\0'
                                    ? "not a private key, or it needs a passphrase"
                                    : "not a private key, or a wrong passphrase");
}

/** key:public() → its public half: type, base64 */
static int l_public(lua_State *L)
{
    struct key *k = luaL_checkudata(L, 1, KEY_MT);
    char *text = NULL;
    if (ssh_pki_export_pubkey_base64(k->key, &text) != SSH_OK)
        return luaL_error(L, "a key without a public half");
    lua_pushstring(L, ssh_key_type_to_char(ssh_key_type(k->key)));
    lua_pushstring(L, text);
    ssh_string_free_char(text);
    return 2;
}

/** key:certify(path of OpenSSH's certificate) → true | nil, err: logins show it from now on */
static int l_certify(lua_State *L)
{
    struct key *k = luaL_checkudata(L, 1, KEY_MT);
    ssh_key cert = NULL;
    int code = ssh_pki_import_cert_file(luaL_checkstring(L, 2), &cert);
    if (code == SSH_OK)
        code = ssh_pki_copy_cert_to_privkey(cert, k->key);
    ssh_key_free(cert);
    if (code != SSH_OK)
        return tg_push_failure_text(L, "config", "not a certificate");
    lua_pushboolean(L, 1);
    return 1;
}

static int l_key_gc(lua_State *L)
{
    struct key *k = lua_touserdata(L, 1);
    ssh_key_free(k->key);
    k->key = NULL;
    return 0;
}

/** host(key[, tunnel]) → what servers of one listener share: its key and its banner */
static int l_host(lua_State *L)
{
    struct key *k = luaL_checkudata(L, 1, KEY_MT);
    struct host *h = lua_newuserdata(L, sizeof(*h));
    h->bind = NULL;
    luaL_getmetatable(L, HOST_MT);
    lua_setmetatable(L, -2);
    bool off = false;
    h->bind = ssh_bind_new();
    ssh_key copy = ssh_key_dup(k->key);
    if (h->bind == NULL || copy == NULL)
        return luaL_error(L, "out of memory");
    ssh_bind_options_set(h->bind, SSH_BIND_OPTIONS_PROCESS_CONFIG, &off);
    ssh_bind_options_set(h->bind, SSH_BIND_OPTIONS_BANNER,
                         lua_toboolean(L, 2) ? TG_SSH_TUNNEL_BANNER : "tidegate");
    if (ssh_bind_options_set(h->bind, SSH_BIND_OPTIONS_IMPORT_KEY, copy) != SSH_OK) {
        ssh_key_free(copy);
        return tg_push_failure_text(L, "config", "this kind of key cannot be a host key");
    }
    return 1;
}

static int l_host_gc(lua_State *L)
{
    struct host *h = lua_touserdata(L, 1);
    if (h->bind != NULL)
        ssh_bind_free(h->bind);
    h->bind = NULL;
    return 0;
}

/* --- starting
 * ---------------------------------------------------------------------------------------- */

static void read_options(lua_State *L, int index, struct tg_ssh_options *o)
{
    o->tunnel = tg_session_flag(L, index, "tunnel");
    o->methods = (tg_session_flag(L, index, "password")
                      ? SSH_AUTH_METHOD_PASSWORD | SSH_AUTH_METHOD_INTERACTIVE
                      : 0) |
                 (tg_session_flag(L, index, "public_key") ? SSH_AUTH_METHOD_PUBLICKEY : 0);
    if (o->methods == 0)
        o->methods = SSH_AUTH_METHOD_NONE;
    o->max_streams = tg_session_number(L, index, "max_streams", 1, o->max_streams);
    o->keepalive = tg_session_number(L, index, "keepalive", 1000, o->keepalive);
    o->timeout = tg_session_number(L, index, "timeout", 1000, o->timeout);
    o->retries = tg_session_number(L, index, "retries", 1, o->retries);
}

/** server(stream, host, { password=, public_key=, tunnel=, max_streams=, keepalive= (s), timeout=
 * }) → session | nil, err; the stream, which must be plain, is used up */
static int l_server(lua_State *L)
{
    struct tg_ssh_options o = TG_SSH_DEFAULTS;
    struct host *h = luaL_checkudata(L, 2, HOST_MT);
    luaL_checktype(L, 3, LUA_TTABLE);
    read_options(L, 3, &o);
    struct tg_stream *lower;
    struct tg_session_box *b = tg_session_push(L, SESSION_MT, 1, &lower);
    struct tg_error err;
    b->s = tg_ssh_server(lower, h->bind, &o, &err);
    return tg_session_started(L, b, &err);
}

/** client(stream, { user=, host_keys= (kinds, by commas), max_streams=, keepalive=, timeout=,
 * retries= }) → session | nil, err; the stream, which must be plain, is used up */
static int l_client(lua_State *L)
{
    struct tg_ssh_options o = TG_SSH_DEFAULTS;
    luaL_checktype(L, 2, LUA_TTABLE);
    read_options(L, 2, &o);
    const char *user = tg_session_text(L, 2, "user");
    const char *kinds = tg_session_text(L, 2, "host_keys");
    struct tg_stream *lower;
    struct tg_session_box *b = tg_session_push(L, SESSION_MT, 1, &lower);
    struct tg_error err;
    b->s = tg_ssh_client(lower, user == NULL || *user == '\0' ? "root" : user, &o, &err);
    if (b->s == NULL)
        return tg_push_failure(L, &err);
    ssh_session ssh = tg_ssh_of(b->s);
    if (kinds != NULL)
        ssh_options_set(ssh, SSH_OPTIONS_HOSTKEYS, kinds);
    /* the home directory is none of its business */
    ssh_options_set(ssh, SSH_OPTIONS_KNOWNHOSTS, "/dev/null");
    ssh_options_set(ssh, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
    return tg_session_started(L, b, &err);
}

/** is_plain(stream) → whether a session can lie on it directly */
static int l_is_plain(lua_State *L)
{
    struct tg_stream *s = tg_stream_check(L, 1);
    lua_pushboolean(L, s != NULL && !tg_stream_is_metered(s) && tg_stream_fd(s) >= 0);
    return 1;
}

struct greeting {
    struct tg_stream_side side;
    struct tg_waiter waiter;
};

#define GREETING_MAX 255

/* Bytes that are only looked at hide the end behind them. */
static bool has_hung_up(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLRDHUP };
    return poll(&p, 1, 0) > 0;
}

/* @return number of results pushed, 0 to wait on.  The bytes stay where they are. */
static int look(lua_State *L, struct greeting *g)
{
    char line[GREETING_MAX];
    struct tg_stream *s = g->side.stream;
    if (s == NULL)
        return tg_push_failure_text(L, "closed", "the stream is closed");
    ssize_t n = recv(tg_stream_fd(s), line, sizeof(line), MSG_PEEK | MSG_DONTWAIT);
    bool waits = n < 0 && (errno == EAGAIN || errno == EINTR);
    if (n > 0 && n < GREETING_MAX && memchr(line, '\n', (size_t)n) == NULL)
        waits = !has_hung_up(tg_stream_fd(s));
    if (waits) {
        s->ops->blocked(s, TG_READABLE);
        return 0;
    }
    lua_pushlstring(L, line, n > 0 ? (size_t)n : 0);
    return 1;
}

static void on_greeting(void *arg)
{
    struct greeting *g = arg;
    if (g->waiter.co == NULL)
        return;
    int count = look(g->waiter.co, g);
    if (count == 0)
        return;
    tg_stream_give_back(&g->side);
    tg_wake(&g->waiter, count);
}

static void on_greeting_timeout(struct tg_waiter *w)
{
    struct tg_error err;
    tg_stream_give_back(&tg_container(w, struct greeting, waiter)->side);
    tg_error_put(&err, "ssh", "greeting", TG_TIMEOUT, "the server says nothing");
    tg_wake(w, tg_push_failure(w->co, &err));
}

static int l_greeting_gc(lua_State *L)
{
    struct greeting *g = lua_touserdata(L, 1);
    tg_stream_give_back(&g->side);
    return 0;
}

/** greeting(plain stream[, deadline]) → what the server says first, "" where it says nothing; it
 * stays to be read | nil, err */
static int l_greeting(lua_State *L)
{
    uint64_t deadline = tg_opt_deadline(L, 2);
    struct tg_stream *s = tg_stream_check_side(L, 1, TG_READABLE);
    luaL_argcheck(L, s != NULL && tg_stream_fd(s) >= 0, 1, "a plain stream is needed");
    lua_settop(L, 2);
    struct greeting *g = lua_newuserdata(L, sizeof(*g));
    memset(g, 0, sizeof(*g));
    luaL_getmetatable(L, GREETING_MT);
    lua_setmetatable(L, -2);
    tg_check_parkable(L, &g->waiter);
    g->side = (struct tg_stream_side){ .ready = on_greeting, .arg = g };
    g->waiter.on_timeout = on_greeting_timeout;
    tg_stream_lend(L, 1, TG_READABLE, &g->side);
    int count = look(L, g);
    if (count > 0) {
        tg_stream_give_back(&g->side);
        return count;
    }
    tg_stream_side_want(&g->side, true);
    return tg_park(L, &g->waiter, deadline);
}

/** plain_pair() → two streams, each the other's peer, that both have a descriptor | nil, err */
static int l_plain_pair(lua_State *L)
{
    int fds[2];
    struct tg_reactor *r = tg_reactor_of(L);
    struct tg_error err;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        tg_error_set(&err, "ssh", "socketpair", errno);
        return tg_push_failure(L, &err);
    }
    struct tg_stream *a = tg_tcp_adopt(r, fds[0], NULL, &err);
    struct tg_stream *b = a == NULL ? NULL : tg_tcp_adopt(r, fds[1], NULL, &err);
    if (b == NULL) {
        if (a != NULL)
            tg_stream_close(a);
        else
            close(fds[0]);
        close(fds[1]);
        return tg_push_failure(L, &err);
    }
    tg_stream_push(L, a);
    tg_stream_push(L, b);
    return 2;
}

/* --- waiting for what is no channel
 * ----------------------------------------------------------------- */

static int step_ready(lua_State *L, struct tg_session_box *b)
{
    if (b->s == NULL || b->s->dead) {
        tg_session_fail(L, b);
        lua_pushstring(L, b->s == NULL ? "" : tg_ssh_reason(b->s));
        return 3;
    }
    if (!tg_ssh_is_ready(b->s))
        return 0;
    lua_pushboolean(L, true);
    return 1;
}

/** session:ready([deadline]) → true | nil, err, what the library says: keys have been exchanged */
static int l_ready(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    tg_check_parkable(L, &b->asker);
    return tg_session_ask(L, b, step_ready, tg_opt_deadline(L, 2));
}

static int step_request(lua_State *L, struct tg_session_box *b)
{
    static const char *const kinds[] = {
        [TG_SSH_NONE] = "none", [TG_SSH_PASSWORD] = "password", [TG_SSH_OFFER] = "offer",
        [TG_SSH_KEY] = "key",   [TG_SSH_LISTEN] = "listen",     [TG_SSH_UNLISTEN] = "unlisten",
    };
    if (b->s == NULL || b->s->dead)
        return tg_session_fail(L, b);
    const struct tg_ssh_request *r = tg_ssh_request(b->s);
    if (r == NULL)
        return 0;
    lua_pushstring(L, kinds[r->kind]);
    if (r->kind == TG_SSH_LISTEN || r->kind == TG_SSH_UNLISTEN) {
        lua_pushstring(L, r->host == NULL ? "" : r->host);
        lua_pushinteger(L, r->port);
        return 3;
    }
    lua_pushstring(L, r->user == NULL ? "" : r->user);
    lua_pushstring(L, r->secret);
    return 3;
}

/** session:request([deadline]) → "none", user | "password", user, password | "offer" or "key",
 * user, public key in base64 | "listen" or "unlisten", host, port | nil, err: what a client asks */
static int l_request(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    tg_check_parkable(L, &b->asker);
    return tg_session_ask(L, b, step_request, tg_opt_deadline(L, 2));
}

/** session:answer(yes[, port]): to the request */
static int l_answer(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    int port = (int)luaL_optinteger(L, 3, 0);
    if (b->s != NULL)
        tg_ssh_answer(b->s, lua_toboolean(L, 2), port);
    return 0;
}

static int step_result(lua_State *L, struct tg_session_box *b)
{
    if (b->s == NULL || b->s->dead)
        return tg_session_fail(L, b);
    int code = tg_ssh_result(b->s);
    if (code == SSH_AGAIN)
        return 0;
    lua_pushboolean(L, code == SSH_OK);
    if (code == SSH_OK)
        lua_pushinteger(L, tg_ssh_bound(b->s));
    else
        lua_pushstring(L, ssh_get_error(tg_ssh_of(b->s)));
    return 2;
}

static int begin(lua_State *L, enum tg_ssh_step step, const char *text, int port, ssh_key key,
                 int deadline)
{
    struct tg_session_box *b = check_box(L);
    luaL_optnumber(L, deadline, 0);
    tg_check_parkable(L, &b->asker);
    if (b->s == NULL || b->s->dead)
        return tg_session_fail(L, b);
    if (tg_ssh_result(b->s) == SSH_AGAIN)
        return tg_push_failure_text(L, "busy", "the last step has not ended");
    tg_ssh_begin(b->s, step, text, port, key);
    return tg_session_ask(L, b, step_result, tg_opt_deadline(L, deadline));
}

/** session:login_none([deadline]) → true | false, why not | nil, err */
static int l_login_none(lua_State *L)
{
    return begin(L, TG_SSH_LOGIN_NONE, NULL, 0, NULL, 2);
}

/** session:login_password(password[, deadline]) → true | false, why not | nil, err */
static int l_login_password(lua_State *L)
{
    return begin(L, TG_SSH_LOGIN_PASSWORD, luaL_checkstring(L, 2), 0, NULL, 3);
}

/** session:login_interactive(password[, deadline]) → true | false, why not | nil, err: it answers
 * whatever is asked */
static int l_login_interactive(lua_State *L)
{
    return begin(L, TG_SSH_LOGIN_INTERACTIVE, luaL_checkstring(L, 2), 0, NULL, 3);
}

/** session:login_agent(what an agent answers, in frames[, deadline]) → true | false, why not | nil, err */
static int l_login_agent(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    size_t len;
    const char *answers = luaL_checklstring(L, 2, &len);
    luaL_optnumber(L, 3, 0);
    tg_check_parkable(L, &b->asker);
    if (b->s == NULL || b->s->dead)
        return tg_session_fail(L, b);
    if (tg_ssh_result(b->s) == SSH_AGAIN)
        return tg_push_failure_text(L, "busy", "the last step has not ended");
    if (tg_ssh_begin_agent(b->s, answers, len) != 0)
        return tg_push_failure_text(L, "io", "no socket for the keys of an agent");
    return tg_session_ask(L, b, step_result, tg_opt_deadline(L, 3));
}

/** session:agent_request() → the message to an agent that had no answer in the last login_agent() | nil */
static int l_agent_request(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    size_t len = 0;
    const void *request = b->s == NULL ? NULL : tg_ssh_agent_request(b->s, &len);
    if (request == NULL)
        return 0;
    lua_pushlstring(L, request, len);
    return 1;
}

/** session:login_key(key[, deadline]) → true | false, why not | nil, err */
static int l_login_key(lua_State *L)
{
    struct key *k = luaL_checkudata(L, 2, KEY_MT);
    check_box(L);
    /* the session may go on with it when the wait has ended: it holds the key from now on */
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 1);
    lua_setfenv(L, 1);
    return begin(L, TG_SSH_LOGIN_KEY, NULL, 0, k->key, 3);
}

/** session:listen(host, port[, deadline]) → true, port, 0: the one asked for | false, why not |
 * nil, err */
static int l_listen(lua_State *L)
{
    const char *host = luaL_checkstring(L, 2);
    return begin(L, TG_SSH_BIND, host, (int)luaL_checkinteger(L, 3), NULL, 4);
}

/* --- what a client knows of the server
 * ------------------------------------------------------------------ */

/** session:methods() → { password = bool, public_key = bool, interactive = bool } */
static int l_methods(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    int methods = b->s == NULL || b->s->dead ? 0 : ssh_userauth_list(tg_ssh_of(b->s), NULL);
    lua_createtable(L, 0, 3);
    tg_session_set_flag(L, "password", methods & SSH_AUTH_METHOD_PASSWORD);
    tg_session_set_flag(L, "public_key", methods & SSH_AUTH_METHOD_PUBLICKEY);
    tg_session_set_flag(L, "interactive", methods & SSH_AUTH_METHOD_INTERACTIVE);
    return 1;
}

/** session:host_key() → type, base64 of the server's key, "SHA256:…" | nil, err */
static int l_host_key(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    ssh_key key = NULL;
    char *text = NULL, *print = NULL;
    unsigned char *hash = NULL;
    size_t len = 0;
    if (b->s == NULL || b->s->dead)
        return tg_session_fail(L, b);
    if (ssh_get_server_publickey(tg_ssh_of(b->s), &key) == SSH_OK &&
        ssh_pki_export_pubkey_base64(key, &text) == SSH_OK &&
        ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &len) == SSH_OK)
        print = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, len);
    int count = 0;
    if (print != NULL) {
        lua_pushstring(L, ssh_key_type_to_char(ssh_key_type(key)));
        lua_pushstring(L, text);
        lua_pushstring(L, print);
        count = 3;
    }
    ssh_string_free_char(text);
    ssh_string_free_char(print);
    ssh_clean_pubkey_hash(&hash);
    ssh_key_free(key);
    return count > 0 ? count : tg_push_failure_text(L, "protocol", "no host key");
}

/** session:last_error() → what the library said last */
static int l_last_error(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    lua_pushstring(L, b->s == NULL ? "" : ssh_get_error(tg_ssh_of(b->s)));
    return 1;
}

/** host_hash(salt, name) → HMAC-SHA1 by which OpenSSH hides names in known_hosts */
static int l_host_hash(lua_State *L)
{
    size_t salt_len, name_len;
    const char *salt = luaL_checklstring(L, 1, &salt_len);
    const char *name = luaL_checklstring(L, 2, &name_len);
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    luaL_argcheck(L, salt_len <= INT_MAX, 1, "too long");
    if (HMAC(EVP_sha1(), salt, (int)salt_len, (const unsigned char *)name, name_len, hash, &len) ==
        NULL)
        return luaL_error(L, "no HMAC");
    lua_pushlstring(L, (const char *)hash, len);
    return 1;
}

/* --- channels
 * ---------------------------------------------------------------------------------------- */

static int open_channel(lua_State *L, const char *host, int port, const char *origin,
                        int origin_port, uint64_t deadline)
{
    struct tg_session_box *b = check_box(L);
    struct tg_error err;
    if (b->s == NULL)
        return tg_push_failure_text(L, "closed", "the stream is closed");
    struct tg_stream *stream = tg_ssh_open(b->s, host, port, origin, origin_port, &err);
    return tg_session_await_stream(L, stream, &err, deadline);
}

/** session:open(host, port, origin, origin port[, deadline]) → stream | nil, err */
static int l_open(lua_State *L)
{
    return open_channel(L, luaL_checkstring(L, 2), (int)luaL_checkinteger(L, 3),
                        luaL_checkstring(L, 4), (int)luaL_checkinteger(L, 5),
                        tg_opt_deadline(L, 6));
}

/** session:open_tunnel([deadline]) → stream | nil, err: to a server of tunnels that is of our kind */
static int l_open_tunnel(lua_State *L)
{
    return open_channel(L, TG_SSH_TUNNEL, 0, "", 0, tg_opt_deadline(L, 2));
}

/** target(stream) → host, port, origin's host, its port: of a channel; nil: it has none */
static int l_target(lua_State *L)
{
    struct tg_stream *s = tg_stream_check(L, 1);
    const struct tg_ssh_target *t = s == NULL ? NULL : tg_ssh_target(s);
    if (t == NULL || t->host == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushstring(L, t->host);
    lua_pushinteger(L, t->port);
    lua_pushstring(L, t->origin);
    lua_pushinteger(L, t->origin_port);
    return 4;
}

/** session:set_names(local address, remote address): where what lies beneath has none */
static int l_set_names(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    const char *own = luaL_checkstring(L, 2), *remote = luaL_checkstring(L, 3);
    if (b->s != NULL)
        tg_ssh_set_names(b->s, own, remote);
    return 0;
}

/** session:silence() → ms since anything came from the peer */
static int l_silence(lua_State *L)
{
    struct tg_session_box *b = check_box(L);
    lua_pushnumber(L, b->s == NULL ? 0 : (lua_Number)tg_ssh_silence(b->s));
    return 1;
}

int luaopen_tidegate_native_ssh(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "ready", l_ready },
        { "request", l_request },
        { "answer", l_answer },
        { "login_none", l_login_none },
        { "login_password", l_login_password },
        { "login_interactive", l_login_interactive },
        { "login_key", l_login_key },
        { "login_agent", l_login_agent },
        { "agent_request", l_agent_request },
        { "listen", l_listen },
        { "methods", l_methods },
        { "host_key", l_host_key },
        { "last_error", l_last_error },
        { "open", l_open },
        { "open_tunnel", l_open_tunnel },
        { "set_names", l_set_names },
        { "silence", l_silence },
        { NULL, NULL },
    };
    static const luaL_Reg key_methods[] = { { "public", l_public },
                                            { "certify", l_certify },
                                            { NULL, NULL } };
    static const luaL_Reg host_methods[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = {
        { "key", l_key },
        { "host", l_host },
        { "server", l_server },
        { "client", l_client },
        { "target", l_target },
        { "is_plain", l_is_plain },
        { "greeting", l_greeting },
        { "host_hash", l_host_hash },
        { "plain_pair", l_plain_pair },
        { NULL, NULL },
    };
    tg_session_class(L, SESSION_MT, methods);
    tg_class(L, KEY_MT, key_methods, l_key_gc, NULL);
    tg_class(L, HOST_MT, host_methods, l_host_gc, NULL);
    tg_class(L, GREETING_MT, host_methods, l_greeting_gc, NULL);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
