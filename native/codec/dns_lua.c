#include "codec/codec_lua.h"
#include "codec/dns.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int luaopen_tidegate_native_dns(lua_State *L);

#define SUBNET_MAX 24

static const char *const section_names[] = { "questions", "answers", "authority", "additional" };

/* The flags of a head by their names in Lua. */
static const struct {
    const char *name;
    size_t offset;
} flags[] = {
    { "response", offsetof(struct tg_dns_head, response) },
    { "aa", offsetof(struct tg_dns_head, authoritative) },
    { "tc", offsetof(struct tg_dns_head, truncated) },
    { "rd", offsetof(struct tg_dns_head, recursion_desired) },
    { "ra", offsetof(struct tg_dns_head, recursion_available) },
    { "ad", offsetof(struct tg_dns_head, authentic) },
    { "cd", offsetof(struct tg_dns_head, checking_disabled) },
};

static bool *flag_of(struct tg_dns_head *head, size_t i)
{
    return (bool *)((char *)head + flags[i].offset);
}

/* ---- messages of Lua ---- */

#define MESSAGE_MT "tidegate.dns.message"

/* Owned by the collector, so that an error raised halfway leaks nothing. */
static struct tg_dns_message **new_box(lua_State *L)
{
    struct tg_dns_message **box = lua_newuserdata(L, sizeof(void *));
    *box = NULL;
    luaL_getmetatable(L, MESSAGE_MT);
    lua_setmetatable(L, -2);
    return box;
}

static void empty_box(struct tg_dns_message **box)
{
    tg_dns_free(*box);
    *box = NULL;
}

static int l_gc(lua_State *L)
{
    empty_box(lua_touserdata(L, 1));
    return 0;
}

/* ---- parsing ---- */

static void set_text(lua_State *L, const char *key, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, lua_Number n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, key);
}

static void set_flag(lua_State *L, const char *key, bool on)
{
    lua_pushboolean(L, on);
    lua_setfield(L, -2, key);
}

static void push_head(lua_State *L, const struct tg_dns_message *m)
{
    char word[TG_DNS_WORD];
    struct tg_dns_head head;
    tg_dns_get_head(m, &head);
    lua_createtable(L, 0, 20);
    set_number(L, "id", head.id);
    set_number(L, "opcode", head.opcode);
    tg_dns_rcode_word(head.rcode, word);
    set_text(L, "rcode", word);
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
        set_flag(L, flags[i].name, *flag_of(&head, i));
}

static void push_edns(lua_State *L, const struct tg_dns_message *m)
{
    struct tg_dns_edns edns;
    tg_dns_get_edns(m, &edns);
    if (!edns.present)
        return;
    lua_createtable(L, 0, 4);
    set_number(L, "version", edns.version);
    set_number(L, "udp_size", edns.udp_size);
    set_flag(L, "dnssec_ok", edns.dnssec_ok);
    if (edns.options != NULL) {
        lua_pushlstring(L, (const char *)edns.options, edns.options_len);
        lua_setfield(L, -2, "options");
    }
    lua_setfield(L, -2, "edns");
}

static void push_record(lua_State *L, const struct tg_dns_record *r, bool question)
{
    char word[TG_DNS_WORD];
    lua_createtable(L, 0, question ? 3 : 5);
    set_text(L, "name", r->name);
    tg_dns_type_word(r->type, word);
    set_text(L, "type", word);
    tg_dns_class_word(r->cls, word);
    set_text(L, "class", word);
    if (question)
        return;
    set_number(L, "ttl", r->ttl);
    set_text(L, "data", r->data);
}

static int push_section(lua_State *L, struct tg_dns_message *m, enum tg_dns_section section,
                        struct tg_error *err)
{
    size_t count = tg_dns_count(m, section);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        struct tg_dns_record r;
        int code = tg_dns_get(m, section, i, &r, err);
        if (code < 0)
            return code;
        push_record(L, &r, section == TG_DNS_QUESTION);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, section_names[section]);
    return 0;
}

/** parse(bytes) -> { id, opcode, rcode = "NOERROR" …, response, aa, tc, rd, ra, ad, cd,
 * questions = { { name, type, class }, … }, answers, authority, additional = { { name, type, class,
 * ttl, data }, … }, [edns = { version, udp_size, dnssec_ok, [options] }] } | nil, err */
static int l_parse(lua_State *L)
{
    size_t len;
    const uint8_t *in = (const uint8_t *)luaL_checklstring(L, 1, &len);
    struct tg_error err;
    struct tg_dns_message **box = new_box(L);
    *box = tg_dns_parse(in, len, &err);
    if (*box == NULL)
        return tg_push_failure(L, &err);
    push_head(L, *box);
    push_edns(L, *box);
    int code = 0;
    for (int s = 0; s < TG_DNS_SECTIONS && code == 0; s++)
        code = push_section(L, *box, (enum tg_dns_section)s, &err);
    empty_box(box);
    return code < 0 ? tg_push_failure(L, &err) : 1;
}

