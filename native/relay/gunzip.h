#pragma once

/** @file
 * Unpacks a gzip body (RFC 1952) piece by piece: input is kept until there is
 * room for what it unpacks to, so a bomb costs no memory.
 */

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct tg_gunzip;

/** @return NULL: out of memory */
struct tg_gunzip *tg_gunzip_open(struct tg_pool *pool);
/** NULL is allowed. */
void tg_gunzip_close(struct tg_gunzip *z);

/** Give it input, copied; only when it is hungry.  `last`: no more will come.
 * @return 0 or TG_BUSY with `err` */
int tg_gunzip_feed(struct tg_gunzip *z, const void *data, size_t len, bool last,
                   struct tg_error *err);

/** @return whether all input has been unpacked and more may come */
bool tg_gunzip_hungry(const struct tg_gunzip *z);

/** Unpack into `out`.
 * @return bytes (> 0), 0 at the proper end, TG_AGAIN: more input is needed, or TG_PROTOCOL with
 * `err` (damaged, or cut off) */
ssize_t tg_gunzip_read(struct tg_gunzip *z, void *out, size_t size, struct tg_error *err);
