/* Datagrams of Shadowsocks of either role, from the network as they are, or made by our own other side and
 * changed on their way. */

#include "check.h"

#include "packet/ss_udp.h"

#include "base/mem.h"
#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

/* A network of one datagram. */
struct wire {
    struct tg_packet base;
    uint8_t space[TG_PACKET_HEADROOM + 70000];
    uint32_t len;
    bool full;
};

static int wire_recv(struct tg_packet *p, struct tg_datagram *out, int count)
{
    struct wire *w = (struct wire *)p;
    (void)count;
    if (!w->full)
        return TG_AGAIN;
    w->full = false;
    *out = (struct tg_datagram){ .data = w->space + TG_PACKET_HEADROOM, .len = w->len,
                                 .headroom = TG_PACKET_HEADROOM };
    return 1;
}

static int wire_send(struct tg_packet *p, struct tg_datagram *in, int count)
{
    struct wire *w = (struct wire *)p;
    CHECK(in[count - 1].len <= 70000);
    w->len = in[count - 1].len;
    memcpy(w->space + TG_PACKET_HEADROOM, in[count - 1].data, w->len);
    w->full = true;
    return count;
}

static void wire_want(struct tg_packet *p, bool readable)
{
    (void)p;
    (void)readable;
}

static void wire_close(struct tg_packet *p)
{
    free(p);
}

static const struct tg_packet_ops wire_ops = {
    .name = "wire", .recv = wire_recv, .send = wire_send, .want = wire_want, .close = wire_close,
};

static struct wire *wire_new(struct tg_reactor *r)
{
    struct wire *w = tg_zalloc(sizeof(*w));
    w->base.ops = &wire_ops;
    w->base.reactor = r;
    return w;
}

static void put(struct wire *w, const uint8_t *data, size_t len)
{
    w->len = (uint32_t)len;
    memcpy(w->space + TG_PACKET_HEADROOM, data, len);
    w->full = true;
}

static const char *const methods[] = {
    "aes-128-gcm", "2022-blake3-aes-128-gcm", "2022-blake3-chacha20-poly1305", "none", "plain", "aes-128-ctr",
    "xchacha20-ietf-poly1305", "2022-blake3-aes-128-gcm",
};

static struct tg_ss_key *key_of(uint8_t which, bool server)
{
    bool wide = (which & 7) == 2, users = (which & 7) == 7;
    const char *password = wide ? "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" :
                           users && !server ? "AAECAwQFBgcICQoLDA0ODw==:ICEiIyQlJicoKSorLC0uLw==" :
                           "AAECAwQFBgcICQoLDA0ODw==";
    char problem[TG_SS_PROBLEM];
    const char *name = methods[which & 7];
    struct tg_ss_key *k = tg_ss_key_new(tg_ss_method_find(name, strlen(name)), password, strlen(password), problem);
    CHECK(k != NULL);
    if (users && server)
        CHECK(tg_ss_key_add_user(k, "u", "ICEiIyQlJicoKSorLC0uLw==", 24, problem));
    return k;
}

/* What comes out must be readable. */
static int receive(struct tg_packet *p)
{
    struct tg_datagram d[4];
    int n = tg_packet_recv(p, d, 4);
    for (int i = 0; i < n; i++) {
        char text[TG_PEER_TEXT];
        CHECK(d[i].len <= 70000);
        uint8_t copy[70000];
        memcpy(copy, d[i].data, d[i].len);
        tg_peer_format(&d[i].peer, text, sizeof(text));
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_reactor r;
    struct tg_error err;
    if (size < 4 || size > 4096)
        return 0;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    bool gost = (data[0] & 8) != 0;
    struct tg_ss_key *ck = key_of(data[0], false), *sk = key_of(data[0], true);
    struct wire *up = wire_new(&r), *down = wire_new(&r);
    struct tg_packet *client = tg_ss_udp_client(&up->base, ck, NULL, gost);
    struct tg_packet *server = tg_ss_udp_server(&down->base, sk, gost);

    put(down, data + 4, size - 4); /* from strangers */
    tg_ss_udp_verify(server);
    receive(server);
    put(up, data + 4, size - 4);
    receive(client);

    uint8_t copy[4096];
    memcpy(copy, data + 4, size - 4);
    struct tg_datagram d = { .data = copy, .len = (uint32_t)size - 4 };
    CHECK(tg_peer_parse(&d.peer, "192.0.2.1:53", 12));
    CHECK(tg_packet_send(client, &d, 1) == 1);
    uint32_t at = (uint32_t)data[1] << 8 | data[2];
    bool changed = at < up->len && data[3] != 0;
    if (changed)
        up->space[TG_PACKET_HEADROOM + at] ^= data[3];
    put(down, up->space + TG_PACKET_HEADROOM, up->len);
    up->full = false;
    int n = receive(server);
    CHECK(changed || n == 1);
    if (n == 1 && tg_packet_send(server, &d, 1) == 1) {
        put(up, down->space + TG_PACKET_HEADROOM, down->len);
        CHECK(receive(client) == 1);
        put(up, down->space + TG_PACKET_HEADROOM, down->len > 0 ? down->len - 1 : 0);
        receive(client);
    }
    tg_packet_close(client);
    tg_packet_close(server);
    tg_ss_key_drop(ck);
    tg_ss_key_drop(sk);
    tg_reactor_close(&r);
    return 0;
}
