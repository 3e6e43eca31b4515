/* An HTTP/2 session fed with a peer's bytes in pieces, while its user accepts, answers, reads, writes
 * and closes: as raw streams, as gRPC tunnels and in the shape of HTTP/1.1, as a server and as a client. */

#include "session/h2.h"
#include "session/h2_grpc.h"
#include "session/h2_http1.h"
#include "stream/pair.h"

#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

#define STREAMS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct tg_h2_field ok[] = { { ":status", "200", 7, 3 } };
static const struct tg_h2_field request[] = {
    { ":method", "CONNECT", 7, 7 },
    { ":authority", "a:1", 10, 3 },
};
static const char *const answers[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n",
};
static const char *const questions[] = {
    "GET /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-a: 1\r\n\r\n",
    ("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
};

struct user {
    struct tg_session *session;
    struct tg_stream *streams[STREAMS];
    unsigned count;
    uint8_t shape; /* what is made of streams */
};

static void on_ready(void *arg, unsigned events)
{
    struct tg_stream **place = arg;
    uint8_t chunk[300];
    (void)events;
    ssize_t n = tg_stream_read(*place, chunk, sizeof(chunk));
    if (n > 0)
        tg_stream_write(*place, chunk, (size_t)n);
    if (n == 0)
        tg_stream_shutdown(*place);
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

static void say(struct tg_stream *s, const char *text)
{
    ssize_t n = tg_stream_write(s, text, strlen(text));
    if (n > 0 && text[n] != 0)
        tg_stream_write(s, text + n, strlen(text + n));
}

static struct tg_stream *shaped(struct user *u, struct tg_stream *s)
{
    if (u->shape == 2) {
        struct tg_stream *upper = tg_h2_http1_open(s);
        if (upper == NULL)
            return s;
        say(upper, answers[u->count % 3]);
        return upper;
    }
    tg_h2_respond(s, ok, 1, false);
    return u->shape == 1 ? tg_h2_grpc_open(s, false) : s;
}

static void on_event(void *arg)
{
    struct user *u = arg;
    struct tg_stream *s;
    while ((s = tg_session_accept(u->session)) != NULL)
        keep(u, shaped(u, s));
}

/* What the session wrote is read and dropped. */
static void drain(struct tg_stream *peer)
{
    uint8_t chunk[4096];
    while (tg_stream_read(peer, chunk, sizeof(chunk)) > 0)
        ;
}

static void open_own(struct user *u)
{
    struct tg_error err;
    for (unsigned i = 0; u->shape == 2 && i < 3; i++) {
        struct tg_stream *own = tg_h2_http1_exchange(u->session, "http", &err);
        if (own == NULL)
            continue;
        say(own, questions[i]);
        keep(u, own);
    }
    for (unsigned i = 0; u->shape != 2 && i < 2; i++) {
        struct tg_stream *own = tg_h2_request(u->session, request, 2, false, &err);
        if (own != NULL)
            keep(u, u->shape == 1 ? tg_h2_grpc_open(own, true) : own);
    }
}

static void feed(struct user *u, struct tg_reactor *r, struct tg_stream *peer, const uint8_t *data,
                 size_t size, size_t piece)
{
    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = tg_stream_write(peer, data + at, n);
        tg_reactor_turn(r, 0);
        drain(peer);
        if (u->session->dead || (sent < 0 && sent != TG_AGAIN))
            break;
        at += sent > 0 ? (size_t)sent : 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if (size < 2)
        return 0;
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *peer;
    struct tg_h2_options o = TG_H2_DEFAULTS;
    struct user u = { .count = 0 };
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    tg_stream_pair(&r, TG_BUF_SMALL, &near, &peer);
    o.client = (data[0] & 1) != 0;
    o.max_streams = data[0] & 2 ? 4 : 0;
    o.max_headers = data[0] & 4 ? 200 : 65536;
    u.shape = (uint8_t)((data[0] >> 3) % 3);
    u.session = tg_h2_start(near, &o);
    u.session->on_event = on_event;
    u.session->event_arg = &u;
    if (o.client)
        open_own(&u);
    else
        feed(&u, &r, peer, (const uint8_t *)preface, sizeof(preface) - 1, 64);
    feed(&u, &r, peer, data + 2, size - 2, (size_t)(data[1] >> 1) + 1);
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
