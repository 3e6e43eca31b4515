#pragma once

/** @file
 * A regular file as a stream: read from where its descriptor stands, or written there.  The bytes
 * can be spliced.  Disks are waited for: a read that is not cached holds up its thread.
 */

#include "stream/stream.h"

/** Take over `fd`. */
struct tg_stream *tg_file_stream(struct tg_reactor *r, int fd);
