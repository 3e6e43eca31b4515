#include "bind/work.h"
#include "codec/gzip.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

int luaopen_tidegate_native_gzip(lua_State *L);

#define SHORT 16384u /* what is done at once: handing it over would take as long */

struct job {
    struct tg_work work;
    char *text;
    size_t len;
    uint8_t *out;
    size_t out_len;
};

static void drop(struct tg_work *w)
{
    struct job *job = (struct job *)w;
    free(job->text);
    free(job->out);
    free(job);
}

static void run(struct tg_work *w)
{
    struct job *job = (struct job *)w;
    job->out = tg_gzip(job->text, job->len, &job->out_len);
}

static int done(lua_State *co, struct tg_work *w)
{
    struct job *job = (struct job *)w;
    if (job->out == NULL)
        return 0;
    lua_pushlstring(co, (const char *)job->out, job->out_len);
    return 1;
}

/* Length of the texts of the list at 1. */
static size_t length(lua_State *L)
{
    size_t sum = 0;
    for (int i = 1; i <= (int)lua_objlen(L, 1); i++) {
        lua_rawgeti(L, 1, i);
        sum += lua_objlen(L, -1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "texts are needed");
        lua_pop(L, 1);
    }
    return sum;
}

static void join(lua_State *L, char *out)
{
    for (int i = 1; i <= (int)lua_objlen(L, 1); i++) {
        size_t len;
        lua_rawgeti(L, 1, i);
        const char *text = lua_tolstring(L, -1, &len);
        memcpy(out, text, len);
        out += len;
        lua_pop(L, 1);
    }
}

/** gzip(list of texts) → compressed | nil.  Waits, if they are long: another thread does it. */
static int l_gzip(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t len = length(L);
    if (len >= SHORT)
        tg_work_check(L);
    struct job *job = calloc(1, sizeof(*job));
    char *text = malloc(len + 1);
    if (job == NULL || text == NULL) {
        free(job);
        free(text);
        return luaL_error(L, "out of memory");
    }
    join(L, text);
    job->text = text;
    job->len = len;
    if (len < SHORT) {
        run(&job->work);
        int count = done(L, &job->work);
        drop(&job->work);
        return count;
    }
    job->work.run = run;
    job->work.done = done;
    job->work.drop = drop;
    return tg_work_park(L, &job->work);
}

/* The module is the function. */
int luaopen_tidegate_native_gzip(lua_State *L)
{
    lua_pushcfunction(L, l_gzip);
    return 1;
}
