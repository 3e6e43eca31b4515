#include "bind/work.h"
#include "match/mmdb.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_mmdb(lua_State *L);

#define MMDB_MT "tidegate.mmdb"
#define WORDS   512

struct box {
    struct tg_mmdb *db;
};

/* A file to open, or to look at again. */
struct job {
    struct tg_work work;
    char *path;
    struct tg_mmdb *db; /* a reference; NULL: could not be opened */
    int code;
    char words[WORDS];
};

static void drop(struct tg_work *w)
{
    struct job *job = (struct job *)w;
    tg_mmdb_put(job->db);
    free(job->path);
    free(job);
}

static void run_open(struct tg_work *w)
{
    struct job *job = (struct job *)w;
    job->db = tg_mmdb_get(job->path, job->words, sizeof(job->words));
}

static void run_refresh(struct tg_work *w)
{
    struct job *job = (struct job *)w;
    job->code = tg_mmdb_refresh(job->db, job->words, sizeof(job->words));
}

static int answer_open(lua_State *co, struct tg_work *w)
{
    struct job *job = (struct job *)w;
    if (job->db == NULL)
        return tg_push_failure_text(co, "config", job->words);
    struct box *b = lua_newuserdata(co, sizeof(*b));
    b->db = job->db;
    job->db = NULL;
    luaL_getmetatable(co, MMDB_MT);
    lua_setmetatable(co, -2);
    return 1;
}

static int answer_refresh(lua_State *co, struct tg_work *w)
{
    struct job *job = (struct job *)w;
    if (job->code < 0)
        return tg_push_failure_text(co, "config", job->words);
    lua_pushboolean(co, job->code);
    return 1;
}

static struct job *new_job(lua_State *L, const char *path, struct tg_mmdb *db,
                           void (*run)(struct tg_work *),
                           int (*done)(lua_State *, struct tg_work *))
{
    struct job *job = calloc(1, sizeof(*job));
    char *copy = strdup(path);
    if (job == NULL || copy == NULL) {
        free(job);
        free(copy);
        luaL_error(L, "out of memory");
        return NULL;
    }
    job->path = copy;
    job->db = db;
    job->work.run = run;
    job->work.done = done;
    job->work.drop = drop;
    return job;
}

static struct tg_mmdb *check(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, MMDB_MT);
    luaL_argcheck(L, b->db != NULL, 1, "a closed database");
    return b->db;
}

/** open(path) -> database, the same for all VMs | nil, err.  Waits. */
static int l_open(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    tg_work_check(L);
    struct job *job = new_job(L, path, NULL, run_open, answer_open);
    return tg_work_park(L, &job->work);
}

/** database:refresh() -> true: a changed file was taken over, false: there was none | nil, err:
 * the changed file is no good, told once, and the one before stays.  Waits. */
static int l_refresh(lua_State *L)
{
    struct tg_mmdb *db = check(L);
    const char *path = tg_mmdb_path(db);
    tg_work_check(L);
    struct tg_mmdb *reference = tg_mmdb_ref(db);
    struct job *job = new_job(L, path, reference, run_refresh, answer_refresh);
    return tg_work_park(L, &job->work);
}

static bool check_ip(lua_State *L, struct tg_ip *ip)
{
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    if (!tg_ip_parse(ip, text, len))
        return false;
    tg_ip_unmap(ip);
    return true;
}

/** database:country(ip) -> "DE" | nil */
static int l_country(lua_State *L)
{
    struct tg_mmdb *db = check(L);
    struct tg_ip ip;
    char code[2];
    if (!check_ip(L, &ip) || !tg_mmdb_country(db, &ip, code))
        return 0;
    lua_pushlstring(L, code, sizeof(code));
    return 1;
}

/** database:asn(ip) -> number | nil */
static int l_asn(lua_State *L)
{
    struct tg_mmdb *db = check(L);
    struct tg_ip ip;
    uint32_t number;
    if (!check_ip(L, &ip) || !tg_mmdb_system(db, &ip, &number))
        return 0;
    lua_pushnumber(L, number);
    return 1;
}

/** database:close(); may be repeated */
static int l_close(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, MMDB_MT);
    tg_mmdb_put(b->db);
    b->db = NULL;
    return 0;
}

static const luaL_Reg methods[] = {
    { "refresh", l_refresh }, { "country", l_country }, { "asn", l_asn },
    { "close", l_close },     { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "open", l_open },
    { NULL, NULL },
};

int luaopen_tidegate_native_mmdb(lua_State *L)
{
    luaL_newmetatable(L, MMDB_MT);
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
