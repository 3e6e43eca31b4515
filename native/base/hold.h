#pragma once

/** @file
 * Counts of open things: whoever holds on to a counter raised it by one, and lowers it again at its
 * end, wherever that comes.
 */

#include "base/shared.h"

struct tg_hold;

#define TG_HOLD_MOST 9007199254740992.0 /**< 2^53: as good as no limit */

/** Raise the counter, of which a reference is kept in the list, unless it has reached `limit`.
 * @return whether it was raised */
bool tg_hold_take(struct tg_hold **list, struct tg_counter *counter, int64_t limit);
/** Lower all counters of the list, which is empty afterwards. */
void tg_hold_release(struct tg_hold **list);
