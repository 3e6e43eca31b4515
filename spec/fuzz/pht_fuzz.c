/* Bodies of the plain HTTP tunnel: how the input is cut makes no difference, and base64 comes back. */
#include "codec_fuzz.h"

#include "codec/base64.h"
#include "codec/pht.h"

#define SIZE_MAX_IN 8192u

struct outcome {
    ssize_t code; /* 0: fine so far */
    size_t used, len;
    uint32_t lines;
    bool over, foreign;
    uint8_t data[SIZE_MAX_IN];
};

static void feed(uint64_t length, const uint8_t *in, size_t size, size_t piece, struct outcome *o)
{
    struct tg_pht p;
    struct tg_error err = { .code = TG_OK };
    tg_pht_begin(&p, length, 3);
    *o = (struct outcome){ .code = 0 };
    while (!p.over && o->code == 0 && (o->used < size || length == TG_PHT_CLOSE)) {
        size_t some = size - o->used < piece ? size - o->used : piece, n = 0;
        uint8_t *exact = malloc(some + 1), *out = malloc(p.held + some + 1);
        memcpy(exact, in + o->used, some);
        ssize_t taken = tg_pht_feed(&p, exact, some, out, &n, &err);
        if (taken >= 0) {
            FUZZ_CHECK((size_t)taken == some || p.over);
            FUZZ_CHECK(o->len + n <= size);
            memcpy(o->data + o->len, out, n);
            o->used += (size_t)taken;
            o->len += n;
        } else {
            FUZZ_CHECK((ssize_t)err.code == taken && err.detail != NULL);
            o->code = taken;
        }
        free(out);
        free(exact);
    }
    o->lines = p.lines;
    o->over = p.over;
    o->foreign = p.foreign;
    tg_pht_end(&p);
}

static void base64(bool url, const uint8_t *data, size_t size)
{
    static char text[TG_BASE64_LEN(SIZE_MAX_IN)];
    static uint8_t back[sizeof(text)];
    size_t n = tg_base64_encode(data, size, url, text);
    FUZZ_CHECK(n <= TG_BASE64_LEN(size));
    FUZZ_CHECK(tg_base64_decode(text, n, url, back) == (ssize_t)size);
    FUZZ_CHECK(memcmp(back, data, size) == 0);
    ssize_t m = tg_base64_decode((const char *)data, size, url, back);
    FUZZ_CHECK(m <= (ssize_t)(size * 3 / 4));
    if (m >= 0) /* only the bits that padding leaves over may differ */
        FUZZ_CHECK(tg_base64_encode(back, (size_t)m, url, text) == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole, cut;
    if (size < 3 || size > SIZE_MAX_IN)
        return 0;
    uint64_t length = data[0] == 0 ? TG_PHT_CHUNKED : data[0] == 1 ? TG_PHT_CLOSE : data[1] * 16u;
    size_t piece = 1u + data[1];
    data += 2;
    size -= 2;
    feed(length, data, size, size, &whole);
    feed(length, data, size, piece, &cut);
    FUZZ_CHECK(whole.code == cut.code);
    if (whole.code == 0)
        FUZZ_CHECK(whole.used == cut.used && whole.len == cut.len && whole.lines == cut.lines &&
                   whole.over == cut.over && whole.foreign == cut.foreign &&
                   memcmp(whole.data, cut.data, whole.len) == 0);
    base64(false, data, size);
    base64(true, data, size);
    return 0;
}
