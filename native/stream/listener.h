#pragma once

/** @file
 * Accepting connections on a listening stream socket.
 *
 * When descriptors run out, accepting pauses for TG_ACCEPT_PAUSE_MS and is tried
 * again; nothing spins, and connections wait in the kernel's queue meanwhile.
 */

#include "base/addr.h"
#include "base/reactor.h"

#define TG_ACCEPT_BATCH 64      /**< connections taken per turn */
#define TG_ACCEPT_PAUSE_MS 100

struct tg_listener;

struct tg_listener_events {
    /** A connection from `peer`; `fd` is non-blocking and the callee's. */
    void (*accepted)(void *arg, int fd, const struct tg_addr *peer);
    /** Accepting failed and is paused (once per shortage), or goes on again (err NULL).
     * Must not close the listener; `accepted` may. */
    void (*shortage)(void *arg, const struct tg_error *err);
};

/** Accept on `fd`, which stays the caller's to close (after tg_listener_close()).
 * @return NULL: see `err` */
struct tg_listener *tg_listener_open(struct tg_reactor *r, int fd,
                                     const struct tg_listener_events *events, void *arg,
                                     struct tg_error *err);

/** Stop or go on accepting. */
void tg_listener_pause(struct tg_listener *l, bool paused);

/** Take what waits in the kernel's queue (`drain`), then stop watching and free. */
void tg_listener_close(struct tg_listener *l, bool drain);
