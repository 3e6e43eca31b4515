#include "codec/codec_lua.h"
#include "codec/http1.h"

#include <string.h>

static void push_span(lua_State *L, struct tg_span s)
{
    lua_pushlstring(L, s.len > 0 ? (const char *)s.data : "", s.len);
}

static void set_span(lua_State *L, const char *key, struct tg_span s)
{
    push_span(L, s);
    lua_setfield(L, -2, key);
}

/* Push the values of all fields of a name, joined by ", ".  false: there is none. */
static bool push_values(lua_State *L, struct tg_span fields, const char *lower, size_t len)
{
    struct tg_http1_field f;
    int found = 0;
    for (size_t at = 0; tg_http1_field_next(fields, &at, &f);) {
        if (!tg_http1_name_is(f.name, lower, len))
            continue;
        if (found++ > 0)
            lua_pushliteral(L, ", ");
        push_span(L, f.value);
        if (found > 1)
            lua_concat(L, 3);
    }
    return found > 0;
}

static void set_common(lua_State *L, const struct tg_http1_head *h)
{
    lua_pushinteger(L, h->minor);
    lua_setfield(L, -2, "minor");
    set_span(L, "fields", h->fields);
    lua_pushboolean(L, h->persistent);
    lua_setfield(L, -2, "persistent");
    if (h->length >= 0) {
        lua_pushnumber(L, (lua_Number)h->length);
        lua_setfield(L, -2, "length");
    }
    if (h->chunked) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "chunked");
    }
    if (h->host.data != NULL)
        set_span(L, "host", h->host);
    if (h->has_connection) {
        push_values(L, h->fields, "connection", 10);
        lua_setfield(L, -2, "connection");
    }
    if (h->expects) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "expects");
    }
}

static ssize_t push_request(lua_State *L, const uint8_t *in, size_t len, int *results,
                            struct tg_error *err)
{
    struct tg_http1_head h;
    ssize_t n = tg_http1_request_decode(in, len, &h, err);
    if (n < 0)
        return n;
    lua_createtable(L, 0, 8);
    set_span(L, "method", h.method);
    set_span(L, "target", h.target);
    set_common(L, &h);
    *results = 1;
    return n;
}

static ssize_t push_response(lua_State *L, const uint8_t *in, size_t len, int *results,
                             struct tg_error *err)
{
    struct tg_http1_head h;
    ssize_t n = tg_http1_response_decode(in, len, &h, err);
    if (n < 0)
        return n;
    lua_createtable(L, 0, 8);
    lua_pushinteger(L, h.status);
    lua_setfield(L, -2, "status");
    set_span(L, "reason", h.reason);
    set_common(L, &h);
    *results = 1;
    return n;
}

/* The field lines of the head, or string of lines, at `index`; they stay alive with it. */
static struct tg_span check_fields(lua_State *L, int index)
{
    struct tg_span fields;
    if (lua_istable(L, index)) {
        lua_getfield(L, index, "fields");
        lua_replace(L, index);
    }
    fields.data = (const uint8_t *)luaL_checklstring(L, index, &fields.len);
    return fields;
}

/** get(head, name) -> value | nil: all values joined by ", "; `name` is in lower case */
static int l_get(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 2, &len);
    return push_values(L, check_fields(L, 1), name, len) ? 1 : 0;
}

