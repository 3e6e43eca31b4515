#include "base/mem.h"
#include "bind/ends.h"
#include "bind/task.h"
#include "relay/records_lua.h"
#include "relay/relay.h"
#include "stream/meter_lua.h"
#include "stream/stream_lua.h"

#include <lauxlib.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_relay(lua_State *L);

#define OPTIONS_MT "tidegate.relay_options"
#define HOME_MT "tidegate.relay_home"

/* All relays of this VM; upvalue 1 of every function here. */
struct home {
    struct tg_relay_list list;
    struct tg_ends ends;
};

/* What a relay with a tag remembers: no Lua object, so that an idle tunnel is
 * none of the collector's business. */
struct tag {
    struct home *home;
    size_t len;
    char bytes[];
};

/* A task that waits for a relay. */
struct wait {
    struct tg_waiter waiter;
    bool over;
};

static struct home *home_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static void on_tagged_done(void *arg, const struct tg_relay_result *result)
{
    struct tag *tag = arg;
    tg_ends_tell(&tag->home->ends, tag->bytes, tag->len, result);
    free(tag);
}

static void on_recorded_done(void *arg, const struct tg_relay_result *result)
{
    tg_record_close(arg, result);
}

static void on_awaited_done(void *arg, const struct tg_relay_result *result)
{
    struct wait *w = arg;
    w->over = true;
    tg_ends_push(w->waiter.co, result);
    tg_wake(&w->waiter, 1);
}

static uint32_t milliseconds(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    lua_Number n = luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    return n <= 0 ? 0 : n >= UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/** options{idle=ms, linger=ms, meter= | up=counter, down=counter, up_limit=bucket, down_limit=bucket} */
static int l_options(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct tg_relay_options **box = lua_newuserdata(L, sizeof(struct tg_relay_options *));
    *box = NULL;
    luaL_getmetatable(L, OPTIONS_MT);
    lua_setmetatable(L, -2);
    struct tg_relay_options *o = *box = tg_relay_options_new();
    o->idle = milliseconds(L, 1, "idle");
    o->linger = milliseconds(L, 1, "linger");
    o->meter = tg_meter_of_options(L, 1);
    return 1;
}

static int l_options_gc(lua_State *L)
{
    struct tg_relay_options **box = lua_touserdata(L, 1);
    tg_relay_options_drop(*box);
    *box = NULL;
    return 0;
}

/* Both streams out of their boxes (1 and 2).  @return false: nil and an error are pushed */
static bool take_both(lua_State *L, struct tg_stream **a, struct tg_stream **b)
{
    if (tg_stream_check(L, 1) == NULL || tg_stream_check(L, 2) == NULL) {
        tg_push_failure_text(L, "closed", "relay: a stream is closed already");
        return false;
    }
    luaL_argcheck(L, !lua_rawequal(L, 1, 2), 2, "a stream cannot be joined with itself");
    *a = tg_stream_take(L, 1);
    *b = tg_stream_take(L, 2);
    return true;
}

static struct tg_relay_options *check_options(lua_State *L)
{
    if (lua_isnoneornil(L, 3))
        return NULL;
    return *(struct tg_relay_options **)luaL_checkudata(L, 3, OPTIONS_MT);
}

/** start(a, b [, options [, tag]]) -> true | nil, err: hands both to C and returns at once.
 * With a tag (any bytes) the function given to on_end() hears of the end. */
static int l_start(lua_State *L)
{
    struct home *home = home_of(L);
    struct tg_relay_options *options = check_options(L);
    struct tag *tag = NULL;
    struct tg_stream *a, *b;
    size_t len = 0;
    const char *bytes = luaL_optlstring(L, 4, NULL, &len);
    if (!take_both(L, &a, &b))
        return 2;
    if (bytes != NULL) {
        tag = tg_zalloc(sizeof(*tag) + len);
        tag->home = home;
        tag->len = len;
        memcpy(tag->bytes, bytes, len);
    }
    tg_relay_start(&home->list, a, b, options, tag != NULL ? on_tagged_done : NULL, tag);
    lua_pushboolean(L, 1);
    return 1;
}

/** record(a, b, options, store, values…) -> true | nil, err: like start(), and a record of it goes into the store
 * at the end; the values are those of tg_record_begin() */
static int l_record(lua_State *L)
{
    struct home *home = home_of(L);
    struct tg_relay_options *options = check_options(L);
    struct tg_stream *a = tg_stream_check(L, 1), *b = tg_stream_check(L, 2);
    if (a == NULL || b == NULL)
        return tg_push_failure_text(L, "closed", "relay: a stream is closed already");
    luaL_argcheck(L, a != b, 2, "a stream cannot be joined with itself");
    struct tg_record *record = tg_record_begin(L, 4, a, b);
    tg_stream_take(L, 1);
    tg_stream_take(L, 2);
    tg_relay_start(&home->list, a, b, options, on_recorded_done, record);
    lua_pushboolean(L, 1);
    return 1;
}

/** run(a, b [, options]) -> { up, down, duration, err, side } | nil, err: waits for the end */
static int l_run(lua_State *L)
{
    struct tg_relay_options *options = check_options(L);
    struct tg_stream *a, *b;
    lua_settop(L, 3);
    struct wait *w = lua_newuserdata(L, sizeof(*w));
    memset(w, 0, sizeof(*w));
    tg_check_parkable(L, &w->waiter);
    if (!take_both(L, &a, &b))
        return 2;
    tg_relay_start(&home_of(L)->list, a, b, options, on_awaited_done, w);
    return tg_park(L, &w->waiter, 0);
}

/** on_end(fn): fn(tag, result) runs in a task when a tagged relay is over */
static int l_on_end(lua_State *L)
{
    return tg_ends_listen(L, &home_of(L)->ends);
}

/** count() -> living relays of this VM */
static int l_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)home_of(L)->list.count);
    return 1;
}

