#pragma once

/** @file
 * Work that would hold a loop up, done in libuv's thread pool while the task that asked for it
 * waits.
 */

#include "bind/task.h"

#include <lua.h>
#include <uv.h>

/** First member of what a piece of work needs; allocated with malloc(). */
struct tg_work {
    uv_work_t request;
    struct tg_waiter waiter;
    void (*run)(struct tg_work *w); /**< in another thread; must not touch Lua */
    /** In the task's own thread: push what its call returns.  @return how many values */
    int (*done)(lua_State *co, struct tg_work *w);
    void (*drop)(struct tg_work *w); /**< free it; also when it could not be begun */
};

/** Begin, and park the running task: `return tg_work_park(L, &job->work)`.  The work is the
 * module's from here on, and may not point to anything of Lua's.
 * Check first that L may wait: tg_work_check(). */
int tg_work_park(lua_State *L, struct tg_work *w);
/** Raise unless L is a task. */
void tg_work_check(lua_State *L);
