#pragma once

/** @file
 * A Lua VM with its reactor and libuv loop: one thread's world.  Open every VM on
 * the main thread (LuaJIT, luv and libuv initialise global state), then let each
 * thread run its own.
 */

#include "base/reactor.h"
#include "mailbox/mailbox.h"

#include <lua.h>
#include <stdatomic.h>
#include <uv.h>

struct tg_vm {
    struct tg_reactor reactor;
    uv_loop_t uv;
    lua_State *L;
    struct tg_watch uv_watch;
    uv_timer_t alive;   /**< keeps the loop from ever being empty */
    bool uv_ready;
    struct tg_mailbox mailbox;
    int id;             /**< 0: control; 1..n: workers */
    int exit_code;
    atomic_bool stop;
    atomic_bool stop_hook; /**< of the watchdog: what runs is to be stopped, not only reported */
    uint64_t reported;     /**< of the watchdog: the turn it has reported */
};

/** @return 0, or -1 after a line on stderr */
int tg_vm_open(struct tg_vm *vm, int id);

/** The same in a state that somebody else has made and will close; never tg_vm_close() it. */
int tg_vm_adopt(struct tg_vm *vm, lua_State *L);

/** Run the loop until `stop`. */
void tg_vm_run(struct tg_vm *vm);

/** Make it stop, from any thread. */
void tg_vm_stop(struct tg_vm *vm);

/** Everything that is still open is closed with it.
 * @param patience ms to wait for work of libuv's helper threads, such as the look-up of a name
 * @return false when such work goes on: it uses memory of the VM, which stays as it is, and the
 * process has to end by _exit(), which does not wait for it */
bool tg_vm_close(struct tg_vm *vm, int patience);

/** The VM a state belongs to. */
struct tg_vm *tg_vm_of(lua_State *L);

/** Start `require(module)[function](...)` as a task, with `args` values from the top of the stack.
 * @return 0, or -1 when the module cannot be loaded, with the message on top of the stack */
int tg_vm_call(struct tg_vm *vm, const char *module, const char *function, int args);
