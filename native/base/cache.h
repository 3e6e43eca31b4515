#pragma once

/** @file
 * A cache that all threads share: byte strings by byte strings, bounded in
 * entries and bytes.  Expired entries stay until room is needed or they are
 * swept, so that they can be served stale.
 *
 * One of the shared objects (base/shared.h); a lock guards it, and values are
 * counted, so that nobody copies bytes while holding it.
 */

#include "base/shared.h"

struct tg_cache;

/** A value; constant, counted. */
struct tg_cache_value {
    _Atomic unsigned refs;
    size_t len;
    uint8_t bytes[];
};

/** max_entries, max_bytes (of values): 0: no bound.  lru: what was not used for longest goes first,
 * otherwise what was stored first.  What is too much now goes at once. */
void tg_cache_configure(struct tg_cache *c, size_t max_entries, size_t max_bytes, bool lru,
                        uint64_t now_ms);

/** Store a copy.  ttl_ms 0: never expires.  @return false: it is larger than all the cache may be */
bool tg_cache_set(struct tg_cache *c, const void *key, size_t key_len, const void *value,
                  size_t value_len, uint64_t ttl_ms, uint64_t now_ms);

/** @return the value, to be given to tg_cache_value_put(), or NULL; *fresh: it has not expired */
struct tg_cache_value *tg_cache_get(struct tg_cache *c, const void *key, size_t key_len,
                                    uint64_t now_ms, bool *fresh);
/** NULL is allowed */
void tg_cache_value_put(struct tg_cache_value *v);

/** @return whether it was there */
bool tg_cache_delete(struct tg_cache *c, const void *key, size_t key_len);
/** Drop what has expired.  @return how many entries went */
size_t tg_cache_sweep(struct tg_cache *c, uint64_t now_ms);
/** Entries, and the bytes of their values. */
void tg_cache_size(struct tg_cache *c, size_t *entries, size_t *bytes);