/* NULL: nobody wanted to know how it ends, or a task waits for it */
static const struct tag *tag_of(const struct tg_relay *relay)
{
    return tg_relay_done_of(relay) == on_tagged_done ? tg_relay_arg(relay) : NULL;
}

/** list([offset = 0 [, count = all]]) -> what is known of living relays, the youngest first: tag (false:
 * none), bytes up, bytes down, age in ms, and so on */
static int l_list(lua_State *L)
{
    lua_Integer offset = luaL_optinteger(L, 1, 0), count = luaL_optinteger(L, 2, UINT32_MAX);
    struct tg_relay *relay = home_of(L)->list.first;
    for (; relay != NULL && offset > 0; offset--)
        relay = tg_relay_next(relay);
    lua_newtable(L);
    for (int i = 0; relay != NULL && count > 0; count--, relay = tg_relay_next(relay)) {
        struct tg_relay_result now;
        tg_relay_peek(relay, &now);
        const struct tag *tag = tag_of(relay);
        tg_ends_list(L, &i, tag != NULL ? tag->bytes : NULL, tag != NULL ? tag->len : 0, &now);
    }
    return 1;
}

static bool is_tag(const struct tag *tag, const char *bytes, size_t len)
{
    return tag != NULL && tag->len == len && memcmp(tag->bytes, bytes, len) == 0;
}

/** cut(tag) -> whether there was such a relay, which ends now */
static int l_cut(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    struct tg_relay *relay = home_of(L)->list.first;
    while (relay != NULL && !is_tag(tag_of(relay), bytes, len))
        relay = tg_relay_next(relay);
    if (relay != NULL)
        tg_relay_cut(relay, TG_CLOSED, "closed by the administrator");
    lua_pushboolean(L, relay != NULL);
    return 1;
}

/** stats() -> bytes moved by splice, bytes moved through buffers */
static int l_stats(lua_State *L)
{
    struct home *home = home_of(L);
    lua_pushnumber(L, (lua_Number)home->list.spliced);
    lua_pushnumber(L, (lua_Number)home->list.copied);
    return 2;
}

/** pools() -> bytes of this VM's buffers that lie ready, bytes in buffers that are out, idle pipes */
static int l_pools(lua_State *L)
{
    const struct home *home = home_of(L);
    const struct tg_pool *pool = &tg_reactor_of(home->ends.main)->pool;
    size_t ready = 0, size = TG_BUF_SMALL;
    for (int i = 0; i < TG_BUF_CLASSES; i++, size *= 4)
        ready += pool->count[i] * size;
    lua_pushnumber(L, (lua_Number)ready);
    lua_pushnumber(L, (lua_Number)pool->lent);
    lua_pushinteger(L, (lua_Integer)home->list.pipes.count);
    return 3;
}

/** cut_all(reason): end every relay of this VM */
static int l_cut_all(lua_State *L)
{
    struct home *home = home_of(L);
    while (home->list.first != NULL)
        tg_relay_cut(home->list.first, TG_CLOSED, "the service was stopped");
    return 0;
}

/* A crowd has left: collect its Lua objects and hand free pages back to the kernel. */
static void give_memory_back(struct tg_relay_list *list)
{
    struct home *home = tg_container(list, struct home, list);
    struct tg_reactor *r = tg_reactor_of(home->ends.main);
    lua_gc(home->ends.main, LUA_GCCOLLECT, 0);
    tg_reactor_trim(r);
    malloc_trim(0);
}

static int l_home_gc(lua_State *L)
{
    struct home *home = lua_touserdata(L, 1);
    tg_pipes_close(&home->list.pipes);
    return 0;
}

static struct home *push_home(lua_State *L)
{
    struct home *home = lua_newuserdata(L, sizeof(*home));
    memset(home, 0, sizeof(*home));
    home->list.on_quiet = give_memory_back;
    luaL_newmetatable(L, HOME_MT);
    lua_pushcfunction(L, l_home_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    tg_ends_open(L, &home->ends);
    return home;
}

int luaopen_tidegate_native_relay(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "start", l_start }, { "run", l_run },     { "on_end", l_on_end },
        { "count", l_count }, { "stats", l_stats }, { "cut_all", l_cut_all },
        { "list", l_list },   { "cut", l_cut },     { "pools", l_pools },
        { "record", l_record },
        { NULL, NULL },
    };
    luaL_newmetatable(L, OPTIONS_MT);
    lua_pushcfunction(L, l_options_gc);
    lua_setfield(L, -2, "__gc");
    lua_createtable(L, 0, 12);
    push_home(L);
    luaL_openlib(L, NULL, functions, 1);
    lua_pushcfunction(L, l_options);
    lua_setfield(L, -2, "options");
    return 1;
}
