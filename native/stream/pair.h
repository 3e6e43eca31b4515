#pragma once

/** @file
 * Two streams in memory, each the other's peer: for tests and for joining parts
 * of one thread.  Half-close works; there is no descriptor.
 */

#include "stream/stream.h"

/** Make a pair; each direction holds at most `capacity` bytes. */
void tg_stream_pair(struct tg_reactor *r, size_t capacity, struct tg_stream **a,
                    struct tg_stream **b);

/** @return whether the other end is closed: not only finished, nobody reads there any more */
bool tg_stream_pair_is_left(const struct tg_stream *s);
