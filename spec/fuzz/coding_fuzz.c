/* Packed bodies of peers: bounded output, whatever the input; what was packed here comes back. */
#include "codec_fuzz.h"

#include "codec/coding.h"

#define MOST 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_coding_result out, again;
    struct tg_error err;
    if (size == 0)
        return 0;
    enum tg_coding coding = (enum tg_coding)(data[0] & 3);
    int code = tg_coding_unpack(coding, data + 1, size - 1, MOST, &out, &err);
    FUZZ_CHECK(out.len <= MOST && (code == 0 || !out.whole));
    if (code == 0 && out.whole) {
        struct tg_coding_result packed;
        FUZZ_CHECK(tg_coding_pack(coding, out.data, out.len, &packed, &err) == 0);
        FUZZ_CHECK(tg_coding_unpack(coding, packed.data, packed.len, MOST, &again, &err) == 0);
        FUZZ_CHECK(again.whole && again.len == out.len);
        FUZZ_CHECK(out.len == 0 || memcmp(again.data, out.data, out.len) == 0);
        free(packed.data);
        free(again.data);
    }
    free(out.data);
    return 0;
}
