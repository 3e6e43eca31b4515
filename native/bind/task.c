#include "bind/task.h"

#include "base/mem.h"

#include <lauxlib.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Finished coroutines kept for reuse: making one costs more than running most handlers. */
#define POOL_MAX 256

#define DEADLINE_MAX 9007199254740992.0 /* 2^53 ms: never */

/* A task to be resumed with the top `args` values of its stack. */
struct turn {
    lua_State *co;
    int args;
};

struct tg_tasks {
    lua_State *main;
    struct tg_reactor *reactor;
    lua_State *current; /* the task that runs now; NULL: none */
    struct turn *queue; /* ring of `size` places, a power of two */
    unsigned size, first, queued;
    lua_State *pool[POOL_MAX];
    unsigned pooled, count;
    struct tg_cancel *cancelable; /* few, and mostly none */
    tg_uncaught_cb uncaught;
};

static const char tasks_key = 0;  /* registry: light pointer to struct tg_tasks */
static const char anchor_key = 0; /* registry: table co -> true */

static struct tg_tasks *tasks_of(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&tasks_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct tg_tasks *t = lua_touserdata(L, -1);
    lua_pop(L, 1);
    assert(t != NULL);
    return t;
}

void tg_tasks_open(lua_State *L, struct tg_reactor *r)
{
    struct tg_tasks *t = tg_zalloc(sizeof(*t));
    t->main = L;
    t->reactor = r;
    t->size = 64;
    t->queue = tg_zalloc(t->size * sizeof(*t->queue));
    r->tasks = t;
    lua_pushlightuserdata(L, (void *)&tasks_key);
    lua_pushlightuserdata(L, t);
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, (void *)&anchor_key);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void tg_tasks_close(struct tg_reactor *r)
{
    struct tg_tasks *t = r->tasks;
    free(t->queue);
    r->tasks = NULL;
    free(t);
}

void tg_tasks_on_uncaught(lua_State *L, tg_uncaught_cb cb)
{
    tasks_of(L)->uncaught = cb;
}

struct tg_reactor *tg_reactor_of(lua_State *L)
{
    return tasks_of(L)->reactor;
}

unsigned tg_task_count(lua_State *L)
{
    return tasks_of(L)->count;
}

