#include "relay/records_lua.h"

#include "base/addr.h"
#include "base/shared_lua.h"
#include "bind/class.h"
#include "bind/task.h"

#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

int luaopen_tidegate_native_records(lua_State *L);

#define RECORDS_MT "tidegate.records"

/* Keys of the registry: function(owner), called when something came; owners by store, the first table weak,
 * the second, of stores with open records, not. */
static const char on_arrival_key, owners_key, held_key;

struct box {
    struct tg_records *r;
    lua_State *main;
    struct tg_text head, id; /* what is being written */
};

static struct box *check_box(lua_State *L, int index)
{
    return luaL_checkudata(L, index, RECORDS_MT);
}

static void push_registry(lua_State *L, const char *key)
{
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

/* table[r] of a table in the registry */
static void push_owner(lua_State *L, const char *key, struct tg_records *r)
{
    push_registry(L, key);
    lua_pushlightuserdata(L, r);
    lua_rawget(L, -2);
    lua_remove(L, -2);
}

/* table[r] = what is on top of the stack, which is popped */
static void set_owner(lua_State *L, const char *key, struct tg_records *r)
{
    push_registry(L, key);
    lua_pushlightuserdata(L, r);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 2);
}

static void tell(void *arg)
{
    struct box *b = arg;
    lua_State *L = b->main;
    push_registry(L, &on_arrival_key);
    push_owner(L, &owners_key, b->r);
    tg_task_queue(L, 1);
}

/* While a connection has a record open, the owner must live to be told of it. */
static void hold(void *arg, bool on)
{
    struct box *b = arg;
    lua_State *L = b->main;
    if (on)
        push_owner(L, &owners_key, b->r);
    else
        lua_pushnil(L);
    set_owner(L, &held_key, b->r);
}

static size_t check_size(lua_State *L, int index)
{
    lua_Number n = luaL_checknumber(L, index);
    luaL_argcheck(L, n >= 1 && n <= 1e9, index, "out of range");
    return (size_t)n;
}

/** new(owner, separator, most records, most bytes, counter of records, counter of dropped ones) -> a store.
 * When something comes while nobody is busy with it, or something is dropped, the function given to
 * on_arrival() is told the owner */
static int l_new(lua_State *L)
{
    size_t len;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *separator = luaL_checklstring(L, 2, &len);
    size_t most = check_size(L, 3), bytes = check_size(L, 4);
    struct tg_counter *records = tg_shared_check(L, 5, TG_SHARED_COUNTER);
    struct tg_counter *dropped = tg_shared_check(L, 6, TG_SHARED_COUNTER);
    struct box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    luaL_getmetatable(L, RECORDS_MT);
    lua_setmetatable(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, "tidegate.main");
    b->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    b->r = tg_records_new(separator, len, most, bytes, records, dropped);
    b->r->reactor = tg_reactor_of(L);
    b->r->tell = tell;
    b->r->hold = hold;
    b->r->arg = b;
    lua_pushvalue(L, 1);
    set_owner(L, &owners_key, b->r);
    return 1;
}

static void tell_nobody(void *arg)
{
    (void)arg;
}

static void hold_nobody(void *arg, bool on)
{
    (void)arg;
    (void)on;
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    if (b->r != NULL) {
        b->r->tell = tell_nobody; /* the VM ends before its relays */
        b->r->hold = hold_nobody;
        tg_records_drop(b->r);
    }
    b->r = NULL;
    tg_text_close(&b->head);
    tg_text_close(&b->id);
    return 0;
}

/** store:put(text) -> whether there was room */
static int l_put(lua_State *L)
{
    struct box *b = check_box(L, 1);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    lua_pushboolean(L, tg_records_put(b->r, data, len));
    return 1;
}

/** store:take(most [, bytes]) -> the next records in one text, how many | nil: none waits; once the text has so
 * many bytes it takes no further record */
static int l_take(lua_State *L)
{
    struct box *b = check_box(L, 1);
    const char *data;
    size_t most = check_size(L, 2), bytes = lua_isnoneornil(L, 3) ? SIZE_MAX : check_size(L, 3);
    size_t len, count = tg_records_take(b->r, most, bytes, &data, &len);
    if (count == 0)
        return 0;
    lua_pushlstring(L, data, len);
    lua_pushinteger(L, (lua_Integer)count);
    return 2;
}

/** store:begun(bytes) -> how many of the records taken last begin within the first bytes of their text */
static int l_begun(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushinteger(L, (lua_Integer)tg_records_begun(b->r, (size_t)luaL_checknumber(L, 2)));
    return 1;
}

