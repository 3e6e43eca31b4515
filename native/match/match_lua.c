#include "base/error.h"
#include "bind/work.h"
#include "match/big.h"
#include "match/match.h"
#include "match/mmdb.h"
#include "match/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int luaopen_tidegate_native_match(lua_State *L);

#define MATCH_MT  "tidegate.match"
#define WORDS     512
#define ID_END    9007199254740992.0 /* 2^53 */
#define TEXTS_MAX 4096u

struct box {
    struct tg_match *match;
};

/* A text of patterns.  All of it is the job's own. */
struct source {
    char *name; /* for notes; NULL: none */
    char *path; /* a file to read, else the text */
    char *text;
    size_t len, size;
    bool items; /* each pattern ends with a zero byte */
    enum tg_rules_format format;
};

/* Patterns that are the caller's business. */
struct texts {
    char **items;
    unsigned count;
};

struct job {
    struct tg_work work;
    struct tg_match *match; /* NULL: failed, see `words` */
    struct source *sources;
    unsigned source_count;
    char *country, *system; /* files; NULL: none */
    struct texts regexps, others;
    struct tg_match_notes notes;
    uint64_t took; /* ms */
    const char *code;
    char words[WORDS];
};

/* In the pool ---------------------------------------------------------------------------------- */

static void fail(struct job *job, const char *code, const char *what, const char *why)
{
    job->code = code;
    snprintf(job->words, sizeof(job->words), "%s%s%s", what != NULL ? what : "",
             what != NULL ? ": " : "", why);
}

static int keep(struct job *job, struct texts *texts, const char *pattern, size_t len)
{
    if (texts->count == TEXTS_MAX) {
        tg_match_note(job->match, NULL, 0, "one too many of its kind, left out", pattern, len);
        return 0;
    }
    if (texts->items == NULL)
        texts->items = calloc(TEXTS_MAX, sizeof(*texts->items));
    char *copy = texts->items != NULL ? strndup(pattern, len) : NULL;
    if (copy == NULL)
        return TG_BUSY;
    texts->items[texts->count++] = copy;
    return 0;
}

static int keep_regexp(void *arg, const char *pattern, size_t len)
{
    struct job *job = arg;
    unsigned before = job->regexps.count;
    int code = keep(job, &job->regexps, pattern, len);
    job->match->count += job->regexps.count - before;
    return code;
}

static int keep_other(void *arg, const char *pattern, size_t len)
{
    struct job *job = arg;
    return keep(job, &job->others, pattern, len);
}

