#pragma once

/** @file
 * What must hold of every decoder, whatever comes in.
 */

#include "codec/codec.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** A decoder, its result kept where the target wants it. */
typedef ssize_t (*fuzz_decode)(const uint8_t *in, size_t len, struct tg_error *err);

#define FUZZ_CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/** Decode a prefix from memory of exactly that size. */
static inline ssize_t fuzz_run(fuzz_decode decode, const uint8_t *data, size_t len)
{
    struct tg_error err = { .code = TG_OK };
    uint8_t *exact = malloc(len > 0 ? len : 1);
    memcpy(exact, data, len);
    ssize_t n = decode(exact, len, &err);
    free(exact);
    FUZZ_CHECK(n <= (ssize_t)len);
    FUZZ_CHECK(n >= 0 || n == TG_AGAIN || n == TG_PROTOCOL || n == TG_LIMIT);
    if (n < 0 && n != TG_AGAIN)
        FUZZ_CHECK((ssize_t)err.code == n && err.layer != NULL && err.op != NULL &&
                   err.detail != NULL);
    return n;
}

/** More input never changes a verdict: prefixes want more up to some length, from
 * which on all answer the same; a message is complete at its own length, not before. */
static inline ssize_t fuzz_decoder(fuzz_decode decode, const uint8_t *data, size_t size)
{
    ssize_t n = fuzz_run(decode, data, size);
    size_t step = size > 64 ? size / 32 : 1;
    bool decided = false;
    for (size_t cut = 0; cut < size; cut += step) {
        ssize_t part = fuzz_run(decode, data, cut);
        FUZZ_CHECK(part == n || (part == TG_AGAIN && !decided));
        decided = part != TG_AGAIN;
    }
    if (n > 0) {
        FUZZ_CHECK(fuzz_run(decode, data, (size_t)n) == n);
        FUZZ_CHECK(fuzz_run(decode, data, (size_t)n - 1) == TG_AGAIN);
    }
    return n;
}
