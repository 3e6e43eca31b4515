#include "base/logline.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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

static const struct form object = { 1, 0, tg_logline_html, { NULL } };

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
    int whole = floor(n) == n && fabs(n) < 1e18;
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

/** object(list) -> JSON text, as Go's encoding/json writes strings; numbers are taken as they are */
static int l_object(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct tg_text *t = begin(L);
    put_fields(t, &object, L, 1);
    if (t->len == 0)
        tg_text_add(t, "{", 1);
    t->data[0] = '{'; /* in the place of a comma */
    tg_text_add(t, "}", 1);
    lua_pushlstring(L, t->data, t->len);
    return 1;
}

static void put_part(struct tg_text *t, lua_State *L, int index)
{
    size_t len;
    const char *s = luaL_optlstring(L, index, "", &len);
    tg_text_add(t, s, len);
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
                                          { "object", l_object },
                                          { NULL, NULL } };
    lua_createtable(L, 0, 3);
    memset(lua_newuserdata(L, sizeof(struct tg_text)), 0, sizeof(struct tg_text));
    luaL_newmetatable(L, TEXT_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_openlib(L, NULL, functions, 1);
    return 1;
}
