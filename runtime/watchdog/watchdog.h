#pragma once

/** @file
 * Finds workers that Lua keeps busy for too long, and interrupts them.
 *
 * The control thread asks now and then (tg_watchdog_check()).  A worker whose turn has lasted
 * beyond a limit gets a signal; its handler plants a hook, and the hook, which runs between two
 * Lua instructions of whatever is running, reports a traceback.  Beyond the second limit it also
 * raises an error, if a function of a script that was fenced in (tidegate.script.guard) is on the
 * stack: the fence catches it.
 *
 * Compiled code never calls hooks; scripts are therefore left to the interpreter.
 */

#include "vm/vm.h"

#include <pthread.h>

/** Let the calling thread be interrupted; `vm` is what it runs. */
void tg_watchdog_join(struct tg_vm *vm);

/** Leave the calling thread's VM alone until told otherwise; its turn counts from there.  For what has a limit of its
 * own, and does not wait meanwhile. */
void tg_watchdog_spare(struct tg_vm *vm, bool on);

/** Look at a VM that another thread runs.
 * @param report_ms, stop_ms how long a turn may last before it is reported and, 0: never, stopped */
void tg_watchdog_check(struct tg_vm *vm, pthread_t thread, unsigned report_ms, unsigned stop_ms);
