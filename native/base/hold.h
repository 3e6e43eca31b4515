#pragma once

/** @file
 * Counts of open things: whoever holds on to a counter raised it by one, and lowers it again at its
 * end, wherever that comes.
 */

#include "base/shared.h"

struct tg_hold;

/** Raise the counter, of which a reference is kept in the list. */
void tg_hold_add(struct tg_hold **list, struct tg_counter *counter);
/** Lower all counters of the list, which is empty afterwards. */
void tg_hold_release(struct tg_hold **list);
