/* Verdicts on first bytes. */
#include "codec_fuzz.h"

#include "codec/sniff.h"

static enum tg_sniffed verdict;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    (void)err;
    return tg_sniff(in, len, &verdict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_decoder(decode, data, size);
    struct tg_error err;
    enum tg_sniffed first = TG_SNIFF_NONE;
    if (size >= TG_SNIFF_MAX) {
        FUZZ_CHECK(decode(data, TG_SNIFF_MAX, &err) == 0);
        first = verdict;
        FUZZ_CHECK(decode(data, size, &err) == 0 && verdict == first);
        FUZZ_CHECK(tg_sniffed_word(verdict) != NULL);
    }
    if (verdict == TG_SNIFF_DNS && size >= 2 + 17)
        FUZZ_CHECK(tg_sniff_dns(data + 2, size - 2));
    FUZZ_CHECK(!tg_sniff_dns(data, size < 17 ? size : 16));
    return 0;
}
