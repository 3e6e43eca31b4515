#include "base/shared_lua.h"

#include "base/reactor.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_shared(lua_State *L);

#define VALUE_ON_STACK 1024u
#define TTL_MAX_S 1e10
#define COUNT_MAX 9007199254740992.0 /* 2^53: above, a number is no exact count */

static const char *const metatables[] = {
#define XX(name, word) [TG_SHARED_##name] = "tidegate.shared." word,
    TG_SHARED_KIND_MAP(XX)
#undef XX
};

/** What Lua holds: one reference. */
struct box {
    void *object;
};

void *tg_shared_check(lua_State *L, int index, enum tg_shared_kind kind)
{
    return ((struct box *)luaL_checkudata(L, index, metatables[kind]))->object;
}

int tg_hold_lua(lua_State *L, struct tg_hold **list)
{
    bool held;
    int i = 2;
    do {
        struct tg_counter *counter = tg_shared_check(L, i, TG_SHARED_COUNTER);
        held = tg_hold_take(list, counter, (int64_t)luaL_optnumber(L, i + 1, TG_HOLD_MOST));
        i += 2;
    } while (held && !lua_isnoneornil(L, i));
    lua_pushboolean(L, held);
    return 1;
}

static void *check(lua_State *L, enum tg_shared_kind kind)
{
    return tg_shared_check(L, 1, kind);
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    tg_shared_put(b->object);
    b->object = NULL;
    return 0;
}

static int push_object(lua_State *L, enum tg_shared_kind kind)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len <= TG_SHARED_NAME_MAX, 1, "at most 255 bytes");
    struct box *b = lua_newuserdata(L, sizeof(*b));
    b->object = tg_shared_get(kind, name, len);
    luaL_getmetatable(L, metatables[kind]);
    lua_setmetatable(L, -2);
    return 1;
}

static uint64_t check_count(lua_State *L, int index)
{
    lua_Number n = luaL_checknumber(L, index);
    luaL_argcheck(L, n >= 0 && n <= COUNT_MAX, index, "a count is needed");
    return (uint64_t)n;
}

/** counter(name) → the counter all threads share; it lives as long as somebody holds it */
static int l_counter(lua_State *L)
{
    return push_object(L, TG_SHARED_COUNTER);
}

/** counter:add([n = 1]) */
static int l_counter_add(lua_State *L)
{
    struct tg_counter *c = check(L, TG_SHARED_COUNTER);
    lua_Number n = luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, n >= -COUNT_MAX && n <= COUNT_MAX, 2, "an integer is needed");
    tg_counter_add(c, (int64_t)n);
    return 0;
}

/** counter:get() → value */
static int l_counter_get(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tg_counter_read(check(L, TG_SHARED_COUNTER)));
    return 1;
}

/** counter:set(n) */
static int l_counter_set(lua_State *L)
{
    struct tg_counter *c = check(L, TG_SHARED_COUNTER);
    tg_counter_set(c, (int64_t)check_count(L, 2));
    return 0;
}

/** counter:reset() → the value before */
static int l_counter_reset(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tg_counter_reset(check(L, TG_SHARED_COUNTER)));
    return 1;
}

/** counter:take(limit) → whether one more was added; not when the value is `limit` or more */
static int l_counter_take(lua_State *L)
{
    struct tg_counter *c = check(L, TG_SHARED_COUNTER);
    lua_pushboolean(L, tg_counter_take(c, (int64_t)check_count(L, 2)));
    return 1;
}

/** bucket(name) → the token bucket all threads share */
static int l_bucket(lua_State *L)
{
    return push_object(L, TG_SHARED_BUCKET);
}

/** bucket:configure(rate per second | 0 for no limit, [burst]) */
static int l_bucket_configure(lua_State *L)
{
    struct tg_bucket *b = check(L, TG_SHARED_BUCKET);
    uint64_t rate = check_count(L, 2);
    tg_bucket_configure(b, rate, lua_isnoneornil(L, 3) ? 0 : check_count(L, 3));
    return 0;
}

/** bucket:take([n = 1]) → how many were taken, and when that is 0, in how many ms to ask again */
static int l_bucket_take(lua_State *L)
{
    struct tg_bucket *b = check(L, TG_SHARED_BUCKET);
    uint64_t want = lua_isnoneornil(L, 2) ? 1 : check_count(L, 2);
    uint32_t wait_ms = 0;
    lua_pushnumber(L, (lua_Number)tg_bucket_take(b, want, tg_clock_ms(), &wait_ms));
    lua_pushnumber(L, wait_ms);
    return 2;
}