/** pairs(head) -> { { name, value }, … } in their order */
static int l_pairs(lua_State *L)
{
    struct tg_span fields = check_fields(L, 1);
    struct tg_http1_field f;
    int count = 0;
    lua_newtable(L);
    for (size_t at = 0; tg_http1_field_next(fields, &at, &f);) {
        lua_createtable(L, 2, 0);
        push_span(L, f.name);
        lua_rawseti(L, -2, 1);
        push_span(L, f.value);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/** map(head) -> { [name in lower case] = first value } */
static int l_map(lua_State *L)
{
    struct tg_span fields = check_fields(L, 1);
    struct tg_http1_field f;
    char lower[256];
    lua_newtable(L);
    for (size_t at = 0; tg_http1_field_next(fields, &at, &f);) {
        if (f.name.len > sizeof(lower))
            continue;
        for (size_t i = 0; i < f.name.len; i++)
            lower[i] = (char)(f.name.data[i] >= 'A' && f.name.data[i] <= 'Z' ? f.name.data[i] | 0x20
                                                                            : f.name.data[i]);
        lua_pushlstring(L, lower, f.name.len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            push_span(L, f.value);
            lua_rawset(L, -3);
        } else {
            lua_pop(L, 2);
        }
    }
    return 1;
}

/** has_token(value, token) -> whether the list holds it, in any case; `token` is in lower case */
static int l_has_token(lua_State *L)
{
    struct tg_span list, item;
    size_t len;
    list.data = (const uint8_t *)luaL_optlstring(L, 1, "", &list.len);
    const char *token = luaL_checklstring(L, 2, &len);
    bool found = false;
    while (!found && tg_http1_list_next(&list, &item))
        found = tg_http1_name_is(item, token, len);
    lua_pushboolean(L, found);
    return 1;
}

/* Is the name at once not a set's member and not named by Connection? */
static bool is_kept(lua_State *L, int set, struct tg_span name, struct tg_span connection)
{
    char lower[256];
    if (name.len > sizeof(lower))
        return true;
    for (size_t i = 0; i < name.len; i++)
        lower[i] = (char)(name.data[i] >= 'A' && name.data[i] <= 'Z' ? name.data[i] | 0x20
                                                                    : name.data[i]);
    lua_pushlstring(L, lower, name.len);
    lua_rawget(L, set);
    bool dropped = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (dropped || connection.len == 0)
        return !dropped;
    /* Where the message ends must not change on the way. */
    if (tg_http1_name_is(name, "host", 4) || tg_http1_name_is(name, "content-length", 14) ||
        tg_http1_name_is(name, "transfer-encoding", 17))
        return true;
    struct tg_span item;
    while (tg_http1_list_next(&connection, &item))
        if (tg_http1_name_is(item, lower, name.len))
            return false;
    return true;
}

/** lines(head, without) -> the field lines, but those whose name in lower case is in `without`
 * and those which Connection names (RFC 9110 7.6.1) */
static int l_lines(lua_State *L)
{
    struct tg_span connection = { NULL, 0 };
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_istable(L, 1)) {
        lua_getfield(L, 1, "connection");
        connection.data = (const uint8_t *)luaL_optlstring(L, 3, "", &connection.len);
    } else {
        lua_pushnil(L);
    }
    struct tg_span fields = check_fields(L, 1);
    /* Kept lines are copied together; nothing but strings is pushed from here on. */
    char *out = lua_newuserdata(L, fields.len + 1);
    size_t n = 0, at = 0, begin = 0;
    struct tg_http1_field f;
    for (; tg_http1_field_next(fields, &at, &f); begin = at) {
        if (!is_kept(L, 2, f.name, connection))
            continue;
        memcpy(out + n, fields.data + begin, at - begin);
        n += at - begin;
    }
    lua_pushlstring(L, out, n);
    return 1;
}

/** request_framing(head) -> length | "chunked" */
static int l_request_framing(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "chunked");
    if (lua_toboolean(L, -1)) {
        lua_pushliteral(L, "chunked");
        return 1;
    }
    lua_getfield(L, 1, "length");
    if (lua_isnil(L, -1))
        lua_pushinteger(L, 0);
    return 1;
}

/** response_framing(head, method) -> length | "chunked" | "close" */
static int l_response_framing(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct tg_http1_head h = { .length = -1 };
    struct tg_span method;
    method.data = (const uint8_t *)luaL_checklstring(L, 2, &method.len);
    lua_getfield(L, 1, "status");
    h.status = (uint16_t)lua_tointeger(L, -1);
    lua_getfield(L, 1, "chunked");
    h.chunked = lua_toboolean(L, -1);
    lua_getfield(L, 1, "length");
    if (!lua_isnil(L, -1))
        h.length = (int64_t)lua_tonumber(L, -1);
    switch (tg_http1_response_body(&h, method)) {
    case TG_HTTP1_CHUNKED:
        lua_pushliteral(L, "chunked");
        return 1;
    case TG_HTTP1_CLOSE:
        lua_pushliteral(L, "close");
        return 1;
    case TG_HTTP1_LENGTH:
        return 1;
    case TG_HTTP1_NONE:
        break;
    }
    lua_pushinteger(L, 0);
    return 1;
}

static void push_lower(lua_State *L, struct tg_span s)
{
    char lower[16];
    size_t n = s.len < sizeof(lower) ? s.len : sizeof(lower);
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)(s.data[i] >= 'A' && s.data[i] <= 'Z' ? s.data[i] | 0x20 : s.data[i]);
    lua_pushlstring(L, lower, n);
}

/** split_target(method, target) -> form, scheme, host, port, path | nil, err
 * form: "origin", "absolute", "authority", "asterisk"; what a form does not have is nil; an
 * absolute target without a path has "/" (OPTIONS: "*"); the scheme is in lower case */
