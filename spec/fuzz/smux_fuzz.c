/* A smux or yamux session fed with a peer's bytes in pieces, while its user opens, reads, writes and closes. */

#include "session/smux.h"
#include "stream/pair.h"

#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

#define STREAMS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct user {
    struct tg_session *session;
    struct tg_stream *streams[STREAMS];
    unsigned count;
};

static void on_ready(void *arg, unsigned events)
{
    struct tg_stream **place = arg;
    uint8_t chunk[512];
    (void)events;
    ssize_t n = tg_stream_read(*place, chunk, sizeof(chunk));
    if (n > 0)
        tg_stream_write(*place, chunk, (size_t)n);
    if (n == TG_AGAIN || n > 0)
        return;
    tg_stream_close(*place);
    *place = NULL;
}

static void keep(struct user *u, struct tg_stream *s)
{
    if (u->count == STREAMS) {
        tg_stream_close(s);
        return;
    }
    struct tg_stream **place = &u->streams[u->count++];
    *place = s;
    s->on_ready = on_ready;
    s->ready_arg = place;
    tg_stream_want(s, TG_READABLE | (u->count & 1 ? TG_WRITABLE : 0));
}

static void on_event(void *arg)
{
    struct user *u = arg;
    struct tg_stream *s;
    while ((s = tg_session_accept(u->session)) != NULL)
        keep(u, s);
}

/* What the session wrote is read and dropped. */
static void drain(struct tg_stream *peer)
{
    uint8_t chunk[4096];
    while (tg_stream_read(peer, chunk, sizeof(chunk)) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *peer;
    struct tg_smux_options o = TG_SMUX_DEFAULTS;
    struct user u = { .count = 0 };
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    tg_stream_pair(&r, TG_BUF_SMALL, &near, &peer);
    o.version = data[0] & 1 ? 2 : 1;
    o.yamux = (data[0] & 128) != 0;
    o.client = (data[0] & 2) != 0;
    o.max_streams = data[0] & 4 ? 8 : 0;
    size_t piece = (data[0] >> 3 & 15) * 2 + 1u;
    u.session = tg_smux_start(near, &o);
    u.session->on_event = on_event;
    u.session->event_arg = &u;
    struct tg_stream *own = tg_session_open(u.session, &err);
    if (own != NULL)
        keep(&u, own);
    for (size_t at = 1; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = tg_stream_write(peer, data + at, n);
        tg_reactor_turn(&r, 0);
        drain(peer);
        if (u.session->dead || (sent < 0 && sent != TG_AGAIN))
            break;
        at += sent > 0 ? (size_t)sent : 0;
    }
    for (int i = 0; i < 4; i++)
        tg_reactor_turn(&r, 0);
    /* streams may outlive their session, and the other way round */
    if (data[1] & 1)
        tg_session_close(u.session);
    for (unsigned i = 0; i < u.count; i++)
        if (u.streams[i] != NULL)
            tg_stream_close(u.streams[i]);
    if (!(data[1] & 1))
        tg_session_close(u.session);
    tg_stream_close(peer);
    tg_reactor_close(&r);
    return 0;
}
