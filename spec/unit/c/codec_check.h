#pragma once

/** @file
 * What the tests of codecs share: byte vectors, and input cut at every offset in
 * buffers of exactly that size, so that a sanitizer sees every byte read beyond.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/codec.h"

/** Any decoder, its result thrown away or kept in a global of the test. */
typedef ssize_t (*check_decode)(const uint8_t *in, size_t len, struct tg_error *err);

/** Read "05 01 00"; spaces are ignored.  @return the number of bytes */
static inline size_t check_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (; *hex != 0; hex++) {
        if (*hex == ' ')
            continue;
        char pair[3] = { hex[0], hex[1], 0 };
        out[n++] = (uint8_t)strtoul(pair, NULL, 16);
        hex++;
    }
    return n;
}

static inline ssize_t check_run(check_decode decode, const void *in, size_t len,
                                struct tg_error *err)
{
    uint8_t *exact = malloc(len > 0 ? len : 1);
    memcpy(exact, in, len);
    *err = (struct tg_error){ .code = TG_OK };
    ssize_t n = decode(exact, len, err);
    free(exact);
    assert_true(n >= 0 || n == TG_AGAIN || (n == (ssize_t)err->code && err->layer != NULL));
    assert_true(n <= (ssize_t)len);
    return n;
}

/** The message is taken whole, with bytes behind it as well, and every proper
 * prefix of it wants more. */
static inline void check_message(check_decode decode, const void *message, size_t len)
{
    struct tg_error err;
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(check_run(decode, message, cut, &err), TG_AGAIN);
    assert_int_equal(check_run(decode, message, len, &err), len);
    uint8_t *more = malloc(len + 3);
    memcpy(more, message, len);
    memset(more + len, 'x', 3);
    assert_int_equal(check_run(decode, more, len + 3, &err), len);
    free(more);
}

static inline void check_message_hex(check_decode decode, const char *hex)
{
    uint8_t bytes[1024];
    check_message(decode, bytes, check_hex(hex, bytes));
}

/** Some prefix of `in` is refused with `code`, and from there on all are. */
static inline void check_refused(check_decode decode, const void *in, size_t len,
                                 enum tg_code code)
{
    struct tg_error err;
    size_t cut = 0;
    while (cut < len && check_run(decode, in, cut, &err) == TG_AGAIN)
        cut++;
    for (; cut <= len; cut++)
        assert_int_equal(check_run(decode, in, cut, &err), code);
}

static inline void check_refused_hex(check_decode decode, const char *hex, enum tg_code code)
{
    uint8_t bytes[1024];
    check_refused(decode, bytes, check_hex(hex, bytes), code);
}

/** Whatever comes is answered, at every length. */
static inline void check_garbage(check_decode decode)
{
    struct tg_error err;
    uint32_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[64];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(seed >> 24) & (i < 4 ? 7 : 0xff);
        }
        check_run(decode, bytes, (size_t)round % (sizeof(bytes) + 1), &err);
    }
}
