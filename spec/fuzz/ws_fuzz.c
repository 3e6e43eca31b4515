/* A WebSocket fed with a peer's bytes in pieces; what it delivers is written back, and what it writes is
 * read by another one, which must understand it. */

#include "check.h"

#include "stream/pair.h"
#include "stream/ws.h"

#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 64

struct user {
    struct tg_stream *stream, *mirror; /* what was delivered goes into both */
    size_t room;                       /* of a read */
    bool over;
};

static void on_ready(void *arg, unsigned events)
{
    struct user *u = arg;
    uint8_t chunk[4096];
    (void)events;
    ssize_t n = tg_stream_read(u->stream, chunk, u->room);
    if (n > 0 && tg_stream_write(u->stream, chunk, (size_t)n) == n)
        tg_stream_write(u->mirror, chunk, (size_t)n);
    else if (n != TG_AGAIN && n <= 0)
        u->over = true;
    if (u->over)
        tg_stream_want(u->stream, 0);
}

/* Move bytes as they are.  @return how many */
static size_t pour(struct tg_stream *from, struct tg_stream *to)
{
    uint8_t chunk[4096];
    size_t sum = 0;
    for (ssize_t n; (n = tg_stream_read(from, chunk, sizeof(chunk))) > 0; sum += (size_t)n)
        CHECK(to == NULL || tg_stream_write(to, chunk, (size_t)n) == n);
    return sum;
}

static void compare(struct tg_stream *decoded, struct tg_stream *expected)
{
    uint8_t a[4096], b[4096];
    for (;;) {
        ssize_t n = tg_stream_read(decoded, a, sizeof(a));
        if (n <= 0)
            break;
        for (size_t have = 0; have < (size_t)n;) {
            ssize_t m = tg_stream_read(expected, b + have, (size_t)n - have);
            CHECK(m > 0);
            have += (size_t)m;
        }
        CHECK(memcmp(a, b, (size_t)n) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *far, *wire, *wire_end, *mirror, *mirror_end;
    if (size < 2 || size > 16384)
        return 0;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    struct tg_ws_options o = { .client = (data[0] & 1) != 0, .packed = (data[0] & 2) != 0 };
    struct tg_ws_options other = { .client = !o.client, .packed = o.packed };
    size_t piece = (data[0] >> 3) + 1u;
    tg_stream_pair(&r, 32768, &near, &far);
    tg_stream_pair(&r, 1u << 24, &wire, &wire_end);
    tg_stream_pair(&r, 1u << 24, &mirror, &mirror_end);
    struct user u = { .stream = tg_ws_start(near, &o), .mirror = mirror, .room = (data[1] & 63) * 64 + 1 };
    struct tg_stream *peer = tg_ws_start(wire_end, &other);
    u.stream->on_ready = on_ready;
    u.stream->ready_arg = &u;
    tg_stream_want(u.stream, TG_READABLE);
    for (size_t at = 2; at < size && !u.over;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = tg_stream_write(far, data + at, n);
        if (sent < 0 && sent != TG_AGAIN)
            break;
        at += sent > 0 ? (size_t)sent : 0;
        tg_reactor_turn(&r, 0);
        pour(far, wire);
    }
    for (int i = 0; i < ROUNDS && !u.over; i++) {
        tg_reactor_turn(&r, 0);
        pour(far, wire);
    }
    CHECK(u.stream->state != TG_STREAM_FAILED || u.stream->error.detail != NULL);
    tg_stream_close(u.stream);
    pour(far, wire);
    compare(peer, mirror_end);
    CHECK(peer->state != TG_STREAM_FAILED);
    tg_stream_close(peer);
    tg_stream_close(wire);
    tg_stream_close(far);
    tg_stream_close(mirror);
    tg_stream_close(mirror_end);
    tg_reactor_close(&r);
    return 0;
}
