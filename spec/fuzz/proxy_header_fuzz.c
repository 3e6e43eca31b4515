/* PROXY headers; the addresses read are written and read again. */
#include "codec_fuzz.h"

#include "codec/proxy_header.h"

static struct tg_proxy_header header;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_proxy_header_decode(in, len, &header, err);
}

static bool unspecified(const struct tg_target *t)
{
    static const uint8_t zeros[16];
    return memcmp(t->ip, zeros, t->len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t out[TG_PROXY_ENCODED_MAX];
    struct tg_error err;
    fuzz_decoder(decode, data, size);
    ssize_t n = decode(data, size, &err);
    FUZZ_CHECK(n != 0 || header.kind == TG_PROXY_NONE);
    if (n <= 0)
        return 0;
    struct tg_proxy_header before = header;
    n = tg_proxy_header_encode(&before, out, sizeof(out));
    /* "::" changes the family. */
    if (header.kind == TG_PROXY_PROXY && (unspecified(&before.src) || unspecified(&before.dst)))
        return 0;
    FUZZ_CHECK(n > 0);
    FUZZ_CHECK(decode(out, (size_t)n, &err) == n);
    FUZZ_CHECK(header.kind == before.kind && header.version == before.version);
    if (header.kind == TG_PROXY_PROXY)
        FUZZ_CHECK(tg_target_equal(&header.src, &before.src) &&
                   tg_target_equal(&header.dst, &before.dst) && header.udp == before.udp);
    return 0;
}