static void free_texts(struct texts *texts)
{
    for (unsigned i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
}

static int read_all(int fd, struct source *s, size_t size)
{
    s->size = size + 1;
    s->text = tg_big_alloc(s->size);
    if (s->text == NULL)
        return ENOMEM;
    while (s->len < size) {
        ssize_t n = read(fd, s->text + s->len, size - s->len);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            break;
        s->len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* @return 0 or an errno */
static int read_file(struct source *s)
{
    struct stat st;
    int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno;
    int code = fstat(fd, &st) < 0 ? errno : S_ISREG(st.st_mode) ? 0 : EISDIR;
    if (code == 0)
        code = read_all(fd, s, (size_t)st.st_size);
    close(fd);
    return code;
}

static int add_items(struct tg_match *m, const struct source *s)
{
    int code = 0;
    for (size_t at = 0; code == 0 && at < s->len;) {
        size_t len = strlen(s->text + at);
        code = tg_match_add(m, s->text + at, len, s->name, 0);
        at += len + 1;
    }
    return code;
}

static int add_source(struct job *job, struct source *s)
{
    int why = s->path != NULL ? read_file(s) : 0;
    if (why != 0) {
        fail(job, "config", s->path, strerror(why));
        return TG_IO;
    }
    int code =
        s->items ? add_items(job->match, s)
                 : tg_rules_add(job->match, s->format, s->text, s->len, s->name, keep_regexp, job);
    tg_big_free(s->text, s->size);
    s->text = NULL;
    if (code < 0)
        fail(job, "limit", s->name, "the list does not fit into memory");
    return code;
}

/* A database that is open already is looked at again. */
static bool open_places(struct job *job, const char *path, struct tg_mmdb **db)
{
    char words[WORDS];
    if (path == NULL)
        return true;
    *db = tg_mmdb_get(path, words, sizeof(words));
    if (*db == NULL) {
        fail(job, "config", NULL, words);
        return false;
    }
    if (tg_mmdb_refresh(*db, words, sizeof(words)) < 0)
        tg_match_note(job->match, NULL, 0, "what was open before stays", words, strlen(words));
    return true;
}

static int add_places(struct job *job)
{
    struct tg_match *m = job->match;
    if (!open_places(job, job->country, &m->country_db) ||
        !open_places(job, job->system, &m->system_db))
        return TG_IO;
    if (m->country_count > 0 && m->country_db == NULL)
        fail(job, "config", NULL, "geoip: patterns need the file of mmdb.country");
    else if (m->system_count > 0 && m->system_db == NULL)
        fail(job, "config", NULL, "asn: patterns need the file of mmdb.asn");
    return job->code == NULL ? 0 : TG_INVALID;
}

static void build(struct tg_work *w)
{
    struct job *job = (struct job *)w;
    uint64_t began = tg_clock_ms();
    int code = 0;
    for (unsigned i = 0; code == 0 && i < job->source_count; i++)
        code = add_source(job, &job->sources[i]);
    if (code == 0)
        code = add_places(job);
    if (code < 0) {
        tg_match_put(job->match);
        job->match = NULL;
        return;
    }
    job->notes = *job->match->notes;
    tg_match_seal(job->match);
    job->took = tg_clock_ms() - began;
}

/* In the task's thread ------------------------------------------------------------------------- */

static void drop(struct tg_work *w)
{
    struct job *job = (struct job *)w;
    tg_match_put(job->match);
    for (unsigned i = 0; i < job->source_count; i++) {
        free(job->sources[i].name);
        free(job->sources[i].path);
        tg_big_free(job->sources[i].text, job->sources[i].size);
    }
    free_texts(&job->regexps);
    free_texts(&job->others);
    free(job->sources);
    free(job->country);
    free(job->system);
    free(job);
}

static void set_number(lua_State *L, const char *key, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, key);
}

static void push_notes(lua_State *L, const struct tg_match_notes *notes)
{
    int n = 0;
    lua_newtable(L);
    for (const char *p = notes->text, *end; (end = strchr(p, '\n')) != NULL; p = end + 1) {
        lua_pushlstring(L, p, (size_t)(end - p));
        lua_rawseti(L, -2, ++n);
    }
    lua_setfield(L, -2, "notes");
    set_number(L, "note_count", notes->count);
}

static void push_texts(lua_State *L, const char *key, const struct texts *texts)
{
    lua_newtable(L);
    for (unsigned i = 0; i < texts->count; i++) {
        lua_pushstring(L, texts->items[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, key);
}

static void push_info(lua_State *co, const struct job *job, const struct tg_match *m)
{
    lua_newtable(co);
    set_number(co, "count", (double)m->count);
    set_number(co, "names", (double)m->names.used);
    set_number(co, "nets", (double)(m->nets.v4_count + m->nets.v6_count));
    set_number(co, "ranges", (double)(m->ranges.v4_count + m->ranges.v6_count));
    set_number(co, "globs", (double)m->glob_count);
    set_number(co, "bytes", (double)tg_match_bytes(m));
    set_number(co, "ms", (double)job->took);
    push_notes(co, &job->notes);
    push_texts(co, "regexps", &job->regexps);
    push_texts(co, "others", &job->others);
}

static int answer(lua_State *co, struct tg_work *w)
{
    struct job *job = (struct job *)w;
    if (job->match == NULL)
        return tg_push_failure_text(co, job->code, job->words);
    lua_pushnumber(co, (lua_Number)tg_match_publish(job->match));
    push_info(co, job, job->match);
    return 2;
}

/* Reading what is to be built.  The job lies in a box meanwhile, for the arguments may raise. */

static int l_job_gc(lua_State *L)
{
    struct job **box = lua_touserdata(L, 1);
    if (*box != NULL)
        drop(&(*box)->work);
    *box = NULL;
    return 0;
}

static char *copy_field(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    const char *text = lua_isnil(L, -1) ? NULL : luaL_checkstring(L, -1);
    char *copy = text != NULL && *text != '\0' ? strdup(text) : NULL;
    lua_pop(L, 1);
    return copy;
}

/* Items one behind the other, each with its zero byte; one with a zero byte inside matches
 * nothing anyway. */
static void read_items(lua_State *L, int index, struct source *s)
{
    size_t count = lua_objlen(L, index), size = 0;
    for (int pass = 0; pass < 2; pass++) {
        size = 0;
        for (size_t i = 1; i <= count; i++) {
            size_t len;
            lua_rawgeti(L, index, (int)i);
            const char *text = lua_tolstring(L, -1, &len);
            if (text != NULL && strlen(text) == len) {
                if (s->text != NULL)
                    memcpy(s->text + size, text, len + 1);
                size += len + 1;
            }
            lua_pop(L, 1);
        }
        if (pass == 0) {
            s->size = size + 1;
            s->text = tg_big_alloc(s->size);
        }
        if (s->text == NULL)
            luaL_error(L, "out of memory");
    }
    s->len = size;
    s->items = true;
}

static void read_text(lua_State *L, int index, struct source *s)
{
    size_t len;
    const char *text = luaL_checklstring(L, index, &len);
    s->size = len + 1;
    s->text = tg_big_alloc(s->size);
    if (s->text == NULL)
        luaL_error(L, "out of memory");
    memcpy(s->text, text, len);
    s->len = len;
}

static void read_source(lua_State *L, int index, struct source *s)
{
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "format");
    s->format =
        (enum tg_rules_format)luaL_checkoption(L, lua_gettop(L), "patterns", tg_rules_words);
    lua_pop(L, 1);
    s->name = copy_field(L, index, "name");
    s->path = copy_field(L, index, "path");
    if (s->path != NULL)
        return;
    lua_getfield(L, index, "items");
    lua_getfield(L, index, "text");
    if (lua_istable(L, -2))
        read_items(L, lua_gettop(L) - 1, s);
    else
        read_text(L, lua_gettop(L), s);
    lua_pop(L, 2);
}

static void read_job(lua_State *L, struct job *job)
{
    lua_getfield(L, 1, "clients");
    job->match = tg_match_new(lua_toboolean(L, -1));
    if (job->match != NULL) {
        job->match->other = keep_other;
        job->match->other_arg = job;
    }
    job->country = copy_field(L, 1, "country");
    job->system = copy_field(L, 1, "asn");
    lua_getfield(L, 1, "sources");
    luaL_checktype(L, -1, LUA_TTABLE);
    unsigned count = (unsigned)lua_objlen(L, -1);
    job->sources = calloc(count + 1, sizeof(*job->sources));
    if (job->match == NULL || job->sources == NULL)
        luaL_error(L, "out of memory");
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        job->source_count++;
        read_source(L, lua_gettop(L), &job->sources[i]);
        lua_pop(L, 1);
    }
}

static struct job *new_job(lua_State *L)
{
    struct job **box = lua_newuserdata(L, sizeof(*box));
    *box = NULL;
    luaL_getmetatable(L, MATCH_MT ".job");
    lua_setmetatable(L, -2);
    *box = calloc(1, sizeof(**box));
    if (*box == NULL)
        luaL_error(L, "out of memory");
    read_job(L, *box);
    return *box;
}

/* Lists as VMs hold them ----------------------------------------------------------------------- */

static void push_list(lua_State *L, struct tg_match *m)
{
    struct box *b = lua_newuserdata(L, sizeof(*b));
    b->match = m;
    luaL_getmetatable(L, MATCH_MT);
    lua_setmetatable(L, -2);
}

static struct tg_match *check(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, MATCH_MT);
    luaL_argcheck(L, b->match != NULL, 1, "a closed list");
    return b->match;
}

/** build{ sources={ { items={…} } | { text=, format= } | { path=, format= }, … }, country=file,
 * asn=file, clients=bool } -> number, info | nil, err.  Waits.  The number stands for the list in
 * every VM until release().  info: count (patterns), names, nets, ranges, globs, bytes, ms,
 * notes (what was left out, at most some), note_count; and left to the caller: regexps, and others,
 * which a list of clients does not understand. */
static int l_build(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    tg_work_check(L);
    struct job *job = new_job(L);
    job->work.run = build;
    job->work.done = answer;
    job->work.drop = drop;
    *(struct job **)lua_touserdata(L, 2) = NULL; /* it is the work's own now */
    return tg_work_park(L, &job->work);
}

/** compile{…} -> list, info | nil, err: as build(), but at once and for this VM alone; for few
 * patterns */
static int l_compile(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct job *job = new_job(L);
    build(&job->work);
    if (job->match == NULL)
        return tg_push_failure_text(L, job->code, job->words);
    push_list(L, job->match);
    job->match = NULL;
    push_info(L, job, ((struct box *)lua_touserdata(L, -1))->match);
    return 2;
}

/** open(number) -> list | nil, err: it has been released */
static int l_open(lua_State *L)
{
    lua_Number id = luaL_checknumber(L, 1);
    struct tg_match *m = id >= 1 && id < ID_END ? tg_match_find((uint64_t)id) : NULL;
    if (m == NULL)
        return tg_push_failure_text(L, "closed", "there is no such list any more");
    push_list(L, m);
    return 1;
}

/** release(number): who has opened the list keeps it */
static int l_release(lua_State *L)
{
    lua_Number id = luaL_checknumber(L, 1);
    if (id >= 1 && id < ID_END)
        tg_match_withdraw((uint64_t)id);
    return 0;
}

/** list:contains(address) -> is "host" or "host:port" among it? */
static int l_contains(lua_State *L)
{
    size_t len;
    const struct tg_match *m = check(L);
    const char *address = luaL_checklstring(L, 2, &len);
    lua_pushboolean(L, tg_match_has(m, address, len));
    return 1;
}

/** list:count() -> how many patterns it was made of */
static int l_count(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)check(L)->count);
    return 1;
}

/** list:bytes() -> memory it takes, once for all VMs */
static int l_bytes(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tg_match_bytes(check(L)));
    return 1;
}

/** list:close(); may be repeated */
static int l_close(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, MATCH_MT);
    tg_match_put(b->match);
    b->match = NULL;
    return 0;
}

static const luaL_Reg methods[] = {
    { "contains", l_contains }, { "count", l_count }, { "bytes", l_bytes },
    { "close", l_close },       { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "build", l_build },     { "compile", l_compile }, { "open", l_open },
    { "release", l_release }, { NULL, NULL },
};

int luaopen_tidegate_native_match(lua_State *L)
{
    luaL_newmetatable(L, MATCH_MT ".job");
    lua_pushcfunction(L, l_job_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newmetatable(L, MATCH_MT);
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_newtable(L);
    for (int i = 0; tg_rules_words[i] != NULL; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, tg_rules_words[i]);
    }
    lua_setfield(L, -2, "formats");
    return 1;
}
