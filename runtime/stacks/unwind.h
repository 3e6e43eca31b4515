#pragma once

/** @file
 * The stack of an interrupted thread, by the unwinding tables of the code that is loaded.
 *
 * Fit for signal handlers: it takes no lock and no memory.  libgcc's does take a lock once LuaJIT has
 * registered its machine code, and gives the whole process up when it meets some.
 * The tables: DWARF 5, 6.4; LSB 5.0, "Exception Frames".
 */

#include <stdint.h>

/** @param context of a signal handler (ucontext_t)
 * @param end where the thread's stack ends, above
 * @param frames takes addresses, innermost first; all but the first are return addresses
 * @return how many; they end where code has no tables, as compiled Lua */
int tg_unwind(const void *context, uintptr_t end, void **frames, int max);
