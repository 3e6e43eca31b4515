/* Bodies of HTTP/1.1 in pieces, from one stream to another: verbatim, without their chunks, unpacked; what
 * follows a body stays where it was. */

#include "check.h"

#include "relay/body.h"
#include "stream/pair.h"

#include "base/mem.h"
#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

#define OUTPUT_MAX (1u << 20) /* what one input may unpack to before we stop */

struct outcome {
    int code;
    size_t len;
    uint64_t hash;
};

static size_t drain(struct tg_stream *s, struct outcome *out)
{
    uint8_t chunk[3000];
    size_t sum = 0;
    for (ssize_t n; (n = tg_stream_read(s, chunk, sizeof(chunk))) > 0; sum += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            out->hash = (out->hash ^ chunk[i]) * 0x100000001b3u;
    out->len += sum;
    return sum;
}

static struct outcome move(const uint8_t *head, const uint8_t *data, size_t size, size_t piece)
{
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *peer, *from, *to, *sink;
    struct tg_body body;
    struct outcome out = { .code = TG_AGAIN, .hash = 0xcbf29ce484222325u };
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    tg_stream_pair(&r, 65536, &peer, &from);
    tg_stream_pair(&r, 5000, &to, &sink);
    enum tg_body_framing framing = (enum tg_body_framing)(head[0] % 3);
    tg_body_open(&body, from, to, framing, (uint64_t)head[1] * 7);
    CHECK(tg_body_set_shape(&body, (enum tg_body_shape)(head[0] / 3 % 4)) == 0);
    if (head[0] & 64)
        tg_body_capture(&body, 100);
    if (head[0] & 128)
        CHECK(tg_body_prefix(&body, "head", 4) == 0);
    for (size_t at = 0; out.code == TG_AGAIN && out.len < OUTPUT_MAX;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = n > 0 ? tg_stream_write(peer, data + at, n) : TG_AGAIN;
        if (n == 0)
            tg_stream_shutdown(peer);
        at += sent > 0 ? (size_t)sent : 0;
        tg_reactor_turn(&r, 0);
        uint64_t before = body.moved;
        out.code = tg_body_step(&body, &err);
        CHECK(out.code <= 0);
        CHECK(out.code != TG_AGAIN || body.wants_read || body.wants_write || body.held_back);
        if (drain(sink, &out) == 0 && n == 0 && out.code == TG_AGAIN)
            CHECK(body.moved > before || body.busy > 0 || !body.wants_read);
    }
    if (out.code != 0 && out.code != TG_AGAIN)
        CHECK(err.detail != NULL || err.sys != 0 || err.code != 0);
    drain(sink, &out);
    tg_body_close(&body);
    tg_stream_close(peer);
    tg_stream_close(from);
    tg_stream_close(to);
    tg_stream_close(sink);
    tg_reactor_close(&r);
    return out;
}

/* The first byte says what is done, the second how long a body of known length is, the third how the
 * bytes are cut: which makes no difference to a body that ends well. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 32768)
        return 0;
    struct outcome whole = move(data, data + 3, size - 3, size);
    struct outcome cut = move(data, data + 3, size - 3, data[2] + 1u);
    if (whole.code == TG_AGAIN || cut.code == TG_AGAIN) /* too much */
        return 0;
    CHECK(whole.code == cut.code);
    if (whole.code == 0 && data[0] / 3 % 4 != TG_BODY_UNPACK_CHUNKS) /* its chunks are as the pieces are */
        CHECK(whole.len == cut.len && whole.hash == cut.hash);
    return 0;
}
