#include "crypto/blake3.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

#define BLOCK 64u

enum { CHUNK_START = 1, CHUNK_END = 2, ROOT = 8, DERIVE_CONTEXT = 32, DERIVE_MATERIAL = 64 };

static const uint32_t initial[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint8_t permutation[16] = { 2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8 };

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void mix(uint32_t *v, int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    v[a] = v[a] + v[b] + x;
    v[d] = rotate(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 12);
    v[a] = v[a] + v[b] + y;
    v[d] = rotate(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 7);
}

static void round_of(uint32_t *v, const uint32_t *m)
{
    mix(v, 0, 4, 8, 12, m[0], m[1]);
    mix(v, 1, 5, 9, 13, m[2], m[3]);
    mix(v, 2, 6, 10, 14, m[4], m[5]);
    mix(v, 3, 7, 11, 15, m[6], m[7]);
    mix(v, 0, 5, 10, 15, m[8], m[9]);
    mix(v, 1, 6, 11, 12, m[10], m[11]);
    mix(v, 2, 7, 8, 13, m[12], m[13]);
    mix(v, 3, 4, 9, 14, m[14], m[15]);
}

/* One block of chunk 0 into the chaining value. */
static void compress(uint32_t chain[8], const uint8_t *data, uint32_t len, uint32_t flags)
{
    uint8_t block[BLOCK] = { 0 };
    uint32_t m[16], next[16], v[16];
    if (len > 0)
        memcpy(block, data, len);
    for (int i = 0; i < 16; i++)
        m[i] = (uint32_t)block[4 * i] | (uint32_t)block[4 * i + 1] << 8 |
               (uint32_t)block[4 * i + 2] << 16 | (uint32_t)block[4 * i + 3] << 24;
    memcpy(v, chain, 32);
    memcpy(v + 8, initial, 16);
    v[12] = v[13] = 0;
    v[14] = len;
    v[15] = flags;
    for (int r = 0; r < 7; r++) {
        round_of(v, m);
        for (int i = 0; i < 16; i++)
            next[i] = m[permutation[i]];
        memcpy(m, next, sizeof(m));
    }
    for (int i = 0; i < 8; i++)
        chain[i] = v[i] ^ v[i + 8];
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(m, sizeof(m));
}

/* A whole input of at most one chunk, which therefore is the root.  `chain` is the key in, the result out. */
static void run(uint32_t chain[8], const uint8_t *data, size_t len, uint32_t flags)
{
    assert(len <= TG_BLAKE3_MAX);
    uint32_t start = CHUNK_START;
    while (len > BLOCK) {
        compress(chain, data, BLOCK, flags | start);
        data += BLOCK;
        len -= BLOCK;
        start = 0;
    }
    compress(chain, data, (uint32_t)len, flags | start | CHUNK_END | ROOT);
}

static void store(const uint32_t chain[8], uint8_t *out, size_t len)
{
    assert(len <= TG_BLAKE3_SIZE);
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(chain[i / 4] >> (8 * (i % 4)));
}

void tg_blake3(const void *data, size_t len, uint8_t *out, size_t out_len)
{
    uint32_t chain[8];
    memcpy(chain, initial, sizeof(chain));
    run(chain, data, len, 0);
    store(chain, out, out_len);
}

void tg_blake3_derive(const char *context, const void *material, size_t len, uint8_t *out,
                      size_t out_len)
{
    uint32_t chain[8];
    memcpy(chain, initial, sizeof(chain));
    run(chain, (const uint8_t *)context, strlen(context), DERIVE_CONTEXT);
    run(chain, material, len, DERIVE_MATERIAL);
    store(chain, out, out_len);
    OPENSSL_cleanse(chain, sizeof(chain));
}
