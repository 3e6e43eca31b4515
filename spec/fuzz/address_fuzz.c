/* Text and SOCKS form of targets; both read back what they wrote. */
#include "codec_fuzz.h"

#include "codec/address.h"

static struct tg_target target;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks_address_decode(in, len, &target, err);
}

static void check_text(const char *text, size_t len)
{
    struct tg_target t, back;
    char out[TG_TARGET_TEXT];
    int rc = tg_target_parse(&t, text, len);
    FUZZ_CHECK(rc == 0 || rc == TG_INVALID || rc == TG_LIMIT);
    /* A host with brackets or a colon in a name is read, but not the same way again. */
    if (rc < 0 || memchr(t.name, '[', t.len) != NULL || memchr(t.name, ']', t.len) != NULL)
        return;
    size_t n = tg_target_text(&t, out);
    FUZZ_CHECK(n <= sizeof(out));
    FUZZ_CHECK(tg_target_parse(&back, out, n) == 0);
    FUZZ_CHECK(tg_target_equal(&t, &back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t out[TG_SOCKS_ADDRESS_MAX];
    struct tg_error err;
    check_text((const char *)data, size);
    fuzz_decoder(decode, data, size);
    ssize_t n = decode(data, size, &err);
    if (n > 0) {
        FUZZ_CHECK(tg_socks_address_encode(&target, TG_EMPTY_AS_NAME, out, sizeof(out)) == n);
        FUZZ_CHECK(memcmp(out, data, (size_t)n) == 0);
        FUZZ_CHECK(tg_socks_address_encode(&target, TG_EMPTY_AS_NAME, out, (size_t)n - 1) ==
                   TG_LIMIT);
    }
    return 0;
}
