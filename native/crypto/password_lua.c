#include "bind/task.h"
#include "crypto/password.h"

#include <lauxlib.h>
#include <luv/luv.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_password(lua_State *L);

#define BOX_MT "tidegate.password"

struct box;

/* Outlives the box when the VM goes away meanwhile. */
struct job {
    uv_work_t work;
    struct box *box; /* NULL: nobody waits any more */
    int result;
    size_t len;
    char stored[TG_PASSWORD_HASH_MAX + 1];
    char password[TG_PASSWORD_MAX];
};

struct box {
    struct tg_waiter waiter;
    struct tg_reactor *reactor;
    struct job *job;
};

static void run(uv_work_t *work)
{
    struct job *job = (struct job *)work;
    job->result = tg_password_verify(job->password, job->len, job->stored);
}

static const char *words_of(int code)
{
    switch (code) {
    case TG_LIMIT:
        return "the stored hash costs more than is spent on one";
    case TG_BUSY:
        return "no memory for the stored hash";
    default:
        return "the stored hash is broken";
    }
}

static int push_result(lua_State *L, int code)
{
    if (code >= 0) {
        lua_pushboolean(L, code);
        return 1;
    }
    struct tg_error err;
    tg_error_put(&err, "password", "verify", (enum tg_code)code, words_of(code));
    return tg_push_failure(L, &err);
}

static void done(uv_work_t *work, int status)
{
    struct job *job = (struct job *)work;
    struct box *box = job->box;
    int code = status == 0 ? job->result : TG_BUSY;
    if (box != NULL) {
        box->job = NULL;
        if (box->waiter.co != NULL)
            tg_wake(&box->waiter, push_result(box->waiter.co, code));
    }
    OPENSSL_cleanse(job, sizeof(*job));
    free(job);
}

static struct box *push_box(lua_State *L)
{
    struct box *box = lua_newuserdata(L, sizeof(*box));
    memset(box, 0, sizeof(*box));
    box->reactor = tg_reactor_of(L);
    luaL_getmetatable(L, BOX_MT);
    lua_setmetatable(L, -2);
    return box;
}

static int l_gc(lua_State *L)
{
    struct box *box = lua_touserdata(L, 1);
    tg_timer_stop(box->reactor, &box->waiter.timer);
    if (box->job != NULL)
        box->job->box = NULL;
    return 0;
}

/** verify(password, hash) -> whether they match | nil, err; in a thread of the pool, while the task waits */
static int l_verify(lua_State *L)
{
    size_t len, stored_len;
    const char *password = luaL_checklstring(L, 1, &len);
    const char *stored = luaL_checklstring(L, 2, &stored_len);
    if (!tg_password_is_hash(stored, stored_len))
        return push_result(L, TG_INVALID);
    if (len > TG_PASSWORD_MAX)
        return push_result(L, 0);
    struct box *box = push_box(L);
    tg_check_parkable(L, &box->waiter);
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return push_result(L, TG_BUSY);
    memcpy(job->password, password, len);
    memcpy(job->stored, stored, stored_len);
    job->len = len;
    job->box = box;
    if (uv_queue_work(luv_loop(L), &job->work, run, done) != 0) {
        free(job);
        return push_result(L, TG_BUSY);
    }
    box->job = job;
    return tg_park(L, &box->waiter, 0);
}

/** is_hash(text) -> whether a stored password is a hash */
static int l_is_hash(lua_State *L)
{
    size_t len;
    const char *stored = luaL_checklstring(L, 1, &len);
    lua_pushboolean(L, tg_password_is_hash(stored, len));
    return 1;
}

/** key() -> random bytes for digest() */
static int l_key(lua_State *L)
{
    uint8_t key[TG_PASSWORD_DIGEST];
    if (RAND_bytes(key, sizeof(key)) != 1)
        return tg_push_failure_text(L, "io", "no random bytes");
    lua_pushlstring(L, (const char *)key, sizeof(key));
    return 1;
}

/** digest(key, hash, password) -> bytes that stand for a match */
static int l_digest(lua_State *L)
{
    size_t key_len, stored_len, len;
    uint8_t out[TG_PASSWORD_DIGEST];
    const char *key = luaL_checklstring(L, 1, &key_len);
    const char *stored = luaL_checklstring(L, 2, &stored_len);
    const char *password = luaL_checklstring(L, 3, &len);
    luaL_argcheck(L, key_len == TG_PASSWORD_DIGEST, 1, "a key of another length");
    tg_password_digest((const uint8_t *)key, stored, stored_len, password, len, out);
    lua_pushlstring(L, (const char *)out, sizeof(out));
    return 1;
}

/** same(a, b) -> whether two strings are equal; how long that takes tells their lengths only */
static int l_same(lua_State *L)
{
    size_t a_len, b_len;
    const char *a = luaL_checklstring(L, 1, &a_len), *b = luaL_checklstring(L, 2, &b_len);
    lua_pushboolean(L, a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0);
    return 1;
}

int luaopen_tidegate_native_password(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "verify", l_verify }, { "is_hash", l_is_hash }, { "key", l_key },
        { "digest", l_digest }, { "same", l_same },       { NULL, NULL },
    };
    luaL_newmetatable(L, BOX_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
