#pragma once

/** @file
 * What the bindings of codecs share.
 */

#include "bind/task.h"
#include "codec/address.h"

#include <lauxlib.h>

/** Push the host as text. */
void tg_push_host(lua_State *L, const struct tg_target *t);

/** Read host (string) at `index` and port (number) at `index` + 1; nil is none.
 * Raises when they are of another type or the port is none; false: the host is
 * too long, and nil and an error were pushed. */
bool tg_check_target(lua_State *L, int index, struct tg_target *t);

/** Push `n` bytes of `out`, or, when `n` is negative, nil and an error.
 * @return how many were pushed */
int tg_push_encoded(lua_State *L, const char *layer, const uint8_t *out, ssize_t n);

/** Put a decoder into the table on top of the stack. */
void tg_set_decoder(lua_State *L, const struct tg_decoder *d, const char *name);
