#pragma once

/** @file
 * What Lua holds of a meter.
 */

#include "stream/meter.h"

#include <lua.h>

/** The meter in the box at `index`; raises when there is none, or when it was closed. */
struct tg_meter *tg_meter_check(lua_State *L, int index);

/** A meter of the fields up, down (counters), up_limit and down_limit (buckets) of the table at
 * `index`, or of its field `meter`.  @return it, held for the caller; NULL: none of these */
struct tg_meter *tg_meter_of_options(lua_State *L, int index);
