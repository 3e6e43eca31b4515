/* TLS ClientHellos; how records cut one makes no difference. */
#include "codec_fuzz.h"

#include "codec/address.h"
#include "codec/client_hello.h"

static struct tg_client_hello hello, recut;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_client_hello_decode(in, len, &hello, err);
}

/* Put the first record's content into records of 7 bytes. */
static size_t cut(const uint8_t *in, size_t len, uint8_t *out)
{
    size_t n = 0;
    for (size_t at = 0; at < len; at += 7) {
        size_t some = len - at < 7 ? len - at : 7;
        memcpy(out + n, "\x16\3\3\0", 4);
        out[n + 4] = (uint8_t)some;
        memcpy(out + n + 5, in + at, some);
        n += 5 + some;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[8192];
    struct tg_error err;
    fuzz_decoder(decode, data, size);
    ssize_t n = decode(data, size, &err);
    if (n < 0)
        return 0;
    FUZZ_CHECK(strlen(hello.name) == hello.name_len);
    FUZZ_CHECK(hello.alpn_count <= TG_HELLO_ALPN_MAX && hello.text_used <= TG_HELLO_TEXT_MAX);
    FUZZ_CHECK(hello.version_count <= TG_HELLO_VERSIONS_MAX);
    if (n > 4096 || tg_u16(data + 3) + 5 != n)
        return 0;
    FUZZ_CHECK(tg_client_hello_decode(out, cut(data + 5, (size_t)n - 5, out), &recut, &err) > 0);
    FUZZ_CHECK(strcmp(hello.name, recut.name) == 0 && hello.alpn_count == recut.alpn_count);
    return 0;
}
