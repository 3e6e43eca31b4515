#pragma once

/** @file
 * A keyed hash for tables whose keys come from strangers: SipHash-1-3.
 */

#include <stddef.h>
#include <stdint.h>

struct tg_hash_key {
    uint64_t k0, k1;
};

/** Fill with random bytes. */
void tg_hash_key_make(struct tg_hash_key *key);

uint64_t tg_hash(const struct tg_hash_key *key, const void *data, size_t len);
