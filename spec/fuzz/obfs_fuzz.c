/* Both disguises of simple-obfs fed with a peer's bytes in pieces: what comes out was carried, and the
 * same bytes cut otherwise give the same. */

#include "check.h"

#include "stream/obfs_tls.h"
#include "stream/opener.h"
#include "stream/pair.h"

#include "base/reactor.h"
#include "codec/obfs_tls.h"

#include <string.h>

#define OUT_MAX 65536u

static struct tg_stream *layer(unsigned kind, struct tg_stream *lower)
{
    static const char host[] = "www.example.com";
    if (kind == 0)
        return tg_obfs_tls_server(lower);
    if (kind == 1)
        return tg_obfs_tls_client(lower, host, sizeof(host) - 1);
    if (kind == 2)
        return tg_obfs_http(lower, "GET / HTTP/1.1\r\n\r\n", 18);
    return tg_sni_disguise(lower, host, sizeof(host) - 1);
}

/* Feed pieces of `cut` bytes.  @return what was delivered, and in *code how it ended */
static size_t run(unsigned kind, const uint8_t *data, size_t size, size_t cut, uint8_t *out, ssize_t *code)
{
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *a, *b;
    uint8_t sink[4096];
    size_t got = 0;
    ssize_t n = TG_AGAIN;
    CHECK(tg_reactor_open(&r, &err) == 0);
    tg_stream_pair(&r, 1u << 20, &a, &b);
    struct tg_stream *s = layer(kind, a);
    for (size_t at = 0; at < size; at += cut) {
        size_t some = size - at < cut ? size - at : cut;
        tg_stream_write(b, data + at, some);
        if (kind == 3 || at == 0)
            tg_stream_write(s, data + at, some);
        while (got < OUT_MAX && (n = tg_stream_read(s, out + got, OUT_MAX - got)) > 0)
            got += (size_t)n;
        while (tg_stream_read(b, sink, sizeof(sink)) > 0)
            continue;
        if (n < 0 && n != TG_AGAIN)
            break;
    }
    *code = n;
    tg_stream_shutdown(s);
    tg_reactor_turn(&r, 0);
    tg_stream_close(s);
    tg_stream_close(b);
    tg_pool_close(&r.pool);
    tg_reactor_close(&r);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t whole[OUT_MAX], pieces[OUT_MAX];
    struct tg_obfs_hello h;
    struct tg_error err;
    if (size < 2 || size > 32768)
        return 0;
    unsigned kind = data[0] & 3;
    size_t cut = 1 + (size_t)data[1] % 64;
    data += 2;
    size -= 2;
    tg_obfs_hello_decode(data, size, &h, &err);
    ssize_t a, b;
    size_t n = run(kind, data, size, size + 1, whole, &a);
    size_t m = run(kind, data, size, cut, pieces, &b);
    CHECK(n == m && memcmp(whole, pieces, n) == 0);
    CHECK(a == b);
    return 0;
}
