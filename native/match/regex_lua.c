#include "bind/task.h"
#include "match/regex.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

int luaopen_tidegate_native_regex(lua_State *L);

#define REGEX_MT "tidegate.regex"

struct box {
    struct tg_regex *re;
};

struct context {
    struct tg_regex_context *c;
};

/* Errors carry words made here, so they are made by tidegate.failure itself. */
static int push_failure(lua_State *L, const char *code, const char *message)
{
    lua_pushnil(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidegate.failure");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "new");
    lua_pushstring(L, code);
    lua_pushstring(L, message);
    lua_call(L, 2, 1);
    lua_remove(L, -2);
    return 2;
}

static int over_limit(lua_State *L)
{
    return push_failure(L, "limit", "regular expression: matching takes too long");
}

static struct tg_regex *check_regex(lua_State *L)
{
    return ((struct box *)luaL_checkudata(L, 1, REGEX_MT))->re;
}

static struct tg_regex_context *context_of(lua_State *L)
{
    struct tg_regex_context *c = ((struct context *)lua_touserdata(L, lua_upvalueindex(1)))->c;
    tg_regex_begin(c);
    return c;
}

/** new(pattern) → regex | nil, err: Go's syntax (RE2) */
static int l_new(lua_State *L)
{
    size_t len;
    const char *pattern = luaL_checklstring(L, 1, &len);
    struct box *b = lua_newuserdata(L, sizeof(*b));
    b->re = NULL;
    luaL_getmetatable(L, REGEX_MT);
    lua_setmetatable(L, -2);

    struct tg_regex_error err;
    b->re = tg_regex_compile(pattern, len, &err);
    if (b->re != NULL)
        return 1;
    char text[160];
    snprintf(text, sizeof(text), "regular expression: %s (at character %zu)", err.message, err.offset + 1);
    return push_failure(L, "invalid", text);
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    tg_regex_free(b->re);
    b->re = NULL;
    return 0;
}

/** re:test(text) → whether it matches somewhere | nil, err (code "limit") */
static int l_test(lua_State *L)
{
    struct tg_regex *re = check_regex(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    const size_t *spans;
    int found = tg_regex_match(re, context_of(L), text, len, 0, &spans);
    if (found < 0)
        return over_limit(L);
    lua_pushboolean(L, found);
    return 1;
}

static void push_group(lua_State *L, const char *text, const size_t *spans, unsigned group)
{
    size_t from = spans[2 * group], to = spans[2 * group + 1];
    if (from == SIZE_MAX)
        lua_pushboolean(L, 0);
    else
        lua_pushlstring(L, text + from, to - from);
}

/** re:find(text, [init = 1]) → first, last, captures (false: took no part) | nil | nil, err */
static int l_find(lua_State *L)
{
    struct tg_regex *re = check_regex(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    lua_Number init = luaL_optnumber(L, 3, 1);
    luaL_argcheck(L, init >= 1, 3, "positions begin with 1");
    const size_t *spans;
    if (init - 1 > (lua_Number)len)
        return 0;
    int found = tg_regex_match(re, context_of(L), text, len, (size_t)init - 1, &spans);
    if (found < 0)
        return over_limit(L);
    if (found == 0)
        return 0;
    unsigned groups = tg_regex_groups(re);
    luaL_checkstack(L, (int)groups + 2, "too many groups");
    lua_pushnumber(L, (lua_Number)spans[0] + 1);
    lua_pushnumber(L, (lua_Number)spans[1]);
    for (unsigned i = 1; i <= groups; i++)
        push_group(L, text, spans, i);
    return (int)groups + 2;
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The name behind a dollar at p.  @return what follows, or NULL: the dollar means itself */
static const char *read_name(const char *p, const char *end, const char **name, size_t *len)
{
    bool braces = p < end && *p == '{';
    const char *from = braces ? p + 1 : p, *to = from;
    while (to < end && is_word(*to))
        to++;
    if (to == from || (braces && (to == end || *to != '}')))
        return NULL;
    *name = from;
    *len = (size_t)(to - from);
    return braces ? to + 1 : to;
}

/* Group of a reference: a number, or a name.  @return false: there is none, it is empty */
static bool group_of(const struct tg_regex *re, const char *name, size_t len, unsigned *group)
{
    unsigned number = 0;
    bool digits = len < 6 && (len == 1 || name[0] != '0');
    for (size_t i = 0; digits && i < len; i++) {
        digits = name[i] >= '0' && name[i] <= '9';
        number = number * 10 + (unsigned)(name[i] - '0');
    }
    *group = digits ? number : tg_regex_group_named(re, name, len);
    return digits ? number <= tg_regex_groups(re) : *group > 0;
}

/* Go's Expand: $1, $name, ${name}, $$. */
static void expand(luaL_Buffer *out, const struct tg_regex *re, const char *text,
                   const size_t *spans, const char *p, const char *end)
{
    while (p < end) {
        const char *name, *dollar = memchr(p, '$', (size_t)(end - p));
        size_t len;
        unsigned group;
        if (dollar == NULL)
            dollar = end;
        luaL_addlstring(out, p, (size_t)(dollar - p));
        if (dollar == end)
            return;
        p = dollar + 1;
        const char *after = read_name(p, end, &name, &len);
        if (after == NULL) {
            luaL_addchar(out, '$');
            p += p < end && *p == '$';
            continue;
        }
        p = after;
        if (group_of(re, name, len, &group) && spans[2 * group] != SIZE_MAX)
            luaL_addlstring(out, text + spans[2 * group], spans[2 * group + 1] - spans[2 * group]);
    }
}

static size_t width_at(const char *text, size_t len, size_t at)
{
    size_t width = at < len ? 1 : 0;
    while (width > 0 && at + width < len && ((unsigned char)text[at + width] & 0xc0) == 0x80)
        width++;
    return width;
}

/** re:replace(text, replacement) → text with all matches replaced, how many | nil, err.  In the
 * replacement $1, $name and ${name} stand for groups and $$ for a dollar, as in Go. */
static int l_replace(lua_State *L)
{
    struct tg_regex *re = check_regex(L);
    size_t len, with_len;
    const char *text = luaL_checklstring(L, 2, &len);
    const char *with = luaL_checklstring(L, 3, &with_len);
    struct tg_regex_context *c = context_of(L);
    size_t done = 0, from = 0, count = 0;
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    while (from <= len) {
        const size_t *spans;
        int found = tg_regex_match(re, c, text, len, from, &spans);
        if (found < 0)
            return over_limit(L);
        if (found == 0)
            break;
        size_t first = spans[0], last = spans[1];
        luaL_addlstring(&out, text + done, first - done);
        if (last > done || first == 0) { /* not for an empty match right behind another */
            expand(&out, re, text, spans, with, with + with_len);
            count++;
        }
        done = last;
        size_t width = width_at(text, len, from);
        if (from + width > last)
            from += width;
        else
            from = from + 1 > last ? from + 1 : last;
    }
    if (done < len)
        luaL_addlstring(&out, text + done, len - done);
    luaL_pushresult(&out);
    lua_pushnumber(L, (lua_Number)count);
    return 2;
}

static int l_context_gc(lua_State *L)
{
    struct context *box = lua_touserdata(L, 1);
    tg_regex_context_free(box->c);
    box->c = NULL;
    return 0;
}

static void push_context(lua_State *L)
{
    struct context *box = lua_newuserdata(L, sizeof(*box));
    box->c = tg_regex_context_new();
    lua_newtable(L);
    lua_pushcfunction(L, l_context_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
}

int luaopen_tidegate_native_regex(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "test", l_test }, { "find", l_find }, { "replace", l_replace }, { NULL, NULL }
    };
    luaL_newmetatable(L, REGEX_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    push_context(L);
    luaL_setfuncs(L, methods, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, l_new);
    lua_setfield(L, -2, "new");
    return 1;
}
