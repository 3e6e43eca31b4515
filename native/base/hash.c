#include "base/hash.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

void tg_hash_key_make(struct tg_hash_key *key)
{
    if (getrandom(key, sizeof(*key), GRND_NONBLOCK) == (ssize_t)sizeof(*key))
        return;
    /* early boot: the address space layout and the clock are what there is */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    key->k0 = (uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u;
    key->k1 = (uint64_t)t.tv_nsec * 0xbf58476d1ce4e5b9u ^ (uint64_t)t.tv_sec;
}

static inline uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void round_of(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t tg_hash(const struct tg_hash_key *key, const void *data, size_t len)
{
    const uint8_t *in = data;
    uint64_t v[4] = { key->k0 ^ 0x736f6d6570736575u, key->k1 ^ 0x646f72616e646f6du,
                      key->k0 ^ 0x6c7967656e657261u, key->k1 ^ 0x7465646279746573u };
    uint64_t word;
    size_t left = len;
    for (; left >= 8; left -= 8, in += 8) {
        memcpy(&word, in, 8);
        v[3] ^= word;
        round_of(v);
        v[0] ^= word;
    }
    word = 0;
    if (left > 0)
        memcpy(&word, in, left);
    word |= (uint64_t)len << 56;
    v[3] ^= word;
    round_of(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        round_of(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