/* Keep `co` from the collector (on = true) or give it up. */
static void anchor(struct tg_tasks *t, lua_State *co, bool on)
{
    lua_State *L = t->main;
    lua_pushlightuserdata(L, (void *)&anchor_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_pushthread(co);
    lua_xmove(co, L, 1);
    if (on)
        lua_pushboolean(L, 1);
    else
        lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static lua_State *new_task(struct tg_tasks *t)
{
    t->count++;
    if (t->pooled > 0)
        return t->pool[--t->pooled];
    lua_State *co = lua_newthread(t->main);
    anchor(t, co, true);
    lua_pop(t->main, 1);
    return co;
}

static void end_task(struct tg_tasks *t, lua_State *co, bool reusable)
{
    t->count--;
    if (reusable && t->pooled < POOL_MAX) {
        lua_settop(co, 0);
        t->pool[t->pooled++] = co;
        return;
    }
    anchor(t, co, false);
}

/* The one place that calls lua_resume. */
static void resume(struct tg_tasks *t, lua_State *co, int args)
{
    lua_State *before = t->current;
    t->current = co;
    int status = lua_resume(co, args);
    t->current = before;
    if (status == LUA_YIELD)
        return;
    if (status != 0) {
        const char *message = lua_tostring(co, -1);
        luaL_traceback(t->main, co, message != NULL ? message : "(error without a message)", 0);
        if (t->uncaught != NULL)
            t->uncaught(t->main, lua_tostring(t->main, -1));
        lua_pop(t->main, 1);
    }
    end_task(t, co, status == 0);
}

void tg_task_start(lua_State *L, int args)
{
    struct tg_tasks *t = tasks_of(L);
    lua_State *co = new_task(t);
    lua_xmove(L, co, args + 1);
    resume(t, co, args);
}

static void enqueue(struct tg_tasks *t, lua_State *co, int args)
{
    if (t->queued == t->size) {
        struct turn *grown = tg_zalloc(2 * t->size * sizeof(*grown));
        for (unsigned i = 0; i < t->queued; i++)
            grown[i] = t->queue[(t->first + i) & (t->size - 1)];
        free(t->queue);
        t->queue = grown;
        t->first = 0;
        t->size *= 2;
    }
    t->queue[(t->first + t->queued++) & (t->size - 1)] = (struct turn){ co, args };
}

void tg_task_queue(lua_State *L, int args)
{
    struct tg_tasks *t = tasks_of(L);
    lua_State *co = new_task(t);
    lua_xmove(L, co, args + 1);
    enqueue(t, co, args);
}

bool tg_is_task(lua_State *L)
{
    return tasks_of(L)->current == L && lua_isyieldable(L);
}

void tg_check_parkable(lua_State *L, const struct tg_waiter *w)
{
    if (w->co != NULL)
        luaL_error(L, "another task waits here already");
    if (!tg_is_task(L))
        luaL_error(L, "only a task may wait: not in a coroutine of your own, nor in a callback, "
                      "nor below a function like string.gsub, table.sort or require");
}

static void on_deadline(void *arg)
{
    struct tg_waiter *w = arg;
    if (w->on_timeout != NULL) {
        w->on_timeout(w);
        return;
    }
    struct tg_error err;
    tg_error_put(&err, "task", "wait", TG_TIMEOUT, "timed out");
    tg_wake(w, tg_push_failure(w->co, &err));
}

uint64_t tg_opt_deadline(lua_State *L, int index)
{
    lua_Number ms = luaL_optnumber(L, index, 0);
    if (!(ms > 0)) /* NaN too */
        return 0;
    return ms < 1 ? 1 : ms < DEADLINE_MAX ? (uint64_t)ms : (uint64_t)DEADLINE_MAX;
}

void tg_cancel_open(lua_State *L, struct tg_cancel *c)
{
    struct tg_tasks *t = tasks_of(L);
    *c = (struct tg_cancel){ .next = t->cancelable, .co = L };
    t->cancelable = c;
}

void tg_cancel_close(lua_State *L, struct tg_cancel *c)
{
    struct tg_cancel **link = &tasks_of(L)->cancelable;
    if (c->co == NULL)
        return;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    c->co = NULL;
    c->waiter = NULL;
}

void tg_cancel_wait(struct tg_cancel *c)
{
    if (c->waiter != NULL)
        on_deadline(c->waiter);
}

/* A task waits in `w`, or (NULL) no longer. */
static void note_waiter(struct tg_tasks *t, lua_State *co, struct tg_waiter *w)
{
    for (struct tg_cancel *c = t->cancelable; c != NULL; c = c->next)
        if (c->co == co)
            c->waiter = w;
}

int tg_park(lua_State *L, struct tg_waiter *w, uint64_t deadline)
{
    struct tg_tasks *t = tasks_of(L);
    w->co = L;
    w->tasks = t;
    note_waiter(t, L, w);
    if (deadline != 0) {
        struct tg_reactor *r = t->reactor;
        w->timer.cb = on_deadline;
        w->timer.arg = w;
        tg_wheel_start(&r->wheel, &w->timer, deadline);
    }
    /* Yielding all of the stack keeps it in place: arguments stay alive meanwhile. */
    return lua_yield(L, lua_gettop(L));
}

void tg_wake(struct tg_waiter *w, int count)
{
    if (w->co == NULL)
        return;
    struct tg_tasks *t = w->tasks;
    tg_wheel_stop(&t->reactor->wheel, &w->timer);
    lua_State *co = w->co;
    w->co = NULL;
    note_waiter(t, co, NULL);
    enqueue(t, co, count);
}

/* Not when a script got hold of the coroutine and resumed it itself. */
static bool is_resumable(struct turn turn)
{
    int status = lua_status(turn.co);
    return status == LUA_YIELD || (status == 0 && lua_gettop(turn.co) > turn.args);
}

bool tg_tasks_run(lua_State *L)
{
    struct tg_tasks *t = tasks_of(L);
    /* What is queued meanwhile waits for the next turn, so that I/O is not starved. */
    for (unsigned n = t->queued; n > 0; n--) {
        struct turn turn = t->queue[t->first];
        t->first = (t->first + 1) & (t->size - 1);
        t->queued--;
        if (is_resumable(turn))
            resume(t, turn.co, turn.args);
        else
            end_task(t, turn.co, false);
    }
    return t->queued > 0;
}

/* Built without calling Lua: `L` may be a task that is parked. */
static void push_error(lua_State *L, const char *code, const char *layer, const char *op,
                       const char *message)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, code);
    lua_setfield(L, -2, "code");
    if (layer != NULL) {
        lua_pushstring(L, layer);
        lua_setfield(L, -2, "layer");
    }
    if (op != NULL) {
        lua_pushstring(L, op);
        lua_setfield(L, -2, "op");
    }
    lua_pushstring(L, message);
    lua_setfield(L, -2, "message");
    luaL_getmetatable(L, "tidegate.failure");
    lua_setmetatable(L, -2);
}

int tg_push_failure(lua_State *L, const struct tg_error *err)
{
    const char *why = err->detail != NULL ? err->detail
                      : err->sys != 0     ? strerror(err->sys)
                                          : tg_code_word(err->code);
    lua_pushnil(L);
    push_error(L, tg_code_word(err->code), err->layer, err->op, why);
    return 2;
}

int tg_push_failure_text(lua_State *L, const char *code, const char *message)
{
    lua_pushnil(L);
    push_error(L, code, NULL, NULL, message);
    return 2;
}
