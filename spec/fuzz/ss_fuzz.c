/* A Shadowsocks stream of either role fed with a peer's bytes in pieces, as they are or encrypted by our own
 * other side, whose chunks are changed on their way. */

#include "check.h"

#include "stream/pair.h"
#include "stream/ss.h"

#include "base/reactor.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 32

static const char *const methods[] = {
    "aes-128-gcm", "2022-blake3-aes-128-gcm", "2022-blake3-aes-128-gcm", "none", "plain", "aes-128-ctr",
    "xchacha20-ietf-poly1305", "2022-blake3-aes-128-gcm",
};

static struct tg_ss_key *key_of(uint8_t which)
{
    const char *name = methods[which & 7], *password = "AAECAwQFBgcICQoLDA0ODw==";
    char problem[TG_SS_PROBLEM];
    struct tg_ss_key *k = tg_ss_key_new(tg_ss_method_find(name, strlen(name)), password, strlen(password), problem);
    CHECK(k != NULL);
    if ((which & 7) == 7)
        CHECK(tg_ss_key_add_user(k, "u", "ICEiIyQlJicoKSorLC0uLw==", 24, problem));
    return k;
}

struct user {
    struct tg_stream *stream;
    size_t room, got;
    bool over;
};

static void on_ready(void *arg, unsigned events)
{
    struct user *u = arg;
    static uint8_t chunk[65536];
    (void)events;
    ssize_t n = tg_stream_read(u->stream, chunk, u->room);
    if (n > 0) {
        u->got += (size_t)n;
        tg_stream_write(u->stream, chunk, (size_t)n > 100 ? 100 : (size_t)n);
    } else if (n != TG_AGAIN) {
        u->over = true;
        tg_stream_want(u->stream, 0);
    }
}

static void drain(struct tg_stream *s)
{
    uint8_t waste[4096];
    while (tg_stream_read(s, waste, sizeof(waste)) > 0)
        ;
}

/* Our own other side encrypts the data; `flip` says which byte of it changes. */
static size_t encrypted(struct tg_reactor *r, struct tg_ss_key *k, bool client, const uint8_t *data, size_t size,
                        uint8_t *out, size_t room)
{
    struct tg_target target = { .kind = TG_HOST_IPV4, .len = 4, .port = 80 };
    struct tg_stream *near, *far;
    tg_stream_pair(r, 1u << 20, &near, &far);
    struct tg_stream *s = client ? tg_ss_client(near, k, &target) : tg_ss_server(near, k);
    for (size_t at = 0; at < size;) {
        size_t n = 1 + data[at] * 8u < size - at ? 1 + data[at] * 8u : size - at;
        tg_stream_write(s, data + at, n);
        at += n;
    }
    size_t len = 0;
    for (ssize_t n; len < room && (n = tg_stream_read(far, out + len, room - len)) > 0;)
        len += (size_t)n;
    tg_stream_close(s);
    tg_stream_close(far);
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t wire[65536];
    struct tg_reactor r;
    struct tg_error err;
    struct tg_stream *near, *far;
    struct tg_target target = { .kind = TG_HOST_NAME, .len = 1, .port = 1, .name = { 'a' } };
    if (size < 5 || size > 8192)
        return 0;
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    bool client = (data[0] & 8) != 0;
    struct tg_ss_key *k = key_of(data[0]);
    size_t len = size - 5, piece = data[1] * 16u + 1u;
    memcpy(wire, data + 5, len);
    if (data[0] & 16)
        len = encrypted(&r, k, !client, data + 5, size - 5, wire, sizeof(wire));
    size_t flip = (size_t)data[2] << 8 | data[3];
    if (flip < len)
        wire[flip] ^= data[4];
    tg_stream_pair(&r, 32768, &near, &far);
    struct user u = { .stream = client ? tg_ss_client(near, k, &target) : tg_ss_server(near, k),
                      .room = (data[0] >> 5) * 9000u + 1 };
    u.stream->on_ready = on_ready;
    u.stream->ready_arg = &u;
    tg_stream_want(u.stream, TG_READABLE);
    for (size_t at = 0; at < len && !u.over;) {
        size_t n = len - at < piece ? len - at : piece;
        ssize_t sent = tg_stream_write(far, wire + at, n);
        if (sent < 0 && sent != TG_AGAIN)
            break;
        at += sent > 0 ? (size_t)sent : 0;
        tg_reactor_turn(&r, 0);
        drain(far);
    }
    tg_stream_shutdown(far);
    for (int i = 0; i < ROUNDS && !u.over; i++) {
        tg_reactor_turn(&r, 0);
        drain(far);
    }
    CHECK(u.got <= len);
    CHECK(u.stream->state != TG_STREAM_FAILED || u.stream->error.detail != NULL);
    tg_stream_close(tg_ss_strip(u.stream));
    tg_stream_close(far);
    tg_ss_key_drop(k);
    tg_reactor_close(&r);
    return 0;
}
