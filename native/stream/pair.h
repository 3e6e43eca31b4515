#pragma once

/** @file
 * Two streams in memory, each the other's peer: for tests and for joining parts
 * of one thread.  Half-close works; there is no descriptor.
 */

#include "stream/stream.h"

/** Make a pair; each direction holds at most `capacity` bytes. */
void tg_stream_pair(struct tg_reactor *r, size_t capacity, struct tg_stream **a,
                    struct tg_stream **b);
