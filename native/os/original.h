#pragma once

/** @file
 * Where a redirected TCP connection was going before the packet filter sent it here.
 */

#include "base/error.h"

#include <sys/socket.h>

/** Ask netfilter (SO_ORIGINAL_DST, both families; IPv4 through a dual-stack socket too).
 * @return 0 with `out` and `len`, or a negative code with `err` */
int tg_original_destination(int fd, struct sockaddr_storage *out, socklen_t *len,
                            struct tg_error *err);
