#pragma once

/** @file
 * Memory for things of fixed, small size.  Running out of it aborts: a proxy
 * that cannot get a hundred bytes cannot serve.  Whatever a peer or a user
 * sizes is allocated with malloc() and checked.
 */

#include <stddef.h>

/** @return zeroed memory, never NULL; release with free() */
void *tg_zalloc(size_t size);

/** The struct of which `ptr` is the member `member`. */
#define tg_container(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define tg_countof(array) (sizeof(array) / sizeof((array)[0]))
