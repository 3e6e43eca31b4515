#pragma once

/** @file
 * Memory for large tables: from a megabyte on it comes from the system and goes back there when it
 * is freed, where malloc() would keep it for later.  The caller remembers sizes.
 */

#include <stddef.h>

/** @return zeroed memory, NULL: there is none */
void *tg_big_alloc(size_t size);
/** @param p NULL when old is 0.  What is added is zeroed only in memory that tg_big_alloc() gave.
 * @return NULL: there is none, and `p` stays as it is */
void *tg_big_resize(void *p, size_t old, size_t size);
/** NULL is allowed */
void tg_big_free(void *p, size_t size);
