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

static int push(lua_State *L, const uint8_t *out, size_t len)
{
    if (out == NULL)
        return 0;
    lua_pushlstring(L, (const char *)out, len);
    return 1;
}

static int done(lua_State *co, struct tg_work *w)
{
    struct job *job = (struct job *)w;
    return push(co, job->out, job->out_len);
}

/** gzip(text) → compressed | nil.  Waits, if the text is long: another thread does it. */
static int l_gzip(lua_State *L)
{
    size_t len, out_len = 0;
    const char *text = luaL_checklstring(L, 1, &len);
    if (len < SHORT) {
        uint8_t *out = tg_gzip(text, len, &out_len);
        int count = push(L, out, out_len);
        free(out);
        return count;
    }
    tg_work_check(L);
    struct job *job = calloc(1, sizeof(*job));
    char *copy = malloc(len);
    if (job == NULL || copy == NULL) {
        free(job);
        free(copy);
        return luaL_error(L, "out of memory");
    }
    job->text = memcpy(copy, text, len);
    job->len = len;
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
