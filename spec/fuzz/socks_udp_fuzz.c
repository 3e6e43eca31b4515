/* Datagrams of SOCKS5 UDP ASSOCIATE over sockets: what a client sends is handed out and sent back, and what
 * a server sends is taken by our client. */

#include "check.h"

#include "packet/socks_udp.h"

#include "base/reactor.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_ready(void *arg, unsigned events)
{
    (void)arg;
    (void)events;
}

/* A plain socket, bound. */
static int open_plain(struct tg_addr *at)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    *at = (struct tg_addr){ .len = sizeof(at->in) };
    at->in.sin_family = AF_INET;
    at->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, &at->any, at->len) == 0 && getsockname(fd, &at->any, &at->len) == 0);
    return fd;
}

/* Take what is there and send it back, whose bytes belong to us, the headroom included. */
static void echo(struct tg_reactor *r, struct tg_packet *p)
{
    struct tg_datagram batch[TG_PACKET_BATCH];
    char text[TG_PEER_TEXT];
    tg_reactor_turn(r, 0);
    for (int n; (n = tg_packet_recv(p, batch, TG_PACKET_BATCH)) > 0;) {
        for (int i = 0; i < n; i++) {
            struct tg_datagram *d = &batch[i];
            CHECK(d->len <= TG_PACKET_MAX);
            CHECK(tg_peer_format(&d->peer, text, sizeof(text)) < sizeof(text));
            d->data[-(ptrdiff_t)d->headroom] ^= 0;
            if (d->len > 0)
                d->data[d->len - 1] ^= 0xff;
        }
        CHECK(tg_packet_send(p, batch, n) <= n);
    }
}

/* The input's first byte says which end and how; then datagrams, each behind its length. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_reactor r;
    struct tg_error err;
    struct tg_addr plain, at = { .len = sizeof(at.in) };
    struct tg_peer fixed = { .name = "fixed.example", .name_len = 13, .name_port = 53 };
    uint8_t waste[70000];
    if (size < 2)
        return 0;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    int fd = open_plain(&plain);
    bool server = (data[0] & 1) != 0;
    at.in.sin_family = AF_INET;
    at.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    uint32_t limit = data[0] & 4 ? 64 : 0;
    struct tg_packet *p = server
        ? tg_socks_udp_server(&r, &at, data[0] & 2 ? &plain : NULL, limit, &err)
        : tg_socks_udp_client(&r, &plain, NULL, data[0] & 2 ? &fixed : NULL, limit, &err);
    CHECK(p != NULL && tg_packet_name(p, false, &at) == 0);
    p->on_ready = on_ready;
    tg_packet_want(p, true);
    for (size_t i = 1; i < size;) {
        size_t n = data[i++];
        n = n < size - i ? n : size - i;
        sendto(fd, data + i, n, 0, &at.any, at.len);
        i += n;
        echo(&r, p);
        while (recv(fd, waste, sizeof(waste), 0) >= 0)
            continue;
    }
    echo(&r, p);
    tg_packet_close(p);
    close(fd);
    tg_reactor_close(&r);
    return 0;
}
