#pragma once

/** @file
 * Pipes for splice(), kept per thread and lent while bytes are in them.
 */

#include "base/error.h"

#include <stddef.h>

#define TG_PIPE_SIZE (1u << 20) /**< asked for; the kernel may give less */
#define TG_PIPE_KEEP 8          /**< idle pipes kept */

struct tg_pipe {
    struct tg_pipe *next;
    int in, out;     /**< write end, read end */
    size_t held;     /**< bytes in it */
};

struct tg_pipes {
    struct tg_pipe *free;
    unsigned count;
};

/** @return an empty pipe; NULL: none to be had (descriptors ran out) */
struct tg_pipe *tg_pipe_get(struct tg_pipes *p);
/** Give back; one that still holds bytes is closed.  NULL is allowed. */
void tg_pipe_put(struct tg_pipes *p, struct tg_pipe *pipe);
void tg_pipes_close(struct tg_pipes *p);