/** bucket:take_all([n = 1 [, other]]) → whether so many were there, and are taken now; when they are, then
 * likewise from another bucket, and whether it had them as well */
static int l_bucket_take_all(lua_State *L)
{
    struct tg_bucket *b = check(L, TG_SHARED_BUCKET), *other = NULL;
    uint64_t n = lua_isnoneornil(L, 2) ? 1 : check_count(L, 2), now = tg_clock_ms();
    if (!lua_isnoneornil(L, 3))
        other = tg_shared_check(L, 3, TG_SHARED_BUCKET);
    lua_pushboolean(L, tg_bucket_take_all(b, n, now) &&
                           (other == NULL || tg_bucket_take_all(other, n, now)));
    return 1;
}

/** bucket:give_back(n): taken, but not used */
static int l_bucket_give_back(lua_State *L)
{
    tg_bucket_return(check(L, TG_SHARED_BUCKET), check_count(L, 2));
    return 0;
}

/** bucket:is_full() → true when no token is missing: as good as a fresh one */
static int l_bucket_is_full(lua_State *L)
{
    lua_pushboolean(L, tg_bucket_full(check(L, TG_SHARED_BUCKET), tg_clock_ms()));
    return 1;
}

/** mark(name) → the fail mark all threads share */
static int l_mark(lua_State *L)
{
    return push_object(L, TG_SHARED_MARK);
}

/** mark:fail(): it failed once more, now */
static int l_mark_fail(lua_State *L)
{
    tg_mark_fail(check(L, TG_SHARED_MARK), tg_clock_ms());
    return 0;
}

/** mark:reset(): it works again */
static int l_mark_reset(lua_State *L)
{
    tg_mark_reset(check(L, TG_SHARED_MARK));
    return 0;
}

/** mark:count() → failures since the last reset */
static int l_mark_count(lua_State *L)
{
    lua_pushnumber(L, tg_mark_count(check(L, TG_SHARED_MARK)));
    return 1;
}

/** mark:failed(max_fails, timeout in seconds) → is it to be left alone now? */
static int l_mark_failed(lua_State *L)
{
    struct tg_mark *m = check(L, TG_SHARED_MARK);
    lua_Number most = luaL_checknumber(L, 2), timeout = luaL_checknumber(L, 3);
    luaL_argcheck(L, most >= 0 && most <= UINT32_MAX, 2, "out of range");
    luaL_argcheck(L, timeout >= 0, 3, "out of range");
    if (timeout > TTL_MAX_S)
        timeout = TTL_MAX_S;
    lua_pushboolean(L, tg_mark_failed(m, (uint32_t)most, (uint64_t)(timeout * 1000), tg_clock_ms()));
    return 1;
}

/** ticket(name) → the ticket counter all threads share */
static int l_ticket(lua_State *L)
{
    return push_object(L, TG_SHARED_TICKET);
}

/** ticket:next() → 0, 1, 2, … each once */
static int l_ticket_next(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tg_ticket_next(check(L, TG_SHARED_TICKET)));
    return 1;
}

/** dict(name) → the dictionary all threads share; a VM that asked for it once keeps it */
static int l_dict(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return 1;
    push_object(L, TG_SHARED_DICT);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    return 1;
}

/** latency(name) → the average all threads share */
static int l_latency(lua_State *L)
{
    return push_object(L, TG_SHARED_LATENCY);
}

/** latency:note(seconds): so long it took this time */
static int l_latency_note(lua_State *L)
{
    struct tg_latency *l = check(L, TG_SHARED_LATENCY);
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 0 && seconds <= TTL_MAX_S, 2, "seconds are needed");
    tg_latency_note(l, (uint64_t)(seconds * 1e6), tg_clock_ms());
    return 0;
}

/** latency:get() → seconds; 0: nothing known, or long ago */
static int l_latency_get(lua_State *L)
{
    lua_pushnumber(L, tg_latency_read(check(L, TG_SHARED_LATENCY), tg_clock_ms()) / 1e6);
    return 1;
}

static uint64_t opt_ttl(lua_State *L, int index)
{
    lua_Number ttl = luaL_optnumber(L, index, 0);
    luaL_argcheck(L, ttl >= 0 && ttl <= TTL_MAX_S, index, "seconds are needed");
    return ttl > 0 && ttl < 0.001 ? 1 : (uint64_t)(ttl * 1000);
}

