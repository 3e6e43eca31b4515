#include "base/logline.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int luaopen_tidegate_native_logline(lua_State *L);

#define TEXT_MT "tidegate.logline"

typedef void (*quote_fn)(struct tg_text *out, const char *s, size_t len);

/* One form of lines, or of objects. */
struct form {
    int json;
    int seconds; /* what is called "duration" is seconds here and nanoseconds there */
    quote_fn quote;
    const char *punctuation[4]; /* before the time, the level, the message; at the end */
};

static const struct form forms[] = {
    { 1, 1, tg_logline_json, { "{\"time\":\"", "\",\"level\":\"", "\",\"msg\":", "}\n" } },
    { 0, 0, tg_logline_text, { "time=", " level=", " msg=", "\n" } },
};

static const struct form object_form = { 1, 0, tg_logline_html, { NULL } };

static struct tg_text *begin(lua_State *L)
{
    struct tg_text *t = lua_touserdata(L, lua_upvalueindex(1));
    t->len = 0;
    return t;
}

static const struct form *check_form(lua_State *L)
{
    static const char *const names[] = { "json", "text", NULL };
    return &forms[luaL_checkoption(L, 1, NULL, names)];
}

static void put_string(struct tg_text *t, const struct form *form, lua_State *L, int index)
{
    size_t len;
    const char *s = lua_tolstring(L, index, &len);
    form->quote(t, s, len);
}

static void put_number(struct tg_text *t, lua_Number n)
{
    bool whole = floor(n) == n && fabs(n) < 1e18;
    if (whole && n >= 0) {
        tg_logline_count(t, (uint64_t)n);
        return;
    }
    char *out = tg_text_room(t, 32);
    t->len +=
        (size_t)(whole ? snprintf(out, 32, "%lld", (long long)n) : snprintf(out, 32, "%.14g", n));
}

/* The value at the top of the stack, its key below.  Strings, numbers, booleans, and tables whose
 * first item is text to be taken as it is. */
static void put_value(struct tg_text *t, const struct form *form, lua_State *L)
{
    size_t len;
    const char *raw;
    switch (lua_type(L, -1)) {
    case LUA_TNUMBER:
        if (form->seconds && strcmp(lua_tostring(L, -2), "duration") == 0)
            put_number(t, floor(lua_tonumber(L, -1) * 1e9 + 0.5));
        else
            put_number(t, lua_tonumber(L, -1));
        return;
    case LUA_TBOOLEAN:
        tg_text_add(t, lua_toboolean(L, -1) ? "true" : "false", lua_toboolean(L, -1) ? 4 : 5);
        return;
    case LUA_TSTRING:
        put_string(t, form, L, -1);
        return;
    default:
        lua_rawgeti(L, -1, 1);
        raw = luaL_checklstring(L, -1, &len);
        tg_text_add(t, raw, len);
        lua_pop(L, 1);
    }
}

/* Keys and values of the list at `index`, pairs with a nil value left out. */
static void put_fields(struct tg_text *t, const struct form *form, lua_State *L, int index)
{
    int count = (int)lua_objlen(L, index);
    for (int i = 1; i < count; i += 2) {
        lua_rawgeti(L, index, i);
        lua_rawgeti(L, index, i + 1);
        if (lua_type(L, -2) == LUA_TSTRING && !lua_isnil(L, -1)) {
            tg_text_add(t, form->json ? "," : " ", 1);
            put_string(t, form, L, -2);
            tg_text_add(t, form->json ? ":" : "=", 1);
            put_value(t, form, L);
        }
        lua_pop(L, 2);
    }
}

/** fields(form, list) -> text */
static int l_fields(lua_State *L)
{
    const struct form *form = check_form(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct tg_text *t = begin(L);
    put_fields(t, form, L, 2);
    lua_pushlstring(L, t->data, t->len);
    return 1;
}

static void put_part(struct tg_text *t, lua_State *L, int index)
{
    size_t len;
    const char *s = luaL_optlstring(L, index, "", &len);
    tg_text_add(t, s, len);
}

static bool is_empty(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        return lua_tonumber(L, index) == 0;
    case LUA_TSTRING:
        return lua_objlen(L, index) == 0;
    default:
        return lua_isnoneornil(L, index);
    }
}

