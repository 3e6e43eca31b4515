/* Chunked bodies: how the input is cut makes no difference. */
#include "codec_fuzz.h"

#include "codec/chunks.h"

struct outcome {
    ssize_t code;    /* 0: fine so far */
    size_t used, kept;
    bool done;
    uint8_t data[8192];
};

/* Feed in pieces of `piece` bytes until the end, a refusal, or no more. */
static void feed(const uint8_t *in, size_t len, size_t piece, struct outcome *o)
{
    struct tg_chunks c = { .left = 0 };
    struct tg_error err = { .code = TG_OK };
    o->code = 0;
    o->used = o->kept = 0;
    while (o->used < len && !tg_chunks_done(&c)) {
        size_t some = len - o->used < piece ? len - o->used : piece, data_len = 0;
        uint8_t *exact = malloc(some);
        memcpy(exact, in + o->used, some);
        ssize_t n = tg_chunks_scan(&c, exact, some, &data_len, &err);
        if (n >= 0) {
            FUZZ_CHECK((size_t)n == some || tg_chunks_done(&c));
            FUZZ_CHECK(data_len <= (size_t)n);
            memcpy(o->data + o->kept, exact, data_len);
            o->kept += data_len;
            o->used += (size_t)n;
        }
        free(exact);
        if (n < 0) {
            FUZZ_CHECK((ssize_t)err.code == n && (n == TG_PROTOCOL || n == TG_LIMIT));
            o->code = n;
            return;
        }
    }
    o->done = tg_chunks_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole, cut;
    if (size < 2 || size > sizeof(whole.data))
        return 0;
    size_t piece = 1u + data[0];
    feed(data + 1, size - 1, size, &whole);
    feed(data + 1, size - 1, piece, &cut);
    FUZZ_CHECK(whole.code == cut.code);
    if (whole.code == 0)
        FUZZ_CHECK(whole.used == cut.used && whole.done == cut.done && whole.kept == cut.kept &&
                   memcmp(whole.data, cut.data, whole.kept) == 0);
    return 0;
}
