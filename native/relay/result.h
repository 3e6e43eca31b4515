#pragma once

/** @file
 * What becomes of a relay, of streams or of datagrams.
 */

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct tg_relay_result {
    uint64_t up, down;     /**< bytes from a to b, from b to a */
    uint64_t dropped;      /**< datagrams lost to limits */
    uint64_t duration;     /**< ms */
    struct tg_error error; /**< code TG_OK: an end in order */
    bool from_b;           /**< the error arose on side b */
};

/** Called once, from the reactor, when both sides are closed. */
typedef void (*tg_relay_done)(void *arg, const struct tg_relay_result *result);
