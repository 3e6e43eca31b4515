/* What a peer that knows the keys may send after the handshake of TLS 1.3: records of any type and content, in any
 * order, some forged; and what is no record at all.  Data comes out as it was put in, whatever else is around it,
 * nothing after the end, and nothing after the first mistake. */

#include "check.h"

#include "stream/tls_traffic.h"

#include <stdlib.h>
#include <string.h>

struct world {
    struct tg_tls_traffic *peer, *we;
    uint8_t *room; /* of the exact size */
    bool over;
};

static struct tg_tls_traffic *traffic(bool server, uint16_t suite)
{
    static const uint8_t a[48] = { 1 }, b[48] = { 2 };
    const struct tg_tls_start start = {
        .suite = suite, .server = server, .in = server ? a : b, .out = server ? b : a, .len = suite == 0x1302 ? 48 : 32,
    };
    return tg_tls_traffic_new(&start);
}

/* @return as tg_tls_traffic_take() */
static ssize_t take(struct world *w, const uint8_t *record, size_t len, bool in_place)
{
    uint8_t *exact = malloc(len), *room = NULL;
    memcpy(exact, record, len);
    ssize_t n = tg_tls_traffic_measure(w->we, exact, len);
    CHECK(n == TG_TLS_END || n == TG_TLS_BAD || (n >= 0 && (size_t)n <= TG_TLS_WIRE_MAX));
    if (n > 0 && (size_t)n <= len) {
        size_t most = tg_tls_room((size_t)n);
        room = malloc(most + 1);
        n = tg_tls_traffic_take(w->we, exact, in_place ? exact + TG_TLS_HEAD : room);
        CHECK(n >= TG_TLS_BAD && (n <= 0 || (size_t)n <= most));
        free(w->room);
        w->room = in_place ? memcpy(room, exact + TG_TLS_HEAD, n > 0 ? (size_t)n : 0) : room;
    }
    free(exact);
    if (n > 0 && room == NULL) /* not all of it is there */
        n = 0;
    CHECK(!w->over || n < 0);
    w->over = w->we->state != TG_TLS_NOTHING;
    CHECK(w->over == (n < 0));
    return n;
}

static void send_one(struct world *w, enum tg_tls_type type, const uint8_t *data, size_t len, unsigned how)
{
    static uint8_t record[TG_TLS_WIRE_MAX];
    struct iovec part = { (void *)data, len };
    size_t whole = tg_tls_seal(&w->peer->out, type, &part, 1, record);
    if (how & 1) {
        record[TG_TLS_HEAD + (how >> 2) % (whole - TG_TLS_HEAD)] ^= 1;
        CHECK(take(w, record, whole, how & 2) < 0);
        return;
    }
    bool was_over = w->over, between = w->we->have == 0 && w->we->late == 0;
    uint64_t number = w->we->in.number;
    ssize_t n = take(w, record, whole, how & 2);
    if (!was_over && type == TG_TLS_DATA && len > 0 && between)
        CHECK((size_t)n == len && memcmp(w->room, data, len) == 0);
    else
        CHECK(n <= 0);
    if (!was_over && w->we->in.number <= number) /* new keys: the peer has them as well */
        tg_tls_keys_update(&w->peer->out);
}

/* Each step: type, how, length, content. */
static void converse(struct world *w, const uint8_t *data, size_t size)
{
    while (size >= 3) {
        size_t len = data[2] < size - 3 ? data[2] : size - 3;
        send_one(w, (enum tg_tls_type)(20 + data[0] % 5), data + 3, len, data[1]);
        data += 3 + len;
        size -= 3 + len;
        if (tg_tls_traffic_due(w->we)) {
            uint8_t record[TG_TLS_UPDATE_SIZE];
            CHECK(tg_tls_traffic_update(w->we, record) == sizeof(record));
            CHECK(tg_tls_traffic_take(w->peer, record, record + TG_TLS_HEAD) == TG_TLS_NOTHING);
            CHECK(!tg_tls_traffic_due(w->we));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool server = (data[0] & 1) != 0;
    uint16_t suite = (uint16_t)(0x1301 + (data[0] >> 1) % 3);
    struct world w = { .peer = traffic(!server, suite), .we = traffic(server, suite) };
    CHECK(w.peer != NULL && w.we != NULL);
    if (data[0] & 0x80)
        CHECK(take(&w, data + 1, size - 1, true) <= 0); /* who knows no key gets nothing through */
    else
        converse(&w, data + 1, size - 1);
    tg_tls_traffic_free(w.peer);
    tg_tls_traffic_free(w.we);
    free(w.room);
    return 0;
}
