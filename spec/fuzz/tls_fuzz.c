/* TLS of either role: fed with a peer's bytes in pieces as they are, or by our own other side whose bytes are
 * changed on their way.  Nothing is delivered that the peer has not written, whatever happens to the records. */

#include "check.h"

#include "stream/pair.h"
#include "stream/tls.h"
#include "stream/tls_cert.h"

#include "base/reactor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS  40
#define MESSAGE 600u

static struct tg_tls_context *server_context, *client_context;

static void make_contexts(void)
{
    const struct tg_tls_subject subject = { "localhost", "Fuzz", 3600 * 24 * 365 };
    static char texts[2][4096];
    static const char *const alpn[] = { "h2", "http/1.1", NULL };
    BIO *pems[2];
    char err[256], *text;
    if (server_context != NULL)
        return;
    CHECK(tg_tls_generate(&subject, &pems[0], &pems[1], err, sizeof(err)));
    for (int i = 0; i < 2; i++) {
        long len = BIO_get_mem_data(pems[i], &text);
        snprintf(texts[i], sizeof(texts[i]), "%.*s", (int)len, text);
        BIO_free(pems[i]);
    }
    const struct tg_tls_pair pair = { texts[0], texts[1] };
    const struct tg_tls_options server = {
        .server = true, .sessions = true, .pairs = &pair, .pair_count = 1, .alpn = alpn,
    };
    const struct tg_tls_options client = {
        .sessions = true, .verify = TG_TLS_VERIFY_FULL, .ca = texts[0], .alpn = alpn,
    };
    server_context = tg_tls_context_get(&server, err, sizeof(err));
    client_context = tg_tls_context_get(&client, err, sizeof(err));
    CHECK(server_context != NULL && client_context != NULL);
}

static void on_ready(void *arg, unsigned events)
{
    (void)arg;
    (void)events;
}

static struct tg_stream *start(struct tg_stream *lower, bool server)
{
    struct tg_stream *s = tg_tls_start(lower, server ? server_context : client_context,
                                       server ? NULL : "localhost");
    s->on_ready = on_ready;
    tg_stream_want(s, TG_READABLE | TG_WRITABLE);
    return s;
}

/* Read all that is there.  @return how many bytes, each of which must be `want` unless that is negative */
static size_t read_all(struct tg_stream *s, int want)
{
    uint8_t chunk[500];
    size_t sum = 0;
    for (ssize_t n; s->state == TG_STREAM_OPEN && (n = tg_stream_read(s, chunk, sizeof(chunk))) > 0;
         sum += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            CHECK(want < 0 || chunk[i] == want);
    return sum;
}

static void check_failure(const struct tg_stream *s)
{
    CHECK(s->state != TG_STREAM_FAILED || s->error.code != TG_OK);
}

static void feed_raw(struct tg_reactor *r, bool server, const uint8_t *data, size_t size, size_t piece)
{
    struct tg_stream *near, *far;
    tg_stream_pair(r, 65536, &near, &far);
    struct tg_stream *s = start(near, server);
    for (size_t at = 0; at < size && s->state != TG_STREAM_FAILED;) {
        ssize_t n = tg_stream_write(far, data + at, size - at < piece ? size - at : piece);
        at += n > 0 ? (size_t)n : 0;
        tg_reactor_turn(r, 0);
        CHECK(read_all(s, -1) == 0); /* who knows no key gets nothing through */
        read_all(far, -1);
    }
    tg_stream_close(far);
    tg_reactor_turn(r, 0);
    check_failure(s);
    tg_stream_close(s);
}

/* Bytes that pass from one side to the other, changed where the input says so. */
struct wire {
    const uint8_t *edits; /* pairs: bytes until the next change, what is changed */
    size_t left, until;
    bool touched;
};

static void next_edit(struct wire *w)
{
    w->until = w->left >= 2 ? w->edits[0] * 4u : SIZE_MAX;
}

static void pass(struct wire *w, struct tg_stream *from, struct tg_stream *to)
{
    uint8_t chunk[4096];
    for (ssize_t n; (n = tg_stream_read(from, chunk, sizeof(chunk))) > 0;) {
        for (ssize_t i = 0; i < n; i++) {
            if (w->until-- != 0)
                continue;
            w->touched |= w->edits[1] != 0;
            chunk[i] ^= w->edits[1];
            w->edits += 2;
            w->left -= 2;
            next_edit(w);
        }
        CHECK(tg_stream_write(to, chunk, (size_t)n) == n);
    }
}

static void tamper(struct tg_reactor *r, const uint8_t *data, size_t size)
{
    struct tg_stream *sides[2], *lower[2], *wires[2];
    struct wire ways[2] = { { .edits = data, .left = size / 2 & ~1u }, { .left = (size - size / 2) & ~1u } };
    size_t got[2] = { 0 }, sent[2] = { 0 };
    uint8_t message[MESSAGE];
    ways[1].edits = data + size / 2;
    for (int i = 0; i < 2; i++) {
        tg_stream_pair(r, 1u << 20, &lower[i], &wires[i]);
        sides[i] = start(lower[i], i == 0);
        next_edit(&ways[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 2; i++) {
            memset(message, 'a' + i, sizeof(message));
            if (sides[i]->state == TG_STREAM_OPEN && round % 3 == 0 && round < ROUNDS - 10) {
                ssize_t n = tg_stream_write(sides[i], message, sizeof(message));
                sent[i] += n > 0 ? (size_t)n : 0;
            }
            got[i] += read_all(sides[i], 'b' - i);
            pass(&ways[i], wires[i], wires[1 - i]);
        }
        tg_reactor_turn(r, 0);
    }
    if (!ways[0].touched && !ways[1].touched)
        CHECK(sides[0]->state == TG_STREAM_OPEN && sides[1]->state == TG_STREAM_OPEN && got[0] == sent[1] &&
              got[1] == sent[0] && got[0] > 0);
    for (int i = 0; i < 2; i++) {
        CHECK(got[i] <= sent[1 - i]);
        check_failure(sides[i]);
        tg_stream_close(sides[i]);
        tg_stream_close(wires[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_reactor r;
    struct tg_error err;
    if (size < 2 || size > 32768)
        return 0;
    make_contexts();
    if (tg_reactor_open(&r, &err) < 0)
        abort();
    if (data[0] & 1)
        feed_raw(&r, (data[0] & 2) != 0, data + 2, size - 2, data[1] + 1u);
    else
        tamper(&r, data + 2, size - 2);
    tg_reactor_close(&r);
    return 0;
}
