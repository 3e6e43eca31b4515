/* Datagrams of many peers in a stream, taken apart into sessions: each answers, some end, and so does the whole. */

#include "check.h"

#include "base/reactor.h"
#include "packet/framed.h"
#include "packet/udp_sessions.h"
#include "stream/pair.h"

#include <stdlib.h>

#define MOST 8u
#define SESSIONS_MAX 4096u

struct run {
    struct tg_udp_sessions *table; /* NULL: closed */
    struct tg_packet *open[SESSIONS_MAX];
    unsigned count;
    uint8_t mode;
};

/* Answer, as a relay does: in place. */
static void on_datagrams(void *arg, struct tg_datagram *in, int count)
{
    struct tg_packet *session = arg;
    for (int i = 0; i < count; i++)
        if (in[i].len > 0)
            in[i].data[0] ^= 0xff;
    tg_packet_send(session, in, count);
}

static void on_session(void *arg, struct tg_packet *session)
{
    struct run *run = arg;
    struct tg_datagram batch[TG_PACKET_BATCH];
    struct tg_addr peer;
    tg_udp_session_accept(session);
    CHECK(tg_udp_sessions_count(run->table) <= MOST);
    CHECK(tg_packet_name(session, true, &peer) == 0);
    if (run->count == SESSIONS_MAX || (run->mode & 1 && run->count % 3 == 2)) {
        tg_packet_close(session);
        return;
    }
    int n = tg_packet_recv(session, batch, TG_PACKET_BATCH);
    CHECK(n > 0);
    on_datagrams(session, batch, n);
    session->sink = on_datagrams;
    session->sink_arg = session;
    run->open[run->count++] = session;
    if (run->mode & 2 && run->count == 5) {
        tg_udp_sessions_close(run->table);
        run->table = NULL;
    } else if (run->mode & 4 && run->count > 3) { /* room for others */
        tg_packet_close(run->open[0]);
        run->open[0] = run->open[--run->count];
    }
}

static void on_end(void *arg, const struct tg_error *err)
{
    struct run *run = arg;
    CHECK(err->code != TG_OK && err->code != TG_AGAIN && run->table != NULL);
    if (!(run->mode & 8))
        return;
    tg_udp_sessions_close(run->table);
    run->table = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *far;
    uint8_t waste[512];
    if (size < 2)
        return 0;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    run = (struct run){ .mode = data[0] };
    size_t piece = (data[1] >> 1) + 1u;
    struct tg_udp_sessions_options options = {
        .ttl = 1000, .limit = 64, .queue = 4, .backlog = 128, .most = MOST, .keepalive = (data[1] & 1) != 0,
    };
    tg_stream_pair(&r, 4096, &near, &far);
    run.table = tg_udp_sessions_over(tg_framed_open(near, TG_FRAMING_TUN, NULL), &options, on_session, on_end, &run);
    for (size_t at = 2; at < size && run.table != NULL;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = tg_stream_write(far, data + at, n);
        if (sent <= 0)
            break;
        at += (size_t)sent;
        tg_reactor_turn(&r, 0);
        while (tg_stream_read(far, waste, sizeof(waste)) > 0)
            continue;
    }
    tg_stream_close(far);
    tg_reactor_turn(&r, 0);
    tg_reactor_turn(&r, 0);
    for (unsigned i = 0; i < run.count; i += 2)
        tg_packet_close(run.open[i]);
    if (run.table != NULL)
        tg_udp_sessions_close(run.table);
    for (unsigned i = 1; i < run.count; i += 2)
        tg_packet_close(run.open[i]);
    tg_reactor_close(&r);
    return 0;
}
