#pragma once

/** @file
 * Readiness of descriptors, deferred calls and timers for one thread.
 *
 * The reactor owns one edge-triggered epoll set; libuv's loop lives inside it
 * as a guest (runtime/vm/loop.c).  Watches present a level-triggered face: what is
 * wanted and ready is reported once per turn until somebody finds it blocked.
 *
 * Everything here belongs to one thread and may be used from no other.
 * Callbacks come from tg_reactor_turn() only, never from inside another call.
 */

#include "base/buf.h"
#include "base/error.h"
#include "base/wheel.h"

#include <stdbool.h>
#include <stdint.h>

#define TG_READABLE 1u
#define TG_WRITABLE 2u
#define TG_HANGUP 4u /**< the peer will send no more, or the descriptor failed; never wanted, only reported */
#define TG_URGENT 8u /**< TCP urgent data came once: a short read does not mean empty; never reported */

struct tg_reactor;

/** Told what became ready.  May close the watch it belongs to. */
typedef void (*tg_ready_cb)(void *arg, unsigned events);

/** Does what a descriptor only needs once it has lived for a while; `what` was given to tg_watch_later(). */
typedef void (*tg_later_cb)(int fd, uint32_t what);

#define TG_LATER_MS 5000 /**< the least age for that; the most is twice as much */
#define TG_LATER_MAX 0x7fffffffu

/** Interest in one descriptor.  Embedded in its owner's struct. */
struct tg_watch {
    struct tg_reactor *reactor; /**< NULL: closed */
    tg_ready_cb cb;
    void *arg;
    struct tg_watch *next, **link; /**< list of watches to be reported */
    int fd;
    uint8_t want;  /**< TG_READABLE | TG_WRITABLE asked for */
    uint8_t ready; /**< what the kernel said and nobody found blocked since */
    bool deaf;     /**< the kernel was not asked to tell of TG_WRITABLE yet */
};

/** A call to be made later in this turn, or at the start of the next one. */
struct tg_defer {
    void (*cb)(void *arg);
    void *arg;
    struct tg_defer *next, **link; /**< link == NULL: not queued */
};

struct tg_reactor {
    int epoll;
    struct tg_pool pool;   /**< buffers of this thread */
    struct tg_wheel wheel; /**< timers of this thread */
    uint64_t now;          /**< ms on CLOCK_MONOTONIC, taken once per turn */
    _Atomic uint64_t awake_since; /**< `now` of this turn; 0: waiting.  Other threads may look */
    struct tg_slot *slots; /**< by descriptor: the watch, if it is still open */
    unsigned slot_count;
    struct tg_watch *reports; /**< wanted and ready, to be called next turn */
    struct tg_defer *defers, **defers_tail;
    struct tg_timer later; /**< runs while a descriptor waits to be old enough */
    tg_later_cb later_cb;
    bool unasked; /**< the last turn did without epoll_wait() */
    void *packets; /**< malloc()ed by packet/udp.c: what its receive calls share */
    void *tasks; /**< of bind/task.c */
    void *owner; /**< of the runtime: the worker */
};

/** @return 0 or a negative code with `err` */
int tg_reactor_open(struct tg_reactor *r, struct tg_error *err);
/** Watches that are left are forgotten, not closed. */
void tg_reactor_close(struct tg_reactor *r);
/** Give up what a crowd of descriptors and buffers made necessary.  Not within a watch's
 * callback: events of closed descriptors may still be on their way to it. */
void tg_reactor_trim(struct tg_reactor *r);

/** One turn: wait at most `timeout` ms (-1: until something happens), then call
 * who is ready, who was deferred and whose timer ran out. */
void tg_reactor_turn(struct tg_reactor *r, int timeout);

/** ms to the next timer, 0 when work waits already, -1 for none */
int tg_reactor_timeout(struct tg_reactor *r);

/** Watch `fd`, with nothing wanted.  `ready`: what is taken for ready until
 * proven blocked (fresh sockets: TG_WRITABLE; connecting ones: 0).  The kernel is asked to
 * tell of writing once it was blocked: what is writable needs no turn to hear it.
 * @return 0 or a negative code with `err` */
int tg_watch_open(struct tg_reactor *r, struct tg_watch *w, int fd, unsigned ready, tg_ready_cb cb,
                  void *arg, struct tg_error *err);

/** Let the kernel report reading as long as it is possible, not only its beginning;
 * for descriptors whose owner does not read until EAGAIN. */
void tg_watch_level(struct tg_watch *w);

/** The same for who never waits for TG_WRITABLE: a datagram socket becomes
 * writable again with every datagram that leaves, and none of it is worth a turn. */
int tg_watch_open_input(struct tg_reactor *r, struct tg_watch *w, int fd, unsigned ready,
                        tg_ready_cb cb, void *arg, struct tg_error *err);

/** From now on report `events`, as long as they are ready, once per turn. */
void tg_watch_want(struct tg_watch *w, unsigned events);

/** Ask the kernel to tell of writing too.  See tg_watch_blocked(). */
void tg_watch_listen(struct tg_watch *w);

/** The descriptor answered EAGAIN (or moved less than asked): not ready any
 * more until the kernel says so. */
static inline void tg_watch_blocked(struct tg_watch *w, unsigned events)
{
    w->ready &= (uint8_t)~events;
    if (w->deaf && (events & TG_WRITABLE))
        tg_watch_listen(w);
}

/** Call `cb` with the descriptor when it is TG_LATER_MS old, unless it is closed before, as most are.  There is one
 * such function in a reactor.  @param what 1..TG_LATER_MAX */
void tg_watch_later(struct tg_watch *w, uint32_t what, tg_later_cb cb);

/** Stop watching; the callback stays silent from here on.  The caller closes
 * the descriptor next; with `keep` it stays open and is taken out of epoll. */
void tg_watch_close(struct tg_watch *w, bool keep);

/** Queue a call; queued twice is called once. */
void tg_defer(struct tg_reactor *r, struct tg_defer *d);
void tg_defer_cancel(struct tg_reactor *r, struct tg_defer *d);

/** Start `t` to run out `ms` from now (again, if it was running). */
void tg_timer_start(struct tg_reactor *r, struct tg_timer *t, uint64_t ms);
/** No effect when it is not running. */
void tg_timer_stop(struct tg_reactor *r, struct tg_timer *t);

/** ms on CLOCK_MONOTONIC, asked now */
uint64_t tg_clock_ms(void);
