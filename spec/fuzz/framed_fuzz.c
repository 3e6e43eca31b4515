/* Datagrams in a stream: a peer's bytes in pieces, each datagram sent back, and the echo read again. */

#include "check.h"

#include "packet/framed.h"
#include "stream/pair.h"

#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

#define ECHO_MAX 4096u

struct echo {
    struct tg_packet *packet;
    uint64_t sent; /* bytes of the datagrams that were taken */
    int over;
};

/* Every byte of what is handed out belongs to us, the headroom included. */
static void touch(struct tg_datagram *d)
{
    char text[TG_PEER_TEXT];
    CHECK(d->len <= TG_PACKET_MAX);
    if (d->len > 0)
        d->data[d->len - 1] ^= 0;
    d->data[-(ptrdiff_t)d->headroom] ^= 0;
    CHECK(tg_peer_format(&d->peer, text, sizeof(text)) < sizeof(text));
}

static void pump(struct echo *e)
{
    struct tg_datagram batch[TG_PACKET_BATCH];
    int n;
    while ((n = tg_packet_recv(e->packet, batch, TG_PACKET_BATCH)) > 0) {
        CHECK(n <= TG_PACKET_BATCH);
        for (int i = 0; i < n; i++) {
            touch(&batch[i]);
            e->sent += batch[i].len;
        }
        int sent = tg_packet_send(e->packet, batch, n);
        CHECK(sent <= n);
    }
    CHECK(n == TG_AGAIN || n == TG_EOF || e->packet->error.code == (enum tg_code)n);
    e->over = n != TG_AGAIN;
}

/* What was echoed, as the far end parses it. */
static uint64_t read_back(struct tg_packet *far)
{
    struct tg_datagram batch[TG_PACKET_BATCH];
    uint64_t bytes = 0;
    int n;
    while ((n = tg_packet_recv(far, batch, TG_PACKET_BATCH)) > 0)
        for (int i = 0; i < n; i++) {
            touch(&batch[i]);
            bytes += batch[i].len;
        }
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *far, *in, *out;
    struct tg_peer fixed;
    if (size < 1)
        return 0;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    enum tg_framing framing = data[0] & 1 ? TG_FRAMING_TUN : TG_FRAMING_U16;
    size_t piece = (data[0] >> 2) + 1u;
    CHECK(tg_peer_parse(&fixed, "name.example:53", 15));
    tg_stream_pair(&r, ECHO_MAX, &near, &far);
    tg_stream_pair(&r, TG_BUF_LARGE * 4, &in, &out);
    struct echo e = { .packet = tg_framed_open(near, framing, data[0] & 2 ? &fixed : NULL) };
    uint8_t waste[512];
    for (size_t at = 1; at < size && !e.over;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = tg_stream_write(far, data + at, n);
        at += sent > 0 ? (size_t)sent : 0;
        pump(&e);
        tg_reactor_turn(&r, 0);
        for (ssize_t got; (got = tg_stream_read(far, waste, sizeof(waste))) > 0;)
            tg_stream_write(out, waste, (size_t)got);
    }
    tg_packet_close(e.packet);
    for (ssize_t got; (got = tg_stream_read(far, waste, sizeof(waste))) > 0;)
        tg_stream_write(out, waste, (size_t)got);
    tg_stream_close(far);
    struct tg_packet *again = tg_framed_open(in, framing, data[0] & 2 ? &fixed : NULL);
    CHECK(read_back(again) <= e.sent);
    tg_packet_close(again);
    tg_stream_close(out);
    tg_reactor_close(&r);
    return 0;
}
