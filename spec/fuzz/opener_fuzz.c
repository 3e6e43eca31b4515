/* The layers that touch the first bytes only: gost's disguise of names, and the answer of a relay that is
 * taken off.  However a user's or a peer's bytes are cut, the same comes out, and nothing is lost. */

#include "check.h"

#include "stream/lazy_reply.h"
#include "stream/opener.h"
#include "stream/pair.h"

#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

#define MOST 131072u

struct output {
    size_t len;
    enum tg_code code;
    uint8_t data[2 * MOST];
};

static void gather(struct tg_stream *s, struct output *out)
{
    for (ssize_t n; (n = tg_stream_read(s, out->data + out->len, sizeof(out->data) - out->len)) > 0;)
        out->len += (size_t)n;
}

/* What a user writes. */
static void disguise(const uint8_t *data, size_t size, size_t piece, struct output *out)
{
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *far;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    out->len = 0;
    tg_stream_pair(&r, MOST, &near, &far);
    struct tg_stream *s = tg_sni_disguise(near, "cover.example", 13);
    for (size_t at = 0; at < size;) {
        ssize_t n = tg_stream_write(s, data + at, size - at < piece ? size - at : piece);
        CHECK(n > 0 || n == TG_AGAIN);
        at += n > 0 ? (size_t)n : 0;
        tg_reactor_turn(&r, 0);
        gather(far, out);
    }
    for (int i = 0; i < 8 && tg_stream_shutdown(s) == TG_AGAIN; i++) {
        tg_reactor_turn(&r, 0);
        gather(far, out);
    }
    gather(far, out);
    tg_stream_close(s);
    tg_stream_close(far);
    tg_reactor_close(&r);
}

/* What a peer answers. */
static void answer(const uint8_t *data, size_t size, size_t piece, struct output *out)
{
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *far;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    out->len = 0;
    out->code = TG_OK;
    tg_stream_pair(&r, MOST, &near, &far);
    struct tg_stream *s = tg_lazy_reply_open(near, &tg_lazy_relay_reply);
    for (size_t at = 0; at < size; at += piece) {
        CHECK(tg_stream_write(far, data + at, size - at < piece ? size - at : piece) > 0);
        tg_reactor_turn(&r, 0);
        gather(s, out);
        if (s->state == TG_STREAM_FAILED)
            break;
    }
    tg_stream_close(far);
    tg_reactor_turn(&r, 0);
    gather(s, out);
    if (s->state == TG_STREAM_FAILED) {
        CHECK(s->error.detail != NULL);
        out->code = s->error.code;
    }
    tg_stream_close(s);
    tg_reactor_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct output whole, cut;
    if (size < 2 || size > 65536)
        return 0;
    void (*const layers[])(const uint8_t *, size_t, size_t, struct output *) = { disguise, answer };
    void (*layer)(const uint8_t *, size_t, size_t, struct output *) = layers[data[0] & 1];
    layer(data + 2, size - 2, size, &whole);
    layer(data + 2, size - 2, data[1] + 1u, &cut);
    CHECK(whole.code == cut.code);
    if (whole.code == TG_OK)
        CHECK(whole.len == cut.len && memcmp(whole.data, cut.data, whole.len) == 0);
    return 0;
}
