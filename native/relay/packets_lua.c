#include "base/mem.h"
#include "bind/ends.h"
#include "bind/task.h"
#include "packet/packet_lua.h"
#include "relay/packets.h"
#include "stream/meter_lua.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_packets(lua_State *L);

#define HOME_MT "tidegate.packets_home"
#define METERS_MAX 16
#define ASKER_MT "tidegate.packets_asker"

/* All relays of this VM; upvalue 1 of every function here. */
struct home {
    struct tg_packets_list list;
    struct tg_ends ends;
};

/* What Lua answers through. */
struct asker {
    struct tg_packets *relay; /* NULL: over */
};

/* One relay. */
struct flight {
    struct home *home;
    struct tg_waiter *waiter; /* of the task that waits for the end */
    struct asker *asker;      /* NULL: nobody is asked */
    int asker_ref, ask_ref;   /* registry */
    int tap_ref;              /* registry; LUA_NOREF: nobody looks */
    bool tagged;
    size_t len;
    char tag[];
};

/* A task that waits for a relay. */
struct wait {
    struct tg_waiter waiter;
};

static struct home *home_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Longer ones are of no interest to who looks into protocols. */
#define TAP_LONGEST 16384u

static void on_tap(void *arg, const struct tg_datagram *d, bool up)
{
    struct flight *f = arg;
    lua_State *L = f->home->ends.main;
    if (d->len > TAP_LONGEST)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, f->tap_ref);
    lua_pushlstring(L, (const char *)d->data, d->len);
    lua_pushboolean(L, up);
    tg_task_queue(L, 2);
}

/* Nothing more to be seen. */
static void end_tap(struct flight *f)
{
    lua_State *L = f->home->ends.main;
    if (f->tap_ref == LUA_NOREF)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, f->tap_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, f->tap_ref);
    tg_task_queue(L, 0);
}

static void on_done(void *arg, const struct tg_relay_result *result)
{
    struct flight *f = arg;
    lua_State *L = f->home->ends.main;
    end_tap(f);
    if (f->asker != NULL) {
        f->asker->relay = NULL;
        luaL_unref(L, LUA_REGISTRYINDEX, f->asker_ref);
        luaL_unref(L, LUA_REGISTRYINDEX, f->ask_ref);
    }
    if (f->waiter != NULL) {
        tg_ends_push(f->waiter->co, result);
        tg_wake(f->waiter, 1);
    } else if (f->tagged) {
        tg_ends_tell(&f->home->ends, f->tag, f->len, result);
    }
    free(f);
}

/* The question goes to a task: we are in the middle of a batch. */
static void on_ask(void *arg, const char *address, size_t len)
{
    struct flight *f = arg;
    lua_State *L = f->home->ends.main;
    lua_rawgeti(L, LUA_REGISTRYINDEX, f->ask_ref);
    lua_pushlstring(L, address, len);
    lua_rawgeti(L, LUA_REGISTRYINDEX, f->asker_ref);
    tg_task_queue(L, 2);
}

/** asker:answer(address, true | "ip:port" | nil): it may pass, is this address, may not */
static int l_answer(lua_State *L)
{
    struct asker *a = luaL_checkudata(L, 1, ASKER_MT);
    size_t len, text_len;
    const char *address = luaL_checklstring(L, 2, &len);
    struct tg_peer to = { .name_len = 0 };
    bool good = lua_toboolean(L, 3);
    if (good && lua_isstring(L, 3)) {
        const char *text = lua_tolstring(L, 3, &text_len);
        good = tg_peer_parse(&to, text, text_len);
    }
    if (a->relay != NULL)
        tg_packets_answer(a->relay, address, len, good ? &to : NULL);
    return 0;
}