/** check(bytes) -> true | nil, err: is it a message at all? */
static int l_check(lua_State *L)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    struct tg_error err;
    if (tg_dns_check((const uint8_t *)in, len, &err) < 0)
        return tg_push_failure(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- building ---- */

/* Each of these reads one field of the table at `index`; raises what is of another type. */

static uint32_t get_number(lua_State *L, int index, const char *key, uint32_t otherwise,
                           uint32_t most)
{
    lua_getfield(L, index, key);
    lua_Number n = luaL_optnumber(L, -1, otherwise);
    lua_pop(L, 1);
    return n >= 0 && n <= most ? (uint32_t)n : otherwise;
}

static bool get_flag(lua_State *L, int index, const char *key, bool otherwise)
{
    lua_getfield(L, index, key);
    bool on = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* The text stays on the stack.  NULL: it has a NUL inside. */
static const char *get_text(lua_State *L, int index, const char *key, const char *otherwise)
{
    size_t len;
    lua_getfield(L, index, key);
    const char *text = luaL_optlstring(L, -1, otherwise, &len);
    return text != NULL && strlen(text) == (lua_isnil(L, -1) ? strlen(otherwise) : len) ? text
                                                                                        : NULL;
}

typedef bool (*word_fn)(const char *word, uint16_t *out);

/* A word or number.  @return false: no such word */
static bool get_word(lua_State *L, int index, const char *key, const char *otherwise, word_fn of,
                     uint16_t *out)
{
    lua_getfield(L, index, key);
    bool number = lua_type(L, -1) == LUA_TNUMBER;
    lua_Number n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (number) {
        *out = (uint16_t)n;
        return n >= 0 && n <= UINT16_MAX;
    }
    const char *word = get_text(L, index, key, otherwise);
    bool known = word != NULL && of(word, out);
    lua_pop(L, 1);
    return known;
}

static int random_id(void)
{
    uint16_t id = 0;
    if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
        abort(); /* not for so few bytes */
    return id;
}

static bool read_head(lua_State *L, struct tg_dns_message *m, bool recursion)
{
    struct tg_dns_head head = {
        .id = (uint16_t)get_number(L, 1, "id", 0, UINT16_MAX),
        .opcode = (uint8_t)get_number(L, 1, "opcode", 0, 15),
    };
    lua_getfield(L, 1, "id");
    if (lua_isnil(L, -1))
        head.id = (uint16_t)random_id();
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
        *flag_of(&head, i) = get_flag(L, 1, flags[i].name, false);
    head.recursion_desired = get_flag(L, 1, "rd", recursion);
    if (!get_word(L, 1, "rcode", "NOERROR", tg_dns_rcode_of, &head.rcode))
        return false;
    tg_dns_set_head(m, &head);
    return true;
}

static int read_record(lua_State *L, int index, struct tg_dns_message *m,
                       enum tg_dns_section section, struct tg_error *err)
{
    struct tg_dns_record r = { .ttl = get_number(L, index, "ttl", 0, INT32_MAX) };
    int top = lua_gettop(L);
    r.name = get_text(L, index, "name", ".");
    r.data = get_text(L, index, "data", "");
    bool known = get_word(L, index, "type", "A", tg_dns_type_of, &r.type) &&
                 get_word(L, index, "class", "IN", tg_dns_class_of, &r.cls);
    int code = known && r.name != NULL && r.data != NULL
                   ? tg_dns_add(m, section, &r, err)
                   : tg_error_put(err, "dns", "encode", TG_INVALID,
                                  "no such type or class, or a text with a NUL");
    lua_settop(L, top);
    return code;
}

static int read_section(lua_State *L, struct tg_dns_message *m, enum tg_dns_section section,
                        struct tg_error *err)
{
    int code = 0;
    lua_getfield(L, 1, section_names[section]);
    int count = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0;
    for (int i = 1; i <= count && code == 0; i++) {
        lua_rawgeti(L, -1, i);
        luaL_checktype(L, -1, LUA_TTABLE);
        code = read_record(L, lua_gettop(L), m, section, err);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return code;
}

static int read_edns(lua_State *L, struct tg_dns_message *m, struct tg_error *err)
{
    lua_getfield(L, 1, "edns");
    int code = 0;
    if (lua_istable(L, -1)) {
        int index = lua_gettop(L);
        struct tg_dns_edns edns = {
            .present = true,
            .version = (uint8_t)get_number(L, index, "version", 0, UINT8_MAX),
            .udp_size = (uint16_t)get_number(L, index, "udp_size", 0, UINT16_MAX),
            .dnssec_ok = get_flag(L, index, "dnssec_ok", false),
        };
        lua_getfield(L, index, "options");
        edns.options = (const uint8_t *)luaL_optlstring(L, -1, NULL, &edns.options_len);
        edns.options_len = edns.options != NULL ? edns.options_len : 0;
        code = tg_dns_set_edns(m, &edns, err);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return code;
}

/* Messages are short: their bytes go from malloc() to Lua's heap through the stack. */
static int push_built(lua_State *L, struct tg_dns_message **box, size_t limit)
{
    struct tg_error err;
    size_t len = 0;
    uint8_t *bytes = tg_dns_build(*box, limit, &len, &err);
    empty_box(box);
    if (bytes == NULL)
        return tg_push_failure(L, &err);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addlstring(&b, (const char *)bytes, len);
    free(bytes);
    luaL_pushresult(&b);
    return 1;
}

/** build { as parse() returns; what is missing is 0, false, empty; no id: a random one; limit = bytes
 * a message may take (longer ones go without records, marked tc) } -> bytes | nil, err */
static int l_build(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    uint32_t limit = get_number(L, 1, "limit", TG_DNS_MESSAGE_MAX, TG_DNS_MESSAGE_MAX);
    struct tg_dns_message **box = new_box(L);
    *box = tg_dns_new();
    if (!read_head(L, *box, false))
        return tg_push_failure_text(L, "invalid", "no such rcode");
    struct tg_error err;
    int code = read_edns(L, *box, &err);
    for (int s = 0; s < TG_DNS_SECTIONS && code == 0; s++)
        code = read_section(L, *box, (enum tg_dns_section)s, &err);
    if (code < 0)
        return tg_push_failure(L, &err);
    return push_built(L, box, limit);
}

/* `subnet` = bytes of an IP, or edns as in build(). */
static int add_query_edns(lua_State *L, struct tg_dns_message *m, struct tg_error *err)
{
    uint8_t option[SUBNET_MAX];
    size_t len = 0;
    lua_getfield(L, 1, "subnet");
    const char *ip = luaL_optlstring(L, -1, NULL, &len);
    luaL_argcheck(L, ip == NULL || len == 4 || len == 16, 1, "subnet: 4 or 16 bytes");
    int code = 0;
    if (ip != NULL) {
        struct tg_dns_edns edns = { .present = true, .options = option };
        edns.options_len = tg_dns_subnet((const uint8_t *)ip, len, option);
        code = tg_dns_set_edns(m, &edns, err);
    } else {
        code = read_edns(L, m, err);
    }
    lua_pop(L, 1);
    return code;
}

/** query { name, type = "A" or a number, class = "IN", id (random), rd = true, cd, subnet = bytes of
 * an IP, or edns } -> bytes, id | nil, err */
static int l_query(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct tg_dns_message **box = new_box(L);
    *box = tg_dns_new();
    if (!read_head(L, *box, true))
        return tg_push_failure_text(L, "invalid", "no such rcode");
    struct tg_dns_head head;
    tg_dns_get_head(*box, &head);
    struct tg_error err;
    int code = add_query_edns(L, *box, &err);
    if (code == 0)
        code = read_record(L, 1, *box, TG_DNS_QUESTION, &err);
    if (code < 0)
        return tg_push_failure(L, &err);
    if (push_built(L, box, TG_DNS_MESSAGE_MAX) == 2)
        return 2;
    lua_pushinteger(L, head.id);
    return 2;
}

/** age(bytes, { ttl = fixed seconds, or passed = seconds, minimum = 1, id = another }) -> bytes |
 * nil, err: the message with other times to live */
static int l_age(lua_State *L)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct tg_dns_ages ages = {
        .fixed = -1,
        .passed = get_number(L, 2, "passed", 0, INT32_MAX),
        .minimum = get_number(L, 2, "minimum", 1, INT32_MAX),
    };
    uint32_t fixed = get_number(L, 2, "ttl", UINT32_MAX, INT32_MAX);
    if (fixed != UINT32_MAX)
        ages.fixed = fixed;
    uint32_t id = get_number(L, 2, "id", UINT32_MAX, UINT16_MAX);

    struct tg_error err;
    uint8_t *copy = lua_newuserdata(L, len > 0 ? len : 1);
    memcpy(copy, in, len);
    if (tg_dns_age(copy, len, &ages, &err) < 0)
        return tg_push_failure(L, &err);
    if (id != UINT32_MAX) {
        copy[0] = (uint8_t)(id >> 8);
        copy[1] = (uint8_t)id;
    }
    lua_pushlstring(L, (const char *)copy, len);
    return 1;
}

int luaopen_tidegate_native_dns(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "query", l_query }, { "parse", l_parse }, { "check", l_check },
        { "build", l_build }, { "age", l_age },     { NULL, NULL },
    };
    luaL_newmetatable(L, MESSAGE_MT);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
