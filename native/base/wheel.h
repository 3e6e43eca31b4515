#pragma once

/** @file
 * A hierarchical timer wheel: starting and stopping are a few instructions,
 * however many timers run.  Coarse: a timer runs out up to TG_TICK_MS late,
 * never early.  The clock is a parameter.
 */

#include <stdint.h>

#define TG_TICK_MS 4u
#define TG_WHEEL_LEVELS 4
#define TG_WHEEL_SLOTS 64u

/** Embedded in its owner's struct; all zero: not running. */
struct tg_timer {
    struct tg_timer *next, **link;
    uint64_t at; /**< tick at which it runs out */
    void (*cb)(void *arg);
    void *arg;
};

struct tg_wheel {
    uint64_t tick; /**< ticks passed */
    uint64_t used[TG_WHEEL_LEVELS]; /**< bit per slot that is not empty */
    struct tg_timer *slots[TG_WHEEL_LEVELS][TG_WHEEL_SLOTS];
};

void tg_wheel_open(struct tg_wheel *w, uint64_t now_ms);

/** Run out at `at_ms`; in the past means at the next tick. */
void tg_wheel_start(struct tg_wheel *w, struct tg_timer *t, uint64_t at_ms);
void tg_wheel_stop(struct tg_wheel *w, struct tg_timer *t);

/** Call all that have run out by `now_ms`.  Callbacks may start and stop timers. */
void tg_wheel_run(struct tg_wheel *w, uint64_t now_ms);

/** @return ms from `now_ms` until the wheel must be run again, -1 for never;
 * may be too early (a level to be dealt out), never too late */
int tg_wheel_timeout(const struct tg_wheel *w, uint64_t now_ms);

static inline int tg_timer_running(const struct tg_timer *t)
{
    return t->link != 0;
}
