#include "base/mem.h"
#include "base/shared.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_series(lua_State *L);

#define SERIES_MT "tidegate.series"
#define NUMBER_MAX 32u
#define EXACT_MAX 9007199254740992.0 /* 2^53 */

/* One line without its number. */
struct line {
    struct tg_counter *counter;
    char *head; /* 'name{a="b"} ' */
    size_t len;
};

/* Counters that are told of together: the lines of one metric. */
struct series {
    struct line *lines;
    size_t count, room, bytes;
};

static struct series *check(lua_State *L)
{
    return luaL_checkudata(L, 1, SERIES_MT);
}

/** new() → no lines yet */
static int l_new(lua_State *L)
{
    struct series *s = lua_newuserdata(L, sizeof(*s));
    *s = (struct series){ .lines = NULL };
    luaL_getmetatable(L, SERIES_MT);
    lua_setmetatable(L, -2);
    return 1;
}

static int l_gc(lua_State *L)
{
    struct series *s = check(L);
    for (size_t i = 0; i < s->count; i++) {
        tg_shared_put(s->lines[i].counter);
        free(s->lines[i].head);
    }
    free(s->lines);
    *s = (struct series){ .lines = NULL };
    return 0;
}

/** series:add(name of a counter, what stands before its number) */
static int l_add(lua_State *L)
{
    struct series *s = check(L);
    size_t name_len, len;
    const char *name = luaL_checklstring(L, 2, &name_len), *head = luaL_checklstring(L, 3, &len);
    luaL_argcheck(L, name_len <= TG_SHARED_NAME_MAX, 2, "at most 255 bytes");
    if (s->count == s->room) {
        s->room = s->room == 0 ? 16 : s->room * 2;
        struct line *grown = realloc(s->lines, s->room * sizeof(*grown));
        if (grown == NULL)
            abort();
        s->lines = grown;
    }
    struct line *one = &s->lines[s->count++];
    one->counter = tg_shared_get(TG_SHARED_COUNTER, name, name_len);
    one->head = tg_zalloc(len + 1);
    one->len = len;
    memcpy(one->head, head, len);
    s->bytes += len + NUMBER_MAX;
    return 0;
}

static size_t put_integer(char *out, uint64_t value)
{
    char digits[20];
    size_t len = 0;
    do
        digits[len++] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    for (size_t i = 0; i < len; i++)
        out[i] = digits[len - 1 - i];
    return len;
}

static size_t put_number(char *out, int64_t count, double factor)
{
    uint64_t value = count > 0 ? (uint64_t)count : 0;
    if (factor == 1)
        return put_integer(out, value);
    double scaled = (double)value * factor;
    bool whole = scaled == floor(scaled) && scaled < EXACT_MAX;
    return (size_t)snprintf(out, NUMBER_MAX, whole ? "%.0f" : "%.9g", scaled);
}

/** series:text([factor = 1], [sparse = false]) → its lines; sparse: without those that are 0 */
static int l_text(lua_State *L)
{
    const struct series *s = check(L);
    double factor = luaL_optnumber(L, 2, 1);
    bool sparse = lua_toboolean(L, 3) != 0;
    char *text = malloc(s->bytes + 1);
    if (text == NULL)
        abort();
    size_t at = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct line *one = &s->lines[i];
        int64_t value = tg_counter_read(one->counter);
        if (sparse && value == 0)
            continue;
        memcpy(text + at, one->head, one->len);
        at += one->len;
        at += put_number(text + at, value, factor);
        text[at++] = '\n';
    }
    lua_pushlstring(L, text, at);
    free(text);
    return 1;
}

int luaopen_tidegate_native_series(lua_State *L)
{
    static const luaL_Reg methods[] = { { "add", l_add }, { "text", l_text }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "new", l_new }, { NULL, NULL } };
    luaL_newmetatable(L, SERIES_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