static int full(lua_State *L)
{
    lua_pushnil(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidegate.failure");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "new");
    lua_pushliteral(L, "limit");
    lua_pushliteral(L, "the dictionary is full");
    lua_call(L, 2, 1);
    lua_remove(L, -2);
    return 2;
}

/** dict:get(key) → string, number or boolean | nil */
static int l_dict_get(lua_State *L)
{
    struct tg_dict *d = check(L, TG_SHARED_DICT);
    size_t key_len, len, size = VALUE_ON_STACK;
    const char *key = luaL_checklstring(L, 2, &key_len);
    char small[VALUE_ON_STACK], *value = small;
    enum tg_dict_type type;
    while ((type = tg_dict_get(d, key, key_len, value, size, &len, tg_clock_ms())),
           type != TG_DICT_ABSENT && len > size) {
        value = lua_newuserdata(L, len);
        size = len;
    }
    double number;
    switch (type) {
    case TG_DICT_ABSENT:
        lua_pushnil(L);
        break;
    case TG_DICT_BYTES:
        lua_pushlstring(L, value, len);
        break;
    case TG_DICT_NUMBER:
        memcpy(&number, value, sizeof(number));
        lua_pushnumber(L, number);
        break;
    case TG_DICT_BOOLEAN:
        lua_pushboolean(L, value[0]);
        break;
    }
    return 1;
}

/** dict:set(key, value, [ttl in seconds]) → true | nil, err; the value nil deletes */
static int l_dict_set(lua_State *L)
{
    struct tg_dict *d = check(L, TG_SHARED_DICT);
    size_t key_len, len;
    const char *key = luaL_checklstring(L, 2, &key_len), *value;
    uint64_t ttl = opt_ttl(L, 4), now = tg_clock_ms();
    double number;
    char flag;
    bool ok = true;
    switch (lua_type(L, 3)) {
    case LUA_TNIL:
        tg_dict_delete(d, key, key_len);
        break;
    case LUA_TNUMBER:
        number = lua_tonumber(L, 3);
        ok = tg_dict_set(d, key, key_len, TG_DICT_NUMBER, &number, sizeof(number), ttl, now);
        break;
    case LUA_TBOOLEAN:
        flag = (char)lua_toboolean(L, 3);
        ok = tg_dict_set(d, key, key_len, TG_DICT_BOOLEAN, &flag, 1, ttl, now);
        break;
    case LUA_TSTRING:
        value = lua_tolstring(L, 3, &len);
        ok = tg_dict_set(d, key, key_len, TG_DICT_BYTES, value, len, ttl, now);
        break;
    default:
        return luaL_argerror(L, 3, "a string, number, boolean or nil is needed");
    }
    if (!ok)
        return full(L);
    lua_pushboolean(L, 1);
    return 1;
}

/** dict:incr(key, [n = 1], [initial = 0], [ttl in seconds of a fresh entry]) → new value | nil, err */
static int l_dict_incr(lua_State *L)
{
    struct tg_dict *d = check(L, TG_SHARED_DICT);
    size_t key_len, len;
    const char *key = luaL_checklstring(L, 2, &key_len);
    double n = luaL_optnumber(L, 3, 1), initial = luaL_optnumber(L, 4, 0), value;
    uint64_t ttl = opt_ttl(L, 5), now = tg_clock_ms();
    if (tg_dict_incr(d, key, key_len, n, initial, ttl, now, &value)) {
        lua_pushnumber(L, value);
        return 1;
    }
    enum tg_dict_type type = tg_dict_get(d, key, key_len, NULL, 0, &len, now);
    if (type == TG_DICT_BYTES || type == TG_DICT_BOOLEAN)
        return luaL_error(L, "the value of '%s' is no number", key);
    return full(L);
}

/** dict:delete(key) → was it there? */
static int l_dict_delete(lua_State *L)
{
    struct tg_dict *d = check(L, TG_SHARED_DICT);
    size_t key_len;
    const char *key = luaL_checklstring(L, 2, &key_len);
    lua_pushboolean(L, tg_dict_delete(d, key, key_len));
    return 1;
}

/** dict:clear() */
static int l_dict_clear(lua_State *L)
{
    tg_dict_clear(check(L, TG_SHARED_DICT));
    return 0;
}

/** dict:count() → entries; some may have expired already */
static int l_dict_count(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tg_dict_count(check(L, TG_SHARED_DICT)));
    return 1;
}

