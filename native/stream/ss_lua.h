#pragma once

/** @file
 * What Lua holds of a key of Shadowsocks.
 */

#include "crypto/ss_key.h"

#include <lua.h>

/** The key at `index`; raises when there is none. */
struct tg_ss_key *tg_ss_key_check(lua_State *L, int index);