/* Members of an object: their names and marks at 1 and 2, their values from `first` on. */
static void put_members(struct tg_text *t, lua_State *L, int first)
{
    const char *name = luaL_checkstring(L, 1), *marks = luaL_checkstring(L, 2);
    for (int i = first; *marks != 0; i++, marks++, name += strlen(name) + 1) {
        bool missing = lua_isnoneornil(L, i);
        if ((*marks == 'o' && is_empty(L, i)) || (*marks == 'v' && missing))
            continue;
        tg_text_add(t, name, strlen(name));
        if (missing)
            tg_text_add(t, *marks == 'n' ? "0" : "\"\"", *marks == 'n' ? 1 : 2);
        else if (lua_type(L, i) == LUA_TSTRING)
            put_string(t, &object_form, L, i);
        else {
            lua_pushvalue(L, i);
            put_value(t, &object_form, L);
            lua_pop(L, 1);
        }
    }
}

/** members(names, marks, values…) -> JSON text as Go's encoding/json writes it.  Of each member the name as
 * it is written, ,"name": and a zero byte; and a letter, "s": "" for nil, "n": 0 for nil, "o": left out
 * when nil, "" or 0, "v": when nil */
static int l_members(lua_State *L)
{
    struct tg_text *t = begin(L);
    put_members(t, L, 3);
    lua_pushlstring(L, t->data, t->len);
    return 1;
}

/** object(names, marks, before, values…) -> JSON text; `before`: members written already */
static int l_object(lua_State *L)
{
    struct tg_text *t = begin(L);
    put_part(t, L, 3);
    put_members(t, L, 4);
    if (t->len == 0)
        tg_text_add(t, "{", 1);
    t->data[0] = '{'; /* in the place of a comma */
    tg_text_add(t, "}", 1);
    lua_pushlstring(L, t->data, t->len);
    return 1;
}

/** time(ago) -> the moment so many seconds before now, as Go's RFC3339Nano */
static int l_time(lua_State *L)
{
    struct tg_text *t = begin(L);
    double ago = luaL_checknumber(L, 1);
    luaL_argcheck(L, fabs(ago) < 1e12, 1, "out of range");
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    double whole = floor(ago);
    at.tv_sec -= (time_t)whole;
    at.tv_nsec -= (long)((ago - whole) * 1e9);
    if (at.tv_nsec < 0) {
        at.tv_sec--;
        at.tv_nsec += 1000000000;
    }
    tg_logline_time(t, lua_touserdata(L, lua_upvalueindex(2)), &at);
    lua_pushlstring(L, t->data, t->len);
    return 1;
}

/** line(form, time, level, message, before [, list [, after]]) -> text; `before` and `after` are
 * fields written already */
static int l_line(lua_State *L)
{
    const struct form *form = check_form(L);
    for (int i = 2; i <= 5; i++)
        luaL_checkstring(L, i);
    struct tg_text *t = begin(L);
    const char *const *punctuation = form->punctuation;
    for (int i = 0; i < 2; i++) {
        tg_text_add(t, punctuation[i], strlen(punctuation[i]));
        put_part(t, L, i + 2);
    }
    tg_text_add(t, punctuation[2], strlen(punctuation[2]));
    put_string(t, form, L, 4);
    put_part(t, L, 5);
    if (lua_istable(L, 6))
        put_fields(t, form, L, 6);
    put_part(t, L, 7);
    tg_text_add(t, punctuation[3], strlen(punctuation[3]));
    lua_pushlstring(L, t->data, t->len);
    return 1;
}

static int l_gc(lua_State *L)
{
    tg_text_close(lua_touserdata(L, 1));
    return 0;
}

int luaopen_tidegate_native_logline(lua_State *L)
{
    static const luaL_Reg functions[] = { { "fields", l_fields },
                                          { "line", l_line },
                                          { "members", l_members },
                                          { "time", l_time },
                                          { "object", l_object },
                                          { NULL, NULL } };
    lua_createtable(L, 0, 5);
    memset(lua_newuserdata(L, sizeof(struct tg_text)), 0, sizeof(struct tg_text));
    luaL_newmetatable(L, TEXT_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    memset(lua_newuserdata(L, sizeof(struct tg_stamp)), 0, sizeof(struct tg_stamp));
    luaL_openlib(L, NULL, functions, 2);
    return 1;
}