static int l_split_target(lua_State *L)
{
    static const char *const forms[] = {
        [TG_HTTP1_ORIGIN] = "origin",
        [TG_HTTP1_ABSOLUTE] = "absolute",
        [TG_HTTP1_AUTHORITY] = "authority",
        [TG_HTTP1_ASTERISK] = "asterisk",
    };
    struct tg_span method, target;
    struct tg_http1_target t;
    method.data = (const uint8_t *)luaL_checklstring(L, 1, &method.len);
    target.data = (const uint8_t *)luaL_checklstring(L, 2, &target.len);
    if (tg_http1_target_split(method, target, &t) < 0) {
        struct tg_error err;
        tg_error_put(&err, "http", "decode", TG_PROTOCOL, "malformed target");
        return tg_push_failure(L, &err);
    }
    lua_pushstring(L, forms[t.form]);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushnil(L);
    if (t.form == TG_HTTP1_ABSOLUTE || t.form == TG_HTTP1_AUTHORITY) {
        push_span(L, t.host);
        lua_replace(L, -4);
    }
    if (t.port >= 0) {
        lua_pushinteger(L, t.port);
        lua_replace(L, -3);
    }
    if (t.form != TG_HTTP1_AUTHORITY) {
        push_span(L, t.path);
        lua_replace(L, -2);
    }
    if (t.form == TG_HTTP1_ABSOLUTE) {
        push_lower(L, t.scheme);
        lua_replace(L, -5);
        if (t.path.len == 0 || t.path.data[0] != '/') {
            bool options = method.len == 7 && memcmp(method.data, "OPTIONS", 7) == 0;
            lua_pushstring(L, options && t.path.len == 0 ? "*" : "/");
            lua_insert(L, -2);
            lua_concat(L, 2);
        }
    }
    return 5;
}

static int refuse(lua_State *L, const char *detail)
{
    struct tg_error err;
    tg_error_put(&err, "http", "encode", TG_INVALID, detail);
    return tg_push_failure(L, &err);
}

/* Append a span and a constant end to what lies in `out`. */
static size_t append(char *out, size_t n, const char *data, size_t len, const char *end)
{
    memcpy(out + n, data, len);
    n += len;
    size_t tail = strlen(end);
    memcpy(out + n, end, tail);
    return n + tail;
}

/* The pair at `index` of the list at 2: pushes name and value.  false: there is none. */
static bool push_pair(lua_State *L, int index, struct tg_span *name, struct tg_span *value)
{
    lua_rawgeti(L, 2, index);
    if (!lua_istable(L, -1))
        return false;
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    name->data = (const uint8_t *)luaL_checklstring(L, -2, &name->len);
    value->data = (const uint8_t *)luaL_checklstring(L, -1, &value->len);
    return true;
}

/** encode(first_line, { { name, value }, … }) -> head with its empty line | nil, err: a character
 * that has no place there */
static int l_encode(lua_State *L)
{
    struct tg_span line, name, value;
    line.data = (const uint8_t *)luaL_checklstring(L, 1, &line.len);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (line.len == 0 || !tg_http1_value_ok(line))
        return refuse(L, "control character in the first line");
    size_t size = line.len + 4;
    for (int i = 1; push_pair(L, i, &name, &value); i++, lua_settop(L, 2)) {
        if (!tg_http1_name_ok(name) || !tg_http1_value_ok(value))
            return refuse(L, "a field that cannot be written");
        size += name.len + value.len + 4;
    }
    lua_settop(L, 2);
    char *out = lua_newuserdata(L, size);
    size_t n = append(out, 0, (const char *)line.data, line.len, "\r\n");
    for (int i = 1; push_pair(L, i, &name, &value); i++, lua_settop(L, 3)) {
        n = append(out, n, (const char *)name.data, name.len, ": ");
        n = append(out, n, (const char *)value.data, value.len, "\r\n");
    }
    n = append(out, n, "", 0, "\r\n");
    lua_pushlstring(L, out, n);
    return 1;
}

int luaopen_tidegate_native_http1(lua_State *L);

int luaopen_tidegate_native_http1(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "get", l_get },
        { "pairs", l_pairs },
        { "map", l_map },
        { "has_token", l_has_token },
        { "lines", l_lines },
        { "request_framing", l_request_framing },
        { "response_framing", l_response_framing },
        { "split_target", l_split_target },
        { "encode", l_encode },
        { NULL, NULL },
    };
    /* request -> { method, target, minor, fields, persistent, [length], [chunked], [host],
     * [connection], [expects] }; response -> the same with status and reason */
    static const struct tg_decoder request = { "http", TG_HTTP1_HEAD_MAX, push_request };
    static const struct tg_decoder response = { "http", TG_HTTP1_HEAD_MAX, push_response };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    tg_set_decoder(L, &request, "request");
    tg_set_decoder(L, &response, "response");
    return 1;
}
