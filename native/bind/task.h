#pragma once

/** @file
 * Coroutines as bindings see them.  A binding parks the task which called it;
 * a loop callback wakes it.  One loop, one lua_State, one thread: nothing here
 * may be used from another thread.
 *
 * A binding checks everything that can raise first, starts the operation
 * second and parks last, so that no Lua error leaves an operation in flight.
 */

#include "base/error.h"
#include "base/reactor.h"

#include <lua.h>
#include <stdint.h>

/** A place where at most one task waits.  All zero: nobody does. */
struct tg_waiter {
    lua_State *co;          /**< NULL: nobody waits */
    struct tg_timer timer;  /**< runs out at the deadline */
    void (*on_timeout)(struct tg_waiter *w); /**< NULL: answer nil, timeout error */
    struct tg_tasks *tasks; /**< of `co` */
};

/** Create the task system of a VM; once, before any other call here. */
void tg_tasks_open(lua_State *L, struct tg_reactor *r);
/** Free it; after lua_close(), whose finalizers still use it. */
void tg_tasks_close(struct tg_reactor *r);

struct tg_reactor *tg_reactor_of(lua_State *L);

/** Start a task: the function and `args` arguments on top of L's stack are
 * popped and run at once, up to the first wait.  Not from inside a task's C call
 * that still has work to do: use tg_task_queue() there. */
void tg_task_start(lua_State *L, int args);
/** The same, but it begins in the next run of the queue. */
void tg_task_queue(lua_State *L, int args);

/** @return how many tasks live (running, parked or queued) */
unsigned tg_task_count(lua_State *L);

/** @return true when L is a task and may be parked: not below a C function that calls back */
bool tg_is_task(lua_State *L);

/** Raise unless L is a task and nobody waits in `w`. */
void tg_check_parkable(lua_State *L, const struct tg_waiter *w);

/** A deadline as scripts give it: ms on the loop's clock at `index`; absent, 0, negative
 * and NaN mean none (0). */
uint64_t tg_opt_deadline(lua_State *L, int index);

/** Park the running task: `return tg_park(L, &x->reader, x->deadline);`.
 * The C function's stack stays as it is until the wake-up, and with it
 * everything that Lua passed in.
 * @param deadline ms on the loop's clock (tg_reactor.now), 0 for none; when it passes, the
 *        call returns nil and an error with the code "timeout" */
int tg_park(lua_State *L, struct tg_waiter *w, uint64_t deadline);

/** Make the waiter's call return the top `count` values of w->co's stack.
 * Never runs Lua: the task goes to the run queue, which the loop empties after
 * the callbacks that are running now.  No waiter, no effect. */
void tg_wake(struct tg_waiter *w, int count);

/** Makes one task cancelable: its waits can be ended from elsewhere, as if their deadline had passed. */
struct tg_cancel {
    struct tg_cancel *next;
    lua_State *co;            /**< NULL: closed */
    struct tg_waiter *waiter; /**< where it waits; NULL: it runs, or is about to */
};

/** The running task becomes cancelable, until tg_cancel_close(). */
void tg_cancel_open(lua_State *L, struct tg_cancel *c);
void tg_cancel_close(lua_State *L, struct tg_cancel *c);
/** End the wait it is in, if any. */
void tg_cancel_wait(struct tg_cancel *c);

/** Run the tasks that were woken or queued so far.  Of the runtime.
 * @return true when more have been queued meanwhile */
bool tg_tasks_run(lua_State *L);

/** Push nil and an error object (module tidegate.failure) made from `err`.  @return 2 */
int tg_push_failure(lua_State *L, const struct tg_error *err);
/** Push nil and an error object.  @return 2 */
int tg_push_failure_text(lua_State *L, const char *code, const char *message);

/** What is done with an error nobody caught in a task: `traceback` is a string. */
typedef void (*tg_uncaught_cb)(lua_State *L, const char *traceback);
void tg_tasks_on_uncaught(lua_State *L, tg_uncaught_cb cb);