/** dict:limit(bytes) of keys and values together; 0: the default, 64 MiB */
static int l_dict_limit(lua_State *L)
{
    tg_dict_limit(check(L, TG_SHARED_DICT), (size_t)check_count(L, 2));
    return 0;
}

/* Keys are gathered outside of Lua, which may raise and must not while a stripe is locked. */
struct keys {
    char *bytes;
    size_t len, size, left;
};

static bool gather(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct keys *k = arg;
    uint32_t len = (uint32_t)key_len;
    (void)value, (void)value_len;
    if (k->left == 0)
        return false;
    if (k->size - k->len < sizeof(len) + key_len) {
        size_t size = k->size * 2 + sizeof(len) + key_len;
        char *grown = realloc(k->bytes, size);
        if (grown == NULL)
            return false;
        k->bytes = grown;
        k->size = size;
    }
    memcpy(k->bytes + k->len, &len, sizeof(len));
    memcpy(k->bytes + k->len + sizeof(len), key, key_len);
    k->len += sizeof(len) + key_len;
    k->left--;
    return true;
}

static int push_keys(lua_State *L)
{
    const struct keys *k = lua_touserdata(L, 1);
    lua_newtable(L);
    int n = 0;
    for (size_t at = 0; at < k->len;) {
        uint32_t len;
        memcpy(&len, k->bytes + at, sizeof(len));
        at += sizeof(len);
        lua_pushlstring(L, k->bytes + at, len);
        lua_rawseti(L, -2, ++n);
        at += len;
    }
    return 1;
}

/** dict:keys([max = 1024]) → list of keys, in no order */
static int l_dict_keys(lua_State *L)
{
    struct tg_dict *d = check(L, TG_SHARED_DICT);
    struct keys k = { .left = lua_isnoneornil(L, 2) ? 1024 : check_count(L, 2) };
    lua_pushcfunction(L, push_keys);
    lua_pushlightuserdata(L, &k);
    tg_dict_each(d, tg_clock_ms(), gather, &k);
    int status = lua_pcall(L, 1, 1, 0);
    free(k.bytes);
    return status == 0 ? 1 : lua_error(L);
}

static void add_kind(lua_State *L, enum tg_shared_kind kind, const luaL_Reg *methods)
{
    luaL_newmetatable(L, metatables[kind]);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int luaopen_tidegate_native_shared(lua_State *L)
{
    static const luaL_Reg counter[] = { { "add", l_counter_add },
                                        { "get", l_counter_get },
                                        { "take", l_counter_take },
                                        { "set", l_counter_set },
                                        { "reset", l_counter_reset },
                                        { NULL, NULL } };
    static const luaL_Reg bucket[] = { { "configure", l_bucket_configure },
                                       { "take", l_bucket_take },
                                       { "take_all", l_bucket_take_all },
                                       { "give_back", l_bucket_give_back },
                                       { "is_full", l_bucket_is_full },
                                       { NULL, NULL } };
    static const luaL_Reg mark[] = { { "fail", l_mark_fail },
                                     { "reset", l_mark_reset },
                                     { "count", l_mark_count },
                                     { "failed", l_mark_failed },
                                     { NULL, NULL } };
    static const luaL_Reg ticket[] = { { "next", l_ticket_next }, { NULL, NULL } };
    static const luaL_Reg dict[] = { { "get", l_dict_get },       { "set", l_dict_set },
                                     { "incr", l_dict_incr },     { "delete", l_dict_delete },
                                     { "clear", l_dict_clear },   { "count", l_dict_count },
                                     { "limit", l_dict_limit },   { "keys", l_dict_keys },
                                     { NULL, NULL } };
    static const luaL_Reg latency[] = { { "note", l_latency_note },
                                        { "get", l_latency_get },
                                        { NULL, NULL } };
    static const luaL_Reg functions[] = { { "counter", l_counter },
                                          { "bucket", l_bucket },
                                          { "mark", l_mark },
                                          { "ticket", l_ticket },
                                          { "latency", l_latency },
                                          { NULL, NULL } };
    add_kind(L, TG_SHARED_COUNTER, counter);
    add_kind(L, TG_SHARED_BUCKET, bucket);
    add_kind(L, TG_SHARED_MARK, mark);
    add_kind(L, TG_SHARED_TICKET, ticket);
    add_kind(L, TG_SHARED_DICT, dict);
    add_kind(L, TG_SHARED_LATENCY, latency);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_newtable(L);
    lua_pushcclosure(L, l_dict, 1);
    lua_setfield(L, -2, "dict");
    return 1;
}