/** store:waiting() -> how many records wait, whether some were dropped since records were taken */
static int l_waiting(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushinteger(L, (lua_Integer)b->r->count);
    lua_pushboolean(L, b->r->full);
    return 2;
}

/** store:rest(): nobody is busy with the store any more */
static int l_rest(lua_State *L)
{
    check_box(L, 1)->r->busy = false;
    return 0;
}

/** on_arrival(fn): fn(owner) runs in a task, see new() */
static int l_on_arrival(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushlightuserdata(L, (void *)&on_arrival_key);
    lua_pushvalue(L, 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

/* Of one connection ------------------------------------------------------------------------------ */

static void put_name(struct tg_text *t, const char *key)
{
    tg_text_add(t, key, strlen(key));
}

static void put_text(struct tg_text *t, const char *key, lua_State *L, int index)
{
    size_t len;
    const char *text = luaL_optlstring(L, index, "", &len);
    put_name(t, key);
    tg_logline_html(t, text, len);
}

static void put_some(struct tg_text *t, const char *key, lua_State *L, int index)
{
    if (lua_objlen(L, index) > 0)
        put_text(t, key, L, index);
}

/* What needs no escapes. */
static void put_plain(struct tg_text *t, const char *text, size_t len)
{
    char *out = tg_text_room(t, len + 2);
    out[0] = out[len + 1] = '"';
    memcpy(out + 1, text, len);
    t->len += len + 2;
}

/* The text at `index` (0: none), else the address of a stream's end, else `otherwise`. */
static void put_address(struct tg_text *t, const char *key, lua_State *L, int index,
                        const struct tg_stream *s, bool peer, const char *otherwise)
{
    struct sockaddr_storage sa;
    socklen_t len;
    char text[TG_ADDR_TEXT];
    if (index > 0 && !lua_isnil(L, index)) {
        put_text(t, key, L, index);
        return;
    }
    put_name(t, key);
    if (tg_stream_name(s, peer, &sa, &len) < 0)
        tg_logline_html(t, otherwise, strlen(otherwise));
    else if (sa.ss_family == AF_INET || sa.ss_family == AF_INET6)
        put_plain(t, text, tg_sockaddr_format((struct sockaddr *)&sa, len, text, sizeof(text)));
    else
        tg_logline_html(t, text, tg_sockaddr_format((struct sockaddr *)&sa, len, text, sizeof(text)));
}

struct tg_record *tg_record_begin(lua_State *L, int index, const struct tg_stream *a,
                                  const struct tg_stream *b)
{
    struct box *box = check_box(L, index);
    struct tg_text *head = &box->head, *id = &box->id;
    size_t len;
    const char *before = luaL_checklstring(L, index + 1, &len);
    lua_Number started = luaL_checknumber(L, index + 11);
    head->len = id->len = 0;
    tg_text_add(head, before, len);
    put_text(head, ",\"network\":", L, index + 2);
    size_t from = head->len + strlen(",\"remote\":");
    put_address(head, ",\"remote\":", L, index + 3, a, true, "@");
    size_t remote_len = head->len - from;
    put_address(head, ",\"local\":", L, index + 4, a, false, "@");
    if (!lua_isnil(L, index + 5)) {
        put_text(head, ",\"client\":", L, index + 5);
    } else {
        put_name(head, ",\"client\":");
        tg_text_room(head, remote_len);
        tg_text_add(head, head->data + from, remote_len);
    }
    put_address(head, ",\"src\":", L, 0, b, false, "");
    put_address(head, ",\"dst\":", L, 0, b, true, "");
    put_text(head, ",\"host\":", L, index + 6);
    put_some(head, ",\"proto\":", L, index + 7);
    put_name(head, ",\"clientIP\":\"\"");
    put_some(head, ",\"clientID\":", L, index + 8);
    put_some(head, ",\"route\":", L, index + 9);
    put_text(id, ",\"sid\":", L, index + 10);
    return tg_record_open(box->r, head, id, (uint64_t)started, a->rx, a->tx);
}

static void new_registry_table(lua_State *L, const char *key, bool weak)
{
    lua_pushlightuserdata(L, (void *)key);
    lua_newtable(L);
    if (weak) {
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "v");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    lua_rawset(L, LUA_REGISTRYINDEX);
}

int luaopen_tidegate_native_records(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "put", l_put }, { "take", l_take }, { "begun", l_begun }, { "waiting", l_waiting },
        { "rest", l_rest }, { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "new", l_new }, { "on_arrival", l_on_arrival }, { NULL, NULL },
    };
    new_registry_table(L, &owners_key, true);
    new_registry_table(L, &held_key, false);
    tg_class(L, RECORDS_MT, methods, l_gc, NULL);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