static uint32_t number(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    lua_Number n = luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    return n <= 0 ? 0 : n >= UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static bool flag(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* The meters of an options table: its list `meters`, unless the stream below `a` has them, then those
 * that its counters and buckets make.  The caller drops each after the start. */
static void read_meters(lua_State *L, int index, const struct tg_packet *a,
                        struct tg_packets_options *o, struct tg_meter *meters[METERS_MAX])
{
    unsigned n = 0;
    o->meters = meters;
    if (lua_isnoneornil(L, index))
        return;
    lua_getfield(L, index, "meters");
    int count = lua_istable(L, -1) && !a->carried ? (int)lua_objlen(L, -1) : 0;
    luaL_argcheck(L, count < METERS_MAX, index, "too many meters");
    for (int i = 1; i <= count; i++) { /* all that can raise comes before the first hold */
        lua_rawgeti(L, -1, i);
        meters[n++] = tg_meter_check(L, -1);
        lua_pop(L, 1);
    }
    struct tg_meter *more = tg_meter_of_options(L, index);
    for (unsigned i = 0; i < n; i++)
        tg_meter_hold(meters[i]);
    if (more != NULL)
        meters[n++] = more;
    lua_pop(L, 1);
    o->meter_count = n;
}

/* The table at `index`, or nothing.  The functions "tap" and "ask" stay on the stack (or nil). */
static void read_options(lua_State *L, int index, struct tg_packets_options *o)
{
    memset(o, 0, sizeof(*o));
    if (lua_isnoneornil(L, index)) {
        lua_pushnil(L);
        lua_pushnil(L);
        return;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    o->idle = number(L, index, "idle");
    o->replies = number(L, index, "replies");
    o->ask_all = flag(L, index, "ask_all");
    o->ask_names = flag(L, index, "ask_names");
    lua_getfield(L, index, "tap");
    if (!lua_isnil(L, -1))
        luaL_checktype(L, -1, LUA_TFUNCTION);
    lua_getfield(L, index, "ask");
    if (!lua_isnil(L, -1))
        luaL_checktype(L, -1, LUA_TFUNCTION);
}

static void set_asker(lua_State *L, struct flight *f, int ask)
{
    if (lua_isnil(L, ask))
        return;
    f->asker = lua_newuserdata(L, sizeof(*f->asker));
    f->asker->relay = NULL;
    luaL_getmetatable(L, ASKER_MT);
    lua_setmetatable(L, -2);
    f->asker_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, ask);
    f->ask_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* start(a, b, options, tag), with the waiting task or none.  @return false: nil and an error are pushed */
static bool start(lua_State *L, struct tg_waiter *waiter)
{
    struct tg_packets_options o;
    size_t len = 0;
    const char *tag = waiter == NULL ? luaL_optlstring(L, 4, NULL, &len) : NULL;
    read_options(L, 3, &o);
    int ask = lua_gettop(L);
    if (tg_packet_check(L, 1) == NULL || tg_packet_check(L, 2) == NULL) {
        tg_push_failure_text(L, "closed", "relay: an endpoint is closed already");
        return false;
    }
    luaL_argcheck(L, !lua_rawequal(L, 1, 2), 2, "an endpoint cannot be joined with itself");
    struct tg_meter *meters[METERS_MAX];
    read_meters(L, 3, tg_packet_check(L, 1), &o, meters);
    struct flight *f = tg_zalloc(sizeof(*f) + len);
    f->home = home_of(L);
    f->waiter = waiter;
    f->tagged = tag != NULL;
    f->len = len;
    if (len > 0)
        memcpy(f->tag, tag, len);
    lua_pushvalue(L, ask - 1);
    f->tap_ref = lua_isnil(L, -1) ? (lua_pop(L, 1), LUA_NOREF) : luaL_ref(L, LUA_REGISTRYINDEX);
    o.tap = f->tap_ref != LUA_NOREF ? on_tap : NULL;
    set_asker(L, f, ask);
    o.ask = f->asker != NULL ? on_ask : NULL;
    o.done = on_done;
    o.arg = f;
    struct tg_packet *a = tg_packet_take(L, 1), *b = tg_packet_take(L, 2);
    struct tg_packets *relay = tg_packets_start(&f->home->list, a, b, &o);
    for (unsigned i = 0; i < o.meter_count; i++)
        tg_meter_drop(meters[i]);
    if (f->asker != NULL)
        f->asker->relay = relay;
    return true;
}

/** relay(a, b [, options [, tag]]) -> true | nil, err: hands both to C and returns at once.
 * options: { idle=ms, replies=, meters={}, up=, down= (counters), up_limit=, down_limit= (buckets),
 * ask=function(address, asker), ask_all=, ask_names=, tap=function(bytes, up) }.  ask answers with
 * asker:answer().  tap runs in a task of its own for each datagram that passes, and without arguments in the end.
 * With a tag (any bytes) the function given to on_end() hears of the end. */
static int l_relay(lua_State *L)
{
    if (!start(L, NULL))
        return 2;
    lua_pushboolean(L, 1);
    return 1;
}

/** relay_wait(a, b [, options]) -> { up, down, duration, err, side } | nil, err: waits for the end */
static int l_relay_wait(lua_State *L)
{
    lua_settop(L, 3);
    struct wait *w = lua_newuserdata(L, sizeof(*w));
    memset(w, 0, sizeof(*w));
    tg_check_parkable(L, &w->waiter);
    if (!start(L, &w->waiter))
        return 2;
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

/** list([offset = 0 [, count = all]]) -> as the module relay has it */
static int l_list(lua_State *L)
{
    lua_Integer offset = luaL_optinteger(L, 1, 0), count = luaL_optinteger(L, 2, UINT32_MAX);
    struct tg_packets *p = home_of(L)->list.first;
    for (; p != NULL && offset > 0; offset--)
        p = tg_packets_next(p);
    lua_newtable(L);
    for (int i = 0; p != NULL && count > 0; count--, p = tg_packets_next(p)) {
        const struct flight *f = tg_packets_arg(p);
        struct tg_relay_result now;
        tg_packets_peek(p, &now);
        tg_ends_list(L, &i, f->tagged ? f->tag : NULL, f->len, &now);
    }
    return 1;
}

static bool has_tag(const struct flight *f, const char *bytes, size_t len)
{
    return f->tagged && f->len == len && memcmp(f->tag, bytes, len) == 0;
}

/** cut(tag) -> whether there was such a relay, which ends now */
static int l_cut(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    struct tg_packets *p = home_of(L)->list.first;
    while (p != NULL && !has_tag(tg_packets_arg(p), bytes, len))
        p = tg_packets_next(p);
    if (p != NULL)
        tg_packets_cut(p, TG_CLOSED, "closed by the administrator");
    lua_pushboolean(L, p != NULL);
    return 1;
}

/** cut_all(): end every relay of this VM */
static int l_cut_all(lua_State *L)
{
    for (struct tg_packets *p = home_of(L)->list.first; p != NULL; p = tg_packets_next(p))
        tg_packets_cut(p, TG_CLOSED, "the service was stopped");
    return 0;
}

static void push_home(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, HOME_MT);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    struct home *home = lua_newuserdata(L, sizeof(*home));
    memset(home, 0, sizeof(*home));
    tg_ends_open(L, &home->ends);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, HOME_MT);
}

void tg_packets_functions(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "relay", l_relay }, { "relay_wait", l_relay_wait }, { "on_end", l_on_end },
        { "count", l_count }, { "cut_all", l_cut_all },       { "list", l_list },   { "cut", l_cut },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "answer", l_answer },
        { NULL, NULL },
    };
    luaL_newmetatable(L, ASKER_MT);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    push_home(L);
    luaL_openlib(L, NULL, functions, 1);
}

/* The module tidegate.native.packet has these functions; on their own they are of no use. */
int luaopen_tidegate_native_packets(lua_State *L)
{
    lua_newtable(L);
    tg_packets_functions(L);
    return 1;
}
