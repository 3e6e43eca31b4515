#pragma once

/** @file
 * Where a thread's C spends its time: its stack, looked at every so many milliseconds that it has been on
 * a CPU, and counted.
 */

#include <stdbool.h>
#include <stdint.h>

enum { TG_STACK_DEPTH = 64, TG_STACKS_MAX = 4096 };

/** One stack, innermost frame first. */
struct tg_stack {
    uint32_t samples; /**< 0: unused */
    uint32_t depth;
    void *frames[TG_STACK_DEPTH];
};

/** What was seen of one thread. */
struct tg_stacks {
    uint32_t lost; /**< samples of stacks for which there was no room */
    struct tg_stack seen[TG_STACKS_MAX]; /**< a hash table: unused ones lie between */
};

/** Begin to look at the calling thread.
 * @param interval_ms of CPU time
 * @return whether that was possible: not when it is being looked at already (errno EBUSY) */
bool tg_stacks_start(unsigned interval_ms);

/** End what the calling thread began.
 * @return to be freed by the caller; NULL when it had not begun */
struct tg_stacks *tg_stacks_stop(void);

struct tg_symbols;

/** Names of addresses: from dynamic symbols and, where a file has them, from all others. */
struct tg_symbols *tg_symbols_new(void);

/** @param address in code
 * @return the function, or else the file in parentheses, or "(compiled Lua)"; lives as long as `s` does */
const char *tg_symbols_name(struct tg_symbols *s, const void *address);

void tg_symbols_free(struct tg_symbols *s);
